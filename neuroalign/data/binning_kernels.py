"""Spikes checked and counted in one pass, compiled by numba; `counting` falls back on numpy.

Imported only where it is used, since importing numba takes a quarter of a second. Loops go over
trials in pieces: the counts of a few units in a few trials fill a small table that stays in the
cache, and rows of it are copied to where they belong, so that memory is written once, in order.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from typing import Any, Final, TypeVar, cast

import numpy as np
import numpy.typing as npt

numba: Any = import_module("numba")  # has types in some versions only
if numba.config.DISABLE_JIT:
    raise ImportError("numba was told to compile nothing; its loops would take hours in Python.")

OPTIONS: Final = {"nogil": True, "error_model": "numpy"}
UNITS_AT_ONCE: Final = 16
TABLE_CELLS: Final = 1 << 15  # of a table that stays in the cache
CHECKED_AT_ONCE: Final = 512
MOST_THREADS: Final = 4  # memory, not arithmetic, is the limit: more gain nothing
SPIKES_PER_THREAD: Final = 500_000  # below which starting a thread costs more than it saves

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Counts = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Function = TypeVar("Function", bound=Callable[..., Any])


def inner(function: Function) -> Function:
    """Let compiled code call a function; it is compiled, and kept, with what calls it."""
    return cast(Function, numba.njit(**OPTIONS)(function))


@inner
def ascends(times: Floats, start: int, stop: int) -> bool:
    """Say whether spikes `start` to `stop`, and the one before `start`, ascend; NaN do not."""
    later, earlier = times[start:stop], times[start - 1 : stop - 1]
    rises = 0
    for i in range(later.size):
        rises += later[i] >= earlier[i]
    return rises == later.size


@inner
def checked_until(times: Floats, start: int, stop: int, place: int, horizon: float) -> int:
    """Check a unit's spikes from `place` to beyond `horizon` (NaN: all); −1 if they do not ascend."""
    while place < stop and (place == start or not times[place - 1] >= horizon):
        ahead = min(place + CHECKED_AT_ONCE, stop)
        if not ascends(times, max(place, start + 1), ahead):
            return -1
        place = ahead
    return place


@inner
def first_from(times: Floats, place: int, stop: int, begin: float) -> int:
    """Find a unit's first spike that is not before `begin`, from `place` on."""
    if place < 0:  # never: told to the compiler, which then needs no care for negative places
        return 0
    while place + 16 <= stop and times[place + 15] < begin:
        place += 16
    if place + 16 > stop:
        while place < stop and times[place] < begin:
            place += 1
        return place
    before = 0
    for i in range(16):  # without a branch, since there is nothing to predict
        before += times[place + i] < begin
    return place + before


@inner
def fill_row(
    times: Floats,
    place: int,
    stop: int,
    edges: Floats,
    first_edge: int,
    bins: int,
    margin: float,
    table: Counts,
    row: int,
    most: int,
) -> bool:
    """Count a unit's spikes of one frame, from `place` on; False if a bin cannot hold them."""
    if place < 0 or first_edge < 0 or row < 0:  # never, as above
        return False
    begin, end = edges[first_edge], edges[first_edge + bins]
    per_second = bins / (end - begin)
    first = place
    while place < stop and times[place] < end:
        time = times[place]
        position = (time - begin) * per_second
        found = int(position)
        rest = position - found
        if not margin < rest < 1.0 - margin:
            # this near an edge the edges decide, as the rule says
            found = min(found, bins - 1)
            while time < edges[first_edge + found]:
                found -= 1
            while time >= edges[first_edge + found + 1]:
                found += 1
        table[row + found] += 1
        place += 1
    counted = place - first
    if counted <= most:
        return True
    # a bin that held more than it can began at zero again
    for k in range(row, row + bins):
        counted -= table[k]
    return counted == 0


def count_units(
    times: Floats,
    starts: Integers,
    stops: Integers,
    edges: Floats,
    order: Integers,
    bins: int,
    margin: float,
    first: int,
    last: int,
    most: int,
    counts: Counts,
) -> bool:
    """Count the spikes of units `first` to `last` into their part of `counts`.

    Parameters
    ----------
    times : ndarray of shape (spike,)
        Seconds.
    starts, stops : ndarray of shape (unit,)
        Where each unit's spikes lie in `times`.
    edges : ndarray of shape (trial * (bins + 1),)
        Of every trial's frame.
    order : ndarray of shape (trial,)
        Trials by the starts of their frames.
    bins : int
        Of a frame.
    margin : float
        How far edges lie from where arithmetic has them, in bins.
    first, last : int
        Units.
    most : int
        What a bin can hold.
    counts : ndarray of shape (trial * unit * bins,)
        Written in place.

    Returns
    -------
    bool
        False if spikes are not finite or do not ascend, or a bin cannot hold them; then what
        stands in `counts` means nothing.
    """
    trials, units, width = order.size, starts.size, last - first
    for unit in range(first, last):
        # between finite ends, what ascends is finite
        if starts[unit] < stops[unit] and not (
            np.isfinite(times[starts[unit]]) and np.isfinite(times[stops[unit] - 1])
        ):
            return False
    at_once = max(1, TABLE_CELLS // max(1, width * bins))
    table = np.zeros(min(at_once, max(1, trials)) * width * bins, counts.dtype)
    places, checked = starts[first:last].copy(), starts[first:last].copy()
    begin = 0
    while begin == 0 or begin < trials:
        end = min(begin + at_once, trials)
        horizon = edges[order[end - 1] * (bins + 1) + bins] if end < trials else np.nan
        for i in range(width):
            start, stop, place = starts[first + i], stops[first + i], places[i]
            checked[i] = checked_until(times, start, stop, checked[i], horizon)
            if checked[i] < 0:
                return False
            for j in range(begin, end):
                edge = order[j] * (bins + 1)
                place = first_from(times, place, stop, edges[edge])
                row = ((j - begin) * width + i) * bins
                if not fill_row(times, place, stop, edges, edge, bins, margin, table, row, most):
                    return False
            places[i] = place
        for j in range(begin, end):
            row = (order[j] * units + first) * bins
            source = table[(j - begin) * width * bins : (j - begin + 1) * width * bins]
            target = counts[row : row + width * bins]
            for k in range(target.size):
                target[k] = source[k]
            for k in range(source.size):
                source[k] = 0
        begin = max(end, 1)
    return True


@cache
def compiled(cells: str) -> Callable[..., bool]:
    """Return `count_units` compiled for counts of one type; numba keeps it in its folder.

    Parameters
    ----------
    cells : {"uint8", "uint16"}
        Type of the counts.
    """
    types = numba.types
    seconds, places = (
        types.Array(kind, 1, "C", readonly=True) for kind in (types.float64, types.int64)
    )
    whole, counts = types.int64, types.Array(getattr(types, cells), 1, "C")
    signature = types.boolean(
        seconds, places, places, seconds, places,
        whole, types.float64, whole, whole, whole, counts,
    )  # fmt: skip
    function: Callable[..., bool]
    try:
        function = numba.njit([signature], cache=True, **OPTIONS)(count_units)
    except Exception:  # noqa: BLE001  # no folder to write to, a full disk, a damaged file
        function = numba.njit([signature], **OPTIONS)(count_units)
    return function


def count_units_and_trials(
    times: Floats, kept: list[slice], others: list[slice], edges: Floats
) -> Counts | None:
    """Count the spikes of every unit in the bins of every trial's frame, if all is well.

    Parameters
    ----------
    times : ndarray of shape (spike,)
        Seconds.
    kept : list of slice
        Where each unit's spikes lie.
    others : list of slice
        Where the spikes of units lie that are not counted, and only checked.
    edges : ndarray of shape (trial, bins + 1)
        Seconds.

    Returns
    -------
    ndarray of shape (trial, unit, bins), or None
        uint8, or uint16 if a bin holds more than 255. None if times are not finite or do not
        ascend within a unit, or a bin holds more than 65535: the code that says what is wrong
        with them is another.

    Examples
    --------
    >>> import numpy as np
    >>> edges = np.array([[0.0, 0.5, 1.0]])
    >>> count_units_and_trials(np.array([0.1, 0.2, 0.5]), [slice(0, 3)], [], edges).tolist()
    [[[2, 1]]]
    """
    times = np.require(times, np.float64, ["C", "A"])
    nothing = np.empty(0)
    if not _fill(times, others, nothing, 0, 0.0, np.empty(0, dtype=np.uint8)):
        return None
    shape = (edges.shape[0], len(kept), edges.shape[1] - 1)
    margin = _margin(edges)
    small = np.zeros(shape, dtype=np.uint8)
    if _fill(times, kept, edges, shape[2], margin, small):
        return small
    del small  # before the next is made
    large = np.zeros(shape, dtype=np.uint16)
    return large if _fill(times, kept, edges, shape[2], margin, large) else None


def _margin(edges: Floats) -> float:
    """Say how far edges lie, in bins, from where the arithmetic of `fill_row` has them."""
    bins = edges.shape[1] - 1
    begin, end = edges[:, :1], edges[:, -1:]
    with np.errstate(all="ignore"):
        position = (edges - begin) * (bins / (end - begin))
    position -= np.arange(bins + 1)
    # a spike further than this from a whole number lies between the same two edges
    return float(np.abs(position).max(initial=0.0)) + 1e-12


def _fill(
    times: Floats, parts: list[slice], edges: Floats, bins: int, margin: float, counts: Counts
) -> bool:
    starts = np.array([part.start for part in parts], dtype=np.int64)
    stops = np.array([part.stop for part in parts], dtype=np.int64)
    begins = edges[:, 0] if bins else edges
    order = np.argsort(begins, kind="stable")
    count, most = compiled(counts.dtype.name), int(np.iinfo(counts.dtype).max)
    flat, cells = edges.ravel(), counts.reshape(-1)

    def count_some(first: int) -> bool:
        last = min(first + UNITS_AT_ONCE, len(parts))
        return count(times, starts, stops, flat, order, bins, margin, first, last, most, cells)

    firsts = range(0, len(parts), UNITS_AT_ONCE)
    threads = min(
        MOST_THREADS, numba.config.NUMBA_NUM_THREADS, len(firsts), times.size // SPIKES_PER_THREAD
    )
    if threads < 2:
        return all(map(count_some, firsts))
    with ThreadPoolExecutor(threads) as pool:
        return all(list(pool.map(count_some, firsts)))
