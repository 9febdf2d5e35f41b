"""Reading through pynwb what a bulk read of the file cannot: slower, and by the schema."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroalign.data.checks import SpikeTrains
from neuroalign.data.columns import Table, plain_column
from neuroalign.data.nwb_tables import ONSET_COLUMNS, name_units, subject_from_name
from neuroalign.data.recordings import RawSession
from neuroalign.data.spec_parts import close_match
from neuroalign.errors import DataError, NeuroAlignError, SpecError

if TYPE_CHECKING:
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
    index = file.units["spike_times"]
    trains = SpikeTrains(
        np.asarray(index.target.data[:], dtype=np.float64),
        np.asarray(index.data[:], dtype=np.int64),
    )
    trials, onset = _trials(file, spec, where)
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
                table.columns[column] = plain_column(values[:])
            except TypeError as error:
                table.skipped[column] = str(error)
    return table


def _trials(file: Any, spec: DataSpec, where: str) -> tuple[Table, str]:
    if spec.trials.events is not None:
        return _events(file, spec.trials.events, where)
    name = spec.trials.table
    own = {"trials": file.trials, "epochs": file.epochs, "invalid_times": file.invalid_times}
    tables = {key: table for key, table in own.items() if table is not None}
    tables |= dict(file.intervals.items())
    if name not in tables:
        raise SpecError(
            f"{where} has no intervals table {name!r}; it has: "
            f"{', '.join(map(repr, tables)) or 'none'}.{close_match(name, tables)}"
        )
    return _table(tables[name], f"{name} table"), "start_time"


def _events(file: Any, wanted: str, where: str) -> tuple[Table, str]:
    named = [node for node in file.objects.values() if node.name == wanted.rpartition("/")[2]]
    if len(named) != 1:
        raise SpecError(f"{where} has {len(named)} events called {wanted!r}, expected one.")
    name = f"events {wanted!r}"
    if hasattr(named[0], "colnames"):
        table = _table(named[0], name)
    else:
        times = plain_column(named[0].timestamps[:])
        columns = {"timestamps": times}
        data = getattr(named[0], "data", None)
        if data is not None and len(data) == times.size:
            columns["data"] = plain_column(data[:])
        table = Table(np.arange(times.size, dtype=np.int64), columns, name)
    onset = next((key for key in ONSET_COLUMNS if key in table.columns), "timestamps")
    return table, onset
