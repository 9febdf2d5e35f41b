"""MATLAB files in both layouts and both formats give the recordings that went into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matlab_examples import FORMATS, write_matlab
from scipy.io import savemat

import neuroalign as na
from neuroalign.data.matlab_files import Cell, Struct, Unreadable, open_matlab
from neuroalign.errors import DataError, DataWarning, ParameterError, SpecError
from neuroalign.schema import trial_labels, validate

ONSET = np.array([1.0, 4.0, 7.5, 11.0])
ALIGNED = (-0.5, 1.0)


def spike_trains(units: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(units)
    return [np.sort(np.round(random.uniform(0.1, 13.0, size=80), 4)) for _ in range(units)]


def columns() -> dict[str, Any]:
    return {
        "onset": ONSET,
        "odor": ["A", "B", "", "A"],
        "correct": np.array([True, False, True, True]),
        "block": np.array([1.0, 1.0, 2.0, 2.0]),
        "contrast": np.array([0.5, np.nan, 1.0, 0.25]),
    }


def expected(**options: Any) -> xr.Dataset:
    """The same through from_arrays, with units and trials numbered as MATLAB does."""
    table = pd.DataFrame(columns(), index=pd.RangeIndex(1, 5))
    table["block"] = table["block"].astype(int)
    units = {str(number): times for number, times in enumerate(spike_trains(), start=1)}
    return na.from_arrays({"mitt": units}, {"mitt": table}, **options)["mitt"].to_dataset()


def aligned_trials(onset: np.ndarray = ONSET, **more: list[Any]) -> list[dict[str, Any]]:
    """One struct per trial, with the spikes around its event."""
    made = []
    for number, event in enumerate(onset):
        inside = [
            times[(times >= event + ALIGNED[0]) & (times <= event + ALIGNED[1])] - event
            for times in spike_trains()
        ]
        fields = {name: values[number] for name, values in columns().items() if name != "onset"}
        extra = {name: values[number] for name, values in more.items()}
        made.append({"spikes": inside, "onset": event} | fields | extra)
    return made


def assert_same(found: xr.Dataset, wanted: xr.Dataset) -> None:
    assert set(found.coords) == set(wanted.coords)
    for name in ("spike_time", "spike_unit", *map(str, wanted.coords)):
        assert found[name].dtype == wanted[name].dtype, name
        np.testing.assert_array_equal(found[name].values, wanted[name].values, err_msg=name)


# --- Session layout -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", FORMATS)
@pytest.mark.parametrize("shape", ["struct of vectors", "struct array", "variables"])
def test_sessions_give_what_went_in(tmp_path: Path, version: str, shape: str) -> None:
    spikes, trials = spike_trains(), columns()
    rows = [{name: values[k] for name, values in trials.items()} for k in range(len(ONSET))]
    values: dict[str, Any] = {"spikes": spikes, "lfp": np.zeros((7, 5)), "rig": "left"}
    options: dict[str, Any] = {}
    if shape == "variables":
        values |= trials
        options = {"trials": None, "labels": ["odor", "correct", "block", "contrast"]}
    else:
        values["trials"] = trials if shape == "struct of vectors" else rows
    path = write_matlab(tmp_path / "mitt.mat", values, version)
    tree = validate(na.read_matlab(path, **options), "recording")
    data = tree["mitt"].to_dataset()
    assert_same(data, expected())
    assert "spec" not in data.attrs
    assert json.loads(data.attrs["source_files"]) == [str(path)]


@pytest.mark.parametrize("version", FORMATS)
def test_units_may_be_the_fields_of_a_struct_and_have_names(tmp_path: Path, version: str) -> None:
    times = spike_trains()
    units = [{"times": one, "id": 10.0 + k} for k, one in enumerate(times)]
    path = write_matlab(tmp_path / "mitt.mat", {"units": units, "trials": columns()}, version)
    data = na.read_matlab(path, spikes="units.times", unit_ids="units.id")["mitt"].to_dataset()
    assert data["unit"].values.tolist() == ["mitt/10", "mitt/11", "mitt/12"]
    np.testing.assert_array_equal(data["spike_time"], expected()["spike_time"])
    # the layout of CellExplorer: one struct whose fields hold a cell array each
    struct = {"spikes": {"times": times, "cluID": ["a", "b", "c"]}, "trials": columns()}
    path = write_matlab(tmp_path / "cell.mat", struct, version)
    data = na.read_matlab(path, spikes="spikes.times", unit_ids="spikes.cluID")["cell"].to_dataset()
    assert data["unit"].values.tolist() == ["cell/a", "cell/b", "cell/c"]


def test_a_spec_gives_columns_rules_names_and_milliseconds(tmp_path: Path) -> None:
    trials = columns() | {"onset": ONSET * 1000, "end": ONSET * 1000 + 800}
    values = {"spikes": [times * 1000 for times in spike_trains()], "trials": trials}
    path = write_matlab(tmp_path / "mitt.mat", values, "v5")
    spec = {
        "name": "mine",
        "trials": {
            "stop": "end",
            "labels": {"stage": {"column": "block", "values": {1: "early", 2: "late"}}},
            "keep": {"correct": True},
        },
        "times": {"spikes": "milliseconds", "trials": "milliseconds"},
    }
    data = na.read_matlab({"rex": path}, spec=spec)["rex"].to_dataset()
    assert data["stage"].values.tolist() == ["early", "late", "late"]
    assert data["trial"].values.tolist() == [1, 3, 4]
    np.testing.assert_allclose(data["stop"], ONSET[[0, 2, 3]] + 0.8)
    np.testing.assert_allclose(data["spike_time"], expected()["spike_time"], rtol=1e-12)
    assert "spec" in data.attrs


def test_files_are_found_and_named(tmp_path: Path) -> None:
    values = {"spikes": spike_trains(), "trials": columns()}
    for name in ("ada.mat", "bob.mat"):
        write_matlab(tmp_path / name, values, "v5")
    several: list[Any] = [
        tmp_path,
        str(tmp_path / "*.mat"),
        [tmp_path / "ada.mat", tmp_path / "bob.mat"],
    ]
    for paths in several:
        assert list(na.read_matlab(paths).children) == ["ada", "bob"]
    assert list(na.read_matlab({"x": tmp_path / "bob.mat"}).children) == ["x"]
    (tmp_path / "sub").mkdir()
    write_matlab(tmp_path / "sub" / "ada.mat", values, "v5")
    with pytest.raises(DataError, match="two files have the same name"):
        na.read_matlab([tmp_path / "ada.mat", tmp_path / "sub" / "ada.mat"])
    absent: list[tuple[Any, str]] = [
        (tmp_path / "adda.mat", r"there is no file .*adda.mat.* Did you mean 'ada.mat'\?"),
        (str(tmp_path / "x*.mat"), "no file matches"),
        ([], "expected at least one MATLAB file"),
    ]
    for paths, message in absent:
        with pytest.raises(DataError, match=message):
            na.read_matlab(paths)


# --- Aligned layout -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", FORMATS)
def test_aligned_trials_come_back_on_the_session_clock(tmp_path: Path, version: str) -> None:
    path = write_matlab(tmp_path / "mitt.mat", {"trials": aligned_trials()}, version)
    data = na.read_matlab(path, aligned=ALIGNED)["mitt"].to_dataset()
    whole = expected()
    near = (np.abs(whole["spike_time"].values[:, None] - ONSET - 0.25) <= 0.75).any(axis=1)
    assert 20 < near.sum() < near.size
    np.testing.assert_array_equal(data["spike_time"], whole["spike_time"].values[near])
    np.testing.assert_array_equal(data["spike_unit"], whole["spike_unit"].values[near])
    np.testing.assert_array_equal(data["start"], ONSET - 0.5)
    np.testing.assert_array_equal(data["stop"], ONSET + 1.0)
    for name in ("trial", "onset", "odor", "correct", "block", "contrast"):
        np.testing.assert_array_equal(data[name], whole[name])
        assert data[name].dtype == whole[name].dtype
    frame = {"frame_start": 0.0, "frame_length": 1.0, "bin_width": 0.1}
    mine = na.bin_spikes(na.read_matlab(path, aligned=ALIGNED), **frame)
    theirs = na.bin_spikes(xr.DataTree.from_dict({"mitt": whole}), **frame)
    np.testing.assert_array_equal(mine["mitt"]["counts"], theirs["mitt"]["counts"])


def test_trials_can_be_laid_one_after_another(tmp_path: Path) -> None:
    close = np.array([1.0, 1.4, 2.0, 11.0])  # saved spans overlap, so some spikes are there twice
    path = write_matlab(tmp_path / "mitt.mat", {"trials": aligned_trials(close)}, "v5")
    with pytest.raises(DataError, match=r"2 trials of .* overlap: .* 1\.5 s .* close as 0\.4 s"):
        na.read_matlab(path, aligned=ALIGNED)
    tree = na.read_matlab(path, aligned=ALIGNED, consecutive=True)
    data = tree["mitt"].to_dataset()
    np.testing.assert_allclose(data["onset"], 1.5 + 2.5 * np.arange(4))
    assert "times between trials mean nothing" in data.attrs["notes"]
    binned = na.bin_spikes(tree, frame_start=-0.5, frame_length=1.5, bin_width=0.1)
    for number, trial in enumerate(aligned_trials(close)):
        for unit, times in enumerate(trial["spikes"]):
            counts = np.histogram(times, bins=np.round(np.arange(-0.5, 1.05, 0.1), 9))[0]
            found = binned["mitt"]["counts"].to_numpy()[number, unit]
            np.testing.assert_array_equal(found, counts)


def test_aligned_milliseconds_and_trials_without_event(tmp_path: Path) -> None:
    trials = aligned_trials()
    for trial in trials:
        trial["spikes"] = [times * 1000 for times in trial["spikes"]]
    trials[2]["onset"] = np.nan
    path = write_matlab(tmp_path / "mitt.mat", {"trials": trials}, "v7.3")
    with pytest.raises(DataError, match=r"not within aligned=\(-0\.5, 1\) s .* milliseconds"):
        na.read_matlab(path, aligned=ALIGNED)
    spec = {"name": "mine", "times": {"spikes": "milliseconds"}}
    with pytest.warns(DataWarning, match="1 of 4 trials .* have no onset time"):
        data = na.read_matlab(path, aligned=ALIGNED, spec=spec)["mitt"].to_dataset()
    assert data["trial"].values.tolist() == [1, 2, 4]
    every = expected()["spike_time"].values
    kept = (np.abs(every[:, None] - ONSET[[0, 1, 3]] - 0.25) <= 0.75).any(axis=1)
    np.testing.assert_allclose(data["spike_time"], every[kept], atol=1e-9)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda t: t[1].update(spikes=t[1]["spikes"][:2]),
            {},
            "got 3 in the first and 2 in trial 2; give a unit without spikes an empty vector",
        ),
        (
            lambda t: [one.update(spikes=np.ones(3)) for one in t],
            {},
            r"trials\(1\).spikes in .* is an array of float64 \(1x3\), expected a cell array",
        ),
        (
            lambda t: t[0].update(spikes=[np.array([np.nan]), *t[0]["spikes"][1:]]),
            {},
            "1 of .* spike times of .* are NaN or infinite",
        ),
        (lambda t: None, {"spikes": "spike"}, r"no field 'spike' .* Did you mean 'spikes'\?"),
        (lambda t: None, {"onset": "cue"}, "no times 'cue' .* consecutive=True"),
        (lambda t: None, {"trials": "trial"}, r"no variable 'trial' .* trials \(struct 1x4\)"),
    ],
)
def test_aligned_files_that_do_not_fit_are_refused(
    tmp_path: Path, change: Any, options: dict[str, Any], message: str
) -> None:
    trials = aligned_trials()
    change(trials)
    path = write_matlab(tmp_path / "mitt.mat", {"trials": trials}, "v5")
    with pytest.raises(DataError, match=message):
        na.read_matlab(path, aligned=ALIGNED, **options)


# --- What is not there, or is something else ----------------------------------------------------


@pytest.mark.parametrize("version", FORMATS)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"spikes": "spike"}, DataError, r"no variable 'spike' \(for spikes\); it has: .*lfp"),
        ({"spikes": "lfp"}, DataError, r"'lfp' in .* is an array of float64 \(2x5\), expected a c"),
        ({"spikes": "flat"}, DataError, "split the times of all units by their unit: spikes = arr"),
        ({"spikes": "trials"}, DataError, "a struct with the fields .*; name the field with the"),
        ({"spikes": "grid"}, DataError, r"unit 1 of 'grid' .* is an array of float64 \(2x2\), exp"),
        ({"spikes": "trials.odour"}, DataError, r"no field 'odour' .* Did you mean 'odor'\?"),
        ({"spikes": "lfp.times"}, DataError, "expected a struct with a field 'times'"),
        ({"trials": "lfp"}, DataError, "'lfp' in .* expected a struct .* read with trials=None"),
        ({"onset": "cue"}, DataError, "'trials' in .* has no 'cue' .*; it has: .*'odor'"),
        ({"onset": "table"}, DataError, r"'table' in .* is an array of float64 \(4x2\), expected"),
        ({"labels": ["odour"]}, SpecError, r"no column 'odour' .* Did you mean 'odor'\?"),
        ({"labels": ["short"]}, SpecError, r"\(1x3\), expected one value for each of 4 trials"),
        ({"labels": ["nested"]}, SpecError, "it holds an array of float64 .* one value for each"),
        ({"unit_ids": "ids"}, DataError, "expected one value for each of 3 units"),
        ({"unit_ids": "same"}, DataError, "'same' in .* names two units alike"),
        ({"trials": None}, ParameterError, r"trials=None needs labels"),
        ({"consecutive": True}, ParameterError, "belongs to the aligned layout"),
        ({"aligned": (1.0, -1.0)}, ParameterError, r"such as \(-1.0, 2.0\), got \(1.0, -1.0\)"),
        ({"aligned": ALIGNED, "trials": None}, ParameterError, "needs the name of the struct arr"),
        ({"aligned": ALIGNED, "stop": "x"}, ParameterError, "leave out start and stop"),
    ],
)
def test_what_does_not_fit_is_named_with_what_was_found(
    tmp_path: Path, version: str, options: dict[str, Any], error: Any, message: str
) -> None:
    trials = columns() | {
        "short": np.ones(3),
        "table": np.ones((4, 2)),
        "nested": [np.ones(2), np.ones(2), np.ones(2), np.ones(2)],
    }
    values = {
        "spikes": spike_trains(),
        "trials": trials,
        "lfp": np.zeros((2, 5)),
        "flat": np.ones(9),
        "grid": [np.ones((2, 2))],
        "ids": np.ones(5),
        "same": ["a", "a", "b"],
    }
    path = write_matlab(tmp_path / "mitt.mat", values, version)
    with pytest.raises(error, match=message):
        na.read_matlab(path, **options)


def test_columns_that_do_not_fit_are_no_labels_but_do_no_harm(tmp_path: Path) -> None:
    trials = columns() | {"settings": {"gain": 2.0}, "short": np.ones(3), "note": "a good day"}
    path = write_matlab(tmp_path / "mitt.mat", {"spikes": spike_trains(), "trials": trials}, "v7.3")
    data = na.read_matlab(path)["mitt"].to_dataset()
    assert trial_labels(data) == ["odor", "correct", "block", "contrast"]


@pytest.mark.parametrize("content", [b"", b"hello", b"MATLAB 5.0 MAT-file" + bytes(300)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mitt.mat"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"no MATLAB file, or is damaged|has no variable 'spikes'"):
        na.read_matlab(path)


@pytest.mark.parametrize("version", FORMATS)
def test_damaged_files_are_refused(tmp_path: Path, version: str) -> None:
    values = {"spikes": spike_trains(), "trials": columns()}
    path = write_matlab(tmp_path / "mitt.mat", values, version)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"mitt\.mat"):
        na.read_matlab(path)


# --- The files themselves -----------------------------------------------------------------------


@pytest.mark.parametrize("version", FORMATS)
def test_values_of_every_kind_are_read_alike(tmp_path: Path, version: str) -> None:
    values = {
        "number": 3.0,
        "matrix": np.arange(6.0).reshape(2, 3),
        "flags": np.array([True, False]),
        "text": "Grüße",
        "nothing": np.zeros((0, 0)),
        "cell": ["x", np.ones(2), ["y"]],
        "struct": {"a": 1.0, "b": {"c": "deep"}},
        "array": [{"a": 1.0, "b": "x"}, {"a": 2.0, "b": "y"}],
    }
    with open_matlab(write_matlab(tmp_path / "x.mat", values, version)) as file:
        read = {name: file.value(name, role="test") for name in values}
        assert file.value("struct.b.c", role="test") == "deep"
        assert set(file.contents) == set(values)
    assert read["number"].tolist() == [[3.0]]
    assert read["matrix"].tolist() == values["matrix"].tolist()  # type: ignore[attr-defined]
    assert read["flags"].dtype == bool
    assert read["text"] == "Grüße"
    assert read["nothing"].size == 0
    assert isinstance(read["cell"], Cell)
    assert read["cell"].items[0] == "x"
    assert read["cell"].items[2].items == ["y"]
    assert isinstance(read["array"], Struct)
    assert [one["b"] for one in read["array"].elements] == ["x", "y"]


def test_complex_numbers_are_refused_rather_than_halved(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"z": np.array([1 + 2j])})
    with (
        open_matlab(tmp_path / "x.mat") as file,
        pytest.raises(DataError, match="imaginary part"),
    ):
        file.value("z", role="test")


def test_files_with_objects_are_read_around_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"spikes": spike_trains(), "trials": columns()}
    path = write_matlab(tmp_path / "mitt.mat", values, "v5")

    def unlisted(name: str) -> list[Any]:
        raise TypeError("'NoneType' object is not iterable")  # what scipy says to a MATLAB string

    monkeypatch.setattr("scipy.io.whosmat", unlisted)
    assert_same(na.read_matlab(path)["mitt"].to_dataset(), expected())
    with open_matlab(path) as file:
        assert file.contents["spikes"] == "a cell array (1x3)"


@pytest.mark.parametrize("kind", ["table", "string", "categorical", "function_handle"])
def test_objects_of_matlab_say_what_to_save_instead(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mitt.mat"
    write_matlab(path, {"spikes": spike_trains(), "trials": columns()}, "v7.3")
    with h5py.File(path, "r+") as file:
        del file["trials"]
        file["trials"] = np.arange(6, dtype=np.uint32)[None]
        file["trials"].attrs["MATLAB_class"] = np.bytes_(kind)
        file["trials"].attrs["MATLAB_object_decode"] = np.int32(3)
    with pytest.raises(DataError, match=f"is a MATLAB {kind}, which only MATLAB can read") as said:
        na.read_matlab(path)
    if kind == "table":
        assert "save table2struct(t, 'ToScalar', true) instead" in str(said.value)


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    secret = write_matlab(tmp_path / "secret.mat", {"spikes": spike_trains()}, "v7.3")
    path = write_matlab(tmp_path / "mitt.mat", {"trials": columns()}, "v7.3")
    with h5py.File(path, "r+") as file:
        file["spikes"] = h5py.ExternalLink(str(secret), "/spikes")
        raw = tmp_path / "raw.bin"
        raw.write_bytes(np.arange(4.0).tobytes())
        file.create_dataset("raw", (4,), dtype=float, external=[(str(raw), 0, 32)])
    with open_matlab(path) as opened:
        for name in ("spikes", "raw"):
            assert isinstance(opened.value(name, role="test"), Unreadable)
    with pytest.raises(DataError, match="is a link to another file, which is not followed"):
        na.read_matlab(path)


def test_endless_nesting_ends(tmp_path: Path) -> None:
    path = write_matlab(tmp_path / "mitt.mat", {"spikes": ["x"], "trials": columns()}, "v7.3")
    with h5py.File(path, "r+") as file:
        file["spikes"][0, 0] = file["spikes"].ref  # a cell that holds itself
    with pytest.raises(DataError, match="nests cells or structs more than 16 deep"):
        na.read_matlab(path)
