"""The mean square root of Poisson counts, which links scaled windows and expected counts."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from scipy import special

SMALLEST_RATE: Final = 1e-6
LARGEST_RATE: Final = 1e6


def mean_root(rate: np.ndarray) -> np.ndarray:
    """Return E[√X] of Poisson counts X, elementwise, for rates in counts per bin."""
    rate = np.asarray(rate, dtype=np.float64)
    k = np.arange(1, 400)
    small = np.minimum(rate, 200.0)[..., None]
    with np.errstate(divide="ignore"):
        log_p = special.xlogy(k, small) - small - special.gammaln(k + 1)
    summed = (np.sqrt(k) * np.exp(log_p)).sum(-1)
    large = np.maximum(rate, 1.0)
    asymptotic = np.sqrt(large) * (1 - 1 / (8 * large) - 7 / (128 * large**2))
    return np.asarray(np.where(rate <= 200.0, summed, asymptotic))


@cache
def root_table() -> tuple[np.ndarray, np.ndarray]:
    """Return mean roots and the rates that have them, both rising."""
    rate = np.geomspace(SMALLEST_RATE, LARGEST_RATE, 4000)
    return mean_root(rate), rate


def expected_root(expected: np.ndarray) -> np.ndarray:
    """Return the mean square root of Poisson counts with the given expectations, from a table.

    Parameters
    ----------
    expected : ndarray
        Expected counts, not negative.

    Returns
    -------
    ndarray of the same shape
        Interpolated; exact to about 1e-4.

    Examples
    --------
    >>> expected_root(np.array([0.0, 0.02])).round(4)
    array([0.    , 0.0199])
    """
    roots, rates = root_table()
    # even for tiny rates, where the mean root is the rate itself
    start = np.concatenate([[0.0], np.sqrt(rates)]), np.concatenate([[0.0], roots])
    return np.asarray(np.interp(np.sqrt(expected), *start))
