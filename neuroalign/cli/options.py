"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from neuroalign.errors import ParameterError

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="The folder that `neuroalign fit --out` wrote.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed; one seed, one result.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace what an earlier command wrote there.")
]


def parse_settings(assignments: Sequence[str]) -> dict[str, Any]:
    """Read model arguments such as `beta=0.1` or `encoder_hidden=[128,128]`.

    Parameters
    ----------
    assignments : list of str
        `NAME=VALUE`, the value written as in YAML.

    Returns
    -------
    dict
        Argument to value.

    Raises
    ------
    ParameterError
        If one is no assignment, its value is not YAML, or a name comes twice.

    Examples
    --------
    >>> parse_settings(["beta=1e-3", "encoder_hidden=[64, 64]", "patience=null"])
    {'beta': 0.001, 'encoder_hidden': [64, 64], 'patience': None}
    """
    import yaml

    settings: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier() or not text.strip():
            raise ParameterError(
                f"--set expects NAME=VALUE such as beta=0.1, got {assignment!r}; put it in quotes "
                "if it holds spaces."
            )
        if name in settings:
            raise ParameterError(f"--set gives {name!r} twice; give it once.")
        try:
            settings[name] = _as_number(yaml.safe_load(text))
        except yaml.YAMLError as problem:
            raise ParameterError(f"--set {assignment!r} is not readable as YAML.") from problem
    return settings


def _as_number(value: Any) -> Any:
    """Read `1e-3`, which YAML takes for text, as the number it is."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def as_yaml(value: Any) -> str:
    """Write a value as `parse_settings` reads it, on one line.

    Examples
    --------
    >>> as_yaml(None), as_yaml([8, 8]), as_yaml("mm-vamp")
    ('null', '[8, 8]', 'mm-vamp')
    """
    import yaml

    # a flow style on one line; scalars end with a document mark that is cut off
    return str(yaml.safe_dump(value, default_flow_style=True, width=10**6)).partition("\n")[0]


def parse_grid(assignments: Sequence[str], option: str) -> dict[str, list[Any]]:
    """Read values to try of model arguments, such as `beta=0.1,0.3` or `n_latents=4,8`.

    Parameters
    ----------
    assignments : list of str
        `NAME=VALUE,VALUE`, each value written as for `--set`.
    option : str
        The option's name, for messages.

    Returns
    -------
    dict
        Argument to its values.

    Raises
    ------
    ParameterError
        If one is no assignment, cannot be read, or a name or a value comes twice.

    Examples
    --------
    >>> parse_grid(["beta=1e-3,0.1", "encoder_hidden=[64, 64],[]"], "--grid")
    {'beta': [0.001, 0.1], 'encoder_hidden': [[64, 64], []]}
    """
    import yaml

    grid: dict[str, list[Any]] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier() or not text.strip(" ,"):
            raise ParameterError(
                f"{option} expects NAME=VALUE,VALUE such as beta=0.1,0.3, got {assignment!r}; put "
                "it in quotes if it holds spaces."
            )
        if name in grid:
            raise ParameterError(f"{option} gives {name!r} twice; give all its values at once.")
        try:
            values = [_as_number(value) for value in yaml.safe_load(f"[{text}]")]
        except yaml.YAMLError as problem:
            raise ParameterError(f"{option} {assignment!r} is not readable as YAML.") from problem
        twice = [value for number, value in enumerate(values) if value in values[:number]]
        if twice:
            raise ParameterError(f"{option} {name} has {as_yaml(twice[0])} twice; give it once.")
        grid[name] = values
    return grid


def parse_names(given: Sequence[str] | None) -> tuple[str, ...]:
    """Read names that stand behind commas, behind options that repeat, or both, each once.

    Examples
    --------
    >>> parse_names(["A, B", "C", "A"])
    ('A', 'B', 'C')
    """
    parts = (part.strip() for text in given or () for part in text.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read seeds such as `0,1,2` or `0-4`.

    Raises
    ------
    ParameterError
        If one is no whole number of at least 0, or comes twice.

    Examples
    --------
    >>> parse_seeds("0-2,7")
    (0, 1, 2, 7)
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        whole = first.isdecimal() and (not dash or last.isdecimal())
        if not whole or (dash and int(last) < int(first)):
            raise ParameterError(
                f"--seeds expects whole numbers such as 0,1,2 or 0-4, got {text!r}."
            )
        seeds += range(int(first), int(last if dash else first) + 1)
    if len(set(seeds)) < len(seeds):
        raise ParameterError(f"--seeds names a seed twice in {text!r}; give each once.")
    return tuple(seeds)


def parse_jobs(value: int) -> int:
    """Check a number of processes: -1 for all cores.

    Raises
    ------
    ParameterError
        If it is 0 or below -1.
    """
    if value >= 1 or value == -1:
        return value
    raise ParameterError(f"--jobs must be a number of processes, or -1 for all cores, got {value}.")


def parse_label(names: Sequence[str] | None) -> str | list[str] | None:
    """Return one label's name as text, several as a list, none as None."""
    if not names:
        return None
    return names[0] if len(names) == 1 else list(names)


def parse_test_size(value: float) -> float | int:
    """Read a share of trials (below 1), or a whole number of them.

    Raises
    ------
    ParameterError
        If it is neither.

    Examples
    --------
    >>> parse_test_size(0.25), parse_test_size(40.0)
    (0.25, 40)
    """
    if 0 < value < 1:
        return value
    if value >= 1 and value == int(value):
        return int(value)
    raise ParameterError(
        f"--test-size must be a share between 0 and 1 or a number of trials, got {value:g}."
    )


def parse_share(value: float | None) -> float:
    """Check a share of test trials; a quarter if none is given.

    Raises
    ------
    ParameterError
        If it is none.
    """
    if value is None:
        return 0.25
    if 0 < value < 1:
        return value
    raise ParameterError(f"--test-size must be a share of trials between 0 and 1, got {value:g}.")


def parse_paths(given: Sequence[str]) -> list[str] | dict[str, list[str]]:
    """Read paths, or `SUBJECT=PATH` for files that are to be known by another name.

    Raises
    ------
    ParameterError
        If some come with a subject and some without.

    Examples
    --------
    >>> parse_paths(["mitt-1=a.nwb", "mitt-2=b.nwb"])
    {'mitt-1': ['a.nwb'], 'mitt-2': ['b.nwb']}
    """
    named: dict[str, list[str]] = {}
    plain: list[str] = []
    for text in given:
        subject, equals, path = text.partition("=")
        if equals and path and "/" not in subject and not Path(text).exists():
            named.setdefault(subject, []).append(path)
        else:
            plain.append(text)
    if named and plain:
        raise ParameterError(
            f"give every file as SUBJECT=FILE or none, got {plain[0]!r} without a subject."
        )
    return named or plain


def differing_keys(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Name the keys whose values differ between two mappings, sorted."""
    names = sorted(set(first) | set(second))
    return [name for name in names if first.get(name) != second.get(name)]
