from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from nwb_examples import SPEC, example_spikes, example_trials, write_example

from neuroalign.data.arrays import from_arrays
from neuroalign.data.nwb import read_nwb
from neuroalign.errors import DataError, DataWarning, SpecError
from neuroalign.schema import trial_labels, validate


def table(n_trials: int = 8) -> pd.DataFrame:
    trials = pd.DataFrame(example_trials(n_trials))
    return trials.rename(columns={"start_time": "onset", "stop_time": "end"})


def test_arrays_give_the_same_as_a_file(tmp_path):
    spec = {**SPEC, "trials": {"labels": {"odor": "odor"}, "keep": {"correct": True}}}
    from_file = read_nwb(write_example(tmp_path / "x.nwb"), spec)["mitt"].to_dataset()
    units = dict(zip(("10", "11", "12"), example_spikes(), strict=True))
    given = from_arrays({"mitt": units}, {"mitt": pd.DataFrame(example_trials())}, spec=spec,
                        onset="start_time")  # fmt: skip
    data = given["mitt"].to_dataset()
    np.testing.assert_array_equal(data["spike_time"], from_file["spike_time"])
    for name in ("unit", "trial", "onset", "start", "stop", "odor", "correct"):
        np.testing.assert_array_equal(data[name], from_file[name])
    assert data.attrs["notes"] == from_file.attrs["notes"]


def test_lists_of_units_are_numbered_and_every_other_column_is_a_label():
    tree = validate(from_arrays({"mitt": example_spikes()}, {"mitt": table()}), "recording")
    data = tree["mitt"].to_dataset()
    assert data["unit"].values.tolist() == ["mitt/0", "mitt/1", "mitt/2"]
    assert trial_labels(data) == ["end", "odor", "correct", "block", "contrast"]
    assert np.isnan(data["stop"].values).all()
    np.testing.assert_array_equal(data["start"].values, data["onset"].values)
    assert "spec" not in data.attrs


def test_starts_and_stops_have_two_common_names():
    given = table().rename(columns={"end": "stop"})
    given["start"] = given["onset"] - 0.25
    data = from_arrays({"mitt": example_spikes()}, {"mitt": given})["mitt"].to_dataset()
    np.testing.assert_array_equal(data["stop"].values, given["stop"])
    np.testing.assert_array_equal(data["start"].values, given["onset"] - 0.25)
    given["start"] = "left"
    data = from_arrays({"mitt": example_spikes()}, {"mitt": given})["mitt"].to_dataset()
    np.testing.assert_array_equal(data["start"].values, data["onset"].values)


def test_columns_are_named_by_arguments():
    trials = table().rename(columns={"onset": "port"})
    tree = from_arrays(
        {"mitt": example_spikes()}, {"mitt": trials}, onset="port", stop="end", labels=["odor"]
    )
    data = tree["mitt"].to_dataset()
    assert trial_labels(data) == ["odor"]
    assert data["stop"].values.tolist() == trials["end"].tolist()


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (pd.Categorical(["l", "r"] * 4), "U", ["l", "r"] * 4),
        (pd.array([1, 2] * 4, dtype="Int64"), "i", [1, 2] * 4),
        (pd.array([True, False] * 4, dtype="boolean"), "b", [True, False] * 4),
        (pd.array(["l", "r"] * 4, dtype="string"), "U", ["l", "r"] * 4),
        (np.array(["l", None] * 4, dtype=object), "U", ["l", ""] * 4),
        (np.array([1, "r"] * 4, dtype=object), "U", ["1", "r"] * 4),
    ],
)
def test_columns_of_every_pandas_type_become_plain(values, kind, expected):
    trials = table()
    trials["side"] = values
    data = from_arrays({"mitt": example_spikes()}, {"mitt": trials}, labels=["side"])["mitt"]
    assert data["side"].dtype.kind == kind
    assert data["side"].values.tolist() == expected


def test_row_ids_come_from_a_unique_integer_index():
    trials = table()
    trials.index = pd.Index(range(100, 108))
    data = from_arrays({"mitt": example_spikes()}, {"mitt": trials})["mitt"]
    assert data["trial"].values.tolist() == list(range(100, 108))
    trials.index = pd.Index([0] * 8)
    data = from_arrays({"mitt": example_spikes()}, {"mitt": trials})["mitt"]
    assert data["trial"].values.tolist() == list(range(8))


def test_inputs_are_not_modified():
    spikes, trials = [times.copy() for times in example_spikes()], table()
    before = trials.copy()
    tree = from_arrays({"mitt": spikes}, {"mitt": trials}, spec={**SPEC, "times": {"sort": True}})
    tree["mitt"]["spike_time"].values[:] = 0
    pd.testing.assert_frame_equal(trials, before)
    for mine, theirs in zip(spikes, example_spikes(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_trials_without_onset_are_noted():
    trials = table()
    trials.loc[3, "onset"] = np.nan
    with pytest.warns(DataWarning, match="1 of 8 trials of subject 'mitt' have no onset time"):
        tree = from_arrays({"mitt": example_spikes()}, {"mitt": trials})
    assert json.loads(tree["mitt"].attrs["notes"])[0]["count"] == 1


def test_what_cannot_be_used_is_refused():
    spikes, trials = example_spikes(), table()
    with pytest.raises(DataError, match="only one of them has: 'rex'"):
        from_arrays({"mitt": spikes, "rex": spikes}, {"mitt": trials})
    with pytest.raises(DataError, match=r"spike_times must be a mapping .* got list"):
        from_arrays([spikes], {"mitt": trials})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="spike times of unit '0' of subject 'mitt' must be a list"):
        from_arrays({"mitt": np.arange(5.0)}, {"mitt": trials})
    with pytest.raises(DataError, match="must be a list of numbers"):
        from_arrays({"mitt": {"7": ["a"]}}, {"mitt": trials})
    with pytest.raises(DataError, match="the units table of subject 'mitt' is empty"):
        from_arrays({"mitt": []}, {"mitt": trials})
    with pytest.raises(DataError, match="pandas DataFrame with one row per trial, got dict"):
        from_arrays({"mitt": spikes}, {"mitt": {"onset": [1]}})  # type: ignore[dict-item]
    with pytest.raises(DataError, match="table of subject 'mitt' is empty; expected trials"):
        from_arrays({"mitt": spikes}, {"mitt": trials[:0]})
    with pytest.raises(SpecError, match=r"has no column 'onset' .*Did you mean 'onsets'\?"):
        from_arrays({"mitt": spikes}, {"mitt": trials.rename(columns={"onset": "onsets"})})
    with pytest.raises(DataError, match="subject names must be"):
        from_arrays({"a/b": spikes}, {"a/b": trials})
    with pytest.raises(DataError, match="have the same name as text"):
        from_arrays({"mitt": {1: spikes[0], "1": spikes[1]}}, {"mitt": trials})
    with pytest.raises(DataError, match="not finite"):
        from_arrays({"mitt": [[1.0, np.nan]]}, {"mitt": trials})
