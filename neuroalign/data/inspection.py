"""What an NWB file holds, and which roles of a data spec it can fill."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import h5py
import numpy as np
import yaml

from neuroalign.data import nwb_session, nwb_tables
from neuroalign.data.inspection_columns import (
    ColumnSummary,
    column_summary,
    is_code,
    is_ending,
    is_label,
    is_measure,
    onset_columns,
    usual_length,
)
from neuroalign.data.spec_parts import RESERVED_LABELS
from neuroalign.data.trial_sources import INTERVALS, event_groups, pool_events
from neuroalign.errors import DataError, NeuroAlignError

if TYPE_CHECKING:
    import pandas as pd

    from neuroalign.data.columns import Table

GOOD: Final = "good"  # the verdict of spike sorters
SUGGESTED_LENGTH: Final = 0.5  # of a frame (seconds)
LONGEST_SERIES: Final = 100_000  # a longer one is a signal, not a list of events
TRIALS: Final = f"{INTERVALS}trials"
# parts of a session rather than its trials
LAST_RESORTS: Final = (f"{INTERVALS}epochs", f"{INTERVALS}invalid_times")


@dataclass(frozen=True)
class TableSummary:
    """One table or series: path in the file, what it is, number of rows, and its columns.

    `kind` is "units", "trials" (the table of that name), "intervals" (other tables with a start
    time), or "events" (time series, tables of events, and groups of series).
    """

    path: str
    kind: str
    n_rows: int
    columns: list[ColumnSummary]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def role(self) -> dict[str, object]:
        """What names it under `trials` in a spec."""
        if self.kind == "events":
            return {"events": self.path}
        return {"table": self.path.removeprefix(INTERVALS)}


@dataclass(frozen=True)
class Inspection:
    """What `inspect_nwb` found.

    Parameters
    ----------
    path : str
        The file.
    subject, session, session_start : str
        Who and when, as the file says.
    n_units, n_spikes : int
        Sorted units and all their spikes.
    span : tuple of float
        First and last spike (seconds).
    tables : list of TableSummary
        Units, trials, other intervals, events.
    onsets, labels : dict
        Which columns can be onset and label, per table of trials or events.
    lengths : dict
        How long nearly all trials last after the likeliest onset (seconds), where known.
    unit_filters, unit_ranges : list of str
        Which columns of the units table can select units by value, and which by a range.
    problems : list of str
        What could not be read.
    """

    path: str
    subject: str
    session: str
    session_start: str
    n_units: int
    n_spikes: int
    span: tuple[float, float]
    tables: list[TableSummary]
    onsets: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, list[str]] = field(default_factory=dict)
    lengths: dict[str, float] = field(default_factory=dict)
    unit_filters: list[str] = field(default_factory=list)
    unit_ranges: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def n_trials(self) -> int:
        """Rows of the trials table (0 if there is none)."""
        return next((t.n_rows for t in self.tables if t.path == TRIALS), 0)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per column of every table."""
        import pandas as pd

        rows = [
            {
                "table": table.path,
                "kind": table.kind,
                "rows": table.n_rows,
                "column": column.name,
                "type": column.dtype,
                "distinct": column.n_unique,
                "missing": column.missing,
                "examples": column.examples,
            }
            for table in self.tables
            for column in table.columns
        ]
        return pd.DataFrame(rows)

    def suggested_spec(self) -> str:
        """Write a minimal spec for this file as YAML; frame and bins are a place to start."""
        source = self._best_trials()
        trials: dict[str, object] = {}
        label = None
        if source is not None:
            table = next(t for t in self.tables if t.path == source)
            trials = table.role
            if table.kind != "events":
                trials["onset"] = self.onsets[source][0]
            columns = {_label_name(name): name for name in self.labels[source]}
            trials["labels"] = columns
            types = {column.name: column.dtype for column in table.columns}
            # text was meant as a label; a measured number seldom was
            order = sorted(columns, key=lambda name: types[columns[name]] == "number")
            label = min(order, key=lambda name: types[columns[name]] != "text", default=None)
        spec: dict[str, object] = {"name": Path(self.path).stem, "trials": trials}
        name, value = self._suggested_units()
        if value == GOOD:
            spec["units"] = {"keep": {name: [value]}}
        spec |= {
            "frame": {"start": 0.0, "length": self._suggested_length(source)},
            "bin_width": 0.01,
            "window": {"length": 0.1, "step": 0.01},
        }
        if label is not None:
            spec["label"] = label
        written = yaml.safe_dump(spec, sort_keys=False, default_flow_style=None, width=100)
        return self._remarks(source) + str(written)

    def _suggested_length(self, source: str | None) -> float:
        """Return half a second, or less where trials are shorter."""
        known = self.lengths.get(source or "", SUGGESTED_LENGTH)
        fitting = np.floor(round(known / 0.05, 6)) * 0.05
        return round(float(min(SUGGESTED_LENGTH, max(0.1, fitting))), 3)

    def _remarks(self, source: str | None) -> str:
        """Say what of the spec is a guess."""
        lines = [
            "A place to start. Frame (seconds after onset), bins and windows are examples: keep",
            "the frame inside the trial, and choose units that all animals have.",
        ]
        onsets = self.onsets.get(source or "", [])
        others = [name for name in onsets[1:] if not is_ending(name)]
        if others and source not in {t.path for t in self.tables if t.kind == "events"}:
            lines.append(f"Is {onsets[0]} the onset you mean? Also there: {', '.join(others)}.")
        name, value = self._suggested_units()
        if value and value != GOOD:
            lines.append(
                f"All units are kept; units: {{keep: {{{name}: [{value}]}}}} would choose."
            )
        return "".join(f"# {line}\n" for line in lines)

    def _suggested_units(self) -> tuple[str, str]:
        """Return a column and a value that could choose units: the sorter's verdict, if any."""
        if not self.unit_filters:
            return "", ""
        units = next(table for table in self.tables if table.kind == "units")
        named = {column.name: column for column in units.columns}
        filters = [named[name] for name in self.unit_filters]
        judged = next((column for column in filters if GOOD in column.values), None)
        chosen = judged or filters[0]
        return chosen.name, GOOD if judged else chosen.most_common

    def _best_trials(self) -> str | None:
        """Choose the likeliest trials: with labels first, tables before groups before series."""
        kinds = {table.path: table.kind for table in self.tables}

        def rank(path: str) -> tuple[bool, bool, int]:
            grouped = any(other.startswith(f"{path}/") for other in kinds)
            order = 0 if kinds[path] != "events" else 1 if grouped else 2
            return not self.labels.get(path), path in LAST_RESORTS, -1 if path == TRIALS else order

        usable = [path for path in self.onsets if self.onsets[path]]
        return min(usable, key=rank, default=None)

    def __str__(self) -> str:
        lines = [
            self.path,
            f"  subject  {self.subject}",
            f"  session  {self.session or 'not named'}, starts {self.session_start or 'unknown'}",
            f"  units    {self.n_units} with {self.n_spikes} spikes"
            + (f" from {self.span[0]:.6g} to {self.span[1]:.6g} s" if self.n_spikes else ""),
            f"  trials   {self.n_trials}",
            "",
        ]
        for table in self.tables:
            lines.append(f"{table.path}: {table.kind}, {table.n_rows} rows")
            width = max((len(column.name) for column in table.columns), default=0)
            lines += [_column_line(column, width) for column in table.columns]
            lines.append("")
        lines += [f"Problem: {problem}" for problem in self.problems]
        lines += ["What can fill the roles of a spec"]
        for path, names in self.onsets.items():
            lines.append(f"  onset   in {path}: {', '.join(names) or 'none'}")
            lines.append(f"  labels  in {path}: {', '.join(self.labels[path]) or 'none'}")
        lines.append(f"  units   by {', '.join(self.unit_filters) or 'rate or spike count only'}")
        if self.unit_ranges:
            lines.append(f"  units   by range of {', '.join(self.unit_ranges)}")
        lines += ["", "A spec to start from (set frame, bins and windows to suit the task):", ""]
        return "\n".join(lines) + "\n" + self.suggested_spec().rstrip()


def _column_line(column: ColumnSummary, width: int) -> str:
    distinct = "" if column.n_unique is None else f"{column.n_unique} distinct: "
    missing = f" ({column.missing} missing)" if column.missing else ""
    return f"  {column.name:<{width}}  {column.dtype:<7} {distinct}{column.examples}{missing}"


def inspect_nwb(path: str | Path) -> Inspection:
    """List what an NWB file holds and which roles of a data spec it can fill.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    Inspection
        Printable; `.to_frame()` gives a table, `.suggested_spec()` YAML to start from.

    Raises
    ------
    DataError
        If the file is absent, truncated, or no HDF5.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from neuroalign.data.arrays import from_arrays
    >>> from neuroalign.data.nwb_writer import write_nwb
    >>> table = pd.DataFrame({"onset": [1.0, 2.0, 3.0], "odor": ["A", "B", "A"]})
    >>> tree = from_arrays({"mitt": [[0.9, 2.1, 3.1]]}, {"mitt": table})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = inspect_nwb(write_nwb(tree, folder)["mitt"])
    >>> found.subject, found.n_spikes, found.labels
    ('mitt', 3, {'intervals/trials': ['odor']})
    """
    where = Path(path).expanduser()
    if where.is_dir():
        raise DataError(f"{where} is a folder; give one NWB file in it.")
    with nwb_tables.open_file(where) as file:
        try:
            return _inspect(file, where)
        except (OSError, KeyError, RuntimeError) as error:
            raise DataError(
                f"{where} opens but cannot be read to its end, it may be truncated; copy or "
                f"download it again ({' '.join(str(error).split())})."
            ) from error


def _inspect(file: h5py.File, path: Path) -> Inspection:
    tables: list[TableSummary] = []
    problems: list[str] = []
    filters: list[str] = []
    ranges: list[str] = []
    n_units, n_spikes, span = 0, 0, (0.0, 0.0)
    try:
        units, unit_ids, trains = nwb_tables.read_units(file, str(path))
        n_units, n_spikes = unit_ids.size, trains.times.size
        if n_spikes:
            span = (float(np.nanmin(trains.times)), float(np.nanmax(trains.times)))
        tables.append(_summary("units", "units", units))
        filters = [name for name, values in units.columns.items() if is_label(name, values)]
        ranges = [
            name
            for name, values in units.columns.items()
            if name not in filters and is_measure(values)
        ]
    except NeuroAlignError as error:
        problems.append(str(error))
    onsets: dict[str, list[str]] = {}
    labels: dict[str, list[str]] = {}
    lengths: dict[str, float] = {}
    for place, kind, table in _trial_like(file):
        tables.append(_summary(place, kind, table))
        onsets[place] = onset_columns(table)
        lasting = usual_length(table, onsets[place][0]) if onsets[place] else None
        if lasting is not None:
            lengths[place] = lasting
        labels[place] = [
            name
            for name, values in table.columns.items()
            if is_label(name, values) or (kind == "events" and is_code(name, values))
        ]
    if TRIALS not in onsets:
        problems.append("there is no trials table; name another table or events in the spec.")
    return Inspection(
        path=str(path),
        subject=nwb_tables.read_subject(file, path),
        session=_stored_text(file, "general/session_id"),
        session_start=_stored_text(file, "session_start_time"),
        n_units=n_units,
        n_spikes=n_spikes,
        span=span,
        tables=tables,
        onsets=onsets,
        labels=labels,
        lengths=lengths,
        unit_filters=filters,
        unit_ranges=ranges,
        problems=problems,
    )


def _trial_like(file: h5py.File) -> list[tuple[str, str, Table]]:
    """Find what could serve as trials: tables of intervals, event times, and groups of these."""
    found = []
    places = nwb_session.find_places(file)
    short = {
        path: place
        for path, place in places.items()
        # a sampled signal may have timestamps too; reading all of it would be slow and pointless
        if place.kind == "series" and place.node["timestamps"].shape[0] <= LONGEST_SERIES
    }
    for path, place in places.items():
        if place.kind == "table":
            table = nwb_session.read_place(place, place.short)
            timed = path.startswith(INTERVALS) or "start_time" in table.columns
            kind = "trials" if path == TRIALS else "intervals" if timed else "events"
            found.append((path, kind, table))
        elif path in short:
            found.append((path, "events", nwb_session.read_place(place, path)))
    for path, members in event_groups(short).items():
        parts = [(place.path, nwb_session.read_place(place, place.path)) for place in members]
        found.append((path, "events", pool_events(parts, path)))
    return found


def _stored_text(file: h5py.File, path: str) -> str:
    node = file.get(path)
    return nwb_tables.scalar_text(node) if isinstance(node, h5py.Dataset) else ""


def _summary(path: str, kind: str, table: Table) -> TableSummary:
    columns = [column_summary(name, values) for name, values in table.columns.items()]
    columns += [
        ColumnSummary(name=name, dtype="skipped", n_unique=None, examples=why)
        for name, why in table.skipped.items()
        if not (kind == "units" and name == "spike_times")
    ]
    return TableSummary(path=path, kind=kind, n_rows=int(table.ids.size), columns=columns)


def _label_name(column: str) -> str:
    """Name a label after its column, unless that is what the recording calls something else."""
    return f"{column}_label" if column in RESERVED_LABELS else column
