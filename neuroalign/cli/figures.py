"""The figures of a run, drawn from what is on disk."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from neuroalign.cli.files import draw_off_screen, read_dataset, write_figure
from neuroalign.cli.run_folder import RunFolder, run_label
from neuroalign.errors import DataError

if TYPE_CHECKING:
    import xarray as xr

Projection = Literal["auto", "pca", "umap"]


def _title(panels: Any, text: str) -> None:
    import numpy as np

    np.asarray(panels, dtype=object).ravel()[0].figure.suptitle(text, fontsize=11)


def draw_quality(run: RunFolder) -> Path:
    """Draw a raster, trial averages and rates of every subject."""
    draw_off_screen()
    from neuroalign.analysis.plots import plot_quality
    from neuroalign.data.storage import load_tree

    panels = plot_quality(load_tree(run.windows), label=run_label(run))
    return write_figure(run.figure("quality"), panels)


def draw_history(run: RunFolder) -> Path:
    """Draw the objective over epochs."""
    draw_off_screen()
    import pandas as pd

    from neuroalign.analysis.plots import plot_history

    try:
        history = pd.read_csv(run.table("history"))
    except (OSError, ValueError) as problem:
        raise DataError(f"{run.table('history')} is missing or damaged; fit again.") from problem
    panels = plot_history(history, chosen_epoch=run.manifest["model"]["best_epoch"])
    return write_figure(run.figure("history"), panels)


def draw_latents(run: RunFolder, color: str = "label", projection: Projection = "auto") -> Path:
    """Draw held-out latents in a plane.

    Parameters
    ----------
    run : RunFolder
        A finished fit.
    color : str
        "label" (what paired the trials), "subject", or any trial label.
    projection : str
        "auto", "pca" or "umap".

    Raises
    ------
    DataError
        If a subject lacks the label.
    """
    draw_off_screen()
    from neuroalign.analysis.plots import plot_latents

    chosen = run_label(run) if color == "label" else color
    panel = plot_latents(_held_out(run), color=chosen, projection=projection)
    _title(panel, f"windows of held-out trials, by {_words(chosen)}")
    kind = "" if projection == "auto" else f"_{projection}"
    return write_figure(run.figure(f"latents_by_{_file_name(color)}{kind}"), panel)


def draw_trajectories(run: RunFolder) -> Path:
    """Draw label averages of held-out latents through time."""
    draw_off_screen()
    from neuroalign.analysis.plots import plot_trajectories

    panels = plot_trajectories(_held_out(run), label=run_label(run))
    _title(panels, "averages of held-out trials, with standard error")
    return write_figure(run.figure("trajectories"), panels)


def draw_scores(run: RunFolder) -> list[Path]:
    """Draw the matrix of decoding scores, of held-out trials and, if there, of folds."""
    draw_off_screen()
    from neuroalign.analysis.plots import plot_score_matrix

    drawn = []
    for suffix in ("", "_folds"):
        if run.array(f"scores{suffix}").exists():
            panel = plot_score_matrix(read_dataset(run.array(f"scores{suffix}")))
            drawn.append(write_figure(run.figure(f"score_matrix{suffix}"), panel))
    return drawn


def draw_imputation(run: RunFolder, source: str, target: str) -> Path:
    """Draw real and imputed averages of the target's units, over held-out trials."""
    draw_off_screen()
    from neuroalign.analysis.plots import plot_imputation
    from neuroalign.data.storage import load_tree

    imputed = load_tree(run.array(f"imputed_{source}_to_{target}"))
    _, test = run.load_windows()
    panels = plot_imputation(test, imputed, label=run_label(run))
    _title(panels, f"{target}: real, and imputed from {source} (held-out trials, smoothed)")
    return write_figure(run.figure(f"imputation_{source}_to_{target}"), panels)


def _held_out(run: RunFolder) -> xr.DataTree:
    return run.load_latents()[1]


def _words(label: str | list[str]) -> str:
    return label if isinstance(label, str) else " and ".join(label)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text)
