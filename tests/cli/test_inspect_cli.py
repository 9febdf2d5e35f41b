"""`neuroalign inspect` where it needs no file, and where it should have one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import neuroalign as na
from neuroalign.cli import app
from neuroalign.data.specs import spec_template

SPECS = Path(__file__).resolve().parents[2] / "data_specs"


def inspect(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["inspect", *arguments])
    return result.exit_code, result.output


def test_schema_is_the_one_beside_the_specs() -> None:
    code, output = inspect("--schema")
    assert code == 0
    assert output == (SPECS / "schema.json").read_text(encoding="utf-8")
    assert json.loads(output)["required"] == ["name"]


def test_template_is_a_spec_with_its_comments() -> None:
    code, output = inspect("--template")
    assert code == 0
    assert output == spec_template() == (SPECS / "template.yaml").read_text(encoding="utf-8")
    assert na.load_spec(yaml.safe_load(output)).name == "my_study"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected NWB files, folders or patterns, got none"),
        (("--spec",), "expected NWB files, folders or patterns, got none"),
        (("--schema", "--template"), "leave out what you do not want"),
        (("--template", "session.nwb"), "leave out what you do not want"),
        (("--schema", "--spec"), "leave out what you do not want"),
    ],
)
def test_requests_that_contradict_themselves(arguments: tuple[str, ...], message: str) -> None:
    code, output = inspect(*arguments)
    assert code == 2
    assert message in output
    assert "Traceback" not in output
