"""Which units carry the latents: one unit's counts are exchanged between trials at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from neuroalign.analysis.classifiers import (
    fit_classifier,
    read_probabilities,
    trial_probabilities,
)
from neuroalign.analysis.individuality_trials import ComparedTrials
from neuroalign.analysis.labels import labelled_trials
from neuroalign.data.randomness import named_generator
from neuroalign.errors import DataError
from neuroalign.schema import build_tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEASURES: Final = ("unit_displacement", "unit_label_drop")


@dataclass(frozen=True)
class Reader:
    """The classifier of the other subjects, and the labels of the trials that it reads."""

    true: np.ndarray  # (trial,)
    labels: tuple[str, ...]
    classifier: Any

    def label_probability(self, features: np.ndarray) -> float:
        """Return the mean probability of a trial's true label, every label counting the same."""
        found = trial_probabilities(read_probabilities(self.classifier, features, self.labels))
        by_label = [found[self.true == label, k].mean() for k, label in enumerate(self.labels)]
        return float(np.mean(by_label))


@dataclass(frozen=True)
class Importance:
    """One subject's units: each measure (unit, repeat), and how intact trials are read."""

    units: list[str]
    values: Mapping[str, np.ndarray]
    intact: float


def unit_importance(
    model: Any,
    trials: ComparedTrials,
    test: xr.DataTree,
    *,
    classifier: Any = None,
    repeats: int,
    seed: int,
) -> xr.Dataset:
    """Measure what exchanging each unit's counts between held-out trials does to the latents.

    Parameters
    ----------
    model : SharedLatentModel
        Anything with `transform(windows)` that encodes trials one by one.
    trials : ComparedTrials
        Latents of train and test.
    test : DataTree
        Windowed counts of the held-out trials.
    classifier : scikit-learn classifier, optional
        See `fit_classifier`.
    repeats : int
        Exchanges of every unit.
    seed : int
        Seed.

    Returns
    -------
    Dataset
        `unit_displacement`, `unit_label_drop` and their `..._error` (unit), with the coordinate
        `unit_subject`, and `label_probability(subject)`; see `individual_differences`.

    Raises
    ------
    DataError
        If the model's latents are not finite or not those of the trials given.
    """
    importances = [
        _subject_importance(model, trials, test, subject, classifier, repeats, seed)
        for subject in trials.subjects
    ]
    columns: dict[str, Any] = {}
    for measure in MEASURES:
        values = np.concatenate([one.values[measure] for one in importances])
        columns[measure] = ("unit", values.mean(axis=1))
        columns[f"{measure}_error"] = ("unit", _standard_error(values))
    sizes = [len(one.units) for one in importances]
    return xr.Dataset(
        {**columns, "label_probability": ("subject", [one.intact for one in importances])},
        coords={
            "unit": [unit for one in importances for unit in one.units],
            "unit_subject": ("unit", np.repeat(trials.subjects, sizes)),
            "subject": trials.subjects,
        },
    )


def _subject_importance(
    model: Any,
    trials: ComparedTrials,
    test: xr.DataTree,
    subject: str,
    classifier: Any,
    repeats: int,
    seed: int,
) -> Importance:
    table = trials.test[subject]
    given = test.children[subject].to_dataset().sel(trial=table.trials)
    # Sorted, so that the order of the subjects cannot change a pooled fit.
    others = sorted(name for name in trials.subjects if name != subject)
    fitted = fit_classifier(
        [trials.train[name] for name in others],
        classifier=classifier,
        random=named_generator(seed, "folds", *others),
    )
    reader = Reader(table.labels, trials.labels, fitted)
    intact = reader.label_probability(table.features)
    spread = float(table.features.var(axis=(0, 1)).sum())
    units = [str(unit) for unit in given["unit"].values]
    values = {measure: np.zeros((len(units), repeats)) for measure in MEASURES}
    for index, unit in enumerate(units):
        random = named_generator(seed, "units", unit)
        partners = [exchange(given.sizes["trial"], random) for _ in range(repeats)]
        moved = _moved_latents(model, given, index, partners, subject)
        square = np.square(moved - table.features).sum(axis=-1).mean(axis=(1, 2))
        values["unit_displacement"][index] = square / spread if spread > 0 else np.nan
        drops = [intact - reader.label_probability(features) for features in moved]
        values["unit_label_drop"][index] = drops
    return Importance(units=units, values=values, intact=intact)


def exchange(trials: int, random: np.random.Generator) -> np.ndarray:
    """Give every trial another one: each takes from the next in a ring of random order."""
    ring = random.permutation(trials)
    partner = np.empty(trials, dtype=np.int64)
    partner[ring] = np.roll(ring, -1)
    return partner


def _moved_latents(
    model: Any,
    given: xr.Dataset,
    unit: int,
    partners: Sequence[np.ndarray],
    subject: str,
) -> np.ndarray:
    """Encode all exchanges of a unit in one call: latents (repeat, trial, window, latent)."""
    count = given.sizes["trial"]
    copies = given.isel(trial=np.tile(np.arange(count), len(partners)))
    counts = copies["counts"].values.copy()
    counts[:, unit] = given["counts"].values[np.concatenate(partners), unit]
    trials = np.arange(counts.shape[0])
    copies = copies.assign_coords(trial=trials).assign(counts=(copies["counts"].dims, counts))
    latents = model.transform(build_tree({subject: copies}))
    table = labelled_trials(latents, None, argument="the model's latents")[subject]
    if not np.array_equal(table.trials, trials):
        raise DataError(
            f"expected latents of the {trials.size} trials of {subject!r} that were given, in "
            "their order, got others; transform must keep the trials."
        )
    return table.features.reshape(len(partners), count, *table.features.shape[1:])


def _standard_error(values: np.ndarray) -> np.ndarray:
    repeats = values.shape[1]
    if repeats < 2:
        return np.full(len(values), np.nan)
    return np.asarray(values.std(axis=1, ddof=1) / np.sqrt(repeats))
