"""What a column of a file holds, and whether it could be an onset, a label, or a measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from neuroalign.data.columns import is_missing
from neuroalign.data.spec_parts import canonical_text
from neuroalign.data.trial_sources import ONSET_COLUMNS

if TYPE_CHECKING:
    from neuroalign.data.columns import Column, Table

MOST_LABEL_VALUES: Final = 12  # more distinct values than this are a measurement, not a label
MOST_EVENT_CODES: Final = 64  # codes of events may be more, if most of them come again
SHOWN_VALUES: Final = 6
# words of what happens to the animal, at which a frame usually begins, and of what ends something
EVENT_WORDS: Final = ("stim", "odor", "odour", "cue", "poke", "tone", "sound", "image", "sample")
ENDING_WORDS: Final = ("stop", "off", "end", "offset")
CLOCK_NAMES: Final = ("time", "times", "onset", "start", "stop", "timestamp", "timestamps")


@dataclass(frozen=True)
class ColumnSummary:
    """One column: its name, type, number of distinct values, and some of them as text.

    `most_common` is the value that most rows have, as text; `missing` counts rows without one;
    `values` are all distinct ones, as text, where they are few.
    """

    name: str
    dtype: str
    n_unique: int | None
    examples: str
    missing: int = 0
    most_common: str = ""
    values: tuple[str, ...] = ()


def column_summary(name: str, values: Column) -> ColumnSummary:
    """Describe a column: its type, how many values it has, and some of them."""
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
        values=tuple(map(_shown, distinct)) if distinct.size <= MOST_LABEL_VALUES else (),
    )


def _shown(value: object) -> str:
    number = value.item() if isinstance(value, np.generic) else value
    return f"{number:.6g}" if isinstance(number, float) else canonical_text(number)


def _is_clock(name: str) -> bool:
    return name.lower().rpartition("_")[2] in CLOCK_NAMES


def onset_columns(table: Table) -> list[str]:
    """Name the columns that hold times, the likeliest onset first."""
    found = [name for name, values in table.columns.items() if _could_be_times(name, values)]
    return sorted(found, key=lambda name: _onset_rank(name, table))


def _onset_rank(name: str, table: Table) -> int:
    """Rank what happens to the animal before the start of a trial, and endings last."""
    lower = name.lower()
    if is_ending(name):
        return 4
    if "onset" in lower:
        return 0
    if any(word in lower for word in EVENT_WORDS) and _within_trials(name, table):
        return 1
    return 2 if lower in {"start_time", "timestamps", "timestamp"} else 3


def _within_trials(name: str, table: Table) -> bool:
    """Say whether nearly all values lie between a trial's start and stop: numbers do not."""
    edges = [table.columns[name] for name in ("start_time", "stop_time") if name in table.columns]
    if len(edges) < 2 or any(edge.dtype.kind not in "if" for edge in edges):
        return True
    start, stop = (edge.astype(np.float64) for edge in edges)
    values = table.columns[name].astype(np.float64)
    known = np.isfinite(values) & np.isfinite(start) & np.isfinite(stop)
    inside = (values >= start) & (values <= stop)
    return bool(known.any()) and float(inside[known].mean()) > 0.9


def is_ending(name: str) -> bool:
    """Say whether a column of times tells when something ended."""
    return any(word in name.lower().split("_") for word in ENDING_WORDS)


def usual_length(table: Table, onset: str) -> float | None:
    """Return how long nearly all trials last after their onset (seconds), if the table says."""
    if "stop_time" not in table.columns or table.columns["stop_time"].dtype.kind not in "if":
        return None
    lengths = table.columns["stop_time"].astype(np.float64) - table.columns[onset]
    lengths = lengths[np.isfinite(lengths)]
    return float(np.quantile(lengths, 0.05)) if lengths.size else None


def _could_be_times(name: str, values: Column) -> bool:
    present = values[~is_missing(values)]
    if values.dtype.kind not in "if" or not present.size:
        return False
    if name in ONSET_COLUMNS:
        return True
    steps = np.diff(present.astype(np.float64))
    if _is_clock(name):
        return bool((steps >= 0).all())
    # times of events grow from row to row; contrasts and choices do not
    return values.dtype.kind == "f" and steps.size > 0 and bool((steps > 0).all())


def is_label(name: str, values: Column) -> bool:
    """Say whether a column could be a label: no clock, and values that come again."""
    if _is_clock(name):
        return False
    n_distinct = np.unique(values[~is_missing(values)]).size
    most = values.size - 1 if values.dtype.kind == "U" else MOST_LABEL_VALUES
    return 2 <= n_distinct <= min(most, values.size - 1)


def is_code(name: str, values: Column) -> bool:
    """Say whether these are codes of events: whole numbers, most of which come again."""
    if name != "data" or values.dtype.kind not in "if":
        return False
    present = values[~is_missing(values)]
    n_distinct = np.unique(present).size
    whole = present.size > 0 and bool((present == np.round(present)).all())
    return whole and 2 <= n_distinct <= min(MOST_EVENT_CODES, present.size // 2)


def is_measure(values: Column) -> bool:
    """Say whether a column of units is a measured number, such as a quality metric."""
    return values.dtype.kind == "f" and np.unique(values[~is_missing(values)]).size > 2
