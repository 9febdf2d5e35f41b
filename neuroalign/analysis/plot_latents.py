"""Figures of latents: as points in a plane, and as averages through time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from neuroalign.analysis.labels import (
    Label,
    label_name,
    labelled_trials,
    labels_as_text,
    ordered_labels,
)
from neuroalign.analysis.plot_style import (
    LINE_STYLES,
    MARKERS,
    axes_row,
    heading_handle,
    label_colors,
    legend_outside,
    line_handle,
    point_handle,
    tidy,
)
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import iterate_subjects, validate

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import xarray as xr
    from matplotlib.axes import Axes

__all__ = ["plot_latents", "plot_trajectories"]

Projection = Literal["auto", "pca", "umap"]
SUBJECT: Final = "subject"


@dataclass(frozen=True)
class Plane:
    """Two coordinates for every point of every subject, and what the axes are called."""

    points: Mapping[str, np.ndarray]  # (trial, window, 2)
    names: tuple[str, str]


def plot_latents(
    latents: xr.DataTree,
    *,
    color: Label = SUBJECT,
    per: Literal["window", "trial"] = "window",
    projection: Projection = "auto",
    overlay: bool = True,
    ax: Axes | npt.NDArray[Any] | None = None,
    random_state: int = 0,
) -> Axes | npt.NDArray[Any]:
    """Draw latents as points in a plane, coloured by subject or by a label.

    Parameters
    ----------
    latents : DataTree
        Latents `mean(trial, window, latent)` of every subject, in one space.
    color : str or list of str
        "subject", or a trial label (or several, whose combination is meant). With a label and
        several subjects in one panel, the marker tells the subject.
    per : str
        "window" draws every window as a small point, "trial" the mean over a trial's windows.
    projection : str
        "auto" draws two latents as they are and more by their first two principal components,
        fitted to all subjects pooled; "pca" and "umap" (seeded; slow the first time) say so.
    overlay : bool
        All subjects in one panel, or one panel each.
    ax : Axes or array of Axes, optional
        Where to draw; a new figure if not given.
    random_state : int
        Seed of UMAP and of the order in which points are drawn.

    Returns
    -------
    Axes or ndarray of Axes
        One panel, or one per subject with `overlay=False`.

    Raises
    ------
    DataError
        If these are no latents, they differ between subjects, or the label is missing.
    ParameterError
        If an argument has a value that makes no sense.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> model = na.SharedLatentModel(2, likelihood="gaussian", max_epochs=1, validation_fraction=0,
    ...                              random_state=0, verbose=False).fit(train, label="odor")
    >>> axis = na.plot_latents(model.transform(test), color="odor")
    """
    if per not in {"window", "trial"}:
        raise ParameterError(f"per must be 'window' or 'trial', got {per!r}.")
    validate(latents, "latents", argument="latents")
    plane = _plane(latents, projection, per, random_state)
    groups = _groups(latents, color)
    colors = label_colors(ordered_labels(g for group in groups.values() for g in group))
    subjects = list(plane.points)
    panels = axes_row(
        ax, 1 if overlay else len(subjects), size=(3.4, 3.2), sharex=True, sharey=True
    )
    markers = {name: MARKERS[index % len(MARKERS)] for index, name in enumerate(subjects)}
    tell_apart = overlay and color != SUBJECT and len(subjects) > 1
    shown = [subjects] if overlay else [[name] for name in subjects]
    for panel, members in zip(panels, shown, strict=True):
        shape = markers if tell_apart else dict.fromkeys(subjects, "o")
        _scatter(panel, plane, groups, colors, members, shape, random_state)
        panel.set_xlabel(plane.names[0])
        panel.locator_params(axis="x", nbins=5)
        if not overlay:
            panel.set_title(members[0])
        tidy(panel)
    panels[0].set_ylabel(plane.names[1])
    handles = [point_handle(shade, name) for name, shade in colors.items()]
    if tell_apart:
        handles.append(heading_handle("subject"))
        handles += [point_handle("0.4", name, marker=markers[name]) for name in subjects]
    legend_outside(panels[-1], title=label_name(color), handles=handles)
    if not overlay:
        return panels
    only: Axes = panels[0]
    return only


def _groups(latents: xr.DataTree, color: Label) -> dict[str, np.ndarray]:
    if color == SUBJECT:
        return {n: np.full(d.sizes["trial"], n) for n, d in iterate_subjects(latents)}
    return {n: labels_as_text(d, color, subject=n) for n, d in iterate_subjects(latents)}


def _scatter(
    panel: Axes,
    plane: Plane,
    groups: Mapping[str, np.ndarray],
    colors: Mapping[str, Any],
    members: list[str],
    markers: Mapping[str, str],
    random_state: int,
) -> None:
    total = sum(points.shape[0] * points.shape[1] for points in plane.points.values())
    size, alpha = (5.0, 0.35) if total > 1500 else (10.0, 0.6) if total > 300 else (18.0, 0.8)
    random = np.random.default_rng(random_state)
    for name in members:
        points = plane.points[name]
        shades = np.array([colors[group] for group in groups[name].tolist()])
        flat = points.reshape(-1, 2)
        # In random order, so that no label lies on top of the others.
        order = random.permutation(len(flat))
        panel.scatter(
            flat[order, 0],
            flat[order, 1],
            s=size,
            c=np.repeat(shades, points.shape[1], axis=0)[order],
            alpha=alpha,
            marker=markers[name],
            linewidths=0,
            rasterized=True,
        )


def _plane(latents: xr.DataTree, projection: str, per: str, random_state: int) -> Plane:
    if projection not in get_args(Projection):
        raise ParameterError(
            f"projection must be one of {', '.join(map(repr, get_args(Projection)))}, "
            f"got {projection!r}."
        )
    arrays = _pooled_arrays(latents)
    if per == "trial":
        arrays = {name: array.mean(axis=1, keepdims=True) for name, array in arrays.items()}
    pooled = np.concatenate([array.reshape(-1, array.shape[2]) for array in arrays.values()])
    count = pooled.shape[1]
    if count == 1:
        return Plane(
            {name: np.repeat(array, 2, axis=2) for name, array in arrays.items()},
            ("latent 1", "latent 1"),
        )
    if projection == "auto" and count == 2:
        return Plane(arrays, ("latent 1", "latent 2"))
    if projection == "umap":
        placed, names = _umap(pooled, random_state), ("UMAP 1", "UMAP 2")
    else:
        placed, names = principal_components(pooled, 2)
    points, start = {}, 0
    for name, array in arrays.items():
        rows = array.shape[0] * array.shape[1]
        points[name] = placed[start : start + rows].reshape(*array.shape[:2], 2)
        start += rows
    return Plane(points, names)


def _pooled_arrays(latents: xr.DataTree) -> dict[str, np.ndarray]:
    validate(latents, "latents", argument="latents")
    tables = labelled_trials(latents, None, argument="latents")
    first = next(iter(tables.values()))
    for name, table in tables.items():
        if not table.shares_space_with(first):
            raise DataError(
                f"expected the same latents for all subjects, got others for {name!r}; draw "
                "subjects in spaces of their own one at a time."
            )
    return {name: table.features for name, table in tables.items()}


def principal_components(rows: np.ndarray, count: int) -> tuple[np.ndarray, Any]:
    """Project rows on their first principal components; name each with its share of variance.

    Parameters
    ----------
    rows : ndarray of shape (row, latent)
        Points of all subjects pooled.
    count : int
        Number of components.

    Returns
    -------
    tuple
        Points (row, count), and names such as "PC1 (43 %)".
    """
    centred = rows - rows.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(variances)[::-1][:count]
    axes = axes[:, order]
    # An axis's sign is arbitrary; its largest entry is made positive.
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[largest, np.arange(axes.shape[1])])
    share = variances[order] / max(float(variances.sum()), 1e-30)
    names = tuple(f"PC{i + 1} ({100 * part:.0f} %)" for i, part in enumerate(share))
    return centred @ axes, names


def _umap(rows: np.ndarray, random_state: int) -> np.ndarray:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that a seed turns off threads, as is wanted
        import umap

        neighbors = min(15, len(rows) - 1)
        embedding = umap.UMAP(n_neighbors=neighbors, random_state=random_state)
        return np.asarray(embedding.fit_transform(rows))


def plot_trajectories(
    latents: xr.DataTree,
    *,
    label: Label,
    n_components: int = 3,
    spread: Literal["sem", "std", "none"] = "sem",
    axes: Any = None,
) -> npt.NDArray[Any]:
    """Draw the average of every label through time, one panel per latent, one line per subject.

    Parameters
    ----------
    latents : DataTree
        Latents `mean(trial, window, latent)` of every subject, in one space.
    label : str or list of str
        Trial label whose values are averaged apart and coloured; the line style tells the
        subject.
    n_components : int
        Panels: the latents themselves if there are no more than that, else their first principal
        components, fitted to all subjects pooled.
    spread : str
        Shading: "sem", standard error over trials; "std", standard deviation; "none".
    axes : array of Axes, optional
        One per panel; a new figure if not given.

    Returns
    -------
    ndarray of Axes, shape (panel,)
        Time is the start of each window after the frame's start, in milliseconds.

    Raises
    ------
    DataError
        If these are no latents, they differ between subjects, or the label is missing.
    ParameterError
        If an argument has a value that makes no sense.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> model = na.SharedLatentModel(2, likelihood="gaussian", max_epochs=1, validation_fraction=0,
    ...                              random_state=0, verbose=False).fit(train, label="odor")
    >>> axes = na.plot_trajectories(model.transform(test), label="odor", n_components=2)
    """
    if spread not in {"sem", "std", "none"}:
        raise ParameterError(f"spread must be 'sem', 'std' or 'none', got {spread!r}.")
    if n_components < 1:
        raise ParameterError(f"n_components must be at least 1, got {n_components!r}.")
    arrays, names = _components(latents, n_components)
    groups = {n: labels_as_text(d, label, subject=n) for n, d in iterate_subjects(latents)}
    colors = label_colors(ordered_labels(g for group in groups.values() for g in group))
    panels = axes_row(axes, len(names), size=(2.7, 2.5), sharex=True)
    styles = {name: LINE_STYLES[i % len(LINE_STYLES)] for i, name in enumerate(arrays)}
    for subject, dataset in iterate_subjects(latents):
        start = dataset["window"].values.astype(np.float64) * 1000
        for group, shade in colors.items():
            trials = arrays[subject][groups[subject] == group]
            if len(trials):
                _draw_average(panels, start, trials, shade, styles[subject], spread)
    for panel, name in zip(panels, names, strict=True):
        panel.set_title(name)
        panel.set_xlabel("window start in frame (ms)")
        tidy(panel)
    panels[0].set_ylabel("latent (a.u.)")
    handles = [line_handle(shade, name) for name, shade in colors.items()]
    if len(styles) > 1:
        handles.append(heading_handle("subject"))
        handles += [line_handle("0.3", name, style=style) for name, style in styles.items()]
    legend_outside(panels[-1], title=label_name(label), handles=handles)
    return panels


def _components(
    latents: xr.DataTree, n_components: int
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    arrays = _pooled_arrays(latents)
    count = next(iter(arrays.values())).shape[2]
    if count <= n_components:
        return arrays, tuple(f"latent {index + 1}" for index in range(count))
    pooled = np.concatenate([array.reshape(-1, count) for array in arrays.values()])
    placed, names = principal_components(pooled, n_components)
    parts, start = {}, 0
    for name, array in arrays.items():
        rows = array.shape[0] * array.shape[1]
        parts[name] = placed[start : start + rows].reshape(*array.shape[:2], n_components)
        start += rows
    return parts, names


def _draw_average(
    panels: npt.NDArray[Any],
    start: np.ndarray,
    trials: np.ndarray,
    shade: Any,
    style: Any,
    spread: str,
) -> None:
    mean, width = trials.mean(axis=0), trials.std(axis=0)
    if spread == "sem":
        width = width / np.sqrt(len(trials))
    for index, panel in enumerate(panels):
        marker = "o" if start.size == 1 else None  # one window makes no line
        panel.plot(
            start, mean[:, index], color=shade, linestyle=style, marker=marker, linewidth=1.3
        )
        if spread != "none":
            low, high = mean[:, index] - width[:, index], mean[:, index] + width[:, index]
            panel.fill_between(start, low, high, color=shade, alpha=0.15, linewidth=0)
