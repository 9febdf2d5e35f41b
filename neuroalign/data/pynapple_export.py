"""Recordings and latents as pynapple's objects; see `pynapple_sessions` for what it does to times."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from neuroalign.data.pynapple_sessions import STOP, TOUCH, import_pynapple
from neuroalign.errors import DataError
from neuroalign.schema import iterate_subjects, trial_labels, validate

Floats = npt.NDArray[np.float64]


def to_pynapple(
    recordings: xr.DataTree, *, around: tuple[float, float] | None = None
) -> dict[str, tuple[Any, Any]]:
    """Turn recordings into a pynapple `TsGroup` and an `IntervalSet` of trials per subject.

    Parameters
    ----------
    recordings : DataTree
        Recording stage.
    around : (float, float), optional
        Seconds before (negative) and after the onset that an interval spans; by default a trial
        lasts from its `start` to its `stop`.

    Returns
    -------
    dict
        Subject to `(spikes, trials)`. The keys of `spikes` are `unit_number`; its metadata are
        `unit` and the columns of the units (one called `rate`, pynapple's own, as `unit_rate`);
        its time support is the whole session. The metadata of `trials` are `trial`, `onset`, the
        labels and, where trials follow each other without a pause, `stop_time`: pynapple ends
        those intervals a microsecond early. Trials are in the order of their starts.

    Raises
    ------
    DataError
        If the trials of a subject have no end, have no length, or overlap: pynapple would join
        or drop them. `around` then gives intervals that fit.
    ImportError
        If pynapple is not installed.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 4}, trials=20, random_state=0)
    >>> spikes, trials = na.to_pynapple(recordings)["ada"]
    >>> len(spikes), len(trials) == recordings["ada"].sizes["trial"], trials.metadata_columns[:3]
    (4, True, ['trial', 'onset', 'odor'])
    >>> again = na.from_pynapple({"ada": (spikes, trials)})
    >>> bool((again["ada"]["spike_time"] == recordings["ada"]["spike_time"]).all())
    True
    """
    validate(recordings, "recording", argument="recordings")
    pynapple = import_pynapple("to_pynapple")
    sessions = {}
    for name, data in iterate_subjects(recordings):
        trials = _trial_intervals(data, around, pynapple, name)
        sessions[name] = (_ts_group(data, trials, pynapple, name), trials)
    return sessions


def _trial_intervals(
    data: xr.Dataset, around: tuple[float, float] | None, pynapple: Any, subject: str
) -> Any:
    onset = data["onset"].values.astype(np.float64)
    if around is None:
        first, last = data["start"].values, data["stop"].values
    else:
        first, last = np.round(onset + around[0], 9), np.round(onset + around[1], 9)
    order = np.argsort(first, kind="stable")
    metadata = {"trial": data["trial"].values, "onset": onset}
    metadata |= {name: data[name].values for name in trial_labels(data)}
    return interval_set(
        first[order],
        last[order],
        {name: values[order] for name, values in metadata.items()},
        pynapple,
        what="trials",
        subject=subject,
        remedy="pass around=(-0.5, 1.0), or other seconds around the onset that fit.",
    )


def interval_set(
    first: Floats,
    last: Floats,
    metadata: Mapping[str, npt.NDArray[Any]],
    pynapple: Any,
    *,
    what: str,
    subject: str,
    remedy: str,
) -> Any:
    """Make an `IntervalSet` that holds exactly the intervals given, or say why there is none.

    Parameters
    ----------
    first, last : ndarray of shape (interval,)
        Seconds, in ascending order of `first`.
    metadata : mapping
        Name to values; gains `stop_time` where intervals touch.
    pynapple : module
        The library.
    what, subject, remedy : str
        For the messages.

    Raises
    ------
    DataError
        If an interval has no end or no length, or two overlap.
    """
    endless = ~np.isfinite(first) | ~np.isfinite(last)
    if endless.any():
        raise DataError(
            f"{int(endless.sum())} of {first.size} {what} of subject {subject!r} have no start or "
            f"end, which an IntervalSet needs; {remedy}"
        )
    if (last <= first).any():
        raise DataError(
            f"{int((last <= first).sum())} of {first.size} {what} of subject {subject!r} have no "
            f"length, and pynapple would drop them; {remedy}"
        )
    overlapping = np.flatnonzero(first[1:] < last[:-1])
    if overlapping.size:
        at = int(overlapping[0])
        raise DataError(
            f"{overlapping.size} of {first.size} {what} of subject {subject!r} begin before the "
            f"one before has ended (the first at {first[at + 1]:.6g} s), and pynapple would join "
            f"them; {remedy}"
        )
    kept = dict(metadata)
    if (first[1:] == last[:-1]).any():
        kept[STOP] = last
    with warnings.catch_warnings():  # names with a space, and the microsecond
        warnings.simplefilter("ignore", UserWarning)
        made = pynapple.IntervalSet(start=first, end=last, metadata=kept)
    same = len(made) == first.size and np.abs(made.end - last).max(initial=0.0) < TOUCH
    if not same or set(made.metadata_columns) != set(kept):
        raise DataError(
            f"pynapple changed the {what} of subject {subject!r}: {len(made)} of {first.size} are "
            f"left with {', '.join(made.metadata_columns) or 'no'} metadata; {remedy}"
        )
    return made


def _ts_group(data: xr.Dataset, trials: Any, pynapple: Any, subject: str) -> Any:
    # pynapple sorts keys, and older versions (0.8, 0.9) leave the metadata behind
    data = data.isel(unit=np.argsort(data["unit_number"].values, kind="stable"))
    times = data["spike_time"].values.astype(np.float64)
    owner, numbers = data["spike_unit"].values, data["unit_number"].values
    ends = [*times[:1], trials.start[0], trials.end[-1]]
    first, last = min(times.min(initial=np.inf), *ends), max(times.max(initial=-np.inf), *ends)
    support = pynapple.IntervalSet(float(first), float(last))
    units = {
        "unit_rate" if name == "rate" else str(name): coord.values
        for name, coord in data.coords.items()
        if coord.dims == ("unit",) and name != "unit_number"
    }
    with warnings.catch_warnings():  # names with a space
        warnings.simplefilter("ignore", UserWarning)
        trains = {
            int(number): pynapple.Ts(times[owner == number], time_support=support)
            for number in numbers
        }
        group = pynapple.TsGroup(trains, time_support=support, metadata=units)
    kept = sum(len(group[int(number)]) for number in numbers)
    known = int(np.isin(owner, numbers).sum())
    if kept != known:
        raise DataError(f"pynapple kept {kept} of {known} spikes of subject {subject!r}.")
    return group


def latents_to_pynapple(
    latents: xr.DataTree, windows: xr.DataTree | None = None, *, variable: str = "mean"
) -> dict[str, tuple[Any, Any]]:
    """Put latents back on the session clock, as a pynapple `TsdFrame` per subject.

    Parameters
    ----------
    latents : DataTree
        Latents stage.
    windows : DataTree, optional
        The windowed counts that the latents were made from, whose frames and windows say when
        each latent was; needed where the latents do not carry `frame_start` and `window_length`
        (those of `SharedLatentModel` and of `latents_from_arrays` do).
    variable : str, default="mean"
        Variable with dims (trial, window, latent): `"mean"`, or `"scale"` where there is one.

    Returns
    -------
    dict
        Subject to `(values, frames)`. `values` is a `TsdFrame` with a row at the centre of every
        window and a column per latent; its time support is `frames`, an `IntervalSet` from the
        start of a trial's first window to the end of its last, with the metadata `trial`, the
        labels and, where frames follow each other without a pause, `stop_time`.

    Raises
    ------
    DataError
        If the session clock is not known (no onsets, or no frame), or frames overlap, so that
        no single time course exists.
    ImportError
        If pynapple is not installed.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 6}, trials=20, random_state=0)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> latents = na.PrincipalComponents(2).fit(windows, label="odor").transform(windows)
    >>> values, frames = na.latents_to_pynapple(latents, windows)["ada"]
    >>> values.shape[1], len(frames) == windows["ada"].sizes["trial"]
    (2, True)
    """
    validate(latents, "latents", argument="latents")
    pynapple = import_pynapple("latents_to_pynapple")
    return {
        name: _on_the_clock(data, windows, variable, pynapple, name)
        for name, data in iterate_subjects(latents)
    }


def _on_the_clock(
    data: xr.Dataset, windows: xr.DataTree | None, variable: str, pynapple: Any, subject: str
) -> tuple[Any, Any]:
    if variable not in data or data[variable].dims != ("trial", "window", "latent"):
        raise DataError(
            f"the latents of subject {subject!r} have no variable {variable!r} with dims "
            f"(trial, window, latent); they have: {', '.join(map(str, data.data_vars))}."
        )
    onset, frame_start, length = _clock(data, windows, subject)
    order = np.argsort(onset, kind="stable")
    ordered = data.isel(trial=order)
    begin = onset[order, None] + frame_start + data["window"].values
    metadata = {"trial": ordered["trial"].values}
    frames = interval_set(
        np.round(begin[:, 0], 9),
        np.round(begin[:, -1] + length, 9),
        metadata | {label: ordered[label].values for label in trial_labels(ordered)},
        pynapple,
        what="frames",
        subject=subject,
        remedy="shorten the frame, or leave out trials.",
    )
    named = data["latent"].values if "latent" in data.coords else range(data.sizes["latent"])
    values = pynapple.TsdFrame(
        t=np.round(begin + length / 2, 9).ravel(),
        d=ordered[variable].values.reshape(-1, data.sizes["latent"]),
        columns=[str(latent) for latent in named],
        time_support=frames,
    )
    return values, frames


def _clock(
    data: xr.Dataset, windows: xr.DataTree | None, subject: str
) -> tuple[Floats, float, float]:
    """Find a subject's onsets, and when frames begin and how long windows are."""
    source = data
    if windows is not None:
        validate(windows, "windowed", argument="windows")
        if subject not in windows.children:
            raise DataError(
                f"no subject {subject!r} in windows; it holds: {', '.join(windows.children)}."
            )
        source = windows[subject].to_dataset()
    absent = [name for name in ("frame_start", "window_length") if name not in source.attrs]
    if absent or "onset" not in source.coords:
        missing = [*absent, *([] if "onset" in source.coords else ["onset"])]
        raise DataError(
            f"the session clock of subject {subject!r} is not known: {', '.join(missing)} is "
            "missing; pass windows=, the windowed counts that the latents were made from."
        )
    unknown = np.setdiff1d(data["trial"].values, source["trial"].values)
    if unknown.size:
        raise DataError(
            f"{unknown.size} trials of subject {subject!r} (such as {unknown[0]}) are not in "
            "windows; pass the windowed counts that the latents were made from."
        )
    onset = source["onset"].sel(trial=data["trial"].values).values.astype(np.float64)
    return onset, float(source.attrs["frame_start"]), float(source.attrs["window_length"])
