"""Accuracy in every window with its interval, its p-value, and one corrected over all windows.

One permutation relabels whole trials, hence all their windows together, and one resample draws
whole trials: windows that overlap, or whose latents move slowly, depend on each other, and both
keep that dependence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from neuroalign.analysis.statistics import TIE_TOLERANCE

CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class WindowScores:
    """What one pool's classifiers read of one subject, for every window or pair of windows."""

    accuracy: np.ndarray  # (*places,)
    interval: np.ndarray  # (*places, bound)
    p_value: np.ndarray  # (*places,)
    p_corrected: np.ndarray  # (*places,)


def score_windows(
    true: np.ndarray,
    read: np.ndarray,
    *,
    permutations: int,
    bootstraps: int,
    permuting: np.random.Generator,
    resampling: np.random.Generator,
) -> WindowScores:
    """Score labels read from every place (a window, or a pair) against the true ones.

    Parameters
    ----------
    true : ndarray of shape (trial,)
        The label of every trial.
    read : ndarray of shape (trial, *places)
        The label read at every place.
    permutations, bootstraps : int
        Numbers of label permutations and of resamples over trials; 0 gives NaN.
    permuting, resampling : Generator
        Where the two come from. Every permutation and every resample holds for all places.

    Returns
    -------
    WindowScores
        As `decode_over_time` describes.

    Examples
    --------
    >>> true = np.array(["A", "B", "B"])
    >>> read = np.array([["A", "B"], ["B", "B"], ["B", "A"]])  # the first place reads all right
    >>> nowhere = np.random.default_rng(0)
    >>> score_windows(true, read, permutations=0, bootstraps=0,
    ...               permuting=nowhere, resampling=nowhere).accuracy
    array([1.  , 0.25])
    """
    places = read.shape[1:]
    flat = read.reshape(true.size, -1)
    labels, codes = np.unique(true, return_inverse=True)
    right = (flat == true[:, None]).astype(np.float64)
    accuracy = np.mean([right[codes == code].mean(axis=0) for code in range(labels.size)], axis=0)
    single, largest = _permutation_p_values(accuracy, codes, labels, flat, permutations, permuting)
    interval = _bootstrap_intervals(right, codes, bootstraps, resampling)
    return WindowScores(
        accuracy=accuracy.reshape(places),
        interval=interval.reshape(*places, 2),
        p_value=single.reshape(places),
        p_corrected=largest.reshape(places),
    )


def _permutation_p_values(
    accuracy: np.ndarray,
    codes: np.ndarray,
    labels: np.ndarray,
    read: np.ndarray,
    permutations: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return every place's p-value by itself, and against the largest accuracy of all places."""
    if permutations == 0:
        return np.full(accuracy.shape, np.nan), np.full(accuracy.shape, np.nan)
    shuffled = random.permuted(np.tile(codes, (permutations, 1)), axis=1)
    # What was read stays, so a null accuracy is a product of permuted labels with what was read.
    null = np.zeros((permutations, accuracy.size))
    for code, label in enumerate(labels):
        weight = 1 / (labels.size * np.sum(codes == code))
        null += weight * ((shuffled == code).astype(np.float64) @ (read == label))
    single = (null >= accuracy - TIE_TOLERANCE).sum(axis=0)
    largest = (null.max(axis=1)[:, None] >= accuracy - TIE_TOLERANCE).sum(axis=0)
    return (1 + single) / (1 + permutations), (1 + largest) / (1 + permutations)


def _bootstrap_intervals(
    right: np.ndarray,
    codes: np.ndarray,
    bootstraps: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Return percentile intervals (place, bound) under resampling of trials within labels."""
    if bootstraps == 0:
        return np.full((right.shape[1], 2), np.nan)
    number = int(codes.max()) + 1
    resampled = np.zeros((bootstraps, right.shape[1]))
    for code in range(number):
        members = right[codes == code]
        share = np.full(len(members), 1 / len(members))
        drawn = random.multinomial(len(members), share, size=bootstraps)  # times each trial comes
        resampled += (drawn @ members) / len(members)
    tail = (1 - CONFIDENCE) / 2
    return np.asarray(np.quantile(resampled / number, (tail, 1 - tail), axis=0).T)
