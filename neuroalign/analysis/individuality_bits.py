"""How much of an animal's activity the other animals' trials explain, and how much its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from neuroalign.analysis.imputation_pairs import align_expected
from neuroalign.analysis.imputation_reference import reached_bins
from neuroalign.analysis.individuality_trials import percentile_interval, resampling_weights
from neuroalign.analysis.labels import Label, labels_as_text, ordered_labels
from neuroalign.analysis.poisson import fit_label_averages, gains_and_spikes, unit_means
from neuroalign.analysis.predictions import BOUNDS
from neuroalign.data.randomness import named_generator
from neuroalign.errors import DataError
from neuroalign.schema import iterate_subjects, subjects_of

if TYPE_CHECKING:
    from collections.abc import Mapping

MEASURES: Final = ("bits_own", "bits_from_others", "own_bits", "shared_share")


@dataclass(frozen=True)
class Target:
    """The held-out trials of the subject that is explained."""

    subject: str
    dataset: xr.Dataset
    labels: np.ndarray  # (trial,) text
    counts: np.ndarray  # (trial, unit, time) at the bins that windows reach
    unit_mean: np.ndarray  # (unit,) of training trials


@dataclass(frozen=True)
class PairedGains:
    """Gain in bits and spikes of every pair of a source's and a target's trial of one label."""

    rows: np.ndarray  # positions of the source's trials that count
    gains: np.ndarray  # (row, target trial), 0 where labels differ
    spikes: np.ndarray  # (row, target trial), 0 where labels differ

    def ratio(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return bits per spike for weights (bootstrap, trial) of source and target trials."""
        weights = source[:, self.rows]
        above = ((weights @ self.gains) * target).sum(axis=1)
        below = ((weights @ self.spikes) * target).sum(axis=1)
        return _divide(above, below)


def shared_bits(
    model: Any,
    train: xr.DataTree,
    test: xr.DataTree,
    *,
    label: Label,
    bootstraps: int,
    seed: int,
) -> xr.Dataset:
    """Score what each subject's own latents and the other subjects' latents say about its spikes.

    Parameters
    ----------
    model : SharedLatentModel
        Anything with `reconstruct(windows)` and `impute(windows, source=, target=)`.
    train, test : DataTree
        Windowed counts of disjoint trials.
    label : str or list of str
        Trial coordinate that source and target trials are matched by.
    bootstraps : int
        Resamples over trials within their label, of target and sources at once.
    seed : int
        Seed.

    Returns
    -------
    Dataset
        `bits_own`, `bits_from_others`, `own_bits`, `shared_share` and `bits_label_average`
        (subject), and the first four's intervals `..._interval(subject, bound)`.

    Raises
    ------
    DataError
        If no source trial can be scored, or the model's output does not fit the target.
    """
    names = subjects_of(test)
    labels = {n: labels_as_text(data, label, subject=n) for n, data in iterate_subjects(test)}
    known = {n: labels_as_text(data, label, subject=n) for n, data in iterate_subjects(train)}
    weights = {
        name: resampling_weights(
            labels[name],
            bootstraps=bootstraps,
            random=named_generator(seed, "bits", name),
        )
        for name in names
    }
    reconstructed = model.reconstruct(test)
    values = {measure: np.full(len(names), np.nan) for measure in (*MEASURES, "bits_label_average")}
    intervals = {measure: np.full((len(names), 2), np.nan) for measure in MEASURES}
    for index, name in enumerate(names):
        target = _target(train, test, name, labels[name])
        own, spikes = _own_gains(reconstructed[name].to_dataset(), target)
        pairs = {
            source: _paired_gains(model, test, target, source, labels[source], known)
            for source in names
            if source != name
        }
        ones = {n: np.ones((1, labels[n].size)) for n in names}
        point = _measures(own, spikes, pairs, ones, name)
        resampled = _measures(own, spikes, pairs, weights, name)
        for measure in MEASURES:
            values[measure][index] = point[measure][0]
            intervals[measure][index] = percentile_interval(resampled[measure])
        intervals["shared_share"][index] = _share_interval(
            resampled, low=intervals["bits_own"][index, 0]
        )
        values["bits_label_average"][index] = _label_average(
            train, target, pairs, labels, known, seed
        )
    return xr.Dataset(
        {
            **{measure: ("subject", column) for measure, column in values.items()},
            **{f"{m}_interval": (("subject", "bound"), ends) for m, ends in intervals.items()},
        },
        coords={"subject": names, "bound": list(BOUNDS)},
    )


def _target(train: xr.DataTree, test: xr.DataTree, subject: str, labels: np.ndarray) -> Target:
    given = test.children[subject].to_dataset()
    bins = reached_bins(given)
    training = train.children[subject].to_dataset()["counts"].values[:, :, bins]
    return Target(
        subject=subject,
        dataset=given,
        labels=labels,
        counts=given["counts"].values[:, :, bins].astype(np.float64),
        unit_mean=unit_means(training),
    )


def _own_gains(reconstructed: xr.Dataset, target: Target) -> tuple[np.ndarray, np.ndarray]:
    expected, _ = align_expected(reconstructed, target.dataset, target.dataset, target.subject)
    return gains_and_spikes(expected, target.counts, np.ones(len(expected)), target.unit_mean)


def _paired_gains(
    model: Any,
    test: xr.DataTree,
    target: Target,
    source: str,
    source_labels: np.ndarray,
    known: Mapping[str, np.ndarray],
) -> PairedGains:
    common = set(known[source]) & set(known[target.subject]) & set(target.labels)
    rows = np.flatnonzero(np.isin(source_labels, sorted(common)))
    if rows.size == 0:
        raise DataError(
            f"expected held-out trials of {source!r} with a label that {target.subject!r} has in "
            "training and in held-out trials, got none; split the trials with stratify=label."
        )
    made = model.impute(test, source=source, target=target.subject)[target.subject].to_dataset()
    given = test.children[source].to_dataset().isel(trial=rows)
    expected, _ = align_expected(made, given, target.dataset, target.subject)
    gains = np.zeros((rows.size, target.labels.size))
    spikes = np.zeros_like(gains)
    for column, (counts, label) in enumerate(zip(target.counts, target.labels, strict=True)):
        same = np.flatnonzero(source_labels[rows] == label)
        if same.size:
            found = gains_and_spikes(
                expected[same], counts[None], np.ones(same.size), target.unit_mean
            )
            gains[same, column], spikes[same, column] = found
    return PairedGains(rows=rows, gains=gains, spikes=spikes)


def _measures(
    own: np.ndarray,
    spikes: np.ndarray,
    pairs: Mapping[str, PairedGains],
    weights: Mapping[str, np.ndarray],
    target: str,
) -> dict[str, np.ndarray]:
    """Return every measure once per row of the weights."""
    mine = weights[target]
    bits = _divide(mine @ own, mine @ spikes)
    others = np.mean([pair.ratio(weights[n], mine) for n, pair in pairs.items()], axis=0)
    return {
        "bits_own": bits,
        "bits_from_others": others,
        "own_bits": bits - others,
        # Of nothing explained no share can be told.
        "shared_share": _divide(others, np.where(bits > 0, bits, 0.0)),
    }


def _share_interval(resampled: Mapping[str, np.ndarray], *, low: float) -> np.ndarray:
    """Give the interval of the share where its denominator is surely positive, else NaN."""
    share = resampled["shared_share"]
    if share.size == 0 or not low > 0:
        return np.full(2, np.nan)
    return percentile_interval(share[np.isfinite(share)])


def _label_average(
    train: xr.DataTree,
    target: Target,
    pairs: Mapping[str, PairedGains],
    labels: Mapping[str, np.ndarray],
    known: Mapping[str, np.ndarray],
    seed: int,
) -> float:
    """Score the target's own training averages of the true labels on the same pairs of trials."""
    training = known[target.subject]
    classes = ordered_labels(training)
    counts = train.children[target.subject].to_dataset()["counts"].values
    averages = fit_label_averages(
        counts[:, :, reached_bins(target.dataset)],
        training,
        classes,
        random=named_generator(seed, "averages", target.subject),
    )
    chosen = np.flatnonzero(np.isin(target.labels, classes))
    codes = [classes.index(label) for label in target.labels[chosen].tolist()]
    gains, spikes = gains_and_spikes(
        averages.expected[codes], target.counts[chosen], np.ones(chosen.size), target.unit_mean
    )
    found = []
    for source, pair in pairs.items():
        partners = labels[source][pair.rows][:, None] == target.labels[chosen]
        times = partners.sum(axis=0)
        found.append(_divide(np.array([times @ gains]), np.array([times @ spikes]))[0])
    return float(np.mean(found))


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; NaN where there is nothing to divide by."""
    missing = np.full(np.shape(above), np.nan)
    return np.asarray(np.divide(above, below, out=missing, where=np.asarray(below) > 0))
