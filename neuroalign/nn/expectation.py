"""From decoder outputs to expected spike counts, calibrated per unit.

A network that models square roots, or that was trained with noise, does not predict counts
that add up. Two steps mend this: the mean root is turned into the rate of a Poisson count
that has this mean root, and a line per unit, fitted by maximum Poisson likelihood, maps that
rate to expected counts. The fit is positive, and its sum equals the sum of the counts.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from neuroalign.poisson_root import SMALLEST_RATE, root_table

# part of a unit's mean count below which no expectation falls: a rate of zero would make a
# single spike impossible
RATE_FLOOR = 1e-3


def rate_of_mean_root(root: Tensor) -> Tensor:
    """Return the Poisson rate whose counts have this mean square root (0 where root ≤ 0)."""
    roots, rates = root_table()
    values = root.detach().cpu().double().numpy()
    # interpolation in logarithms is exact for tiny rates, where E[√X] = E[X] = rate
    logs = np.interp(np.log(np.maximum(values, roots[0])), np.log(roots), np.log(rates))
    rate = np.where(values > 0, np.exp(logs), 0.0)
    return torch.from_numpy(rate).to(root)


def fit_calibration(
    rates: Tensor, counts: Tensor, *, iterations: int = 100
) -> tuple[Tensor, Tensor]:
    """Fit expected = offset + slope · rate per unit by maximum Poisson likelihood.

    Expectation maximisation keeps both terms non-negative, raises the likelihood in every
    step, and makes the expectations sum to the counts.

    Parameters
    ----------
    rates : Tensor of shape (sample, unit)
        Uncalibrated rates, not negative.
    counts : Tensor of shape (sample, unit)
        Counts, or averages of counts, to be met.
    iterations : int
        Steps of expectation maximisation.

    Returns
    -------
    offset, slope : Tensor of shape (unit,)
        In counts, and without unit.
    """
    rates, counts = rates.double(), counts.double()
    mean_count = counts.mean(0)
    mean_rate = rates.mean(0)
    informative = mean_rate > 0
    floor = (RATE_FLOOR * mean_count).clamp_min(SMALLEST_RATE)
    offset = torch.where(informative, 0.5 * mean_count, mean_count).clamp_min(SMALLEST_RATE)
    safe = torch.where(informative, mean_rate, 1.0)
    slope = torch.where(informative, 0.5 * mean_count / safe, 0.0)
    for _ in range(iterations):
        ratio = counts / (offset + slope * rates).clamp_min(1e-30)  # 0/0 where nothing fires
        offset, slope = offset * ratio.mean(0), slope * (ratio * rates).mean(0) / safe
    return _with_floor(offset, slope, mean_rate, floor)


def _with_floor(
    offset: Tensor, slope: Tensor, mean_rate: Tensor, floor: Tensor
) -> tuple[Tensor, Tensor]:
    """Raise the offset to the floor and lower the slope so that the sum stays."""
    lifted = torch.maximum(offset, floor)
    excess = lifted - offset
    usable = (slope > 0) & (mean_rate > 0)
    lowered = slope - torch.where(usable, excess / torch.where(usable, mean_rate, 1.0), 0.0)
    return lifted, lowered.clamp_min(0.0)


def average_windows(values: Tensor, starts: Tensor, n_times: int) -> Tensor:
    """Average overlapping windows back onto the time axis.

    Parameters
    ----------
    values : Tensor of shape (trial, window, lag, unit)
        What each window says about its bins.
    starts : Tensor of int64, (window,)
        First bin of each window.
    n_times : int
        Bins of the frame.

    Returns
    -------
    Tensor of shape (trial, time, unit)
        The mean over the windows that cover a bin; not-a-number where none does.
    """
    n_trials, n_windows, n_lags, n_units = values.shape
    total = values.new_zeros(n_trials, n_times, n_units)
    cover = values.new_zeros(n_times)
    for window in range(n_windows):
        start = int(starts[window])
        total[:, start : start + n_lags] += values[:, window]
        cover[start : start + n_lags] += 1.0
    return total / torch.where(cover > 0, cover, torch.nan).unsqueeze(-1)
