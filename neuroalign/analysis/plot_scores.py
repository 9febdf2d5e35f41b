"""The figure of decoding scores: who was trained on, who was tested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from neuroalign.analysis.decoding import scores_to_frame
from neuroalign.analysis.plot_style import single_axes
from neuroalign.analysis.predictions import OTHERS
from neuroalign.errors import DataError, ParameterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_score_matrix"]


def plot_score_matrix(
    scores: xr.Dataset,
    *,
    level: Literal["trial", "window"] = "trial",
    significance: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """Draw balanced accuracy of every classifier on every test subject as a matrix of numbers.

    Parameters
    ----------
    scores : Dataset
        From `decode_labels` or `cross_validate`.
    level : str
        "trial" or "window".
    significance : float
        A star marks scores whose corrected p-value per trial (Benjamini-Hochberg within each
        kind: within, pairs, others) is at most this.
    ax : Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    Axes
        Rows are what the classifier was trained on, columns who was tested; the colour scale
        starts at chance.

    Raises
    ------
    DataError
        If `scores` was not made by `decode_labels` or `cross_validate`.
    ParameterError
        If the level is neither "trial" nor "window".

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> latents = na.pca_latents(train, test, n_latents=2)
    >>> scores = na.decode_labels(*latents, label="odor", permutations=20, bootstraps=20)
    >>> axis = na.plot_score_matrix(scores)
    """
    if level not in {"trial", "window"}:
        raise ParameterError(f"level must be 'trial' or 'window', got {level!r}.")
    if not isinstance(scores, xr.Dataset) or "accuracy" not in scores:
        raise DataError("expected scores made by decode_labels or cross_validate.")
    import seaborn

    accuracy = scores["accuracy"].sel(level=level).transpose("train_subject", "test_subject")
    rows = [str(name) for name in accuracy["train_subject"].values]
    columns = [str(name) for name in accuracy["test_subject"].values]
    kept = np.isfinite(accuracy.values).any(axis=1)
    values, rows = (
        accuracy.values[kept],
        [name for name, keep in zip(rows, kept, strict=True) if keep],
    )
    stars = _stars(scores, significance)
    text = np.array(
        [
            [
                _cell(value, (row, column) in stars)
                for column, value in zip(columns, line, strict=True)
            ]
            for row, line in zip(rows, values, strict=True)
        ]
    )
    chance = scores["chance"].values
    panel = single_axes(ax, size=(1.6 + 0.75 * len(columns), 1.4 + 0.5 * len(rows)))
    seaborn.heatmap(
        values,
        ax=panel,
        annot=text,
        fmt="",
        annot_kws={"size": 8},
        cmap="viridis",
        vmin=float(chance.min()),
        vmax=max(1.0, float(chance.min()) + 0.01),
        xticklabels=columns,
        yticklabels=["all others" if name == OTHERS else name for name in rows],
        linewidths=1,
        linecolor="white",
        cbar_kws={"ticks": _ticks(float(chance.min())), "format": "%.2f"},
    )
    bar = panel.collections[0].colorbar
    if bar is not None:
        bar.set_label(f"balanced accuracy per {level}", fontsize=9)
        bar.ax.tick_params(labelsize=8)
    _decorate(panel, scores, rows, chance, significance if stars else None)
    return panel


def _ticks(chance: float) -> list[float]:
    """Return round numbers on the scale, and chance, at which it starts."""
    return [chance, *(tick for tick in (0.2, 0.4, 0.6, 0.8, 1.0) if tick > chance + 0.05)]


def _stars(scores: xr.Dataset, significance: float) -> set[tuple[str, str]]:
    frame = scores_to_frame(scores)
    found = frame[(frame["level"] == "trial") & (frame["p_corrected"] <= significance)]
    return set(zip(found["train_subject"], found["test_subject"], strict=True))


def _cell(value: float, starred: bool) -> str:
    if not np.isfinite(value):
        return ""
    return f"{value:.2f}{'*' if starred else ''}"


def _decorate(
    panel: Axes,
    scores: xr.Dataset,
    rows: list[str],
    chance: np.ndarray,
    significance: float | None,
) -> None:
    panel.set_xlabel("tested on", fontsize=9)
    panel.set_ylabel("trained on", fontsize=9)
    panel.tick_params(labelsize=8, length=0)
    panel.set_yticklabels(panel.get_yticklabels(), rotation=0)
    if OTHERS in rows and len(rows) > 1:
        panel.axhline(rows.index(OTHERS), color="black", linewidth=1.5)
    levels: Any = np.unique(np.round(chance, 2))
    said = f"{levels[0]:.2f}" if levels.size == 1 else f"{levels[0]:.2f} to {levels[-1]:.2f}"
    label = str(scores.attrs.get("label", "label"))
    title = f"{label} (chance {said})"
    if significance is not None:
        title += f"\n* corrected p ≤ {significance:g}, per trial"
    panel.set_title(title, fontsize=9)
