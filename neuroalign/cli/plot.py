"""`neuroalign plot`: draw a run's figures again."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from neuroalign.cli.console import reports_problems, say
from neuroalign.cli.options import RunArgument
from neuroalign.cli.run_folder import RunFolder, open_run

if TYPE_CHECKING:
    from pathlib import Path


class ProjectionName(StrEnum):
    """How more than two latents become a plane."""

    auto = "auto"
    pca = "pca"
    umap = "umap"


@reports_problems
def plot_command(
    run: RunArgument,
    color: Annotated[
        str | None,
        typer.Option(
            "--color", help="Only the latents, by label, subject or the name of a trial label."
        ),
    ] = None,
    projection: Annotated[
        ProjectionName, typer.Option("--projection", help="How latents are laid in a plane.")
    ] = ProjectionName.auto,
) -> None:
    """Draw the figures of a run again, or its latents in other colours."""
    for path in run_plot(open_run(run), color=color, projection=projection.value):
        say(f"wrote {path}")


def run_plot(run: RunFolder, *, color: str | None = None, projection: str = "auto") -> list[Path]:
    """Draw figures from what is on disk.

    Parameters
    ----------
    run : RunFolder
        A finished fit.
    color : str, optional
        Draw only the latents, coloured by "label", "subject" or a trial label; without it, every
        figure that the run has data for.
    projection : str
        "auto", "pca" or "umap", for the latents.

    Returns
    -------
    list of Path
        The figures.

    Raises
    ------
    NeuroAlignError
        If there is no such label, or files are damaged.
    """
    from neuroalign.cli import figures
    from neuroalign.cli.summary import write_summary

    colors = ("label", "subject") if color is None else (color,)
    latents = [figures.draw_latents(run, one, projection) for one in colors]  # type: ignore[arg-type]
    if color is not None:
        write_summary(run)
        return latents
    drawn = [
        figures.draw_quality(run),
        figures.draw_history(run),
        *latents,
        figures.draw_trajectories(run),
        *figures.draw_scores(run),
    ]
    for source, target in run.manifest.get("impute", {}).get("figures", []):
        drawn.append(figures.draw_imputation(run, source, target))
    write_summary(run)
    return drawn
