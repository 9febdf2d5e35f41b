"""Imputation scores against brute force, closed forms, and known truths."""

import numpy as np
import pytest
import xarray as xr
from analysis_examples import LABELS, LabelModel, true_rates, window_trees
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from neuroalign.analysis.imputation import (
    imputation_to_frame,
    reconstruction_scores,
    score_imputation,
)
from neuroalign.analysis.poisson import (
    fit_label_averages,
    floor_rates,
    gains_and_spikes,
    sum_by_label,
    unit_means,
)
from neuroalign.data.randomness import named_generator
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import build_tree


class TruthModel(LabelModel):
    """Imputes the true rates of the source trial's true label: nothing can be better."""

    def impute(self, data, *, source, target, windows=False):
        made = super().impute(data, source=source, target=target, windows=windows)[target]
        made = made.to_dataset()
        codes = [LABELS.index(label) for label in made["odor"].values.tolist()]
        rates = true_rates(target, units=self.units_[target].size, bins=self.time_[target].size)
        if windows:
            places = self.starts_[target][:, None] + np.arange(self.lags_[target])
            rates = rates[:, :, places].transpose(0, 2, 1, 3)
        return build_tree({target: made.assign(expected=(made["expected"].dims, rates[codes]))})


class MeanModel(LabelModel):
    """Imputes every unit's mean training rate: nothing is known."""

    def impute(self, data, *, source, target, windows=False):
        made = super().impute(data, source=source, target=target, windows=windows)[target]
        made = made.to_dataset()
        mean = self.averages_[target].mean(axis=(0, 2))
        shape = (1, 1, -1, 1) if windows else (1, -1, 1)
        flat = np.broadcast_to(mean.reshape(shape), made["expected"].shape)
        return build_tree({target: made.assign(expected=(made["expected"].dims, flat))})


@pytest.fixture(scope="module")
def trees():
    return window_trees(per_label=10)


@pytest.fixture(scope="module")
def scored(trees):
    model = LabelModel().fit(trees[0], label="odor")
    return model, score_imputation(model, *trees, label="odor", bootstraps=100)


def brute_force_bits(expected, labels, train, test):
    """One Poisson likelihood at a time: each imputed trial against each real one of its label."""
    mean = train["counts"].values.mean(axis=(0, 2))
    gain, spikes = 0.0, 0
    for rates, label in zip(expected, labels, strict=True):
        floored = np.maximum(rates, 1e-3 * mean[:, None] + 1e-6)
        for counts, other in zip(test["counts"].values, test["odor"].values, strict=True):
            if label == other:
                gain += poisson(floored).logpmf(counts).sum()
                gain -= poisson(np.maximum(mean, 1e-6)[:, None]).logpmf(counts).sum()
                spikes += counts.sum()
    return gain / np.log(2) / spikes


def test_bits_per_spike_equal_brute_force(trees, scored):
    model, scores = scored
    train, test = (tree["bob"].to_dataset() for tree in trees)
    imputed = model.impute(trees[1], source="ada", target="bob")["bob"]
    expected = brute_force_bits(imputed["expected"].values, imputed["odor"].values, train, test)
    place = {"source": "ada", "target": "bob"}
    found = scores["bits_per_spike"].sel(kind="imputed", **place).item()
    assert found == pytest.approx(expected)
    low, high = scores["interval"].sel(kind="imputed", **place).values
    assert low < found < high
    assert scores["trials"].sel(**place).item() == 40


def test_the_ceiling_is_the_training_average_of_the_true_label(trees, scored):
    train, test = (tree["bob"].to_dataset() for tree in trees)
    _, scores = scored
    averages = fit_label_averages(
        train["counts"].values,
        train["odor"].values,
        LABELS,
        random=named_generator(0, "averages", "bob"),
    )
    labels = trees[1]["ada"]["odor"].values
    rates = averages.expected[[LABELS.index(label) for label in labels]]
    expected = brute_force_bits(rates, labels, train, test)
    found = scores["bits_per_spike"].sel(kind="ceiling", source="ada", target="bob").item()
    assert found == pytest.approx(expected)


def test_true_rates_reach_the_ceiling_and_are_read_right(trees):
    model = TruthModel().fit(trees[0], label="odor")
    scores = score_imputation(model, *trees, label="odor", bootstraps=0)
    kinds = {kind: scores.sel(kind=kind) for kind in ("imputed", "floor", "ceiling")}
    off = np.isfinite(scores["bits_per_spike"].sel(kind="imputed").values)
    assert off.sum() == 6
    better = kinds["imputed"]["bits_per_spike"].values[off]
    assert (better > kinds["ceiling"]["bits_per_spike"].values[off]).all()
    assert (
        (kinds["ceiling"]["bits_per_spike"] >= kinds["floor"]["bits_per_spike"] - 1e-9)
        .values[off]
        .all()
    )
    assert (kinds["imputed"]["coherence_trial"].values[off] == 1).all()
    assert (kinds["imputed"]["correlation_unit"].values[off] > 0.8).all()
    assert np.isnan(scores["interval"]).all()


def test_mean_rates_are_worth_nothing(trees):
    model = MeanModel().fit(trees[0], label="odor")
    scores = score_imputation(model, *trees, label="odor", sources="ada", targets="bob")
    one = scores.sel(kind="imputed", source="ada", target="bob")
    assert one["bits_per_spike"].item() == pytest.approx(0, abs=1e-9)
    assert one["coherence_trial"].item() == pytest.approx(0.25)
    assert one["coherence_window"].item() == pytest.approx(0.25, abs=0.05)
    assert one["correlation_unit"].item() == 0


def test_the_floor_fails_where_the_source_cannot_be_read(trees):
    noise = window_trees(("ada",), per_label=10, strength=0.0)
    mixed = [
        build_tree({"ada": noise[side]["ada"].to_dataset(), "bob": trees[side]["bob"].to_dataset()})
        for side in (0, 1)
    ]
    model = LabelModel().fit(mixed[0], label="odor")
    scores = score_imputation(model, *mixed, label="odor", sources=["ada"], targets=["bob"])
    one = scores.sel(source="ada", target="bob")
    assert one["coherence_trial"].sel(kind="floor").item() == pytest.approx(0.25, abs=0.2)
    assert one["coherence_trial"].sel(kind="ceiling").item() == 1.0
    floor, ceiling = (one["bits_per_spike"].sel(kind=kind).item() for kind in ("floor", "ceiling"))
    assert floor < ceiling - 0.3
    assert one["real_coherence"].sel(level="trial").item() > 0.9  # bob himself is clear


def test_scores_do_not_depend_on_the_order_of_subjects(trees, scored):
    model, scores = scored
    order = ["cleo", "ada", "bob"]
    turned = [build_tree({n: tree[n].to_dataset() for n in order}) for tree in trees]
    again = score_imputation(model, *turned, label="odor", bootstraps=100)
    again = again.sel(source=scores["source"].values, target=scores["target"].values)
    xr.testing.assert_allclose(scores, again)


def test_correlation_is_that_of_label_averages(trees, scored):
    model, scores = scored
    imputed = model.impute(trees[1], source="ada", target="cleo")["cleo"].to_dataset()
    real = trees[1]["cleo"].to_dataset()
    guess = imputed["expected"].groupby("odor").mean("trial").transpose("odor", "unit", "time")
    seen = real["counts"].groupby("odor").mean("trial").transpose("odor", "unit", "time")
    one = scores.sel(kind="imputed", source="ada", target="cleo")
    expected = np.corrcoef(guess.values.ravel(), seen.values.ravel())[0, 1]
    assert one["correlation"].item() == pytest.approx(expected)
    by_unit = [
        np.corrcoef(guess.values[:, unit].ravel(), seen.values[:, unit].ravel())[0, 1]
        for unit in range(real.sizes["unit"])
    ]
    assert one["correlation_unit"].item() == pytest.approx(np.mean(by_unit))


def test_trials_recorded_together_are_scored_one_by_one(trees):
    model = LabelModel().fit(trees[0], label="odor")
    scores = score_imputation(
        model, *trees, label="odor", sources="ada", targets="bob", match="trial", bootstraps=0
    )
    train, test = (tree["bob"].to_dataset() for tree in trees)
    rates = model.impute(trees[1], source="ada", target="bob")["bob"]["expected"].values
    mean = unit_means(train["counts"].values)
    rates = floor_rates(rates, mean)
    gain = poisson(rates).logpmf(test["counts"].values).sum()
    gain -= poisson(np.broadcast_to(mean[:, None], rates.shape)).logpmf(test["counts"].values).sum()
    expected = gain / np.log(2) / test["counts"].values.sum()
    found = scores["bits_per_spike"].sel(kind="imputed", source="ada", target="bob").item()
    assert found == pytest.approx(expected)


def test_labels_without_a_counterpart_do_not_count(trees):
    def without(tree, subject, label):
        made = {name: child.to_dataset() for name, child in tree.children.items()}
        made[subject] = made[subject].isel(trial=made[subject]["odor"].values != label)
        return build_tree(made)

    model = LabelModel().fit(trees[0], label="odor")
    scores = score_imputation(
        model, trees[0], without(trees[1], "bob", "D"), label="odor", targets="bob", bootstraps=0
    )
    assert scores["trials"].sel(source="ada", target="bob").item() == 30
    assert scores["chance"].sel(target="bob").item() == pytest.approx(1 / 3)


def test_bins_that_no_window_reaches_are_left_out(trees):
    def shorten(dataset):  # windows reach the first eight of twelve bins only
        return dataset.isel(window=slice(0, 5))

    short = [
        build_tree({n: shorten(c.to_dataset()) for n, c in tree.children.items()}) for tree in trees
    ]
    model = LabelModel().fit(short[0], label="odor")
    scores = score_imputation(
        model, *short, label="odor", sources="ada", targets="bob", bootstraps=0
    )
    cut = [tree["bob"].to_dataset().isel(time=slice(0, 8)) for tree in short]
    imputed = model.impute(short[1], source="ada", target="bob")["bob"]
    expected = brute_force_bits(imputed["expected"].values[:, :, :8], imputed["odor"].values, *cut)
    found = scores["bits_per_spike"].sel(kind="imputed", source="ada", target="bob").item()
    assert found == pytest.approx(expected)


def test_frame(scored):
    _, scores = scored
    frame = imputation_to_frame(scores)
    assert len(frame) == 3 * 6
    assert (frame["source"] != frame["target"]).all()
    row = frame[(frame.kind == "floor") & (frame.source == "bob") & (frame.target == "ada")].iloc[0]
    one = scores.sel(kind="floor", source="bob", target="ada")
    assert row["bits_per_spike"] == one["bits_per_spike"].item()
    assert row["real_coherence_trial"] == one["real_coherence"].sel(level="trial").item()
    with pytest.raises(DataError, match="made by score_imputation, got int"):
        imputation_to_frame(3)


def test_reconstruction_is_scored_against_a_trial_of_its_own(trees):
    model = LabelModel().fit(trees[0], label="odor")
    scores = reconstruction_scores(model, *trees, bootstraps=50)
    rates = model.reconstruct(trees[1])["bob"]["expected"].values
    train, test = (tree["bob"].to_dataset()["counts"].values for tree in trees)
    mean = unit_means(train)
    rates = floor_rates(rates, mean)
    gain = poisson(rates).logpmf(test).sum()
    gain -= poisson(np.broadcast_to(mean[:, None], rates.shape)).logpmf(test).sum()
    found = scores["bits_per_spike"].sel(subject="bob").item()
    assert found == pytest.approx(gain / np.log(2) / test.sum())
    low, high = scores["interval"].sel(subject="bob").values
    assert low < found < high
    assert scores["expected_ratio"].values == pytest.approx(1, abs=0.15)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16))
def test_gains_are_zero_for_the_mean_and_largest_for_the_truth(seed):
    random = np.random.default_rng(seed)
    rates = random.uniform(0.2, 2, size=(3, 4))
    counts = random.poisson(rates, size=(200, 3, 4)).astype(float)
    mean = unit_means(counts)
    summed, trials = counts.sum(axis=0)[None], np.array([200])
    flat = np.broadcast_to(mean[:, None], (1, 3, 4))
    gain, spikes = gains_and_spikes(flat, summed, trials, mean)
    assert gain == pytest.approx(0)
    assert spikes == pytest.approx(counts.sum())
    best, _ = gains_and_spikes(summed / 200, summed, trials, mean)
    other, _ = gains_and_spikes(
        summed / 200 * random.uniform(0.5, 1.5, (3, 4)), summed, trials, mean
    )
    assert best[0] >= other[0]


def test_sums_by_label_are_loops():
    random = np.random.default_rng(0)
    counts, labels = random.poisson(1.0, size=(20, 3, 5)), random.choice(list("AB"), 20)
    summed, trials = sum_by_label(counts, labels, ["A", "B", "C"])
    for row, label in enumerate("ABC"):
        chosen = [c for c, value in zip(counts, labels, strict=True) if value == label]
        assert trials[row] == len(chosen)
        assert summed[row] == pytest.approx(np.sum(chosen, axis=0) if chosen else np.zeros((3, 5)))


def test_averages_are_smoothed_as_much_as_the_data_ask():
    random = np.random.default_rng(0)
    labels = np.tile(["A", "B"], 150)
    time = np.arange(20)
    sharp = 1 + 20.0 * (time == 7)
    flat = np.full(20, 0.05)
    clear = np.where((labels == "A")[:, None, None], sharp, sharp[::-1])
    for rates, widest in ((clear, 0.0), (np.broadcast_to(flat, (300, 1, 20)), np.inf)):
        averages = fit_label_averages(random.poisson(rates), labels, ["A", "B"], random=random)
        assert averages.width == widest
    assert averages.pseudo_trials == 32  # labels do not differ: drawn to the unit's mean


def test_averages_beat_raw_ones_on_sparse_counts():
    random = np.random.default_rng(1)
    labels = np.tile(list("ABCD"), 12)
    rates = 0.03 * np.exp(random.normal(size=(4, 10, 1))) * np.ones((1, 1, 25))
    codes = np.array(["ABCD".index(label) for label in labels])
    train, test = random.poisson(rates[codes]), random.poisson(rates[codes])
    summed, trials = sum_by_label(test, labels, list("ABCD"))
    mean = unit_means(train)
    made = fit_label_averages(train, labels, list("ABCD"), random=random).expected
    raw_sums, raw_trials = sum_by_label(train, labels, list("ABCD"))
    gain, _ = gains_and_spikes(made, summed, trials, mean)
    raw, _ = gains_and_spikes(raw_sums / raw_trials[:, None, None], summed, trials, mean)
    assert gain.sum() > 0 > raw.sum()


def test_bad_arguments(trees):
    model = LabelModel().fit(trees[0], label="odor")
    with pytest.raises(DataError, match="must not share trials"):
        score_imputation(model, trees[0], trees[0], label="odor")
    with pytest.raises(
        ParameterError, match=r"sources must be among .*ada, bob, cleo, got \['eve'\]"
    ):
        score_imputation(model, *trees, label="odor", sources="eve")
    with pytest.raises(ParameterError, match="a source and a target that differ"):
        score_imputation(model, *trees, label="odor", sources="ada", targets="ada")
    with pytest.raises(ParameterError, match="match must be 'label' or 'trial', got 'time'"):
        score_imputation(model, *trees, label="odor", match="time")
    with pytest.raises(DataError, match="no trial label 'side' for subject 'ada'"):
        score_imputation(model, *trees, label="side")


def test_output_that_does_not_fit_is_refused(trees):
    class Broken(LabelModel):
        def __init__(self, change=None):
            super().__init__()
            self.change = change

        def impute(self, data, *, source, target, windows=False):
            made = super().impute(data, source=source, target=target, windows=windows)
            return build_tree({target: self.change(made[target].to_dataset())})

    for change, message in (
        (lambda d: d.isel(trial=slice(0, 3)), "for all 40 trials, got none for 37"),
        (lambda d: d.isel(unit=slice(1, None)), "'bob' for all 7 units, got none for 1 of them"),
        (lambda d: d.assign(expected=d["expected"] * np.nan), "finite and not negative"),
        (lambda d: d.assign(expected=d["expected"] - 9), "finite and not negative"),
    ):
        model = Broken(change).fit(trees[0], label="odor")
        with pytest.raises(DataError, match=message):
            score_imputation(model, *trees, label="odor", sources="ada", targets="bob")
