"""Data specs: where the roles of the analysis live in a data set, and how it is cut up.

A spec is a small YAML file. It says which table and columns hold trial onsets and labels, which
trials and units to keep, which part of a trial is analysed, in which bins and windows, and which
model settings suit the data. It travels with the data as one JSON string.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from neuroalign.data.spec_parts import (
    RANGE_RULE,
    VALUES_RULE,
    FrameSpec,
    LabelSpec,
    RangeSpec,
    SpecPart,
    TimesSpec,
    TrialsSpec,
    UnitsSpec,
    WindowSpec,
)
from neuroalign.errors import SpecError
from neuroalign.suggestions import close_match

__all__ = [
    "DataSpec",
    "FrameSpec",
    "LabelSpec",
    "RangeSpec",
    "TimesSpec",
    "TrialsSpec",
    "UnitsSpec",
    "WindowSpec",
    "load_spec",
    "shipped_specs",
]

# pydantic appends the tried branch of a union to an error's location; no user wants to read it
_BRANCHES: Final = frozenset({"bool", "int", "float", "str", "list[str]", VALUES_RULE, RANGE_RULE})
# beside the shipped specs, but no data set's
TEMPLATE: Final = "template"


class DataSpec(SpecPart):
    """How one data set is read, cut up and modelled.

    Parameters
    ----------
    name : str
        Short name of the data set.
    description : str, default=""
        What it is: task, animals, brain area.
    citation : str, default=""
        Whom to cite.
    source : str, default=""
        Where it can be had.
    notes : list of str, optional
        Known oddities.
    trials : TrialsSpec, optional
        Where onsets and labels live, and which trials to keep.
    units : UnitsSpec, optional
        Which units to keep.
    times : TimesSpec, optional
        Overrides for clocks that are not ascending seconds.
    frame : FrameSpec, optional
        The analysed part of a trial. Without it, `bin_spikes` has to be told.
    bin_width : float, optional
        Width of a bin (seconds). Frame, window and step are whole numbers of bins.
    window : WindowSpec, optional
        The windows within a frame. Without it, `slide_windows` has to be told.
    label : str or list of str, optional
        The label that subjects share, or several, whose combination counts.
    recipes : dict, optional
        Name to arguments of `SharedLatentModel`. `recommended` is the default one; without it,
        the model's own defaults are that.

    Examples
    --------
    >>> spec = DataSpec.model_validate({
    ...     "name": "mine", "trials": {"labels": {"odor": "odor_id"}}, "label": "odor"})
    >>> spec.trials.labels["odor"].column
    'odor_id'
    """

    name: str
    description: str = ""
    citation: str = ""
    source: str = ""
    notes: list[str] = Field(default_factory=list)
    trials: TrialsSpec = Field(default_factory=TrialsSpec)
    units: UnitsSpec = Field(default_factory=UnitsSpec)
    times: TimesSpec = Field(default_factory=TimesSpec)
    frame: FrameSpec | None = None
    bin_width: float | None = Field(default=None, gt=0)
    window: WindowSpec | None = None
    label: str | list[str] | None = None
    recipes: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> DataSpec:
        known = self.trials.labels
        for label in self.label_names if known else []:
            if label not in known:
                raise ValueError(
                    f"label {label!r} is not among trials.labels: "
                    f"{', '.join(map(repr, known))}.{close_match(label, known)}"
                )
        if self.bin_width is not None:
            lengths = {"frame.length": self.frame and self.frame.length}
            if self.window:
                lengths |= {"window.length": self.window.length, "window.step": self.window.step}
            for what, seconds in lengths.items():
                if seconds and not _is_multiple(seconds, self.bin_width):
                    raise ValueError(
                        f"{what} must be a whole number of bins of {self.bin_width} s, "
                        f"got {seconds} s"
                    )
        if self.frame and self.window and self.window.length > self.frame.length + 1e-9:
            raise ValueError(
                f"window.length ({self.window.length} s) must not exceed frame.length "
                f"({self.frame.length} s)"
            )
        return self

    @property
    def label_names(self) -> list[str]:
        """The default label as a list of names (empty if there is none)."""
        if self.label is None:
            return []
        return [self.label] if isinstance(self.label, str) else list(self.label)

    def recipe(self, name: str = "recommended") -> dict[str, Any]:
        """Return a copy of the model arguments a recipe holds.

        Parameters
        ----------
        name : str
            One of `recipes`; without a `recommended` one, the model's own defaults are that.

        Returns
        -------
        dict
            Arguments of `SharedLatentModel`.

        Raises
        ------
        SpecError
            If there is no recipe of that name.
        """
        if name not in self.recipes and name == "recommended":
            return {}  # the model's own defaults
        if name not in self.recipes:
            raise SpecError(
                f"spec {self.name!r} has no recipe {name!r}; it has: "
                f"{', '.join(map(repr, self.recipes)) or 'none'}.{close_match(name, self.recipes)}"
            )
        return {key: _as_number(value) for key, value in self.recipes[name].items()}

    def to_json(self) -> str:
        """Write the spec as one line of JSON, for the attributes of data."""
        return self.model_dump_json(exclude_unset=True)

    @classmethod
    def from_json(cls, text: str) -> DataSpec:
        """Read a spec back from `to_json`.

        Parameters
        ----------
        text : str
            What `to_json` wrote.

        Raises
        ------
        SpecError
            If the text is not JSON or not a spec.
        """
        try:
            content = json.loads(text)
        except (TypeError, ValueError) as error:
            raise SpecError(f"the stored spec is not JSON: {error}.") from error
        return _validated(content, where="the stored spec")


def _as_number(value: Any) -> Any:
    """Return text such as `1e-3` as a number: YAML wants `1.0e-3` and takes this for text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


RECORDING_SUFFIXES = (".nwb", ".h5", ".hdf5", ".npy", ".nc")


def load_spec(spec: str | Path | Mapping[str, Any] | DataSpec) -> DataSpec:
    """Load a data spec from a file, by the name of a shipped one, or from a mapping.

    Parameters
    ----------
    spec : str, Path, mapping or DataSpec
        Path of a YAML file, a bare name such as `"odor_sequence"`, the content itself, or a spec.

    Returns
    -------
    DataSpec
        The validated spec.

    Raises
    ------
    SpecError
        If the file is absent, is not YAML, or has a key or value that is not allowed; the
        message names the key, its close match and the file.

    Examples
    --------
    >>> load_spec("odor_sequence").label
    'odor'
    """
    if isinstance(spec, DataSpec):
        return spec
    if isinstance(spec, Mapping):
        return _validated(dict(spec), where="the given spec")
    if not isinstance(spec, str | Path):
        raise SpecError(
            "spec must be a path, the name of a shipped spec, a mapping or a DataSpec, "
            f"got {type(spec).__name__}."
        )
    path = _find(spec)
    if path.suffix.lower() in RECORDING_SUFFIXES:
        raise SpecError(
            f"expected a data spec (a YAML file or the name of a shipped one), got the recording "
            f"{path}; name the spec before the recordings."
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise SpecError(f"{path} is not readable as YAML: {reason}.") from error
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}.") from error
    return _validated(content, where=str(path))


def shipped_specs() -> dict[str, Path]:
    """Map the names of the specs that come with the package to their files."""
    found: dict[str, Path] = {}
    for folder in _spec_folders():
        for path in sorted(folder.glob("*.yaml")):
            if path.stem != TEMPLATE:
                found.setdefault(path.stem, path)
    return found


def spec_template() -> str:
    """Return the commented template: every key of a spec, its default and what it means.

    Raises
    ------
    SpecError
        If it did not come with this installation.

    Examples
    --------
    >>> DataSpec.model_validate(yaml.safe_load(spec_template())).name
    'my_study'
    """
    for folder in _spec_folders():
        path = folder / f"{TEMPLATE}.yaml"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise SpecError("the template of data specs is missing; install neuroalign again.")


def _spec_folders() -> list[Path]:
    # an installed wheel carries the specs inside; a checkout has them beside the package
    inside = Path(str(resources.files("neuroalign"))) / "_data_specs"
    beside = Path(__file__).resolve().parents[2] / "data_specs"
    return [folder for folder in (inside, beside) if folder.is_dir()]


def _find(spec: str | Path) -> Path:
    path = Path(spec).expanduser()
    if path.is_file():
        return path
    shipped = shipped_specs()
    if str(spec) in shipped:
        return shipped[str(spec)]
    what = "is a folder" if path.is_dir() else "does not exist"
    raise SpecError(
        f"spec {str(spec)!r} {what}; pass the path of a YAML file or the name of a shipped spec: "
        f"{', '.join(map(repr, shipped)) or 'none found'}.{close_match(path.stem, shipped)}"
    )


def _is_multiple(length: float, width: float) -> bool:
    # float seconds never divide exactly: 0.3 / 0.1 is 2.99...
    return abs(length / width - round(length / width)) < 1e-6 and round(length / width) >= 1


def _validated(content: object, *, where: str) -> DataSpec:
    if not isinstance(content, Mapping):
        raise SpecError(
            f"{where} must hold keys and values such as 'name: mine', "
            f"got {'nothing' if content is None else type(content).__name__}."
        )
    try:
        return DataSpec.model_validate(content)
    except ValidationError as error:
        problems = error.errors()
    by_place: dict[str, list[dict[str, Any]]] = {}
    for problem in problems:
        place = ".".join(str(part) for part in problem["loc"] if part not in _BRANCHES)
        by_place.setdefault(place, []).append(dict(problem))
    raise SpecError(f"{where}: {' '.join(_sentence(*item) for item in by_place.items())}")


def _sentence(place: str, problems: list[dict[str, Any]]) -> str:
    """Turn what pydantic says about one place into a sentence a user can act on."""
    problem = problems[0]
    if problem["type"] == "extra_forbidden":
        *parents, key = (part for part in problem["loc"] if part not in _BRANCHES)
        known = _keys_at(parents, is_range=RANGE_RULE in problem["loc"])
        inside = f" in {'.'.join(map(str, parents))!r}" if parents else ""
        return f"unknown key {key!r}{inside}.{close_match(key, known)} Allowed: {', '.join(known)}."
    if problem["type"] == "missing":
        return f"the key {place!r} is missing; add it."
    if problem["type"] == "value_error":
        message = str(problem["msg"]).removeprefix("Value error, ")
        end = "" if message.endswith((".", "?")) else "."
        return f"{place}: {message}{end}" if place else f"{message}{end}"
    wanted = " or ".join(
        str(item["msg"]).removeprefix("Input should be ").partition(",")[0] for item in problems
    )
    return f"{place} should be {wanted}, got {problem['input']!r}."


def _keys_at(location: list[Any], *, is_range: bool) -> list[str]:
    """List the keys that are allowed at a place in a spec."""
    parts: dict[str, type[BaseModel]] = {
        "trials": TrialsSpec,
        "units": UnitsSpec,
        "times": TimesSpec,
        "frame": FrameSpec,
        "window": WindowSpec,
    }
    model = parts.get(location[0], DataSpec) if location else DataSpec
    if is_range:
        model = RangeSpec
    elif location[:2] == ["trials", "labels"]:
        model = LabelSpec
    return list(model.model_fields)
