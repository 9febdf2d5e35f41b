"""Schema, template, reference page and the pages of data sets are in step with the models."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

import neuroalign as na
from neuroalign.data.spec_parts import (
    FrameSpec,
    LabelSpec,
    RangeSpec,
    TimesSpec,
    TrialsSpec,
    UnitsSpec,
    WindowSpec,
)
from neuroalign.data.spec_reference import (
    documented_keys,
    reference_files,
    spec_keys,
    spec_schema,
    with_table,
)
from neuroalign.data.specs import shipped_specs, spec_template

ROOT = Path(__file__).resolve().parents[2]
SPECS = ROOT / "data_specs"
SHIPPED = sorted(shipped_specs())
PARTS: list[type[BaseModel]] = [
    na.DataSpec,
    TrialsSpec,
    LabelSpec,
    RangeSpec,
    UnitsSpec,
    TimesSpec,
    FrameSpec,
    WindowSpec,
]
AGAIN = "run `python -m neuroalign.data.spec_reference` in the repository"


def schema_problems(content: Any) -> list[str]:
    """Check a spec against the stored schema, by a library that knows nothing of the models."""
    validators: Any = importlib.import_module("jsonschema")
    schema = json.loads((SPECS / "schema.json").read_text(encoding="utf-8"))
    validators.Draft202012Validator.check_schema(schema)
    return [error.message for error in validators.Draft202012Validator(schema).iter_errors(content)]


def loads(content: Any) -> bool:
    try:
        na.load_spec(content)
    except na.SpecError:
        return False
    return True


# --- in step --------------------------------------------------------------------------------------


def test_written_files_are_those_the_models_give() -> None:
    for path, text in reference_files(ROOT).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: {AGAIN}"


def test_every_key_is_documented_with_type_and_meaning() -> None:
    for part in PARTS:
        documented = documented_keys(part)
        assert list(documented) == list(part.model_fields), part.__name__
        assert all(kind and meaning.endswith(".") for kind, meaning in documented.values())


def test_every_key_is_listed_once_and_its_example_is_allowed() -> None:
    keys = spec_keys()
    paths = [key.path for key in keys]
    assert len(set(paths)) == len(paths)
    # ranges are keys of two parts
    n_fields = sum(len(part.model_fields) for part in PARTS) + len(RangeSpec.model_fields)
    assert len(paths) == n_fields
    for key in keys:
        parts = {"trials", "units", "times", "frame", "window"}
        assert bool(key.example) == (key.path not in parts), key.path
        if key.example:
            assert loads(spec_with(key.path, yaml.safe_load(key.example))), key.path


def spec_with(path: str, value: Any) -> dict[str, Any]:
    """Build the smallest spec that has a value at a path."""
    needed: dict[str, dict[str, Any]] = {
        "frame": {"start": 0.0, "length": 1.0},
        "window": {"length": 0.5, "step": 0.5},
    }
    spec: dict[str, Any] = {"name": "x"}
    *parents, last = path.split(".")
    place = spec
    for parent in parents:
        place = place.setdefault(parent, dict(needed.get(parent, {})))
    if last == "values":
        place["column"] = "x"
    place[last] = value
    return spec


def test_stated_defaults_are_the_models_own() -> None:
    bare = na.load_spec({"name": "x"})
    for key in spec_keys():
        if key.default in {"required", "none", "those of its keys"} or "LABEL" in key.path:
            continue
        value: Any = bare
        for part in key.path.split("."):
            value = getattr(value, part)
        assert json.loads(key.default) == value, key.path


def test_a_page_without_the_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="the page lacks the lines"):
        with_table("# Data specs\n")


# --- schema ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SHIPPED, "template"])
def test_shipped_specs_meet_the_schema_and_name_it(name: str) -> None:
    text = (SPECS / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert schema_problems(yaml.safe_load(text)) == []


def test_schema_has_the_keys_and_the_required_ones_that_pydantic_has() -> None:
    theirs = na.DataSpec.model_json_schema()
    ours = spec_schema()
    assert list(ours["properties"]) == list(theirs["properties"])
    assert ours["required"] == theirs["required"]
    for name, definition in theirs["$defs"].items():
        mine = find_object(ours, set(definition["properties"]))
        assert mine.get("required", []) == definition.get("required", []), name
        assert mine["additionalProperties"] is False


def find_object(schema: Any, keys: set[str]) -> dict[str, Any]:
    """Find the part of a schema that describes an object of the given keys."""
    pending = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, dict) and set(part.get("properties", {})) == keys:
            return part
        pending += (
            part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
        )
    raise AssertionError(f"no object with the keys {keys}")


TRIALS: list[dict[str, Any]] = [
    {"labels": {"odor": "odor_id"}},
    {"labels": {"odor": {"column": "odor", "values": {"1": "A", "2": 2, "3": True}}}},
    {"keep": {"odor": "A", "correct": True, "block": [1, 2], "x": {"min": 0, "max": 0.5}}},
    {"events": "a/b"},
    {"events": ["a", "b"]},
]


@pytest.mark.parametrize("trials", TRIALS)
def test_short_forms_meet_the_schema_and_load(trials: dict[str, Any]) -> None:
    spec = {"name": "x", "trials": trials}
    assert schema_problems(spec) == []
    assert loads(spec)


@pytest.mark.parametrize(
    "change",
    [
        {"trials": {"lables": {}}},
        {"trials": {"labels": {"odor": {"colum": "x"}}}},
        {"trials": {"labels": {"odor": 3}}},
        {"trials": {"keep": {"x": {"mx": 1}}}},
        {"trials": {"keep": {"x": {}}}},
        {"units": {"min_rate": -1}},
        {"units": {"min_spikes": 1.5}},
        {"times": {"spikes": "minutes"}},
        {"frame": {"start": 0}},
        {"frame": {"start": "early", "length": 1}},
        {"window": {"length": 0, "step": 1}},
        {"bin_width": 0},
        {"label": 3},
        {"recipes": []},
        {"name": 3},
        {"frames": {}},
    ],
)
def test_what_the_schema_refuses_load_spec_refuses(change: dict[str, Any]) -> None:
    spec = {"name": "x", **change}
    assert schema_problems(spec) != []
    assert not loads(spec)


# --- template -------------------------------------------------------------------------------------


def test_the_template_loads_and_its_plain_lines_are_the_defaults() -> None:
    text = spec_template()
    spec = na.load_spec(yaml.safe_load(text))
    bare = na.load_spec({"name": "my_study"})
    examples = {"frame", "bin_width", "window"}  # no defaults: they have to be chosen
    for name in na.DataSpec.model_fields:
        if name not in examples:
            assert getattr(spec, name) == getattr(bare, name), name


def test_the_template_has_every_key_with_its_default_and_a_word_on_it() -> None:
    lines = spec_template().splitlines()
    for key in spec_keys():
        if key.name in {"trials", "units", "times"} and "." not in key.path:
            continue  # they hold other keys, each with a default of its own
        mine = [line for line in lines if re.match(rf"[\s#-]*{key.name}: ", line)]
        if key.name in {"min", "max"}:
            mine = [line for line in lines if f"{key.name}: " in line and "a range" in line]
        assert mine, key.path
        stated = " ".join(line.partition(" # ")[2] for line in mine)
        if key.default == "required":
            assert "required; " in stated, key.path
        elif key.default == "none":
            assert "default " in stated, key.path
        else:
            value = yaml.safe_load(key.default)
            plain = value if isinstance(value, str) and value else key.default
            assert f"default {plain}" in stated, key.path


def test_the_template_still_loads_when_every_line_counts() -> None:
    text = spec_template().replace("#- ", "")
    content = yaml.safe_load(re.sub(r"^  table: .*\n", "", text, flags=re.MULTILINE))
    assert schema_problems(content) == []
    spec = na.load_spec(content)
    assert spec.trials.events is not None
    assert spec.label_names == ["odor"]
    assert spec.units.keep["isi_violations"] == RangeSpec(max=0.5)


# --- pages of data sets ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_spec_has_a_page(name: str) -> None:
    text = (SPECS / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    for part in (
        "Licence",
        "Read here",
        "## Files",
        "## Oddities",
        "## What the spec",
        "## Recipes",
    ):
        assert part in text, part
    links = re.findall(r"\]\(([^)#\s]+)\)", text)
    local = [link for link in links if not link.startswith("https:")]
    assert f"{name}.yaml" in local
    assert [
        link for link in local if not any((SPECS / f"{link}{end}").exists() for end in ("", ".md"))
    ] == []
    assert not re.search(r"(?<![\w.:/`-])/(?:home|Users|tmp|root|mnt|work)\b", text)
    for block in re.findall(r"^```yaml\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        na.load_spec(yaml.safe_load(block))


def test_the_reference_page_lists_every_shipped_spec_and_what_it_was_read_with() -> None:
    page = (ROOT / "docs" / "data_specs.md").read_text(encoding="utf-8")
    page = page.partition("## Specs that come with the package")[2]
    listed = re.findall(
        r"^\| `(\w+)` \|.*\| ((?:yes|no|simulated).*?) \|$", page, flags=re.MULTILINE
    )
    assert sorted(name for name, _ in listed) == SHIPPED
    for name, read_with in listed:
        own = (SPECS / f"{name}.md").read_text(encoding="utf-8")
        stated = re.search(r"^\| Read here[^|]*\| (\w+)", own, flags=re.MULTILINE)
        assert stated is not None
        assert (stated[1] == "no") == read_with.startswith("no"), name


def test_numbers_on_the_pages_are_those_of_the_specs() -> None:
    for name in SHIPPED:
        spec = na.load_spec(name)
        assert spec.frame is not None
        assert spec.window is not None
        assert spec.bin_width is not None
        text = (SPECS / f"{name}.md").read_text(encoding="utf-8")
        window, step = (
            f"{round(1000 * value)}" for value in (spec.window.length, spec.window.step)
        )
        assert f"windows of {window} ms every {step} ms" in text, name
        assert f"{round(1000 * spec.bin_width)} ms bins" in text, name
        if name != "simulated":
            assert f"`{spec.label}`" in text, name
