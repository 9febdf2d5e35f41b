"""The figure of imputed activity: real against imputed trial averages, unit by unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from neuroalign.analysis.labels import Label, label_name, labels_as_text, ordered_labels
from neuroalign.analysis.plot_style import (
    axes_grid,
    axes_row,
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

__all__ = ["plot_imputation"]


def plot_imputation(
    real: xr.DataTree,
    imputed: xr.DataTree,
    *,
    label: Label,
    subject: str | None = None,
    units: int | Sequence[str] = 4,
    kind: Literal["lines", "heatmap"] = "lines",
    smoothing: float = 0.02,
    axes: Any = None,
) -> npt.NDArray[Any]:
    """Draw real and imputed trial averages of a target's units, by label.

    Parameters
    ----------
    real : DataTree
        Binned or windowed counts with the target's real trials.
    imputed : DataTree
        `expected(trial, unit, time)` from `SharedLatentModel.impute` or `.reconstruct`.
    label : str or list of str
        Trial label, in both trees.
    subject : str, optional
        The target; needed only if `imputed` has several.
    units : int or list of str
        How many units with most spikes, or their ids. The heat maps always show all units.
    kind : str
        "lines": a panel per unit, real solid with standard error, imputed dashed.
        "heatmap": a pair of maps per label, units sorted by the time of their real peak.
    smoothing : float
        Standard deviation, in seconds, of the Gaussian that smooths both averages in time; 0 for
        none.
    axes : array of Axes, optional
        As many as there are panels; a new figure if not given.

    Returns
    -------
    ndarray of Axes
        (unit,) for lines, (2, label) for heat maps: real above, imputed below. Rates in Hz, time
        in milliseconds after the frame's start.

    Raises
    ------
    DataError
        If the trees are of another stage, the target is not in `real`, or no label is in both.
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
    >>> imputed = model.impute(test, source="ada", target="bob")
    >>> axes = na.plot_imputation(test, imputed, label="odor", units=2)
    """
    validate(real, "binned", argument="real")
    validate(imputed, "imputed", argument="imputed")
    if kind not in {"lines", "heatmap"}:
        raise ParameterError(f"kind must be 'lines' or 'heatmap', got {kind!r}.")
    if not smoothing >= 0:
        raise ParameterError(f"smoothing must not be negative (seconds), got {smoothing!r}.")
    name = _target(real, imputed, subject)
    counts, expected = real[name].to_dataset(), imputed[name].to_dataset()
    if not np.array_equal(counts["unit"].values, expected["unit"].values):
        raise DataError(f"expected the same units of {name!r} in real and imputed, got others.")
    rates = Rates(
        real=_smooth(counts["counts"], counts, smoothing),
        imputed=_smooth(expected["expected"], counts, smoothing),
        real_labels=labels_as_text(counts, label, subject=name),
        imputed_labels=labels_as_text(expected, label, subject=name),
        real_time=counts["time"].values * 1000,
        imputed_time=expected["time"].values * 1000,
    )
    if not rates.labels:
        raise DataError(f"no label of real trials of {name!r} is among those of imputed trials.")
    if kind == "lines":
        panels = _draw_lines(rates, counts, _chosen_units(counts, units), axes)
        handles = [line_handle(shade, value) for value, shade in label_colors(rates.labels).items()]
        handles += [line_handle("0.3", "real"), line_handle("0.3", "imputed", style="--")]
        legend_outside(panels[-1], title=label_name(label), handles=handles)
    else:
        panels = _draw_maps(rates, float(counts.attrs["bin_width"]), axes)
    if axes is None:
        source = str(expected.attrs.get("source", name))
        heading = name if source == name else f"{name}, imputed from {source}"
        if smoothing:
            heading += f" (smoothed by {1000 * smoothing:g} ms)"
        panels.ravel()[0].figure.suptitle(heading, fontsize=10)
    return panels


@dataclass(frozen=True)
class Rates:
    """Rates in Hz (trial, unit, time) of real and imputed trials, labels, and time in ms."""

    real: np.ndarray
    imputed: np.ndarray
    real_labels: np.ndarray
    imputed_labels: np.ndarray
    real_time: np.ndarray
    imputed_time: np.ndarray

    @property
    def labels(self) -> list[str]:
        """Labels that both have."""
        return ordered_labels(np.intersect1d(self.real_labels, self.imputed_labels).tolist())


def _smooth(values: xr.DataArray, counts: xr.Dataset, smoothing: float) -> np.ndarray:
    width = float(counts.attrs["bin_width"])
    rates = values.values.astype(np.float64) / width
    if smoothing == 0:
        return rates
    from scipy.ndimage import gaussian_filter1d

    # bins that no window covers are not a number, and must not spread to their neighbours
    covered = np.isfinite(rates)
    smooth = {"sigma": smoothing / width, "axis": 2, "mode": "nearest"}
    weight = gaussian_filter1d(covered.astype(np.float64), **smooth)
    total = gaussian_filter1d(np.where(covered, rates, 0.0), **smooth)
    return np.where(covered, total / np.maximum(weight, 1e-12), np.nan)


def _target(real: xr.DataTree, imputed: xr.DataTree, subject: str | None) -> str:
    targets = subjects_of(imputed)
    if subject is None and len(targets) > 1:
        raise ParameterError(
            f"imputed holds several subjects ({', '.join(targets)}); pass subject=."
        )
    name = targets[0] if subject is None else subject
    for tree, argument in ((real, "real"), (imputed, "imputed")):
        if name not in tree.children:
            raise DataError(
                f"subject {name!r} is not in {argument}; it has: {', '.join(subjects_of(tree))}."
            )
    return name


def _chosen_units(counts: xr.Dataset, units: int | Sequence[str]) -> list[int]:
    names = [str(unit) for unit in counts["unit"].values]
    if isinstance(units, int):
        if units < 1:
            raise ParameterError(f"units must be at least 1, got {units}.")
        spikes = counts["counts"].values.sum(axis=(0, 2), dtype=np.int64)
        return [int(unit) for unit in np.argsort(-spikes, kind="stable")[:units]]
    unknown = [unit for unit in units if unit not in names]
    if unknown or not units:
        raise ParameterError(
            f"units must be among those of the target, such as {names[0]!r}; got {list(units)}."
        )
    return [names.index(unit) for unit in units]


def _draw_lines(rates: Rates, counts: xr.Dataset, units: list[int], axes: Any) -> npt.NDArray[Any]:
    panels = axes_row(axes, len(units), size=(2.4, 2.4), sharex=True)
    for panel, unit in zip(panels, units, strict=True):
        for value, shade in label_colors(rates.labels).items():
            trials = rates.real[rates.real_labels == value, unit]
            mean, error = trials.mean(axis=0), trials.std(axis=0) / np.sqrt(len(trials))
            low, high = np.maximum(mean - error, 0), mean + error
            guess = rates.imputed[rates.imputed_labels == value, unit].mean(axis=0)
            panel.plot(rates.real_time, mean, color=shade, linewidth=1.2)
            panel.fill_between(rates.real_time, low, high, color=shade, alpha=0.15, linewidth=0)
            panel.plot(rates.imputed_time, guess, color=shade, linestyle="--", linewidth=1.8)
        panel.set_title(str(counts["unit"].values[unit]))
        panel.set_xlabel("time in frame (ms)")
        panel.set_ylim(bottom=0)
        tidy(panel)
    panels[0].set_ylabel("rate (Hz)")
    return panels


def _draw_maps(rates: Rates, bin_width: float, axes: Any) -> npt.NDArray[Any]:
    labels = rates.labels
    panels = axes_grid(axes, 2, len(labels), size=(2.0, 2.2), sharex=True, sharey=True)
    real = [rates.real[rates.real_labels == value].mean(axis=0) for value in labels]
    guess = [rates.imputed[rates.imputed_labels == value].mean(axis=0) for value in labels]
    order = np.argsort(np.mean(real, axis=0).argmax(axis=1), kind="stable")
    top = float(np.nanquantile(np.concatenate([np.ravel(real), np.ravel(guess)]), 0.99))
    image = None
    for row, maps, time in ((0, real, rates.real_time), (1, guess, rates.imputed_time)):
        half = bin_width * 500
        for column, averages in enumerate(maps):
            panel = panels[row, column]
            image = panel.imshow(
                averages[order],
                aspect="auto",
                interpolation="none",
                extent=(time[0] - half, time[-1] + half, len(order), 0),
                vmin=0,
                vmax=max(top, 1e-9),
                cmap="viridis",
            )
            tidy(panel)
    for panel, value in zip(panels[0], labels, strict=True):
        panel.set_title(value)
    for panel in panels[1]:
        panel.set_xlabel("time in frame (ms)")
    panels[0, 0].set_ylabel("real\nunit, by peak")
    panels[1, 0].set_ylabel("imputed\nunit, by peak")
    bar = panels[0, 0].figure.colorbar(image, ax=list(panels.ravel()), shrink=0.8)
    bar.set_label("rate (Hz)", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return panels
