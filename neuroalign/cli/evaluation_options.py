"""Options that `neuroalign evaluate` and `neuroalign sweep` share."""

from __future__ import annotations

from typing import Annotated

import typer

from neuroalign.cli.fit import Sessions

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
