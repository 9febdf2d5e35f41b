"""Sanity of clocks: bad times end in an error with its remedy, never in numbers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from neuroalign.errors import DataError, DataWarning

if TYPE_CHECKING:
    from neuroalign.data.spec_parts import TimesSpec

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# three years: no session lasts that long, but seconds since 1970 (1.7e9) exceed it
ABSURD_SECONDS: Final = 1e8
# spikes in milliseconds span a thousand times what trials in seconds do
MILLISECOND_RATIO: Final = 300.0
# ... and then seem to come a thousand times too rarely; 200 Hz would look like this
MILLISECOND_RATE: Final = 0.2


@dataclass(frozen=True)
class SpikeTrains:
    """Spike times of several units, one after the other.

    Parameters
    ----------
    times : ndarray of shape (spike,)
        Seconds, grouped by unit.
    stops : ndarray of shape (unit,)
        Where each unit's spikes end in `times`.
    """

    times: Floats
    stops: Integers

    @property
    def counts(self) -> Integers:
        """Number of spikes of each unit."""
        return np.diff(self.stops, prepend=0)

    @property
    def owner(self) -> Integers:
        """Position of the unit that each spike belongs to."""
        return np.repeat(np.arange(self.stops.size, dtype=np.int64), self.counts)

    def select(self, keep: npt.NDArray[np.bool_]) -> SpikeTrains:
        """Return the trains of some units only."""
        return SpikeTrains(self.times[keep[self.owner]], np.cumsum(self.counts[keep]))


def check_spike_trains(
    trains: SpikeTrains, unit_ids: npt.NDArray[np.str_], *, times: TimesSpec, where: str
) -> tuple[SpikeTrains, int]:
    """Return spike trains in ascending seconds, or say what is wrong with them.

    Parameters
    ----------
    trains : SpikeTrains
        As they stand in the file.
    unit_ids : ndarray of shape (unit,)
        For the messages.
    times : TimesSpec
        Overrides: milliseconds, and whether to sort.
    where : str
        The file or subject, for the messages.

    Returns
    -------
    trains : SpikeTrains
        The same object where nothing had to change.
    sorted_units : int
        How many units had to be sorted.

    Raises
    ------
    DataError
        If stops do not partition the times, or times are not finite, absurd, or unsorted while
        the spec does not ask for sorting.

    Warns
    -----
    DataWarning
        If spikes lie before the session clock starts.
    """
    _check_partition(trains, unit_ids.size, where)
    values = trains.times
    bad = ~np.isfinite(values)
    if bad.any():
        unit = str(unit_ids[trains.owner[bad.argmax()]])
        raise DataError(
            f"{int(bad.sum())} spike times are not finite (NaN or infinite), the first in unit "
            f"{unit!r} of {where}; remove them from the file."
        )
    if times.spikes == "milliseconds":
        values = values / 1000.0
    _check_absurd(values, "spike times", where)
    trains = SpikeTrains(values, trains.stops)
    negative = int((values < 0).sum())
    if negative:
        _warn(
            f"{negative} spikes of {where} lie before the session clock starts (the earliest at "
            f"{values.min():.6g} s); fine if recording began before the clock did, otherwise "
            "spike times may be relative to trials, which they must not be."
        )
    return _sorted(trains, unit_ids, times=times, where=where)


def _check_partition(trains: SpikeTrains, n_units: int, where: str) -> None:
    stops = trains.stops
    fits = stops.size == n_units and (np.diff(stops, prepend=0) >= 0).all()
    last = int(stops[-1]) if stops.size else 0
    if not fits or last != trains.times.size:
        raise DataError(
            f"the index of spike times does not fit them: {stops.size} entries for {n_units} units "
            f"ending at {last} for {trains.times.size} spikes, in {where}; the file is damaged, "
            "write or copy it again."
        )


def _sorted(
    trains: SpikeTrains, unit_ids: npt.NDArray[np.str_], *, times: TimesSpec, where: str
) -> tuple[SpikeTrains, int]:
    falls = np.flatnonzero(np.diff(trains.times) < 0)
    owner = trains.owner
    falls = falls[owner[falls] == owner[falls + 1]] if falls.size else falls
    if not falls.size:
        return trains, 0
    units = np.unique(owner[falls])
    if not times.sort:
        raise DataError(
            f"spike times are not ascending in {units.size} of {unit_ids.size} units, the first "
            f"{str(unit_ids[units[0]])!r} of {where}; if only their order is wrong, put "
            "'times: {sort: true}' into the spec."
        )
    order = np.lexsort((trains.times, owner))
    return SpikeTrains(trains.times[order], trains.stops), int(units.size)


def check_trial_times(values: Floats, *, what: str, times: TimesSpec, where: str) -> Floats:
    """Return trial times in seconds, NaN where the file has none.

    Parameters
    ----------
    values : ndarray of shape (trial,)
        As they stand in the table.
    what : str
        The column, for the messages.
    times : TimesSpec
        Says whether they are milliseconds.
    where : str
        The file or subject, for the messages.

    Returns
    -------
    ndarray of shape (trial,)
        Seconds.

    Raises
    ------
    DataError
        If a time is infinite or absurd.
    """
    if np.isinf(values).any():
        raise DataError(f"trial times in column {what!r} of {where} are infinite; correct them.")
    seconds = values / 1000.0 if times.trials == "milliseconds" else values
    _check_absurd(seconds[np.isfinite(seconds)], f"trial times in column {what!r}", where)
    return seconds


def _check_absurd(seconds: Floats, what: str, where: str) -> None:
    if seconds.size and np.abs(seconds).max() > ABSURD_SECONDS:
        extreme = seconds[np.abs(seconds).argmax()]
        raise DataError(
            f"{what} of {where} reach {extreme:.4g} s, expected seconds since the session began; "
            "subtract the session's start if they count from 1970, or give their unit in the spec "
            "('times: {spikes: milliseconds}')."
        )


def check_clocks(
    trains: SpikeTrains, onset: Floats, stop: Floats, *, times: TimesSpec, where: str
) -> None:
    """Compare the clock of the spikes with that of the trials.

    Parameters
    ----------
    trains : SpikeTrains
        Seconds.
    onset, stop : ndarray of shape (trial,)
        Seconds; `stop` may be NaN.
    times : TimesSpec
        Units that a spec gives explicitly are believed.
    where : str
        The file or subject, for the messages.

    Raises
    ------
    DataError
        If there are no spikes, one of the clocks looks like milliseconds, no spike lies within
        the span of the trials, or most trials begin after the last spike.

    Warns
    -----
    DataWarning
        If trials lie before the first or after the last spike.
    """
    if not trains.times.size:
        raise DataError(f"no unit of {where} has any spike; expected spike times in seconds.")
    first, last = float(trains.times.min()), float(trains.times.max())
    begin = float(onset.min())
    end = float(np.nanmax(np.concatenate([onset, stop])))
    _check_milliseconds(trains, last - first, end - begin, times=times, where=where)
    if begin > last or end < first:
        raise DataError(
            f"no spike lies within the trials of {where}: spikes span {first:.6g} to {last:.6g} s, "
            f"trials {begin:.6g} to {end:.6g} s; both must be seconds on one session clock."
        )
    _check_coverage(onset, first, last, times=times, where=where)


def _check_coverage(
    onset: Floats, first: float, last: float, *, times: TimesSpec, where: str
) -> None:
    """Say how many trials lie outside what was recorded."""
    past, before = int((onset > last).sum()), int((onset < first).sum())
    found = f"{past} of {onset.size} trials of {where} begin after the last spike ({last:.6g} s)"
    if past > onset.size / 2 and "spikes" not in times.model_fields_set:
        raise DataError(
            f"{found}, as if spike times were relative to trials; expected seconds on the session "
            "clock. If the recording just ended early, leave those trials out through "
            "'trials: keep', or put 'times: {spikes: seconds}' into the spec."
        )
    if past:
        _warn(
            f"{found}: they will have no spikes. If the recording ended early, leave them out "
            "through 'trials: keep' in the spec."
        )
    # a first trial that begins at 0 s, before any unit had time to fire, is no news
    if before > 1:
        _warn(
            f"{before} of {onset.size} trials of {where} begin before the first spike "
            f"({first:.6g} s); check that the recording had started."
        )


def _check_milliseconds(
    trains: SpikeTrains, spikes_span: float, trials_span: float, *, times: TimesSpec, where: str
) -> None:
    if trials_span <= 0 or spikes_span <= 0:
        return
    rate = trains.times.size / max(int((trains.counts > 0).sum()), 1) / spikes_span
    if (
        "spikes" not in times.model_fields_set
        and spikes_span / trials_span > MILLISECOND_RATIO
        and rate < MILLISECOND_RATE
    ):
        raise DataError(
            f"spike times of {where} look like milliseconds: they span {spikes_span:.6g}, the "
            f"trials {trials_span:.6g} s; put 'times: {{spikes: milliseconds}}' into the spec, "
            "or 'times: {spikes: seconds}' if they are seconds."
        )
    if "trials" not in times.model_fields_set and trials_span / spikes_span > MILLISECOND_RATIO:
        raise DataError(
            f"trial times of {where} look like milliseconds: they span {trials_span:.6g}, the "
            f"spikes {spikes_span:.6g} s; put 'times: {{trials: milliseconds}}' into the spec, "
            "or 'times: {trials: seconds}' if they are seconds."
        )


def _warn(message: str) -> None:
    warnings.warn(message, DataWarning, stacklevel=3)
