from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from nwb_examples import SPEC, example_spikes, example_trials, write_example

from neuroalign.data.arrays import from_arrays
from neuroalign.data.nwb import read_nwb
from neuroalign.data.nwb_writer import write_nwb
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import build_tree, map_subjects


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    for seed, rat in enumerate(("mitt", "stella")):
        spikes = [*example_spikes(seed=seed), np.array([])]
        write_example(folder / f"{rat}.nwb", subject=rat, spikes=spikes)
    return read_nwb(folder, SPEC)


def binned_tree(counts: np.ndarray, **coords) -> xr.DataTree:
    n_trials, n_units, n_bins = counts.shape
    data = xr.Dataset(
        {"counts": (("trial", "unit", "time"), counts)},
        coords={
            "unit": [f"mitt/{unit}" for unit in range(n_units)],
            "unit_number": ("unit", np.arange(n_units, dtype=np.int32)),
            "trial": np.arange(n_trials),
            "time": np.round((np.arange(n_bins) + 0.5) * 0.01, 9),
            "odor": ("trial", np.array(["A", "B"] * (n_trials // 2))),
            **coords,
        },
        attrs={
            "stage": "binned",
            "subject": "mitt",
            "bin_width": 0.01,
            "frame_start": 0.25,
            "frame_stop": 0.25 + n_bins * 0.01,
        },
    )
    return build_tree({"mitt": data})


def without_files(tree):
    return map_subjects(tree, lambda _, data: data.drop_attrs().assign_attrs(
        {key: value for key, value in data.attrs.items() if key != "source_files"}))  # fmt: skip


def test_a_round_trip_changes_nothing(recordings, tmp_path):
    paths = write_nwb(recordings, tmp_path / "new" / "folder")
    assert {subject: path.name for subject, path in paths.items()} == {
        "mitt": "sub-mitt.nwb",
        "stella": "sub-stella.nwb",
    }
    again = read_nwb(tmp_path / "new" / "folder", SPEC)
    assert without_files(again).identical(without_files(recordings))


def test_names_columns_and_ids_survive(tmp_path):
    trials = pd.DataFrame(example_trials()).rename(columns={"start_time": "port", "odor": "smell"})
    trials.index = pd.Index(range(50, 58))
    spec = {
        "name": "x",
        "trials": {
            "onset": "port",
            "labels": {
                "odor": {"column": "smell", "values": {"A": "apple", "B": "pear", "C": "C"}},
                "block": "block",
            },
            "keep": {"correct": True, "odor": ["apple", "pear", "C"]},
        },
        "label": "odor",
    }
    trials["smell"] = ["A", "B", "C", "A"] * 2
    units = {"tt1_a": example_spikes()[0], "tt1_b": example_spikes()[1]}
    tree = from_arrays({"mitt": units}, {"mitt": trials}, spec=spec)
    write_nwb(tree, tmp_path)
    again = read_nwb(tmp_path, spec)["mitt"].to_dataset()
    data = tree["mitt"].to_dataset()
    np.testing.assert_array_equal(again["spike_time"], data["spike_time"])
    for name in ("unit", "trial", "onset", "odor", "block", "correct"):
        assert again[name].dtype.kind == data[name].dtype.kind
        np.testing.assert_array_equal(again[name], data[name])


def test_selected_and_reordered_units_are_written_right(recordings, tmp_path):
    data = recordings["mitt"].to_dataset().isel(unit=[2, 0])
    keep = np.isin(data["spike_unit"].values, data["unit_number"].values)
    data = data.isel(spike=keep)
    write_nwb(build_tree({"mitt": data}), tmp_path)
    again = read_nwb(tmp_path, SPEC)["mitt"].to_dataset()
    assert again["unit"].values.tolist() == ["mitt/12", "mitt/10"]
    for position, source in ((0, 2), (1, 0)):
        mine = again["spike_time"].values[again["spike_unit"].values == position]
        np.testing.assert_array_equal(mine, example_spikes()[source])


def test_other_tables_and_columns_of_times_survive(tmp_path):
    trials = pd.DataFrame(example_trials()).rename(
        columns={"start_time": "poke", "stop_time": "leave"}
    )
    roles = {"table": "pokes", "onset": "poke", "stop": "leave", "labels": {"odor": "odor"}}
    spec = {**SPEC, "trials": roles}
    tree = from_arrays({"mitt": example_spikes()}, {"mitt": trials}, spec=spec)
    # from_arrays knows one table only; the spec that travels is the given one otherwise
    tree = map_subjects(
        tree,
        lambda _, data: data.assign_attrs(spec=read_spec(spec)),
    )
    write_nwb(tree, tmp_path)
    again = read_nwb(tmp_path, spec)["mitt"]
    assert again["onset"].values.tolist() == trials["poke"].tolist()
    assert again["stop"].values.tolist() == trials["leave"].tolist()


def read_spec(spec) -> str:
    from neuroalign.data.specs import load_spec

    return load_spec(spec).to_json()


@pytest.mark.parametrize("clock", ["none", "own", "overlapping"])
def test_binned_counts_come_back_when_binned_again(tmp_path, clock):
    counts = np.random.default_rng(0).poisson(0.3, size=(6, 3, 25)).astype(np.uint8)
    counts[0, 0, 0] = 7
    coords = {
        "none": {},
        "own": {"onset": ("trial", np.arange(6) * 2.0 + 1)},
        "overlapping": {"onset": ("trial", np.arange(6) * 0.1)},
    }[clock]
    path = write_nwb(binned_tree(counts, **coords), tmp_path)["mitt"]
    spec = {"name": "x", "trials": {"onset": "onset", "labels": {"odor": "odor"}}}
    data = read_nwb(path, spec)["mitt"].to_dataset()
    if clock == "own":
        assert data["onset"].values.tolist() == coords["onset"][1].tolist()
    assert data["odor"].values.tolist() == ["A", "B"] * 3
    for trial, onset in enumerate(data["onset"].values):
        for unit in range(3):
            times = data["spike_time"].values[data["spike_unit"].values == unit]
            edges = onset + 0.25 + np.arange(26) * 0.01
            found = np.histogram(times, edges)[0]
            np.testing.assert_array_equal(found, counts[trial, unit])
    assert data.sizes["spike"] == counts.sum()


def test_existing_files_are_kept_unless_told_otherwise(recordings, tmp_path):
    path = write_nwb(recordings, tmp_path)["mitt"]
    before = path.read_bytes()
    with pytest.raises(DataError) as raised:
        write_nwb(recordings, tmp_path)
    assert str(raised.value) == (
        f"{path} exists; pass overwrite=True to replace it, or give another folder."
    )
    assert path.read_bytes() == before
    write_nwb(recordings, tmp_path, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sub-mitt.nwb", "sub-stella.nwb"]


def test_a_failed_write_leaves_nothing_behind(recordings, tmp_path, monkeypatch):
    import pynwb

    def broken(self, *args, **kwargs):
        raise OSError("disk full")

    path = write_nwb(recordings, tmp_path)["mitt"]
    before = path.read_bytes()
    monkeypatch.setattr(pynwb.NWBHDF5IO, "write", broken)
    with pytest.raises(OSError, match="disk full"):
        write_nwb(recordings, tmp_path, overwrite=True)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_what_cannot_be_written(recordings, tmp_path):
    with pytest.raises(ParameterError, match="must have a time zone"):
        write_nwb(recordings, tmp_path, session_start_time=datetime.datetime(2020, 1, 1))
    with pytest.raises(DataError, match=r"tree must be an xarray\.DataTree"):
        write_nwb({"mitt": 1}, tmp_path)  # type: ignore[arg-type]
    latents = map_subjects(recordings, lambda _, data: data.assign_attrs(stage="latents"))
    with pytest.raises(DataError, match=r"expected recording data .* got latents"):
        write_nwb(latents, tmp_path)


@pytest.mark.filterwarnings("ignore")  # nwbinspector's own libraries
def test_nwbinspector_finds_no_critical_problem(recordings, tmp_path):
    from nwbinspector import Importance, inspect_nwbfile

    counts = np.random.default_rng(0).poisson(0.3, size=(6, 3, 25)).astype(np.uint8)
    paths = [
        write_nwb(recordings, tmp_path / "a")["mitt"],
        write_nwb(binned_tree(counts), tmp_path / "b", age="P90D")["mitt"],
    ]
    for path in paths:
        messages = list(inspect_nwbfile(nwbfile_path=path, skip_validate=False))
        grave = [
            message
            for message in messages
            if message.importance.value >= Importance.BEST_PRACTICE_VIOLATION.value
        ]
        assert grave == []


def test_about_the_subject_stands_in_the_file(recordings, tmp_path):
    from pynwb import NWBHDF5IO

    path = write_nwb(recordings, tmp_path, species="Mus musculus", sex="F", age="P90D")["mitt"]
    with NWBHDF5IO(path, "r") as reader:
        file = reader.read()
        assert file.subject.subject_id == "mitt"
        assert (file.subject.species, file.subject.sex, file.subject.age) == (
            "Mus musculus",
            "F",
            "P90D",
        )
        assert file.units.resolution == 1e-5
        assert file.session_start_time == datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
        np.testing.assert_array_equal(file.units.get_unit_spike_times(1), example_spikes()[1])
