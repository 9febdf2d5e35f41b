"""MATLAB files with the same contents in both formats: scipy writes v5, h5py what MATLAB's v7.3 is."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import savemat

FORMATS = ("v5", "v7.3")
# lists are cell arrays, mappings are structs, lists of mappings are struct arrays
Values = Mapping[str, Any]
NUMBERS = itertools.count()


def write_matlab(path: Path, values: Values, version: str) -> Path:
    """Write variables as MATLAB would."""
    if version == "v5":
        savemat(path, {name: _for_scipy(value) for name, value in values.items()})
        return path
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("#refs#")
        for name, value in values.items():
            _write_hdf5(file, file, name, value)
    head = b"MATLAB 7.3 MAT-file, written for a test".ljust(124) + b"\x00\x02IM"
    with path.open("r+b") as opened:
        opened.write(head)
    return path


def is_struct_array(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _for_scipy(value: Any) -> Any:
    if is_struct_array(value):
        kinds = [(name, object) for name in value[0]]
        made = np.empty((1, len(value)), dtype=kinds)
        for place, element in enumerate(value):
            for name, item in element.items():
                made[0, place][name] = _for_scipy(item)
        return made
    if isinstance(value, list):
        cell = np.empty((1, len(value)), dtype=object)
        for place, item in enumerate(value):
            cell[0, place] = _for_scipy(item)
        return cell
    if isinstance(value, Mapping):
        return {name: _for_scipy(item) for name, item in value.items()}
    return value if isinstance(value, str) else np.atleast_2d(np.asarray(value))


def _write_hdf5(file: Any, group: Any, name: str, value: Any) -> None:
    if is_struct_array(value):
        node = _struct_group(group, name, list(value[0]))
        for field in value[0]:
            node[field] = _references(file, [one[field] for one in value])
        return
    if isinstance(value, list):
        group[name] = _references(file, value)
        group[name].attrs["MATLAB_class"] = np.bytes_("cell")
        return
    if isinstance(value, Mapping):
        node = _struct_group(group, name, list(value))
        for field, item in value.items():
            _write_hdf5(file, node, field, item)
        return
    if isinstance(value, str):
        _dataset(group, name, np.array([[ord(c)] for c in value], dtype=np.uint16), "char")
        return
    array = np.atleast_2d(np.asarray(value))
    kind = {"b": "logical", "i": "int64"}.get(array.dtype.kind, "double")
    _dataset(group, name, (array.astype(np.uint8) if kind == "logical" else array).T, kind)


def _struct_group(group: Any, name: str, fields: list[str]) -> Any:
    node = group.create_group(name)
    node.attrs["MATLAB_class"] = np.bytes_("struct")
    names = np.empty(len(fields), dtype=object)
    names[:] = [np.array(list(field), dtype="S1") for field in fields]
    kind = h5py.vlen_dtype(np.dtype("S1"))
    node.attrs.create("MATLAB_fields", names, shape=names.shape, dtype=kind)
    return node


def _dataset(group: Any, name: str, values: np.ndarray, kind: str) -> None:
    if values.size:
        group[name] = values
    else:  # MATLAB stores the shape of what is empty
        group[name] = np.zeros(2, dtype=np.uint64)
        group[name].attrs["MATLAB_empty"] = np.uint8(1)
    group[name].attrs["MATLAB_class"] = np.bytes_(kind)


def _references(file: Any, items: list[Any]) -> np.ndarray:
    made = np.empty((len(items), 1), dtype=h5py.ref_dtype)
    for place, item in enumerate(items):
        name = f"r{next(NUMBERS)}"
        _write_hdf5(file, file["#refs#"], name, item)
        made[place, 0] = file["#refs#"][name].ref
    return made
