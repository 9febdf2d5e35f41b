"""The figure of an evaluation: every method within and across subjects, above chance and nulls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from neuroalign.analysis.plot_style import (
    legend_outside,
    line_handle,
    point_handle,
    single_axes,
    tidy,
)
from neuroalign.errors import DataError, ParameterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from neuroalign.analysis.evaluation_result import Evaluation

__all__ = ["plot_evaluation"]

OFFSET: Final = {"within": -0.15, "across": 0.15}
MARKER: Final = {"within": "o", "across": "D"}


def plot_evaluation(
    evaluation: Evaluation, *, level: Literal["trial", "window"] = "trial", ax: Axes | None = None
) -> Axes:
    """Draw balanced accuracy of every method, within and across subjects, with its interval.

    Parameters
    ----------
    evaluation : Evaluation
        From `evaluate`.
    level : str
        "trial" or "window".
    ax : Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    Axes
        A row per method: the average over subjects with its 95 % interval over trials, and a
        small point per subject; grey bands are the middle 95 % of the model null, if there is
        one, and the dashed line is chance.

    Raises
    ------
    ParameterError
        If the level is neither "trial" nor "window".
    DataError
        If it is no evaluation.
    """
    import seaborn

    if level not in {"trial", "window"}:
        raise ParameterError(f"level must be 'trial' or 'window', got {level!r}.")
    scores = getattr(evaluation, "dataset", None)
    if scores is None or "headline" not in scores:
        raise DataError("expected the result of evaluate.")
    methods = evaluation.models
    panel = single_axes(ax, size=(6.0, 1.2 + 0.5 * len(methods)))
    colors = dict(zip(OFFSET, seaborn.color_palette("colorblind", 2), strict=True))
    others = scores["train_subject"].values == "others"
    for row, method in enumerate(methods):
        chosen = scores.sel(model=method, level=level)
        accuracy = chosen["accuracy"].transpose("train_subject", "test_subject").values
        same = scores["train_subject"].values[:, None] == scores["test_subject"].values
        single = {"within": accuracy[same], "across": accuracy[others].ravel()}
        for scope, offset in OFFSET.items():
            one = chosen.sel(scope=scope)
            value = float(one["headline"])
            if not np.isfinite(value):
                continue
            place = row + offset
            if level == "trial" and "model_null" in scores:
                null = one["model_null"].values
                if np.isfinite(null).any():
                    low, high = np.nanquantile(null, (0.025, 0.975))
                    panel.fill_betweenx(
                        [place - 0.12, place + 0.12], low, high, color="0.85", linewidth=0
                    )
            low, high = one["headline_interval"].values
            panel.plot([low, high], [place, place], color=colors[scope], linewidth=1.5)
            panel.plot(value, place, marker=MARKER[scope], color=colors[scope], markersize=7)
            panel.plot(
                single[scope], np.full(single[scope].size, place), ".", color=colors[scope],
                markersize=4, alpha=0.5,
            )  # fmt: skip
    panel.axvline(float(scores["chance"].mean()), color="0.4", linestyle="--", linewidth=1)
    panel.set_yticks(range(len(methods)), methods)
    panel.set_ylim(len(methods) - 0.5, -0.5)
    panel.set_xlabel(f"balanced accuracy per {level}")
    panel.set_title(f"{scores.attrs.get('label', 'label')}, held-out trials")
    handles = [point_handle(colors[w], w, marker=MARKER[w]) for w in OFFSET]
    handles.append(line_handle("0.4", "chance", style="--"))
    if level == "trial" and "model_null" in scores:
        handles.append(point_handle("0.85", "model null, 95 %", marker="s"))
    tidy(panel)
    legend_outside(panel, handles=handles)
    return panel
