"""Windows from before the onset, in which a response cannot be."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

import numpy as np

from neuroalign.data.binning import DIGITS, as_seconds, bin_spikes, resolve_seconds
from neuroalign.data.windows import slide_windows
from neuroalign.errors import DataWarning, ParameterError
from neuroalign.schema import iterate_subjects, validate

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["before_onset"]

TOLERANCE: Final = 1e-6  # seconds; clocks are written with rounding errors


def before_onset(
    recordings: xr.DataTree,
    *,
    gap: float = 0.0,
    frame_length: float | None = None,
    bin_width: float | None = None,
    window_length: float | None = None,
    window_step: float | None = None,
) -> xr.DataTree:
    """Cut the windows of a frame as long as the analysed one that ends at every trial's onset.

    What is decoded there was there before the stimulus: expectation, what the previous trial left
    behind, or drift of the recording, but no response. In a task whose trials follow an order
    the previous trial tells the next label, and accuracy above chance is no error then.
    `split_trials` with the same seed gives these data the same training and test trials.

    Parameters
    ----------
    recordings : DataTree
        Recording stage.
    gap : float
        Seconds between the frame's end and the onset.
    frame_length, bin_width, window_length, window_step : float, optional
        Seconds; the data spec's values if not given, as in `bin_spikes` and `slide_windows`.

    Returns
    -------
    DataTree
        Windowed stage, `counts(trial, unit, time)` with `frame_stop` = -`gap`.

    Raises
    ------
    ParameterError
        If `gap` is negative, or as `bin_spikes` and `slide_windows`.
    DataError
        As `bin_spikes`.

    Warns
    -----
    DataWarning
        If frames begin before the stop of the trial before, so that they may hold its response;
        only trials that are in `recordings` are looked at. Or as `bin_spikes`.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8}, trials=24, random_state=0)
    >>> windows = before_onset(recordings, gap=0.05)
    >>> windows["ada"].attrs["frame_start"], windows["ada"].attrs["frame_stop"]
    (-0.3, -0.05)
    """
    validate(recordings, "recording", argument="recordings")
    apart = as_seconds(gap, "gap")
    if apart < 0:
        raise ParameterError(f"gap must not be negative (seconds before the onset), got {apart:g}.")
    starts: dict[str, float] = {}
    for subject, data in iterate_subjects(recordings):
        path = ("frame", "length")
        length = resolve_seconds(frame_length, data, path, "frame_length", subject)
        starts[subject] = round(-(length + apart), DIGITS)
        _warn_of_previous_trials(data, subject, starts[subject])
    binned = bin_spikes(
        recordings, frame_start=starts, frame_length=frame_length, bin_width=bin_width
    )
    return slide_windows(binned, length=window_length, step=window_step)


def _warn_of_previous_trials(data: xr.Dataset, subject: str, start: float) -> None:
    order = np.argsort(data["onset"].values, kind="stable")
    begins = data["onset"].values[order][1:] + start
    early = data["stop"].values[order][:-1] - begins  # a stop that is not known compares as False
    reaching = int((early > TOLERANCE).sum())
    if reaching:
        warnings.warn(
            f"the frames of {reaching} trials of subject {subject!r} begin before the stop of the "
            f"trial before (by up to {np.nanmax(early):g} s): they may hold its response. Shorten "
            "the frame or the gap, or leave those trials out.",
            DataWarning,
            stacklevel=3,
        )
