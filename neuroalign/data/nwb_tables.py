"""Plain tables out of an NWB file, read in bulk by h5py.

No schema is consulted: an NWB file is HDF5, and one read per column is an order of magnitude
faster than building the objects of its schema. What this cannot read, `nwb_fallback` may.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from neuroalign.data.checks import SpikeTrains
from neuroalign.data.columns import Column, Table, plain_column, spelt_out
from neuroalign.data.nwb_chunks import read_values
from neuroalign.errors import DataError

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

# some files tell a unit's place by the id of its channel instead of by rows of the electrodes
PEAK_CHANNEL: Final = "peak_channel_id"
ELECTRODES: Final = "general/extracellular_ephys/electrodes"


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


def read_units(
    file: h5py.File, where: str, threads: Executor | None = None
) -> tuple[Table, npt.NDArray[np.str_], SpikeTrains]:
    """Read the units table and all spike times.

    Parameters
    ----------
    file : h5py.File
        Open for reading.
    where : str
        The file, for messages.
    threads : Executor, optional
        To unpack compressed spike times.

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
        np.asarray(read_values(group["spike_times"], threads), dtype=np.float64),
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
    """Read where each unit's first electrode, or its peak channel, lies, if the file says so."""
    electrodes = file.get(ELECTRODES)
    if not isinstance(electrodes, h5py.Group) or "location" not in electrodes:
        return None
    places = read_column(electrodes["location"])
    if "electrodes" in units:
        rows = np.asarray(units["electrodes"][:], dtype=np.int64)
        stops = units["electrodes_index"][:] if "electrodes_index" in units else None
        return first_locations(places, rows, stops)
    if PEAK_CHANNEL in units and "id" in electrodes:
        return channel_locations(places, electrodes["id"][:], units[PEAK_CHANNEL][:])
    return None


def first_locations(
    places: Column, rows: npt.NDArray[np.int64], stops: npt.NDArray[Any] | None
) -> Column:
    """Return where the first electrode of each unit lies.

    Parameters
    ----------
    places : ndarray of shape (electrode,)
        Text.
    rows : ndarray
        Rows of the electrodes, unit after unit.
    stops : ndarray of shape (unit,), optional
        Where each unit's rows end; without it there is one row for each unit.

    Returns
    -------
    ndarray of shape (unit,)
        Text; `""` for a unit without electrodes.

    Examples
    --------
    >>> first_locations(np.array(["CA1", "CA3"]), np.array([1, 0, 0]), np.array([2, 2, 3]))
    array(['CA3', '', 'CA1'], dtype='<U3')
    """
    ends = np.arange(1, rows.size + 1) if stops is None else np.asarray(stops, dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    first = np.append(rows, -1)[np.where(starts < ends, starts, rows.size)]
    return spelt_out(first, places)


def channel_locations(
    places: Column, channels: npt.NDArray[Any], peaks: npt.NDArray[Any]
) -> Column:
    """Return where the peak channel of each unit lies.

    Parameters
    ----------
    places : ndarray of shape (electrode,)
        Text.
    channels : ndarray of shape (electrode,)
        Ids of the electrodes.
    peaks : ndarray of shape (unit,)
        Id of each unit's channel.

    Returns
    -------
    ndarray of shape (unit,)
        Text; `""` for a unit whose channel is not among the electrodes.

    Examples
    --------
    >>> channel_locations(np.array(["VISp", "LP"]), np.array([850, 900]), np.array([900, 1, 850]))
    array(['LP', '', 'VISp'], dtype='<U4')
    """
    row_of = {int(channel): row for row, channel in enumerate(channels)}
    rows = [row_of.get(int(peak), -1) if np.isfinite(peak) else -1 for peak in peaks]
    return spelt_out(np.array(rows, dtype=np.int64), places)


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
    listed = [as_text(column) for column in group.attrs.get("colnames", [])]
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
    if dataset.ndim != 1 and not (dataset.ndim == 2 and dataset.shape[1] == 1):
        raise TypeError("it has more than one value per row")
    if h5py.check_ref_dtype(dataset.dtype) or dataset.dtype.names:
        raise TypeError("it holds references")
    elements = dataset.attrs.get("elements")
    if isinstance(elements, h5py.Reference):
        return spelt_out(plain_column(dataset[:]), read_column(dataset.file[elements]))
    if h5py.check_string_dtype(dataset.dtype):
        return np.array(dataset.asstr(errors="replace")[:], dtype=str).reshape(dataset.shape[0])
    enumerated = h5py.check_enum_dtype(dataset.dtype)
    if enumerated and set(enumerated) != {"FALSE", "TRUE"}:
        names_of = {code: name for name, code in enumerated.items()}
        codes = dataset[:].reshape(dataset.shape[0]).tolist()
        return np.array([names_of.get(code, "") for code in codes], dtype=str)
    return plain_column(dataset[:])


def as_text(value: Any) -> str:
    """Return an attribute's text, whether it is stored as bytes or not."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
