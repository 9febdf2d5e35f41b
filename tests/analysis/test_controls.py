"""Controls: spike counts alone, rates made equal, and the time before the onset."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from analysis_examples import LABELS, window_trees
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from neuroalign.analysis.baselines import raw_features
from neuroalign.analysis.controls import SpikeCounts, fit_rates, match_rates, thin_spikes
from neuroalign.analysis.decoding import decode_labels
from neuroalign.data.arrays import from_arrays
from neuroalign.data.binning import bin_spikes
from neuroalign.data.controls import before_onset
from neuroalign.data.notes import read_notes
from neuroalign.data.simulate import simulate_recordings
from neuroalign.data.splits import split_trials
from neuroalign.data.windows import slide_windows, window_starts
from neuroalign.errors import DataError, DataWarning, ParameterError
from neuroalign.schema import build_tree, validate

GAINS = np.array([1.0, 1.6, 2.4, 3.4])


def poisson_subject(rates, *, per_label=60, seed=0, name="ada", first_trial=0, lags=4):
    """Windowed Poisson counts with `rates` (label, unit, time) spikes expected."""
    labels, units, bins = rates.shape
    codes = np.tile(np.arange(labels), per_label)
    counts = np.random.default_rng(seed).poisson(rates[codes]).astype(np.uint8)
    return xr.Dataset(
        {"counts": (("trial", "unit", "time"), counts, {"units": "spikes"})},
        coords={
            "trial": np.arange(codes.size) + first_trial,
            "unit": [f"{name}/{number}" for number in range(units)],
            "time": np.round((np.arange(bins) + 0.5) * 0.01, 9),
            "window": np.round(np.arange(bins - lags + 1) * 0.01, 9),
            "odor": ("trial", np.array(LABELS)[codes]),
        },
        attrs={
            "stage": "windowed",
            "subject": name,
            "bin_width": 0.01,
            "frame_start": 0.0,
            "frame_stop": 0.01 * bins,
            "window_length": 0.01 * lags,
            "window_step": 0.01,
        },
    )


def rate_trees(rates, *, subjects=("ada", "bob"), seed=0, **options):
    """Train and test counts of subjects with the same rates."""
    return tuple(
        build_tree(
            {
                name: poisson_subject(
                    rates, name=name, seed=[seed, number, side], first_trial=1000 * side, **options
                )
                for number, name in enumerate(subjects)
            }
        )
        for side in range(2)
    )


def pure_gain(units=8, bins=8):
    """Every unit fires `GAINS` times its own rate: the label changes nothing but the rate."""
    own = np.random.default_rng(5).uniform(0.05, 0.4, size=(units, bins))
    return GAINS[:, None, None] * own


def accuracy_per_trial(train, test, source, target):
    scores = decode_labels(train, test, label="odor", permutations=0, bootstraps=0)
    place = {"level": "trial", "train_subject": source, "test_subject": target}
    return scores["accuracy"].sel(place).item()


def decode_counts(train, test, source="ada", target="ada"):
    counter = SpikeCounts().fit(train, label="odor")
    return accuracy_per_trial(counter.transform(train), counter.transform(test), source, target)


def test_the_latent_is_the_standardised_number_of_spikes():
    train, test = window_trees(("ada", "bob"), per_label=4)
    counter = SpikeCounts().fit(train)
    for tree in (train, test):
        latents = validate(counter.transform(tree), "latents")
        for name in ("ada", "bob"):
            fitted, data = train[name].to_dataset(), tree[name].to_dataset()

            def totals(dataset):
                counts = dataset["counts"].values.astype(float)
                starts = window_starts(dataset)
                return np.stack([counts[:, :, s : s + 4].sum(axis=(1, 2)) for s in starts], axis=1)

            expected = (totals(data) - totals(fitted).mean()) / totals(fitted).std()
            assert latents[name]["mean"].values[:, :, 0] == pytest.approx(expected, abs=1e-5)
            assert (latents[name]["odor"].values == data["odor"].values).all()
            assert (latents[name]["window"].values == data["window"].values).all()
            assert latents[name].attrs["window_length"] == data.attrs["window_length"]
            assert latents[name]["latent"].values.tolist() == ["spike count"]
    ready = counter.transform(train)["ada"]["mean"].values
    assert ready.mean() == pytest.approx(0, abs=1e-5)
    assert ready.std() == pytest.approx(1, abs=1e-5)


def test_sums_of_many_small_whole_numbers_do_not_overflow():
    data = poisson_subject(np.full((4, 30, 6), 20.0), per_label=2)
    tree = build_tree({"ada": data})
    scaling = SpikeCounts().fit(tree).scaling_["ada"]
    assert scaling.mean.item() == pytest.approx(30 * 4 * 20, rel=0.05)


def test_a_count_that_never_varies_becomes_zero():
    data = poisson_subject(np.full((4, 3, 6), 1.0), per_label=2)
    flat = data.assign(counts=data["counts"] * 0 + 1)
    latents = SpikeCounts().fit(build_tree({"ada": flat})).transform(build_tree({"ada": flat}))
    assert (latents["ada"]["mean"] == 0).all()


def test_spike_counts_is_an_estimator_and_says_what_it_cannot_count():
    train, test = window_trees(("ada", "bob"), per_label=3)
    counter = SpikeCounts()
    assert counter.get_params() == {}
    with pytest.raises(NotFittedError):
        counter.transform(test)
    only_ada = build_tree({"ada": train["ada"].to_dataset()})
    assert clone(counter).fit(only_ada) is not counter
    counter.fit(only_ada)
    with pytest.raises(DataError, match=r"expected subjects of the fit \(ada\), got 'bob'"):
        counter.transform(test)
    fewer = build_tree({"ada": test["ada"].to_dataset().isel(unit=slice(3))})
    with pytest.raises(DataError, match="expected the units of the fit, got others for subject"):
        counter.transform(fewer)
    with pytest.raises(DataError, match="expected windowed data"):
        counter.fit(counter.transform(only_ada))


def test_counts_read_a_label_that_changes_only_the_rate_until_rates_are_matched():
    train, test = rate_trees(pure_gain())
    assert decode_counts(train, test) > 0.6
    assert decode_counts(train, test, "others", "bob") > 0.6  # one latent means the same in both
    matched = match_rates(train, label="odor", random_state=1)
    held_out = match_rates(test, label="odor", reference=train, random_state=1)
    error = np.sqrt(0.25 * 0.75 / 240)
    for source, target in (("ada", "ada"), ("bob", "bob"), ("others", "ada")):
        assert abs(decode_counts(matched, held_out, source, target) - 0.25) < 3 * error
    # Rates were all there was: nothing else reads the matched trials either.
    raw = accuracy_per_trial(*raw_features(matched, held_out), "ada", "ada")
    assert abs(raw - 0.25) < 3 * error
    # A reader that learned from matched trials has not learned to count: the unmatched test
    # trials, of which no label was used, do not help it either.
    counter = SpikeCounts().fit(train)
    latents = counter.transform(matched), counter.transform(test)
    assert accuracy_per_trial(*latents, "ada", "ada") < 0.45


def test_a_pattern_without_a_rate_survives_matching():
    pattern = 0.1 + 0.8 * np.eye(4)[:, :, None] * np.ones((4, 4, 8))
    train, test = rate_trees(GAINS[:, None, None] * pattern, subjects=("ada",))
    matched = match_rates(train, label="odor")
    held_out = match_rates(test, label="odor", reference=train)
    assert decode_counts(matched, held_out) < 0.4
    assert accuracy_per_trial(*raw_features(matched, held_out), "ada", "ada") > 0.95


def test_shares_are_the_lowest_mean_count_over_each():
    train, _ = rate_trees(pure_gain(), per_label=10)
    rates = fit_rates(train, label="odor")
    for subject in ("ada", "bob"):
        data = train[subject].to_dataset()
        totals = data["counts"].values.sum(axis=(1, 2), dtype=float)
        means = np.array([totals[data["odor"].values == label].mean() for label in LABELS])
        assert rates["mean_count"].sel(subject=subject).values == pytest.approx(means)
        assert rates["share"].sel(subject=subject).values == pytest.approx(means.min() / means)
    assert rates["label"].values.tolist() == list(LABELS)


def test_expected_totals_are_equal_after_matching():
    """Given the counts, a label's thinned total is binomial: its mean and spread are known."""
    train, _ = rate_trees(pure_gain(units=20), subjects=("ada",), per_label=80)
    rates = fit_rates(train, label="odor").sel(subject="ada")
    before = train["ada"].to_dataset()
    after = match_rates(train, label="odor", random_state=3)["ada"].to_dataset()
    lowest = rates["mean_count"].min().item()
    for label in LABELS:
        chosen = before["odor"].values == label
        spikes = before["counts"].values[chosen].sum(dtype=float)
        share = rates["share"].sel(label=label).item()
        spread = np.sqrt(spikes * share * (1 - share)) / chosen.sum()
        mean = after["counts"].values[chosen].sum(dtype=float) / chosen.sum()
        assert abs(mean - lowest) <= 4 * spread
        # Every unit keeps the same share of its own spikes.
        own = before["counts"].values[chosen].sum(axis=(0, 2), dtype=float)
        kept = after["counts"].values[chosen].sum(axis=(0, 2), dtype=float)
        assert (np.abs(kept - share * own) <= 4.5 * np.sqrt(own * share * (1 - share))).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 5))
def test_thinning_never_adds_a_spike_and_edits_nothing(seed, per_label):
    rates = np.random.default_rng(seed).uniform(0.5, 3, size=(4, 3, 6))
    train, _ = rate_trees(rates, per_label=per_label, seed=seed % 1000)
    original = train["ada"]["counts"].values.copy()
    matched = match_rates(train, label="odor", random_state=seed)
    for name in ("ada", "bob"):
        before, after = train[name]["counts"], matched[name]["counts"]
        assert (after.values <= before.values).all()
        assert after.dtype == before.dtype
        assert after.attrs == before.attrs
        assert not np.shares_memory(after.values, before.values)
        dropped = int(before.values.sum(dtype=int) - after.values.sum(dtype=int))
        note = read_notes(matched[name].to_dataset())[-1]
        assert (note["what"], note["count"]) == ("spikes", dropped)
        share = fit_rates(train, label="odor")["share"].sel(subject=name)
        fewest = share["label"].values[share.values == 1][0]
        all_kept = train[name]["odor"].values == fewest
        assert (after.values[all_kept] == before.values[all_kept]).all()
    assert (train["ada"]["counts"].values == original).all()
    validate(matched, "windowed")


def test_thinning_depends_on_seed_and_trial_and_not_on_what_stands_beside_it():
    train, _ = rate_trees(pure_gain(), per_label=6)
    rates = fit_rates(train, label="odor")
    first = thin_spikes(train, rates, label="odor", random_state=2)
    xr.testing.assert_identical(first, thin_spikes(train, rates, label="odor", random_state=2))
    other = thin_spikes(train, rates, label="odor", random_state=3)
    assert (first["ada"]["counts"].values != other["ada"]["counts"].values).any()
    part = build_tree({"bob": train["bob"].to_dataset().isel(trial=slice(20, 4, -3))})
    alone = thin_spikes(part, rates, label="odor", random_state=2)["bob"]["counts"]
    assert (alone.values == first["bob"]["counts"].values[20:4:-3]).all()


def test_binned_counts_are_thinned_too_and_several_labels_are_combined():
    recordings, _ = simulate_recordings(units={"ada": 10}, trials=40, random_state=0)
    binned = bin_spikes(recordings)
    label = ["in_sequence", "correct"]
    rates = fit_rates(binned, label=label)
    assert set(rates["label"].values) == {"True|True", "True|False", "False|True", "False|False"}
    validate(match_rates(binned, label=label), "binned")
    one_label = match_rates(binned, label=["odor"])
    xr.testing.assert_identical(one_label, match_rates(binned, label="odor"))


def test_a_label_that_only_some_subjects_have_is_left_out_for_the_others():
    train, _ = rate_trees(pure_gain(), per_label=5)
    bob = train["bob"].to_dataset()
    partly = build_tree(
        {"ada": train["ada"].to_dataset(), "bob": bob.isel(trial=bob["odor"].values != "A")}
    )
    share = fit_rates(partly, label="odor")["share"]
    assert np.isnan(share.sel(subject="bob", label="A"))
    assert share.sel(subject="bob").max().item() == 1.0
    rates = fit_rates(partly, label="odor")
    with pytest.raises(
        DataError, match="expected trials with odor among B, C, D, whose rates are known, got A for"
    ):
        thin_spikes(train, rates, label="odor")


def test_rates_refuse_what_makes_no_sense():
    train, _ = rate_trees(pure_gain(), per_label=5)
    rates = fit_rates(train, label="odor")
    with pytest.raises(DataError, match="expected rates of the label 'other', got those of 'odor'"):
        thin_spikes(train, rates, label="other")
    with pytest.raises(DataError, match="expected rates made by fit_rates, got DataTree"):
        thin_spikes(train, train, label="odor")
    alone = fit_rates(build_tree({"ada": train["ada"].to_dataset()}), label="odor")
    with pytest.raises(DataError, match="expected rates of subject 'bob', got those of 'ada'"):
        thin_spikes(train, alone, label="odor")
    data = train["ada"].to_dataset()
    silent = data.assign(counts=data["counts"] * (data["odor"] != "C").astype(np.uint8))
    with pytest.raises(DataError, match=r"got none with 'C' for subject 'ada'.*keep_labels"):
        fit_rates(build_tree({"ada": silent.transpose("trial", "unit", "time", ...)}), label="odor")
    single = build_tree({"ada": data.isel(trial=data["odor"].values == "A")})
    with pytest.raises(DataError, match="at least two different labels"):
        fit_rates(single, label="odor")
    with pytest.raises(DataError, match="no trial label 'smell' for subject 'ada'"):
        match_rates(train, label="smell")


def test_counts_before_the_onset_equal_a_histogram():
    recordings, _ = simulate_recordings(units={"ada": 6, "mitt": 4}, trials=20, random_state=1)
    control = before_onset(recordings, gap=0.03)
    validate(control, "windowed")
    for name in ("ada", "mitt"):  # their responses start at different times
        data, cut = recordings[name].to_dataset(), control[name].to_dataset()
        assert (cut.attrs["frame_start"], cut.attrs["frame_stop"]) == (-0.28, -0.03)
        assert cut.sizes["window"] == 16
        total = 0
        for trial, onset in enumerate(data["onset"].values):
            edges = onset - 0.28 + 0.01 * np.arange(26)
            for unit, number in enumerate(data["unit_number"].values):
                spikes = data["spike_time"].values[data["spike_unit"].values == number]
                expected = np.histogram(spikes, edges)[0]
                assert (cut["counts"].values[trial, unit] == expected).all()
                total += expected.sum()
        assert total > 0


def test_the_control_frame_has_the_trials_labels_and_split_of_the_response():
    recordings, _ = simulate_recordings(units={"ada": 4, "mitt": 4}, trials=20, random_state=1)
    response = slide_windows(bin_spikes(recordings))
    control = before_onset(recordings)
    for one, other in zip(
        split_trials(response, stratify="odor", random_state=3),
        split_trials(control, stratify="odor", random_state=3),
        strict=True,
    ):
        for name in ("ada", "mitt"):
            assert (one[name]["trial"].values == other[name]["trial"].values).all()
            assert (one[name]["odor"].values == other[name]["odor"].values).all()
    assert control["mitt"]["counts"].shape == response["mitt"]["counts"].shape
    assert (control["mitt"]["window"].values == response["mitt"]["window"].values).all()


def test_arguments_override_the_spec():
    recordings, _ = simulate_recordings(units={"ada": 4}, trials=10, random_state=1)
    control = before_onset(
        recordings, frame_length=0.3, bin_width=0.02, window_length=0.1, window_step=0.1
    )["ada"]
    assert control.attrs["frame_start"] == -0.3
    assert control["counts"].sizes["time"] == 15
    assert control["window"].values.tolist() == [0.0, 0.1, 0.2]


def crowded(stops):
    """Three trials a second apart, with the given stops."""
    table = pd.DataFrame({"onset": [1.0, 2.0, 3.0], "stop": stops, "odor": ["A", "B", "A"]})
    return from_arrays({"ada": [np.linspace(0, 4, 40)]}, {"ada": table}, stop="stop")


def test_frames_that_reach_into_the_trial_before_are_not_cut_in_silence():
    lengths = {"frame_length": 0.25, "bin_width": 0.05, "window_length": 0.1, "window_step": 0.05}
    before_onset(crowded([1.7, 2.7, 3.7]), **lengths)  # warnings are errors
    before_onset(crowded([1.7, np.nan, 3.7]), **lengths)
    with pytest.warns(
        DataWarning,
        match=r"the frames of 1 trials of subject 'ada' begin before the stop of the trial before "
        r"\(by up to 0.1 s\)",
    ) as seen:
        before_onset(crowded([1.7, 2.85, 3.7]), **lengths)
    assert seen[0].filename == __file__


def test_before_onset_refuses_what_makes_no_sense():
    recordings, _ = simulate_recordings(units={"ada": 4}, trials=10, random_state=1)
    with pytest.raises(ParameterError, match=r"gap must not be negative .*, got -0.1"):
        before_onset(recordings, gap=-0.1)
    with pytest.raises(ParameterError, match="gap must be finite"):
        before_onset(recordings, gap=float("nan"))
    with pytest.raises(DataError, match="expected recording data"):
        before_onset(bin_spikes(recordings))
    bare = crowded([1.7, 2.7, 3.7])
    with pytest.raises(ParameterError, match="expected frame_length"):
        before_onset(bare)
