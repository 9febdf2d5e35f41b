"""Layouts of published data sets: tables of other names, event codes, groups of series."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from nwb_examples import add_units, empty_file, example_spikes, save
from nwb_layouts import (
    ANSWERS,
    UNITS,
    gratings,
    write_allen,
    write_behavioral_events,
    write_recognition,
    write_with_trials,
)

import neuroalign as na
from neuroalign.data import nwb_fallback, nwb_session
from neuroalign.data.recordings import RawSession
from neuroalign.errors import DataError, DataWarning, SpecError

Spec = dict[str, Any]


def read(path: Path, spec: Any) -> Any:
    """Read one file; the tree's children have more types than these tests care for."""
    return na.read_nwb(path, spec)


def session_by_both(path: Path, spec: Any) -> RawSession:
    """Read through h5py and through pynwb, and hold them to the same tables."""
    loaded = na.load_spec(spec)
    fast = nwb_session.read_session(path, loaded)
    slow = nwb_fallback.read_session(path, loaded)
    assert (fast.subject, fast.onset) == (slow.subject, slow.onset)
    np.testing.assert_array_equal(fast.trains.times, slow.trains.times)
    for mine, theirs in ((fast.units, slow.units), (fast.trials, slow.trials)):
        assert set(mine.columns) == set(theirs.columns)
        for name, values in mine.columns.items():
            assert values.dtype.kind == theirs.columns[name].dtype.kind, name
            np.testing.assert_array_equal(values, theirs.columns[name])
    return fast


def notes_of(tree: Any, subject: str) -> dict[str, int]:
    return {note["why"]: note["count"] for note in json.loads(tree[subject].attrs["notes"])}


# --- Allen Visual Coding: presentations, unit metrics, areas by channel ---------------------------


@pytest.fixture(scope="module")
def allen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_allen(tmp_path_factory.mktemp("allen") / "sub-699733573_ses-715093703.nwb")


def test_gratings_are_trials_and_blanks_are_not(allen: Path) -> None:
    session_by_both(allen, "allen_visual_coding")
    tree = read(allen, "allen_visual_coding")
    data = tree["699733573"].to_dataset()
    shown = ~np.isnan(np.array(gratings()["orientation"]))
    np.testing.assert_array_equal(
        data["orientation"].values, np.array(gratings()["orientation"])[shown]
    )
    np.testing.assert_array_equal(data["onset"].values, np.array(gratings()["start_time"])[shown])
    np.testing.assert_array_equal(data["stop"].values, np.array(gratings()["stop_time"])[shown])
    assert data["trial"].values.tolist() == np.flatnonzero(shown).tolist()
    assert notes_of(tree, "699733573")["no value of orientation"] == 2


def test_units_are_kept_by_area_and_by_metrics_ends_included(allen: Path) -> None:
    tree = read(allen, "allen_visual_coding")
    wanted = [f"699733573/{950_000_000 + row}" for row, unit in enumerate(UNITS) if unit[-1]]
    assert tree["699733573"]["unit"].values.tolist() == wanted
    assert tree["699733573"]["location"].values.tolist() == ["VISp", "VISl"]
    notes = notes_of(tree, "699733573")
    assert notes["quality is not good"] == 1
    assert notes["location is not VISp, VISl, VISal, VISrl, VISam, VISpm"] == 2
    assert notes["amplitude_cutoff is not at most 0.1"] == 1  # the one without a value
    assert notes["presence_ratio is not at least 0.95"] == 1
    assert notes["isi_violations is not at most 0.5"] == 1


def test_the_shipped_spec_goes_all_the_way_to_windows(allen: Path) -> None:
    windows: Any = na.slide_windows(na.bin_spikes(read(allen, "allen_visual_coding")))
    assert windows["699733573"].sizes["window"] == 17
    train, test = na.split_trials(windows, test_size=0.5, stratify="orientation", random_state=0)
    for part in (train, test):
        subject: Any = part["699733573"]
        values, counts = np.unique(subject["orientation"].values, return_counts=True)
        assert values.size == 8
        assert set(counts) == {1}


@pytest.mark.parametrize(
    "name",
    [
        "drifting_gratings_presentations",
        "intervals/drifting_gratings_presentations",
        "/intervals/drifting_gratings_presentations/",
    ],
)
def test_a_table_goes_by_name_or_path(allen: Path, name: str) -> None:
    spec = {"name": "x", "trials": {"table": name}}
    assert session_by_both(allen, spec).trials.name == "drifting_gratings_presentations table"


@pytest.mark.parametrize(
    "name", ["processing/optotagging/optogenetic_stimulation", "optogenetic_stimulation"]
)
def test_a_table_outside_intervals_goes_by_its_path(allen: Path, name: str, tmp_path: Path) -> None:
    spec = {"name": "x", "trials": {"table": name}, "label": "condition"}
    assert session_by_both(allen, spec).trials.columns["condition"].tolist() == list("ababab")
    tree = read(allen, spec)
    # what is written again has the table in intervals, and the spec still finds it by name
    written = na.write_nwb(tree, tmp_path)["699733573"]
    again = read(written, {**spec, "trials": {"table": "optogenetic_stimulation"}})
    np.testing.assert_array_equal(
        again["699733573"]["onset"].values, tree["699733573"]["onset"].values
    )


def test_a_series_in_the_place_of_a_table_is_sent_to_events(allen: Path) -> None:
    with pytest.raises(SpecError) as raised:
        read(allen, {"name": "x", "trials": {"table": "processing/stimulus/timestamps"}})
    assert str(raised.value) == (
        f"'processing/stimulus/timestamps' in {allen} is a time series, not a table with one row "
        "per trial; if its timestamps are events, name it with 'trials: {events: ...}' in the spec."
    )


def test_without_a_table_of_trials_the_others_are_named(allen: Path) -> None:
    for reader in (nwb_session, nwb_fallback):
        with pytest.raises(SpecError) as raised:
            reader.read_session(allen, na.load_spec({"name": "x"}))
        assert str(raised.value).startswith(f"{allen} has no intervals table 'trials'; it has: ")
        assert "'drifting_gratings_presentations'" in str(raised.value)
        assert "'processing/optotagging/optogenetic_stimulation'" in str(raised.value)


def test_inspect_proposes_the_gratings(allen: Path) -> None:
    found = na.inspect_nwb(allen)
    place = "intervals/drifting_gratings_presentations"
    assert {place, "intervals/spontaneous_presentations"} < set(found.onsets)
    assert {"orientation", "temporal_frequency"} <= set(found.labels[place])
    assert {"quality", "location"} <= set(found.unit_filters)
    assert {"snr"} <= set(found.unit_ranges)
    assert "  units   by range of " in str(found)
    spec = yaml.safe_load(found.suggested_spec())
    assert spec["trials"]["table"] == "drifting_gratings_presentations"
    assert spec["units"] == {"keep": {"quality": ["good"]}}
    tree = read(allen, spec)
    assert tree["699733573"].sizes["unit"] == sum(unit[0] == "good" for unit in UNITS)


# --- recognition memory: codes as text in an AnnotationSeries -------------------------------------


@pytest.mark.parametrize("suffix", ["", ".0"])
def test_answers_are_trials(tmp_path: Path, suffix: str) -> None:
    path = write_recognition(tmp_path / "p9.nwb", suffix=suffix)
    session_by_both(path, "recognition_memory")
    tree = read(path, "recognition_memory")
    data = tree["p9"].to_dataset()
    assert data["onset"].values.tolist() == [12.0 + 3.0 * row for row in range(len(ANSWERS))]
    assert data["answer"].values.tolist() == ["new" if code < 34 else "old" for code in ANSWERS]
    sure = {31: "sure", 36: "sure", 32: "probably", 35: "probably", 33: "guess", 34: "guess"}
    assert data["confidence"].values.tolist() == [sure[code] for code in ANSWERS]
    places = ["Left Amygdala", "Right Hippocampus", "Left Amygdala"]
    assert data["location"].values.tolist() == places
    assert notes_of(tree, "p9") == {"data is not 31, 32, 33, 34, 35, 36": 1 + 16 + 8 * 4 + 1}


def test_the_frame_before_the_key_press_is_counted_where_it_lies(tmp_path: Path) -> None:
    path = write_recognition(tmp_path / "p9.nwb")
    recordings = read(path, "recognition_memory")
    binned: Any = na.bin_spikes(recordings)
    counts = binned["p9"]["counts"].values.sum(axis=2)
    spikes = example_spikes(3, 40)
    for trial, onset in enumerate(recordings["p9"]["onset"].values):
        for unit, times in enumerate(spikes):
            expected = int(((times >= onset - 1.0) & (times < onset)).sum())
            assert counts[trial, unit] == expected


def test_a_code_that_stays_needs_a_name(tmp_path: Path) -> None:
    path = write_recognition(tmp_path / "p9.nwb")
    label = {"column": "data", "values": {31: "new", 36: "old"}}
    spec: Spec = {"name": "x", "trials": {"events": "events", "labels": {"answer": label}}}
    with pytest.raises(
        SpecError, match=r"label 'answer' of .* has values without a name: '1', '2'"
    ):
        read(path, spec)
    spec["trials"]["keep"] = {"data": [31, 36]}
    assert set(read(path, spec)["p9"]["answer"].values) == {"new", "old"}


def test_inspect_proposes_the_codes(tmp_path: Path) -> None:
    path = write_recognition(tmp_path / "p9.nwb")
    found = na.inspect_nwb(path)
    assert found.onsets["acquisition/events"] == ["timestamps"]
    assert found.labels["acquisition/events"] == ["data"]
    spec = yaml.safe_load(found.suggested_spec())
    assert spec["trials"]["events"] == "acquisition/events"
    assert read(path, spec)["p9"].sizes["trial"] == 1 + 16 + 8 * 5 + 1


def test_many_integer_codes_are_labels_and_a_measured_signal_is_none(tmp_path: Path) -> None:
    from pynwb import TimeSeries

    file = empty_file("x")
    add_units(file, example_spikes(2, 70))
    times = np.arange(60) + 1.0
    codes = np.arange(60) % 20
    signal = np.round(np.linspace(0, 1, 60), 3)
    for name, data in (("codes", codes), ("signal", signal), ("once", np.arange(60))):
        series = TimeSeries(name=name, data=data, unit="n.a.", timestamps=times)
        file.add_acquisition(series)
    found = na.inspect_nwb(save(file, tmp_path / "x.nwb"))
    assert found.labels == {
        "acquisition/codes": ["data"],
        "acquisition/signal": [],
        "acquisition/once": [],
    }
    assert yaml.safe_load(found.suggested_spec())["trials"]["events"] == "acquisition/codes"


# --- one series per kind of event -----------------------------------------------------------------


@pytest.fixture(scope="module")
def behavior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_behavioral_events(tmp_path_factory.mktemp("behavior") / "ann.nwb")


PLACE = "processing/behavior/BehavioralEvents"


@pytest.mark.parametrize("events", [PLACE, "BehavioralEvents", "behavior/BehavioralEvents"])
def test_a_group_of_series_is_pooled_in_the_order_of_times(behavior: Path, events: str) -> None:
    spec: Spec = {
        "name": "x",
        "trials": {
            "events": events,
            "labels": {"cue": "series"},
            "keep": {"series": ["cue_left", "cue_right"]},
        },
        "label": "cue",
    }
    session = session_by_both(behavior, spec)
    times = session.trials.columns["timestamps"]
    assert (np.diff(times) >= 0).all()
    assert times.size == 9
    data = read(behavior, spec)["ann"]
    assert data["onset"].values.tolist() == [1.0, 4.0, 7.0, 10.0, 13.0, 16.0]
    assert data["cue"].values.tolist() == ["cue_left", "cue_right"] * 3


def test_a_list_of_series_is_pooled_and_each_event_keeps_its_data(behavior: Path) -> None:
    spec = {"name": "x", "trials": {"events": [f"{PLACE}/cue_left", f"{PLACE}/reward"]}}
    columns = session_by_both(behavior, spec).trials.columns
    assert columns["timestamps"].tolist() == [1.0, 5.0, 7.0, 8.0, 8.5, 13.0]
    assert columns["series"].tolist() == [
        "cue_left",
        "reward",
        "cue_left",
        "reward",
        "reward",
        "cue_left",
    ]
    assert columns["data"].tolist() == [1.0, 0.1, 1.0, 0.2, 0.1, 1.0]


def test_starts_of_an_interval_series_are_trials_with_their_stops(behavior: Path) -> None:
    spec = {"name": "x", "trials": {"events": "touches", "labels": {"kind": "data"}}}
    columns = session_by_both(behavior, spec).trials.columns
    assert columns["timestamps"].tolist() == [1.0, 2.0, 3.0, 5.0, 6.0]
    assert columns["data"].tolist() == [1, 2, 1, 1, 1]
    np.testing.assert_array_equal(columns["stop_time"], [1.5, 4.0, 3.5, np.nan, np.nan])
    stops = read(behavior, spec)["ann"]["stop"].values
    np.testing.assert_array_equal(stops, columns["stop_time"])


def test_a_signal_at_a_steady_rate_holds_no_events(behavior: Path) -> None:
    for events in ("processing/behavior/running/speed", "running"):
        spec = na.load_spec({"name": "x", "trials": {"events": events}})
        for reader in (nwb_session, nwb_fallback):
            with pytest.raises(SpecError) as raised:
                reader.read_session(behavior, spec)
            assert str(raised.value) == (
                f"{events!r} in {behavior} is sampled at a steady rate and has no timestamps; "
                "expected one time per event. Name a series of events, or a table, in the spec."
            )


def test_inspect_proposes_the_group(behavior: Path) -> None:
    found = na.inspect_nwb(behavior)
    assert found.labels[PLACE] == ["data", "series"]
    assert found.onsets[PLACE] == ["timestamps"]
    assert "processing/behavior/running/speed" not in found.onsets
    spec = yaml.safe_load(found.suggested_spec())
    assert (spec["trials"]["events"], spec["label"]) == (PLACE, "series")
    assert read(behavior, spec)["ann"].sizes["trial"] == 9


def test_two_series_of_one_name_need_the_whole_path(tmp_path: Path) -> None:
    path = write_behavioral_events(tmp_path / "x.nwb")
    with h5py.File(path, "a") as file:
        file.copy(f"{PLACE}/reward", file["acquisition"], name="reward")
    with pytest.raises(SpecError) as raised:
        read(path, {"name": "x", "trials": {"events": "reward"}})
    assert str(raised.value) == (
        f"{path} has several events 'reward': 'acquisition/reward', '{PLACE}/reward'; "
        "give the whole path in 'trials: {events: ...}'."
    )
    spec = {"name": "x", "trials": {"events": ["acquisition/reward", f"{PLACE}/reward"]}}
    names = session_by_both(path, spec).trials.columns["series"]
    assert set(names) == {"acquisition/reward", f"{PLACE}/reward"}


# --- columns as files have them -------------------------------------------------------------------


def test_numbers_of_32_bits_are_the_decimals_they_were_meant_as(tmp_path: Path) -> None:
    contrast = [np.float32(value) for value in (0.1, 0.25, 0.1, 0.25, 0.1, 0.25, 0.1, 0.7)]
    path = write_with_trials(tmp_path / "x.nwb", contrast=contrast)
    spec = {"name": "x", "trials": {"keep": {"contrast": [0.1, 0.7]}}}
    assert session_by_both(path, spec).trials.columns["contrast"].tolist()[:2] == [0.1, 0.25]
    assert read(path, spec)["mitt"]["contrast"].values.tolist() == [0.1, 0.1, 0.1, 0.1, 0.7]


def test_text_of_fixed_length_and_bytes_of_no_encoding_are_read(tmp_path: Path) -> None:
    path = write_with_trials(tmp_path / "x.nwb")
    with h5py.File(path, "a") as file:
        table = file["intervals/trials"]
        del table["odor"]
        table["odor"] = np.array([b"left", b"rechts\xb5"] * 4, dtype="S8")
        table["odor"].attrs.update({"neurodata_type": "VectorData", "namespace": "hdmf-common"})
        table["odor"].attrs["description"] = "odor"
    fast = nwb_session.read_session(path, na.load_spec({"name": "x"})).trials.columns["odor"]
    assert fast.tolist() == ["left", "rechts\ufffd"] * 4


@pytest.mark.filterwarnings("ignore:EnumData is experimental")
def test_enumerated_values_without_a_name_are_missing(tmp_path: Path) -> None:
    from nwb_examples import add_trials, example_trials

    file = empty_file("mitt")
    add_units(file, example_spikes())
    add_trials(file, example_trials())
    codes = np.array([0, 1, 255, 1, 0, 1, 0, 1], dtype=np.uint8)
    file.trials.add_column(
        name="choice", description="enumerated", data=codes, enum=["left", "right"]
    )
    path = save(file, tmp_path / "x.nwb")
    spec: Spec = {"name": "x", "trials": {"labels": {"choice": "choice"}}, "label": "choice"}
    expected = ["left", "right", "", "right", "left", "right", "left", "right"]
    assert session_by_both(path, spec).trials.columns["choice"].tolist() == expected
    tree = read(path, spec)
    assert tree["mitt"].sizes["trial"] == 7
    assert notes_of(tree, "mitt") == {"no value of choice": 1}


def test_a_second_dimension_of_one_is_no_dimension(tmp_path: Path) -> None:
    path = write_with_trials(tmp_path / "x.nwb")
    with h5py.File(path, "a") as file:
        for name in ("odor", "block"):
            column = file[f"intervals/trials/{name}"]
            values, attributes = column[:], dict(column.attrs)
            del file[f"intervals/trials/{name}"]
            kind = h5py.string_dtype() if values.dtype.kind == "O" else values.dtype
            again = file.create_dataset(
                f"intervals/trials/{name}", data=values[:, None], dtype=kind
            )
            again.attrs.update(attributes)
    columns = session_by_both(path, {"name": "x"}).trials.columns
    assert columns["odor"].tolist() == list("ABCDABCD")
    assert columns["block"].tolist() == [0] * 4 + [1] * 4


def test_trials_without_onset_or_stop_in_both_readers(tmp_path: Path) -> None:
    starts = [1.0, 2.0, np.nan, 4.0, 5.0, 6.0, 7.0, 8.0]
    path = write_with_trials(
        tmp_path / "x.nwb", start_time=starts, stop_time=[np.nan] * 4 + [5.6, 6.6, 7.6, 8.6]
    )
    session_by_both(path, {"name": "x"})
    with pytest.warns(DataWarning, match="1 of 8 trials of .* have no onset time"):
        data = read(path, {"name": "x"})["mitt"]
    assert data["trial"].values.tolist() == [0, 1, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(data["stop"].values, [np.nan] * 3 + [5.6, 6.6, 7.6, 8.6])


def test_a_range_of_numbers_picks_trials_and_is_refused_for_text(tmp_path: Path) -> None:
    latency = [0.1, 0.2, 0.3, 0.4, 0.5, np.nan, 0.7, 0.8]
    path = write_with_trials(tmp_path / "x.nwb", latency=latency)
    spec: Spec = {"name": "x", "trials": {"keep": {"latency": {"min": 0.2, "max": 0.5}}}}
    tree = read(path, spec)
    assert tree["mitt"]["trial"].values.tolist() == [1, 2, 3, 4]
    assert notes_of(tree, "mitt") == {"latency is not from 0.2 to 0.5": 4}
    # the rule travels with the data, and says the same of them again
    assert na.keep_spec_trials(tree)["mitt"].sizes["trial"] == 4
    spec["trials"]["keep"] = {"latency": {"min": 5}}
    with pytest.raises(
        DataError, match=r"by the rule 'latency: at least 5'; .* holds: 0\.1 to 0\.8\."
    ):
        read(path, spec)
    spec["trials"]["keep"] = {"odor": {"min": 5}}
    with pytest.raises(SpecError) as raised:
        read(path, spec)
    assert str(raised.value) == (
        "the rule 'odor: at least 5' of 'trials: keep' is a range of numbers, but that column of "
        f"{path} holds text (A, B, C, and 1 more); list the values to keep instead."
    )


def test_a_column_that_is_called_like_a_coordinate_gets_another_name(tmp_path: Path) -> None:
    path = write_with_trials(tmp_path / "x.nwb", window=[0, 1] * 4)
    spec = yaml.safe_load(na.inspect_nwb(path).suggested_spec())
    assert spec["trials"]["labels"]["window_label"] == "window"
    assert read(path, spec)["mitt"]["window_label"].values.tolist() == [0, 1] * 4
