"""Permuted labels: the same labels, other trials, whatever the order of subjects."""

import numpy as np
import pytest
import xarray as xr

import neuroalign as na
from neuroalign.errors import DataError
from neuroalign.schema import build_tree


@pytest.fixture(scope="module")
def recordings() -> xr.DataTree:
    return na.simulate_recordings(units={"ada": 3, "bob": 2}, trials=30, random_state=0)[0]


def test_labels_move_and_everything_else_stays(recordings: xr.DataTree) -> None:
    null = na.permute_labels(recordings, "odor", keep_as="true_odor", random_state=1)
    for name in recordings.children:
        before, after = recordings[name].to_dataset(), null[name].to_dataset()
        np.testing.assert_array_equal(after["true_odor"], before["odor"])
        assert sorted(after["odor"].values) == sorted(before["odor"].values)
        assert (after["odor"].values != before["odor"].values).any()
        assert after.drop_vars(["odor", "true_odor"]).identical(before.drop_vars("odor"))


def test_a_subject_is_permuted_alike_whoever_stands_beside_it(recordings: xr.DataTree) -> None:
    alone = build_tree({"bob": recordings["bob"].to_dataset()})
    first = na.permute_labels(recordings, "odor", random_state=3)["bob"]["odor"]
    np.testing.assert_array_equal(
        first, na.permute_labels(alone, "odor", random_state=3)["bob"]["odor"]
    )


def test_what_is_missing_or_taken_is_named(recordings: xr.DataTree) -> None:
    with pytest.raises(
        DataError, match="expected a trial label 'smell', missing for subject 'ada'"
    ):
        na.permute_labels(recordings, "smell")
    with pytest.raises(DataError, match="has a 'correct' already"):
        na.permute_labels(recordings, "odor", keep_as="correct")
