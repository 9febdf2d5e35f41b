"""Plain tables out of an NWB file, read in bulk by h5py.

No schema is consulted: an NWB file is HDF5, and one read per column is an order of magnitude
faster than building the objects of its schema. What this cannot read, `nwb_fallback` may.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

from neuroalign.data.checks import SpikeTrains
from neuroalign.data.columns import Column, Table, plain_column
from neuroalign.data.recordings import RawSession
from neuroalign.data.spec_parts import close_match
from neuroalign.errors import DataError, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from neuroalign.data.specs import DataSpec

EVENT_PLACES = ("acquisition", "processing", "events", "stimulus/presentation", "analysis")
ONSET_COLUMNS = ("timestamps", "timestamp", "start_time")


def read_session(path: Path, spec: DataSpec, *, subject: str | None = None) -> RawSession:
    """Read one file's units and trials by h5py.

    Parameters
    ----------
    path : Path
        The file.
    spec : DataSpec
        Says which table or events to read.
    subject : str, optional
        Overrides the file's own subject.

    Returns
    -------
    RawSession
        Plain tables, before any rule.

    Raises
    ------
    DataError
        If the file cannot be opened or has no units or trials.
    SpecError
        If the table or events that the spec names are not there.
    """
    with open_file(path) as file:
        units, unit_ids, trains = read_units(file, str(path))
        trials, onset = _read_trials(file, spec, str(path))
        name = subject if subject is not None else read_subject(file, path)
    return RawSession(
        subject=name,
        units=units,
        unit_ids=unit_ids,
        trains=trains,
        trials=trials,
        where=str(path),
        sources=[str(path)],
        onset=onset,
    )


def open_file(path: Path) -> h5py.File:
    """Open a file for reading, or say that it is not readable.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    DataError
        If it is absent, truncated or no HDF5.
    """
    try:
        return h5py.File(path, "r")
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; check the path.") from error
    except OSError as error:
        raise DataError(
            f"{path} is not a readable NWB (HDF5) file, it may be truncated or of another "
            f"format; copy or download it again ({' '.join(str(error).split())})."
        ) from error


def read_subject(file: h5py.File, path: Path) -> str:
    """Name the subject: its id in the file, else `sub-NAME` in the file's name, else the stem."""
    stored = file.get("general/subject/subject_id")
    if isinstance(stored, h5py.Dataset) and (text := scalar_text(stored)):
        return text
    return subject_from_name(path)


def subject_from_name(path: Path) -> str:
    """Name the subject from the file's name.

    Parameters
    ----------
    path : Path
        Such as `sub-mitt_ses-3.nwb`.

    Examples
    --------
    >>> from pathlib import Path
    >>> subject_from_name(Path("sub-mitt_ses-3.nwb")), subject_from_name(Path("rat7.nwb"))
    ('mitt', 'rat7')
    """
    found = re.match(r"sub-([^_]+)", path.stem)
    return found.group(1) if found else path.stem


def scalar_text(dataset: h5py.Dataset) -> str:
    """Read a text that stands alone."""
    value = dataset[()]
    return (value.decode("utf-8") if isinstance(value, bytes) else str(value)).strip()


def read_units(file: h5py.File, where: str) -> tuple[Table, npt.NDArray[np.str_], SpikeTrains]:
    """Read the units table and all spike times.

    Parameters
    ----------
    file : h5py.File
        Open for reading.
    where : str
        The file, for messages.

    Returns
    -------
    units : Table
        Plain columns, and `location` of the electrodes where the file has it.
    unit_ids : ndarray of shape (unit,)
        Text.
    trains : SpikeTrains
        As they stand in the file.

    Raises
    ------
    DataError
        If there are no units or no spike times.
    """
    group = file.get("units")
    if not isinstance(group, h5py.Group):
        raise DataError(
            f"{where} has no units table; expected sorted units with spike times in /units."
        )
    if "spike_times" not in group or "spike_times_index" not in group:
        raise DataError(f"the units table of {where} has no spike times; expected sorted units.")
    table = read_table(group, "units table")
    location = _electrode_location(file, group)
    if location is not None and location.size == table.ids.size:
        table.columns.setdefault("location", location)
    trains = SpikeTrains(
        np.asarray(group["spike_times"][:], dtype=np.float64),
        np.asarray(group["spike_times_index"][:], dtype=np.int64),
    )
    return table, name_units(table), trains


def name_units(units: Table) -> npt.NDArray[np.str_]:
    """Choose what units are called: `unit_name` if it tells them apart, else ids, else rows."""
    named = units.columns.get("unit_name")
    for values in (named, units.ids):
        if values is not None and np.unique(values).size == values.size:
            return np.asarray(values).astype(str)
    return np.arange(units.ids.size).astype(str)


def _electrode_location(file: h5py.File, units: h5py.Group) -> Column | None:
    """Read where each unit's first electrode lies, if the file says so."""
    electrodes = file.get("general/extracellular_ephys/electrodes/location")
    if electrodes is None or "electrodes" not in units or "electrodes_index" not in units:
        return None
    rows = np.asarray(units["electrodes"][:], dtype=np.int64)
    stops = np.asarray(units["electrodes_index"][:], dtype=np.int64)
    places = read_column(electrodes)
    starts = np.concatenate([[0], stops[:-1]]).astype(np.int64)
    found = [
        str(places[rows[a]]) if a < b and rows[a] < places.size else ""
        for a, b in zip(starts, stops, strict=True)
    ]
    return np.array(found, dtype=str)


def read_table(group: h5py.Group, name: str) -> Table:
    """Read the plain columns of a dynamic table.

    Parameters
    ----------
    group : h5py.Group
        The table.
    name : str
        What to call it in messages.

    Returns
    -------
    Table
        Columns with one number or text per row; others are listed as skipped, with the reason.
    """
    listed = [_text(column) for column in group.attrs.get("colnames", [])]
    others = [key for key in group if key not in listed and key != "id"]
    lengths = [group[key].shape[0] for key in listed if _is_plain(group, key)]
    n_rows = group["id"].shape[0] if "id" in group else max(lengths, default=0)
    ids = np.arange(n_rows, dtype=np.int64)
    if "id" in group:
        stored = np.asarray(group["id"][:], dtype=np.int64)
        ids = stored if np.unique(stored).size == stored.size else ids
    table = Table(ids=ids, columns={}, name=name)
    for key in listed + others:
        if key.endswith("_index") and key.removesuffix("_index") in group:
            continue
        if key.endswith("_elements") and key.removesuffix("_elements") in group:
            continue
        try:
            table.columns[key] = _table_column(group, key, n_rows)
        except TypeError as error:
            table.skipped[key] = str(error)
    return table


def _is_plain(group: h5py.Group, key: str) -> bool:
    return isinstance(group.get(key), h5py.Dataset) and f"{key}_index" not in group


def _table_column(group: h5py.Group, key: str, n_rows: int) -> Column:
    if f"{key}_index" in group:
        raise TypeError("it holds a varying number of values per row")
    dataset = group.get(key)
    if not isinstance(dataset, h5py.Dataset):
        raise TypeError("it is not a column of values")
    if "table" in dataset.attrs:
        raise TypeError("it points to rows of another table")
    if dataset.ndim == 1 and dataset.shape[0] != n_rows:
        raise TypeError(f"it has {dataset.shape[0]} values for {n_rows} rows")
    return read_column(dataset)


def read_column(dataset: h5py.Dataset) -> Column:
    """Read one column as plain values, with enumerated values spelt out.

    Parameters
    ----------
    dataset : h5py.Dataset
        One value per row.

    Raises
    ------
    TypeError
        If the values are neither numbers nor text.
    """
    if dataset.ndim != 1:
        raise TypeError("it has more than one value per row")
    if h5py.check_ref_dtype(dataset.dtype) or dataset.dtype.names:
        raise TypeError("it holds references")
    elements = dataset.attrs.get("elements")
    if isinstance(elements, h5py.Reference):
        names = read_column(dataset.file[elements])
        return names[np.asarray(dataset[:], dtype=np.int64)]
    if h5py.check_string_dtype(dataset.dtype):
        return np.array(dataset.asstr()[:], dtype=str)
    enumerated = h5py.check_enum_dtype(dataset.dtype)
    if enumerated and set(enumerated) != {"FALSE", "TRUE"}:
        names_of = {code: name for name, code in enumerated.items()}
        return np.array([names_of[code] for code in dataset[:].tolist()], dtype=str)
    return plain_column(dataset[:])


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _read_trials(file: h5py.File, spec: DataSpec, where: str) -> tuple[Table, str]:
    """Read the trials and name the column that holds onsets by default."""
    if spec.trials.events is not None:
        return _read_events(file, spec.trials.events, where)
    name = spec.trials.table
    tables = intervals_tables(file)
    if name in tables:
        return read_table(tables[name], f"{name} table"), "start_time"
    if not tables:
        raise DataError(
            f"{where} has no trials: there is no table in /intervals. If trials are event times, "
            "name them with 'trials: {events: ...}' in the spec."
        )
    raise SpecError(
        f"{where} has no intervals table {name!r}; it has: {', '.join(map(repr, tables))}."
        f"{close_match(name, tables)} Set 'trials: {{table: ...}}' in the spec."
    )


def intervals_tables(file: h5py.File) -> dict[str, h5py.Group]:
    """Find the tables of intervals: their names and groups."""
    intervals = file.get("intervals")
    if not isinstance(intervals, h5py.Group):
        return {}
    return {name: node for name, node in intervals.items() if isinstance(node, h5py.Group)}


def find_events(file: h5py.File) -> dict[str, h5py.Group | h5py.Dataset]:
    """Find what holds event times: paths in the file, and the nodes there.

    Parameters
    ----------
    file : h5py.File
        Open for reading.
    """
    found: dict[str, h5py.Group | h5py.Dataset] = {}
    for place in EVENT_PLACES:
        node = file.get(place)
        if isinstance(node, h5py.Group):
            found.update(_walk(node))
    return found


def _walk(group: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    for node in group.values():
        if not isinstance(node, h5py.Group):
            continue
        if "timestamps" in node or ("timestamp" in node and "colnames" in node.attrs):
            yield node.name.lstrip("/"), node
        else:
            yield from _walk(node)


def _read_events(file: h5py.File, wanted: str, where: str) -> tuple[Table, str]:
    known = find_events(file)
    node = file.get(wanted)
    if node is None:
        named = [path for path in known if path.rpartition("/")[2] == wanted]
        if len(named) > 1:
            raise SpecError(
                f"{where} has several events {wanted!r}: {', '.join(map(repr, named))}; "
                "give the whole path in 'trials: {events: ...}'."
            )
        node = known[named[0]] if named else None
    if node is None:
        raise SpecError(
            f"{where} has no events {wanted!r}; it has: "
            f"{', '.join(map(repr, known)) or 'none'}.{close_match(wanted, known)}"
        )
    table = events_table(node, f"events {wanted!r}")
    onset = next((name for name in ONSET_COLUMNS if name in table.columns), "timestamps")
    return table, onset


def events_table(node: h5py.Group | h5py.Dataset, name: str) -> Table:
    """Read event times with what stands beside them, as a table.

    Parameters
    ----------
    node : h5py.Group or h5py.Dataset
        A series, an events table, or a bare list of times.
    name : str
        What to call it in messages.
    """
    if isinstance(node, h5py.Dataset):
        return _timed({"timestamps": read_column(node)}, name)
    if "colnames" in node.attrs:
        return read_table(node, name)
    columns: dict[str, Column] = {}
    skipped: dict[str, str] = {}
    for key, dataset in node.items():
        try:
            columns[key] = read_column(dataset)
        except (AttributeError, TypeError) as error:
            skipped[key] = str(error)
    data = node.get("data")
    if "data" in columns and data is not None and "labels" in data.attrs:
        spelt = np.array([_text(label) for label in data.attrs["labels"]], dtype=str)
        columns["data"] = spelt[columns["data"].astype(np.int64)]
    table = _timed(columns, name)
    table.skipped.update(skipped)
    return table


def _timed(columns: dict[str, Column], name: str) -> Table:
    n_rows = columns["timestamps"].size if "timestamps" in columns else 0
    same = {key: values for key, values in columns.items() if values.size == n_rows}
    return Table(ids=np.arange(n_rows, dtype=np.int64), columns=same, name=name)
