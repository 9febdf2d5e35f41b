"""Rates for every label: decoded rates as the prior, counts as the evidence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from neuroalign.label_rates import PSEUDO_TRIALS, UNTRIED, WIDTHS, update_rates

LABELS, TIMES, UNITS = 3, 20, 12


def _data(
    trials: int, *, truth: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    stream = np.random.default_rng(seed)
    codes = np.arange(trials) % LABELS
    counts = stream.poisson(truth[codes])
    held = np.arange(trials) % 5 == 0
    return counts, codes, held


def _truth(seed: int = 1) -> np.ndarray:
    stream = np.random.default_rng(seed)
    steps = stream.normal(0.0, 0.7, (LABELS, TIMES, UNITS))
    return np.asarray(np.exp(gaussian_filter1d(steps, 2.0, axis=1) * 3 - 1.5))


def _loss(rates: np.ndarray, truth: np.ndarray) -> float:
    """Expected Poisson loss of rates where the truth is known."""
    return float((rates - truth * np.log(rates)).mean())


def test_a_true_prior_is_kept_and_a_wrong_one_is_overruled() -> None:
    truth = _truth()
    counts, codes, held = _data(60, truth=truth)
    kept = update_rates(truth[codes], counts, codes, LABELS, held)
    flat = np.full_like(truth, truth.mean())
    learned = update_rates(flat[codes], counts, codes, LABELS, held)
    averages = np.stack([counts[codes == k].mean(0) for k in range(LABELS)])
    averages = np.maximum(averages, 1e-3)
    best = _loss(truth, truth)
    assert _loss(kept, truth) - best < 0.2 * (_loss(averages, truth) - best)
    assert _loss(learned, truth) - best < 0.7 * (_loss(averages, truth) - best)
    assert _loss(learned, truth) < _loss(flat, truth)


def test_the_posterior_is_that_of_a_gamma_prior_on_a_grid() -> None:
    truth = _truth(2)
    counts, codes, held = _data(30, truth=truth, seed=3)
    decoded = np.random.default_rng(4).uniform(0.1, 2.0, counts.shape)
    found = update_rates(decoded, counts, codes, LABELS, held)
    candidates = []
    for width in WIDTHS:
        for pseudo in PSEUDO_TRIALS:
            rates = []
            for k in range(LABELS):
                mine = codes == k
                total = counts[mine].sum(0).astype(float)
                if np.isinf(width):
                    total = np.repeat(total.mean(0, keepdims=True), TIMES, axis=0)
                elif width > 0:
                    total = gaussian_filter1d(total, width, axis=0, mode="nearest")
                rates.append((total + pseudo * decoded[mine].mean(0)) / (mine.sum() + pseudo))
            candidates.append(np.stack(rates))
    assert any(np.allclose(found, rates) for rates in candidates)


def test_without_smoothing_in_time_the_sum_of_the_counts_is_kept() -> None:
    """If reconstructions sum to the counts, so do the updated rates, weighted by trials."""
    truth = _truth(5)
    counts, codes, held = _data(40, truth=truth, seed=6)
    decoded = truth[codes] * (counts.sum((0, 1)) / truth[codes].sum((0, 1)))
    rates = update_rates(decoded, counts, codes, LABELS, held)
    total = np.bincount(codes)[:, None] * rates.sum(1)
    np.testing.assert_allclose(total.sum(0), counts.sum((0, 1)), rtol=0.05)


def test_held_out_trials_choose_and_nothing_else_does() -> None:
    truth = _truth(7)
    counts, codes, held = _data(60, truth=truth, seed=8)
    prior = np.full_like(truth, truth.mean())[codes]
    # held-out trials that look like the prior ask for the prior
    lying = counts.copy()
    lying[held] = np.random.default_rng(9).poisson(prior[held])
    trusting = update_rates(prior, lying, codes, LABELS, held)
    learned = update_rates(prior, counts, codes, LABELS, held)
    assert np.std(trusting) < np.std(learned)


def test_labels_without_trials_have_no_rates_and_few_trials_are_enough() -> None:
    truth = _truth(10)
    counts, codes, _ = _data(4, truth=truth, seed=11)
    rates = update_rates(truth[codes], counts, codes, LABELS + 1, np.zeros(4, dtype=bool))
    assert np.isnan(rates[LABELS]).all()
    assert (rates[:LABELS] > 0).all()
    width, pseudo = UNTRIED
    smooth = gaussian_filter1d(
        counts[codes == 1].sum(0).astype(float), width, axis=0, mode="nearest"
    )
    expected = (smooth + pseudo * truth[1]) / ((codes == 1).sum() + pseudo)
    np.testing.assert_allclose(rates[1], expected)


@pytest.mark.parametrize("silent", [0, 5])
def test_silent_units_keep_their_prior_shrunken(silent: int) -> None:
    truth = _truth(12)
    counts, codes, held = _data(30, truth=truth, seed=13)
    counts[..., silent] = 0
    rates = update_rates(truth[codes], counts, codes, LABELS, held)
    assert (rates[..., silent] > 0).all()
    assert (rates[..., silent] < truth[..., silent]).all()
