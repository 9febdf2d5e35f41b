"""Trees on disk: netCDF files that xarray, and any netCDF reader, opens."""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr

from neuroalign.errors import DataError
from neuroalign.schema import iterate_subjects, map_subjects


def save_tree(tree: xr.DataTree, path: str | Path) -> Path:
    """Write a tree as one compressed netCDF file with a group per subject.

    The file is written aside and renamed, so that a file of that name is always whole.

    Parameters
    ----------
    tree : DataTree
        Any stage of the data.
    path : str or Path
        Where to write; an existing file is replaced.

    Returns
    -------
    Path
        The file.

    Examples
    --------
    >>> import tempfile
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 3}, trials=20, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     loaded = na.load_tree(na.save_tree(recordings, f"{folder}/recordings.nc"))
    >>> loaded.identical(recordings)
    True
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    encoding = {
        f"/{name}": {
            str(variable): {"zlib": True, "complevel": 4}
            for variable, array in data.data_vars.items()
            if array.dtype.kind in "iufb" and array.ndim > 0
        }
        for name, data in iterate_subjects(tree)
    }
    tree.to_netcdf(aside, engine="h5netcdf", encoding=encoding)
    os.replace(aside, path)
    return path


def load_tree(path: str | Path) -> xr.DataTree:
    """Read a tree that `save_tree` wrote, into memory.

    Raises
    ------
    DataError
        If the file is missing or no such file.

    Examples
    --------
    See `save_tree`.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"expected a file written by save_tree, found nothing at {path}.")
    try:
        with xr.open_datatree(path, engine="h5netcdf") as opened:
            tree = opened.load()
            # object strings become fixed-width text, as every stage has them
            return map_subjects(tree, lambda _, data: _plain_text(data))
    except (OSError, ValueError, KeyError) as problem:
        raise DataError(
            f"{path} is no readable netCDF file ({problem}); write it anew."
        ) from problem


def _plain_text(dataset: xr.Dataset) -> xr.Dataset:
    changed = {
        name: coordinate.astype(str)
        for name, coordinate in dataset.coords.items()
        if coordinate.dtype.kind in "OT"
    }
    return dataset.assign_coords(changed) if changed else dataset
