from __future__ import annotations

import json
import tracemalloc
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign.data.binning import bin_spikes, count_steps, frame_edges
from neuroalign.data.notes import read_notes
from neuroalign.errors import DataError, DataWarning, ParameterError
from neuroalign.schema import build_tree, validate

# frames are put where the arithmetic is hard, not inside trials; one test is about the warnings
pytestmark = pytest.mark.filterwarnings("ignore::neuroalign.errors.DataWarning")

FRAME = {"frame_start": 0.25, "frame_length": 0.05, "bin_width": 0.01}


def recording(trains, onset, *, subject="mitt", spec=None):
    """One subject's recording from a list of spike trains."""
    onset = np.asarray(onset, dtype=np.float64)
    numbers = np.arange(len(trains), dtype=np.int32) + 3
    attrs = {"stage": "recording", "subject": subject}
    if spec is not None:
        attrs["spec"] = json.dumps(spec)
    return xr.Dataset(
        {
            "spike_time": ("spike", np.concatenate([np.asarray(t, float) for t in trains])),
            "spike_unit": ("spike", np.repeat(numbers, [len(t) for t in trains])),
        },
        coords={
            "unit": [f"{subject}/{n}" for n in numbers],
            "unit_number": ("unit", numbers),
            "brain_area": ("unit", np.array(["CA1"] * len(trains))),
            "trial": np.arange(onset.size) * 2,
            "onset": ("trial", onset),
            "start": ("trial", onset - 0.5),
            "stop": ("trial", onset + 1.0),
            "odor": ("trial", np.array(["A", "B"])[np.arange(onset.size) % 2]),
        },
        attrs=attrs,
    )


def tree(*arguments, **keywords):
    return build_tree({"mitt": recording(*arguments, **keywords)})


def brute_force(trains, edges):
    """Compare every spike with every bin, as the rule is written."""
    counts = np.zeros((edges.shape[0], len(trains), edges.shape[1] - 1), dtype=int)
    for trial, row in enumerate(edges):
        for unit, train in enumerate(trains):
            for k in range(row.size - 1):
                counts[trial, unit, k] = sum(row[k] <= t < row[k + 1] for t in train)
    return counts


clock = st.sampled_from([0, 17, 1_000_000])
nanoseconds = st.integers(0, 400_000_000)
milliseconds = st.integers(0, 400).map(lambda n: n * 1_000_000)
trains_strategy = st.lists(
    st.lists(st.one_of(nanoseconds, milliseconds), max_size=12), min_size=1, max_size=3
)


@settings(max_examples=80, deadline=None)
@given(
    clock=clock,
    trains=trains_strategy,
    onsets=st.lists(milliseconds, min_size=1, max_size=4),
    start=st.integers(-40, 60),
    width=st.sampled_from([1, 7, 10, 25]),
    bins=st.integers(1, 6),
)
def test_counts_equal_exact_integer_arithmetic(clock, trains, onsets, start, width, bins):
    # spikes and onsets on the nanosecond, so that integers say exactly what belongs where
    origin = clock * 10**9
    spikes = [np.sort(np.array(train, dtype=np.int64)) + origin for train in trains]
    marks = np.array(onsets, dtype=np.int64) + origin
    edges = marks[:, None] + (start + width * np.arange(bins + 1)) * 10**6
    binned = bin_spikes(
        tree([s / 1e9 for s in spikes], marks / 1e9),
        frame_start=start / 1000,
        frame_length=bins * width / 1000,
        bin_width=width / 1000,
    )
    np.testing.assert_array_equal(binned["mitt"]["counts"].values, brute_force(spikes, edges))


@settings(max_examples=60, deadline=None)
@given(
    onset=st.floats(0, 1e6),
    start=st.floats(-1, 1),
    width=st.floats(0.002, 0.1),
    offsets=st.lists(st.floats(-0.2, 0.7), max_size=15),
    on_edges=st.lists(st.integers(0, 5), max_size=6),
    bins=st.sampled_from([5, 120]),  # many and few spikes per bin take different paths
)
def test_counts_equal_brute_force_with_the_same_edges(onset, start, width, offsets, on_edges, bins):
    edges = frame_edges([onset], frame_start=start, bins=bins, bin_width=width)
    below = np.nextafter(edges[0, on_edges], -np.inf)
    spikes = np.sort(np.concatenate([onset + start + np.array(offsets), edges[0, on_edges], below]))
    binned = bin_spikes(
        tree([spikes], [onset]), frame_start=start, frame_length=bins * width, bin_width=width
    )
    np.testing.assert_array_equal(binned["mitt"]["counts"].values, brute_force([spikes], edges))


@pytest.mark.parametrize("clock", [0.0, 1.0, 1e3, 1e6])
def test_a_spike_on_an_edge_counts_in_the_later_bin(clock):
    # 0.1 + 0.2 is 0.30000000000000004 in floats: unrounded edges would lose the first spike
    spikes = [round(clock + 0.1 + 0.2 + 0.01 * k, 9) for k in range(4)]
    binned = bin_spikes(
        tree([spikes], [round(clock + 0.1, 9)]), frame_start=0.2, frame_length=0.03, bin_width=0.01
    )
    assert binned["mitt"]["counts"].values.tolist() == [[[1, 1, 1]]]


def test_what_a_binned_subject_carries():
    data = tree([[0.26], []], [0.0, 1.0], spec={"frame": {"start": {"default": 9.0}}})
    before = data["mitt"].to_dataset().copy(deep=True)
    binned = bin_spikes(data, **FRAME)
    validate(binned, "binned")
    found = binned["mitt"].to_dataset()
    assert found["counts"].dtype == np.uint8
    assert found["counts"].dims == ("trial", "unit", "time")
    np.testing.assert_array_equal(found["time"], [0.005, 0.015, 0.025, 0.035, 0.045])
    assert (found.attrs["frame_start"], found.attrs["frame_stop"]) == (0.25, 0.3)
    assert found["counts"].values.sum() == 1
    assert found["brain_area"].values.tolist() == ["CA1", "CA1"]
    assert found["odor"].values.tolist() == ["A", "B"]
    assert "spike_time" not in found
    xr.testing.assert_identical(before, data["mitt"].to_dataset())


def test_many_spikes_in_a_bin_widen_the_counts_of_that_subject_only():
    burst = np.linspace(0.2501, 0.2599, 300)
    both = build_tree(
        {"mitt": recording([burst, [0.27]], [0.0]), "stella": recording([[0.27]], [0.0])}
    )
    binned = bin_spikes(both, **FRAME)
    assert binned["mitt"]["counts"].dtype == np.uint16
    assert binned["mitt"]["counts"].values[0].tolist() == [[300, 0, 0, 0, 0], [0, 0, 1, 0, 0]]
    assert binned["stella"]["counts"].dtype == np.uint8


def test_overlapping_frames_each_count_a_spike():
    binned = bin_spikes(tree([[1.28]], [1.0, 1.01, 1.02]), **FRAME)
    assert binned["mitt"]["counts"].values[:, 0].tolist() == [
        [0, 0, 0, 1, 0],
        [0, 0, 1, 0, 0],
        [0, 1, 0, 0, 0],
    ]


def test_units_that_were_selected_or_reordered_keep_their_own_spikes():
    data = recording([[0.25], [0.26], [0.27]], [0.0])
    chosen = build_tree({"mitt": data.isel(unit=[2, 0])})
    counts = bin_spikes(chosen, **FRAME)["mitt"]["counts"]
    assert counts.values[0].tolist() == [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0]]
    assert counts["unit"].values.tolist() == ["mitt/5", "mitt/3"]


def test_a_recording_without_any_spike_gives_zeros():
    counts = bin_spikes(tree([[], []], [0.0]), **FRAME)["mitt"]["counts"]
    assert counts.shape == (1, 2, 5)
    assert not counts.values.any()


def test_frames_per_subject_come_from_the_spec_or_the_argument():
    spec = {
        "frame": {"start": {"default": 0.25, "stella": 0.5}, "length": 0.05},
        "bin_width": 0.01,
    }
    both = build_tree(
        {
            name: recording([[0.25, 0.5]], [0.0], subject=name, spec=spec)
            for name in ("mitt", "stella")
        }
    )
    by_spec = bin_spikes(both)
    assert [by_spec[name].attrs["frame_start"] for name in ("mitt", "stella")] == [0.25, 0.5]
    by_argument = bin_spikes(both, frame_start={"mitt": 0.1, "default": 0.2}, bin_width=0.025)
    assert [by_argument[name].attrs["frame_start"] for name in ("mitt", "stella")] == [0.1, 0.2]
    assert by_argument["mitt"].sizes["time"] == 2


def test_frames_beyond_the_recording_are_kept_and_noted():
    binned = bin_spikes(tree([[0.0, 1.26]], [1.0, 5.0, 6.0]), **FRAME)
    (note,) = read_notes(binned["mitt"].to_dataset())
    assert note["count"] == 2
    assert note["what"] == "frames without recording"
    assert binned["mitt"].sizes["trial"] == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            {"bin_width": 0.02},
            (
                "frame_length must be a multiple of bin_width, got frame_length = 0.05 s and "
                "bin_width = 0.02 s; the nearest that fit are 0.04 and 0.06 s."
            ),
        ),
        ({"bin_width": -0.01}, "bin_width must be positive (seconds), got -0.01."),
        ({"bin_width": 1e-8}, "bin_width must be at least a microsecond, got 1e-08"),
        ({"bin_width": 0.1}, "frame_length must be a multiple of bin_width"),
        ({"frame_length": float("nan")}, "frame_length must be finite (seconds), got nan."),
        ({"frame_start": "early"}, "frame_start must be a number (seconds), got 'early'."),
        ({"frame_start": True}, "frame_start must be a number (seconds), got True."),
        (
            {"frame_start": {"stela": 0.1}},
            "frame_start names 'stela', but the subjects are 'mitt'.",
        ),
        ({"frame_start": {}}, "frame_start has no entry for subject 'mitt' and no 'default'"),
        (
            {"frame_start": None},
            (
                "expected frame_start (seconds after onset), got none: subject 'mitt' carries no data "
                "spec with frame.start; pass frame_start=..."
            ),
        ),
        (
            {"bin_width": None},
            (
                "expected bin_width (seconds), got none: subject 'mitt' carries no data spec with "
                "bin_width; pass bin_width=..."
            ),
        ),
    ],
)
def test_bad_arguments_say_what_to_do(override, message):
    with pytest.raises(ParameterError) as caught:
        bin_spikes(tree([[0.1]], [0.0]), **(FRAME | override))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("spikes", "onset", "message"),
    [
        ([0.3, 0.2], 0.0, "spike times must ascend within each unit; they do not for 'mitt'."),
        ([0.3, np.nan], 0.0, "spike times must be finite"),
        ([0.3], np.nan, "onsets must be finite (seconds), got 1 that are not for subject 'mitt'"),
    ],
)
def test_bad_recordings_never_yield_counts(spikes, onset, message):
    with pytest.raises(DataError) as caught:
        bin_spikes(tree([spikes, [0.1]], [onset]), **FRAME)
    assert message in str(caught.value)


def test_spikes_must_be_grouped_by_unit_and_units_unique():
    data = recording([[0.1, 0.2], [0.3]], [0.0])
    mixed = data.assign(spike_unit=("spike", np.array([3, 4, 3])))
    with pytest.raises(DataError, match="grouped by unit"):
        bin_spikes(build_tree({"mitt": mixed}), **FRAME)
    twice = data.assign_coords(unit_number=("unit", np.array([3, 3])))
    with pytest.raises(DataError, match="unit_number must be unique"):
        bin_spikes(build_tree({"mitt": twice}), **FRAME)


def test_binning_needs_recordings():
    with pytest.raises(DataError, match=r"recordings must be an xarray\.DataTree"):
        bin_spikes([1, 2, 3])


def test_memory_stays_near_the_size_of_the_counts():
    stream = np.random.default_rng(0)
    trains = [np.sort(stream.random(4000) * 1000) for _ in range(60)]
    data = tree(trains, np.sort(stream.random(500) * 990))
    tracemalloc.start()
    binned = bin_spikes(data, frame_start=0.0, frame_length=1.0, bin_width=0.01)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert binned["mitt"]["counts"].nbytes == 500 * 60 * 100
    assert peak < 3 * binned["mitt"]["counts"].nbytes


@given(st.integers(1, 500), st.sampled_from([0.001, 0.01, 0.025, 0.1, 1 / 3]))
def test_whole_numbers_of_steps_are_found_despite_floats(number, step):
    assert count_steps(number * step, step, what="length", of="step") == number
    with pytest.raises(ParameterError):
        count_steps((number + 0.4) * step, step, what="length", of="step")


def test_frames_that_share_spikes_or_leave_their_trial_are_warned_about():
    data = recording([[0.25]], [0.0, 0.04, 2.0])
    data = data.assign_coords(stop=("trial", [1.0, 1.0, 2.1]))
    with pytest.warns(
        DataWarning, match="frames of 1 trials of subject 'mitt' reach into the next"
    ) as seen:
        bin_spikes(build_tree({"mitt": data}), frame_start=0.1, frame_length=0.05, bin_width=0.01)
    assert len(seen) == 2
    assert (
        "frames of 1 of 3 trials of subject 'mitt' end after the trial's stop (by up to 0.05 s)"
        in str(seen[1].message)
    )
    apart = data.isel(trial=[0, 2]).assign_coords(stop=("trial", [1.0, np.nan]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bin_spikes(build_tree({"mitt": apart}), frame_start=0.1, frame_length=0.05, bin_width=0.01)
