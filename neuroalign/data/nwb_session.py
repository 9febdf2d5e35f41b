"""One NWB file's units and trials, read in bulk by h5py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import h5py

from neuroalign.data.nwb_tables import (
    as_text,
    open_file,
    read_column,
    read_subject,
    read_table,
    read_units,
)
from neuroalign.data.recordings import RawSession
from neuroalign.data.trial_sources import INTERVALS, ONSET_COLUMNS, Place, read_trials, series_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor
    from pathlib import Path

    from neuroalign.data.columns import Column, Table
    from neuroalign.data.specs import DataSpec

EVENT_PLACES: Final = (
    "acquisition",
    "processing",
    "events",
    "stimulus/presentation",
    "analysis",
    "scratch",
)
DEEPEST: Final = 6  # no layout nests further; a link that leads back up would never end


def read_session(
    path: Path, spec: DataSpec, *, subject: str | None = None, threads: Executor | None = None
) -> RawSession:
    """Read one file's units and trials by h5py.

    Parameters
    ----------
    path : Path
        The file.
    spec : DataSpec
        Says which table or events to read.
    subject : str, optional
        Overrides the file's own subject.
    threads : Executor, optional
        To unpack compressed spike times.

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
        units, unit_ids, trains = read_units(file, str(path), threads)
        trials, onset = read_trials(
            spec.trials,
            find_places(file),
            read=read_place,
            read_times=lambda wanted: _bare_times(file, wanted),
            where=str(path),
        )
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


def find_places(file: h5py.File) -> dict[str, Place]:
    """Find what could hold trials: tables with times, and time series, by their paths.

    Parameters
    ----------
    file : h5py.File
        Open for reading.
    """
    found: dict[str, Place] = {}
    intervals = file.get("intervals")
    for name in intervals if isinstance(intervals, h5py.Group) else []:
        node = intervals.get(name)
        if isinstance(node, h5py.Group):
            found[f"{INTERVALS}{name}"] = Place(f"{INTERVALS}{name}", "table", node)
    for root in EVENT_PLACES:
        node = file.get(root)
        if isinstance(node, h5py.Group):
            found |= {place.path: place for place in _walk(node, root, DEEPEST)}
    return found


def _walk(group: h5py.Group, path: str, depth: int) -> Iterator[Place]:
    for name in group:
        node = group.get(name)  # nothing, where a link leads nowhere
        here = f"{path}/{name}"
        if not isinstance(node, h5py.Group):
            continue
        if "colnames" in node.attrs:
            if any(column in node for column in ONSET_COLUMNS):
                yield Place(here, "table", node)
        elif isinstance(node.get("timestamps"), h5py.Dataset):
            yield Place(here, "series", node)
        elif "starting_time" in node:
            yield Place(here, "sampled", node)
        elif depth:
            yield from _walk(node, here, depth - 1)


def read_place(place: Place, name: str) -> Table:
    """Read a table, or a time series with what stands beside its timestamps.

    Parameters
    ----------
    place : Place
        From `find_places`, of a file that is still open.
    name : str
        What to call it in messages.
    """
    node = place.node
    if place.kind == "table":
        return read_table(node, name)
    columns: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for key in node:
        dataset = node.get(key)
        if not isinstance(dataset, h5py.Dataset):
            continue
        try:
            columns[key] = read_column(dataset)
        except TypeError as error:
            skipped[key] = str(error)
    data = node.get("data")
    labels = data.attrs.get("labels") if data is not None else None
    return series_table(
        columns,
        name,
        kind=as_text(node.attrs.get("neurodata_type", "TimeSeries")),
        labels=None if labels is None else [as_text(label) for label in labels],
        skipped=skipped,
    )


def _bare_times(file: h5py.File, wanted: str) -> Column | None:
    node = file.get(wanted)
    return read_column(node) if isinstance(node, h5py.Dataset) else None
