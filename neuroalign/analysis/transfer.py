"""Read a number of every trial, such as running speed, that trials were not paired by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from neuroalign.analysis.labels import Label, label_name, labelled_trials
from neuroalign.analysis.predictions import BOUNDS, OTHERS
from neuroalign.analysis.statistics import check_count
from neuroalign.data.randomness import RandomState, named_generator, resolve_seed
from neuroalign.data.splits import assert_disjoint
from neuroalign.errors import DataError

__all__ = ["read_variable"]

PENALTIES: Final = tuple(10.0**k for k in range(-2, 5))  # of the ridge regression
FEWEST_TRIALS: Final = 3


@dataclass(frozen=True)
class ReadVariable:
    """What was read of a subject's test trials, and the truth, both without label averages."""

    true: np.ndarray  # (trial,)
    labels: np.ndarray  # (trial,)
    read: Mapping[str, np.ndarray]  # by training subject, (trial,)


@dataclass(frozen=True)
class _Table:
    features: np.ndarray  # (trial, latent), mean over windows minus the label's training mean
    values: np.ndarray  # (trial,), minus the label's training mean
    labels: np.ndarray
    names: tuple[str, ...] | None


def read_variable(
    train_latents: xr.DataTree,
    test_latents: xr.DataTree,
    variable: str,
    *,
    label: Label,
    permutations: int = 1000,
    bootstraps: int = 1000,
    random_state: RandomState = 0,
) -> xr.Dataset:
    """Correlate a number of every held-out trial with what the latents say of it, within labels.

    Latents are averaged over a trial's windows. From latents and variable alike the averages of
    the trial's label are taken away (each subject's own, over its training trials), so nothing
    that the label says can be read. A ridge regression of a subject's training trials, or of
    all other subjects' pooled, predicts the rest; its penalty is chosen by generalised
    cross-validation on those training trials. Pooled over folds, noise reads as slightly
    negative within a subject, since a trial far from its label's average moves that average.

    Parameters
    ----------
    train_latents, test_latents : DataTree
        Latents `mean(trial, window, latent)`; no trial may be in both.
    variable : str
        Trial coordinate with numbers. Subjects that lack it, and trials where it is not
        finite, are left out.
    label : str or list of str
        The label that trials were paired by.
    permutations : int
        Permutations of the variable over test trials of one label; 0 for none.
    bootstraps : int
        Resamples over test trials; 0 for none.
    random_state : int, Generator or None
        Seed.

    Returns
    -------
    Dataset
        `correlation(train_subject, test_subject)`: Pearson's, 0 where what was read is
        constant; `train_subject` is a subject or `"others"`. `interval(train_subject,
        test_subject, bound)`: 95 %. `p_value(train_subject, test_subject)`: one-sided, share
        of permutations that reach the correlation.

    Raises
    ------
    DataError
        If no subject has the variable, or trees share trials.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from neuroalign.schema import build_tree
    >>> random = np.random.default_rng(0)
    >>> speed = random.normal(size=40)
    >>> mean = speed[:, None, None] + random.normal(size=(40, 3, 2))
    >>> rat = xr.Dataset(
    ...     {"mean": (("trial", "window", "latent"), mean)},
    ...     coords={
    ...         "trial": np.arange(40), "window": [0.0, 0.1, 0.2],
    ...         "odor": ("trial", np.array(["A", "B"] * 20)), "speed": ("trial", speed),
    ...     },
    ...     attrs={"stage": "latents"},
    ... )
    >>> train = build_tree({"mitt": rat.isel(trial=slice(0, 30))})
    >>> test = build_tree({"mitt": rat.isel(trial=slice(30, 40))})
    >>> scores = read_variable(train, test, "speed", label="odor")
    >>> bool(scores["correlation"].sel(train_subject="mitt", test_subject="mitt") > 0.7)
    True
    """
    check_count("permutations", permutations)
    check_count("bootstraps", bootstraps)
    seed = resolve_seed(random_state)
    read = regress_variable(train_latents, test_latents, variable, label=label)
    return score_variable(
        read, variable=variable, permutations=permutations, bootstraps=bootstraps, seed=seed
    ).assign_attrs(label=label_name(label), random_state=seed)


def regress_variable(
    train_latents: xr.DataTree, test_latents: xr.DataTree, variable: str, *, label: Label
) -> dict[str, ReadVariable]:
    """Predict the variable of every test trial from the latents; see `read_variable`.

    Raises
    ------
    DataError
        If no subject has the variable, or trees share trials.
    """
    assert_disjoint(train_latents, test_latents)
    train, test = _tables(train_latents, test_latents, variable, label)
    if not test:
        raise DataError(
            f"expected numbers as trial coordinate {variable!r}, with at least {FEWEST_TRIALS} "
            "training and test trials of a subject, got none; labels are read by decode_labels."
        )
    found = {}
    for subject, table in test.items():
        readable = sorted(name for name, other in train.items() if _same_space(table, other))
        readers = {name: [train[name]] for name in readable}
        rest = [train[name] for name in readable if name != subject]
        if rest:
            readers[OTHERS] = rest
        found[subject] = ReadVariable(
            true=table.values,
            labels=table.labels,
            read={name: _regress(tables, table.features) for name, tables in readers.items()},
        )
    return found


def _same_space(first: _Table, second: _Table) -> bool:
    same_size = first.features.shape[1] == second.features.shape[1]
    unnamed = first.names is None or second.names is None
    return same_size and (unnamed or first.names == second.names)


def _tables(
    train_latents: xr.DataTree, test_latents: xr.DataTree, variable: str, label: Label
) -> tuple[dict[str, _Table], dict[str, _Table]]:
    train: dict[str, _Table] = {}
    test: dict[str, _Table] = {}
    known = labelled_trials(train_latents, label, argument="train_latents")
    asked = labelled_trials(test_latents, label, argument="test_latents")
    for subject, given in known.items():
        values = _numbers(train_latents[subject].to_dataset(), variable)
        if values is None or np.isfinite(values).sum() < FEWEST_TRIALS:
            continue
        features = given.features.mean(axis=1)
        usable = np.isfinite(values)
        averages = {
            value: (
                features[usable & (given.labels == value)].mean(axis=0),
                values[usable & (given.labels == value)].mean(),
            )
            for value in np.unique(given.labels[usable]).tolist()
        }
        train[subject] = _without_averages(features, values, given, averages)
        if subject not in asked:
            continue
        other = asked[subject]
        numbers = _numbers(test_latents[subject].to_dataset(), variable)
        if numbers is not None:
            table = _without_averages(other.features.mean(axis=1), numbers, other, averages)
            if table.values.size >= FEWEST_TRIALS:
                test[subject] = table
    return train, test


def _numbers(dataset: xr.Dataset, variable: str) -> np.ndarray | None:
    if variable not in dataset.coords or dataset[variable].dims != ("trial",):
        return None
    values = dataset[variable].values
    return values.astype(np.float64) if values.dtype.kind in "iufb" else None


def _without_averages(
    features: np.ndarray,
    values: np.ndarray,
    given: Any,
    averages: Mapping[str, tuple[np.ndarray, float]],
) -> _Table:
    kept = np.isfinite(values) & np.isin(given.labels, list(averages))
    labels = given.labels[kept]
    of_latents = np.array([averages[value][0] for value in labels]).reshape(-1, features.shape[1])
    of_values = np.array([averages[value][1] for value in labels])
    return _Table(
        features=features[kept] - of_latents,
        values=values[kept] - of_values,
        labels=labels,
        names=given.latent_names,
    )


def _regress(tables: list[_Table], features: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = np.concatenate([table.features for table in tables])
    values = np.concatenate([table.values for table in tables])
    reader = make_pipeline(StandardScaler(), RidgeCV(alphas=PENALTIES))
    return np.asarray(reader.fit(rows, values).predict(features))


def pool_variables(folds: Sequence[Mapping[str, ReadVariable]]) -> dict[str, ReadVariable]:
    """Join what was read in several folds, reader by reader that every fold has."""
    pooled = {}
    for subject in dict.fromkeys(name for fold in folds for name in fold):
        parts = [fold[subject] for fold in folds if subject in fold]
        readers = [name for name in parts[0].read if all(name in part.read for part in parts)]
        pooled[subject] = ReadVariable(
            true=np.concatenate([part.true for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            read={name: np.concatenate([part.read[name] for part in parts]) for name in readers},
        )
    return pooled


def score_variable(
    read: Mapping[str, ReadVariable],
    *,
    variable: str,
    permutations: int,
    bootstraps: int,
    seed: int,
) -> xr.Dataset:
    """Correlate what was read with the truth; see `read_variable`."""
    sources = list(dict.fromkeys(name for part in read.values() for name in part.read))
    sources.sort(key=lambda name: name == OTHERS)  # stable: the others go last
    shape = (len(sources), len(read))
    correlation, p_value = np.full(shape, np.nan), np.full(shape, np.nan)
    interval = np.full((*shape, 2), np.nan)
    for column, (subject, part) in enumerate(read.items()):
        for source, values in part.read.items():
            row = sources.index(source)
            stream = named_generator(seed, "variable", variable, source, subject)
            correlation[row, column] = float(correlate(values, part.true))
            if permutations:
                p_value[row, column] = _permutation_p(values, part, permutations, stream)
            if bootstraps:
                drawn = stream.integers(values.size, size=(bootstraps, values.size))
                spread = correlate(values[drawn], part.true[drawn])
                interval[row, column] = np.quantile(spread, (0.025, 0.975))
    pair = ("train_subject", "test_subject")
    return xr.Dataset(
        {
            "correlation": (pair, correlation),
            "interval": ((*pair, "bound"), interval),
            "p_value": (pair, p_value),
        },
        coords={"train_subject": sources, "test_subject": list(read), "bound": list(BOUNDS)},
        attrs={"stage": "variable-scores", "variable": variable},
    )


def correlate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation along the last axis; 0 where one of the two is constant."""
    first, second = _unit_free(first), _unit_free(second)
    scale = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    product = (first * second).sum(axis=-1)
    return np.asarray(np.where(scale > 1e-12, product / np.where(scale > 1e-12, scale, 1.0), 0.0))


def _unit_free(values: np.ndarray) -> np.ndarray:
    """Centre values and divide them by the largest there is: constants are told by share."""
    centred = values - values.mean(axis=-1, keepdims=True)
    largest = float(np.abs(values).max(initial=0.0))
    return np.asarray(centred / largest if largest > 0 else centred)


def _permutation_p(
    read: np.ndarray, part: ReadVariable, permutations: int, stream: np.random.Generator
) -> float:
    shuffled = np.tile(part.true, (permutations, 1))
    for value in np.unique(part.labels):
        columns = np.flatnonzero(part.labels == value)
        shuffled[:, columns] = stream.permuted(shuffled[:, columns], axis=1)
    reached = correlate(np.broadcast_to(read, shuffled.shape), shuffled)
    seen = correlate(read, part.true) - 1e-9  # equal sums may differ in their last digits
    return float((1 + (reached >= seen).sum()) / (1 + permutations))
