"""What an evaluation or a sweep is asked for, and the command that asks for it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from neuroalign.cli.options import as_yaml


@dataclass(frozen=True)
class StudyInputs:
    """Which recordings, read and paired how, and which model.

    Parameters
    ----------
    spec : str
        Path of a data spec, or the name of a shipped one.
    paths : tuple of str
        Files, folders or patterns, or `SUBJECT=FILE`.
    recipe : str
        Which of the spec's recipes.
    label : str or list of str, optional
        What pairs trials and is decoded; by default the spec's label.
    sessions : str
        "error" or "concatenate".
    settings : dict
        Model arguments that take precedence over the recipe's.
    seed : int
        Of splits, fits and nulls.
    device : str
        Where to fit.
    """

    spec: str
    paths: tuple[str, ...]
    recipe: str = "recommended"
    label: str | list[str] | None = None
    sessions: str = "error"
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class EvaluationRequest:
    """The arguments of `neuroalign evaluate`.

    Parameters
    ----------
    inputs : StudyInputs
        Recordings and model.
    out : Path
        The folder to write.
    cv : float or int
        The share of test trials of a single split, or a number of folds.
    sharing : tuple of str
        Ways of sharing, a model for each; empty for the recipe's alone.
    baselines : tuple of str
        Their names in `BASELINES`.
    tune : dict
        Values of the models' arguments to choose from inside training trials.
    tune_baselines : bool, optional
        Whether the baselines choose from the grids that come with them; by default if the
        models choose.
    leave_label_out : tuple of str
        Labels that are left out of the pairing, one after the other; `("all",)` for each.
    transfer : tuple of str
        Trial coordinates with numbers that no trial was paired by.
    imputation : bool
        Whether to impute and reconstruct.
    permutations, model_permutations : int
        Of the decoder null and of the model null.
    model_null : str
        "fit" or "fit-and-classifier": who sees the permuted labels of the model null.
    jobs : int
        Processes.
    overwrite : bool
        Replace an earlier evaluation.
    """

    inputs: StudyInputs
    out: Path
    cv: int | float = 0.25
    sharing: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    tune: Mapping[str, list[Any]] = field(default_factory=dict)
    tune_baselines: bool | None = None
    leave_label_out: tuple[str, ...] = ()
    transfer: tuple[str, ...] = ()
    imputation: bool = True
    permutations: int = 1000
    model_permutations: int = 0
    model_null: str = "fit"
    jobs: int = 1
    overwrite: bool = False

    def command(self) -> str:
        """Write the command that asks for this.

        Examples
        --------
        >>> inputs = StudyInputs("mine.yaml", ("data",), settings={"beta": 0.1})
        >>> EvaluationRequest(inputs, Path("scores"), cv=0.3, tune={"beta": [0.1, 1]}).command()
        'neuroalign evaluate mine.yaml data --out scores --set beta=0.1 --test-size 0.3 --tune beta=0.1,1'
        """
        return _command("evaluate", self, EvaluationRequest(self.inputs, self.out))

    @property
    def baselines_choose(self) -> bool:
        """Whether the baselines choose their settings: as the models do, if nothing is said."""
        return bool(self.tune) if self.tune_baselines is None else self.tune_baselines


@dataclass(frozen=True)
class SweepRequest:
    """The arguments of `neuroalign sweep`.

    Parameters
    ----------
    inputs : StudyInputs
        Recordings and model; its seed plays no part.
    out : Path
        The folder to write, or to go on in.
    grid : dict
        Values of the model's arguments, all combinations of which are fitted.
    seeds : tuple of int
        Each decides a split and a fit.
    test_size : float
        Share of test trials.
    imputation : bool
        Whether to impute and reconstruct.
    jobs : int
        Processes.
    overwrite : bool
        Replace an earlier sweep instead of going on with it.
    """

    inputs: StudyInputs
    out: Path
    grid: Mapping[str, list[Any]]
    seeds: tuple[int, ...]
    test_size: float = 0.25
    imputation: bool = True
    jobs: int = 1
    overwrite: bool = False

    def command(self) -> str:
        """Write the command that asks for this.

        Examples
        --------
        >>> inputs = StudyInputs("simulated", ("data",))
        >>> SweepRequest(inputs, Path("s"), {"beta": [0.1, 1]}, (0, 1)).command()
        'neuroalign sweep simulated data --out s --grid beta=0.1,1 --seeds 0,1'
        """
        return _command("sweep", self, SweepRequest(self.inputs, self.out, {}, ()))


def _command(name: str, request: EvaluationRequest | SweepRequest, usual: Any) -> str:
    """Write a command with the options that are not as usual."""
    inputs = request.inputs
    words = ["neuroalign", name, inputs.spec, *inputs.paths, "--out", str(request.out)]
    for given, default in ((inputs, StudyInputs(inputs.spec, inputs.paths)), (request, usual)):
        for part in fields(given):
            value = getattr(given, part.name)
            if part.name != "overwrite" and value != getattr(default, part.name):
                words += _words(part.name, value)
    return shlex.join(words)


def _words(name: str, value: Any) -> Iterator[str]:
    option = f"--{name.replace('_', '-')}"
    if name == "cv":
        yield from ("--folds" if isinstance(value, int) else "--test-size", str(value))
    elif name == "settings":
        for key, one in value.items():
            yield from ("--set", f"{key}={as_yaml(one)}")
    elif name == "label":
        for one in [value] if isinstance(value, str) else value:
            yield from (option, one)
    elif isinstance(value, Mapping):
        for key, values in value.items():
            yield from (option, f"{key}={','.join(map(as_yaml, values))}")
    elif isinstance(value, tuple):
        yield from (option, ",".join(map(str, value)))
    elif isinstance(value, bool):
        yield option if value else f"--no-{option[2:]}"
    else:
        yield from (option, str(value))
