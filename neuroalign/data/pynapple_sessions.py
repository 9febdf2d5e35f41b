"""Recordings from pynapple's objects.

What pynapple does to times, and what is done about it here and in `pynapple_export`: an
`IntervalSet` sorts its intervals, joins or drops those that overlap or have no length (with all
metadata), and ends an interval a microsecond early where the next begins at its end; a `TsGroup`
keeps only the spikes inside its time support, has integer keys and sorts them. Whatever would
lose trials or spikes is refused.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from neuroalign.data.arrays import (
    plain_recording,
    plain_session,
    spec_with,
    trial_table,
    unit_trains,
)
from neuroalign.data.columns import Column, Table, plain_column
from neuroalign.data.specs import DataSpec, load_spec
from neuroalign.errors import DataError, DataWarning
from neuroalign.schema import build_tree

if TYPE_CHECKING:
    from pathlib import Path

    from neuroalign.data.recordings import RawSession

Floats = npt.NDArray[np.float64]

START, STOP = "start_time", "stop_time"
# pynapple ends an interval that meets the next a microsecond early
TOUCH: Final = 2e-6
NANOSECOND: Final = 1.1e-9


def import_pynapple(function: str) -> Any:
    """Return pynapple, or say how to install it.

    Parameters
    ----------
    function : str
        What needs it, for the message.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        return importlib.import_module("pynapple")
    except ImportError as error:
        raise ImportError(
            f"{function} needs pynapple, which is not installed: pip install pynapple"
        ) from error


def from_pynapple(
    sessions: Mapping[str, tuple[Any, Any]],
    *,
    spec: str | Path | Mapping[str, Any] | DataSpec | None = None,
    onset: str | None = None,
    start: str | None = None,
    stop: str | None = None,
    labels: Sequence[str] | None = None,
) -> xr.DataTree:
    """Build recordings from a pynapple `TsGroup` and the trials of every subject.

    Parameters
    ----------
    sessions : mapping
        Subject to `(spikes, trials)`. `spikes` is a `TsGroup`: its keys, or text in its metadata
        `unit`, name the units; other metadata become columns of the units. `trials` is an
        `IntervalSet`, one interval per trial, whose metadata are the trials' columns; or a
        pandas table with one row per trial, as in `from_arrays`, which may hold trials that
        overlap (columns `start` and `end` are read as an `IntervalSet`'s). Integers in a column
        `trial` are the trials' ids.
    spec : str, Path, mapping or DataSpec, optional
        Keep rules, names of label values, frame and bins; see `load_spec`.
    onset : str, optional
        Column with onsets (seconds); by default the spec's, else `"onset"` where it exists, else
        the start of the interval.
    start, stop : str, optional
        For tables, as in `from_arrays`; an `IntervalSet` says itself when trials start and stop.
    labels : list of str, optional
        Columns to carry as labels; by default the spec's, else all other columns.

    Returns
    -------
    DataTree
        Recording stage, as `read_nwb` gives.

    Raises
    ------
    DataError
        If an object is of another type, trial ids occur twice (as after an intersection that cut
        a trial in two), trials begin where the time support of the spikes, and so their
        spikes, were cut away, or times make no sense.
    SpecError
        If a column is absent: pynapple drops metadata whenever it has to sort, join or drop
        intervals, and says so when the `IntervalSet` is made.

    Warns
    -----
    DataWarning
        If trials reach beyond the time support of the spikes, or something else deserves a look.

    Examples
    --------
    >>> import numpy as np
    >>> import pynapple as nap
    >>> trials = nap.IntervalSet(
    ...     [1.0, 3.0, 5.0], [2.0, 4.0, 6.0], metadata={"odor": ["A", "B", "A"]}
    ... )
    >>> spikes = nap.TsGroup({4: nap.Ts(np.array([1.1, 3.5, 5.2]))}, time_support=nap.IntervalSet(0, 7))
    >>> recordings = from_pynapple({"mitt": (spikes, trials)})
    >>> recordings["mitt"]["unit"].values.tolist(), recordings["mitt"]["odor"].values.tolist()
    (['mitt/4'], ['A', 'B', 'A'])
    """
    if not isinstance(sessions, Mapping):
        raise DataError(
            "sessions must be a mapping subject -> (TsGroup, IntervalSet), got "
            f"{type(sessions).__name__}."
        )
    pynapple = import_pynapple("from_pynapple")
    given = load_spec(spec) if spec is not None else None
    datasets = {}
    for subject, pair in sessions.items():
        where = f"subject {subject!r}"
        spikes, trials = _pair(pair, pynapple, where)
        intervals = isinstance(trials, pynapple.IntervalSet)
        table = _interval_table(trials, where) if intervals else _plain_table(trials, where)
        effective = spec_with(
            given,
            onset=onset or _onset_column(given, table),
            start=START if intervals else start,
            stop=STOP if intervals else stop,
            labels=labels,
        )
        ids, columns = _units(spikes, subject, where)
        _, trains = unit_trains(
            {key: np.array(spikes[key].times(), dtype=np.float64) for key in spikes.index}, where
        )
        session = plain_session(subject, ids, trains, table, where, unit_columns=columns)
        dataset = plain_recording(session, effective, carry_spec=given is not None)
        _check_support(spikes, session, dataset)
        datasets[subject] = dataset
    return build_tree(datasets)


def _pair(pair: Any, pynapple: Any, where: str) -> tuple[Any, Any]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise DataError(
            f"expected (TsGroup, IntervalSet) for {where}, got {type(pair).__name__}; "
            "give {subject: (spikes, trials)}."
        )
    spikes, trials = pair
    if not isinstance(spikes, pynapple.TsGroup):
        raise DataError(
            f"the spikes of {where} must be a pynapple TsGroup, got {type(spikes).__name__}."
        )
    if not isinstance(trials, pynapple.IntervalSet) and not hasattr(trials, "columns"):
        raise DataError(
            f"the trials of {where} must be a pynapple IntervalSet or a pandas DataFrame with one "
            f"row per trial, got {type(trials).__name__}."
        )
    return spikes, trials


def _interval_table(trials: Any, where: str) -> Table:
    """Turn intervals and their metadata into a table of trials."""
    first = np.array(trials.start, dtype=np.float64)
    last = np.array(trials.end, dtype=np.float64)
    table = _columns_of(trials, "trials table", len(first))
    # what to_pynapple wrote; an interval that was changed since then speaks for itself
    written = table.columns.pop(STOP, None)
    if written is not None and written.dtype.kind in "if":
        last = np.where(np.abs(written - last) < TOUCH, written, last)
    table.columns = {START: first, STOP: last, **table.columns}
    return _with_ids(table, where)


def _plain_table(trials: Any, where: str) -> Table:
    columns = {str(name) for name in trials.columns}
    both = {"start", "end"} <= columns and not {START, STOP} & columns
    renamed = trials.rename(columns={"start": START, "end": STOP}) if both else trials
    return _with_ids(trial_table(renamed, where), where)


def _columns_of(carrier: Any, name: str, n_rows: int) -> Table:
    """Read pynapple's metadata as plain columns; what cannot be used is set aside."""
    table = Table(np.arange(n_rows, dtype=np.int64), {}, name)
    for column in carrier.metadata_columns:
        values = carrier.get_info(column)
        try:
            table.columns[str(column)] = plain_column(np.asarray(values))
        except (TypeError, ValueError) as error:
            table.skipped[str(column)] = str(error)
    return table


def _with_ids(table: Table, where: str) -> Table:
    ids = table.columns.pop("trial", None)
    if ids is None or ids.dtype.kind != "i":
        return table
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise DataError(
            f"trial ids must be unique, got {int((counts > 1).sum())} that occur more than once "
            f"(such as {int(values[counts > 1][0])}) for {where}; an intersection with other "
            "epochs may have cut trials in two."
        )
    return replace(table, ids=ids.astype(np.int64))


def _onset_column(given: DataSpec | None, table: Table) -> str | None:
    if given is not None and given.trials.onset:
        return None  # the spec's
    known = {*table.columns, *table.skipped}
    return START if "onset" not in known and START in known else None


def _units(spikes: Any, subject: str, where: str) -> tuple[npt.NDArray[np.str_], dict[str, Column]]:
    """Name the units, by their metadata `unit` or by their keys, and return their columns."""
    table = _columns_of(spikes, "units table", len(spikes))
    columns = {name: values for name, values in table.columns.items() if name != "rate"}
    ids = np.array([str(key) for key in spikes.index], dtype=str)
    named = columns.pop("unit", None)
    if named is not None:
        ids = np.array([str(unit).removeprefix(f"{subject}/") for unit in named.tolist()])
    if np.unique(ids).size != ids.size:
        raise DataError(f"two units of {where} have the same name in the metadata 'unit'.")
    return ids, columns


def _check_support(spikes: Any, session: RawSession, data: xr.Dataset) -> None:
    """Refuse trials that begin where pynapple has cut the spikes away."""
    epochs = np.array(spikes.time_support.values, dtype=np.float64)
    every = np.unique(session.trains.times)
    place, padded = np.searchsorted(every, epochs), np.concatenate([[-np.inf], every, [np.inf]])
    if (np.minimum(padded[place + 1] - epochs, epochs - padded[place]) <= NANOSECOND).all():
        return  # made from the first and last spikes of units: nothing was cut
    onset, last = data["onset"].values, data["stop"].values
    inside = (epochs[:, :1] - TOUCH <= onset) & (onset <= epochs[:, 1:] + TOUCH)
    outside = ~inside.any(axis=0)
    if outside.any():
        raise DataError(
            f"{int(outside.sum())} of {onset.size} trials of {session.where} begin outside the "
            f"time support of the spikes (the first at {onset[outside][0]:.6g} s), where pynapple "
            "has removed every spike; give the TsGroup as it was before it was restricted, or "
            "only trials inside its time support."
        )
    stops = epochs[inside.argmax(axis=0), 1]
    beyond = int((last > stops + TOUCH).sum())  # a stop that is not known compares as False
    if beyond:
        warnings.warn(
            f"{beyond} of {onset.size} trials of {session.where} reach beyond the time support of "
            "the spikes, where pynapple has removed every spike; frames must end before.",
            DataWarning,
            stacklevel=3,
        )
