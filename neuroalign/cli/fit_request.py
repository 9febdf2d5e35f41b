"""What a fit is asked for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class FitRequest:
    """The arguments of `neuroalign fit`.

    Parameters
    ----------
    spec : str
        Path of a data spec, or the name of a shipped one.
    paths : tuple of str
        Files, folders or patterns, or `SUBJECT=FILE`.
    out : Path
        The run's folder.
    recipe : str
        Which of the spec's recipes.
    label : str or list of str, optional
        What pairs trials; by default the spec's label.
    test_size : float or int
        Held-out share or number of trials.
    seed : int
        Of the split and the fit.
    sessions : str
        "error" or "concatenate".
    settings : dict
        Model arguments that take precedence over the recipe's.
    device : str
        Where to fit.
    overwrite, resume : bool
        What to do if the folder is there.
    """

    spec: str
    paths: tuple[str, ...]
    out: Path
    recipe: str = "recommended"
    label: str | list[str] | None = None
    test_size: float | int = 0.25
    seed: int = 0
    sessions: str = "error"
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    overwrite: bool = False
    resume: bool = False

    def command(self) -> str:
        """Write the command that asks for this.

        Examples
        --------
        >>> FitRequest("mine.yaml", ("a b.nwb",), Path("run"), settings={"beta": 0.1}).command()
        "neuroalign fit mine.yaml 'a b.nwb' --out run --set beta=0.1"
        """
        words = ["neuroalign", "fit", self.spec, *self.paths, "--out", str(self.out)]
        defaults = FitRequest(self.spec, self.paths, self.out)
        for option in ("recipe", "test_size", "seed", "sessions", "device"):
            value = getattr(self, option)
            if value != getattr(defaults, option):
                words += [f"--{option.replace('_', '-')}", str(value)]
        labels = [self.label] if isinstance(self.label, str) else self.label or []
        for label in labels:
            words += ["--label", label]
        for name, value in self.settings.items():
            words += ["--set", f"{name}={_as_yaml(value)}"]
        return shlex.join(words)


def _as_yaml(value: Any) -> str:
    import yaml

    # a flow style on one line; scalars end with a document mark that is cut off
    return str(yaml.safe_dump(value, default_flow_style=True)).partition("\n")[0]
