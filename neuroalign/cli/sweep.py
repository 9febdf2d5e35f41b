"""`neuroalign sweep`: many fits with other settings and seeds, in a folder that can be gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroalign.cli.console import (
    StopRequestedError,
    collected_warnings,
    reports_problems,
    say,
)
from neuroalign.cli.evaluation_options import (
    DeviceOption,
    ImputationOption,
    JobsOption,
    LabelOption,
    PathsArgument,
    RecipeOption,
    SessionsOption,
    SettingsOption,
    SpecArgument,
    TestShareOption,
    study_inputs,
)
from neuroalign.cli.evaluation_request import SweepRequest
from neuroalign.cli.fit import Sessions
from neuroalign.cli.options import (
    OverwriteOption,
    differing_keys,
    parse_grid,
    parse_jobs,
    parse_seeds,
    parse_share,
)
from neuroalign.errors import ParameterError

if TYPE_CHECKING:
    import pandas as pd

    from neuroalign.cli.evaluation_folder import StudyFolder
    from neuroalign.cli.evaluation_inputs import Study


@reports_problems
def sweep_command(
    spec: SpecArgument,
    paths: PathsArgument,
    out: Annotated[
        Path, typer.Option("--out", help="The folder to write, or to go on in after a stop.")
    ],
    grid: Annotated[
        list[str],
        typer.Option(
            "--grid",
            metavar="NAME=VALUE,VALUE",
            help="Values of a model argument; may be repeated, then every combination is fitted.",
        ),
    ],
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="0,1,2", help="Each decides a split and a fit.")
    ] = "0,1,2,3,4",
    recipe: RecipeOption = "recommended",
    settings: SettingsOption = None,
    label: LabelOption = None,
    test_size: TestShareOption = None,
    imputation: ImputationOption = True,
    jobs: JobsOption = 1,
    sessions: SessionsOption = Sessions.error,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Fit every combination of settings with every seed, and write one table of all scores."""
    request = SweepRequest(
        inputs=study_inputs(spec, paths, recipe, settings, label, sessions, device),
        out=out,
        grid=parse_grid(grid, "--grid"),
        seeds=parse_seeds(seeds),
        test_size=parse_share(test_size),
        imputation=imputation,
        jobs=parse_jobs(jobs),
        overwrite=overwrite,
    )
    run_sweep(request)


def run_sweep(request: SweepRequest) -> pd.DataFrame:
    """Fit as requested, and write the table, a figure and a report.

    Parameters
    ----------
    request : SweepRequest
        What to read and fit. Fits that are in the folder already are not done again.

    Returns
    -------
    DataFrame
        A row per fit, as `sweep` returns it.

    Raises
    ------
    NeuroAlignError
        If the folder holds something else, or files, spec or arguments are not what the fits
        need. Nothing is written or removed before all inputs are checked.
    StopRequestedError
        If the user interrupts the fits; the message says how to go on.
    """
    from neuroalign.cli.evaluation_folder import StudyFolder
    from neuroalign.cli.evaluation_inputs import prepare_study
    from neuroalign.cli.evaluation_sections import manifest_of

    folder = StudyFolder(request.out, "sweep")
    taken = folder.check(overwrite=request.overwrite)
    with collected_warnings() as remarks:
        study = prepare_study(
            request.inputs, grid=request.grid, option="--grid", n_jobs=request.jobs
        )
        _check_splits(request, study)
        manifest = {**manifest_of(request, study), "request": _asked(request)}
        manifest |= _what_fits_share(request, study)
        if taken and request.overwrite:
            folder.clear()
        elif taken:
            manifest["base"] = _check_resumed(folder, manifest)
        folder.write_manifest(manifest)
        say(study.describe())
        table = _sweep(request, study, folder)
    manifest["warnings"] = remarks  # of this command; fits that were done before said theirs then
    _write(folder, table, study, manifest)
    return table


def _check_splits(request: SweepRequest, study: Study) -> None:
    """Split once, so that a split that cannot be made is one message and not a row per fit."""
    from neuroalign.data.splits import split_trials

    split_trials(
        study.windows,
        test_size=request.test_size,
        stratify=study.label,
        simultaneous=study.simultaneous,
        random_state=request.seeds[0],
    )


def _asked(request: SweepRequest) -> dict[str, Any]:
    return {
        "grid": dict(request.grid),
        "seeds": list(request.seeds),
        "test_size": request.test_size,
    }


def _what_fits_share(request: SweepRequest, study: Study) -> dict[str, Any]:
    """Return what must not change from one command to the next in one folder."""
    from neuroalign.analysis.sweep_folder import data_fingerprint
    from neuroalign.cli.evaluation_sections import model_settings

    model = next(iter(study.models.values()))
    settings = model_settings(model)
    return {
        "base": {name: value for name, value in settings.items() if name not in request.grid},
        "recordings": data_fingerprint(study.windows, study.label),
        "test_size": request.test_size,
        "imputation": request.imputation,
    }


def _check_resumed(folder: StudyFolder, asked: dict[str, Any]) -> dict[str, Any]:
    """Refuse to go on with fits of other data or settings; return the settings all must have."""
    manifest = folder.manifest or {}
    before, now = manifest.get("base", {}), asked["base"]
    common = set(before) & set(now)
    changed = differing_keys({n: before[n] for n in common}, {n: now[n] for n in common})
    same = ("label", "recordings", "simultaneous", "test_size", "imputation")
    changed += [name for name in same if manifest.get(name) != asked[name]]
    if changed:
        raise ParameterError(
            f"{folder.path} holds a sweep with other {', '.join(changed)}; give the same command "
            "to go on, another --out, or --overwrite to start anew."
        )
    return {**now, **before}


def _sweep(request: SweepRequest, study: Study, folder: StudyFolder) -> pd.DataFrame:
    from neuroalign.analysis.sweep import sweep
    from neuroalign.cli.evaluation_inputs import grid_arguments
    from neuroalign.cli.evaluation_progress import progress_lines

    number = len(request.seeds)
    for values in request.grid.values():
        number *= len(values)
    done = len(list(folder.fits.glob("rows/*.json")))
    say(f"{number} fits" + (f", of which up to {done} are done" if done else "") + " ...")
    try:
        return sweep(
            study.windows,
            study.models,
            grid_arguments(request.grid),
            label=study.label,
            out=folder.fits,
            seeds=request.seeds,
            test_size=request.test_size,
            simultaneous=study.simultaneous,
            imputation=request.imputation,
            n_jobs=request.jobs,
            progress=progress_lines(),
        )
    except KeyboardInterrupt as stop:
        raise StopRequestedError(f"go on with: {request.command()}") from stop


def _write(
    folder: StudyFolder, table: pd.DataFrame, study: Study, manifest: dict[str, Any]
) -> None:
    from neuroalign.cli.evaluation_figures import draw_sweep
    from neuroalign.cli.evaluation_sections import write_inputs
    from neuroalign.cli.evaluation_sweep_report import sweep_table, write_sweep_report
    from neuroalign.cli.files import write_table
    from neuroalign.cli.tables import text_table

    folder.write_manifest(manifest)
    write_inputs(folder, study)
    write_table(folder.table("table"), table)
    names = list(manifest["request"]["grid"])
    draw_sweep(folder, table, names)
    write_sweep_report(folder, table, study, manifest)
    say("\nmean over seeds (least to greatest), balanced accuracy on test trials")
    say(text_table(sweep_table(table, names)))
    say(f"\nwrote {folder.report}")
