"""`neuroalign evaluate`: models and baselines on the same held-out trials, with nulls and a report."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from neuroalign.cli.console import collected_warnings, reports_problems, say
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
from neuroalign.cli.evaluation_request import EvaluationRequest
from neuroalign.cli.fit import Sessions
from neuroalign.cli.options import (
    OverwriteOption,
    SeedOption,
    parse_grid,
    parse_jobs,
    parse_names,
    parse_share,
)
from neuroalign.errors import ParameterError

if TYPE_CHECKING:
    from neuroalign.analysis.evaluation_result import Evaluation
    from neuroalign.cli.evaluation_folder import StudyFolder
    from neuroalign.cli.evaluation_inputs import Study


class ModelNull(StrEnum):
    """What is done anew with permuted labels."""

    fit = "fit"
    fit_and_classifier = "fit-and-classifier"


NULLS: Final[Mapping[ModelNull, Literal["fit", "fit and classifier"]]] = {
    ModelNull.fit: "fit",
    ModelNull.fit_and_classifier: "fit and classifier",
}


@reports_problems
def evaluate_command(
    spec: SpecArgument,
    paths: PathsArgument,
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    recipe: RecipeOption = "recommended",
    settings: SettingsOption = None,
    label: LabelOption = None,
    folds: Annotated[
        int | None,
        typer.Option("--folds", min=2, help="Number of folds of all trials, instead of one split."),
    ] = None,
    test_size: TestShareOption = None,
    sharing: Annotated[
        list[str] | None,
        typer.Option(
            "--sharing",
            metavar="NAME,NAME",
            help="How subjects share the space, such as mm-vamp,independent: a model of each. By "
            "default the recipe's.",
        ),
    ] = None,
    baselines: Annotated[
        list[str] | None,
        typer.Option("--baselines", metavar="NAME,NAME", help="Baselines by name, or all."),
    ] = None,
    tune: Annotated[
        list[str] | None,
        typer.Option(
            "--tune",
            metavar="NAME=VALUE,VALUE",
            help="Values of a model argument to choose from inside training trials; may be "
            "repeated, then every combination is tried.",
        ),
    ] = None,
    tune_baselines: Annotated[
        bool | None,
        typer.Option(
            "--tune-baselines/--no-tune-baselines",
            help="Let baselines choose from their own grids; by default if models choose.",
        ),
    ] = None,
    leave_label_out: Annotated[
        list[str] | None,
        typer.Option(
            "--leave-label-out",
            metavar="A,B",
            help="Labels to leave out of the pairing one by one, or all.",
        ),
    ] = None,
    transfer: Annotated[
        list[str] | None,
        typer.Option(
            "--transfer", metavar="NAME,NAME", help="Trial labels with numbers to read as well."
        ),
    ] = None,
    imputation: ImputationOption = True,
    permutations: Annotated[
        int, typer.Option("--permutations", min=0, help="Label permutations after the fits.")
    ] = 1000,
    model_permutations: Annotated[
        int,
        typer.Option(
            "--model-permutations", min=0, help="Label permutations before the fits, all done anew."
        ),
    ] = 0,
    model_null: Annotated[
        ModelNull,
        typer.Option(
            "--model-null", help="What sees labels permuted before the fits; classifiers too?"
        ),
    ] = ModelNull.fit,
    jobs: JobsOption = 1,
    seed: SeedOption = 0,
    sessions: SessionsOption = Sessions.error,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Evaluate models and baselines on held-out trials, and write a report with all scores."""
    from neuroalign.cli.evaluation_inputs import match_baselines

    request = EvaluationRequest(
        inputs=study_inputs(spec, paths, recipe, settings, label, sessions, device, seed=seed),
        out=out,
        cv=_splits(folds, test_size),
        sharing=parse_names(sharing),
        baselines=match_baselines(parse_names(baselines)),
        tune=parse_grid(tune or [], "--tune"),
        tune_baselines=tune_baselines,
        leave_label_out=parse_names(leave_label_out),
        transfer=parse_names(transfer),
        imputation=imputation,
        permutations=permutations,
        model_permutations=model_permutations,
        model_null=model_null.value,
        jobs=parse_jobs(jobs),
        overwrite=overwrite,
    )
    run_evaluate(request)


def _splits(folds: int | None, test_size: float | None) -> int | float:
    if folds is None:
        return parse_share(test_size)
    if test_size is not None:
        raise ParameterError("--folds and --test-size exclude each other; give one.")
    return folds


def run_evaluate(request: EvaluationRequest) -> Evaluation:
    """Evaluate as requested, and write scores, tables, figures and a report.

    Parameters
    ----------
    request : EvaluationRequest
        What to read, fit and score.

    Returns
    -------
    Evaluation
        All scores.

    Raises
    ------
    NeuroAlignError
        If the folder is taken, or files, spec or arguments are not what the fits need. Nothing
        is written or removed before all fits are done.
    """
    from neuroalign.cli.evaluation_folder import StudyFolder
    from neuroalign.cli.evaluation_inputs import (
        check_folds,
        check_transfer,
        labels_to_leave_out,
        prepare_study,
    )
    from neuroalign.cli.evaluation_sections import manifest_of

    folder = StudyFolder(request.out, "evaluation")
    folder.check(overwrite=request.overwrite)
    with collected_warnings() as remarks:
        study = prepare_study(
            request.inputs,
            sharing=request.sharing,
            grid=request.tune,
            option="--tune",
            n_jobs=request.jobs,
        )
        left_out = labels_to_leave_out(study, request.leave_label_out)
        check_transfer(study, request.transfer)
        if request.imputation:
            check_folds(study, request.cv, seed=request.inputs.seed)
        say(study.describe())
        manifest = manifest_of(request, study)
        evaluation = _evaluate(request, study, left_out)
    manifest |= {"request": _asked(request), "warnings": remarks}
    _write(folder, evaluation, study, manifest)
    return evaluation


def _asked(request: EvaluationRequest) -> dict[str, Any]:
    return {
        "cv": request.cv,
        "tune": dict(request.tune),
        "tune_baselines": request.baselines_choose,
        "jobs": request.jobs,
    }


def _evaluate(request: EvaluationRequest, study: Study, left_out: list[str]) -> Evaluation:
    from neuroalign.analysis.aligners import BASELINES
    from neuroalign.analysis.evaluation import evaluate
    from neuroalign.cli.evaluation_inputs import grid_arguments
    from neuroalign.cli.evaluation_progress import progress_lines

    grids: dict[str, Any] = {}
    if request.tune:
        grids |= dict.fromkeys(study.models, grid_arguments(request.tune))
    if request.baselines_choose:
        grids |= {name: BASELINES[name].grid for name in request.baselines}
    methods, folds = len(study.models) + len(request.baselines), request.cv
    splits = f"{folds} folds" if isinstance(folds, int) else "one split"
    say(f"evaluating {methods} methods on {splits} ...")
    return evaluate(
        study.windows,
        study.models,
        label=study.label,
        cv=request.cv,
        simultaneous=study.simultaneous,
        baselines=request.baselines,
        tune=grids,
        imputation=request.imputation,
        leave_label_out=left_out,
        transfer=request.transfer,
        permutations=request.permutations,
        model_permutations=request.model_permutations,
        model_null_of=NULLS[ModelNull(request.model_null)],
        n_jobs=request.jobs,
        random_state=request.inputs.seed,
        progress=progress_lines(),
    )


def _write(
    folder: StudyFolder, evaluation: Evaluation, study: Study, manifest: dict[str, Any]
) -> None:
    from neuroalign.cli.evaluation_figures import draw_evaluation
    from neuroalign.cli.evaluation_report import write_report
    from neuroalign.cli.evaluation_sections import write_inputs
    from neuroalign.cli.evaluation_tables import headline_table
    from neuroalign.cli.files import write_table
    from neuroalign.cli.tables import text_table

    folder.clear()
    evaluation.save(folder.evaluation)
    folder.write_manifest(manifest)
    write_inputs(folder, study)
    for part in evaluation.parts:
        write_table(folder.table(part.replace(" ", "_")), evaluation.to_frame(part))  # type: ignore[arg-type]
    draw_evaluation(folder, evaluation)
    write_report(folder, evaluation, study, manifest)
    say(f"\n{evaluation.dataset.attrs['label']}, balanced accuracy on test trials")
    say(text_table(headline_table(evaluation)))
    say(f"\nwrote {folder.report}")
