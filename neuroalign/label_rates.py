"""What a subject's units do on average for each label, with the model's rates as the prior.

Averages of few trials of sparse counts are noisy bin by bin; decoded rates are smooth, but flat
where the encoder cannot tell time. So each label's training counts, smoothed in time, update the
decoded rates as a number of pseudo-trials would (the posterior mean of a Poisson rate under a
Gamma prior). Smoothing and pseudo-trials are what the fit's validation trials ask for.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np

WIDTHS: Final[Sequence[float]] = (0.0, 1.0, 2.0, 4.0, float("inf"))  # bins; infinite: flat
PSEUDO_TRIALS: Final[Sequence[float]] = (0.5, 2.0, 8.0, 32.0, 128.0)
UNTRIED: Final = (2.0, 8.0)  # bins and pseudo-trials where no trial was held out to choose by


def update_rates(
    decoded: np.ndarray,
    counts: np.ndarray,
    codes: np.ndarray,
    n_labels: int,
    held_out: np.ndarray,
) -> np.ndarray:
    """Average decoded trials by label and update them with what was counted.

    Parameters
    ----------
    decoded : ndarray of shape (trial, time, unit)
        Every trial as the model reconstructs it, positive expected counts.
    counts : ndarray of shape (trial, time, unit)
        What was counted.
    codes : ndarray of int, (trial,)
        Each trial's label, below `n_labels`.
    n_labels : int
        How many labels there are; one without trials gets NaN.
    held_out : ndarray of bool, (trial,)
        Trials that the model was not trained on. They choose smoothing and pseudo-trials:
        others would ask for the model's own reconstruction, which has seen their counts.

    Returns
    -------
    ndarray of shape (label, time, unit)
        Positive expected counts.
    """
    width, pseudo = UNTRIED
    known = held_out & np.isin(codes, codes[~held_out])
    if known.any():
        summed, trials = _sums(counts[~held_out], codes[~held_out], n_labels)
        prior = _means(decoded[~held_out], codes[~held_out], n_labels)
        score = {}
        for choice in itertools.product(WIDTHS, PSEUDO_TRIALS):
            rates = _posterior(prior, summed, trials, *choice)[codes[known]]
            score[choice] = float((counts[known] * np.log(rates) - rates).sum())
        width, pseudo = max(score, key=score.__getitem__)
    summed, trials = _sums(counts, codes, n_labels)
    return _posterior(_means(decoded, codes, n_labels), summed, trials, width, pseudo)


def _means(values: np.ndarray, codes: np.ndarray, n_labels: int) -> np.ndarray:
    """Average trials by label; NaN where there are none."""
    summed, trials = _sums(values, codes, n_labels)
    return np.where(trials > 0, summed / np.maximum(trials, 1.0), np.nan)


def _sums(counts: np.ndarray, codes: np.ndarray, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return summed counts (label, time, unit) and numbers of trials (label, 1, 1)."""
    member = (codes[None, :] == np.arange(n_labels)[:, None]).astype(np.float64)
    summed = np.tensordot(member, counts.astype(np.float64), axes=1)
    return summed, member.sum(1)[:, None, None]


def _posterior(
    prior: np.ndarray, summed: np.ndarray, trials: np.ndarray, width: float, pseudo: float
) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    if np.isinf(width):
        smooth = np.broadcast_to(summed.mean(1, keepdims=True), summed.shape)
    else:
        smooth = gaussian_filter1d(summed, width, axis=1, mode="nearest") if width > 0 else summed
    return np.asarray((smooth + pseudo * prior) / (trials + pseudo))
