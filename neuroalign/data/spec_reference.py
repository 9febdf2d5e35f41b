"""Every key of a data spec, from the models themselves: reference table and JSON schema.

In a checkout, `python -m neuroalign.data.spec_reference` writes `data_specs/schema.json` and the
tables in `docs/data_specs.md` anew; a test keeps them in step.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from neuroalign.data.spec_parts import FrameSpec, LabelSpec, RangeSpec, Scalar
from neuroalign.data.specs import DataSpec

BEGIN: Final = "<!-- keys: begin (python -m neuroalign.data.spec_reference writes these lines) -->"
END: Final = "<!-- keys: end -->"

WORDS: Final = frozenset({"required", "none", "those of its keys"})

# what stands where the user chooses a name
CHOSEN: Final = {"labels": "LABEL", "keep": "COLUMN"}

# one example for each key that holds a value, as YAML
EXAMPLES: Final[dict[str, str]] = {
    "name": "my_study",
    "description": "Three rats tell odors apart at a port; CA1, tetrodes.",
    "citation": "Whom to cite",
    "source": "https://example.org/my-study",
    "notes": "[The photodiode failed in the first ten trials of rat3.]",
    "trials.table": "drifting_gratings_presentations",
    "trials.events": "processing/behavior/BehavioralEvents",
    "trials.onset": "stimulus_time",
    "trials.start": "start_time",
    "trials.stop": "stop_time",
    "trials.labels": "{side: side}",
    "trials.labels.LABEL.column": "odor_code",
    "trials.labels.LABEL.values": "{1: A, 2: B, 3: C}",
    "trials.keep": "{odor: [A, B], correct: true}",
    "trials.keep.COLUMN.min": "0.25",
    "trials.keep.COLUMN.max": "1.0",
    "units.keep": "{brain_area: [CA1, CA3], quality: good}",
    "units.keep.COLUMN.min": "0.95",
    "units.keep.COLUMN.max": "0.5",
    "units.min_rate": "0.1",
    "units.min_spikes": "100",
    "times.spikes": "milliseconds",
    "times.trials": "milliseconds",
    "times.sort": "true",
    "frame.start": "{default: 0.25, rat3: 0.5}",
    "frame.length": "0.5",
    "bin_width": "0.01",
    "window.length": "0.1",
    "window.step": "0.05",
    "label": "[odor, side]",
    "recipes": "{recommended: {beta: 1.0}, small: {n_latents: 3}}",
}

_SCALAR: Final = {"type": ["boolean", "number", "string"]}
_PLAIN: Final = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    type(None): "null",
}
_BOUNDS: Final = {"gt": "exclusiveMinimum", "ge": "minimum"}


@dataclass(frozen=True)
class SpecKey:
    """One key of a spec.

    Parameters
    ----------
    path : str
        Such as `frame.start`; `LABEL` and `COLUMN` stand for names that the user chooses.
    kind : str
        Its type, in words.
    default : str
        As YAML, or in words: required, none, those of its keys.
    meaning : str
        One or more sentences.
    example : str
        As YAML; empty for a key that only holds other keys.
    """

    path: str
    kind: str
    default: str
    meaning: str
    example: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


def spec_keys() -> list[SpecKey]:
    """List every key of a data spec, in the order of the models.

    Examples
    --------
    >>> keys = {key.path: key for key in spec_keys()}
    >>> keys["units.min_rate"].default, keys["units.min_rate"].meaning
    ('0.0', 'Lowest mean firing rate over the recorded span (Hz).')
    """
    return list(_keys(DataSpec, ""))


def _keys(model: type[BaseModel], inside: str) -> Iterator[SpecKey]:
    documented = documented_keys(model)
    for name, field in model.model_fields.items():
        path = f"{inside}{name}"
        kind, meaning = documented[name]
        yield SpecKey(path, kind, _default(field), meaning, EXAMPLES.get(path, ""))
        part = _part(field.annotation)
        if part is not None:
            yield from _keys(part, f"{path}.{CHOSEN[name]}." if name in CHOSEN else f"{path}.")


def documented_keys(model: type[BaseModel]) -> dict[str, tuple[str, str]]:
    """Read what a model's docstring says of its keys: type in words, and meaning.

    Parameters
    ----------
    model : type
        One of the parts of a spec.

    Examples
    --------
    >>> documented_keys(RangeSpec)["min"]
    ('float', 'Lowest number that stays.')
    """
    text = textwrap.dedent(f"    {model.__doc__ or ''}").partition("Parameters\n----------\n")[2]
    found = re.findall(r"^(\w+(?:, \w+)*) : (.+)\n((?:(?: {4}.*)?\n?)+)", text, flags=re.MULTILINE)
    return {
        name: (re.sub(r",? (?:optional|default=.*)$", "", kind), " ".join(meaning.split()))
        for names, kind, meaning in found
        for name in names.split(", ")
    }


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "those of its keys"
    if value is None:
        return "none"
    return json.dumps(value)


def _part(annotation: Any) -> type[BaseModel] | None:
    """Find the model within an annotation, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_part(argument) for argument in get_args(annotation) if not isinstance(argument, str))
    return next((part for part in found if part is not None), None)


# --- reference ------------------------------------------------------------------------------------


def spec_table() -> str:
    """Write the reference of all keys as Markdown tables, one for each part of a spec."""
    parts: dict[str, list[SpecKey]] = {}
    for key in spec_keys():
        first = key.path.partition(".")[0]
        parts.setdefault(first if _is_part(first) else "", []).append(key)
    parts[""] = [*parts[""], *(keys[0] for name, keys in parts.items() if name)]
    sections = []
    for name, keys in parts.items():
        rows = [key for key in keys if key.path != name]
        title = f"### `{name}`" if name else "### At the top"
        lines = ["| key | type | default | meaning | example |", "|---|---|---|---|---|"]
        lines += [_row(key, name) for key in rows]
        sections.append(f"{title}\n\n" + "\n".join(lines))
    return "\n\n".join(sections) + "\n"


def _is_part(name: str) -> bool:
    part = _part(DataSpec.model_fields[name].annotation)
    return part is not None


def _row(key: SpecKey, inside: str) -> str:
    path = key.path.removeprefix(f"{inside}.")
    default = key.default if key.default in WORDS else f"`{key.default}`"
    example = f"`{key.name}: {key.example}`" if key.example else ""
    kind = re.sub(r"\w+Spec", "its own keys, below", key.kind)
    cells = (f"`{path}`", kind, default, key.meaning, example)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def with_table(page: str) -> str:
    """Return a page with the table between its markers written anew."""
    before, found, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    if not found or not after:
        raise ValueError(f"the page lacks the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{spec_table()}\n{END}{after}"


# --- JSON schema ----------------------------------------------------------------------------------


def spec_schema() -> dict[str, Any]:
    """Build the JSON schema of data specs, for editors and for checking without Python.

    It accepts the short forms that `load_spec` accepts, such as `label: column`. What spans several
    keys, such as windows that are longer than the frame, only `load_spec` can tell.

    Returns
    -------
    dict
        Draft 2020-12.

    Examples
    --------
    >>> schema = spec_schema()
    >>> schema["required"], schema["properties"]["bin_width"]["anyOf"][0]
    (['name'], {'type': 'number', 'exclusiveMinimum': 0})
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "neuroalign data spec",
        **_model_schema(DataSpec),
    }


def schema_text() -> str:
    """Write the JSON schema as the text of a file."""
    return json.dumps(spec_schema(), indent=2, ensure_ascii=False) + "\n"


def _model_schema(model: type[BaseModel]) -> dict[str, Any]:
    documented = documented_keys(model)
    properties = {}
    for name, field in model.model_fields.items():
        entry = _schema(field.annotation, _bounds(field))
        if (model, name) == (FrameSpec, "start"):
            entry = {"anyOf": [{"type": "number"}, entry]}
        properties[name] = {"description": documented[name][1], **entry}
        if not field.is_required():
            default = field.get_default(call_default_factory=True)
            if not isinstance(default, BaseModel):
                properties[name]["default"] = default
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    if required:
        schema["required"] = required
    if model is RangeSpec:
        schema["minProperties"] = 1
    schema["additionalProperties"] = False
    return schema


def _bounds(field: FieldInfo) -> dict[str, Any]:
    return {
        _BOUNDS[bound]: getattr(limit, bound)
        for limit in field.metadata
        for bound in _BOUNDS
        if hasattr(limit, bound)
    }


def _schema(annotation: Any, bounds: dict[str, Any]) -> dict[str, Any]:
    """Translate an annotation; a number in it has the given bounds."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation == Scalar:
        return dict(_SCALAR)
    if annotation is Any:
        return {}
    if origin is Annotated:
        inner = _schema(arguments[0], bounds)
        # a rule may also be a single value
        is_rule = _part(annotation) is RangeSpec and "anyOf" in inner
        return {"anyOf": [dict(_SCALAR), *inner["anyOf"]]} if is_rule else inner
    if origin in {Union, types.UnionType}:
        return {"anyOf": [_schema(argument, bounds) for argument in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": _schema(arguments[0], bounds)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _value_schema(arguments[1])}
    if issubclass(annotation, BaseModel):
        return _model_schema(annotation)
    numeric = annotation in {int, float}
    return {"type": _PLAIN[annotation], **(bounds if numeric else {})}


def _value_schema(annotation: Any) -> dict[str, Any]:
    """Translate what the values of a mapping are, with their short forms."""
    schema = _schema(annotation, {})
    if annotation is LabelSpec:
        return {"anyOf": [{"type": "string"}, schema]}
    # names of raw values are text in the end, but may be written as numbers
    return dict(_SCALAR) if annotation is str else schema


# --- files ----------------------------------------------------------------------------------------


def reference_files(checkout: Path) -> dict[Path, str]:
    """Return what the two files that this module writes should hold.

    Parameters
    ----------
    checkout : Path
        The repository.
    """
    page = checkout / "docs" / "data_specs.md"
    return {
        checkout / "data_specs" / "schema.json": schema_text(),
        page: with_table(page.read_text(encoding="utf-8")),
    }


def main(checkout: str = ".") -> None:
    """Write the two files anew where they differ."""
    for path, text in reference_files(Path(checkout)).items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        aside = path.with_name(f".partial-{path.name}")
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
        sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
