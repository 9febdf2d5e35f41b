from __future__ import annotations

import json
from contextlib import nullcontext

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign.data.windows import lags_per_window, slide_windows, window_starts, window_view
from neuroalign.errors import DataError, DataWarning, ParameterError
from neuroalign.schema import build_tree, validate


def binned(*, bins=25, width=0.01, trials=3, units=2, spec=None):
    counts = np.random.default_rng(0).integers(0, 9, (trials, units, bins)).astype(np.uint8)
    attrs = {
        "stage": "binned",
        "subject": "mitt",
        "bin_width": width,
        "frame_start": 0.25,
        "frame_stop": 0.25 + bins * width,
    }
    if spec:
        attrs["spec"] = json.dumps(spec)
    data = xr.Dataset(
        {"counts": (("trial", "unit", "time"), counts)},
        coords={
            "trial": np.arange(trials),
            "unit": [f"mitt/{n}" for n in range(units)],
            "time": np.round((np.arange(bins) + 0.5) * width, 9),
        },
        attrs=attrs,
    )
    return build_tree({"mitt": data})


@settings(max_examples=40, deadline=None)
@given(
    bins=st.integers(1, 30),
    length=st.integers(1, 30),
    step=st.integers(1, 12),
    width=st.sampled_from([0.01, 0.05, 0.001, 1 / 3]),
)
def test_windows_equal_cutting_by_hand(bins, length, step, width):
    tree = binned(bins=bins, width=width)
    if length > bins:
        with pytest.raises(ParameterError, match="longer than the frame"):
            slide_windows(tree, length=length * width, step=step * width)
        return
    seen = {k + lag for k in range(0, bins - length + 1, step) for lag in range(length)}
    unused = len(seen) < bins
    expected = pytest.warns(DataWarning, match="lie in no window") if unused else nullcontext()
    with expected:
        windows = slide_windows(tree, length=length * width, step=step * width)
    data = windows["mitt"].to_dataset()
    counts = data["counts"].values
    by_hand = np.stack(
        [counts[:, :, k : k + length] for k in range(0, bins - length + 1, step)], axis=1
    )
    np.testing.assert_array_equal(window_view(data), by_hand)
    np.testing.assert_allclose(data["window"], np.arange(by_hand.shape[1]) * step * width)


def test_the_papers_windows():
    tree = slide_windows(binned(), length=0.1, step=0.01)
    validate(tree, "windowed")
    data = tree["mitt"].to_dataset()
    assert data.sizes["window"] == 16
    # written as a person would: 0.07, not 0.07000000000000001
    assert data["window"].values.tolist() == [k / 100 for k in range(16)]
    assert (data.attrs["window_length"], data.attrs["window_step"]) == (0.1, 0.01)
    assert lags_per_window(data) == 10
    assert window_view(data).shape == (3, 16, 2, 10)


def test_windows_cost_nothing_and_cannot_be_written():
    tree = binned()
    windows = slide_windows(tree, length=0.1, step=0.01)
    view = window_view(windows["mitt"].to_dataset())
    assert np.shares_memory(view, tree["mitt"]["counts"].values)
    assert not view.flags.writeable
    assert "window" not in tree["mitt"].coords
    assert tree["mitt"].attrs["stage"] == "binned"


def test_defaults_come_from_the_spec_and_sliding_anew_replaces_windows():
    tree = binned(spec={"window": {"length": 0.05, "step": 0.02}})
    data = slide_windows(tree)
    assert data["mitt"].sizes["window"] == 11
    again = slide_windows(data, length=0.25, step=0.01)
    assert again["mitt"]["window"].values.tolist() == [0.0]


@pytest.mark.parametrize(("length", "step", "unused"), [(0.1, 0.04, 3), (0.05, 0.1, 10)])
def test_bins_that_no_window_reaches_are_named(length, step, unused):
    with pytest.warns(DataWarning) as caught:
        slide_windows(binned(), length=length, step=step)
    assert str(caught[0].message).startswith(
        f"bins that lie in no window: {unused} of the 25 of 'mitt'. The model does not see them"
    )
    assert caught[0].filename == __file__


def test_windows_follow_a_selection_of_time_made_before():
    tree = binned()
    late = build_tree({"mitt": tree["mitt"].to_dataset().isel(time=slice(5, None))})
    data = slide_windows(late, length=0.1, step=0.05)["mitt"].to_dataset()
    assert data["window"].values.tolist() == [0.05, 0.1, 0.15]
    assert window_starts(data).tolist() == [0, 5, 10]


def test_windows_that_a_later_selection_of_time_made_stale_are_refused():
    data = slide_windows(binned(), length=0.1, step=0.01)["mitt"].to_dataset()
    for part in (slice(0, 20), slice(3, None)):
        with pytest.raises(DataError, match="call slide_windows again"):
            window_starts(data.isel(time=part))
    with pytest.raises(DataError, match="gaps"):
        window_view(data.isel(time=slice(None, None, 2)))


def test_selected_windows_stay_views():
    data = slide_windows(binned(), length=0.1, step=0.01)["mitt"].to_dataset()
    some = data.isel(window=slice(3, 12, 4))
    assert window_starts(some).tolist() == [3, 7, 11]
    np.testing.assert_array_equal(window_view(some), window_view(data)[:, 3:12:4])
    assert np.shares_memory(window_view(some), data["counts"].values)
    assert window_view(data.isel(window=[4])).shape == (3, 1, 2, 10)
    assert window_view(data.isel(window=slice(0, 0))).shape == (3, 0, 2, 10)
    with pytest.raises(DataError, match="evenly spaced windows, got steps of \\[1, 3\\] bins"):
        window_view(data.isel(window=[0, 1, 4]))


@pytest.mark.parametrize(
    ("length", "step", "message"),
    [
        (0.095, 0.01, "window length must be a multiple of bin_width"),
        (0.1, 0.015, "window step must be a multiple of bin_width"),
        (0.3, 0.01, "windows must not be longer than the frame, got length = 0.3 s and a frame of"),
        (0.0, 0.01, "window length must be positive (seconds), got 0.0."),
        (None, 0.01, "expected length (seconds), got none: subject 'mitt' carries no data spec"),
    ],
)
def test_bad_windows_say_what_to_do(length, step, message):
    with pytest.raises(ParameterError) as caught:
        slide_windows(binned(), length=length, step=step)
    assert message in str(caught.value)


def test_views_need_windows():
    with pytest.raises(DataError, match=r"expected windowed data .* got binned for subject 'mitt'"):
        window_view(binned()["mitt"].to_dataset())
