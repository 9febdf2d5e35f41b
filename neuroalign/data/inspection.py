"""What an NWB file holds, and which roles of a data spec it can fill."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import h5py
import numpy as np
import yaml

from neuroalign.data import nwb_tables
from neuroalign.data.columns import is_missing
from neuroalign.data.spec_parts import canonical_text
from neuroalign.errors import DataError, NeuroAlignError

if TYPE_CHECKING:
    import pandas as pd

    from neuroalign.data.columns import Column, Table

MOST_LABEL_VALUES: Final = 12  # more distinct values than this are a measurement, not a label
SHOWN_VALUES: Final = 6
CLOCK_NAMES: Final = ("time", "times", "onset", "start", "stop", "timestamp", "timestamps")


@dataclass(frozen=True)
class ColumnSummary:
    """One column: its name, type, number of distinct values, and some of them as text.

    `most_common` is the value that most rows have, as text; `missing` counts rows without one.
    """

    name: str
    dtype: str
    n_unique: int | None
    examples: str
    missing: int = 0
    most_common: str = ""


@dataclass(frozen=True)
class TableSummary:
    """One table or series: path in the file, what it is, number of rows, and its columns."""

    path: str
    kind: str
    n_rows: int
    columns: list[ColumnSummary]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


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
    onsets, labels, unit_filters : dict or list
        Which columns can be onset and label (per table of trials or events), and which columns
        of the units table can select units.
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
    unit_filters: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def n_trials(self) -> int:
        """Rows of the trials table (0 if there is none)."""
        return next((t.n_rows for t in self.tables if t.path == "intervals/trials"), 0)

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
            trials = {"events": source} if table.kind == "events" else {"table": table.name}
            onsets = self.onsets[source]
            if table.kind != "events":
                trials["onset"] = onsets[0]
            trials["labels"] = {name: name for name in self.labels[source]}
            types = {column.name: column.dtype for column in table.columns}
            # text was meant as a label; a measured number seldom was
            order = sorted(self.labels[source], key=lambda name: types[name] == "number")
            label = min(order, key=lambda name: types[name] != "text", default=None)
        spec: dict[str, object] = {"name": Path(self.path).stem, "trials": trials}
        if self.unit_filters:
            units = next(table for table in self.tables if table.kind == "units")
            column = next(c for c in units.columns if c.name == self.unit_filters[0])
            spec["units"] = {"keep": {column.name: [column.most_common]}}
        spec |= {
            "frame": {"start": 0.0, "length": 0.5},
            "bin_width": 0.01,
            "window": {"length": 0.1, "step": 0.01},
        }
        if label is not None:
            spec["label"] = label
        remark = (
            "# A place to start. Frame (seconds after onset), bins and windows are examples: keep\n"
            "# the frame inside the trial, and choose units that all animals have.\n"
        )
        return remark + yaml.safe_dump(spec, sort_keys=False, default_flow_style=None, width=100)

    def _best_trials(self) -> str | None:
        preferred = ["intervals/trials", *self.onsets]
        usable = [path for path in preferred if self.onsets.get(path)]
        return next((path for path in usable if self.labels.get(path)), next(iter(usable), None))

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
    n_units, n_spikes, span = 0, 0, (0.0, 0.0)
    try:
        units, unit_ids, trains = nwb_tables.read_units(file, str(path))
        n_units, n_spikes = unit_ids.size, trains.times.size
        if n_spikes:
            span = (float(np.nanmin(trains.times)), float(np.nanmax(trains.times)))
        tables.append(_summary("units", "units", units))
        filters = [name for name, values in units.columns.items() if _is_label(name, values)]
    except NeuroAlignError as error:
        problems.append(str(error))
    onsets: dict[str, list[str]] = {}
    labels: dict[str, list[str]] = {}
    for place, kind, table in _trial_like(file):
        tables.append(_summary(place, kind, table))
        onsets[place] = _onset_columns(table)
        labels[place] = [n for n, values in table.columns.items() if _is_label(n, values)]
    if "intervals/trials" not in onsets:
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
        unit_filters=filters,
        problems=problems,
    )


def _trial_like(file: h5py.File) -> list[tuple[str, str, Table]]:
    """Find what could serve as trials: tables of intervals, and event times."""
    found = []
    for name, group in nwb_tables.intervals_tables(file).items():
        kind = "trials" if name == "trials" else "intervals"
        found.append((f"intervals/{name}", kind, nwb_tables.read_table(group, name)))
    for place, node in nwb_tables.find_events(file).items():
        # a sampled signal has timestamps too; reading all of it would be slow and pointless
        length = node["timestamps"].shape[0] if "timestamps" in node else 0
        if length <= 100_000:
            found.append((place, "events", nwb_tables.events_table(node, place)))
    return found


def _stored_text(file: h5py.File, path: str) -> str:
    node = file.get(path)
    return nwb_tables.scalar_text(node) if isinstance(node, h5py.Dataset) else ""


def _summary(path: str, kind: str, table: Table) -> TableSummary:
    columns = [_column_summary(name, values) for name, values in table.columns.items()]
    columns += [
        ColumnSummary(name=name, dtype="skipped", n_unique=None, examples=why)
        for name, why in table.skipped.items()
        if not (kind == "units" and name == "spike_times")
    ]
    return TableSummary(path=path, kind=kind, n_rows=int(table.ids.size), columns=columns)


def _column_summary(name: str, values: Column) -> ColumnSummary:
    missing = is_missing(values)
    distinct, counts = np.unique(values[~missing], return_counts=True)
    if distinct.size <= MOST_LABEL_VALUES:
        shown = distinct
    elif values.dtype.kind == "U":
        shown = distinct[np.argsort(-counts, kind="stable")][:SHOWN_VALUES]
    else:
        shown = values[~missing][:SHOWN_VALUES]
    text = ", ".join(_shown(value) for value in shown)
    return ColumnSummary(
        name=name,
        dtype={"U": "text", "b": "boolean", "i": "integer", "f": "number"}[values.dtype.kind],
        n_unique=int(distinct.size),
        examples=f"{text}, ..." if distinct.size > shown.size else text,
        missing=int(missing.sum()),
        most_common=_shown(distinct[counts.argmax()]) if distinct.size else "",
    )


def _shown(value: object) -> str:
    number = value.item() if isinstance(value, np.generic) else value
    return f"{number:.6g}" if isinstance(number, float) else canonical_text(number)


def _is_clock(name: str) -> bool:
    return name.lower().rpartition("_")[2] in CLOCK_NAMES


def _onset_columns(table: Table) -> list[str]:
    """Name the columns that hold times, the likeliest onset first."""
    found = [name for name, values in table.columns.items() if _grows(values, _is_clock(name))]
    rank = {"onset": 0, "start_time": 1, "timestamps": 1, "timestamp": 1, "stop_time": 3}
    return sorted(found, key=lambda name: rank.get(name.lower(), 0 if "onset" in name else 2))


def _grows(values: Column, named: bool) -> bool:
    if values.dtype.kind not in "if":
        return False
    present = values[~is_missing(values)].astype(np.float64)
    # times of events grow from row to row; contrasts and choices do not
    grows = present.size > 1 and bool((np.diff(present) > 0).all())
    return grows and (named or values.dtype.kind == "f")


def _is_label(name: str, values: Column) -> bool:
    if _is_clock(name):
        return False
    n_distinct = np.unique(values[~is_missing(values)]).size
    most = values.size - 1 if values.dtype.kind == "U" else MOST_LABEL_VALUES
    return 2 <= n_distinct <= min(most, values.size - 1)
