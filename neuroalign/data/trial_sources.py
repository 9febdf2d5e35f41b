"""Where in a file trials can come from, whichever library reads it: tables, and event times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from neuroalign.data.columns import Column, Table, is_missing, plain_column, spelt_out
from neuroalign.data.spec_parts import TrialsSpec, canonical_text
from neuroalign.errors import DataError, SpecError
from neuroalign.suggestions import close_match

INTERVALS: Final = "intervals/"
ONSET_COLUMNS: Final = ("timestamps", "timestamp", "start_time")


@dataclass(frozen=True)
class Place:
    """Something in a file that could hold trials.

    Parameters
    ----------
    path : str
        Where it is, such as `processing/behavior/licks`.
    kind : {"table", "series", "sampled"}
        A table with times, a series with one time per entry, or a series sampled at a steady rate,
        which holds no times of events.
    node : Any
        What the reading library calls it.
    """

    path: str
    kind: Literal["table", "series", "sampled"]
    node: Any

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def short(self) -> str:
        """What a spec calls it under `trials.table`: tables in `intervals` go by their names."""
        return self.path.removeprefix(INTERVALS)


Places = Mapping[str, Place]


def read_trials(
    roles: TrialsSpec,
    places: Places,
    *,
    read: Callable[[Place, str], Table],
    read_times: Callable[[str], Column | None],
    where: str,
) -> tuple[Table, str]:
    """Read the trials that a spec names.

    Parameters
    ----------
    roles : TrialsSpec
        Names a table or events.
    places : mapping
        Path to what the file holds there.
    read : callable
        Reads one place, given what to call it in messages.
    read_times : callable
        Reads bare times at a path, if there are any.
    where : str
        The file, for messages.

    Returns
    -------
    trials : Table
        One row per trial.
    onset : str
        The column that holds onsets where the spec does not say.

    Raises
    ------
    DataError
        If the file holds no tables of trials.
    SpecError
        If what the spec names is not there, is ambiguous, or holds no times.
    """
    if not roles.event_paths:
        place = find_table(roles.table, places, where)
        return read(place, f"{place.short} table"), "start_time"
    name = f"events {', '.join(map(repr, roles.event_paths))}"
    parts: list[tuple[str, Table]] = []
    pooled = len(roles.event_paths) > 1
    for wanted in roles.event_paths:
        times = read_times(wanted)
        if times is not None:
            bare = Table(np.arange(times.size, dtype=np.int64), {"timestamps": times}, name)
            parts.append((wanted, bare))
            continue
        found = find_events(wanted, places, where)
        # a group is one also in the file of an animal that has a single series in it
        pooled |= len(found) > 1 or not f"/{found[0].path}".endswith(f"/{wanted}")
        parts += [(place.path, read(place, name)) for place in found]
    table = pool_events(parts, name) if pooled else parts[0][1]
    return table, next(
        (column for column in ONSET_COLUMNS if column in table.columns), "timestamps"
    )


def find_table(wanted: str, places: Places, where: str) -> Place:
    """Find the table that a spec names, or say which ones there are.

    Parameters
    ----------
    wanted : str
        Name of a table in `intervals`, or a path.
    places : mapping
        Path to what the file holds there.
    where : str
        The file, for messages.

    Raises
    ------
    DataError
        If there are no tables at all.
    SpecError
        If there is none of that name.
    """
    tables = {place.short: place for place in places.values() if place.kind == "table"}
    if wanted in tables:
        return tables[wanted]
    ends = [place for place in tables.values() if place.path.endswith(f"/{wanted}")]
    if len(ends) == 1:
        return ends[0]
    if any(place.kind != "table" for place in _matching(wanted, places, where)):
        raise SpecError(
            f"{wanted!r} in {where} is a time series, not a table with one row per trial; if its "
            "timestamps are events, name it with 'trials: {events: ...}' in the spec."
        )
    if not tables:
        raise DataError(
            f"{where} has no trials: there is no table in /intervals. If trials are event times, "
            "name them with 'trials: {events: ...}' in the spec."
        )
    raise SpecError(
        f"{where} has no intervals table {wanted!r}; it has: {', '.join(map(repr, tables))}."
        f"{close_match(wanted, tables)} Set 'trials: {{table: ...}}' in the spec."
    )


def find_events(wanted: str, places: Places, where: str) -> list[Place]:
    """Find the series or table that a spec names as events, or all series of a group.

    Parameters
    ----------
    wanted : str
        A path, or the end of one.
    places : mapping
        Path to what the file holds there.
    where : str
        The file, for messages.

    Raises
    ------
    SpecError
        If there are none, several of that name, or only signals sampled at a steady rate.
    """
    found = _matching(wanted, places, where)
    timed = [place for place in found if place.kind != "sampled"]
    if found and not timed:
        raise SpecError(
            f"{wanted!r} in {where} is sampled at a steady rate and has no timestamps; expected "
            "one time per event. Name a series of events, or a table, in the spec."
        )
    if timed:
        return timed
    known = [p.path for p in places.values() if _is_event(p)]
    raise SpecError(
        f"{where} has no events {wanted!r}; it has: "
        f"{', '.join(map(repr, known)) or 'none'}.{close_match(wanted, known)}"
    )


def event_groups(places: Places) -> dict[str, list[Place]]:
    """List the groups that hold several series of events directly, such as `BehavioralEvents`."""
    groups: dict[str, list[Place]] = {}
    for place in places.values():
        if place.kind == "series":
            groups.setdefault(place.path.rpartition("/")[0], []).append(place)
    # a module or the acquisition holds anything; what lies deeper was put together on purpose
    return {path: held for path, held in groups.items() if path.count("/") > 1 and len(held) > 1}


def _is_event(place: Place) -> bool:
    return place.kind != "sampled" and not place.path.startswith(INTERVALS)


def _matching(wanted: str, places: Places, where: str) -> list[Place]:
    """Find the place of a path, what a group holds, or what a unique end of a path names."""
    if wanted in places:
        return [places[wanted]]
    inside = [place for path, place in places.items() if path.startswith(f"{wanted}/")]
    if inside:
        return [place for place in inside if place.kind != "table"] or inside
    ends = [path for path in places if path.endswith(f"/{wanted}")]
    groups = sorted({path[: path.index(f"/{wanted}/")] for path in places if f"/{wanted}/" in path})
    whole = ends + [f"{group}/{wanted}" for group in groups]
    if len(whole) > 1:
        raise SpecError(
            f"{where} has several events {wanted!r}: {', '.join(map(repr, whole))}; "
            "give the whole path in 'trials: {events: ...}'."
        )
    return _matching(whole[0], places, where) if whole else []


def series_table(
    columns: Mapping[str, Any],
    name: str,
    *,
    kind: str = "TimeSeries",
    labels: Iterable[Any] | None = None,
    skipped: Mapping[str, str] | None = None,
) -> Table:
    """Put what a time series holds into a table with one row per event.

    Parameters
    ----------
    columns : mapping
        `timestamps`, `data`, and what else lies beside them.
    name : str
        What to call it in messages.
    kind : str
        The type of the series. Of an `IntervalSeries`, whose data are positive where an interval
        starts and negative where it stops, each start is an event and `stop_time` its end.
    labels : iterable of str, optional
        What the codes in `data` stand for, counted from 0.
    skipped : mapping, optional
        Columns that could not be read, and why.

    Returns
    -------
    Table
        Columns as long as the timestamps.

    Examples
    --------
    >>> table = series_table(
    ...     {"timestamps": [1.0, 1.5, 3.0], "data": [1, -1, 1]}, "licks", kind="IntervalSeries")
    >>> table.columns["timestamps"], table.columns["stop_time"]
    (array([1., 3.]), array([1.5, nan]))
    """
    plain: dict[str, Column] = {}
    left_out = dict(skipped or {})
    for key, values in columns.items():
        try:
            plain[key] = plain_column(values)
        except TypeError as error:
            left_out[key] = str(error)
    n_rows = plain["timestamps"].size if "timestamps" in plain else 0
    for key in [key for key, values in plain.items() if values.size != n_rows]:
        left_out[key] = f"it has {plain.pop(key).size} values for {n_rows} timestamps"
    data = plain.get("data")
    if labels is not None and data is not None and data.dtype.kind in "if":
        plain["data"] = spelt_out(data, plain_column(list(labels)))
    elif kind == "IntervalSeries" and data is not None and data.dtype.kind in "if":
        plain = _intervals(plain)
        n_rows = plain["timestamps"].size
    return Table(np.arange(n_rows, dtype=np.int64), plain, name, left_out)


def _intervals(columns: Mapping[str, Column]) -> dict[str, Column]:
    """Turn starts and stops, told by the sign of the data, into rows."""
    data, times = columns["data"], columns["timestamps"].astype(np.float64)
    starts = np.flatnonzero(data > 0)
    stop_time = np.full(starts.size, np.nan)
    for code in np.unique(data[starts]):
        mine = data[starts] == code
        stops = np.flatnonzero(data == -code)
        after = np.searchsorted(stops, starts[mine])
        ends = np.append(times[stops], np.nan)[after]
        # a start that is followed by another start has no stop of its own
        following = np.append(starts[mine][1:], data.size)
        stop_at = np.append(stops, data.size)[after]
        stop_time[mine] = np.where(stop_at < following, ends, np.nan)
    rows = {key: values[starts] for key, values in columns.items()}
    return {**rows, "stop_time": stop_time}


def pool_events(parts: Sequence[tuple[str, Table]], name: str) -> Table:
    """Put the events of several series into one table, in the order of their times.

    Parameters
    ----------
    parts : sequence of (str, Table)
        Path and events of each series.
    name : str
        What to call the result in messages.

    Returns
    -------
    Table
        `timestamps`, `series` (the last part of the path, or all of it where that is not unique),
        and every column that any of the parts has, missing where a part lacks it.

    Examples
    --------
    >>> left = series_table({"timestamps": [1.0, 4.0]}, "left")
    >>> right = series_table({"timestamps": [2.0]}, "right")
    >>> pool_events([("cues/left", left), ("cues/right", right)], "cues").columns["series"]
    array(['left', 'right', 'left'], dtype='<U5')
    """
    names = [path.rpartition("/")[2] for path, _ in parts]
    if len(set(names)) < len(names):
        names = [path for path, _ in parts]
    tables = [_timed(table) for _, table in parts]
    sizes = [table["timestamps"].size for table in tables]
    keys = list(dict.fromkeys(key for table in tables for key in table))
    columns = {
        key: _joined([(table.get(key), size) for table, size in zip(tables, sizes, strict=True)])
        for key in keys
    }
    columns["series"] = np.repeat(np.array(names, dtype=str), sizes)
    order = np.argsort(columns["timestamps"], kind="stable")
    skipped = {key: why for _, table in parts for key, why in table.skipped.items()}
    return Table(
        np.arange(order.size, dtype=np.int64),
        {key: values[order] for key, values in columns.items()},
        name,
        {key: why for key, why in skipped.items() if key not in columns},
    )


def _timed(table: Table) -> dict[str, Column]:
    """Call the times of events alike, whether they come from a series or from a table."""
    found = next((key for key in ONSET_COLUMNS if key in table.columns), None)
    if found is None:
        return {"timestamps": np.zeros(0)}
    rest = {key: values for key, values in table.columns.items() if key != found}
    return {"timestamps": table.columns[found].astype(np.float64), **rest}


def _joined(parts: Sequence[tuple[Column | None, int]]) -> Column:
    """Join columns of several tables; where one lacks the column, its values are missing."""
    present = [values for values, _ in parts if values is not None]
    kinds = {values.dtype.kind for values in present}
    complete = len(present) == len(parts)
    if kinds <= {"i", "f"}:
        return np.concatenate([np.full(size, np.nan) if v is None else v for v, size in parts])
    if kinds == {"b"} and complete:
        return np.concatenate(present)
    texts = [np.full(size, "") if v is None else _as_text(v) for v, size in parts]
    return np.concatenate(texts)


def _as_text(values: Column) -> Column:
    missing = is_missing(values)
    texts = [
        "" if gone else canonical_text(value) for value, gone in zip(values, missing, strict=True)
    ]
    return np.array(texts, dtype=str)
