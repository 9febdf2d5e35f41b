"""Balanced accuracy, its interval over trials, its permutation p-value, and their correction.

Windows of one trial overlap and share its label, so trials, never windows, are what is
resampled and what is permuted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neuroalign.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Statistics that are equal on paper differ in their last digits when summed in another order.
TIE_TOLERANCE = 1e-9


def check_count(name: str, value: int, *, least: int = 0) -> None:
    """Refuse a number of repetitions that is no whole number or too small.

    Raises
    ------
    ParameterError
        If `value` is not a whole number of at least `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ParameterError(f"{name} must be a whole number of at least {least}, got {value!r}.")


def balanced_accuracy(true: np.ndarray, correct: np.ndarray) -> float:
    """Average, over the labels that are present, how often trials of a label are read right.

    Parameters
    ----------
    true : ndarray of shape (trial,)
        The label of every trial.
    correct : ndarray of shape (trial,)
        Whether the trial was read right, or which share of its windows was.

    Returns
    -------
    float
        Between 0 and 1; NaN without trials.

    Examples
    --------
    >>> balanced_accuracy(np.array(["A", "A", "A", "B"]), np.array([1, 1, 0, 1]))
    0.833...
    """
    if len(true) == 0:
        return float("nan")
    _, codes = np.unique(true, return_inverse=True)
    totals = np.bincount(codes)
    right = np.bincount(codes, weights=np.asarray(correct, dtype=np.float64))
    return float(np.mean(right / totals))


def bootstrap_balanced_accuracy(
    true: np.ndarray,
    correct: np.ndarray,
    *,
    bootstraps: int = 1000,
    confidence: float = 0.95,
    random_state: int | np.random.Generator = 0,
) -> tuple[float, float]:
    """Give the percentile interval of balanced accuracy under resampling of trials.

    Trials are drawn with replacement within their label, so every resample has every label
    and keeps the design of the experiment. An accuracy of exactly 0 or 1 gives an interval
    without width, as every bootstrap of constants does.

    Parameters
    ----------
    true : ndarray of shape (trial,)
        The label of every trial.
    correct : ndarray of shape (trial,)
        Whether the trial was read right, or which share of its windows was.
    bootstraps : int
        Number of resamples; 0 gives NaN.
    confidence : float
        Share of resamples inside the interval.
    random_state : int or Generator
        Where the draws come from.

    Returns
    -------
    tuple of float
        Low and high end.

    Raises
    ------
    ParameterError
        If `bootstraps` is no whole number of at least 0.
    """
    check_count("bootstraps", bootstraps)
    if bootstraps == 0 or len(true) == 0:
        return float("nan"), float("nan")
    random = np.random.default_rng(random_state)
    right = np.asarray(correct, dtype=np.float64)
    labels = np.unique(true)
    total = np.zeros(bootstraps)
    for label in labels:
        members = right[true == label]
        drawn = random.integers(members.size, size=(bootstraps, members.size))
        total += members[drawn].mean(axis=1)
    low, high = np.quantile(total / labels.size, _tails(confidence))
    return float(low), float(high)


def bootstrap_ratio(
    numerator: np.ndarray,
    denominator: np.ndarray,
    *,
    bootstraps: int = 1000,
    confidence: float = 0.95,
    random_state: int | np.random.Generator = 0,
) -> tuple[float, float]:
    """Give the percentile interval of a ratio of sums over trials.

    Parameters
    ----------
    numerator, denominator : ndarray of shape (trial,)
        What every trial adds to the two sums, such as likelihood gain and spikes.
    bootstraps : int
        Number of resamples; 0 gives NaN.
    confidence : float
        Share of resamples inside the interval.
    random_state : int or Generator
        Where the draws come from.

    Returns
    -------
    tuple of float
        Low and high end; NaN if the denominators sum to nothing.

    Raises
    ------
    ParameterError
        If `bootstraps` is no whole number of at least 0.
    """
    check_count("bootstraps", bootstraps)
    if bootstraps == 0 or not np.sum(denominator) > 0:
        return float("nan"), float("nan")
    random = np.random.default_rng(random_state)
    drawn = random.integers(len(numerator), size=(bootstraps, len(numerator)))
    below = np.asarray(denominator, dtype=np.float64)[drawn].sum(axis=1)
    above = np.asarray(numerator, dtype=np.float64)[drawn].sum(axis=1)
    ratios = above[below > 0] / below[below > 0]
    low, high = np.quantile(ratios, _tails(confidence))
    return float(low), float(high)


def _tails(confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise ParameterError(f"confidence must lie between 0 and 1, got {confidence!r}.")
    return (1 - confidence) / 2, (1 + confidence) / 2


def permutation_p_value(
    true: np.ndarray,
    predicted: np.ndarray,
    *,
    permutations: int = 1000,
    groups: np.ndarray | None = None,
    random_state: int | np.random.Generator = 0,
) -> float:
    """Give the share of label permutations that reach the balanced accuracy that was seen.

    The labels are permuted over whole trials while the predictions stay: the null is that the
    predictions have nothing to do with the labels of these trials.

    Parameters
    ----------
    true : ndarray of shape (trial,)
        The label of every trial.
    predicted : ndarray of shape (trial,)
        The label that was read from every trial.
    permutations : int
        Number of permutations; 0 gives NaN.
    groups : ndarray of shape (trial,), optional
        Labels are exchanged only between trials of one group, such as a fold whose trials were
        read by one classifier.
    random_state : int or Generator
        Where the permutations come from.

    Returns
    -------
    float
        (1 + permutations that reach it) / (1 + permutations), so never 0.

    Raises
    ------
    ParameterError
        If `permutations` is no whole number of at least 0.
    """
    check_count("permutations", permutations)
    if permutations == 0 or len(true) == 0:
        return float("nan")
    seen = balanced_accuracy(true, predicted == true)
    null = permuted_accuracies(
        true,
        predicted,
        permutations=permutations,
        groups=groups,
        random=np.random.default_rng(random_state),
    )
    return float((1 + (null >= seen - TIE_TOLERANCE).sum()) / (1 + permutations))


def permuted_accuracies(
    true: np.ndarray,
    predicted: np.ndarray,
    *,
    permutations: int,
    random: np.random.Generator,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Return the balanced accuracy under every permutation of the labels over trials.

    Parameters
    ----------
    true, predicted, groups
        As in `permutation_p_value`.
    permutations : int
        Number of permutations.
    random : Generator
        Where they come from.

    Returns
    -------
    ndarray of shape (permutation,)
        Balanced accuracies.
    """
    labels, codes = np.unique(true, return_inverse=True)
    position = {label: index for index, label in enumerate(labels.tolist())}
    read = np.array([position.get(label, -1) for label in predicted.tolist()])
    # A permutation keeps the number of trials of each label, hence what one of them weighs.
    weight = 1 / (np.bincount(codes) * labels.size)
    shuffled = _permute_within(codes, groups, permutations, random)
    return np.asarray(((shuffled == read) * weight[shuffled]).sum(axis=1))


def _permute_within(
    codes: np.ndarray,
    groups: np.ndarray | None,
    permutations: int,
    random: np.random.Generator,
) -> np.ndarray:
    shuffled = np.tile(codes, (permutations, 1))
    members = [np.arange(codes.size)]
    if groups is not None:
        members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    for columns in members:
        shuffled[:, columns] = random.permuted(shuffled[:, columns], axis=1)
    return shuffled


def correct_p_values(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Correct p-values for the number of tests after Benjamini and Hochberg.

    Parameters
    ----------
    p_values : array of shape (test,)
        NaN where no test was made; those stay NaN and do not count.

    Returns
    -------
    ndarray of shape (test,)
        Corrected p-values, that is, the false discovery rate at which each would be called.

    Examples
    --------
    >>> correct_p_values([0.01, 0.04, float("nan")])
    array([0.02, 0.04,  nan])
    """
    from scipy.stats import false_discovery_control

    given = np.asarray(p_values, dtype=np.float64)
    tested = np.isfinite(given)
    corrected = np.full(given.shape, np.nan)
    if tested.any():
        corrected[tested] = false_discovery_control(given[tested])
    return corrected
