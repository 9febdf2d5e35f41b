"""Spike times to counts in bins of every trial's frame.

The float rule: the edges of a frame are `frame_edges`, sums rounded to the nanosecond, and a
spike belongs to bin `k` when `edge[k] <= time < edge[k + 1]`. Spike times themselves are
compared as they are. Rounding gives back the number that a person would write (0.3 rather than
0.30000000000000004), so a spike that lies on an edge counts in the later bin, also at session
times of a million seconds, where floats are still ten times finer than a nanosecond.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from neuroalign.data.frames import warn_about_frames
from neuroalign.data.notes import add_note
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import map_subjects, validate

DIGITS: Final = 9  # nanoseconds
DEFAULT: Final = "default"
FloatArray = npt.NDArray[np.float64]


def count_steps(length: float, step: float, *, what: str, of: str) -> int:
    """Say how many steps make up a length, which must be a whole number of them.

    Parameters
    ----------
    length, step : float
        In seconds.
    what, of : str
        Names of the two, for the message.

    Raises
    ------
    ParameterError
        If one of them is not a positive number, or `length` is no multiple of `step`.

    Examples
    --------
    >>> count_steps(0.3, 0.1, what="frame_length", of="bin_width")
    3
    """
    for name, value in ((what, length), (of, step)):
        if not np.isfinite(value) or value <= 0:
            raise ParameterError(f"{name} must be positive (seconds), got {value}.")
    number = round(length / step)
    # 0.3 / 0.1 is 2.9999999999999996: compare with a tolerance far below a bin
    if number < 1 or abs(number * step - length) > 1e-6 * step:
        lower = max(1, int(length / step))
        raise ParameterError(
            f"{what} must be a multiple of {of}, got {what} = {length:g} s and {of} = {step:g} s; "
            f"the nearest that fit are {lower * step:g} and {(lower + 1) * step:g} s."
        )
    return number


def frame_edges(
    onset: npt.ArrayLike, *, frame_start: float, bins: int, bin_width: float
) -> FloatArray:
    """Return the bin edges of every trial's frame on the session clock.

    Parameters
    ----------
    onset : array of shape (trial,)
        Seconds.
    frame_start : float
        Seconds after onset.
    bins : int
        Number of bins in a frame.
    bin_width : float
        Seconds.

    Returns
    -------
    ndarray of shape (trial, bins + 1)
        Seconds, rounded to the nanosecond.

    Examples
    --------
    >>> frame_edges([0.1], frame_start=0.2, bins=2, bin_width=0.01)
    array([[0.3 , 0.31, 0.32]])
    """
    offsets = np.round(frame_start + np.arange(bins + 1) * bin_width, DIGITS)
    return np.round(np.asarray(onset, dtype=np.float64)[:, None] + offsets, DIGITS)


def bin_spikes(
    recordings: xr.DataTree,
    *,
    frame_start: float | Mapping[str, float] | None = None,
    frame_length: float | None = None,
    bin_width: float | None = None,
) -> xr.DataTree:
    """Count every unit's spikes in the bins of every trial's frame.

    A frame starts `frame_start` seconds after the trial's onset. Frames of different trials may
    overlap, with a warning; a spike then counts in each. Frames that reach beyond the subject's first or last
    spike are kept, and noted in the attribute `notes`.

    Parameters
    ----------
    recordings : DataTree
        Recording stage.
    frame_start : float or mapping, optional
        Seconds after onset, one number for all or one per subject, where ``"default"`` stands
        for the subjects that are not named. The data spec's value if not given.
    frame_length, bin_width : float, optional
        Seconds; the length must be a multiple of the width. The data spec's if not given.

    Returns
    -------
    DataTree
        Binned stage: `counts` (trial, unit, time) as uint8, or uint16 for a subject with a count
        above 255; `time` is each bin's centre in seconds after the frame's start; attributes
        `bin_width`, and `frame_start` and `frame_stop` in seconds after onset.

    Warns
    -----
    DataWarning
        If frames of a subject's trials overlap, or end after their trial's stop.

    Raises
    ------
    ParameterError
        If a value is neither given nor in the spec, is not positive, the frame is no multiple of
        the bin, or `frame_start` names no or unknown subjects.
    DataError
        If the recordings are not what the recording stage promises: onsets that are not finite,
        spikes that are not sorted within their unit, unit numbers that occur twice.

    Examples
    --------
    >>> from neuroalign.data.simulate import simulate_recordings
    >>> recordings, _ = simulate_recordings(units={"mitt": 5}, trials=8, random_state=0)
    >>> binned = bin_spikes(recordings, frame_start=0.5, frame_length=0.25, bin_width=0.01)
    >>> dict(binned["mitt"]["counts"].isel(trial=slice(8)).sizes)
    {'trial': 8, 'unit': 5, 'time': 25}
    """
    validate(recordings, "recording", argument="recordings")
    if isinstance(frame_start, Mapping):
        check_start_names(frame_start, list(recordings.children))

    def bin_subject(subject: str, data: xr.Dataset) -> xr.Dataset:
        width = resolve_seconds(bin_width, data, ("bin_width",), "bin_width", subject)
        if 0 < width < 1e-6:
            raise ParameterError(
                f"bin_width must be at least a microsecond, got {width:g}; is it in seconds?"
            )
        length = resolve_seconds(frame_length, data, ("frame", "length"), "frame_length", subject)
        bins = count_steps(length, width, what="frame_length", of="bin_width")
        start = _resolve_start(frame_start, data, subject)
        binned = _bin_subject(data, subject, start=start, bins=bins, width=width)
        warn_about_frames(data, subject, start=start, length=length)
        return binned

    return map_subjects(recordings, bin_subject)


def spec_value(data: xr.Dataset, path: tuple[str, ...]) -> Any:
    """Return one entry of the data spec that a subject's Dataset carries, or None without one."""
    text = data.attrs.get("spec")
    value: Any = json.loads(text) if text else None
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def resolve_seconds(
    given: float | None, data: xr.Dataset, path: tuple[str, ...], argument: str, subject: str
) -> float:
    """Return the argument if it was given, else the data spec's entry, else complain."""
    value = spec_value(data, path) if given is None else given
    if value is None:
        raise ParameterError(
            f"expected {argument} (seconds), got none: subject {subject!r} carries no data spec "
            f"with {'.'.join(path)}; pass {argument}=..."
        )
    return as_seconds(value, argument)


def as_seconds(value: Any, argument: str) -> float:
    """Return a number of seconds, refusing what is no finite number."""
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        raise ParameterError(f"{argument} must be a number (seconds), got {value!r}.")
    if not np.isfinite(value):
        raise ParameterError(f"{argument} must be finite (seconds), got {value}.")
    return float(value)


def check_start_names(frame_start: Mapping[str, float], subjects: list[str]) -> None:
    """Refuse a mapping that names subjects which are not there."""
    unknown = [name for name in frame_start if name != DEFAULT and name not in subjects]
    if unknown:
        raise ParameterError(
            f"frame_start names {', '.join(map(repr, unknown))}, but the subjects are "
            f"{', '.join(map(repr, subjects))}."
        )


def _resolve_start(
    given: float | Mapping[str, float] | None, data: xr.Dataset, subject: str
) -> float:
    value: Any = spec_value(data, ("frame", "start")) if given is None else given
    if isinstance(value, Mapping):
        named = value.get(subject, value.get(DEFAULT))
        if named is None:
            raise ParameterError(
                f"frame_start has no entry for subject {subject!r} and no {DEFAULT!r}; add one."
            )
        value = named
    if value is None:
        raise ParameterError(
            f"expected frame_start (seconds after onset), got none: subject {subject!r} carries no "
            "data spec with frame.start; pass frame_start=..."
        )
    return as_seconds(value, "frame_start")


def _bin_subject(
    data: xr.Dataset, subject: str, *, start: float, bins: int, width: float
) -> xr.Dataset:
    onset = np.asarray(data["onset"].values, dtype=np.float64)
    if not np.isfinite(onset).all():
        raise DataError(
            f"onsets must be finite (seconds), got {int((~np.isfinite(onset)).sum())} that are "
            f"not for subject {subject!r}; drop those trials first."
        )
    edges = frame_edges(onset, frame_start=start, bins=bins, bin_width=width)
    times = np.asarray(data["spike_time"].values, dtype=np.float64)
    slices = _unit_slices(data, times, subject)
    coords = {
        name: coord for name, coord in data.coords.items() if set(coord.dims) <= {"trial", "unit"}
    }
    centres = np.round((np.arange(bins) + 0.5) * width, DIGITS)
    binned = xr.Dataset(
        {"counts": (("trial", "unit", "time"), _count(times, slices, edges, subject))},
        coords={**coords, "time": ("time", centres, {"units": "s"})},
        attrs={
            **data.attrs,
            "stage": "binned",
            "subject": subject,
            "bin_width": width,
            "frame_start": start,
            "frame_stop": round(start + bins * width, DIGITS),
        },
    )
    binned["counts"].attrs["units"] = "spikes"
    return _note_outside(binned, edges, times)


def _unit_slices(data: xr.Dataset, times: FloatArray, subject: str) -> list[slice]:
    """Find every unit's spikes; units may have been selected or reordered since reading."""
    numbers = np.asarray(data["unit_number"].values)
    if np.unique(numbers).size != numbers.size:
        raise DataError(f"unit_number must be unique, got duplicates for subject {subject!r}.")
    owner = np.asarray(data["spike_unit"].values)
    bounds = np.flatnonzero(np.diff(owner)) + 1
    if not np.isfinite(times).all():
        raise DataError(f"spike times must be finite (seconds), got others for {subject!r}.")
    falls = np.flatnonzero(np.diff(times) < 0) + 1
    if np.setdiff1d(falls, bounds).size:
        raise DataError(f"spike times must ascend within each unit; they do not for {subject!r}.")
    starts = np.concatenate(([0], bounds)) if owner.size else np.empty(0, dtype=np.int64)
    stops = np.concatenate((bounds, [owner.size])) if owner.size else starts
    if np.unique(owner[starts]).size != starts.size:
        raise DataError(f"spikes must be grouped by unit; they are not for subject {subject!r}.")
    found = {int(owner[a]): slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True)}
    return [found.get(int(number), slice(0, 0)) for number in numbers]


def _count(
    times: FloatArray, slices: list[slice], edges: FloatArray, subject: str
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
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


def _note_outside(binned: xr.Dataset, edges: FloatArray, times: FloatArray) -> xr.Dataset:
    if not times.size:
        return binned
    outside = int(((edges[:, 0] > times.max()) | (edges[:, -1] < times.min())).sum())
    if not outside:
        return binned
    return add_note(
        binned,
        what="frames without recording",
        count=outside,
        why="kept, although they lie wholly before the first or after the last spike",
    )
