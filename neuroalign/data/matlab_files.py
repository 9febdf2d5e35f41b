"""Variables of MATLAB files, v5 to v7 and v7.3, as the same few plain values.

Only values are read: numbers, text, cell arrays and structs. Objects of MATLAB classes (tables,
strings, categoricals, function handles) become `Unreadable` with what to do in MATLAB instead,
and links from a file to other files are not followed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from neuroalign.errors import DataError
from neuroalign.suggestions import close_match

DEEPEST: Final = 16
NAMELESS: Final = "None"  # what scipy calls the objects of a file
CONVERSIONS: Final[Mapping[str, str]] = {
    "table": "table2struct(t, 'ToScalar', true)",
    "timetable": "table2struct(timetable2table(t), 'ToScalar', true)",
    "string": "cellstr(s)",
    "categorical": "cellstr(c)",
    "sparse array": "full(x)",
    "datetime": "seconds(d - d(1))",
    "duration": "seconds(d)",
}


@dataclass(frozen=True)
class Cell:
    """A cell array: its items in MATLAB's order, and its shape."""

    items: list[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Struct:
    """A struct array: one mapping field -> value per element (one element: a plain struct)."""

    elements: list[dict[str, Any]]

    @property
    def fields(self) -> list[str]:
        """Names of the fields."""
        return list(self.elements[0]) if self.elements else []


@dataclass(frozen=True)
class Unreadable:
    """A value that cannot be read, and why."""

    why: str


def _only_in_matlab(kind: str) -> Unreadable:
    remedy = CONVERSIONS.get(kind)
    said = f"a MATLAB {kind or 'object'}, which only MATLAB can read"
    return Unreadable(f"{said}; save {remedy} instead" if remedy else said)


class MatlabFile:
    """An open file: the names of its variables, what they are, and their values when asked.

    Parameters
    ----------
    path : Path
        For messages.
    contents : mapping
        Name to a short description, such as `cell 1x12`.
    read : callable
        Returns a variable's value.
    """

    def __init__(self, path: Path, contents: Mapping[str, str], read: Any) -> None:
        self.path = path
        self.contents = contents
        self._read = read
        self._known: dict[str, Any] = {}

    def value(self, name: str, *, role: str) -> Any:
        """Return a variable, or a field of a struct named as in `spikes.times`.

        Parameters
        ----------
        name : str
            As one would write it in MATLAB.
        role : str
            What it is wanted for, for the message.

        Raises
        ------
        DataError
            If there is none; the message lists those there are.
        """
        first, *fields = name.split(".")
        if first not in self.contents:
            raise DataError(
                f"{self.path} has no variable {first!r} (for {role}); it has: {self.listed()}."
                f"{close_match(first, self.contents)}"
            )
        if first not in self._known:
            self._known[first] = self._read(first)
        value, at = self._known[first], first
        for field in fields:
            if not isinstance(value, Struct):
                raise DataError(
                    f"{at!r} in {self.path} is {described(value)}, expected a struct with a field "
                    f"{field!r} (for {role})."
                )
            if field not in value.fields:
                raise DataError(
                    f"{at!r} in {self.path} has no field {field!r} (for {role}); it has: "
                    f"{listed_fields(value)}.{close_match(field, value.fields)}"
                )
            found = [element[field] for element in value.elements]
            # s.f of a struct array is a list of values in MATLAB too
            value = found[0] if len(found) == 1 else Cell(found, (1, len(found)))
            at = f"{at}.{field}"
        return value

    def listed(self) -> str:
        """List the variables and what they are."""
        shown = [f"{name} ({kind})" for name, kind in self.contents.items()]
        return ", ".join(shown) or "none"


def described(value: object) -> str:
    """Say in a few words what a value is."""
    if isinstance(value, Unreadable):
        return value.why
    if isinstance(value, Cell):
        return f"a cell array ({_times(value.shape)})"
    if isinstance(value, Struct):
        number = len(value.elements)
        fields = ", ".join(value.fields) or "none"
        kind = "a struct" if number == 1 else f"a struct array of {number}"
        return f"{kind} with the fields {fields}"
    if isinstance(value, str):
        return f"the text {value[:30]!r}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} ({_times(value.shape)})"
    return type(value).__name__


def listed_fields(struct: Struct) -> str:
    """List the fields of a struct and what they are."""
    shown = struct.elements[0] if struct.elements else {}
    return ", ".join(f"{name} ({described(value)})" for name, value in shown.items()) or "none"


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


@contextmanager
def open_matlab(path: str | Path) -> Iterator[MatlabFile]:
    """Open a MATLAB file of any version from 5 on.

    Parameters
    ----------
    path : str or Path
        The file.

    Yields
    ------
    MatlabFile
        Its variables.

    Raises
    ------
    DataError
        If it does not exist, is no MATLAB file, or is damaged.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        beside = [p.name for p in file.parent.glob("*.mat")] if file.parent.is_dir() else []
        raise DataError(f"there is no file {file}; check the path.{close_match(file.name, beside)}")
    import h5py

    if h5py.is_hdf5(file):
        try:
            opened = h5py.File(file, "r")
        except OSError as error:
            raise DataError(f"{file} is damaged; copy it again ({error}).") from error
        with opened:
            yield MatlabFile(file, _hdf5_contents(opened), lambda name: _guarded(opened, name))
        return
    yield _version5(file)


# --- Versions 5 to 7: scipy ---------------------------------------------------------------------


def _version5(file: Path) -> MatlabFile:
    from scipy.io import loadmat

    try:
        contents = _scipy_contents(file)
    except Exception as error:  # scipy raises many kinds for files that are none
        raise DataError(f"{file} is no MATLAB file, or is damaged ({error}).") from error

    def read(name: str) -> Any:
        try:
            with warnings.catch_warnings():
                # mat_dtype tells logicals from numbers, and would drop imaginary parts
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                found = loadmat(str(file), variable_names=[name], mat_dtype=True)
        except Exception as error:
            raise DataError(f"{name!r} in {file} cannot be read ({error}).") from error
        return _from_scipy(found[name])

    return MatlabFile(file, contents, read)


def _scipy_contents(file: Path) -> dict[str, str]:
    from scipy.io import loadmat, whosmat

    try:
        found = {name: f"{kind} {_times(shape)}" for name, shape, kind in whosmat(str(file))}
    except TypeError:  # scipy cannot list a file with objects, but reads what else there is
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = loadmat(str(file), mat_dtype=True)
        found = {name: described(_from_scipy(value)) for name, value in values.items()}
    contents = {name: kind for name, kind in found.items() if not name.startswith("__")}
    if contents.pop(NAMELESS, None):
        contents["(without a name)"] = "objects such as tables or strings; only MATLAB reads them"
    return contents


def _from_scipy(value: Any) -> Any:
    from scipy import sparse
    from scipy.io import matlab

    if isinstance(value, matlab.MatlabOpaque):
        kind = value["s2"].item() if value.dtype.names and "s2" in value.dtype.names else "object"
        return _only_in_matlab(kind.decode() if isinstance(kind, bytes) else str(kind))
    if isinstance(value, matlab.MatlabFunction):
        return _only_in_matlab("function handle")
    if isinstance(value, matlab.MatlabObject):
        return _only_in_matlab(str(value.classname))
    if sparse.issparse(value):
        return _plain(value.toarray())
    array = np.asarray(value)
    if array.dtype.names:
        flat = array.ravel(order="F")
        return Struct([{n: _from_scipy(one[n]) for n in array.dtype.names} for one in flat])
    if array.dtype.kind == "O" and all(one is None for one in array.flat):
        return Struct([{} for _ in array.flat]) if array.size else Cell([], array.shape)
    if array.dtype.kind == "O":
        return Cell([_from_scipy(one) for one in array.ravel(order="F")], array.shape)
    if array.dtype.kind == "U":
        rows = [str(row) for row in array.ravel()]
        if len(rows) > 1:  # a matrix of characters: one text per row, padded
            return Cell([row.rstrip() for row in rows], (len(rows), 1))
        return rows[0] if rows else ""
    return _plain(array)


def _plain(array: npt.NDArray[Any]) -> Any:
    if array.dtype.kind not in "biuf":
        return Unreadable(f"an array of {array.dtype}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# --- Version 7.3: HDF5 --------------------------------------------------------------------------


def _hdf5_contents(opened: Any) -> dict[str, str]:
    contents = {}
    for name in opened:
        if name.startswith("#"):
            continue
        node = _local(opened, name)
        kind = "link to another file" if node is None else _matlab_class(node) or "struct"
        shape = getattr(node, "shape", None)
        contents[name] = f"{kind} {_times(shape[::-1])}" if shape else kind
    return contents


def _local(group: Any, name: str) -> Any:
    """Return a member of a group unless it lies in another file."""
    import h5py

    if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
        return None
    node = group[name]
    outside = isinstance(node, h5py.Dataset) and (node.external or node.is_virtual)
    return None if outside else node


def _matlab_class(node: Any) -> str:
    found = node.attrs.get("MATLAB_class", "")
    return found.decode("ascii", "replace") if isinstance(found, bytes) else str(found)


def _guarded(opened: Any, name: str) -> Any:
    try:
        return _from_hdf5(opened, _local(opened, name), 0)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name!r} in {opened.filename} cannot be read ({error}).") from error


def _from_hdf5(file: Any, node: Any, depth: int) -> Any:
    import h5py

    if depth > DEEPEST:
        raise DataError(f"{file.filename} nests cells or structs more than {DEEPEST} deep.")
    if node is None:
        return Unreadable("a link to another file, which is not followed")
    kind = _matlab_class(node)
    if "MATLAB_object_decode" in node.attrs and kind != "struct":
        return _only_in_matlab(kind)
    if isinstance(node, h5py.Group):
        if "MATLAB_sparse" in node.attrs:
            return _only_in_matlab("sparse array")
        return _struct(file, node, depth) if kind in {"struct", ""} else _only_in_matlab(kind)
    if "MATLAB_empty" in node.attrs:
        return _empty(kind, tuple(int(size) for size in np.ravel(node[()])))
    values = np.asarray(node[()]).T  # MATLAB's order of dimensions
    if values.dtype.kind == "O":
        items = [_from_hdf5(file, file[one], depth + 1) for one in values.ravel(order="F")]
        return Cell(items, values.shape)
    if kind == "char":
        rows = ["".join(map(chr, row)) for row in np.atleast_2d(values).tolist()]
        return rows[0] if len(rows) == 1 else Cell([r.rstrip() for r in rows], (len(rows), 1))
    if kind == "function_handle":
        return _only_in_matlab("function handle")
    return _plain(values.astype(bool) if kind == "logical" else values)


def _empty(kind: str, shape: tuple[int, ...]) -> Any:
    if kind == "cell":
        return Cell([], shape)
    if kind == "struct":
        return Struct([])
    return "" if kind == "char" else np.zeros(shape)


def _struct(file: Any, group: Any, depth: int) -> Struct:
    """Read a struct; the fields of a struct array are references without a MATLAB class."""
    import h5py

    # without this attribute, only the alphabet orders fields
    order = ["".join(map(bytes.decode, name)) for name in group.attrs.get("MATLAB_fields", ())]
    nodes = {name: _local(group, name) for name in (order if set(order) == set(group) else group)}
    arrays = {
        name: np.asarray(node[()]).T.ravel(order="F")
        for name, node in nodes.items()
        if isinstance(node, h5py.Dataset) and node.dtype.kind == "O" and not _matlab_class(node)
    }
    if arrays and len(arrays) == len(nodes):
        sizes = {values.size for values in arrays.values()}
        if len(sizes) > 1:
            raise DataError(f"the struct array {group.name} in {file.filename} is damaged.")
        return Struct(
            [
                {n: _from_hdf5(file, file[v[at]], depth + 1) for n, v in arrays.items()}
                for at in range(sizes.pop())
            ]
        )
    return Struct([{name: _from_hdf5(file, node, depth + 1) for name, node in nodes.items()}])
