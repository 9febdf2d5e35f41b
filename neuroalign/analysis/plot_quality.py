"""The figure to look at before fitting: a raster, trial averages and rates of every subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neuroalign.analysis.labels import Label, label_name, labels_as_text, ordered_labels
from neuroalign.analysis.plot_style import (
    axes_grid,
    label_colors,
    legend_outside,
    line_handle,
    tidy,
)
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import subjects_of, validate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import xarray as xr
    from matplotlib.axes import Axes

__all__ = ["plot_quality"]


def plot_quality(
    tree: xr.DataTree,
    *,
    label: Label,
    subjects: str | Sequence[str] | None = None,
    units: dict[str, str] | None = None,
    axes: Any = None,
) -> npt.NDArray[Any]:
    """Draw, for every subject, a raster, trial averages by label, and the rates of its units.

    Parameters
    ----------
    tree : DataTree
        Binned or windowed counts.
    label : str or list of str
        Trial label by which trials are sorted and averaged.
    subjects : str or list of str, optional
        By default all.
    units : dict of str to str, optional
        Subject to the id of the unit in its raster, by default its unit with most spikes.
    axes : array of Axes, optional
        Three per subject; a new figure if not given.

    Returns
    -------
    ndarray of Axes, shape (subject, 3)
        Left, the spikes of one unit, trials sorted by label; middle, the mean rate of all units
        by label with its standard error over trials, in Hz; right, how many units have which
        rate, in Hz. Time is in milliseconds after the frame's start.

    Raises
    ------
    DataError
        If the tree holds no counts, or the label or trials are missing.
    ParameterError
        If a subject or unit is not known.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> axes = na.plot_quality(windows, label="odor")
    """
    validate(tree, "binned", argument="tree")
    names = _subjects(tree, subjects)
    data = {name: tree.children[name].to_dataset() for name in names}
    for name, dataset in data.items():
        if dataset["counts"].size == 0:
            raise DataError(f"expected trials, units and bins for subject {name!r}, got none.")
    labels = {name: labels_as_text(dataset, label, subject=name) for name, dataset in data.items()}
    colors = label_colors(ordered_labels(value for group in labels.values() for value in group))
    panels = axes_grid(axes, len(names), 3, size=(3.0, 2.2))
    for row, (name, dataset) in zip(panels, data.items(), strict=True):
        unit = _unit(dataset, name, (units or {}).get(name))
        _draw_raster(row[0], dataset, labels[name], colors, unit)
        _draw_averages(row[1], dataset, labels[name], colors)
        _draw_rates(row[2], dataset)
        trials, count = dataset.sizes["trial"], dataset.sizes["unit"]
        row[0].set_ylabel(f"{name}\ntrial, by {label_name(label)}")
        row[0].set_title(f"unit {dataset['unit'].values[unit]}")
        row[1].set_title(f"mean of {count} units, {trials} trials")
        row[2].set_title("rates of units")
        for panel in row:
            tidy(panel)
    for panel, text in zip(
        panels[-1], ("time in frame (ms)", "time in frame (ms)", "rate (Hz)"), strict=True
    ):
        panel.set_xlabel(text)
    handles = [line_handle(shade, value) for value, shade in colors.items()]
    handles.append(line_handle("black", "median unit", style="--"))
    legend_outside(panels[0, -1], title=label_name(label), handles=handles)
    return panels


def _subjects(tree: xr.DataTree, subjects: str | Sequence[str] | None) -> list[str]:
    known = subjects_of(tree)
    chosen = (
        known if subjects is None else [subjects] if isinstance(subjects, str) else list(subjects)
    )
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise ParameterError(f"subjects must be among {', '.join(known)}, got {chosen}.")
    return chosen


def _unit(dataset: xr.Dataset, subject: str, wanted: str | None) -> int:
    names = [str(unit) for unit in dataset["unit"].values]
    if wanted is None:
        return int(dataset["counts"].values.sum(axis=(0, 2), dtype=np.int64).argmax())
    if wanted not in names:
        raise ParameterError(
            f"unit {wanted!r} is none of subject {subject!r}, whose units are like {names[0]!r}."
        )
    return names.index(wanted)


def _draw_raster(
    panel: Axes, dataset: xr.Dataset, labels: np.ndarray, colors: dict[str, Any], unit: int
) -> None:
    time = dataset["time"].values * 1000
    half = float(dataset.attrs["bin_width"]) * 500
    first = 0
    for value, shade in colors.items():
        counts = dataset["counts"].values[labels == value, unit]
        trial, place = np.nonzero(counts)
        panel.scatter(
            time[place],
            first + trial + 0.5,
            s=min(16.0, max(3.0, 1200 / len(labels))),
            color=shade,
            marker="s",
            linewidths=0,
            rasterized=True,
        )
        first += len(counts)
    panel.set_xlim(time[0] - half, time[-1] + half)
    panel.set_ylim(first, 0)


def _draw_averages(
    panel: Axes, dataset: xr.Dataset, labels: np.ndarray, colors: dict[str, Any]
) -> None:
    time = dataset["time"].values * 1000
    population = dataset["counts"].values.mean(axis=1) / float(dataset.attrs["bin_width"])
    for value, shade in colors.items():
        trials = population[labels == value]
        if len(trials):
            mean, error = trials.mean(axis=0), trials.std(axis=0) / np.sqrt(len(trials))
            panel.plot(time, mean, color=shade, linewidth=1.3)
            panel.fill_between(
                time, mean - error, mean + error, color=shade, alpha=0.15, linewidth=0
            )
    panel.set_ylabel("rate (Hz)")


def _draw_rates(panel: Axes, dataset: xr.Dataset) -> None:
    rates = dataset["counts"].values.mean(axis=(0, 2)) / float(dataset.attrs["bin_width"])
    panel.hist(rates, bins=min(20, max(5, rates.size // 3)), color="0.5")
    panel.axvline(float(np.median(rates)), color="black", linestyle="--", linewidth=1)
    panel.set_ylabel("units")
