"""Splits of trials, always by whole trials and one subject at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroalign.data.allocation import assign_folds, choose_test, singles
from neuroalign.data.randomness import RandomState, named_generator, resolve_seed
from neuroalign.data.trial_selection import (
    Label,
    check_trial_tree,
    keep_labels,
    keep_spec_trials,
    label_names,
    label_title,
    select_trials,
)
from neuroalign.errors import DataError, DataWarning, ParameterError
from neuroalign.schema import iterate_subjects, label_values, map_subjects, subjects_of

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "assert_disjoint",
    "keep_labels",
    "keep_spec_trials",
    "kfold_trials",
    "select_trials",
    "split_trials",
]

TestSize = float | int | Mapping[str, float | int]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


def split_trials(
    tree: xr.DataTree,
    *,
    test_size: TestSize = 0.25,
    stratify: Label | None = None,
    simultaneous: bool = False,
    allow_missing: bool = False,
    random_state: RandomState = None,
) -> tuple[xr.DataTree, xr.DataTree]:
    """Split every subject's trials into training and test trials.

    Whole trials go to one side, so overlapping windows never straddle the split. A subject's
    split depends on its name and the seed, and on no other subject.

    Parameters
    ----------
    tree : DataTree
        Any stage.
    test_size : float, int or mapping, default=0.25
        Fraction (0 to 1) or number of test trials, for all subjects or one per subject.
    stratify : str or list of str, optional
        Trial label, or labels whose combination, is to be divided evenly. Every value with at
        least two trials comes on both sides; one with a single trial goes to training.
    simultaneous : bool, default=False
        Subjects were recorded together: all must have the same trial ids, and the same trials
        go to the test side for all of them.
    allow_missing : bool, default=False
        Whether simultaneous subjects may lack trials that others have; `test_size` then
        counts the trials that any of them has.
    random_state : int, Generator or None
        Seed.

    Returns
    -------
    train, test : DataTree
        Trees of the same stage with disjoint trial ids, in the order of the input.

    Raises
    ------
    ParameterError
        If `test_size` or `random_state` make no sense, or a side would be empty.
    DataError
        If the label is missing, or `simultaneous` subjects differ in trials or labels.

    Examples
    --------
    >>> from neuroalign.data.simulate import simulate_recordings
    >>> recordings, _ = simulate_recordings(units={"mitt": 5}, trials=40, random_state=0)
    >>> train, test = split_trials(recordings, stratify="odor", random_state=0)
    >>> set(train["mitt"]["trial"].values) & set(test["mitt"]["trial"].values)
    set()
    """
    check_trial_tree(tree)
    seed = resolve_seed(random_state)
    strata = _strata(tree, stratify, same=simultaneous and not allow_missing)
    _warn_singles(strata, stratify, "they go to training")
    masks: dict[str, BoolArray] = {}
    if simultaneous and allow_missing:
        shared = _of_any(tree, strata)
        size = _test_count(test_size, shared.subject, len(shared.ids))
        chosen = choose_test(shared.strata, size, named_generator(seed, "split", ""))
        return _sides(tree, _each_own(tree, shared.ids[chosen]))
    sizes = {name: _test_count(test_size, name, len(strata[name])) for name in subjects_of(tree)}
    for name, values in strata.items():
        stream = named_generator(seed, "split", "" if simultaneous else name)
        masks[name] = choose_test(values, sizes[name], stream)
    return _sides(tree, masks)


def kfold_trials(
    tree: xr.DataTree,
    *,
    n_splits: int = 5,
    stratify: Label | None = None,
    simultaneous: bool = False,
    allow_missing: bool = False,
    random_state: RandomState = None,
) -> Iterator[tuple[xr.DataTree, xr.DataTree]]:
    """Yield splits in which every trial of every subject is a test trial exactly once.

    Parameters
    ----------
    tree : DataTree
        Any stage.
    n_splits : int, default=5
        Number of folds, at least 2.
    stratify : str or list of str, optional
        Trial label, or labels whose combination, is to be divided evenly over the folds.
    simultaneous : bool, default=False
        Subjects were recorded together and share their folds, as in `split_trials`.
    allow_missing : bool, default=False
        Whether simultaneous subjects may lack trials that others have.
    random_state : int, Generator or None
        Seed.

    Yields
    ------
    train, test : DataTree
        Trees of the same stage with disjoint trial ids.

    Raises
    ------
    ParameterError
        If there are fewer trials than folds, or `n_splits` or `random_state` make no sense.
    DataError
        If the label is missing, or `simultaneous` subjects differ in trials or labels.

    Examples
    --------
    >>> from neuroalign.data.simulate import simulate_recordings
    >>> recordings, _ = simulate_recordings(units={"ada": 3}, trials=20, random_state=0)
    >>> folds = list(kfold_trials(recordings, n_splits=4, random_state=0))
    >>> sum(test["ada"].sizes["trial"] for _, test in folds) == recordings["ada"].sizes["trial"]
    True
    """
    check_trial_tree(tree)
    if isinstance(n_splits, bool) or not isinstance(n_splits, int | np.integer) or n_splits < 2:
        raise ParameterError(f"n_splits must be a whole number of at least 2, got {n_splits!r}.")
    seed = resolve_seed(random_state)
    strata = _strata(tree, stratify, same=simultaneous and not allow_missing)
    for name, values in strata.items():
        if len(values) < n_splits:
            raise ParameterError(
                f"expected at least n_splits = {n_splits} trials, got {len(values)} for subject "
                f"{name!r}; ask for fewer folds."
            )
    _warn_singles(strata, stratify, "the fold that tests such a trial cannot train on its value")
    if simultaneous and allow_missing:
        shared = _of_any(tree, strata)
        fold_of = assign_folds(shared.strata, int(n_splits), named_generator(seed, "folds", ""))
        return (
            _sides(tree, _each_own(tree, shared.ids[fold_of == number]))
            for number in range(int(n_splits))
        )
    folds: dict[str, IntArray] = {}
    for name, values in strata.items():
        stream = named_generator(seed, "folds", "" if simultaneous else name)
        folds[name] = assign_folds(values, int(n_splits), stream)
    # a generator of its own, so that the checks above run at the call and not at the first fold
    return (
        _sides(tree, {name: fold == number for name, fold in folds.items()})
        for number in range(int(n_splits))
    )


def assert_disjoint(train: xr.DataTree, test: xr.DataTree) -> None:
    """Refuse training and test data that share trials.

    Parameters
    ----------
    train, test : DataTree
        Any stage. Only subjects that are in both are compared.

    Raises
    ------
    DataError
        If a trial id of a subject is on both sides.
    """
    tested = {name: data["trial"].values for name, data in iterate_subjects(test)}
    for name, data in iterate_subjects(train):
        if name not in tested:
            continue
        both = np.intersect1d(data["trial"].values, tested[name])
        if both.size:
            shown = ", ".join(map(str, both[:5].tolist())) + (", ..." if both.size > 5 else "")
            raise DataError(
                f"training and test data must not share trials, got {both.size} shared for "
                f"subject {name!r} (ids {shown}); split with split_trials or kfold_trials."
            )


def _strata(
    tree: xr.DataTree, stratify: Label | None, *, same: bool
) -> dict[str, npt.NDArray[Any]]:
    """Return what every subject's trials are divided by; without labels, all are of one kind."""
    strata: dict[str, npt.NDArray[Any]] = {}
    trials: dict[str, npt.NDArray[Any]] = {}
    for name, data in iterate_subjects(tree):
        trials[name] = data["trial"].values
        strata[name] = (
            np.zeros(data.sizes["trial"], dtype=np.int64)
            if stratify is None
            else label_values(data, label_names(stratify), subject=name)
        )
    first = subjects_of(tree)[0]
    for name in subjects_of(tree) if same else []:
        for what, found in (("trial ids", trials), ("labels", strata)):
            if not np.array_equal(found[name], found[first]):
                raise DataError(
                    f"simultaneous=True expects the same {what} in the same order for all "
                    f"subjects, got others for {name!r} than for {first!r}; where subjects lack "
                    "trials that others have, pass allow_missing=True."
                )
    return strata


@dataclass(frozen=True)
class _Shared:
    """Trials of subjects recorded together, those that any subject has, by id."""

    ids: IntArray
    strata: npt.NDArray[Any]
    subject: str  # the first one, for messages


def _of_any(tree: xr.DataTree, strata: Mapping[str, npt.NDArray[Any]]) -> _Shared:
    """Collect the trials that any subject has; those of one id must have one label."""
    first = subjects_of(tree)[0]
    known: dict[int, Any] = {}
    for name, data in iterate_subjects(tree):
        for trial, value in zip(data["trial"].values.tolist(), strata[name], strict=True):
            if known.setdefault(trial, value) != value:
                raise DataError(
                    f"simultaneous=True expects trials of one id to have one label, got {str(value)!r} "
                    f"for trial {trial} of {name!r} and {str(known[trial])!r} before; are these "
                    "subjects recorded together?"
                )
    ids = np.array(sorted(known), dtype=np.int64)
    return _Shared(ids, np.array([known[trial] for trial in ids.tolist()]), first)


def _each_own(tree: xr.DataTree, chosen: IntArray) -> dict[str, BoolArray]:
    """Return every subject's mask of the chosen trials; each needs some on both sides."""
    masks = {}
    for name, data in iterate_subjects(tree):
        masks[name] = np.isin(data["trial"].values, chosen)
        if masks[name].all() or not masks[name].any():
            raise ParameterError(
                f"both sides need at least one trial, but subject {name!r} has "
                f"{'only' if masks[name].all() else 'no'} test trials; choose another test_size, "
                "fewer folds or another random_state."
            )
    return masks


def _test_count(test_size: TestSize, subject: str, trials: int) -> int:
    size: Any = test_size
    if isinstance(test_size, Mapping):
        if subject not in test_size:
            raise ParameterError(f"test_size has no entry for subject {subject!r}; add one.")
        size = test_size[subject]
    if isinstance(size, bool) or not isinstance(size, int | float | np.integer | np.floating):
        raise ParameterError(f"test_size must be a fraction or a number of trials, got {size!r}.")
    if isinstance(size, float | np.floating):
        if not 0 < size < 1:
            raise ParameterError(f"test_size as a fraction must lie between 0 and 1, got {size}.")
        count = max(1, round(size * trials))
    else:
        count = int(size)
    if not 0 < count < trials:
        raise ParameterError(
            f"both sides need at least one trial, got test_size={size} for the {trials} trials of "
            f"subject {subject!r}."
        )
    return count


def _warn_singles(
    strata: Mapping[str, npt.NDArray[Any]], stratify: Label | None, consequence: str
) -> None:
    if stratify is None:
        return
    found = {name: singles(values) for name, values in strata.items()}
    listed = [
        f"{name!r} ({', '.join(map(str, values))})" for name, values in found.items() if values
    ]
    if listed:
        warnings.warn(
            f"values of {label_title(stratify)!r} with a single trial for {'; '.join(listed)}: "
            f"{consequence}.",
            DataWarning,
            stacklevel=3,
        )


def _sides(tree: xr.DataTree, masks: Mapping[str, BoolArray]) -> tuple[xr.DataTree, xr.DataTree]:
    train = map_subjects(tree, lambda name, data: data.isel(trial=~masks[name]))
    test = map_subjects(tree, lambda name, data: data.isel(trial=masks[name]))
    return train, test
