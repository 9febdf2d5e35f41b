"""The commands under one name. Heavy libraries load inside the commands that need them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final

import typer

import neuroalign
from neuroalign.cli.decode import decode_command
from neuroalign.cli.demo import demo_command
from neuroalign.cli.evaluate import evaluate_command
from neuroalign.cli.export import export_command
from neuroalign.cli.fit import fit_command
from neuroalign.cli.impute import impute_command
from neuroalign.cli.inspect import inspect_command
from neuroalign.cli.plot import plot_command
from neuroalign.cli.sweep import sweep_command
from neuroalign.cli.validate import validate_command
from neuroalign.cores import keep_threads_from_spinning

EXAMPLES: Final = {
    "inspect": (
        "neuroalign inspect data/sub-Cori.nwb",
        "neuroalign inspect data/sub-Cori.nwb --spec > mine.yaml",
    ),
    "fit": (
        "neuroalign fit steinmetz_visual data/*.nwb --out run",
        "neuroalign fit mine.yaml data/ --out run --label odor --set n_latents=4 --set beta=0.1",
        "neuroalign fit mine.yaml data/ --out run --resume",
    ),
    "decode": ("neuroalign decode run", "neuroalign decode run --folds 5 --permutations 5000"),
    "impute": ("neuroalign impute run", "neuroalign impute run --source stella --target mitt"),
    "export": (
        "neuroalign export run",
        "neuroalign export run --out results --source stella --target mitt",
    ),
    "plot": ("neuroalign plot run", "neuroalign plot run --color subject --projection umap"),
    "evaluate": (
        "neuroalign evaluate mine.yaml data/ --out scores --sharing mm-vamp,independent",
        "neuroalign evaluate mine.yaml data/ --out scores --baselines all --tune beta=0.1,0.3,1",
        "neuroalign evaluate mine.yaml data/ --out scores --model-permutations 100 --jobs 4",
    ),
    "sweep": (
        "neuroalign sweep mine.yaml data/ --out sweep --grid beta=0.1,0.3,1 --seeds 0,1,2",
        "neuroalign sweep mine.yaml data/ --out sweep --grid sharing=mm-vamp,independent",
    ),
    "validate": (
        "neuroalign validate polymnist --out polymnist",
        "neuroalign validate polymnist --mnist-dir mnist --backgrounds textures --out polymnist",
        "neuroalign validate celeba --celeba-dir celeba --preset paper --out celeba",
    ),
    "demo": ("neuroalign demo", "neuroalign demo --out small --quick"),
}
TOUR: Final = (
    "neuroalign demo                           simulated rats, the whole chain",
    "neuroalign inspect FILE.nwb               what a file holds",
    "neuroalign fit SPEC FILE.nwb --out run    learn the shared latent space",
    "neuroalign decode run                     read labels, within and across subjects",
    "neuroalign impute run                     what other subjects' units would have done",
    "neuroalign plot run                       draw the figures again",
    "neuroalign export run                     results as NWB files",
    "neuroalign evaluate SPEC FILE.nwb ...     models and baselines, with nulls and a report",
    "neuroalign sweep SPEC FILE.nwb ...        many settings and seeds, one table",
)


def _as_written(heading: str, lines: Sequence[str]) -> str:
    """Write lines that help must not wrap (click takes a lone backspace for that wish)."""
    return "\n".join(["\b", heading, *(f"  {line}" for line in lines)])


# plain text in help and errors: one line of error, no boxes, and half the start-up time
app = typer.Typer(
    name="neuroalign",
    help="One latent space for several animals recorded in the same task.",
    epilog=_as_written("In this order:", TOUR),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS: Final[Mapping[str, Callable[..., None]]] = {
    "inspect": inspect_command,
    "fit": fit_command,
    "decode": decode_command,
    "impute": impute_command,
    "plot": plot_command,
    "export": export_command,
    "evaluate": evaluate_command,
    "sweep": sweep_command,
    "validate": validate_command,
    "demo": demo_command,
}
for _name, _command in COMMANDS.items():
    app.command(_name, epilog=_as_written("Examples:", EXAMPLES[_name]))(_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"neuroalign {neuroalign.__version__}")
        raise typer.Exit


@app.callback()
def _describe(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command that the arguments name, as `neuroalign` in a shell does."""
    _share_cores()
    app(prog_name="neuroalign")


def _share_cores() -> None:
    """Keep threads from spinning while they wait, before any library starts them.

    The classifiers, which multiply small matrices very often, are slowed fivefold otherwise.
    What a user has set is left alone.
    """
    keep_threads_from_spinning()
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
