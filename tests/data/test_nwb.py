from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from nwb_examples import (
    SPEC,
    add_trials,
    add_units,
    empty_file,
    example_spikes,
    example_trials,
    save,
    write_example,
)

from neuroalign.data import nwb, nwb_fallback, nwb_session
from neuroalign.data.nwb import read_nwb
from neuroalign.data.specs import load_spec
from neuroalign.errors import DataError, DataWarning, ParameterError, SpecError
from neuroalign.schema import validate

DATA = Path(os.environ.get("NEUROALIGN_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
STEINMETZ = DATA / "steinmetz_visual"


def spec_with(**changes):
    return {**SPEC, **changes}


def trials_with(**changes):
    return spec_with(trials={"labels": {"odor": "odor"}, **changes})


def notes_of(tree, subject="mitt"):
    return json.loads(tree[subject].attrs["notes"])


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    return write_example(tmp_path_factory.mktemp("nwb") / "a.nwb")


# what a good file gives


def test_spikes_units_trials_and_labels_come_back(example):
    tree = validate(read_nwb(example, SPEC), "recording")
    assert list(tree.children) == ["mitt"]
    data = tree["mitt"].to_dataset()
    assert data["unit"].values.tolist() == ["mitt/10", "mitt/11", "mitt/12"]
    assert data["unit_number"].values.tolist() == [0, 1, 2]
    assert data["region"].values.tolist() == ["CA1"] * 3
    for unit, times in enumerate(example_spikes()):
        mine = data["spike_time"].values[data["spike_unit"].values == unit]
        np.testing.assert_array_equal(mine, times)
    assert data["trial"].values.tolist() == list(range(8))
    assert data["onset"].values.tolist() == example_trials()["start_time"]
    np.testing.assert_allclose(data["stop"].values, example_trials()["stop_time"])
    assert data["odor"].values.tolist() == example_trials()["odor"]
    assert data["odor"].dtype.kind == "U"
    assert data.attrs["stage"] == "recording"
    assert notes_of(tree) == []
    assert json.loads(data.attrs["source_files"]) == [str(example)]
    assert json.loads(data.attrs["spec"])["label"] == "odor"
    assert {type(value) for value in data.attrs.values()} == {str}


def test_without_labels_in_the_spec_every_column_becomes_one(example):
    data = read_nwb(example, {"name": "all"})["mitt"].to_dataset()
    kinds = {name: data[name].dtype.kind for name in ("odor", "correct", "block", "contrast")}
    assert kinds == {"odor": "U", "correct": "b", "block": "i", "contrast": "f"}
    assert "start_time" not in data.coords


def test_pynwb_reads_the_same_as_the_bulk_read(example):
    spec = load_spec(trials_with(keep={"correct": True}))
    fast = nwb_session.read_session(example, spec)
    slow = nwb_fallback.read_session(example, spec)
    assert fast.subject == slow.subject
    assert fast.unit_ids.tolist() == slow.unit_ids.tolist()
    np.testing.assert_array_equal(fast.trains.times, slow.trains.times)
    np.testing.assert_array_equal(fast.trains.stops, slow.trains.stops)
    for mine, theirs in ((fast.units, slow.units), (fast.trials, slow.trials)):
        assert list(mine.columns) == list(theirs.columns)
        for name, values in mine.columns.items():
            np.testing.assert_array_equal(values, theirs.columns[name])


def test_what_the_bulk_read_cannot_do_goes_to_pynwb(example, monkeypatch):
    def puzzled(*args, **kwargs):
        raise KeyError("an unusual layout")

    expected = read_nwb(example, SPEC)
    monkeypatch.setattr(nwb_session, "read_session", puzzled)
    assert read_nwb(example, SPEC).identical(expected)


def test_subjects_are_named_by_id_then_file_name_then_stem(tmp_path):
    assert list(read_nwb(write_example(tmp_path / "x.nwb"), SPEC).children) == ["mitt"]
    unnamed = write_example(tmp_path / "sub-stella_ses-1.nwb", subject=None)
    assert list(read_nwb(unnamed, SPEC).children) == ["stella"]
    bare = write_example(tmp_path / "rat7.nwb", subject=None)
    assert list(read_nwb(bare, SPEC).children) == ["rat7"]
    assert list(read_nwb({"ann": bare}, SPEC).children) == ["ann"]


def test_folder_pattern_and_list_name_the_same_files(tmp_path):
    for rat in ("a", "b"):
        write_example(tmp_path / f"{rat}.nwb", subject=rat)
    trees = [
        read_nwb(paths, SPEC)
        for paths in (
            tmp_path,
            str(tmp_path / "*.nwb"),
            [tmp_path / "a.nwb", str(tmp_path / "b.nwb")],
            [tmp_path, tmp_path / "a.nwb"],
            {"a": tmp_path / "a.nwb", "b": [tmp_path / "b.nwb"]},
        )
    ]
    for tree in trees:
        assert list(tree.children) == ["a", "b"]
        assert tree.identical(trees[0])


def test_nested_folders_are_searched(tmp_path):
    (tmp_path / "sub-a").mkdir()
    (tmp_path / "sub-a" / "._x.nwb").write_bytes(b"hidden")
    write_example(tmp_path / "sub-a" / "x.nwb", subject="a")
    assert list(read_nwb(tmp_path, SPEC).children) == ["a"]


# keep rules


def test_keep_rules_for_trials_are_noted(example):
    spec = trials_with(keep={"correct": True, "odor": ["A", "B"]})
    tree = read_nwb(example, spec)
    data = tree["mitt"].to_dataset()
    assert data["trial"].values.tolist() == [0, 1, 4]
    assert data["correct"].values.tolist() == [True] * 3
    assert notes_of(tree) == [
        {"what": "trials", "count": 1, "why": "correct is not true"},
        {"what": "trials", "count": 4, "why": "odor is not A, B"},
    ]


def test_label_values_get_names_and_rules_use_them(tmp_path):
    trials = example_trials()
    trials["odor"] = [1 + trial % 4 for trial in range(8)]
    path = write_example(tmp_path / "x.nwb", trials=trials)
    odor = {"column": "odor", "values": {1: "A", 2: "B", 3: "C", 4: "D"}}
    spec = spec_with(trials={"labels": {"odor": odor}, "keep": {"odor": ["C", "D"]}})
    assert read_nwb(path, spec)["mitt"]["odor"].values.tolist() == ["C", "D", "C", "D"]
    del odor["values"][4]
    with pytest.raises(SpecError, match=r"label 'odor' of .* has values without a name: '4'; add"):
        read_nwb(path, spec)


def test_unit_rules_are_noted(tmp_path):
    path = write_example(tmp_path / "x.nwb", regions=["CA1", "CA3", "CA1"])
    tree = read_nwb(path, spec_with(units={"keep": {"region": "CA1"}, "min_spikes": 30}))
    data = tree["mitt"].to_dataset()
    assert data["unit"].values.tolist() == ["mitt/12"]
    np.testing.assert_array_equal(data["spike_time"].values, example_spikes()[2])
    assert (data["spike_unit"].values == 0).all()
    assert notes_of(tree) == [
        {"what": "units", "count": 1, "why": "region is not CA1"},
        {"what": "units", "count": 1, "why": "fewer than 30 spikes"},
    ]


def test_lowest_rate_is_over_the_recorded_span(tmp_path):
    # 20, 40, 60 spikes over not quite 9 s
    path = write_example(tmp_path / "x.nwb")
    spikes = np.concatenate(example_spikes())
    span = max(spikes.max(), 8.6) - min(spikes.min(), 1.0)
    for rate, left in ((40 / span - 1e-9, 2), (40 / span + 1e-9, 1)):
        data = read_nwb(path, spec_with(units={"min_rate": rate}))["mitt"]
        assert data.sizes["unit"] == left


def test_silent_units_stay_unless_the_spec_drops_them(tmp_path):
    spikes = [example_spikes()[0], np.array([]), example_spikes()[2]]
    path = write_example(tmp_path / "x.nwb", spikes=spikes)
    data = read_nwb(path, SPEC)["mitt"].to_dataset()
    assert data.sizes["unit"] == 3
    assert set(data["spike_unit"].values) == {0, 2}
    assert read_nwb(path, spec_with(units={"min_spikes": 1}))["mitt"].sizes["unit"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trials": {"keep": {"odor": "Z"}}}, "no trials of .* by the rule 'odor: Z'; the column"),
        ({"units": {"keep": {"region": "V1"}}}, "no units of .* rule 'region: V1'.* holds: CA1."),
        ({"units": {"min_rate": 1e4}}, "no unit of .* is left: mean rate below 10000 Hz in all"),
        ({"trials": {"keep": {"odor": "A"}}, "label": "odor"}, r"have one label \(odor = A\)"),
    ],
)
def test_rules_that_leave_nothing(example, change, message):
    with pytest.raises(DataError, match=message):
        read_nwb(example, {"name": "x", **change})


# columns of every kind


@pytest.mark.filterwarnings("ignore::UserWarning")  # pynwb's, about the order of rows and columns
def test_columns_that_are_no_plain_values_are_passed_over(tmp_path):
    file = empty_file()
    device = file.create_device("probe")
    group = file.create_electrode_group("g", "g", "CA", device)
    for place in ("CA1", "CA3"):
        file.add_electrode(location=place, group=group)
    file.add_unit_column("quality", "quality")
    file.add_unit_column("shape", "two values per unit")
    file.add_unit_column("bursts", "any number per unit", index=True)
    for unit, times in enumerate(example_spikes(2)):
        file.add_unit(
            spike_times=times,
            electrodes=[1 - unit],
            quality="good",
            shape=[1.0, 2.0],
            bursts=[1.0] * (unit + 1),
            obs_intervals=[[0.0, 9.0]],
        )
    add_trials(file, example_trials())
    file.trials.add_column(
        name="choice", description="enumerated", data=[0, 1] * 4, enum=["left", "right"]
    )
    path = save(file, tmp_path / "x.nwb")
    data = read_nwb(path, {"name": "x"})["mitt"].to_dataset()
    assert data["choice"].values.tolist() == ["left", "right"] * 4
    assert data["location"].values.tolist() == ["CA3", "CA1"]
    assert data["quality"].values.tolist() == ["good", "good"]
    assert not {"shape", "bursts", "electrodes", "obs_intervals"} & set(data.coords)
    with pytest.raises(SpecError, match=r"cannot be used for units\.keep: it has more than one"):
        read_nwb(path, {"name": "x", "units": {"keep": {"shape": 1}}})


def test_units_are_called_by_their_names_where_these_tell_them_apart(tmp_path):
    file = empty_file()
    add_units(file, example_spikes(2), unit_name=["tt1_a", "tt1_b"])
    add_trials(file, example_trials())
    data = read_nwb(save(file, tmp_path / "x.nwb"), SPEC)["mitt"]
    assert data["unit"].values.tolist() == ["mitt/tt1_a", "mitt/tt1_b"]


def test_missing_labels_are_dropped_and_noted(tmp_path):
    trials = {**example_trials(), "odor": ["A", "B", "", "B", "A", "B", "", "B"]}
    tree = read_nwb(write_example(tmp_path / "x.nwb", trials=trials), SPEC)
    assert tree["mitt"].sizes["trial"] == 6
    assert notes_of(tree) == [{"what": "trials", "count": 2, "why": "no value of odor"}]


# where trials can live


def other_tables(path: Path) -> Path:
    from pynwb import TimeSeries
    from pynwb.epoch import TimeIntervals

    file = empty_file()
    add_units(file, example_spikes())
    table = TimeIntervals(name="presentations", description="odors")
    table.add_column("odor", "odor")
    for row in range(8):
        table.add_interval(row + 1.0, row + 1.6, odor="AB"[row % 2])
    file.add_time_intervals(table)
    onsets = np.arange(8) + 1.25
    file.add_acquisition(
        TimeSeries(name="port", data=np.arange(8) % 2, unit="n.a.", timestamps=onsets)
    )
    module = file.create_processing_module("behavior", "events")
    module.add(TimeSeries(name="lick", data=np.ones(8), unit="n.a.", timestamps=onsets + 0.1))
    return save(file, path)


def test_trials_in_another_table(tmp_path):
    path = other_tables(tmp_path / "x.nwb")
    data = read_nwb(path, trials_with(table="presentations"))["mitt"]
    assert data["odor"].values.tolist() == list("ABABABAB")
    with pytest.raises(SpecError) as raised:
        read_nwb(path, trials_with(table="presentation"))
    assert str(raised.value) == (
        f"{path} has no intervals table 'presentation'; it has: 'presentations'. Did you mean "
        "'presentations'? Set 'trials: {table: ...}' in the spec."
    )


@pytest.mark.parametrize("events", ["acquisition/port", "port"])
def test_trials_from_event_times(tmp_path, events):
    path = other_tables(tmp_path / "x.nwb")
    spec = spec_with(trials={"events": events, "labels": {"odor": "data"}})
    data = read_nwb(path, spec)["mitt"].to_dataset()
    np.testing.assert_array_equal(data["onset"].values, np.arange(8) + 1.25)
    np.testing.assert_array_equal(data["start"].values, data["onset"].values)
    assert np.isnan(data["stop"].values).all()
    assert data["odor"].values.tolist() == [0, 1] * 4
    slow = nwb_fallback.read_session(path, load_spec(spec))
    np.testing.assert_array_equal(slow.trials.columns["timestamps"], data["onset"].values)


def test_events_that_are_not_there_or_have_one_value(tmp_path):
    path = other_tables(tmp_path / "x.nwb")
    spec = spec_with(trials={"events": "prot", "labels": {"odor": "data"}})
    with pytest.raises(SpecError) as raised:
        read_nwb(path, spec)
    assert "has no events 'prot'; it has: 'acquisition/port', 'processing/behavior/lick'" in str(
        raised.value
    )
    spec["trials"]["events"] = "processing/behavior/lick"
    with pytest.raises(DataError, match="have one label"):
        read_nwb(path, spec)


def test_labelled_events_and_bare_times(tmp_path):
    path = other_tables(tmp_path / "x.nwb")
    with h5py.File(path, "a") as file:
        group = file["processing/behavior"].create_group("odors")
        group["timestamps"] = np.arange(8) + 1.5
        group["data"] = np.arange(8, dtype=np.uint8) % 2
        group["data"].attrs["labels"] = ["A", "B"]
    spec = spec_with(trials={"events": "odors", "labels": {"odor": "data"}})
    assert read_nwb(path, spec)["mitt"]["odor"].values.tolist() == list("ABABABAB")
    bare = {"name": "x", "trials": {"events": "processing/behavior/odors/timestamps"}}
    assert read_nwb(path, bare)["mitt"].sizes["trial"] == 8


def test_trials_from_a_table_of_events(tmp_path):
    file = empty_file()
    if not hasattr(file, "create_events_table"):
        pytest.skip("this pynwb is older than tables of events")
    add_units(file, example_spikes())
    table = file.create_events_table(name="odors", description="odors")
    table.add_column("odor", "odor")
    for row in range(8):
        table.add_row(timestamp=row + 1.25, odor="AB"[row % 2])
    path = save(file, tmp_path / "x.nwb")
    spec = spec_with(trials={"events": "odors", "labels": {"odor": "odor"}})
    data = read_nwb(path, spec)["mitt"]
    assert data["odor"].values.tolist() == list("ABABABAB")
    assert data["onset"].values.tolist() == [row + 1.25 for row in range(8)]
    slow = nwb_fallback.read_session(path, load_spec(spec)).trials
    np.testing.assert_array_equal(slow.columns["timestamp"], data["onset"].values)


# bad times


def test_trials_without_onset_are_left_out_with_a_warning(tmp_path):
    trials = example_trials()
    trials["port"] = [np.nan, 2.1, *trials["start_time"][2:]]
    path = write_example(tmp_path / "x.nwb", trials=trials)
    with pytest.warns(DataWarning, match="1 of 8 trials of .* have no onset time"):
        tree = read_nwb(path, trials_with(onset="port"))
    assert tree["mitt"]["trial"].values.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert tree["mitt"]["onset"].values[0] == 2.1
    assert notes_of(tree) == [{"what": "trials", "count": 1, "why": "no onset time"}]


def test_no_onset_at_all_and_onsets_that_are_no_times(tmp_path):
    trials = {**example_trials(), "port": [np.nan] * 8}
    path = write_example(tmp_path / "x.nwb", trials=trials)
    with pytest.raises(DataError, match=r"no trial of .* has an onset"):
        read_nwb(path, trials_with(onset="port"))
    with pytest.raises(SpecError, match=r"column 'odor' of the trials table of .* holds text"):
        read_nwb(path, trials_with(onset="odor"))


def test_unsorted_spikes(tmp_path):
    spikes = [example_spikes()[0][::-1], *example_spikes()[1:]]
    path = write_example(tmp_path / "x.nwb", spikes=spikes)
    with pytest.raises(DataError, match=r"not ascending in 1 of 3 units, the first 'mitt/10'"):
        read_nwb(path, SPEC)
    tree = read_nwb(path, spec_with(times={"sort": True}))
    np.testing.assert_array_equal(tree["mitt"]["spike_time"].values[:20], example_spikes()[0])
    assert notes_of(tree) == [{"what": "units", "count": 1, "why": "spike times sorted, none lost"}]


def test_spikes_in_milliseconds(tmp_path):
    spikes = [np.linspace(500, 9000, 200) for _ in range(3)]
    path = write_example(tmp_path / "x.nwb", spikes=spikes)
    with pytest.raises(DataError, match=r"spike times of .* look like milliseconds"):
        read_nwb(path, SPEC)
    tree = read_nwb(path, spec_with(times={"spikes": "milliseconds"}))
    np.testing.assert_allclose(tree["mitt"]["spike_time"].values[:200], spikes[0] / 1000)
    # what travels on is in seconds, and says so
    assert "milliseconds" not in tree["mitt"].attrs["spec"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1.7e9])
def test_times_that_are_no_times(tmp_path, bad):
    spikes = [np.append(times, bad) for times in example_spikes()]
    with pytest.raises(DataError, match=r"not finite|expected seconds since the session began"):
        read_nwb(write_example(tmp_path / "x.nwb", spikes=spikes), SPEC)


def test_spikes_that_end_early(tmp_path):
    spikes = [times[times < 6.5] for times in example_spikes()]
    path = write_example(tmp_path / "x.nwb", spikes=spikes)
    with pytest.warns(DataWarning, match="2 of 8 trials of .* begin after the last spike"):
        read_nwb(path, SPEC)
    # the remedy that the warning names
    tree = read_nwb(path, trials_with(keep={"block": [0]}))
    assert tree["mitt"].sizes["trial"] == 4


# files that cannot be used


def test_paths_that_lead_nowhere(tmp_path):
    write_example(tmp_path / "stella.nwb")
    with pytest.raises(DataError) as raised:
        read_nwb(tmp_path / "stela.nwb", SPEC)
    assert str(raised.value) == (
        f"there is no file or folder {tmp_path / 'stela.nwb'}; check the path. "
        "Did you mean 'stella.nwb'?"
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"the folder .*empty holds no \.nwb files"):
        read_nwb(tmp_path / "empty", SPEC)
    with pytest.raises(DataError, match="no file matches"):
        read_nwb(str(tmp_path / "*.hdf"), SPEC)
    with pytest.raises(DataError, match="got an empty list"):
        read_nwb([], SPEC)
    with pytest.raises(DataError, match="got an empty one"):
        read_nwb({}, SPEC)


def test_files_without_units_spikes_or_trials(tmp_path):
    file = empty_file()
    add_trials(file, example_trials())
    with pytest.raises(DataError, match=r"without_units\.nwb has no units table; expected sorted"):
        read_nwb(save(file, tmp_path / "without_units.nwb"), SPEC)

    file = empty_file()
    file.add_unit_column("region", "region")
    file.add_unit(region="CA1")
    add_trials(file, example_trials())
    with pytest.raises(DataError, match="has no spike times; expected sorted units"):
        read_nwb(save(file, tmp_path / "without_spikes.nwb"), SPEC)

    file = empty_file()
    add_units(file, example_spikes())
    with pytest.raises(DataError, match=r"without_trials\.nwb has no trials: there is no table"):
        read_nwb(save(file, tmp_path / "without_trials.nwb"), SPEC)


def test_a_label_column_that_is_not_there(example):
    with pytest.raises(SpecError) as raised:
        read_nwb(example, spec_with(trials={"labels": {"odor": "odour"}}))
    assert str(raised.value) == (
        f"the trials table of {example} has no column 'odour' (for label 'odor'); it has: "
        "'start_time', 'stop_time', 'odor', 'correct', 'block', 'contrast'. Did you mean 'odor'?"
    )


def test_truncated_files(tmp_path, example):
    content = example.read_bytes()
    for share in (0.5, 0.9):
        path = tmp_path / f"{share}.nwb"
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(DataError, match="it may be truncated"):
            read_nwb(path, SPEC)
    path.write_bytes(b"not HDF5 at all")
    with pytest.raises(DataError, match="is not a readable NWB"):
        read_nwb(path, SPEC)


def test_damage_inside_a_file_is_found(tmp_path):
    path = write_example(tmp_path / "x.nwb")
    with h5py.File(path, "a") as file:
        file["units/spike_times_index"][-1] = 7
    with pytest.raises(DataError, match="the index of spike times does not fit them"):
        read_nwb(path, SPEC)


# several files of one subject


def test_two_files_of_one_subject_are_refused(tmp_path):
    first = write_example(tmp_path / "1.nwb")
    second = write_example(tmp_path / "2.nwb")
    with pytest.raises(DataError) as raised:
        read_nwb(tmp_path, SPEC)
    assert str(raised.value) == (
        f"two files are of subject 'mitt': {first} and {second}. Give one of them, name them as "
        "two subjects ({'mitt-1': ..., 'mitt-2': ...}), or pass sessions='concatenate' if they "
        "hold other units of the same trials."
    )
    with pytest.raises(ParameterError, match="sessions must be 'error' or 'concatenate'"):
        read_nwb(tmp_path, SPEC, sessions="merge")  # type: ignore[arg-type]
    assert list(read_nwb({"one": first, "two": second}, SPEC).children) == ["one", "two"]


def test_units_of_the_same_trials_side_by_side(tmp_path):
    write_example(tmp_path / "1.nwb")
    later = {**example_trials()}
    later["start_time"] = [t + 100 for t in later["start_time"]]
    later["stop_time"] = [t + 100 for t in later["stop_time"]]
    spikes = [times + 100 for times in example_spikes(2, seed=1)]
    write_example(tmp_path / "2.nwb", spikes=spikes, trials=later)
    tree = read_nwb(tmp_path, SPEC, sessions="concatenate")
    data = tree["mitt"].to_dataset()
    assert data["unit"].values.tolist() == [
        "mitt/1.10",
        "mitt/1.11",
        "mitt/1.12",
        "mitt/2.10",
        "mitt/2.11",
    ]
    assert data["session"].values.tolist() == ["1", "1", "1", "2", "2"]
    # the second clock is brought onto the first
    last = data["spike_time"].values[data["spike_unit"].values == 4]
    np.testing.assert_allclose(last, example_spikes(2, seed=1)[1], atol=1e-9)
    assert data["onset"].values.tolist() == example_trials()["start_time"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"odor": list("BACDABCD")}, "label 'odor' differs between"),
        (
            {"start_time": [1.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]},
            "differ by more than a constant",
        ),
        (None, "got 8 and 7 trials"),
    ],
)
def test_units_of_other_trials_are_not_put_side_by_side(tmp_path, change, message):
    write_example(tmp_path / "1.nwb")
    trials = {**example_trials(), **change} if change else example_trials(7)
    write_example(tmp_path / "2.nwb", trials=trials)
    with pytest.raises(DataError, match=message):
        read_nwb(tmp_path, SPEC, sessions="concatenate")


def test_progress_bar_changes_nothing(example, capsys):
    assert read_nwb(example, SPEC, progress=True).identical(read_nwb(example, SPEC))
    assert "reading" in capsys.readouterr().err


# the real recordings

EXPECTED = {
    # units, units in visual cortex, trials, left, equal, right
    "Cori": (1070, 533, 251, 79, 87, 85),
    "Forssmann": (1077, 99, 254, 76, 95, 83),
    "Hench": (1172, 340, 447, 179, 146, 122),
    "Lederberg": (698, 145, 340, 103, 126, 111),
}


@pytest.mark.real_data
@pytest.mark.skipif(not STEINMETZ.is_dir(), reason=f"no recordings in {STEINMETZ}")
def test_four_mice_are_read_completely():
    tree = read_nwb(STEINMETZ, "steinmetz_visual")
    for subject, (total, visual, trials, *sides) in EXPECTED.items():
        data = tree[subject].to_dataset()
        dropped = sum(note["count"] for note in notes_of(tree, subject))
        assert (data.sizes["unit"], data.sizes["unit"] + dropped) == (visual, total)
        assert data.sizes["trial"] == trials
        counts = [int((data["side"] == side).sum()) for side in ("left", "equal", "right")]
        assert counts == sides


@pytest.mark.real_data
@pytest.mark.skipif(not STEINMETZ.is_dir(), reason=f"no recordings in {STEINMETZ}")
def test_reading_four_mice_takes_under_ten_seconds_and_a_gigabyte():
    # a process of its own: the peak of this one includes whatever other tests loaded
    program = (
        "import resource, sys, time; began = time.perf_counter();"
        "from neuroalign.data.nwb import read_nwb;"
        "read_nwb(sys.argv[1], 'steinmetz_visual');"
        "print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(STEINMETZ)], check=True, capture_output=True, text=True
    )
    seconds, kilobytes = map(float, done.stdout.split())
    assert seconds < 10
    assert kilobytes < 1024**2


@pytest.mark.real_data
@pytest.mark.skipif(not STEINMETZ.is_dir(), reason=f"no recordings in {STEINMETZ}")
def test_a_real_file_reads_the_same_through_pynwb():
    path = next(STEINMETZ.glob("*Forssmann*.nwb"))
    spec = load_spec("steinmetz_visual")
    fast, slow = nwb_session.read_session(path, spec), nwb_fallback.read_session(path, spec)
    np.testing.assert_array_equal(fast.trains.times, slow.trains.times)
    np.testing.assert_array_equal(
        fast.units.columns["brain_area"], slow.units.columns["brain_area"]
    )
    np.testing.assert_array_equal(fast.trials.columns["side"], slow.trials.columns["side"])


def test_files_are_found_once_and_in_order(tmp_path):
    for name in ("b.nwb", "a.nwb"):
        (tmp_path / name).touch()
    found = nwb.find_files([tmp_path / "b.nwb", tmp_path])
    assert [path.name for path, _ in found] == ["b.nwb", "a.nwb"]
