"""How well rates explain spike counts: Poisson likelihood in bits per spike, and label averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

# A rate of zero makes any spike impossible: rates are kept above a thousandth of the unit's mean.
FLOOR_FRACTION: Final = 1e-3
FLOOR_COUNT: Final = 1e-6

SMOOTHING_WIDTHS: Final = (0.0, 1.0, 2.0, 4.0, float("inf"))  # bins; infinite: flat in time
PSEUDO_TRIALS: Final = (0.5, 2.0, 8.0, 32.0)
AVERAGE_FOLDS: Final = 5


@dataclass(frozen=True)
class LabelAverages:
    """Training averages of a label's trials, with the smoothing that training trials asked for."""

    classes: tuple[str, ...]
    expected: np.ndarray  # (class, unit, time) expected counts
    unit_mean: np.ndarray  # (unit,) counts per bin
    width: float  # bins
    pseudo_trials: float


def floor_rates(expected: np.ndarray, unit_mean: np.ndarray) -> np.ndarray:
    """Keep expected counts at or above 1e-3 of the unit's mean, plus 1e-6.

    Parameters
    ----------
    expected : ndarray of shape (..., unit, time)
        Expected counts per bin.
    unit_mean : ndarray of shape (unit,)
        Mean count per bin over training trials.

    Returns
    -------
    ndarray of shape (..., unit, time)
        Positive.
    """
    lowest = FLOOR_FRACTION * unit_mean + FLOOR_COUNT
    return np.maximum(np.asarray(expected, dtype=np.float64), lowest[:, None])


def unit_means(counts: np.ndarray) -> np.ndarray:
    """Return every unit's mean count per bin; counts have shape (trial, unit, time)."""
    return np.asarray(counts.mean(axis=(0, 2), dtype=np.float64))


def log_likelihood(expected: np.ndarray, summed: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """Give the Poisson log-likelihood of several trials' counts at the same rates.

    Terms that do not depend on the rates are left out, since only differences are used. The
    likelihood of n trials needs nothing but the sum of their counts: Σ counts · log rate − n · rate.

    Parameters
    ----------
    expected : ndarray of shape (row, unit, time)
        Positive expected counts.
    summed : ndarray of shape (row, unit, time)
        Counts summed over the trials that this row explains.
    trials : ndarray of shape (row,)
        How many trials those are.

    Returns
    -------
    ndarray of shape (row,)
        In nats.
    """
    explained = (summed * np.log(expected)).sum(axis=(1, 2))
    return np.asarray(explained - trials * expected.sum(axis=(1, 2)))


def gains_and_spikes(
    expected: np.ndarray, summed: np.ndarray, trials: np.ndarray, unit_mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give, per row, the gain over the unit's mean rate in bits, and the spikes it is made on.

    Bits per spike are the sum of the gains over the sum of the spikes.

    Parameters
    ----------
    expected, summed, trials
        As in `log_likelihood`; rates are floored here.
    unit_mean : ndarray of shape (unit,)
        Mean count per bin over training trials, the rate to beat.

    Returns
    -------
    tuple of ndarray of shape (row,)
        Gain in bits, and number of spikes.
    """
    rates = floor_rates(expected, unit_mean)
    flat = np.broadcast_to(np.maximum(unit_mean, FLOOR_COUNT)[:, None], expected.shape[1:])
    base = log_likelihood(np.broadcast_to(flat, expected.shape), summed, trials)
    gain = (log_likelihood(rates, summed, trials) - base) / np.log(2)
    return gain, np.asarray(summed.sum(axis=(1, 2), dtype=np.float64))


def bits_per_spike(gains: np.ndarray, spikes: np.ndarray) -> float:
    """Divide summed gains by summed spikes; NaN without a spike."""
    total = float(spikes.sum())
    return float(gains.sum()) / total if total > 0 else float("nan")


def sum_by_label(
    counts: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Sum counts over the trials of every label.

    Parameters
    ----------
    counts : ndarray of shape (trial, unit, time)
        Spike counts, or expected counts.
    labels : ndarray of shape (trial,)
        Labels as text.
    classes : sequence of str
        The labels wanted.

    Returns
    -------
    tuple of ndarray
        Sums (class, unit, time) and numbers of trials (class,).
    """
    member = labels[None, :] == np.array(classes)[:, None]
    flat = counts.reshape(counts.shape[0], -1).astype(np.float64)
    summed = member.astype(np.float64) @ flat
    return summed.reshape(len(classes), *counts.shape[1:]), member.sum(axis=1)


def fit_label_averages(
    counts: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    random: np.random.Generator,
) -> LabelAverages:
    """Average training trials by label, smoothed as their own held-out likelihood asks.

    Raw averages of sparse counts hold zeros that no likelihood forgives, which would make them
    an easy opponent. So they are smoothed over time (Gaussian, or flat) and drawn towards the
    unit's mean by a number of pseudo-trials; both are chosen by cross-validation over the
    training trials.

    Parameters
    ----------
    counts : ndarray of shape (trial, unit, time)
        Counts of training trials.
    labels : ndarray of shape (trial,)
        Labels as text.
    classes : sequence of str
        The labels wanted.
    random : Generator
        Deals trials into folds.

    Returns
    -------
    LabelAverages
        Expected counts per label, positive.
    """
    folds = random.permutation(labels.size) % min(AVERAGE_FOLDS, labels.size)
    grid = [(width, pseudo) for width in SMOOTHING_WIDTHS for pseudo in PSEUDO_TRIALS]
    likelihood = np.zeros(len(grid))
    for fold in np.unique(folds) if labels.size > 1 else []:
        inside, outside = folds != fold, folds == fold
        mean = unit_means(counts[inside])
        summed, trials = sum_by_label(counts[inside], labels[inside], classes)
        held_out, held_out_trials = sum_by_label(counts[outside], labels[outside], classes)
        for index, (width, pseudo) in enumerate(grid):
            expected = _shrink(summed, trials, mean, width, pseudo)
            likelihood[index] += log_likelihood(expected, held_out, held_out_trials).sum()
    width, pseudo = grid[int(np.argmax(likelihood))]
    mean = unit_means(counts)
    summed, trials = sum_by_label(counts, labels, classes)
    return LabelAverages(
        classes=tuple(classes),
        expected=_shrink(summed, trials, mean, width, pseudo),
        unit_mean=mean,
        width=width,
        pseudo_trials=pseudo,
    )


def _shrink(
    summed: np.ndarray, trials: np.ndarray, mean: np.ndarray, width: float, pseudo: float
) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    if np.isinf(width):
        smooth = np.broadcast_to(summed.mean(axis=2, keepdims=True), summed.shape)
    elif width > 0:
        smooth = gaussian_filter1d(summed, width, axis=2, mode="nearest")
    else:
        smooth = summed
    drawn = (smooth + pseudo * mean[:, None]) / (trials[:, None, None] + pseudo)
    return floor_rates(drawn, mean)
