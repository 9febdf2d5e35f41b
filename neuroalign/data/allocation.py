"""Which trials go where when a set of labelled trials is divided evenly."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def singles(values: npt.NDArray[Any]) -> list[Any]:
    """List the values that occur once.

    Examples
    --------
    >>> singles(np.array(["A", "B", "A"]))
    ['B']
    """
    found, counts = np.unique(values, return_counts=True)
    return list(found[counts == 1].tolist())


def choose_test(
    values: npt.NDArray[Any], size: int, stream: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Draw test trials so that each value is divided as evenly as whole trials allow.

    Values with two or more trials come on both sides; one with a single trial is never drawn
    unless it is all there is to draw. `size` gives way where these rules ask for it.

    Parameters
    ----------
    values : ndarray of shape (trial,)
        What to divide by.
    size : int
        Number of test trials.
    stream : Generator
        Random numbers.

    Returns
    -------
    ndarray of shape (trial,)
        True for test trials.
    """
    _, codes, totals = np.unique(values, return_inverse=True, return_counts=True)
    shares = _shares(totals, size, stream)
    test = np.zeros(codes.size, dtype=bool)
    for code, share in enumerate(shares):
        members = stream.permutation(np.flatnonzero(codes == code))
        test[members[:share]] = True
    return test


def assign_folds(
    values: npt.NDArray[Any], folds: int, stream: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Give every trial a fold, so that folds and the values within them differ by one at most.

    Parameters
    ----------
    values : ndarray of shape (trial,)
        What to divide by.
    folds : int
        Number of folds.
    stream : Generator
        Random numbers.

    Returns
    -------
    ndarray of shape (trial,)
        The fold in which a trial is tested, from 0.
    """
    _, codes = np.unique(values, return_inverse=True)
    # dealing out the shuffled trials value by value, like cards, balances folds and values at once
    order = stream.permutation(codes.size)
    order = order[np.argsort(codes[order], kind="stable")]
    dealt = np.empty(codes.size, dtype=np.int64)
    dealt[order] = np.arange(codes.size) % folds
    return dealt


def _shares(
    totals: npt.NDArray[np.int64], size: int, stream: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Divide the test trials over the values by largest remainder, within each value's bounds."""
    low = (totals >= 2).astype(np.int64)
    high = np.where(totals >= 2, totals - 1, 0)
    if not high.any():
        # single trials only: nothing to keep in balance, so the rule about them cannot hold
        low, high = np.zeros_like(totals), totals
    size = int(np.clip(size, low.sum(), high.sum()))
    ideal = size * totals / totals.sum()
    shares: npt.NDArray[np.int64] = np.clip(np.floor(ideal).astype(np.int64), low, high)
    ties = stream.random(totals.size) * 1e-6
    while (missing := size - int(shares.sum())) != 0:
        gap = ideal - shares + ties
        if missing > 0:
            shares[np.argmax(np.where(shares < high, gap, -np.inf))] += 1
        else:
            shares[np.argmin(np.where(shares > low, gap, np.inf))] -= 1
    return shares
