"""Reading through pynwb what a bulk read of the file cannot: slower, and by the schema."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroalign.data.checks import SpikeTrains
from neuroalign.data.columns import Column, Table, plain_column, spelt_out
from neuroalign.data.nwb_tables import (
    PEAK_CHANNEL,
    channel_locations,
    first_locations,
    name_units,
    subject_from_name,
)
from neuroalign.data.recordings import RawSession
from neuroalign.data.trial_sources import INTERVALS, ONSET_COLUMNS, Place, read_trials, series_table
from neuroalign.errors import DataError, NeuroAlignError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from neuroalign.data.specs import DataSpec


def read_session(path: Path, spec: DataSpec, *, subject: str | None = None) -> RawSession:
    """Read one file's units and trials by pynwb.

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
        If pynwb cannot read the file, or it has no units or trials.
    SpecError
        If the table or events that the spec names are not there.
    """
    from pynwb import NWBHDF5IO

    try:
        with warnings.catch_warnings():
            # cached namespaces of other versions are announced at length, and harmless here
            warnings.simplefilter("ignore")
            with NWBHDF5IO(path, mode="r", load_namespaces=True) as reader:
                return _session(reader.read(), path, spec, subject)
    except NeuroAlignError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read as NWB, by pynwb either: {reason}.") from error


def _session(file: Any, path: Path, spec: DataSpec, subject: str | None) -> RawSession:
    where = str(path)
    if file.units is None:
        raise DataError(
            f"{where} has no units table; expected sorted units with spike times in /units."
        )
    if "spike_times" not in file.units.colnames:
        raise DataError(f"the units table of {where} has no spike times; expected sorted units.")
    units = _table(file.units, "units table")
    location = _location(file)
    if location is not None and location.size == units.ids.size:
        units.columns.setdefault("location", location)
    index = file.units["spike_times"]
    trains = SpikeTrains(
        np.asarray(index.target.data[:], dtype=np.float64),
        np.asarray(index.data[:], dtype=np.int64),
    )
    places = _places(file)
    trials, onset = read_trials(
        spec.trials,
        places,
        read=_read_place,
        read_times=lambda wanted: _bare_times(places, wanted),
        where=where,
    )
    stored = file.subject.subject_id if file.subject is not None else None
    return RawSession(
        subject=subject or stored or subject_from_name(path),
        units=units,
        unit_ids=name_units(units),
        trains=trains,
        trials=trials,
        where=where,
        sources=[where],
        onset=onset,
    )


def _table(source: Any, name: str) -> Table:
    ids = np.asarray(source.id.data[:], dtype=np.int64)
    if np.unique(ids).size != ids.size:
        ids = np.arange(ids.size, dtype=np.int64)
    table = Table(ids=ids, columns={}, name=name)
    for column in source.colnames:
        values = source[column]
        if hasattr(values, "target"):
            table.skipped[column] = "it holds a varying number of values per row"
        elif hasattr(values, "table"):
            table.skipped[column] = "it points to rows of another table"
        else:
            try:
                table.columns[column] = _column(values)
            except TypeError as error:
                table.skipped[column] = str(error)
    return table


def _column(values: Any) -> Column:
    elements = getattr(values, "elements", None)
    if elements is not None:
        return spelt_out(plain_column(values.data[:]), plain_column(elements.data[:]))
    return plain_column(values.data[:])


def _location(file: Any) -> Column | None:
    """Find where each unit's first electrode, or its peak channel, lies, if the file says so."""
    units, electrodes = file.units, file.electrodes
    if electrodes is None or "location" not in electrodes.colnames:
        return None
    places = plain_column(electrodes["location"].data[:])
    if "electrodes" in units.colnames:
        column = units["electrodes"]
        stops = column.data[:] if hasattr(column, "target") else None
        rows = column.target.data[:] if hasattr(column, "target") else column.data[:]
        return first_locations(places, np.asarray(rows, dtype=np.int64), stops)
    if PEAK_CHANNEL in units.colnames:
        return channel_locations(places, electrodes.id.data[:], units[PEAK_CHANNEL].data[:])
    return None


def _places(file: Any) -> dict[str, Place]:
    """Find what could hold trials, by the paths that it has in the file."""
    own = {"trials": file.trials, "epochs": file.epochs, "invalid_times": file.invalid_times}
    tables = {name: table for name, table in own.items() if table is not None}
    tables |= dict(file.intervals.items())
    found = {
        f"{INTERVALS}{name}": Place(f"{INTERVALS}{name}", "table", node)
        for name, node in tables.items()
    }
    modules = {f"processing/{name}": module for name, module in file.processing.items()}
    roots: dict[str, Any] = {
        "acquisition": file.acquisition,
        **{path: module.data_interfaces for path, module in modules.items()},
        "events": getattr(file, "events", None),
        "stimulus/presentation": file.stimulus,
        "analysis": file.analysis,
        "scratch": file.scratch,
    }
    for root, nodes in roots.items():
        for node in nodes.values() if nodes else []:
            found |= {place.path: place for place in _walk(node, f"{root}/{node.name}")}
    return found


def _walk(node: Any, path: str) -> Iterator[Place]:
    if hasattr(node, "colnames"):
        if any(column in node.colnames for column in ONSET_COLUMNS):
            yield Place(path, "table", node)
    elif hasattr(node, "timestamps"):
        yield Place(path, "series" if node.timestamps is not None else "sampled", node)
    else:
        for child in getattr(node, "children", ()):
            yield from _walk(child, f"{path}/{child.name}")


def _read_place(place: Place, name: str) -> Table:
    node = place.node
    if place.kind == "table":
        return _table(node, name)
    columns: dict[str, Any] = {"timestamps": node.timestamps[:]}
    skipped: dict[str, str] = {}
    for key in ("data", "control"):
        values = getattr(node, key, None)
        if values is not None and np.shape(values)[1:] in {(), (1,)}:
            columns[key] = values[:]
        elif values is not None:
            skipped[key] = "it has more than one value per row"
    return series_table(
        columns,
        name,
        kind=type(node).__name__,
        labels=getattr(node, "data__labels", None),
        skipped=skipped,
    )


def _bare_times(places: dict[str, Place], wanted: str) -> Column | None:
    series, _, last = wanted.rpartition("/")
    if last != "timestamps" or series not in places:
        return None
    return plain_column(places[series].node.timestamps[:])
