from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from scipy.stats import poisson

from neuroalign.data.bayes import draw_trials
from neuroalign.data.binning import bin_spikes
from neuroalign.data.randomness import named_generator
from neuroalign.data.simulate import TRIALS, UNITS, simulate_recordings
from neuroalign.data.simulation_truth import latents_of
from neuroalign.data.splits import keep_labels, keep_spec_trials, split_trials
from neuroalign.data.windows import slide_windows, window_view
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import build_tree, iterate_subjects, validate

SMALL = {"units": {"mitt": 60, "stella": 40}, "trials": 80}


def windows_of(recordings):
    return slide_windows(bin_spikes(keep_spec_trials(recordings)))


@pytest.fixture(scope="module")
def small():
    recordings, truth = simulate_recordings(**SMALL, random_state=0)
    return recordings, truth, windows_of(recordings)


@pytest.fixture(scope="module")
def default():
    recordings, truth = simulate_recordings(random_state=0)
    return recordings, truth, windows_of(recordings)


def test_the_default_is_five_rats_of_the_papers_sizes(default):
    recordings, _, windows = default
    validate(recordings, "recording")
    assert {n: d.sizes["unit"] for n, d in iterate_subjects(recordings)} == dict(UNITS)
    assert {n: d.sizes["trial"] for n, d in iterate_subjects(windows)} == dict(TRIALS)
    assert (min(TRIALS.values()), max(TRIALS.values())) == (180, 256)
    for name, data in iterate_subjects(windows):
        assert data.sizes["window"] == 16
        assert data.attrs["frame_start"] == (0.5 if name in {"mitt", "stella"} else 0.25)
        occupied = (data["counts"].values > 0).mean()
        assert 0.015 < occupied < 0.025
    for _, data in iterate_subjects(recordings):
        assert set(data["odor"].values) == set("ABCDE")
        assert 0.05 < (~data["in_sequence"].values).mean() < 0.2
        assert 0.03 < (~data["correct"].values).mean() < 0.15
        later = data["onset"].values[1:] - data["onset"].values[:-1]
        assert later.min() >= 3
        assert later.max() <= 4


def test_spikes_are_laid_out_as_recordings_promise(small):
    recordings, _, _ = small
    for _, data in iterate_subjects(recordings):
        times, owner = data["spike_time"].values, data["spike_unit"].values
        assert (np.diff(owner) >= 0).all()
        assert (np.diff(times)[np.diff(owner) == 0] >= 0).all()
        assert times.min() >= 0
        assert times.max() > data["stop"].values[-1] - 10
        assert data["odor"].dtype == np.dtype("<U1")
        assert data["correct"].dtype == bool


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_bayes_optimal_classifier_reads_a_window_right_in_090_to_095(seed):
    recordings, truth = simulate_recordings(random_state=seed)
    accuracy = truth.bayes_accuracy(windows_of(recordings), samples=100)
    assert list(accuracy.index) == list(UNITS)
    assert 0.90 <= accuracy.mean() <= 0.95
    assert accuracy.min() >= 0.85
    assert accuracy.max() <= 0.98


def test_smaller_populations_are_calibrated_too(small):
    _, truth, windows = small
    accuracy = truth.bayes_accuracy(windows, samples=100)
    assert 0.87 <= accuracy.mean() <= 0.96


def test_bayes_probabilities_are_honest(small):
    # a posterior computed from the truth is right as often as it says
    _, truth, windows = small
    posterior = truth.posterior(windows, samples=300)
    for _, data in iterate_subjects(posterior):
        probability = data["probability"].values
        np.testing.assert_allclose(probability.sum(axis=-1), 1)
        true = data["odor"].values[:, None]
        right = data["odor_name"].values[probability.argmax(axis=-1)] == true
        assert abs(probability.max(axis=-1).mean() - right.mean()) < 0.03


def test_bayes_probabilities_equal_poisson_probabilities_written_out(small):
    _, truth, windows = small
    samples, subject, trial, window = 7, truth.subject("mitt"), 3, 5
    posterior = truth.posterior(windows, samples=samples, random_state=4)["mitt"]
    data = windows["mitt"].to_dataset()
    stream = named_generator(4, "bayes", "mitt")
    gain, jitter, nuisance = draw_trials(truth, samples, stream)
    time = data["time"].values[window : window + 10]
    counts = data["counts"].values[trial, :, window : window + 10]
    likelihood = []
    for odor in range(4):
        latents = latents_of(
            truth.trajectories, np.full(samples, odor), nuisance, time - jitter[:, None]
        )
        rate = np.exp(subject.baseline + latents @ subject.tuning.T) * gain[:, None, None]
        chance = poisson.pmf(counts.T, rate * 0.01).prod(axis=(1, 2))
        likelihood.append(chance.mean())
    expected = np.array(likelihood) / np.sum(likelihood)
    found = posterior["probability"].values[trial, window]
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_spikes_follow_the_true_rates(small):
    recordings, truth, _ = small
    binned = bin_spikes(recordings)
    for name, data in iterate_subjects(binned):
        expected = np.exp(truth.log_rate(name, data["time"].values)) * 0.01
        assert expected.dims == ("trial", "unit", "time")
        # sums over trials of Poisson counts: mean and variance are both the expected count
        for dims in ("trial", "time"), ("unit", "time"), ("trial", "unit"):
            total = data["counts"].astype(float).sum(dims)
            mean = expected.sum(dims)
            z = ((total - mean) / np.sqrt(mean)).values
            assert abs(z.mean()) < 4 / np.sqrt(z.size)
            assert abs((z**2).mean() - 1) < 4 * np.sqrt(2 / z.size) + 0.05


# the frame is put between trials on purpose
@pytest.mark.filterwarnings("ignore::neuroalign.errors.DataWarning")
def test_between_trials_units_fire_at_their_baseline(small):
    recordings, truth, _ = small
    later = bin_spikes(recordings, frame_start=1.6, frame_length=1.0, bin_width=1.0)
    for name, data in iterate_subjects(later):
        expected = np.exp(truth.subject(name).baseline) * data.sizes["trial"]
        z = (data["counts"].values.sum(axis=(0, 2)) - expected) / np.sqrt(expected)
        assert abs(z.mean()) < 4 / np.sqrt(z.size)
        assert abs((z**2).mean() - 1) < 4 * np.sqrt(2 / z.size) + 0.05


def test_a_linear_classifier_reads_much_but_not_all(default):
    from sklearn.linear_model import LogisticRegression

    windows = default[2]
    train, test = split_trials(windows, stratify="odor", random_state=0)
    sides = []
    for side in (train, test):
        data = side["stella"].to_dataset()
        view = window_view(data)
        features = view.reshape(view.shape[0] * view.shape[1], -1).astype(np.float32)
        sides.append((features, np.repeat(data["odor"].values, view.shape[1])))
    model = LogisticRegression(C=0.3, max_iter=60, tol=1e-2).fit(*sides[0])
    assert 0.75 < model.score(*sides[1]) < 0.93


def test_wrong_trials_follow_another_odor(default):
    recordings, truth, _ = default
    for name, data in iterate_subjects(recordings):
        same = data["odor"].values == np.array(list("ABCDE"))[truth.subject(name).perceived]
        np.testing.assert_array_equal(same, data["correct"].values)
    wrong = keep_labels(recordings, "correct", False)
    windows = slide_windows(bin_spikes(wrong))
    assert truth.bayes_accuracy(windows, samples=50).mean() < 0.2


def test_without_signal_rates_know_nothing():
    recordings, truth = simulate_recordings(**SMALL, signal=0, random_state=0)
    windows = windows_of(recordings)
    for _, data in iterate_subjects(truth.posterior(windows, samples=20)):
        np.testing.assert_allclose(data["probability"], 0.25)
    for name in recordings.children:
        assert not truth.subject(name).tuning.any()
        rates = (
            truth.log_rate(name, [0.0, 0.1, 0.2]) - np.log(truth.subject(name).gain)[:, None, None]
        )
        np.testing.assert_allclose(rates - rates[0], 0, atol=1e-12)


def test_more_signal_reads_better():
    found = []
    for signal in (0.25, 0.5, 1.0):
        recordings, truth = simulate_recordings(
            units={"mitt": 40}, trials=60, signal=signal, random_state=1
        )
        found.append(truth.bayes_accuracy(windows_of(recordings), samples=60)["mitt"])
    assert found[0] < found[1] - 0.05
    assert found[1] < found[2] - 0.05


def test_simultaneous_subjects_go_through_the_same_trials():
    recordings, truth = simulate_recordings(**SMALL, simultaneous=True, random_state=0)
    mitt, stella = (recordings[name].to_dataset() for name in ("mitt", "stella"))
    for name in ("trial", "onset", "start", "stop", "odor", "in_sequence", "correct", "arousal"):
        np.testing.assert_array_equal(mitt[name].values, stella[name].values)
    first, second = truth.subject("mitt"), truth.subject("stella")
    np.testing.assert_array_equal(first.nuisance, second.nuisance)
    np.testing.assert_array_equal(first.perceived, second.perceived)
    assert not np.allclose(first.jitter, second.jitter)
    assert not np.allclose(first.gain, second.gain)
    apart, _ = simulate_recordings(**SMALL, random_state=0)
    assert not np.array_equal(
        apart["mitt"]["onset"].values[:50], apart["stella"]["onset"].values[:50]
    )
    with pytest.raises(ParameterError, match="same number of trials"):
        simulate_recordings(
            units=SMALL["units"], trials={"mitt": 8, "stella": 9}, simultaneous=True
        )


def test_arousal_moves_rates_whatever_the_odor(small):
    recordings, truth, _ = small
    data, subject = recordings["mitt"], truth.subject("mitt")
    np.testing.assert_array_equal(data["arousal"].values, subject.nuisance[:, 0])
    centred = truth.latents("mitt", [0.12]).values[:, 0]
    arousal = subject.nuisance[:, 0]
    assert abs(np.corrcoef(centred[:, 6], arousal)[0, 1]) > 0.99
    for odor_latent in range(6):
        assert abs(np.corrcoef(centred[:, odor_latent], arousal)[0, 1]) < 0.35


def test_a_seed_gives_the_same_and_others_do_not_matter():
    both, _ = simulate_recordings(units={"mitt": 4, "stella": 3}, trials=6, random_state=5)
    alone, _ = simulate_recordings(units={"stella": 3}, trials=6, random_state=5)
    other, _ = simulate_recordings(units={"stella": 3}, trials=6, random_state=6)
    xr.testing.assert_identical(
        both["stella"].to_dataset().drop_attrs(), alone["stella"].to_dataset().drop_attrs()
    )
    assert alone["stella"]["spike_time"].size != other["stella"]["spike_time"].size


def test_the_spec_that_travels_along_holds_the_frames():
    recordings, _ = simulate_recordings(
        units={"mitt": 3}, trials=5, frame_start=0.4, frame_length=0.08, random_state=0
    )
    spec = json.loads(recordings["mitt"].attrs["spec"])
    assert spec["frame"] == {"start": {"mitt": 0.4}, "length": 0.08}
    windows = windows_of(recordings)
    assert windows["mitt"].attrs["frame_start"] == 0.4
    assert windows["mitt"].sizes["window"] == 1


def test_selected_units_are_read_with_their_own_tuning(small):
    _, truth, windows = small
    fewer = windows["mitt"].to_dataset().isel(unit=slice(None, None, -2))
    part = truth.bayes_accuracy(build_tree({"mitt": fewer}), samples=60)["mitt"]
    whole = truth.bayes_accuracy(windows, samples=60)["mitt"]
    assert 0.6 < part < whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": {}}, "units must name at least one subject, got an empty mapping."),
        ({"units": {"mitt": 0}}, "expected at least one unit for subject 'mitt', got 0."),
        ({"n_latents": 2}, "n_latents must be more than 2 (those that odor does not set), got 2."),
        ({"signal": -1.0}, "signal must not be negative, got -1.0."),
        ({"mean_rate": 0.0}, "mean_rate must be positive (Hz), got 0.0."),
        ({"frame_length": -1.0}, "frame_length must be positive (seconds), got -1.0."),
        ({"frame_length": 0.255}, "frame_length must be a multiple of the simulation's bins"),
        ({"frame_start": -0.5}, "frame_start must not be earlier than -0.25 s, got -0.5 for"),
        ({"frame_start": {"mit": 0.1}}, "frame_start names 'mit', but the subjects are 'barat'"),
        ({"trials": 0}, "trials must be at least 1, got 0."),
        ({"trials": {"mitt": 5}}, "trials must name the subjects 'barat', 'buchanan', 'mitt'"),
    ],
)
def test_bad_arguments_say_what_is_wrong(arguments, message):
    with pytest.raises(ParameterError) as caught:
        simulate_recordings(**arguments)
    assert message in str(caught.value)


def test_the_truth_refuses_what_it_does_not_know(small):
    _, truth, windows = small
    with pytest.raises(
        DataError, match="'barat' was not simulated; this truth is about 'mitt', 'st"
    ):
        truth.subject("barat")
    with pytest.raises(DataError, match="some of the trials were not simulated"):
        truth.log_rate("mitt", [0.1], trials=[-5])
    assert truth.log_rate("mitt", [0.1], trials=[4, 2])["trial"].values.tolist() == [4, 2]
    with pytest.raises(ParameterError, match="reads 'odor' only, got 'correct'"):
        truth.posterior(windows, "correct")
    with pytest.raises(ParameterError, match="odors must be among 'A', 'B', 'C', 'D', 'E'"):
        truth.posterior(windows, odors=["A", "F"])
    with pytest.raises(ParameterError, match="samples must be at least 1, got 0"):
        truth.posterior(windows, samples=0)


def test_bayes_reader_without_position_averages_over_positions():
    """One window position: told or not makes no difference; several: it equals the written-out sum."""
    from scipy import stats

    from neuroalign.data.bayes import _posterior_without_position

    rng = np.random.default_rng(0)
    counts = rng.poisson(0.5, (3, 2, 5))
    log_expected = np.log(rng.gamma(2.0, 0.3, (4, 2, 5)))  # two odors, two samples each
    data = xr.Dataset(
        {"counts": (("trial", "unit", "time"), counts.astype(np.uint8))},
        coords={
            "trial": range(3),
            "unit": ["a/0", "a/1"],
            "time": np.arange(5) * 0.01 + 0.005,
            "window": [0.0, 0.02],
        },
        attrs={
            "stage": "windowed",
            "subject": "a",
            "bin_width": 0.01,
            "frame_start": 0.0,
            "frame_stop": 0.05,
            "window_length": 0.03,
            "window_step": 0.02,
        },
    )
    found = _posterior_without_position(data, log_expected, 2)
    for trial in range(3):
        for window, start in enumerate((0, 2)):
            seen = counts[trial, :, start : start + 3]
            weight = np.zeros(2)
            for odor in range(2):
                for sample in (0, 1):
                    for place in (0, 2):
                        rate = np.exp(log_expected[2 * odor + sample, :, place : place + 3])
                        weight[odor] += stats.poisson.pmf(seen, rate).prod()
            np.testing.assert_allclose(found[trial, window], weight / weight.sum())
