"""Building one subject's recording from plain tables: roles, keep rules, clocks, notes."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from neuroalign.data.checks import (
    Floats,
    SpikeTrains,
    check_clocks,
    check_spike_trains,
    check_trial_times,
)
from neuroalign.data.selection import (
    RESERVED,
    Notes,
    SelectedTrials,
    select_trials,
    select_units,
)
from neuroalign.data.spec_parts import TimesSpec
from neuroalign.errors import DataError, DataWarning, SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from neuroalign.data.columns import Column, Mask, Table
    from neuroalign.data.specs import DataSpec


@dataclass
class RawSession:
    """What a file, or plain arrays, hold of one subject, before any rule.

    Parameters
    ----------
    subject : str
        The subject's name.
    units : Table
        Columns of the units.
    unit_ids : ndarray of shape (unit,)
        Text, without the subject.
    trains : SpikeTrains
        In the order of the units.
    trials : Table
        Columns of the trials, times included.
    where : str
        The file, for messages.
    sources : list of str
        Files that this came from.
    onset : str
        Column that holds onsets where the spec does not say.
    """

    subject: str
    units: Table
    unit_ids: npt.NDArray[np.str_]
    trains: SpikeTrains
    trials: Table
    where: str
    sources: list[str] = field(default_factory=list)
    onset: str = "start_time"


def build_recording(session: RawSession, spec: DataSpec) -> xr.Dataset:
    """Build the recording stage of one subject.

    Parameters
    ----------
    session : RawSession
        Plain tables.
    spec : DataSpec
        Roles and rules.

    Returns
    -------
    Dataset
        `spike_time(spike)` and `spike_unit(spike)`, with coordinates on `unit` and `trial`;
        what was dropped and why stands in the attribute `notes`.

    Raises
    ------
    SpecError
        If the spec asks for columns or values that are not there.
    DataError
        If times make no sense, or nothing is left.

    Warns
    -----
    DataWarning
        If something deserves a look, such as trials without onset.
    """
    notes: Notes = []
    where = session.where
    if not len(session.unit_ids):
        raise DataError(f"the units table of {where} is empty; expected at least one unit.")
    if not session.trials.ids.size:
        raise DataError(f"the {session.trials.name} of {where} is empty; expected trials.")
    onset, start, stop = _trial_times(session, spec)
    has_onset = _with_onset(onset, where, notes)
    shown = np.char.add(f"{session.subject}/", session.unit_ids).astype(str)
    trains, n_sorted = check_spike_trains(session.trains, shown, times=spec.times, where=where)
    if n_sorted:
        notes.append({"what": "units", "count": n_sorted, "why": "spike times sorted, none lost"})
    trials = select_trials(session.trials, spec, where=where, notes=notes, among=has_onset)
    kept = trials.keep
    check_clocks(trains, onset[kept], stop[kept], times=spec.times, where=where)
    span = _span(trains, start[has_onset], stop[has_onset])
    units = select_units(session.units, trains.counts, span, spec, where=where, notes=notes)
    dataset = _dataset(session, trains, units, trials)
    times = {"onset": onset, "start": start, "stop": stop}
    dataset = dataset.assign_coords(
        {name: ("trial", values[trials.keep], {"units": "s"}) for name, values in times.items()}
    )
    # from here on times are ascending seconds, whatever the file's were
    carried = spec.model_copy(update={"times": TimesSpec()})
    dataset.attrs = stage_attributes("recording", session.subject, carried, notes, session.sources)
    return dataset


def stage_attributes(
    stage: str, subject: str, spec: DataSpec | None, notes: Notes, sources: Sequence[str]
) -> dict[str, str]:
    """Write the attributes every stage carries, as plain text.

    Parameters
    ----------
    stage, subject : str
        Of the data.
    spec : DataSpec, optional
        Travels as JSON.
    notes : list of dict
        What was dropped and why.
    sources : sequence of str
        Files.
    """
    attributes = {"stage": stage, "subject": subject}
    if spec is not None:
        attributes["spec"] = spec.to_json()
    attributes["notes"] = json.dumps(notes)
    attributes["source_files"] = json.dumps(list(sources))
    return attributes


def _trial_times(session: RawSession, spec: DataSpec) -> tuple[Floats, Floats, Floats]:
    """Find onset, start and stop of every trial (seconds; NaN where the table has none)."""

    def seconds(name: str, role: str) -> Floats:
        values = session.trials.column(name, role=role, where=session.where)
        if values.dtype.kind not in "if":
            raise SpecError(
                f"column {name!r} of the {session.trials.name} of {session.where} holds "
                f"{'text' if values.dtype.kind == 'U' else 'booleans'}, expected times for {role}."
            )
        return check_trial_times(
            values.astype(np.float64), what=name, times=spec.times, where=session.where
        )

    roles = spec.trials
    onset = seconds(roles.onset or session.onset, "trials.onset")
    start, stop = onset, np.full_like(onset, np.nan)
    if name := roles.start or _edge(session.trials, "start"):
        start = seconds(name, "trials.start")
    if name := roles.stop or _edge(session.trials, "stop"):
        stop = seconds(name, "trials.stop")
    backwards = int((stop < start).sum())
    if backwards:
        warnings.warn(
            f"{backwards} trials of {session.where} stop before they start.",
            DataWarning,
            stacklevel=2,
        )
    return onset, start, stop


def _edge(trials: Table, edge: str) -> str | None:
    """Find the column of trials' starts or stops where nobody named one."""
    known = trials.columns
    if f"{edge}_time" in known:
        return f"{edge}_time"
    # outside NWB the shorter name is common; text of that name would be something else
    return edge if edge in known and known[edge].dtype.kind in "if" else None


def _with_onset(onset: Floats, where: str, notes: Notes) -> Mask:
    """Say which trials have an onset; note and warn about the others."""
    present = np.isfinite(onset)
    absent = int((~present).sum())
    if not present.any():
        raise DataError(f"no trial of {where} has an onset; name another column in the spec.")
    if absent:
        notes.append({"what": "trials", "count": absent, "why": "no onset time"})
        warnings.warn(
            f"{absent} of {onset.size} trials of {where} have no onset time and are left out.",
            DataWarning,
            stacklevel=2,
        )
    return present


def _span(trains: SpikeTrains, start: Floats, stop: Floats) -> float:
    """Return the seconds between the first and the last time that anything is known of."""
    every = np.concatenate([[trains.times.min(), trains.times.max()], start, stop])
    return float(np.nanmax(every) - np.nanmin(every))


def unit_coordinates(
    subject: str, unit_ids: npt.NDArray[np.str_], units: Table, keep: Mask, labels: set[str]
) -> dict[str, tuple[str, Column]]:
    """Name the units and carry their columns.

    Parameters
    ----------
    subject : str
        Prefix of the ids.
    unit_ids : ndarray of shape (unit,)
        Text, without the subject.
    units : Table
        Columns of all units.
    keep : ndarray of shape (unit,)
        Units that stay.
    labels : set of str
        Names the trials use; a unit column of that name is called `unit_<name>`.
    """
    ids = np.array([f"{subject}/{unit}" for unit in unit_ids[keep].tolist()], dtype=str)
    coordinates: dict[str, tuple[str, Column]] = {
        "unit": ("unit", ids),
        "unit_number": ("unit", np.arange(ids.size, dtype=np.int32)),
    }
    for name, values in units.columns.items():
        taken = name in RESERVED or name in labels
        coordinates[f"unit_{name}" if taken else name] = ("unit", values[keep])
    return coordinates


def _dataset(
    session: RawSession, trains: SpikeTrains, units: Mask, trials: SelectedTrials
) -> xr.Dataset:
    kept = trains if units.all() else trains.select(units)
    coordinates = unit_coordinates(
        session.subject, session.unit_ids, session.units, units, set(trials.labels)
    )
    labels = {name: ("trial", values) for name, values in trials.labels.items()}
    return xr.Dataset(
        {
            "spike_time": ("spike", kept.times, {"units": "s"}),
            "spike_unit": ("spike", kept.owner.astype(np.int32)),
        },
        coords={**coordinates, "trial": ("trial", trials.ids), **labels},
    )
