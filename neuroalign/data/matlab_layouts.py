"""The two layouts of MATLAB files: what is where, and what is said when it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from neuroalign.data.arrays import unit_trains
from neuroalign.data.checks import SpikeTrains
from neuroalign.data.columns import Table, plain_column
from neuroalign.data.matlab_files import (
    Cell,
    MatlabFile,
    Struct,
    Unreadable,
    described,
    listed_fields,
)
from neuroalign.data.spec_parts import TimesSpec
from neuroalign.data.specs import DataSpec
from neuroalign.errors import DataError, ParameterError
from neuroalign.suggestions import close_match

Floats = npt.NDArray[np.float64]

START, STOP, ONSET = "start_time", "stop_time", "onset"
PAUSE: Final = 1.0  # seconds between trials that are laid one after another
DIGITS: Final = 9


@dataclass(frozen=True)
class Layout:
    """Where things are in the files, as the caller names them."""

    spikes: str
    trials: str | None
    unit_ids: str | None
    aligned: tuple[float, float] | None
    consecutive: bool


@dataclass(frozen=True)
class Found:
    """What a file held of a recording, and the spec with what is still to be done."""

    unit_ids: npt.NDArray[np.str_]
    trains: SpikeTrains
    trials: Table
    spec: DataSpec


# --- Session layout -----------------------------------------------------------------------------


def read_session(file: MatlabFile, layout: Layout, spec: DataSpec) -> Found:
    """Read spike times on the session clock, and trials as vectors.

    Parameters
    ----------
    file : MatlabFile
        An open file.
    layout : Layout
        Names in it.
    spec : DataSpec
        Columns with onsets and labels.

    Raises
    ------
    DataError
        If something is not there, or not what is expected.
    """
    where = str(file.path)
    units = _unit_cell(file.value(layout.spikes, role="spikes"), f"{layout.spikes!r} in {where}")
    ids = _unit_names(file, layout, len(units))
    _, trains = unit_trains(units, where)
    columns = _trial_columns(file, layout, spec)
    onset = spec.trials.onset or ONSET
    if onset not in columns:
        raise DataError(
            f"{layout.trials or 'the file'!r} in {where} has no {onset!r} (for onset); it has: "
            f"{', '.join(map(repr, columns)) or 'none'}.{close_match(onset, columns)}"
        )
    number = _length(columns[onset])
    if number is None:
        raise DataError(
            f"{onset!r} in {where} is {described(columns[onset])}, expected a vector of onsets."
        )
    name = "variables" if layout.trials is None else f"struct {layout.trials!r}"
    table = _table(columns, number, name)
    return Found(ids, trains, table, spec)


def _unit_cell(value: Any, what: str) -> list[Floats]:
    """Return every unit's spike times, or say what was found instead."""
    if not isinstance(value, Cell) or sum(size > 1 for size in value.shape) > 1 or not value.items:
        hint = ""
        if isinstance(value, np.ndarray) and value.size > 1:
            hint = (
                "; split the times of all units by their unit: spikes = arrayfun(@(u) "
                "times(unit == u), unique(unit), 'UniformOutput', false)"
            )
        if isinstance(value, Struct):
            hint = "; name the field with the times, as in 'spikes.times'"
        raise DataError(
            f"{what} is {described(value)}, expected a cell array with one vector of spike times "
            f"per unit{hint}."
        )
    units = []
    for number, times in enumerate(value.items, start=1):
        array = times if isinstance(times, np.ndarray) else np.empty((2, 2))
        if array.dtype.kind not in "iuf" or sum(size > 1 for size in array.shape) > 1:
            raise DataError(
                f"unit {number} of {what} is {described(times)}, expected a vector of spike times."
            )
        units.append(array.ravel().astype(np.float64))
    return units


def _unit_names(file: MatlabFile, layout: Layout, number: int) -> npt.NDArray[np.str_]:
    if layout.unit_ids is None:
        return np.array([str(unit) for unit in range(1, number + 1)], dtype=str)
    value = file.value(layout.unit_ids, role="unit_ids")
    column = _column(value, number)
    if isinstance(column, Unreadable):
        raise DataError(f"{layout.unit_ids!r} in {file.path}: {column.why} units.")
    names = column.astype(str)
    if np.unique(names).size != names.size:
        raise DataError(f"{layout.unit_ids!r} in {file.path} names two units alike.")
    return names


def _trial_columns(file: MatlabFile, layout: Layout, spec: DataSpec) -> dict[str, Any]:
    """Return the trials' columns by name, as they are in the file."""
    if layout.trials is not None:
        value = file.value(layout.trials, role="trials")
        if not isinstance(value, Struct):
            raise DataError(
                f"{layout.trials!r} in {file.path} is {described(value)}, expected a struct with a "
                f"vector per column. The file has: {file.listed()}. Columns that are variables of "
                "their own are read with trials=None."
            )
        if len(value.elements) == 1:
            return dict(value.elements[0])
        return {
            name: Cell([one[name] for one in value.elements], (1, len(value.elements)))
            for name in value.fields
        }
    roles = spec.trials
    wanted = {roles.onset or ONSET, roles.start, roles.stop, *roles.keep}
    wanted |= {label.column for label in roles.labels.values()}
    if not roles.labels:
        raise ParameterError("trials=None needs labels=[...], the variables that are labels.")
    optional = {START, STOP} & set(file.contents)
    return {
        name: file.value(name, role="trials") for name in sorted({*filter(None, wanted), *optional})
    }


def _length(value: Any) -> int | None:
    if isinstance(value, Cell):
        return len(value.items)
    if isinstance(value, np.ndarray) and sum(size > 1 for size in value.shape) <= 1:
        return value.size
    return None


def _table(columns: Mapping[str, Any], number: int, name: str) -> Table:
    """Lay out columns as a table of trials, numbered from 1; those that do not fit are set aside."""
    table = Table(np.arange(1, number + 1, dtype=np.int64), {}, name)
    for column, value in columns.items():
        found = _column(value, number)
        if isinstance(found, Unreadable):
            table.skipped[column] = f"{found.why} trials"
        else:
            table.columns[column] = found
    return table


def _column(value: Any, number: int) -> npt.NDArray[Any] | Unreadable:
    """Turn a vector or a cell array of single values into a plain column, or say why not."""
    if _length(value) != number:
        return Unreadable(f"it is {described(value)}, expected one value for each of {number}")
    if isinstance(value, np.ndarray):
        return _whole(plain_column(value.ravel()))
    items = [_single(item) for item in value.items]
    broken = next((item for item in items if isinstance(item, Unreadable)), None)
    if broken is not None:
        return Unreadable(f"it holds {broken.why}, expected one value for each of {number}")
    return _whole(plain_column(np.array([*items, None], dtype=object)[:-1]))


def _single(item: Any) -> Any:
    """Return one value of a cell: text, a number, a logical, or None for an empty one."""
    if isinstance(item, str):
        return item
    if isinstance(item, np.ndarray) and item.size <= 1:
        return item.ravel()[0].item() if item.size else None
    if isinstance(item, Cell) and len(item.items) == 1:
        return _single(item.items[0])
    return item if isinstance(item, Unreadable) else Unreadable(described(item))


def _whole(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return numbers without fractions as integers: MATLAB stores every number as a double."""
    if column.dtype.kind == "f" and column.size and np.isfinite(column).all():
        whole = np.round(column)
        if (whole == column).all() and np.abs(whole).max() < 2**53:
            return whole.astype(np.int64)
    return column


# --- Aligned layout -----------------------------------------------------------------------------


def read_aligned(file: MatlabFile, layout: Layout, spec: DataSpec) -> Found:
    """Read trials with spike times relative to an event each, and put them on one clock.

    Parameters
    ----------
    file : MatlabFile
        An open file.
    layout : Layout
        Names in it, and the seconds around the event.
    spec : DataSpec
        Columns with onsets and labels; milliseconds.

    Raises
    ------
    DataError
        If something is not there or not what is expected, or trials overlap.
    """
    where, name = str(file.path), str(layout.trials)
    value = file.value(name, role="trials")
    if not isinstance(value, Struct) or not value.elements:
        raise DataError(
            f"{name!r} in {where} is {described(value)}, expected a struct array with an element "
            f"per trial. The file has: {file.listed()}."
        )
    if layout.spikes not in value.fields:
        raise DataError(
            f"{name!r} in {where} has no field {layout.spikes!r} (for spikes); it has: "
            f"{listed_fields(value)}.{close_match(layout.spikes, value.fields)}"
        )
    trials = [
        _unit_cell(one[layout.spikes], f"{name}({number}).{layout.spikes} in {where}")
        for number, one in enumerate(value.elements, start=1)
    ]
    numbers = {len(units) for units in trials}
    if len(numbers) > 1:
        odd = next(k for k, units in enumerate(trials, start=1) if len(units) != len(trials[0]))
        raise DataError(
            f"expected the same units in every trial of {name!r} in {where}, got {len(trials[0])} "
            f"in the first and {len(trials[odd - 1])} in trial {odd}; give a unit without spikes "
            "an empty vector."
        )
    columns = {
        field: Cell([one[field] for one in value.elements], (1, len(trials)))
        for field in value.fields
        if field != layout.spikes
    }
    table = _table(columns, len(trials), f"struct array {name!r}")
    scale = 1e-3 if spec.times.spikes == "milliseconds" else 1.0
    relative = [[times * scale for times in units] for units in trials]
    return _on_one_clock(file, layout, spec, table, relative)


def _on_one_clock(
    file: MatlabFile,
    layout: Layout,
    spec: DataSpec,
    table: Table,
    relative: Sequence[Sequence[Floats]],
) -> Found:
    """Put trials on the session clock, or one after another, and join the spikes of each unit."""
    assert layout.aligned is not None
    first, last = layout.aligned
    _check_inside(relative, layout.aligned, str(file.path))
    onset = _event_times(file, layout, spec, table)
    table.columns |= {START: np.round(onset + first, DIGITS), STOP: np.round(onset + last, DIGITS)}
    known = np.flatnonzero(np.isfinite(onset)).tolist()
    joined = [
        np.sort(np.concatenate([[], *(onset[k] + relative[k][unit] for k in known)]))
        for unit in range(len(relative[0]))
    ]
    _, trains = unit_trains([np.round(times, DIGITS) for times in joined], str(file.path))
    column = ONSET if layout.consecutive else spec.trials.onset or ONSET
    table.columns[column] = onset
    roles = spec.trials.model_copy(update={"onset": column, "start": START, "stop": STOP})
    done = spec.model_copy(update={"trials": roles, "times": TimesSpec()})
    return Found(_unit_names(file, layout, len(relative[0])), trains, table, done)


def _event_times(file: MatlabFile, layout: Layout, spec: DataSpec, table: Table) -> Floats:
    assert layout.aligned is not None
    first, last = layout.aligned
    if layout.consecutive:
        places = np.arange(table.ids.size, dtype=np.float64)
        return np.round(PAUSE - first + places * (last - first + PAUSE), DIGITS)
    name = spec.trials.onset or ONSET
    if name not in table.columns or table.columns[name].dtype.kind not in "if":
        raise DataError(
            f"{layout.trials!r} in {file.path} has no times {name!r} of the event on the session "
            f"clock; it has: {', '.join(map(repr, table.columns)) or 'none'}. Name the field in "
            "onset=, or lay the trials one after another with consecutive=True."
        )
    onset = table.columns[name].astype(np.float64)
    onset = onset / 1000.0 if spec.times.trials == "milliseconds" else onset
    gaps = np.diff(np.sort(onset[np.isfinite(onset)]))
    overlapping = int((gaps < last - first - 1e-6).sum())
    if overlapping:
        raise DataError(
            f"{overlapping} trials of {file.path} overlap: spikes were saved for "
            f"{last - first:g} s around events as close as {gaps.min():g} s, so that some are "
            "there twice; lay the trials one after another with consecutive=True."
        )
    return onset


def _check_inside(
    relative: Sequence[Sequence[Floats]], aligned: tuple[float, float], where: str
) -> None:
    every = np.concatenate([np.empty(0), *(times for units in relative for times in units)])
    outside = int(((every < aligned[0] - 1e-6) | (every > aligned[1] + 1e-6)).sum())
    bad = int((~np.isfinite(every)).sum())
    if bad:
        raise DataError(f"{bad} of {every.size} spike times of {where} are NaN or infinite.")
    if outside:
        raise DataError(
            f"{outside} of {every.size} spikes of {where} are not within aligned="
            f"({aligned[0]:g}, {aligned[1]:g}) s of their event: they range from {every.min():g} "
            f"to {every.max():g}. Give the span that was saved; if times are milliseconds, put "
            "'times: {spikes: milliseconds}' into the spec; if they are on the session clock, the "
            "layout is not the aligned one."
        )
