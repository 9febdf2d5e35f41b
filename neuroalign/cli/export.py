"""`neuroalign export`: a run's results as NWB files, one per subject."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neuroalign.cli.console import reports_problems, say
from neuroalign.cli.options import OverwriteOption, RunArgument, parse_paths
from neuroalign.cli.run_folder import RunFolder, check_subject, open_run
from neuroalign.errors import ParameterError

if TYPE_CHECKING:
    import xarray as xr

    from neuroalign.model import SharedLatentModel

FOLDER = "nwb_results"


@reports_problems
def export_command(
    run: RunArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", help=f"The folder to write; RUN/{FOLDER} by default."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            help="Also impute from this subject's trials; to all others, or to --target.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target", help="Also impute this subject's units; from all others, or --source."
        ),
    ] = None,
    nwb: Annotated[
        list[str] | None,
        typer.Option(
            "--nwb",
            metavar="SUBJECT=FILE",
            help="Where a subject's recording lies now, if it was moved; may be repeated.",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write latents, imputed activity and decoded labels as one new NWB file per subject."""
    run_export(
        open_run(run),
        out=out,
        source=source,
        target=target,
        files=parse_files(nwb or []),
        overwrite=overwrite,
    )


def parse_files(given: list[str]) -> dict[str, list[str]]:
    """Read `SUBJECT=FILE` of --nwb.

    Raises
    ------
    ParameterError
        If one comes without a subject.

    Examples
    --------
    >>> parse_files(["mitt=a.nwb"])
    {'mitt': ['a.nwb']}
    """
    named = parse_paths(given)
    if isinstance(named, list) and named:
        raise ParameterError(f"--nwb expects SUBJECT=FILE, got {named[0]!r}.")
    return named if isinstance(named, dict) else {}


def run_export(
    run: RunFolder,
    *,
    out: Path | None = None,
    source: str | None = None,
    target: str | None = None,
    files: dict[str, list[str]] | None = None,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write a run's results as NWB files: all trials, with what held-out ones are marked.

    Parameters
    ----------
    run : RunFolder
        A finished fit.
    out : Path, optional
        The folder; `nwb_results` in the run's by default.
    source, target : str, optional
        What to impute, beside the pairs that `neuroalign impute` wrote.
    files : dict, optional
        Subject to its NWB files, where they are not what the run remembers.
    overwrite : bool
        Replace results that are there.

    Returns
    -------
    dict
        Subject to its file.

    Raises
    ------
    NeuroAlignError
        If a subject is not known, a file is there, or the run's files are damaged.
    """
    from neuroalign.data.storage import load_tree
    from neuroalign.exporting import write_nwb_results

    pairs = _pairs(run, source, target)
    for name in files or {}:
        check_subject(run, name, "nwb")
    windows, latents = load_tree(run.windows), load_tree(run.latents)
    model = run.load_model()
    paths = write_nwb_results(
        run.path / FOLDER if out is None else out,
        model=model,
        windows=windows,
        latents=latents,
        imputed=_imputed(model, windows, pairs),
        scores=_scores(run),
        sources=files,
        overwrite=overwrite,
    )
    for path in paths.values():
        say(f"wrote {path}")
    _report(run, pairs)
    return paths


def _pairs(run: RunFolder, source: str | None, target: str | None) -> list[tuple[str, str]]:
    """Return who is imputed from whom: the pairs asked for, and those that the run has."""
    if source is not None:
        check_subject(run, source, "source")
    if target is not None:
        check_subject(run, target, "target")
    if source is not None and source == target:
        raise ParameterError(
            f"--source and --target must be two subjects, got {source!r} for both."
        )
    subjects: list[str] = run.manifest["subjects"]
    figures: list[list[str]] = run.manifest.get("impute", {}).get("figures", [])
    found = [(one, other) for one, other in figures]
    if source is not None or target is not None:
        found += [
            (one, other)
            for one in ([source] if source else subjects)
            for other in ([target] if target else subjects)
            if one != other
        ]
    return list(dict.fromkeys(found))


def _imputed(
    model: SharedLatentModel, windows: xr.DataTree, pairs: list[tuple[str, str]]
) -> list[xr.DataTree]:
    return [model.impute(windows, source=source, target=target) for source, target in pairs]


def _scores(run: RunFolder) -> xr.Dataset | None:
    from neuroalign.cli.files import read_dataset

    where = run.array("scores")
    return read_dataset(where) if where.exists() else None


def _report(run: RunFolder, pairs: list[tuple[str, str]]) -> None:
    """Say what went into the files, and how to get what did not."""
    if run.array("scores").exists():
        say("every file holds latents of all trials, and decoded labels of held-out trials")
    else:
        say(
            "every file holds latents of all trials; for decoded labels, run "
            f"`neuroalign decode {run.path}`"
        )
    if pairs:
        shown = ", ".join(f"{target}'s in the file of {source}" for source, target in pairs)
        say(f"imputed activity lies beside the latents it was imputed from: {shown}")
    else:
        say("no file holds imputed activity; name a --source or a --target for it")
