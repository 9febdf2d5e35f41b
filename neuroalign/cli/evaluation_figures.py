"""Figures of an evaluation and of a sweep: functions of Datasets and tables that return Axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Literal

from neuroalign.cli.evaluation_tables import value_text
from neuroalign.cli.files import draw_off_screen, write_figure
from neuroalign.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

    from neuroalign.analysis.evaluation_result import Evaluation
    from neuroalign.cli.evaluation_folder import StudyFolder

KINDS: Final = ("floor", "imputed", "ceiling")
SCOPES: Final = ("within", "across")
LEVELS: Final[tuple[Literal["trial", "window"], ...]] = ("trial", "window")
LOG_FROM: Final = 10.0  # ratio of greatest to least value from which an axis is logarithmic


def draw_evaluation(folder: StudyFolder, evaluation: Evaluation) -> list[Path]:
    """Draw every figure that the evaluation has numbers for."""
    draw_off_screen()
    drawn = [write_figure(folder.figure("evaluation"), plot_levels(evaluation))]
    if "imputation" in evaluation.parts:
        panel = plot_imputed_bits(evaluation.dataset)
        drawn.append(write_figure(folder.figure("imputation"), panel))
    if "model_null" in evaluation.dataset:
        panels = plot_model_null(evaluation.dataset)
        drawn.append(write_figure(folder.figure("model_null"), panels))
    return drawn


def draw_sweep(folder: StudyFolder, table: pd.DataFrame, names: Sequence[str]) -> list[Path]:
    """Draw accuracy against the first numeric parameter of a sweep, if any fit went well."""
    draw_off_screen()
    if not table["error"].eq("").any():
        return []
    return [write_figure(folder.figure("sweep"), plot_sweep(table, names))]


def plot_levels(evaluation: Evaluation) -> npt.NDArray[Any]:
    """Draw every method's accuracy per trial and, below, per window.

    Parameters
    ----------
    evaluation : Evaluation
        From `evaluate`.

    Returns
    -------
    ndarray of Axes, shape (level,)
        See `plot_evaluation`; both have the same horizontal axis.
    """
    from neuroalign.analysis.plot_evaluation import plot_evaluation
    from neuroalign.analysis.plot_style import axes_grid

    height = 0.9 + 0.45 * len(evaluation.models)
    panels = axes_grid(None, len(LEVELS), 1, size=(5.5, height), sharex=True)[:, 0]
    for panel, level in zip(panels, LEVELS, strict=True):
        plot_evaluation(evaluation, level=level, ax=panel)
        panel.tick_params(labelbottom=True)
    panels[1].set_title("")
    below = panels[1].get_legend()
    if below is not None:  # the upper one says all that the lower one would
        below.remove()
    return panels


def plot_imputed_bits(scores: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw imputed bits per spike between floor and ceiling, a row per method.

    Parameters
    ----------
    scores : Dataset
        Of an evaluation, with `bits_per_spike(model, kind, source, target)`.
    ax : Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    Axes
        Large points are means over pairs of subjects, small ones single pairs.

    Raises
    ------
    DataError
        If nothing was imputed.
    """
    import numpy as np
    import seaborn

    from neuroalign.analysis.plot_style import (
        legend_outside,
        line_handle,
        point_handle,
        single_axes,
        tidy,
    )

    if "bits_per_spike" not in scores:
        raise DataError("expected an evaluation with imputation; evaluate with imputation=True.")
    bits = scores["bits_per_spike"].transpose("model", "kind", "source", "target")
    shown = bits.dropna("model", how="all")
    names = [str(name) for name in shown["model"].values]
    imputed, ceiling = seaborn.color_palette("colorblind", 3)[0::2]
    looks = dict(zip(KINDS, (("0.55", "v"), (imputed, "o"), (ceiling, "^")), strict=True))
    panel = single_axes(ax, size=(6.0, 1.2 + 0.6 * len(names)))
    for row, name in enumerate(names):
        for offset, (kind, (color, marker)) in zip((-0.22, 0.0, 0.22), looks.items(), strict=True):
            pairs = shown.sel(model=name, kind=kind).values.ravel()
            pairs = pairs[np.isfinite(pairs)]
            height = np.full(pairs.size, row + offset)
            panel.plot(pairs, height, ".", color=color, markersize=4, alpha=0.5)
            panel.plot(pairs.mean(), row + offset, marker, color=color, markersize=7)
    panel.axvline(0, color="0.4", linestyle="--", linewidth=1)
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.set_xlabel("bits per spike over the unit's mean rate")
    panel.set_title("imputed test trials, beside floor and ceiling")
    handles = [point_handle(color, kind, marker=marker) for kind, (color, marker) in looks.items()]
    handles.append(line_handle("0.4", "mean rate", style="--"))
    tidy(panel)
    legend_outside(panel, handles=handles)
    return panel


def plot_model_null(scores: xr.Dataset) -> npt.NDArray[Any]:
    """Draw accuracy after labels were permuted before the fit, beside the accuracy with true labels.

    Parameters
    ----------
    scores : Dataset
        Of an evaluation, with `model_null(model, scope, permutation)`.

    Returns
    -------
    ndarray of Axes, shape (model, scope)
        Histograms over permutations; the solid line is the accuracy with true labels, the
        dashed one chance.

    Raises
    ------
    DataError
        If there is no model null.
    """
    import numpy as np
    import seaborn

    from neuroalign.analysis.plot_style import axes_grid, legend_outside, line_handle, tidy

    if "model_null" not in scores:
        raise DataError(
            "expected an evaluation with a model null; evaluate with model_permutations."
        )
    names = [str(name) for name in scores["model"].values]
    panels = axes_grid(None, len(names), len(SCOPES), size=(2.9, 1.7), sharex=True)
    color = seaborn.color_palette("colorblind", 1)[0]
    chance = float(scores["chance"].mean())
    seen = scores["headline"].sel(level="trial")
    every = np.concatenate([scores["model_null"].values.ravel(), seen.values.ravel()])
    low, high = np.nanmin(every), np.nanmax(every)
    bins = np.linspace(min(low, chance) - 0.01, max(high, chance) + 0.01, 26)
    for line, name in zip(panels, names, strict=True):
        for panel, scope in zip(line, SCOPES, strict=True):
            null = scores["model_null"].sel(model=name, scope=scope).values
            value = float(seen.sel(model=name, scope=scope))
            panel.set_title(f"{name}, {scope}")
            tidy(panel)
            panel.tick_params(labelbottom=True)
            if not math.isfinite(value):
                panel.set_axis_off()
                panel.text(0.5, 0.5, "not shared", ha="center", color="0.4", fontsize=8)
                continue
            panel.yaxis.get_major_locator().set_params(integer=True)
            panel.hist(null[np.isfinite(null)], bins=bins, color="0.75")
            panel.axvline(chance, color="0.4", linestyle="--", linewidth=1)
            panel.axvline(value, color=color, linewidth=2)
    for panel in panels[-1]:
        panel.set_xlabel("balanced accuracy per trial")
    for panel in panels[:, 0]:
        panel.set_ylabel("permutations")
    handles = [line_handle(color, "true labels"), line_handle("0.4", "chance", style="--")]
    legend_outside(panels[0, -1], handles=handles)
    return panels


def plot_sweep(table: pd.DataFrame, names: Sequence[str]) -> npt.NDArray[Any]:
    """Draw accuracy per trial, within and across, against the first numeric parameter of a sweep.

    Parameters
    ----------
    table : DataFrame
        From `sweep`.
    names : sequence of str
        The grid's parameters, in its order.

    Returns
    -------
    ndarray of Axes, shape (2,)
        A point per seed, a line through the means over seeds for every combination of the
        other parameters, and chance. The axis is logarithmic where values span a factor of
        ten. Without a numeric parameter the first one's values stand side by side, with a bar
        at the mean.

    Raises
    ------
    DataError
        If every fit failed.
    """
    from neuroalign.analysis.plot_style import (
        axes_row,
        label_colors,
        legend_outside,
        line_handle,
        tidy,
    )

    done = table[table["error"] == ""]
    if done.empty:
        raise DataError("expected a sweep with fits that went well; every one failed.")
    number = next((name for name in names if is_numeric(done[name])), None)
    shown = number or (names[0] if names else None)
    others = [name for name in names if name != shown]
    lines = [setting_text(row, others) for row in done.to_dict("records")]
    colors = label_colors(list(dict.fromkeys(lines)))
    panels = axes_row(None, len(SCOPES), size=(3.6, 3.0), sharex=True, sharey=True)
    values = done[shown] if shown else done["model"]
    rows = done.assign(_line=lines, _place=_places(values, numeric=number is not None))
    for panel, scope in zip(panels, SCOPES, strict=True):
        _draw_seeds(panel, rows, f"{scope}_trial", colors, joined=number is not None)
        panel.axhline(done["chance"].mean(), color="0.4", linestyle="--", linewidth=1)
        panel.set_title(scope)
        panel.set_xlabel(shown or "")
        _scale(panel, values, numeric=number is not None)
        tidy(panel)
    panels[0].set_ylabel("balanced accuracy per trial")
    handles = [line_handle(color, line) for line, color in colors.items() if line]
    handles.append(line_handle("0.4", "chance", style="--"))
    legend_outside(panels[-1], title=", ".join(others) or None, handles=handles)
    return panels


def _draw_seeds(
    panel: Axes, rows: pd.DataFrame, column: str, colors: dict[str, Any], *, joined: bool
) -> None:
    """Draw a point per fit and the means over seeds; names, which have no order, are not joined."""
    for line, color in colors.items():
        part = rows[rows["_line"] == line]
        means = part.groupby("_place")[column].mean()
        style = "-" if joined else "none"
        panel.plot(
            means.index, means.to_numpy(), color=color, marker="_", markersize=14, linestyle=style
        )
        panel.plot(part["_place"], part[column], "o", color=color, markersize=4, alpha=0.6)


def is_numeric(values: pd.Series[Any]) -> bool:
    """Tell whether every value of a parameter is one number."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values.tolist())


def setting_text(row: dict[Any, Any], names: Sequence[str]) -> str:
    """Write the values of some parameters.

    Examples
    --------
    >>> setting_text({"sharing": "mm-vamp", "beta": 0.1}, ["sharing"])
    'mm-vamp'
    >>> setting_text({"sharing": "mm-vamp", "beta": 0.1}, ["sharing", "beta"])
    'mm-vamp, 0.1'
    """
    return ", ".join(value_text(row[name]) for name in names)


def _places(values: pd.Series[Any], *, numeric: bool) -> list[float]:
    if numeric:
        return [float(value) for value in values]
    distinct = list(dict.fromkeys(map(value_text, values)))
    return [float(distinct.index(value_text(value))) for value in values]


def _scale(panel: Axes, values: pd.Series[Any], *, numeric: bool) -> None:
    if not numeric:
        distinct = list(dict.fromkeys(map(value_text, values)))
        panel.set_xticks(range(len(distinct)), distinct, rotation=25, ha="right")
        panel.set_xlim(-0.5, len(distinct) - 0.5)
        return
    numbers = sorted({float(value) for value in values})
    positive = [value for value in numbers if value > 0]
    if not positive or numbers[0] < 0 or positive[-1] < LOG_FROM * positive[0]:
        if len(numbers) <= 8:
            panel.set_xticks(numbers)
        return
    if numbers[0] == 0:
        panel.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
    else:
        panel.set_xscale("log")
    if len(numbers) <= 8:
        panel.set_xticks(numbers, [f"{value:g}" for value in numbers])
        panel.minorticks_off()
