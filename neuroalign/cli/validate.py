"""`neuroalign validate`: the method on the public benchmarks of its paper."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from neuroalign.cli.console import StopRequestedError, is_watched, reports_problems, say
from neuroalign.cli.evaluation_options import DeviceOption
from neuroalign.cli.options import parse_jobs, parse_seeds
from neuroalign.errors import ParameterError

MOST_JOBS: Final = 8  # unless more are asked for: every process holds the data


class Name(StrEnum):
    """Which benchmark."""

    polymnist = "polymnist"
    celeba = "celeba"


class Preset(StrEnum):
    """Whose settings."""

    quick = "quick"
    paper = "paper"
    code = "code"


@reports_problems
def validate_command(
    benchmark: Annotated[Name, typer.Argument(metavar="polymnist|celeba", help="Which benchmark.")],
    out: Annotated[
        Path, typer.Option("--out", help="The folder to write, or to go on in after a stop.")
    ],
    mnist_dir: Annotated[
        Path | None, typer.Option("--mnist-dir", help="Folder of MNIST's four idx files.")
    ] = None,
    backgrounds: Annotated[
        Path | None,
        typer.Option("--backgrounds", help="Folder of images to cut backgrounds from."),
    ] = None,
    polymnist_dir: Annotated[
        Path | None, typer.Option("--polymnist-dir", help="A ready-made PolyMNIST (train/m0/…).")
    ] = None,
    celeba_dir: Annotated[
        Path | None, typer.Option("--celeba-dir", help="CelebA as it is distributed.")
    ] = None,
    preset: Annotated[
        Preset,
        typer.Option("--preset", help="Small networks, the paper's text, or its published code."),
    ] = Preset.quick,
    methods: Annotated[
        str | None, typer.Option("--methods", metavar="A,B", help="Ways of sharing.")
    ] = None,
    betas: Annotated[
        str | None, typer.Option("--betas", metavar="0.5,1", help="Values of beta, all tried.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="0,1,2", help="Seeds of the fits.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the rows.")] = (
        None
    ),
    latents: Annotated[int | None, typer.Option("--latents", min=1, help="Size of the latent.")] = (
        None
    ),
    views: Annotated[int, typer.Option("--views", min=2, help="Views of PolyMNIST.")] = 3,
    train_rows: Annotated[
        int | None,
        typer.Option("--train-rows", min=2, help="Rows that networks are trained on."),
    ] = None,
    test_rows: Annotated[
        int | None, typer.Option("--test-rows", min=2, help="Rows that are scored.")
    ] = None,
    redraw: Annotated[
        bool | None,
        typer.Option(
            "--redraw/--fixed",
            help="Compose PolyMNIST-style training images, or CelebA's training texts, anew "
            "every epoch.",
        ),
    ] = None,
    judge_images: Annotated[
        int | None,
        typer.Option(
            "--judge-images", min=1, help="Images that judges see while they learn; trained anew."
        ),
    ] = None,
    divergence: Annotated[
        str | None,
        typer.Option("--divergence", metavar="pairwise|mixture", help="Of mm-vamp."),
    ] = None,
    standard_weight_epochs: Annotated[
        float | None,
        typer.Option(
            "--standard-weight-epochs",
            min=0,
            help="Epochs over which mm-vamp's term to N(0, I) falls from weight 1 to 0; by "
            "default the preset's part of all epochs.",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            help="Fits side by side; on CPUs as many as cores (at most 8), else 1.",
        ),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Fit every way of sharing on PolyMNIST or CelebA and write a report.

    Without folders, small data that come with the package stand in for the public ones, and the
    report says so.
    """
    from neuroalign.validation.runs import study_settings, validate

    settings = study_settings(
        benchmark.value,
        preset.value,
        methods=tuple(methods.split(",")) if methods else None,
        betas=_numbers(betas) if betas else None,
        seeds=tuple(parse_seeds(seeds)) if seeds else None,
        epochs=epochs,
        n_latents=latents,
        train_rows=train_rows,
        redraw=redraw,
        judge_images=judge_images,
        divergence=divergence,
        standard_weight_epochs=standard_weight_epochs,
    )
    numbers: dict[str, Any] = {} if test_rows is None else {"n_test": test_rows}
    if benchmark is Name.polymnist:
        data = _polymnist(mnist_dir, backgrounds, polymnist_dir, views, numbers)
    else:
        data = _celeba(celeba_dir, numbers)
    say(f"{data.name}: {data.about}")
    try:
        page = validate(data, settings, out, device=device, n_jobs=_jobs(jobs, device), say=say)
    except KeyboardInterrupt as stop:
        raise StopRequestedError(
            f"stopped; what is done is in {out}. Type the same command to go on."
        ) from stop
    say(f"report: {page}")


def _polymnist(
    mnist_dir: Path | None,
    backgrounds: Path | None,
    folder: Path | None,
    views: int,
    numbers: dict[str, Any],
) -> Any:
    from neuroalign.validation.polymnist import polymnist

    if mnist_dir is not None and backgrounds is None:
        raise ParameterError("--mnist-dir needs --backgrounds, a folder of images.")
    if folder is not None and mnist_dir is not None:
        raise ParameterError("give --polymnist-dir, or --mnist-dir with --backgrounds, not both.")
    if folder is not None:
        return polymnist(folder=folder, n_views=views, **numbers)
    return polymnist(mnist_dir=mnist_dir, backgrounds=backgrounds, n_views=views, **numbers)


def _celeba(folder: Path | None, numbers: dict[str, Any]) -> Any:
    from neuroalign.validation.celeba import celeba

    return celeba(folder, progress=is_watched(), **numbers)


def _jobs(given: int | None, device: str) -> int:
    """Return how many fits run side by side: small networks gain more by this than by threads."""
    if given is not None:
        return parse_jobs(given)
    from joblib import cpu_count

    from neuroalign.construction import resolve_device

    on_cpu = resolve_device(device).type == "cpu"
    return min(MOST_JOBS, int(cpu_count())) if on_cpu else 1


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as problem:
        raise ParameterError(f"--betas expects numbers such as 0.5,1,2, got {text!r}.") from problem
