"""Windows that slide over binned frames, stored as nothing but where they start."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroalign.data.binning import DIGITS, count_steps, resolve_seconds
from neuroalign.errors import DataError, DataWarning, ParameterError
from neuroalign.schema import map_subjects, validate

if TYPE_CHECKING:
    import xarray as xr


def slide_windows(
    binned: xr.DataTree, *, length: float | None = None, step: float | None = None
) -> xr.DataTree:
    """Say where the windows of every frame start; the counts are neither copied nor repeated.

    Bins that lie in no window stay unused, and nothing is reconstructed or imputed there (NaN):
    let the step divide the frame less one window.

    Parameters
    ----------
    binned : DataTree
        Binned stage (or windowed, to slide anew).
    length, step : float, optional
        Seconds; multiples of the bin width. The data spec's values if not given.

    Returns
    -------
    DataTree
        Windowed stage: the same `counts` (trial, unit, time), which share memory with the
        input's, and the coordinate `window`: each window's start in seconds after the frame's
        start; attributes `window_length` and `window_step` in seconds.

    Raises
    ------
    ParameterError
        If a value is neither given nor in the spec, is not positive, is no multiple of the bin
        width, or a window is longer than the frame.
    DataError
        If the data are not binned, or time has gaps.

    Warns
    -----
    DataWarning
        If bins lie in no window.

    Examples
    --------
    >>> from neuroalign.data.binning import bin_spikes
    >>> from neuroalign.data.simulate import simulate_recordings
    >>> recordings, _ = simulate_recordings(units={"mitt": 5}, trials=8, random_state=0)
    >>> binned = bin_spikes(recordings, frame_start=0.5, frame_length=0.25, bin_width=0.01)
    >>> windows = slide_windows(binned, length=0.1, step=0.05)
    >>> windows["mitt"]["window"].values
    array([0.  , 0.05, 0.1 , 0.15])
    """
    validate(binned, "binned", argument="binned")
    unused: dict[str, str] = {}

    def slide(subject: str, data: xr.Dataset) -> xr.Dataset:
        width = float(data.attrs["bin_width"])
        seconds = resolve_seconds(length, data, ("window", "length"), "length", subject)
        every = resolve_seconds(step, data, ("window", "step"), "step", subject)
        lags = count_steps(seconds, width, what="window length", of="bin_width")
        hop = count_steps(every, width, what="window step", of="bin_width")
        first, bins = _first_bin(data, width), data.sizes["time"]
        if lags > bins:
            raise ParameterError(
                f"windows must not be longer than the frame, got length = {seconds:g} s and a "
                f"frame of {bins * width:g} s for subject {subject!r}; pass a shorter length."
            )
        starts = first + np.arange(0, bins - lags + 1, hop)
        idle = _idle_bins(starts - first, lags, bins)
        if idle:
            unused[subject] = f"{idle} of the {bins}"
        bare = data.drop_dims("window") if "window" in data.dims else data
        return bare.assign_coords(
            window=("window", np.round(starts * width, DIGITS), {"units": "s"})
        ).assign_attrs(stage="windowed", window_length=seconds, window_step=every)

    windows = map_subjects(binned, slide)
    if unused:
        _warn_unused(unused)
    return windows


def _idle_bins(starts: npt.NDArray[np.int64], lags: int, bins: int) -> int:
    covered = np.zeros(bins, dtype=bool)
    covered[(starts[:, None] + np.arange(lags)).ravel()] = True
    return bins - int(covered.sum())


def _warn_unused(unused: dict[str, str]) -> None:
    listed = ", ".join(f"{count} of {subject!r}" for subject, count in unused.items())
    warnings.warn(
        f"bins that lie in no window: {listed}. The model does not see them, and nothing is "
        "reconstructed or imputed there (NaN); choose a step that divides the frame's length "
        "less one window, or a shorter frame.",
        DataWarning,
        stacklevel=3,
    )


def lags_per_window(dataset: xr.Dataset) -> int:
    """Return how many bins a window of this subject spans.

    Parameters
    ----------
    dataset : Dataset
        One subject's windowed data.

    Raises
    ------
    DataError
        If the data have no windows.
    """
    _require_windows(dataset)
    length, width = float(dataset.attrs["window_length"]), float(dataset.attrs["bin_width"])
    return count_steps(length, width, what="window_length", of="bin_width")


def window_starts(dataset: xr.Dataset) -> npt.NDArray[np.int64]:
    """Return every window's first bin, as a position on the time axis of `counts`.

    Parameters
    ----------
    dataset : Dataset
        One subject's windowed data.

    Returns
    -------
    ndarray of shape (window,)
        Positions in `time`.

    Raises
    ------
    DataError
        If the data have no windows, or time was cut after they were made, so that a window
        reaches beyond it.
    """
    lags, width = lags_per_window(dataset), float(dataset.attrs["bin_width"])
    windows = np.asarray(dataset["window"].values, dtype=np.float64)
    starts = np.rint(windows / width).astype(np.int64) - _first_bin(dataset, width)
    if starts.size and (starts.min() < 0 or starts.max() + lags > dataset.sizes["time"]):
        raise DataError(
            f"windows reach beyond the {dataset.sizes['time']} bins of time{_where(dataset)}: time "
            "was selected after the windows were made; call slide_windows again."
        )
    return starts


def window_view(dataset: xr.Dataset) -> npt.NDArray[np.unsignedinteger]:
    """Look at the counts window by window, without copying them.

    Parameters
    ----------
    dataset : Dataset
        One subject's windowed data.

    Returns
    -------
    ndarray of shape (trial, window, unit, lag)
        Counts; a read-only view that shares memory with `dataset["counts"]`.

    Raises
    ------
    DataError
        If the data have no windows, the windows no longer fit the time axis, or they are not
        evenly spaced (no view can show those).

    Examples
    --------
    >>> import xarray as xr
    >>> counts = np.arange(4, dtype=np.uint8).reshape(1, 1, 4)
    >>> subject = xr.Dataset(
    ...     {"counts": (("trial", "unit", "time"), counts)},
    ...     coords={"time": [0.05, 0.15, 0.25, 0.35], "window": [0.0, 0.1, 0.2]},
    ...     attrs={"stage": "windowed", "bin_width": 0.1, "window_length": 0.2},
    ... )
    >>> window_view(subject)[0, :, 0]
    array([[0, 1],
           [1, 2],
           [2, 3]], dtype=uint8)
    """
    lags, starts = lags_per_window(dataset), window_starts(dataset)
    hops = np.unique(np.diff(starts))
    if hops.size > 1 or (hops.size and hops[0] < 1):
        raise DataError(
            f"expected evenly spaced windows, got steps of {hops.tolist()} bins{_where(dataset)}; "
            "select windows by a slice, or call slide_windows again."
        )
    every = np.lib.stride_tricks.sliding_window_view(dataset["counts"].values, lags, axis=2)
    if starts.size:
        hop = int(hops[0]) if hops.size else 1
        every = every[:, :, int(starts[0]) : int(starts[-1]) + 1 : hop]
    else:
        every = every[:, :, :0]
    return every.transpose(0, 2, 1, 3)


def _first_bin(dataset: xr.Dataset, width: float) -> int:
    """Return how many bins after the frame's start the time axis begins, checking for gaps."""
    bins = np.rint(np.asarray(dataset["time"].values) / width - 0.5).astype(np.int64)
    if not bins.size or (np.diff(bins) != 1).any():
        raise DataError(
            f"expected time without gaps in steps of {width:g} s{_where(dataset)}, got "
            f"{'gaps' if bins.size else 'no bins'}; select time by a slice."
        )
    return int(bins[0])


def _require_windows(dataset: xr.Dataset) -> None:
    if "window" not in dataset.coords or "window_length" not in dataset.attrs:
        raise DataError(
            f"expected windowed data (made by slide_windows), got "
            f"{dataset.attrs.get('stage', 'data without a stage')}{_where(dataset)}."
        )


def _where(dataset: xr.Dataset) -> str:
    subject = dataset.attrs.get("subject")
    return f" for subject {subject!r}" if subject else ""
