"""What goes to pynapple holds every trial, spike and latent, or does not go."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pynapple as nap
import pytest
import xarray as xr

import neuroalign as na
from neuroalign.errors import DataError
from neuroalign.schema import build_tree, map_subjects

UNITS = {"ada": 5, "bob": 4}


@pytest.fixture(scope="module")
def recordings() -> xr.DataTree:
    return na.simulate_recordings(units=UNITS, trials=24, random_state=0)[0]


@pytest.fixture(scope="module")
def windows(recordings: xr.DataTree) -> xr.DataTree:
    return na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)


def tree_of(start: list[float], stop: list[float] | None) -> xr.DataTree:
    table = pd.DataFrame({"onset": start, "odor": list("ABAB")[: len(start)]})
    if stop is not None:
        table["stop_time"] = stop
    spikes = [np.arange(0.05, 20.0, 0.1), np.array([7.0])]  # one unit fires once
    return na.from_arrays({"mitt": spikes}, {"mitt": table})


# --- Recordings ---------------------------------------------------------------------------------


def test_a_unit_that_fires_once_and_a_silent_one_are_kept() -> None:
    spikes, trials = na.to_pynapple(tree_of([1.0, 5.0], [2.0, 6.0]))["mitt"]
    assert [len(spikes[key]) for key in spikes] == [200, 1]
    assert trials.get_info("odor").tolist() == ["A", "B"]
    support = spikes.time_support.values
    assert support.tolist() == [[0.05, pytest.approx(19.95)]]


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        ([1.0, 5.0], None, "2 of 2 trials of subject 'mitt' have no start or end"),
        ([1.0, 5.0], [1.0, 6.0], "1 of 2 trials of subject 'mitt' have no length"),
        ([1.0, 5.0, 5.5], [2.0, 6.0, 7.0], r"1 of 3 .* before the one before has ended .* 5\.5 s"),
    ],
)
def test_trials_that_pynapple_would_change_are_refused(
    start: list[float], stop: list[float] | None, message: str
) -> None:
    tree = tree_of(start, stop)
    with pytest.raises(DataError, match=message + r".*pass around=\(-0\.5, 1\.0\)"):
        na.to_pynapple(tree)
    _, trials = na.to_pynapple(tree, around=(-0.1, 0.3))["mitt"]
    np.testing.assert_allclose(trials.values, np.array(start)[:, None] + [-0.1, 0.3])
    with pytest.raises(DataError, match="begin before the one before has ended"):
        na.to_pynapple(tree_of([1.0, 1.5], [1.2, 2.0]), around=(-1.0, 1.0))


def test_trials_come_in_the_order_of_their_starts() -> None:
    _, trials = na.to_pynapple(tree_of([9.0, 1.0, 5.0], [10.0, 2.0, 6.0]))["mitt"]
    assert trials.start.tolist() == [1.0, 5.0, 9.0]
    assert trials.get_info("trial").tolist() == [1, 2, 0]
    assert trials.get_info("odor").tolist() == ["B", "A", "A"]


def test_other_stages_are_refused(windows: xr.DataTree) -> None:
    with pytest.raises(DataError, match=r"expected recording data .* got windowed"):
        na.to_pynapple(windows)
    with pytest.raises(DataError, match=r"expected latents data .* got windowed"):
        na.latents_to_pynapple(windows)


# --- Latents ------------------------------------------------------------------------------------


def positions(windows: xr.DataTree) -> xr.DataTree:
    """Latents that say where they are: the centre of their window on the session clock."""
    centres = {}
    for name, child in windows.children.items():
        data = child.to_dataset()
        begin = data["onset"].values[:, None] + data.attrs["frame_start"] + data["window"].values
        centre = begin + data.attrs["window_length"] / 2
        centres[name] = np.stack([centre, -centre], axis=-1)
    return na.latents_from_arrays(centres, windows, names=["clock", "mirror"])


def test_latents_lie_at_the_centres_of_their_windows(windows: xr.DataTree) -> None:
    found = na.latents_to_pynapple(positions(windows))
    assert list(found) == list(UNITS)
    for name, (values, frames) in found.items():
        data = windows[name].to_dataset()
        assert values.shape == (data.sizes["trial"] * data.sizes["window"], 2)
        np.testing.assert_allclose(values["clock"].values, values.t, atol=1e-8)
        np.testing.assert_allclose(values["mirror"].values, -values.t, atol=1e-8)
        order = np.argsort(data["onset"].values)
        assert frames.get_info("odor").tolist() == data["odor"].values[order].tolist()
        assert frames.get_info("trial").tolist() == data["trial"].values[order].tolist()
        frame = data["onset"].values[order] + data.attrs["frame_start"]
        np.testing.assert_allclose(frames.start, frame, atol=1e-9)
        np.testing.assert_allclose(frames.end - frames.start, 0.25, atol=1e-9)
        chosen = frames[frames.odor == "B"]
        inside = values.restrict(chosen)
        assert len(inside) == len(chosen) * data.sizes["window"]


def test_trials_out_of_order_and_a_part_of_the_trials_are_placed_alike(
    windows: xr.DataTree,
) -> None:
    latents = positions(windows)
    turned = map_subjects(latents, lambda _, data: data.isel(trial=slice(9, None, -2)))
    for name, (values, frames) in na.latents_to_pynapple(turned, windows).items():
        np.testing.assert_allclose(values["clock"].values, values.t, atol=1e-8)
        assert len(frames) == 5
        assert len(values) == 5 * windows[name].sizes["window"]


def test_windows_give_the_clock_to_latents_that_do_not_carry_it(windows: xr.DataTree) -> None:
    known = na.PrincipalComponents(2).fit(windows, label="odor").transform(windows)
    latents = map_subjects(
        known,
        lambda name, data: data.drop_attrs().assign_attrs(stage="latents", subject=name),
    )
    with pytest.raises(
        DataError,
        match="clock of subject 'ada' is not known: frame_start, window_length is missing; pass",
    ):
        na.latents_to_pynapple(latents)
    values, _ = na.latents_to_pynapple(latents, windows)["bob"]
    assert list(values.columns) == ["bob PC1", "bob PC2"]
    order = np.argsort(windows["bob"]["onset"].to_numpy())
    expected = latents["bob"]["mean"].to_numpy()[order].reshape(-1, 2)
    np.testing.assert_array_equal(values.values, expected)
    bare = map_subjects(positions(windows), lambda _, data: data.drop_vars("onset"))
    with pytest.raises(DataError, match="onset is missing"):
        na.latents_to_pynapple(bare)


def test_frames_that_overlap_and_windows_of_other_trials_are_refused(
    windows: xr.DataTree,
) -> None:
    latents = positions(windows)
    onset = latents["ada"]["onset"].to_numpy().copy()
    onset[1] = onset[0] + 0.1
    shifted = latents["ada"].to_dataset().assign_coords(onset=("trial", onset))
    with pytest.raises(DataError, match="frames of subject 'ada' begin before the one before"):
        na.latents_to_pynapple(build_tree({"ada": shifted}))
    fewer = map_subjects(windows, lambda _, data: data.isel(trial=slice(2, None)))
    with pytest.raises(DataError, match=r"2 trials of subject 'ada' .* are not in windows"):
        na.latents_to_pynapple(latents, fewer)
    one = build_tree({"bob": windows["bob"].to_dataset()})
    with pytest.raises(DataError, match="no subject 'ada' in windows; it holds: bob"):
        na.latents_to_pynapple(latents, one)
    with pytest.raises(DataError, match=r"no variable 'scale' .* they have: mean"):
        na.latents_to_pynapple(latents, variable="scale")


def test_the_latents_of_a_model_carry_their_clock(windows: xr.DataTree) -> None:
    model = na.SharedLatentModel(2, max_epochs=1, random_state=0, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)  # one epoch may align nothing
        latents = model.fit(windows, label="odor").transform(windows)
    values, frames = na.latents_to_pynapple(latents, variable="scale")["ada"]
    assert isinstance(values, nap.TsdFrame)
    assert (values.values > 0).all()
    assert list(values.columns) == ["0", "1"]
    assert len(frames) == windows["ada"].sizes["trial"]
