"""The figure of a fit: objective, its two terms and the alignment over epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from neuroalign.analysis.plot_style import axes_row, legend_outside, tidy
from neuroalign.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["plot_history"]

TERMS: Final = ("objective", "reconstruction", "regularisation")
ALIGNMENT: Final = "validation_alignment"
SCORE: Final = "validation_score"


def plot_history(
    history: Any, *, chosen_epoch: int | None = None, axes: Any = None
) -> npt.NDArray[Any]:
    """Draw how the objective and its terms fell over epochs, in training and in validation.

    Parameters
    ----------
    history : SharedLatentModel or DataFrame
        A fitted model, or its `history_`: columns `epoch`, `objective`, `reconstruction`,
        `regularisation`, and the same with the prefix `validation_`; `validation_score`, the
        objective of typical held-out rows (their middle half), which decides when to stop, is
        dashed; `validation_alignment` gets a panel of its own.
    chosen_epoch : int, optional
        The epoch whose weights were kept; by default the model's `best_epoch_`, or the one with
        the smallest validation score.
    axes : array of Axes, optional
        One per term, and one for the alignment if there is any; a new figure if not given.

    Returns
    -------
    ndarray of Axes, shape (panel,)
        Terms are nats per row (one window of every subject).

    Raises
    ------
    DataError
        If there is no history, or it has no epoch or none of the terms.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"epoch": [1, 2], "objective": [9.0, 7.0], "reconstruction": [8.0, 6.5], "regularisation": [1.0, 0.5]}
    >>> axes = plot_history(pd.DataFrame(rows))
    """
    table, chosen = _table(history, chosen_epoch)
    terms = [name for name in TERMS if name in table]
    if not terms or table.empty:
        raise DataError(
            f"expected a history with rows and columns such as {', '.join(TERMS)}, got columns "
            f"{', '.join(map(str, table.columns)) or 'none'}; pass a fitted model."
        )
    epochs = table["epoch"] if "epoch" in table else pd.Series(np.arange(len(table)))
    aligned = ALIGNMENT in table and bool(table[ALIGNMENT].notna().any())
    panels = axes_row(axes, len(terms) + aligned, size=(2.8, 2.4), sharex=True)
    for panel, term in zip(panels[: len(terms)], terms, strict=True):
        for column, color, name in (
            (term, "#0173b2", "training"),
            (f"validation_{term}", "#de8f05", "validation"),
        ):
            if column in table and table[column].notna().any():
                marker = "o" if len(table) == 1 else None
                panel.plot(
                    epochs, table[column], color=color, marker=marker, label=name, linewidth=1.4
                )
        panel.set_title(term)
    if SCORE in table and terms[0] == "objective" and table[SCORE].notna().any():
        panels[0].plot(
            epochs, table[SCORE], color="#de8f05", linestyle="--", linewidth=1, label="typical row"
        )
    if aligned:
        panels[-1].plot(epochs, table[ALIGNMENT], color="#de8f05", linewidth=1.4)
        panels[-1].axhline(1.0, color="0.6", linewidth=0.8)
        panels[-1].set_title("alignment (small: met)")
        panels[-1].set_ylim(bottom=0.0)
    for panel in panels:
        if chosen is not None:
            panel.axvline(chosen, color="0.4", linestyle=":", label=f"kept: epoch {chosen:g}")
        panel.set_xlabel("epoch")
        tidy(panel)
    panels[0].set_ylabel("nats per row")
    handles, _ = panels[0].get_legend_handles_labels()
    legend_outside(panels[-1], handles=handles)
    return panels


def _table(history: Any, chosen_epoch: int | None) -> tuple[pd.DataFrame, float | None]:
    model = None if isinstance(history, pd.DataFrame) else history
    table = history if model is None else getattr(model, "history_", None)
    if not isinstance(table, pd.DataFrame):
        raise DataError(
            f"expected a fitted model or its history_, got {type(history).__name__} without one; "
            "call fit first."
        )
    if chosen_epoch is not None:
        return table, float(chosen_epoch)
    best = getattr(model, "best_epoch_", None)
    if best is not None:
        return table, float(best)
    if SCORE in table and table[SCORE].notna().any() and "epoch" in table:
        return table, float(table["epoch"].iloc[int(np.nanargmin(table[SCORE].to_numpy()))])
    return table, None
