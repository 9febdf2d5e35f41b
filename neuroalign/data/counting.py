"""Spikes of one subject: found by unit, checked, and counted in the bins of frames.

There are two ways to the same counts: numpy, and compiled loops (`binning_kernels`), which are
several times as fast but take a second to load, and are used where that pays.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from neuroalign.errors import DataError
from neuroalign.schema import iterate_subjects

KERNELS: Final = "neuroalign.data.binning_kernels"
PIECE: Final = 1 << 16  # spikes that numpy looks at together
# what numpy takes on one core, for a spike and for a unit in a frame
SECONDS_PER_SPIKE: Final = 1e-8
SECONDS_PER_FRAME: Final = 6e-7
# work of numpy (seconds) from which loading compiled loops pays, by what numba has done before
WORTH_IMPORTING: Final = 1.0
WORTH_STARTING: Final = 0.5  # it was imported, as by pynapple, but compiled nothing yet
WORTH_LOADING: Final = 0.025
STARTED: Final = "numba.np.arrayobj"  # what numba imports when it first compiles
FloatArray = npt.NDArray[np.float64]
Counts = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True)
class UnitSpikes:
    """A subject's spike times, and where each unit's lie.

    Parameters
    ----------
    times : ndarray of shape (spike,)
        Seconds.
    starts, stops : ndarray of shape (stretch,)
        Of stretches of spikes of one unit.
    kept : list of slice
        Each unit's spikes, in the order of the units.
    others : list of slice
        Spikes of units that were dropped since reading.
    grouped : bool
        Whether every unit has one stretch only.
    """

    times: FloatArray
    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]
    kept: list[slice]
    others: list[slice]
    grouped: bool

    @property
    def span(self) -> tuple[float, float]:
        """First and last spike of all (seconds), if there are any and they ascend."""
        return float(self.times[self.starts].min()), float(self.times[self.stops - 1].max())


def find_spikes(data: xr.Dataset, subject: str) -> UnitSpikes:
    """Find every unit's spikes; units may have been selected or reordered since reading.

    Parameters
    ----------
    data : Dataset
        One subject's recording.
    subject : str
        Its name, for the message.

    Raises
    ------
    DataError
        If two units have one number.
    """
    numbers = np.asarray(data["unit_number"].values)
    if np.unique(numbers).size != numbers.size:
        raise DataError(f"unit_number must be unique, got duplicates for subject {subject!r}.")
    owner = np.asarray(data["spike_unit"].values)
    changes = [
        np.flatnonzero(owner[part][1:] != owner[part][:-1]) + part.start + 1
        for part in _pieces(owner.size)
    ]
    starts = np.concatenate([np.arange(min(1, owner.size)), *changes])
    stops = np.append(starts[1:], owner.size)[: starts.size]
    owners = owner[starts].tolist()
    found = {
        int(unit): slice(start, stop)
        for unit, start, stop in zip(owners, starts.tolist(), stops.tolist(), strict=True)
    }
    grouped = len(found) == starts.size
    kept = [found.pop(int(number), slice(0, 0)) for number in numbers]
    times = np.asarray(data["spike_time"].values, dtype=np.float64)
    return UnitSpikes(times, starts, stops, kept, list(found.values()), grouped)


def count_spikes(
    spikes: UnitSpikes, edges: FloatArray, subject: str, *, compiled: bool = False
) -> Counts:
    """Count every unit's spikes in every bin, after checking all of them.

    Parameters
    ----------
    spikes : UnitSpikes
        From `find_spikes`.
    edges : ndarray of shape (trial, bins + 1)
        Seconds.
    subject : str
        For the messages.
    compiled : bool
        Use compiled loops, if there are any.

    Returns
    -------
    ndarray of shape (trial, unit, bins)
        uint8, or uint16 if a bin holds more than 255.

    Raises
    ------
    DataError
        If spikes are not finite, not sorted within their unit or not grouped by unit, or a bin
        holds more than 65535.
    """
    kernels = load_kernels() if compiled and spikes.grouped else None
    if kernels is not None:
        counts: Counts | None = kernels.count_units_and_trials(
            spikes.times, spikes.kept, spikes.others, edges
        )
        if counts is not None:
            return counts
    # compiled loops only know that something is wrong; here it is said what
    _check_spikes(spikes, subject)
    return _count(spikes.times, spikes.kept, edges, subject)


def is_worth_compiling(recordings: xr.DataTree) -> bool:
    """Say whether compiled loops save more than it costs to load them.

    Parameters
    ----------
    recordings : DataTree
        Recording stage.
    """
    kernels = sys.modules.get(KERNELS)
    if kernels is not None and kernels.compiled.cache_info().currsize:
        return True
    seconds = sum(
        data.sizes["spike"] * SECONDS_PER_SPIKE
        + data.sizes["trial"] * data.sizes["unit"] * SECONDS_PER_FRAME
        for _, data in iterate_subjects(recordings)
    )
    if STARTED in sys.modules:
        return seconds > WORTH_LOADING
    return seconds > (WORTH_STARTING if "numba" in sys.modules else WORTH_IMPORTING)


@cache
def load_kernels() -> ModuleType | None:
    """Return the module of compiled loops, or nothing where numba is absent or broken."""
    try:
        from neuroalign.data import binning_kernels
    except (ImportError, OSError):  # the latter: a library that it needs cannot be loaded
        return None
    return binning_kernels


def _pieces(size: int) -> Iterator[slice]:
    """Cut into pieces that share their ends, so that nothing as large as all spikes is made."""
    for start in range(0, size, PIECE):
        yield slice(start, start + PIECE + 1)


def _check_spikes(spikes: UnitSpikes, subject: str) -> None:
    times = spikes.times
    if not all(np.isfinite(times[part]).all() for part in _pieces(times.size)):
        raise DataError(f"spike times must be finite (seconds), got others for {subject!r}.")
    for part in _pieces(times.size):
        falls = np.flatnonzero(times[part][1:] < times[part][:-1]) + part.start + 1
        if np.setdiff1d(falls, spikes.starts).size:
            raise DataError(
                f"spike times must ascend within each unit; they do not for {subject!r}."
            )
    if not spikes.grouped:
        raise DataError(f"spikes must be grouped by unit; they are not for subject {subject!r}.")


def _count(times: FloatArray, slices: list[slice], edges: FloatArray, subject: str) -> Counts:
    trials, bins = edges.shape[0], edges.shape[1] - 1
    counts: Any = np.zeros((trials, len(slices), bins), dtype=np.uint8)
    for unit, part in enumerate(slices):
        found = _count_unit(times[part], edges)
        most = int(found.max(initial=0))
        if most > np.iinfo(np.uint16).max:
            raise DataError(
                f"a bin holds {most} spikes of one unit for subject {subject!r}, more than 65535; "
                "are the spike times in seconds?"
            )
        if most > np.iinfo(np.uint8).max and counts.dtype == np.uint8:
            counts = counts.astype(np.uint16)
        counts[:, unit] = found
    return counts  # type: ignore[no-any-return]


def _count_unit(times: FloatArray, edges: FloatArray) -> npt.NDArray[np.int64]:
    """Count one unit's spikes (trial, bin); one unit at a time keeps the temporaries small."""
    trials, bins = edges.shape[0], edges.shape[1] - 1
    first = np.searchsorted(times, edges[:, 0])
    inside = np.searchsorted(times, edges[:, -1]) - first
    total = int(inside.sum())
    if total * 4 > edges.size:
        # the number of spikes before every edge costs the same however many spikes there are
        return np.diff(np.searchsorted(times, edges.ravel()).reshape(edges.shape), axis=1)
    # few spikes in many bins: look up the bin of each spike instead of the place of each edge
    trial = np.repeat(np.arange(trials), inside)
    spike = times[np.arange(total) + np.repeat(first - np.cumsum(inside) + inside, inside)]
    start = edges[trial, 0]
    share = (spike - start) / (edges[trial, -1] - start)
    guess = np.clip((share * bins).astype(np.int64), 0, bins - 1)
    # division may be off by one near an edge; the comparisons decide, as the rule says
    guess -= spike < edges[trial, guess]
    guess += spike >= edges[trial, guess + 1]
    return np.bincount(trial * bins + guess, minlength=trials * bins).reshape(trials, bins)
