"""What `neuroalign evaluate` and `neuroalign sweep` share: options, and what they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from neuroalign.cli.evaluation_request import StudyInputs
from neuroalign.cli.fit import Sessions
from neuroalign.cli.options import parse_label, parse_settings

SpecArgument = Annotated[
    str, typer.Argument(metavar="SPEC", help="A data spec (YAML), or the name of a shipped one.")
]
PathsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="NWB...",
        help="NWB files, folders or patterns, or SUBJECT=FILE; or the folder of the published "
        "odor-sequence arrays.",
    ),
]
RecipeOption = Annotated[
    str, typer.Option("--recipe", help="Model settings, by their name in the spec.")
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A model argument; may be repeated."),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        help="Trial label that pairs subjects and is decoded; repeat to combine. By default the "
        "spec's.",
    ),
]
SessionsOption = Annotated[
    Sessions,
    typer.Option(
        "--sessions", help="Several files of one subject: refuse, or put units side by side."
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or another torch device.")
]
JobsOption = Annotated[int, typer.Option("--jobs", help="Processes; -1 for all cores.")]
ImputationOption = Annotated[
    bool,
    typer.Option(
        "--imputation/--no-imputation", help="Whether to impute and reconstruct activity too."
    ),
]
TestShareOption = Annotated[
    float | None, typer.Option("--test-size", help="Share of test trials; 0.25 by default.")
]


def study_inputs(
    spec: str,
    paths: Sequence[str],
    recipe: str,
    settings: Sequence[str] | None,
    label: Sequence[str] | None,
    sessions: Sessions,
    device: str,
    *,
    seed: int = 0,
) -> StudyInputs:
    """Read the options that say which recordings are meant, and which model.

    Raises
    ------
    ParameterError
        If a setting cannot be read.
    """
    return StudyInputs(
        spec=spec,
        paths=tuple(paths),
        recipe=recipe,
        label=parse_label(label),
        sessions=sessions.value,
        settings=parse_settings(settings or []),
        seed=seed,
        device=device,
    )
