from __future__ import annotations

import numpy as np
import pytest
import yaml
from nwb_examples import (
    add_trials,
    add_units,
    empty_file,
    example_spikes,
    example_trials,
    save,
    write_example,
)

from neuroalign.data.inspection import inspect_nwb
from neuroalign.data.nwb import read_nwb
from neuroalign.errors import DataError


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect")
    return write_example(folder / "x.nwb", regions=["CA1", "CA3", "CA1"])


def test_what_a_file_holds(path):
    found = inspect_nwb(path)
    assert (found.subject, found.n_units, found.n_spikes, found.n_trials) == ("mitt", 3, 120, 8)
    assert found.span == (
        min(times[0] for times in example_spikes()),
        max(times[-1] for times in example_spikes()),
    )
    assert [table.path for table in found.tables] == ["units", "intervals/trials"]
    columns = {column.name: column for column in found.tables[1].columns}
    assert columns["odor"].dtype == "text"
    assert columns["odor"].n_unique == 4
    assert columns["odor"].examples == "A, B, C, D"
    assert columns["correct"].examples == "false, true"
    assert columns["start_time"].examples == "1, 2, 3, 4, 5, 6, 7, 8"
    assert columns["contrast"].dtype == "number"


def test_which_roles_can_be_filled(path):
    found = inspect_nwb(path)
    assert found.onsets == {"intervals/trials": ["start_time", "stop_time"]}
    assert found.labels == {"intervals/trials": ["odor", "correct", "block", "contrast"]}
    assert found.unit_filters == ["region"]
    assert found.problems == []


def test_the_suggested_spec_reads_the_file(path):
    text = inspect_nwb(path).suggested_spec()
    spec = yaml.safe_load(text)
    assert spec["label"] == "odor"
    assert spec["trials"]["onset"] == "start_time"
    assert "# All units are kept; units: {keep: {region: [CA1]}} would choose.\n" in text
    assert read_nwb(path, spec)["mitt"].sizes["unit"] == 3
    chosen = spec | yaml.safe_load("units: {keep: {region: [CA1]}}")
    assert read_nwb(path, chosen)["mitt"].sizes["unit"] == 2


def test_what_happens_to_the_animal_is_suggested_before_the_start_of_the_trial(tmp_path):
    trials = example_trials()
    after = {"odor_off": 0.4, "reward_time": 0.3, "stim_on": 0.28}  # s from start_time
    for name, seconds in after.items():
        trials[name] = [start + seconds for start in trials["start_time"]]
    trials["stim_number"] = [7.5 + row for row in range(8)]  # grows too, and is no time
    trials["stim_number"][0] = -9.0
    file = empty_file("mitt")
    add_units(file, example_spikes(), quality=["good", "mua", "good"])
    add_trials(file, trials)
    found = inspect_nwb(save(file, tmp_path / "x.nwb"))
    order = found.onsets["intervals/trials"]
    assert order[:2] == ["stim_on", "start_time"]
    assert set(order[2:4]) == {"reward_time", "stim_number"}
    assert set(order[4:]) == {"stop_time", "odor_off"}
    text = found.suggested_spec()
    assert "# Is stim_on the onset you mean? Also there: start_time, " in text
    spec = yaml.safe_load(text)
    assert spec["frame"] == {"start": 0.0, "length": 0.3}  # 0.32 s are left of each trial
    assert spec["units"] == {"keep": {"quality": ["good"]}}


def test_it_prints_for_people_and_gives_a_table(path):
    text = str(inspect_nwb(path))
    assert "subject  mitt" in text
    assert "units    3 with 120 spikes from" in text
    assert "  onset   in intervals/trials: start_time, stop_time" in text
    assert "  labels  in intervals/trials: odor, correct, block, contrast" in text
    assert "label: odor" in text
    assert max(map(len, text.splitlines())) < 160
    frame = inspect_nwb(path).to_frame()
    row = frame.set_index("column").loc["odor"]
    assert (row["table"], row["type"], row["distinct"]) == ("intervals/trials", "text", 4)


def test_an_onset_column_comes_first_and_missing_values_are_counted(tmp_path):
    trials = example_trials()
    trials["odor_onset"] = [start + 0.2 for start in trials["start_time"][:-1]] + [np.nan]
    found = inspect_nwb(write_example(tmp_path / "x.nwb", trials=trials))
    assert found.onsets["intervals/trials"][0] == "odor_onset"
    assert "(1 missing)" in str(found)


def test_events_are_listed_and_suggested_where_there_are_no_trials(tmp_path):
    from pynwb import TimeSeries

    file = empty_file(subject=None)
    add_units(file, example_spikes())
    series = TimeSeries(
        name="port", data=np.arange(8) % 2, unit="n.a.", timestamps=np.arange(8) + 1.25
    )
    file.add_acquisition(series)
    path = save(file, tmp_path / "sub-ann_x.nwb")
    found = inspect_nwb(path)
    assert found.subject == "ann"
    assert found.onsets == {"acquisition/port": ["timestamps"]}
    assert found.labels == {"acquisition/port": ["data"]}
    assert "there is no trials table" in found.problems[0]
    spec = yaml.safe_load(found.suggested_spec())
    assert read_nwb(path, spec)["ann"].sizes["trial"] == 8


def test_a_file_with_nothing_to_use_is_still_described(tmp_path):
    found = inspect_nwb(save(empty_file(), tmp_path / "x.nwb"))
    assert (found.n_units, found.n_spikes, found.n_trials) == (0, 0, 0)
    assert len(found.problems) == 2
    assert "has no units table" in str(found)
    assert yaml.safe_load(found.suggested_spec())["trials"] == {}


def test_paths_that_cannot_be_inspected(tmp_path, path):
    with pytest.raises(DataError, match=r"there is no file .*nowhere\.nwb; check the path"):
        inspect_nwb(tmp_path / "nowhere.nwb")
    with pytest.raises(DataError, match="is a folder; give one NWB file in it"):
        inspect_nwb(tmp_path)
    half = tmp_path / "half.nwb"
    half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="it may be truncated"):
        inspect_nwb(half)
