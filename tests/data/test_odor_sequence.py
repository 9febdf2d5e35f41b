from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest

from neuroalign.data.odor_sequence import read_odor_sequence
from neuroalign.data.specs import load_spec
from neuroalign.errors import DataError, SpecError
from neuroalign.schema import validate

if TYPE_CHECKING:
    from pathlib import Path

N_UNITS, N_BINS = 4, 300


def write_rat(
    root: Path, rat: str, *, counts=None, info=None, dtype=np.float64
) -> tuple[np.ndarray, np.ndarray]:
    """Write ten trials: odors 1 to 5 twice, trial 6 out of sequence, trial 7 wrong."""
    generator = np.random.default_rng(len(rat))
    if info is None:
        info = np.zeros((10, 5))
        info[:, 0] = 1
        info[:, 1] = 1
        info[6, 1] = 0
        info[7, 0] = 0
        info[:, 3] = np.tile([1, 2, 3, 4, 5], 2)
    if counts is None:
        counts = generator.poisson(0.1, size=(10, N_UNITS, N_BINS)).astype(dtype)
    (root / rat).mkdir(parents=True, exist_ok=True)
    np.save(root / rat / f"{rat}_trial_info.npy", info)
    np.save(root / rat / f"{rat}_spike_data_binned.npy", counts)
    return counts, info


def changed(**changes):
    return load_spec(load_spec("odor_sequence").model_dump(exclude_unset=True) | changes)


def test_frames_follow_each_rat_and_trials_the_rules(tmp_path):
    stored = {rat: write_rat(tmp_path, rat)[0] for rat in ("barat", "mitt")}
    tree = validate(read_odor_sequence(tmp_path), "binned")
    assert list(tree.children) == ["barat", "mitt"]
    kept = [0, 1, 2, 3, 5, 8]
    for rat, first in (("barat", 225), ("mitt", 250)):
        data = tree[rat].to_dataset()
        assert data["trial"].values.tolist() == kept
        assert data["odor"].values.tolist() == list("ABCDAD")
        assert data["correct"].values.all()
        assert data["in_sequence"].dtype == bool
        expected = stored[rat][kept][:, :, first : first + 25]
        np.testing.assert_array_equal(data["counts"].values, expected)
        assert data["counts"].dtype == np.uint8
        assert data["unit"].values.tolist() == [f"{rat}/{unit}" for unit in range(N_UNITS)]
        np.testing.assert_array_equal(
            data["time"].values, np.round(np.arange(25) * 0.01 + 0.005, 9)
        )
    attrs = tree["mitt"].attrs
    assert (attrs["bin_width"], attrs["frame_start"], attrs["frame_stop"]) == (0.01, 0.5, 0.75)
    assert json.loads(attrs["notes"]) == [
        {"what": "trials", "count": 2, "why": "odor is not A, B, C, D"},
        {"what": "trials", "count": 1, "why": "in_sequence is not true"},
        {"what": "trials", "count": 1, "why": "correct is not true"},
    ]


def test_odor_e_and_errors_stay_if_the_spec_says_so(tmp_path):
    write_rat(tmp_path, "mitt")
    trials = load_spec("odor_sequence").trials.model_dump(exclude_unset=True) | {"keep": {}}
    data = read_odor_sequence(tmp_path, changed(trials=trials))["mitt"]
    assert data["odor"].values.tolist() == list("ABCDE") * 2
    assert data["correct"].values.tolist() == [trial != 7 for trial in range(10)]


def test_wider_bins_sum_the_stored_ones(tmp_path):
    stored, _ = write_rat(tmp_path, "mitt")
    spec = changed(bin_width=0.05, window={"length": 0.1, "step": 0.05})
    counts = read_odor_sequence(tmp_path, spec)["mitt"]["counts"].values
    expected = stored[[0, 1, 2, 3, 5, 8]][:, :, 250:275].reshape(6, N_UNITS, 5, 5).sum(-1)
    np.testing.assert_array_equal(counts, expected)


def test_units_with_few_spikes_are_dropped(tmp_path):
    counts = np.ones((10, N_UNITS, N_BINS))
    counts[:, 2] = 0
    write_rat(tmp_path, "mitt", counts=counts)
    data = read_odor_sequence(tmp_path, changed(units={"min_rate": 0.1}))["mitt"]
    assert data["unit"].values.tolist() == ["mitt/0", "mitt/1", "mitt/3"]


def test_large_counts_get_more_room(tmp_path):
    counts = np.full((10, N_UNITS, N_BINS), 300, dtype=np.int32)
    write_rat(tmp_path, "mitt", counts=counts)
    data = read_odor_sequence(tmp_path)["mitt"]
    assert data["counts"].dtype == np.uint16
    assert (data["counts"].values == 300).all()


def test_some_rats_only(tmp_path):
    for rat in ("barat", "mitt", "stella"):
        write_rat(tmp_path, rat)
    assert list(read_odor_sequence(tmp_path, subjects=["stella", "mitt"]).children) == [
        "stella",
        "mitt",
    ]
    with pytest.raises(DataError, match=r"has no rex/rex_trial_info\.npy; it has rats: 'barat'"):
        read_odor_sequence(tmp_path, subjects=["rex"])


@pytest.mark.parametrize("bad", [-1.0, 0.5, np.nan, np.inf])
def test_values_that_are_no_counts(tmp_path, bad):
    counts = np.zeros((10, N_UNITS, N_BINS))
    counts[3, 1, 7] = bad
    write_rat(tmp_path, "mitt", counts=counts)
    with pytest.raises(DataError, match=r"must hold spike counts|not finite, expected spike"):
        read_odor_sequence(tmp_path)


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        read_odor_sequence(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"has no <rat>/<rat>_trial_info\.npy; it has rats: none"):
        read_odor_sequence(tmp_path)
    counts, _info = write_rat(tmp_path, "mitt")
    path = tmp_path / "mitt" / "mitt_spike_data_binned.npy"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="is not a readable array file"):
        read_odor_sequence(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"there is no file .*; each rat needs its two arrays"):
        read_odor_sequence(tmp_path)
    np.save(path, counts[:9])
    with pytest.raises(DataError, match=r"has 10 trials but .* has 9"):
        read_odor_sequence(tmp_path)
    np.save(path, counts[0])
    with pytest.raises(DataError, match="must hold numbers in 3 dimensions"):
        read_odor_sequence(tmp_path)


def test_pickled_objects_are_never_loaded(tmp_path):
    _, info = write_rat(tmp_path, "mitt")
    path = tmp_path / "mitt" / "mitt_trial_info.npy"
    np.save(path, info.astype(object), allow_pickle=True)
    with pytest.raises(DataError, match="without pickled objects"):
        read_odor_sequence(tmp_path)
    path.write_bytes(pickle.dumps(info))
    with pytest.raises(DataError, match="without pickled objects"):
        read_odor_sequence(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (3, 6, "must hold odors 1 to 5, got 1, 2, 3, 4, 5, 6"),
        (0, 2, r"column 0 of .* \(correct\) must hold 0 and 1 only"),
        (1, np.nan, r"\(in_sequence\) must hold 0 and 1 only"),
    ],
)
def test_trial_information_that_makes_no_sense(tmp_path, column, value, message):
    _, info = write_rat(tmp_path, "mitt")
    info[4, column] = value
    write_rat(tmp_path, "mitt", info=info)
    with pytest.raises(DataError, match=message):
        read_odor_sequence(tmp_path)


def test_frames_and_bins_that_do_not_fit(tmp_path):
    write_rat(tmp_path, "mitt")
    with pytest.raises(DataError, match=r"the frame of 'mitt' needs bins 250 to 350 but .* 300"):
        read_odor_sequence(tmp_path, changed(frame={"start": 0.5, "length": 1.0}))
    with pytest.raises(SpecError, match=r"bin_width must be a multiple of 0.01 s"):
        read_odor_sequence(tmp_path, changed(bin_width=0.005))
    with pytest.raises(SpecError, match="has no 'frame'; add its start"):
        read_odor_sequence(tmp_path, {"name": "bare"})
