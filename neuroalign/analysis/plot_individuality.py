"""Figures of what animals share and what is their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from neuroalign.analysis.individuality import check_individual_differences
from neuroalign.analysis.plot_style import (
    LEGEND_SIZE,
    LINE_STYLES,
    axes_row,
    label_colors,
    legend_outside,
    single_axes,
    tidy,
)
from neuroalign.errors import DataError, ParameterError

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr
    from matplotlib.axes import Axes

__all__ = ["plot_deviation", "plot_geometry", "plot_shared_bits", "plot_unit_importance"]

Geometry = Literal[
    "representational_similarity",
    "similarity_corrected",
    "procrustes_distance",
    "unrotated_distance",
    "identification_confusion",
]

# title, colour map, lowest and highest colour
MATRICES: Final[dict[str, tuple[str, str, float, float]]] = {
    "representational_similarity": ("correlation of dissimilarities", "viridis", 0.0, 1.0),
    "similarity_corrected": (
        "correlation of dissimilarities,\nnoise-corrected",
        "viridis",
        0.0,
        1.0,
    ),
    "procrustes_distance": ("Procrustes distance", "viridis_r", 0.0, 1.0),
    "unrotated_distance": ("distance without rotation", "viridis_r", 0.0, 1.0),
    "identification_confusion": ("share of trials taken for", "viridis", 0.0, 1.0),
}
UNIT_TITLES: Final = {
    "displacement": "displacement of the latents\n(share of their variance)",
    "label_drop": "drop in the probability\nof the true label",
}
NAMED_UNITS: Final = 16  # more names than this run into each other


def plot_shared_bits(dataset: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw how well each subject's spikes are explained from its own latents and from the others'.

    Parameters
    ----------
    dataset : Dataset
        From `individual_differences`.
    ax : Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    Axes
        Two bars per subject with 95 % intervals over held-out trials, the shared share above
        them; a line across both is what the subject's own label averages explain.

    Raises
    ------
    DataError
        If `dataset` was not made by `individual_differences`.

    Examples
    --------
    See `individual_differences`; `plot_shared_bits(found)` draws what it returned.
    """
    check_individual_differences(dataset)
    names = [str(name) for name in dataset["subject"].values]
    panel = single_axes(ax, size=(2.6 + 0.8 * len(names), 3.2))
    place = np.arange(len(names))
    colors = label_colors(["own", "others"])
    tops = np.zeros(len(names))
    for offset, (measure, kind, text) in enumerate(
        (
            ("bits_own", "own", "from own latents\n(have seen the counts)"),
            ("bits_from_others", "others", "from other animals' latents"),
        )
    ):
        values = dataset[measure].values
        ends = dataset[f"{measure}_interval"].values
        panel.bar(place + (offset - 0.5) * 0.38, values, 0.36, color=colors[kind], label=text)
        panel.errorbar(
            place + (offset - 0.5) * 0.38,
            values,
            yerr=_around(values, ends),
            fmt="none",
            color="black",
            linewidth=1,
            capsize=2,
        )
        tops = np.nanmax([tops, values, ends[:, 1]], axis=0)
    panel.hlines(
        dataset["bits_label_average"].values,
        place - 0.38,
        place + 0.38,
        color="black",
        linestyle="--",
        linewidth=1,
        label="own averages\nof the true label",
    )
    tops = np.maximum(tops, np.nan_to_num(dataset["bits_label_average"].values))
    for x, top, share in zip(place, tops, dataset["shared_share"].values, strict=True):
        if np.isfinite(share):
            panel.annotate(
                f"share {share:.2f}",
                (float(x), float(top)),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=LEGEND_SIZE,
            )
    panel.axhline(0, color="black", linewidth=0.8)
    panel.margins(y=0.12)
    panel.set_xticks(place, names)
    panel.set_ylabel("bits per spike, held-out trials")
    legend_outside(panel)
    tidy(panel)
    return panel


def _around(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return how far the ends lie below and above; a bootstrap may leave its estimate outside."""
    return np.asarray(np.maximum(np.stack([values - ends[..., 0], ends[..., 1] - values]), 0))


def plot_deviation(dataset: xr.Dataset, *, axes: Any = None) -> npt.NDArray[Any]:
    """Draw how far each subject's trajectories lie from the others', label by label.

    Parameters
    ----------
    dataset : Dataset
        From `individual_differences`.
    axes : Axes or array of Axes, optional
        One per label; a new figure if not given.

    Returns
    -------
    ndarray of Axes
        Lines over the windows' start, with 95 % intervals over held-out trials; below zero where
        no deviation is seen. The legend gives each subject's total and corrected p-value.

    Raises
    ------
    DataError
        If `dataset` was not made by `individual_differences`.
    ParameterError
        If axes are given, but not one per label.

    Examples
    --------
    See `individual_differences`; `plot_deviation(found)` draws what it returned.
    """
    check_individual_differences(dataset)
    labels = [str(label) for label in dataset["label"].values]
    names = [str(name) for name in dataset["subject"].values]
    panels = axes_row(axes, len(labels), sharey=True, sharex=True)
    colors = label_colors(names)
    time = 1000 * np.asarray(dataset["window"].values, dtype=np.float64)
    for panel, label in zip(panels, labels, strict=True):
        panel.axhline(0, color="black", linewidth=0.8)
        for index, name in enumerate(names):
            one = dataset.sel(subject=name, label=label)
            ends = one["deviation_norm_interval"].values
            panel.plot(
                time,
                one["deviation_norm"].values,
                color=colors[name],
                linestyle=LINE_STYLES[index % len(LINE_STYLES)],
                marker="o" if time.size == 1 else None,
                label=_subject_text(dataset, name),
            )
            panel.fill_between(time, ends[:, 0], ends[:, 1], color=colors[name], alpha=0.2, lw=0)
        panel.set_title(f"{dataset.attrs.get('label', 'label')} {label}")
        panel.set_xlabel("window start in frame (ms)")
        tidy(panel)
    panels[0].set_ylabel("deviation from the others\n(distances between labels)")
    legend_outside(panels[-1], title="total over labels and windows")
    return panels


def _subject_text(dataset: xr.Dataset, name: str) -> str:
    one = dataset.sel(subject=name)
    text = f"{name}: {one['deviation_total'].item():.2f}"
    p_value = one["deviation_p_corrected"].item()
    return f"{text}, p = {p_value:.2g}" if np.isfinite(p_value) else text


def plot_geometry(
    dataset: xr.Dataset,
    *,
    which: Geometry = "representational_similarity",
    ax: Axes | None = None,
) -> Axes:
    """Draw how alike two subjects are as a matrix of numbers.

    Parameters
    ----------
    dataset : Dataset
        From `individual_differences`.
    which : str
        "representational_similarity", "similarity_corrected", "procrustes_distance",
        "unrotated_distance" (all between halves of the trials, so that the diagonal is the noise
        ceiling) or "identification_confusion" (rows whose trials, columns for whose taken).
    ax : Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    Axes
        Yellow is alike, dark is different.

    Raises
    ------
    DataError
        If `dataset` was not made by `individual_differences`.
    ParameterError
        If `which` is none of these.

    Examples
    --------
    See `individual_differences`; `plot_geometry(found, which="procrustes_distance")` draws it.
    """
    check_individual_differences(dataset)
    if which not in MATRICES:
        raise ParameterError(
            f"which must be one of {', '.join(map(repr, MATRICES))}, got {which!r}."
        )
    import seaborn

    title, colors, low, high = MATRICES[which]
    columns = dataset[which].dims[1]
    names = [str(name) for name in dataset["subject"].values]
    values = dataset[which].values
    panel = single_axes(ax, size=(1.9 + 0.7 * len(names), 1.4 + 0.55 * len(names)))
    seaborn.heatmap(
        values,
        ax=panel,
        annot=np.array([[_cell(value) for value in row] for row in values]),
        fmt="",
        annot_kws={"size": 8},
        cmap=colors,
        vmin=low,
        vmax=high,
        xticklabels=[str(name) for name in dataset[columns].values],
        yticklabels=names,
        linewidths=1,
        linecolor="white",
    )
    bar = panel.collections[0].colorbar
    if bar is not None:
        bar.ax.tick_params(labelsize=8)
    confusion = which == "identification_confusion"
    if confusion:
        title += f"\n(chance {dataset['identification_chance'].item():.2f})"
    else:
        title += "\n(diagonal: own other half of trials)" if which != "similarity_corrected" else ""
    panel.set_title(title, fontsize=9)
    panel.set_xlabel("taken for" if confusion else "", fontsize=9)
    panel.set_ylabel("trials of" if confusion else "", fontsize=9)
    panel.tick_params(labelsize=8, length=0)
    panel.set_yticklabels(panel.get_yticklabels(), rotation=0)
    return panel


def _cell(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else ""


def plot_unit_importance(
    dataset: xr.Dataset,
    *,
    measure: Literal["displacement", "label_drop"] = "displacement",
    axes: Any = None,
) -> npt.NDArray[Any]:
    """Draw how much the latents depend on each unit, the most important first.

    Parameters
    ----------
    dataset : Dataset
        From `individual_differences` with `units=True`.
    measure : str
        "displacement" or "label_drop".
    axes : Axes or array of Axes, optional
        One per subject; a new figure if not given.

    Returns
    -------
    ndarray of Axes
        Points with the standard error over repeats, units sorted within each subject.

    Raises
    ------
    DataError
        If `dataset` was not made by `individual_differences`, or without units.
    ParameterError
        If `measure` is neither, or axes are given, but not one per subject.

    Examples
    --------
    See `individual_differences`; `plot_unit_importance(found)` draws what it returned.
    """
    check_individual_differences(dataset)
    if measure not in UNIT_TITLES:
        raise ParameterError(f"measure must be 'displacement' or 'label_drop', got {measure!r}.")
    if "unit_displacement" not in dataset:
        raise DataError(
            "expected measured units, got none; call individual_differences with units=True."
        )
    names = [str(name) for name in dataset["subject"].values]
    panels = axes_row(axes, len(names), size=(3.0, 2.6), sharey=True)
    colors = label_colors(names)
    for panel, name in zip(panels, names, strict=True):
        one = dataset.isel(unit=np.flatnonzero(dataset["unit_subject"].values == name))
        values = one[f"unit_{measure}"].values
        order = np.argsort(-values, kind="stable")
        errors = np.nan_to_num(one[f"unit_{measure}_error"].values)
        rank = np.arange(1, values.size + 1)
        panel.axhline(0, color="black", linewidth=0.8)
        panel.errorbar(
            rank, values[order], yerr=errors[order], fmt="o", markersize=3, color=colors[name], lw=1
        )
        if values.size <= NAMED_UNITS:
            short = [str(unit).removeprefix(f"{name}/") for unit in one["unit"].values[order]]
            panel.set_xticks(rank, short, rotation=90)
            panel.set_xlabel("unit")
        else:
            panel.set_xlabel("unit, by rank")
        panel.set_title(name)
        tidy(panel)
        if values.size <= NAMED_UNITS:
            panel.tick_params(axis="x", labelsize=7)
    panels[0].set_ylabel(UNIT_TITLES[measure])
    return panels
