"""The gain over the floor, pair by pair of trials, and its interval over both animals' trials."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import poisson

import neuroalign as na
from neuroalign.analysis.above_floor import bootstrap_both, differences_by_trial


def test_differences_are_likelihood_ratios_of_every_two_trials() -> None:
    random = np.random.default_rng(0)
    imputed, floor = random.uniform(0.2, 3, (2, 4, 3, 5))
    counts = random.poisson(1.0, (6, 3, 5))
    found = differences_by_trial(imputed, floor, counts, np.full(3, 0.5))
    assert found.shape == (4, 6)
    for i, j in np.ndindex(4, 6):
        ratio = poisson.logpmf(counts[j], imputed[i]) - poisson.logpmf(counts[j], floor[i])
        assert found[i, j] == pytest.approx(ratio.sum() / np.log(2))


def test_rates_of_zero_are_kept_off_zero() -> None:
    zero, one = np.zeros((1, 1, 1)), np.ones((1, 1, 1))
    found = differences_by_trial(zero, one, np.ones((1, 1, 1)), np.array([1.0]))
    lowest = 1e-3 + 1e-6
    assert found.item() == pytest.approx((np.log(lowest) - (lowest - 1)) / np.log(2))


@pytest.mark.parametrize("axis", [0, 1])
def test_intervals_hold_the_variation_of_either_animals_trials(axis: int) -> None:
    """Values that vary over one animal's trials alone: the interval is that of their mean."""
    random = np.random.default_rng(1)
    n = 400
    values = random.normal(0.3, 1.0, n)
    numerator = np.broadcast_to(np.expand_dims(values, 1 - axis), (n, n) if axis else (n, 50))
    low, high = bootstrap_both(
        numerator, np.ones(numerator.shape), bootstraps=2000, random=np.random.default_rng(2)
    )
    error = values.std() / np.sqrt(n)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_both_sources_of_variation_add_up() -> None:
    random = np.random.default_rng(3)
    rows, columns = random.normal(0, 1, 300), random.normal(0, 1, 300)
    numerator = rows[:, None] + columns[None]
    low, high = bootstrap_both(
        numerator, np.ones((300, 300)), bootstraps=2000, random=np.random.default_rng(4)
    )
    width = 2 * 1.96 * np.sqrt((rows.var() + columns.var()) / 300)
    assert high - low == pytest.approx(width, rel=0.1)


def test_intervals_of_a_true_difference_cover_it() -> None:
    """Truth 0.2: about 95 of 100 intervals hold it; 86 or fewer would be one in ten thousand."""
    covered = 0
    for seed in range(100):
        random = np.random.default_rng([5, seed])
        numerator = 0.2 + random.normal(0, 1, (60, 1)) + random.normal(0, 1, (1, 50))
        low, high = bootstrap_both(
            numerator, np.ones((60, 50)), bootstraps=400, random=np.random.default_rng(seed)
        )
        covered += low <= 0.2 <= high
    assert covered > 86


def test_without_resamples_or_spikes_there_is_no_interval() -> None:
    random = np.random.default_rng(0)
    ones, nothing = np.ones((3, 3)), np.zeros((3, 3))
    assert np.isnan(bootstrap_both(ones, ones, bootstraps=0, random=random)).all()
    assert np.isnan(bootstrap_both(ones, nothing, bootstraps=9, random=random)).all()
    one_pair = np.zeros((40, 40))
    one_pair[0, 0] = 1.0
    seeds = [np.random.default_rng(seed) for seed in range(30)]
    ends = [bootstrap_both(one_pair, one_pair, bootstraps=1, random=seed) for seed in seeds]
    assert {end for pair in ends for end in pair if np.isfinite(end)} == {1.0}
    assert any(np.isnan(pair).all() for pair in ends)


@pytest.fixture(scope="module")
def scored() -> dict[str, xr.Dataset]:
    recordings, _ = na.simulate_recordings(
        units={"ada": 14, "bob": 12}, trials=60, mean_rate=9, simultaneous=True, random_state=0
    )
    windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    train, test = na.split_trials(windows, simultaneous=True, stratify="odor", random_state=0)
    model = na.SharedLatentModel(
        2, max_epochs=3, validation_fraction=0, random_state=0, verbose=False
    ).fit(train, label="odor")
    return {
        match: na.score_imputation(model, train, test, label="odor", match=match, bootstraps=200)  # type: ignore[arg-type]
        for match in ("label", "trial")
    }


@pytest.mark.parametrize("match", ["label", "trial"])
def test_scores_say_how_far_above_the_floor(scored: dict[str, xr.Dataset], match: str) -> None:
    scores = scored[match]
    bits = scores["bits_per_spike"]
    gap = bits.sel(kind="imputed", drop=True) - bits.sel(kind="floor", drop=True)
    xr.testing.assert_allclose(scores["above_floor"], gap)
    interval = scores["above_floor_interval"]
    for pair in ({"source": "ada", "target": "bob"}, {"source": "bob", "target": "ada"}):
        low, high = interval.sel(pair).values
        assert low < float(scores["above_floor"].sel(pair)) < high
    table = na.imputation_to_frame(scores)
    imputed = table[table["kind"] == "imputed"]
    assert imputed[["above_floor", "above_floor_low", "above_floor_high"]].notna().all(axis=None)
    assert table.loc[table["kind"] != "imputed", "above_floor"].isna().all()
