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

from neuroalign.data.counting import UnitSpikes, count_spikes, find_spikes, is_worth_compiling
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

    Much is counted by loops that numba compiles, with the same result: from about forty million
    spikes on, since loading the loops takes a second (and four seconds the first time, when they
    are compiled and kept beside the package or in numba's own folder), or from about one million
    where other code, such as pynapple's, had numba compile something before. They use up to four
    threads; the environment variable `NUMBA_NUM_THREADS` allows fewer.

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

    compiled = is_worth_compiling(recordings)

    def bin_subject(subject: str, data: xr.Dataset) -> xr.Dataset:
        width = resolve_seconds(bin_width, data, ("bin_width",), "bin_width", subject)
        if 0 < width < 1e-6:
            raise ParameterError(
                f"bin_width must be at least a microsecond, got {width:g}; is it in seconds?"
            )
        length = resolve_seconds(frame_length, data, ("frame", "length"), "frame_length", subject)
        bins = count_steps(length, width, what="frame_length", of="bin_width")
        start = _resolve_start(frame_start, data, subject)
        binned = _bin_subject(data, subject, start=start, bins=bins, width=width, compiled=compiled)
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
    data: xr.Dataset, subject: str, *, start: float, bins: int, width: float, compiled: bool
) -> xr.Dataset:
    onset = np.asarray(data["onset"].values, dtype=np.float64)
    if not np.isfinite(onset).all():
        raise DataError(
            f"onsets must be finite (seconds), got {int((~np.isfinite(onset)).sum())} that are "
            f"not for subject {subject!r}; drop those trials first."
        )
    edges = frame_edges(onset, frame_start=start, bins=bins, bin_width=width)
    spikes = find_spikes(data, subject)
    counts = count_spikes(spikes, edges, subject, compiled=compiled)
    coords = {
        name: coord for name, coord in data.coords.items() if set(coord.dims) <= {"trial", "unit"}
    }
    centres = np.round((np.arange(bins) + 0.5) * width, DIGITS)
    binned = xr.Dataset(
        {"counts": (("trial", "unit", "time"), counts)},
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
    return _note_outside(binned, edges, spikes)


def _note_outside(binned: xr.Dataset, edges: FloatArray, spikes: UnitSpikes) -> xr.Dataset:
    if not spikes.times.size:
        return binned
    first, last = spikes.span
    outside = int(((edges[:, 0] > last) | (edges[:, -1] < first)).sum())
    if not outside:
        return binned
    return add_note(
        binned,
        what="frames without recording",
        count=outside,
        why="kept, although they lie wholly before the first or after the last spike",
    )
