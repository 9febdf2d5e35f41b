"""Recordings from plain arrays and pandas tables, for laboratories without NWB files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroalign.data.checks import SpikeTrains
from neuroalign.data.columns import Column, Table, plain_column
from neuroalign.data.recordings import RawSession, build_recording
from neuroalign.data.specs import DataSpec, LabelSpec, TrialsSpec, load_spec
from neuroalign.errors import DataError
from neuroalign.schema import build_tree, check_subject_name

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import xarray as xr

UnitTimes = Mapping[Any, npt.ArrayLike] | Sequence[npt.ArrayLike]


def from_arrays(
    spike_times: Mapping[str, UnitTimes],
    trials: Mapping[str, pd.DataFrame],
    *,
    spec: str | Path | Mapping[str, Any] | DataSpec | None = None,
    onset: str | None = None,
    start: str | None = None,
    stop: str | None = None,
    labels: Sequence[str] | None = None,
) -> xr.DataTree:
    """Build recordings from spike times and a trial table per subject.

    Parameters
    ----------
    spike_times : mapping
        Subject to its units: a mapping unit id -> spike times, or a list of spike times (units
        are then numbered from 0). Seconds on the session clock, ascending.
    trials : mapping
        Subject to a pandas table with one row per trial. A unique integer index gives trial ids.
    spec : str, Path, mapping or DataSpec, optional
        Keep rules, names of label values, frame and bins; see `load_spec`. Its columns are used
        where the arguments below do not say otherwise.
    onset : str, optional
        Column with onsets (seconds); by default the spec's, else `"onset"`.
    start, stop : str, optional
        Columns with starts and ends of trials (seconds); by default the spec's, else
        `"start_time"` and `"stop_time"` where they exist, or else `"start"` and `"stop"`.
    labels : list of str, optional
        Columns to carry as labels; by default the spec's, else all other columns.

    Returns
    -------
    DataTree
        One child per subject: `spike_time(spike)` in seconds and `spike_unit(spike)`, with
        coordinates on unit and trial, as `read_nwb` gives.

    Raises
    ------
    DataError
        If subjects differ between the two mappings, spike times are not lists of numbers, or
        times make no sense.
    SpecError
        If a column is absent or the spec is malformed.

    Warns
    -----
    DataWarning
        If something deserves a look, such as trials without onset.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"onset": [1.0, 2.0, 3.0], "odor": ["A", "B", "A"]})
    >>> tree = from_arrays({"mitt": {"7": [0.9, 1.1, 3.2]}}, {"mitt": table})
    >>> tree["mitt"].to_dataset()["odor"].values
    array(['A', 'B', 'A'], dtype='<U1')
    """
    _check_mappings(spike_times, trials)
    given = load_spec(spec) if spec is not None else None
    effective = spec_with(given, onset=onset, start=start, stop=stop, labels=labels)
    datasets = {}
    for subject, units in spike_times.items():
        where = f"subject {subject!r}"
        ids, trains = unit_trains(units, where)
        session = plain_session(subject, ids, trains, trial_table(trials[subject], where), where)
        datasets[subject] = plain_recording(session, effective, carry_spec=given is not None)
    return build_tree(datasets)


def plain_session(
    subject: str,
    unit_ids: npt.NDArray[np.str_],
    trains: SpikeTrains,
    trials: Table,
    where: str,
    *,
    unit_columns: Mapping[str, Column] | None = None,
    onset: str = "onset",
) -> RawSession:
    """Put together what is known of a subject whose recording comes from no NWB file.

    Parameters
    ----------
    subject : str
        Its name.
    unit_ids : ndarray of shape (unit,)
        Text, without the subject.
    trains : SpikeTrains
        In the order of the units.
    trials : Table
        Columns of the trials.
    where : str
        What to call the source in messages.
    unit_columns : mapping, optional
        Columns of the units.
    onset : str, default="onset"
        Column with onsets where the spec does not say.

    Raises
    ------
    DataError
        If no subject may be called that.
    """
    numbers = np.arange(unit_ids.size, dtype=np.int64)
    return RawSession(
        subject=check_subject_name(subject),
        units=Table(numbers, dict(unit_columns or {}), "units table"),
        unit_ids=unit_ids,
        trains=trains,
        trials=trials,
        where=where,
        onset=onset,
    )


def plain_recording(session: RawSession, spec: DataSpec, *, carry_spec: bool) -> xr.Dataset:
    """Build a recording, which carries the spec only if somebody gave one."""
    dataset = build_recording(session, spec)
    if not carry_spec:
        del dataset.attrs["spec"]  # it would promise frames and bins that nobody chose
    return dataset


def _check_mappings(spike_times: object, trials: object) -> None:
    for name, value in (("spike_times", spike_times), ("trials", trials)):
        if not isinstance(value, Mapping):
            raise DataError(
                f"{name} must be a mapping with one entry per subject, got {type(value).__name__}."
            )
    assert isinstance(spike_times, Mapping)
    assert isinstance(trials, Mapping)
    differing = sorted(map(str, set(spike_times) ^ set(trials)))
    if differing:
        raise DataError(
            "spike_times and trials must have the same subjects; only one of them has: "
            f"{', '.join(map(repr, differing))}."
        )


def spec_with(
    given: DataSpec | None,
    *,
    onset: str | None,
    start: str | None,
    stop: str | None,
    labels: Sequence[str] | None,
) -> DataSpec:
    """Put columns that arguments name in front of what a spec, if there is one, says."""
    base = given if given is not None else DataSpec(name="arrays")
    roles = {"onset": onset, "start": start, "stop": stop}
    changed: dict[str, Any] = {role: column for role, column in roles.items() if column}
    if labels is not None:
        known = base.trials.labels
        changed["labels"] = {name: known.get(name, LabelSpec(column=name)) for name in labels}
    # the table's name means nothing here, and events do not exist
    kept = {key: getattr(base.trials, key) for key in ("onset", "start", "stop", "labels", "keep")}
    kept = {key: value for key, value in kept.items() if value}
    return base.model_copy(update={"trials": TrialsSpec(**{**kept, **changed})})


def unit_trains(units: UnitTimes, where: str) -> tuple[npt.NDArray[np.str_], SpikeTrains]:
    """Lay the spike times of units one after the other, and name the units.

    Parameters
    ----------
    units : mapping or sequence
        Unit id to spike times, or a list of spike times, whose units are numbered from 0.
    where : str
        The subject, for messages.

    Raises
    ------
    DataError
        If two units have one name, or spike times are not lists of numbers.
    """
    if isinstance(units, Mapping):
        named = {str(unit): times for unit, times in units.items()}
        if len(named) != len(units):
            raise DataError(f"two units of {where} have the same name as text.")
    else:
        named = {str(number): times for number, times in enumerate(units)}
    times = []
    for unit, values in named.items():
        try:
            array = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError):
            array = np.empty((0, 0))
        if array.ndim != 1:
            raise DataError(
                f"spike times of unit {unit!r} of {where} must be a list of numbers "
                "(seconds); give a mapping unit -> spike times or a list of them."
            )
        times.append(array)
    stops = np.cumsum([array.size for array in times], dtype=np.int64)
    flat = np.concatenate(times) if times else np.empty(0)
    return np.array(list(named), dtype=str), SpikeTrains(flat, stops)


def trial_table(table: pd.DataFrame, where: str) -> Table:
    """Turn a pandas table of trials into plain columns; what cannot be used is set aside.

    Parameters
    ----------
    table : DataFrame
        One row per trial. A unique integer index gives trial ids.
    where : str
        The subject, for messages.

    Raises
    ------
    DataError
        If it is no table.
    """
    if not hasattr(table, "columns") or not hasattr(table, "index"):
        raise DataError(
            f"the trials of {where} must be a pandas DataFrame with one row per trial, "
            f"got {type(table).__name__}."
        )
    ids = np.arange(len(table), dtype=np.int64)
    if table.index.dtype.kind in "iu" and table.index.is_unique:
        ids = table.index.to_numpy().astype(np.int64)
    result = Table(ids=ids, columns={}, name="trials table")
    for name in table.columns:
        try:
            result.columns[str(name)] = plain_column(table[name])
        except TypeError as error:
            result.skipped[str(name)] = str(error)
    return result
