"""Recordings go to pynapple and come back whole; what pynapple would lose is refused."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pynapple as nap
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import neuroalign as na
from neuroalign.errors import DataError, DataWarning, SpecError
from neuroalign.schema import trial_labels, validate

Session = tuple[nap.TsGroup, nap.IntervalSet]


def session(**metadata: Any) -> Session:
    """Three units over 20 s and four trials of a second each."""
    random = np.random.default_rng(0)
    spikes = nap.TsGroup(
        {
            key: nap.Ts(np.sort(random.uniform(0.0, 20.0, size=40)))
            for key in (7, 2, 11)  # pynapple sorts keys
        },
        time_support=nap.IntervalSet(0.0, 20.0),
    )
    columns = {"odor": ["A", "B", "A", "B"]} | metadata
    start = np.array([1.0, 5.0, 9.0, 13.0])
    return spikes, nap.IntervalSet(start, start + 1.0, metadata=columns)


def random_recording(seed: int, *, touching: bool) -> xr.DataTree:
    """A recording of any shape: silent units, trials that touch or not, labels of every type."""
    random = np.random.default_rng(seed)
    n_trials, n_units = int(random.integers(1, 12)), int(random.integers(1, 6))
    lengths = random.uniform(0.2, 2.0, size=n_trials)
    pauses = np.zeros(n_trials) if touching else random.uniform(1e-5, 1.0, size=n_trials)
    edges = 1.0 + np.cumsum(lengths + pauses)
    start = edges - lengths
    stop = np.append(start[1:], edges[-1]) if touching else edges
    table = pd.DataFrame(
        {
            "start_time": start,
            "stop_time": stop,
            "onset": start + random.uniform(0.0, 0.1, size=n_trials),
            "odor": random.choice(["A", "B", ""], size=n_trials),
            "correct": random.choice([True, False], size=n_trials),
            "block": random.integers(0, 5, size=n_trials),
            "in sequence": random.choice([0.5, np.nan, 2.0], size=n_trials),
            "values": random.normal(size=n_trials),  # a name that pynapple uses itself
        },
        index=pd.Index(random.permutation(100)[:n_trials]),
    )
    counts = random.integers(0, 30, size=n_units).tolist()
    times = [np.sort(random.uniform(0.0, stop[-1] + 1.0, size=n)) for n in counts]
    # the recording lasts from before the first to after the last trial
    times[0] = np.concatenate([[0.0], times[0], [stop[-1] + 1.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return na.from_arrays({"mitt": times}, {"mitt": table})


def quiet_from(sessions: dict[str, Any], **options: Any) -> xr.DataTree:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return na.from_pynapple(sessions, **options)


# --- There and back -----------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), touching=st.booleans())
def test_every_number_and_label_comes_back(seed: int, touching: bool) -> None:
    recordings = random_recording(seed, touching=touching)
    before = recordings["mitt"].to_dataset()
    after = quiet_from(na.to_pynapple(recordings))["mitt"].to_dataset()
    assert set(after.coords) == set(before.coords)
    for name in ("spike_time", "spike_unit", *map(str, before.coords)):
        assert after[name].dtype == before[name].dtype, name
        np.testing.assert_array_equal(after[name].values, before[name].values, err_msg=name)


def test_simulated_recordings_come_back_with_the_columns_of_their_units() -> None:
    recordings, _ = na.simulate_recordings(
        units={"ada": 5, "bob": 3}, trials=20, simultaneous=True, random_state=0
    )
    labelled = {
        name: child.to_dataset().assign_coords(
            area=("unit", ["CA1", "CA3", "CA1", "CA3", "CA1"][: child.sizes["unit"]]),
            rate=("unit", np.arange(child.sizes["unit"]) / 2),
        )
        for name, child in recordings.children.items()
    }
    tree = na.from_pynapple(na.to_pynapple(xr.DataTree.from_dict(labelled)))
    for name, before in labelled.items():
        after = tree[name].to_dataset()
        assert trial_labels(after) == trial_labels(before)
        renamed = before.rename(rate="unit_rate")  # pynapple's own rate cannot be replaced
        for column in ("spike_time", "spike_unit", *map(str, renamed.coords)):
            np.testing.assert_array_equal(after[column].values, renamed[column].values)


def test_what_pynapple_loads_of_an_nwb_file_is_what_we_read(tmp_path: Path) -> None:
    recordings, _ = na.simulate_recordings(units={"ada": 5}, trials=20, random_state=0)
    na.write_nwb(recordings, tmp_path)
    file = nap.load_file(str(tmp_path / "sub-ada.nwb"))
    found = na.from_pynapple({"ada": (file["units"], file["trials"])})["ada"].to_dataset()
    file.close()  # left open, it would warn while another test runs
    before = recordings["ada"].to_dataset()
    for name in ("spike_time", "spike_unit", *map(str, before.coords)):
        np.testing.assert_array_equal(found[name].values, before[name].values, err_msg=name)


def test_units_that_were_selected_keep_their_spikes() -> None:
    recordings, _ = na.simulate_recordings(units={"ada": 6}, trials=20, random_state=0)
    kept = recordings["ada"].to_dataset().isel(unit=[4, 1])
    spikes, _ = na.to_pynapple(xr.DataTree.from_dict({"ada": kept}))["ada"]
    assert list(spikes.keys()) == [1, 4]
    assert spikes.get_info("unit").tolist() == ["ada/1", "ada/4"]
    for number in (1, 4):
        mine = kept["spike_time"].values[kept["spike_unit"].values == number]
        np.testing.assert_array_equal(spikes[number].t, mine)


def test_counts_equal_those_of_pynapple() -> None:
    recordings, _ = na.simulate_recordings(units={"ada": 8}, trials=24, random_state=3)
    data = recordings["ada"].to_dataset()
    spikes, _ = na.to_pynapple(recordings)["ada"]
    start, length, width = 0.25, 0.5, 0.05
    binned = na.bin_spikes(recordings, frame_start=start, frame_length=length, bin_width=width)
    first = np.sort(data["onset"].values) + start
    theirs = spikes.count(width, nap.IntervalSet(first, first + length))
    order = np.argsort(data["onset"].values)
    mine = binned["ada"]["counts"].to_numpy()[order].transpose(0, 2, 1)
    assert mine.sum() > 100
    np.testing.assert_array_equal(theirs.values.reshape(mine.shape), mine)
    times = theirs.t.reshape(mine.shape[:2]) - first[:, None]
    np.testing.assert_allclose(times, binned["ada"]["time"].to_numpy()[None] + 0 * times, atol=1e-9)


# --- What a user has ----------------------------------------------------------------------------


def test_keys_name_units_and_metadata_become_labels() -> None:
    tree = validate(na.from_pynapple({"mitt": session(block=[1, 1, 2, 2])}), "recording")
    data = tree["mitt"].to_dataset()
    assert data["unit"].values.tolist() == ["mitt/2", "mitt/7", "mitt/11"]
    assert trial_labels(data) == ["odor", "block"]
    assert data["block"].dtype == np.int64
    np.testing.assert_array_equal(data["onset"].values, data["start"].values)
    assert data["stop"].values.tolist() == [2.0, 6.0, 10.0, 14.0]
    spikes, _ = session()
    for number, key in enumerate((2, 7, 11)):
        mine = data["spike_time"].values[data["spike_unit"].values == number]
        np.testing.assert_array_equal(mine, spikes[key].t)
    assert "spec" not in data.attrs


def test_a_spec_names_onsets_labels_and_rules() -> None:
    spikes, trials = session(port=[1.2, 5.2, 9.2, 13.2], code=[1, 2, 2, 1])
    spec = {
        "name": "mine",
        "trials": {
            "onset": "port",
            "labels": {"smell": {"column": "code", "values": {1: "mint", 2: "rose"}}},
            "keep": {"odor": ["A", "B"]},
        },
        "frame": {"start": 0.1, "length": 0.5},
        "bin_width": 0.1,
    }
    data = na.from_pynapple({"mitt": (spikes, trials)}, spec=spec)["mitt"].to_dataset()
    assert data["onset"].values.tolist() == [1.2, 5.2, 9.2, 13.2]
    assert data["smell"].values.tolist() == ["mint", "rose", "rose", "mint"]
    assert "spec" in data.attrs


def test_tables_may_hold_overlapping_trials_and_are_read_like_intervals_otherwise() -> None:
    spikes, trials = session()
    same = na.from_pynapple({"mitt": (spikes, trials.as_dataframe())})["mitt"].to_dataset()
    assert same.identical(na.from_pynapple({"mitt": (spikes, trials)})["mitt"].to_dataset())
    table = pd.DataFrame({"start": [1.0, 1.5], "end": [2.0, 2.5], "odor": ["A", "B"]})
    data = na.from_pynapple({"mitt": (spikes, table)})["mitt"].to_dataset()
    assert data["start"].values.tolist() == [1.0, 1.5]
    assert data["stop"].values.tolist() == [2.0, 2.5]
    columns = table.rename(columns={"start": "begin", "end": "finish"}).assign(poke=[1.1, 1.6])
    named = na.from_pynapple(
        {"mitt": (spikes, columns)}, onset="poke", start="begin", stop="finish", labels=["odor"]
    )["mitt"].to_dataset()
    assert named["onset"].values.tolist() == [1.1, 1.6]
    assert named["stop"].values.tolist() == [2.0, 2.5]
    assert trial_labels(named) == ["odor"]


def test_selected_trials_keep_their_ids_and_intersected_ones_their_new_ends() -> None:
    recordings, _ = na.simulate_recordings(units={"ada": 4}, trials=20, random_state=0)
    spikes, trials = na.to_pynapple(recordings)["ada"]
    chosen = trials[trials.odor == "B"]
    data = na.from_pynapple({"ada": (spikes, chosen)})["ada"].to_dataset()
    expected = recordings["ada"].to_dataset()
    expected = expected.isel(trial=expected["odor"].values == "B")
    np.testing.assert_array_equal(data["trial"], expected["trial"])
    np.testing.assert_array_equal(data["onset"], expected["onset"])
    early = nap.IntervalSet(0.0, float(trials.end[4] - 0.05))
    cut = na.from_pynapple({"ada": (spikes, trials.intersect(early))})["ada"].to_dataset()
    assert cut.sizes["trial"] == 5
    assert cut["stop"].values[-1] == pytest.approx(trials.end[4] - 0.05)


def test_inputs_are_not_modified() -> None:
    spikes, trials = session()
    tree = na.from_pynapple({"mitt": (spikes, trials)})
    tree["mitt"]["spike_time"].to_numpy()[:] = 0.0
    tree["mitt"]["onset"].to_numpy()[:] = 0.0
    again, _ = session()
    for key in again:
        np.testing.assert_array_equal(spikes[key].t, again[key].t)
    assert trials.start.tolist() == [1.0, 5.0, 9.0, 13.0]


# --- What would be lost -------------------------------------------------------------------------


def test_trials_where_spikes_were_cut_away_are_refused() -> None:
    spikes, trials = session()
    restricted = spikes.restrict(trials[:2])
    with pytest.raises(
        DataError, match=r"2 of 4 trials of subject 'mitt' begin outside the time support .* 9 s\)"
    ):
        quiet_from({"mitt": (restricted, trials)})
    kept = na.from_pynapple({"mitt": (restricted, trials[:2])})["mitt"]
    assert kept.sizes["trial"] == 2
    short = spikes.restrict(nap.IntervalSet(trials.start, trials.start + 0.5))
    with pytest.warns(DataWarning, match="4 of 4 trials .* reach beyond the time support"):
        na.from_pynapple({"mitt": (short, trials)})


def test_a_support_that_pynapple_made_from_the_spikes_is_no_reason_to_refuse() -> None:
    _, trials = session()
    spikes = nap.TsGroup({0: nap.Ts(np.array([0.5, 2.0])), 1: nap.Ts(np.array([12.0, 16.0]))})
    assert len(spikes.time_support) == 2  # with a gap in which trials lie
    assert na.from_pynapple({"mitt": (spikes, trials)})["mitt"].sizes["trial"] == 4


def test_metadata_that_pynapple_dropped_are_missed_at_once() -> None:
    spikes, _ = session()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this is where pynapple says so
        trials = nap.IntervalSet([1.0, 1.5, 5.0], [2.0, 3.0, 6.0], metadata={"odor": list("ABA")})
    assert len(trials) == 2
    with pytest.raises(SpecError, match=r"no column 'odor' \(for label 'odor'\)"):
        na.from_pynapple({"mitt": (spikes, trials)}, labels=["odor"])


def test_trials_that_were_cut_in_two_are_refused() -> None:
    recordings, _ = na.simulate_recordings(units={"ada": 4}, trials=20, random_state=0)
    spikes, trials = na.to_pynapple(recordings)["ada"]
    middle = float(trials.start[3] + 0.1)
    halves = trials.intersect(nap.IntervalSet([0.0, middle + 0.01], [middle, 1e4]))
    with pytest.raises(DataError, match=r"1 that occur more than once \(such as .* cut trials in"):
        na.from_pynapple({"ada": (spikes, halves)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, t: [(s, t)], r"must be a mapping subject -> .* got list"),
        (lambda s, t: {"mitt": s}, r"expected \(TsGroup, IntervalSet\) for subject 'mitt', got Ts"),
        (lambda s, t: {"mitt": (t, t)}, "must be a pynapple TsGroup, got IntervalSet"),
        (lambda s, t: {"mitt": (s, [1.0])}, "IntervalSet or a pandas DataFrame .* got list"),
        (lambda s, t: {"a/b": (s, t)}, "subject names must be"),
        (lambda s, t: {}, "expected at least one subject"),
    ],
)
def test_other_objects_are_refused(change: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        na.from_pynapple(change(*session()))


def test_units_of_one_name_are_refused() -> None:
    spikes, trials = session()
    spikes.set_info(unit=["a", "a", "b"])
    with pytest.raises(DataError, match="two units of subject 'mitt' have the same name"):
        na.from_pynapple({"mitt": (spikes, trials)})


def test_without_pynapple_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = random_recording(0, touching=False)
    monkeypatch.setitem(sys.modules, "pynapple", None)  # as if it were not there
    for call in (lambda: na.to_pynapple(recordings), lambda: na.from_pynapple({})):
        with pytest.raises(ImportError, match=r"needs pynapple, .* pip install pynapple"):
            call()
