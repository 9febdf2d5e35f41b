"""Expected counts: the Poisson mean root against simulation, and the calibration's promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from neuroalign.nn.expectation import (
    average_windows,
    fit_calibration,
    rate_of_mean_root,
)
from neuroalign.poisson_root import mean_root


@pytest.mark.parametrize("rate", [0.01, 0.5, 3.0, 40.0, 250.0])
def test_mean_root_equals_simulation(rate: float) -> None:
    drawn = np.sqrt(np.random.default_rng(0).poisson(rate, 400_000))
    error = 5 * drawn.std() / np.sqrt(drawn.size)
    assert mean_root(np.array([rate]))[0] == pytest.approx(drawn.mean(), abs=error)


def test_rate_of_mean_root_undoes_mean_root() -> None:
    rate = np.array([1e-4, 0.02, 0.7, 5.0, 150.0, 800.0])
    back = rate_of_mean_root(torch.from_numpy(mean_root(rate))).numpy()
    np.testing.assert_allclose(back, rate, rtol=1e-3)
    assert rate_of_mean_root(torch.tensor([-0.3, 0.0])).tolist() == [0.0, 0.0]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_calibrated_expectations_are_positive_and_sum_to_the_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rates = rng.gamma(0.5, 1.0, (300, 4)) * np.array([1.0, 0.1, 0.0, 2.0])
    counts = rng.poisson(rates * 0.5 + 0.1) * np.array([1, 1, 1, 0])
    offset, slope = fit_calibration(torch.from_numpy(rates), torch.from_numpy(counts.astype(float)))
    expected = offset + slope * torch.from_numpy(rates)
    assert (expected > 0).all()
    np.testing.assert_allclose(expected.sum(0)[:3], counts.sum(0)[:3], rtol=0.01)
    assert float(expected[:, 3].sum()) < 1e-2


def test_calibration_finds_the_most_likely_line() -> None:
    rng = np.random.default_rng(1)
    rates = rng.gamma(2.0, 0.2, 5000)
    counts = rng.poisson(0.05 + 0.6 * rates).astype(float)

    def loss(line: np.ndarray) -> float:
        expected = line[0] + line[1] * rates
        return float((expected - counts * np.log(expected)).sum())

    best = optimize.minimize(loss, [0.1, 0.5], bounds=[(1e-9, None)] * 2).x
    offset, slope = fit_calibration(
        torch.from_numpy(rates[:, None]), torch.from_numpy(counts[:, None]), iterations=2000
    )
    np.testing.assert_allclose([float(offset), float(slope)], best, rtol=0.02)


def test_averaging_windows_equals_brute_force() -> None:
    rng = np.random.default_rng(2)
    starts, n_lags, n_times = np.array([0, 1, 3]), 2, 6
    values = rng.normal(size=(2, 3, n_lags, 4))
    result = average_windows(torch.from_numpy(values), torch.from_numpy(starts), n_times).numpy()
    for time in range(n_times):
        covering = [values[:, w, time - s] for w, s in enumerate(starts) if s <= time < s + n_lags]
        if covering:
            np.testing.assert_allclose(result[:, time], np.mean(covering, axis=0))
        else:
            assert np.isnan(result[:, time]).all()
