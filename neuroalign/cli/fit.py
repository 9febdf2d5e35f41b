"""`neuroalign fit`: from files to a fitted model in a folder, ready for the other commands."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroalign.cli.console import (
    StopRequestedError,
    collected_warnings,
    is_watched,
    reports_problems,
    say,
)
from neuroalign.cli.fit_request import FitRequest
from neuroalign.cli.options import (
    OverwriteOption,
    SeedOption,
    parse_label,
    parse_settings,
    parse_test_size,
)
from neuroalign.cli.run_folder import RunFolder

if TYPE_CHECKING:
    import xarray as xr

    from neuroalign.cli.fit_inputs import FitInputs
    from neuroalign.model import SharedLatentModel


class Sessions(StrEnum):
    """What to do about several files of one subject."""

    error = "error"
    concatenate = "concatenate"


@reports_problems
def fit_command(
    spec: Annotated[
        str,
        typer.Argument(metavar="SPEC", help="A data spec (YAML), or the name of a shipped one."),
    ],
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="NWB...",
            help="NWB files, folders or patterns, or SUBJECT=FILE; or the folder of the published "
            "odor-sequence arrays.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    recipe: Annotated[
        str, typer.Option("--recipe", help="Model settings, by their name in the spec.")
    ] = "recommended",
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            help="Trial label that pairs subjects; repeat to combine. By default the spec's.",
        ),
    ] = None,
    test_size: Annotated[
        float, typer.Option("--test-size", help="Held-out share of trials, or their number.")
    ] = 0.25,
    seed: SeedOption = 0,
    sessions: Annotated[
        Sessions,
        typer.Option(
            "--sessions", help="Several files of one subject: refuse, or put units side by side."
        ),
    ] = Sessions.error,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A model argument; may be repeated."),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda or another torch device.")
    ] = "auto",
    overwrite: OverwriteOption = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted fit of the same command.")
    ] = False,
) -> None:
    """Read recordings, fit the shared latent space, and write model, tables and figures."""
    request = FitRequest(
        spec=spec,
        paths=tuple(paths),
        out=out,
        recipe=recipe,
        label=parse_label(label),
        test_size=parse_test_size(test_size),
        seed=seed,
        sessions=sessions.value,
        settings=parse_settings(settings or []),
        device=device,
        overwrite=overwrite,
        resume=resume,
    )
    run_fit(request)


def run_fit(request: FitRequest) -> RunFolder:
    """Fit a model as requested, and write everything about it into the run's folder.

    Parameters
    ----------
    request : FitRequest
        What to read and how to fit.

    Returns
    -------
    RunFolder
        The folder, ready for `decode`, `impute` and `plot`.

    Raises
    ------
    NeuroAlignError
        If the folder is taken, or files, spec or arguments are not what a fit needs. Nothing is
        written or removed before all inputs are checked.
    StopRequestedError
        If the user interrupts the fit; the message says how to resume it.
    """
    from neuroalign.cli.fit_inputs import check_request, prepare_inputs

    run = RunFolder(request.out)
    if check_request(run, request) == "finished":
        say(f"the fit in {run.path} is finished already.")
        return run
    with collected_warnings() as remarks:
        inputs = prepare_inputs(request)
        _start(run, request, inputs)
        model, seconds = _fit(run, request, inputs)
    _write_results(run, inputs, model)
    run.update(
        status="fitted",
        seconds={**run.manifest["seconds"], "fit": round(seconds, 1)},
        model=_describe(model),
        warnings={"fit": remarks},
    )
    _draw(run)
    say(model.summary())
    say(f"\nwrote {run.summary}")
    return run


def _start(run: RunFolder, request: FitRequest, inputs: FitInputs) -> None:
    """Write what is known before the fit, so that an interrupted one can be resumed."""
    from neuroalign.cli.files import write_json, write_table, write_text
    from neuroalign.cli.fit_inputs import check_resumed, manifest_of, spec_as_yaml
    from neuroalign.data.storage import save_tree

    content = manifest_of(request, inputs)
    if request.resume and run.exists():
        check_resumed(run, content["request"])
    else:
        run.clear()
    run.start(content)
    save_tree(inputs.windows, run.windows)
    write_json(run.split, inputs.split_ids(request))
    write_text(run.path / "spec.yaml", spec_as_yaml(inputs.spec))
    write_table(run.table("quality"), inputs.report.to_frame(), index=True)
    write_table(run.table("quality_units"), inputs.report.units)
    write_table(run.table("quality_dropped"), inputs.report.dropped)
    say(inputs.describe())


def _fit(run: RunFolder, request: FitRequest, inputs: FitInputs) -> tuple[SharedLatentModel, float]:
    import time

    started = time.monotonic()
    if not is_watched():
        say("fitting ...")
    model = inputs.model
    try:
        model.fit(inputs.train, label=inputs.label, checkpoint=run.checkpoint)
    except KeyboardInterrupt as stop:
        raise StopRequestedError(f"go on with: {request.command()} --resume") from stop
    return model, time.monotonic() - started


def _write_results(run: RunFolder, inputs: FitInputs, model: SharedLatentModel) -> None:
    from neuroalign.cli.files import write_table
    from neuroalign.data.storage import save_tree

    model.save(run.model, overwrite=True)
    save_tree(_labelled_latents(model, inputs), run.latents)
    write_table(run.table("history"), model.history_)


def _labelled_latents(model: SharedLatentModel, inputs: FitInputs) -> xr.DataTree:
    """Encode all trials, and mark those that the model has not seen."""
    import numpy as np

    from neuroalign.schema import map_subjects

    def mark(subject: str, data: xr.Dataset) -> xr.Dataset:
        unseen = inputs.test.children[subject].to_dataset()["trial"].values
        held_out = np.isin(data["trial"].values, unseen)
        return data.assign_coords(held_out=("trial", held_out))

    return map_subjects(model.transform(inputs.windows), mark)


def _describe(model: SharedLatentModel) -> dict[str, Any]:
    plain = {**model.get_params(deep=False), "beta": model.fitted_.settings["beta"]}
    settings = {name: value for name, value in plain.items() if name != "verbose"}
    return {
        "summary": model.summary(),
        "settings": {n: list(v) if isinstance(v, tuple) else v for n, v in settings.items()},
        "epochs": len(model.history_),
        "best_epoch": model.best_epoch_,
        "alignment": _number(model.alignment_),
        "saturation": _number(model.saturation_),
        "classes": [str(value) for value in model.classes_],
        "device": str(model.fitted_.device),
    }


def _number(value: float) -> float | None:
    """Return a number as JSON can hold it: not-a-number becomes nothing."""
    import math

    return round(float(value), 4) if math.isfinite(value) else None


def _draw(run: RunFolder) -> None:
    from neuroalign.cli.figures import draw_history, draw_latents, draw_quality, draw_trajectories
    from neuroalign.cli.summary import write_summary

    draw_quality(run)
    draw_history(run)
    draw_latents(run, "label")
    draw_latents(run, "subject")
    draw_trajectories(run)
    write_summary(run)
