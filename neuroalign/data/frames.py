"""Frames that leave their trial or reach into the next one: allowed, and never in silence."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from neuroalign.errors import DataWarning

TOLERANCE = 1e-6  # seconds; clocks are written with rounding errors


def warn_about_frames(data: xr.Dataset, subject: str, *, start: float, length: float) -> None:
    """Warn when frames share spikes with another trial's, or pass the end of their trial.

    Parameters
    ----------
    data : Dataset
        One subject's recording.
    subject : str
        Its name, for the message.
    start, length : float
        The frame, seconds after onset and seconds.

    Warns
    -----
    DataWarning
        If frames of different trials overlap, since splitting by whole trials then does not
        keep test spikes out of training; or if frames end after their trial's stop.
    """
    onset = np.sort(np.asarray(data["onset"].values, dtype=float))
    overlapping = int((np.diff(onset) < length - TOLERANCE).sum())
    if overlapping:
        warnings.warn(
            f"the frames of {overlapping} trials of subject {subject!r} reach into the next "
            f"trial's frame (frames of {length:g} s, onsets as close as {np.diff(onset).min():g} s): "
            "they share spikes, so held-out trials are not independent of training trials. "
            "Shorten the frame, or leave out trials.",
            DataWarning,
            stacklevel=3,
        )
    late = data["onset"].values + start + length - data["stop"].values
    passing = int((late > TOLERANCE).sum())  # a stop that is not known compares as False
    if passing:
        warnings.warn(
            f"the frames of {passing} of {late.size} trials of subject {subject!r} end after the "
            f"trial's stop (by up to {np.nanmax(late):g} s); set frame start and length to lie "
            "inside the trial if nothing was recorded afterwards.",
            DataWarning,
            stacklevel=3,
        )
