"""summary.md: what was done and what came out, made anew from the run's files by every command."""

from __future__ import annotations

from pathlib import Path

from neuroalign.cli.files import write_text
from neuroalign.cli.run_folder import RunFolder


def write_summary(run: RunFolder) -> Path:
    """Write a run's summary from the tables and figures that are there.

    Parameters
    ----------
    run : RunFolder
        A finished fit; sections of commands that have not run are left out.

    Returns
    -------
    Path
        The file.
    """
    from neuroalign.cli import summary_results, summary_sections

    sections = [
        summary_sections.heading(run),
        summary_sections.what_was_read(run),
        summary_sections.how_it_was_cut(run),
        summary_sections.the_model(run),
        summary_results.latent_space(run),
        summary_results.decoding(run),
        summary_results.cross_validation(run),
        summary_results.imputation(run),
        summary_sections.files(run),
        summary_sections.provenance(run),
    ]
    return write_text(run.summary, "\n\n".join(text for text in sections if text) + "\n")
