"""What imputed activity explains beyond its floor, with both animals' trials as chance events."""

from __future__ import annotations

import numpy as np

from neuroalign.analysis.poisson import floor_rates


def differences_by_trial(
    imputed: np.ndarray, floor: np.ndarray, counts: np.ndarray, unit_mean: np.ndarray
) -> np.ndarray:
    """Return what imputed rates gain over the floor's, for every source and target trial, in bits.

    Parameters
    ----------
    imputed, floor : ndarray of shape (source trial, unit, time)
        Expected counts.
    counts : ndarray of shape (target trial, unit, time)
        Held-out counts.
    unit_mean : ndarray of shape (unit,)
        Mean count per bin over training trials; rates are kept off zero by it.

    Returns
    -------
    ndarray of shape (source trial, target trial)
        Poisson log-likelihood ratios.
    """
    better, worse = floor_rates(imputed, unit_mean), floor_rates(floor, unit_mean)
    weights = (np.log(better) - np.log(worse)).reshape(len(better), -1)
    explained = weights @ counts.reshape(len(counts), -1).astype(np.float64).T
    spent = (better - worse).sum(axis=(1, 2))
    return np.asarray((explained - spent[:, None]) / np.log(2))


def bootstrap_both(
    numerator: np.ndarray,
    denominator: np.ndarray,
    *,
    bootstraps: int,
    random: np.random.Generator,
) -> tuple[float, float]:
    """Give the 95 % interval of a ratio of sums over pairs of trials, drawing both trials anew.

    Parameters
    ----------
    numerator, denominator : ndarray of shape (source trial, target trial)
        What every pair adds; 0 for pairs that do not count.
    bootstraps : int
        Resamples of source trials and, independently, of target trials; 0 gives NaN.
    random : Generator
        Where the draws come from.

    Returns
    -------
    tuple of float
        Low and high end.
    """
    if bootstraps == 0 or not denominator.sum() > 0:
        return float("nan"), float("nan")
    n_source, n_target = numerator.shape
    drawn = [
        random.multinomial(n, np.full(n, 1 / n), size=bootstraps).astype(np.float64)
        for n in (n_source, n_target)
    ]
    above, below = (
        ((drawn[0] @ values) * drawn[1]).sum(axis=1) for values in (numerator, denominator)
    )
    counted = below > 0
    if not counted.any():  # a few resamples of a few trials may miss every pair
        return float("nan"), float("nan")
    low, high = np.quantile(above[counted] / below[counted], (0.025, 0.975))
    return float(low), float(high)
