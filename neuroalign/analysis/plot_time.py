"""Figures of decoding over time: when a label can be read, and how long its code stays the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from neuroalign.analysis.decoding_time import KINDS, check_time_scores
from neuroalign.analysis.plot_style import (
    label_colors,
    legend_outside,
    line_handle,
    point_handle,
    single_axes,
    tidy,
)
from neuroalign.errors import DataError, ParameterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_decoding_over_time", "plot_temporal_generalisation"]

WindowTime = Literal["start", "centre"]
MILLISECONDS: Final = 1000.0
BAND_ALPHA: Final = 0.15
NARROWEST_SCALE: Final = 0.05  # accuracy above and below chance, where nothing was read


def plot_decoding_over_time(
    scores: xr.Dataset,
    *,
    kind: Literal["within", "across"] = "within",
    time: WindowTime = "start",
    significance: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """Draw every subject's balanced accuracy over window positions, with its interval.

    Parameters
    ----------
    scores : Dataset
        From `decode_over_time`, without `generalise`.
    kind : str
        "within" or "across".
    time : str
        Whether the axis shows each window's "start" or its "centre".
    significance : float
        Windows whose p-value, corrected over windows, is at most this are marked by a point.
    ax : Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    Axes
        Time in milliseconds after the frame's start; bands are 95 % intervals of single windows;
        a dashed line at each level of chance.

    Raises
    ------
    DataError
        If `scores` was not made by `decode_over_time`, is of pairs of windows, has no score of
        this kind, or does not know the windows' length where the centre is asked for.
    ParameterError
        If `kind` or `time` is another word.

    Examples
    --------
    >>> import neuroalign as na
    >>> from neuroalign.analysis.decoding_time import decode_over_time
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> latents = na.pca_latents(*na.split_trials(windows, stratify="odor", random_state=0))
    >>> scores = decode_over_time(*latents, label="odor", permutations=20, bootstraps=20)
    >>> axis = plot_decoding_over_time(scores)
    """
    given = _scores_of_kind(scores, kind, generalise=False)
    when = _milliseconds(given, "window", time)
    subjects = [str(name) for name in given["subject"].values]
    colors = label_colors(subjects)
    panel = single_axes(ax, size=(5.4, 3.2))
    marked = False
    for subject in subjects:
        one = given.sel(subject=subject)
        accuracy = one["accuracy"].values
        low, high = (one["interval"].sel(bound=bound).values for bound in ("low", "high"))
        panel.fill_between(when, low, high, color=colors[subject], alpha=BAND_ALPHA, linewidth=0)
        panel.plot(when, accuracy, color=colors[subject], linewidth=1.4)
        found = one["p_corrected"].values <= significance
        panel.plot(when[found], accuracy[found], "o", color=colors[subject], markersize=4.5)
        marked = marked or bool(found.any())
    for level in np.unique(np.round(given["chance"].values, 6)):
        panel.axhline(level, color="0.4", linestyle="--", linewidth=0.9, zorder=0)
    handles = [line_handle(colors[subject], subject) for subject in subjects]
    handles.append(line_handle("0.4", "chance", style="--"))
    if marked:
        handles.append(point_handle("0.2", f"corrected p ≤ {significance:g}"))
    legend_outside(panel, handles=handles)
    panel.set_xlabel(f"window {time} (ms after the frame's start)")
    panel.set_ylabel("balanced accuracy")
    panel.set_title(f"{scores.attrs.get('label', 'label')}, {kind} subjects")
    tidy(panel)
    return panel


def plot_temporal_generalisation(
    scores: xr.Dataset,
    *,
    subject: str | None = None,
    kind: Literal["within", "across"] = "within",
    time: WindowTime = "start",
    significance: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """Draw the accuracy of every window's classifier on every window as a map.

    Colours are centred on chance: above it the classifier of one window reads the other, below
    it the code has turned against it (King and Dehaene 2014).

    Parameters
    ----------
    scores : Dataset
        From `decode_over_time` with `generalise=True`.
    subject : str, optional
        Whom to show; by default the mean over the subjects that have scores.
    kind : str
        "within" or "across".
    time : str
        Whether the axes show each window's "start" or its "centre".
    significance : float
        For one subject, a line surrounds pairs whose p-value, corrected over pairs of windows,
        is at most this. A mean over subjects has no such test and no line.
    ax : Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    Axes
        Test windows across, training windows upwards, in milliseconds after the frame's start.

    Raises
    ------
    DataError
        If `scores` was not made by `decode_over_time` with `generalise=True`, has no score of
        this kind or subject, or does not know the windows' length where the centre is asked for.
    ParameterError
        If `kind` or `time` is another word.

    References
    ----------
    King and Dehaene (2014), Trends in Cognitive Sciences 18, 203-210.

    Examples
    --------
    >>> import neuroalign as na
    >>> from neuroalign.analysis.decoding_time import decode_over_time
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> latents = na.pca_latents(*na.split_trials(windows, stratify="odor", random_state=0))
    >>> scores = decode_over_time(*latents, label="odor", generalise=True, permutations=20)
    >>> axis = plot_temporal_generalisation(scores, subject="ada")
    """
    given = _scores_of_kind(scores, kind, generalise=True)
    shown = given if subject is None else _one_subject(given, subject)
    accuracy = shown["accuracy"].mean("subject").transpose("train_window", "test_window").values
    chance = float(shown["chance"].mean())
    when = _milliseconds(given, "test_window", time)
    panel = single_axes(ax, size=(4.4, 3.6))
    edges = _edges(when)
    reach = max(float(np.abs(accuracy - chance).max()), NARROWEST_SCALE)
    mesh = panel.pcolormesh(
        edges, edges, accuracy, cmap="RdBu_r", vmin=chance - reach, vmax=chance + reach
    )
    panel.plot(edges[[0, -1]], edges[[0, -1]], color="0.3", linestyle=":", linewidth=0.9)
    whose = f"mean of {shown.sizes['subject']} subjects" if subject is None else subject
    title = f"{scores.attrs.get('label', 'label')}, {kind} subjects: {whose}"
    if subject is not None:
        found = shown["p_corrected"].values[0] <= significance
        _surround(panel, edges, found)
        title += f"\noutlined: corrected p ≤ {significance:g}" if found.any() else ""
    panel.set_title(title)
    bar = panel.figure.colorbar(mesh, ax=panel, shrink=0.8)
    bar.set_label("balanced accuracy", fontsize=9)
    lowest, highest = max(0.0, chance - reach), chance + reach
    bar.ax.set_ylim(lowest, highest)  # colours are symmetric, accuracies end at 0
    bar.set_ticks([lowest, chance, highest])
    bar.ax.set_yticklabels([f"{lowest:.2f}", f"chance {chance:.2f}", f"{highest:.2f}"], fontsize=8)
    panel.set_xlabel(f"test window {time} (ms after the frame's start)")
    panel.set_ylabel(f"training window {time} (ms)")
    panel.set_aspect("equal")
    tidy(panel)
    return panel


def _scores_of_kind(scores: xr.Dataset, kind: str, *, generalise: bool) -> xr.Dataset:
    """Return the subjects that have scores of this kind."""
    given = check_time_scores(scores)
    if kind not in KINDS:
        raise ParameterError(f"kind must be 'within' or 'across', got {kind!r}.")
    if ("train_window" in given.dims) != generalise:
        wanted, found = ("pairs of windows", "windows")[:: 1 if generalise else -1]
        raise DataError(
            f"expected scores of {wanted}, got scores of {found}; "
            f"call decode_over_time with generalise={generalise}."
        )
    chosen = given.sel(kind=kind)
    places = [name for name in chosen["accuracy"].dims if name != "subject"]
    there = chosen["accuracy"].notnull().all(places)
    if not there.any():
        raise DataError(
            f"expected {kind} scores of at least one subject, got none: nobody could be trained on "
            "in the same latents."
        )
    return chosen.isel(subject=there.values)


def _one_subject(scores: xr.Dataset, subject: str) -> xr.Dataset:
    names = [str(name) for name in scores["subject"].values]
    if subject not in names:
        raise DataError(f"expected one of the subjects {', '.join(names)}, got {subject!r}.")
    return scores.isel(subject=[names.index(subject)])


def _milliseconds(scores: xr.Dataset, place: str, time: str) -> np.ndarray:
    if time not in {"start", "centre"}:
        raise ParameterError(f"time must be 'start' or 'centre', got {time!r}.")
    seconds = np.asarray(scores[place].values, dtype=np.float64)
    if time == "centre":
        if "window_length" not in scores.attrs:
            raise DataError(
                "expected scores that know the length of their windows, got none: the latents did "
                "not carry window_length; pass time='start'."
            )
        seconds = seconds + float(scores.attrs["window_length"]) / 2
    return np.asarray(MILLISECONDS * seconds)


def _edges(when: np.ndarray) -> np.ndarray:
    """Return the borders between windows' positions, half a step around each."""
    if when.size == 1:
        return np.array([when[0] - 0.5, when[0] + 0.5])
    middle = (when[1:] + when[:-1]) / 2
    return np.concatenate([[2 * when[0] - middle[0]], middle, [2 * when[-1] - middle[-1]]])


def _surround(panel: Axes, edges: np.ndarray, found: np.ndarray) -> None:
    """Draw a line along every border between pairs that were found and pairs that were not."""
    padded: Any = np.pad(found, 1)
    style: dict[str, Any] = {"color": "black", "linewidth": 1.2}
    for row, column in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]):
        panel.plot(edges[[column, column + 1]], edges[[row, row]], **style)
    for row, column in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]):
        panel.plot(edges[[column, column]], edges[[row, row + 1]], **style)
