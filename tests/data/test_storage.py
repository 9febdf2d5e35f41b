"""Trees written and read again are the same."""

from pathlib import Path

import numpy as np
import pytest

import neuroalign as na
from neuroalign.errors import DataError
from neuroalign.schema import iterate_subjects


@pytest.mark.parametrize("stage", ["recording", "binned", "windowed"])
def test_round_trip(tmp_path: Path, stage: str) -> None:
    tree, _ = na.simulate_recordings(units={"ada": 3, "b.ob": 4}, trials=6, random_state=0)
    if stage != "recording":
        tree = na.bin_spikes(tree)
    if stage == "windowed":
        tree = na.slide_windows(tree)
    path = na.save_tree(tree, tmp_path / "deep" / "tree.nc")
    back = na.load_tree(path)
    for (name, expected), (again, found) in zip(
        iterate_subjects(tree), iterate_subjects(back), strict=True
    ):
        assert name == again
        assert expected.identical(found)
        for variable in expected.variables:
            assert expected[variable].dtype == found[variable].dtype
    assert [p.name for p in path.parent.iterdir()] == ["tree.nc"]


def test_an_open_file_can_be_replaced(tmp_path: Path) -> None:
    tree, _ = na.simulate_recordings(units={"ada": 2}, trials=5, random_state=0)
    path = na.save_tree(tree, tmp_path / "tree.nc")
    loaded = na.load_tree(path)
    na.save_tree(loaded, path)
    np.testing.assert_array_equal(
        na.load_tree(path)["ada"]["spike_time"], tree["ada"]["spike_time"]
    )


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found nothing at"):
        na.load_tree(tmp_path / "absent.nc")
    (tmp_path / "text.nc").write_text("no")
    with pytest.raises(DataError, match="no readable netCDF file"):
        na.load_tree(tmp_path / "text.nc")
