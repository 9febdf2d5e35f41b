"""The first tutorials run as they stand, their claims hold, and notebooks are in step."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tutorial_examples import CHECKS, ROOT, TUTORIALS, check_tutorial, named

NOTEBOOKS = ROOT / "tutorials" / "notebooks"
LIST = ROOT / "tutorials" / "README.md"
ABSOLUTE = re.compile(
    r"(?<![\w.:/])/(?:home|Users|tmp|root|mnt|opt|var|srv|data|work)\b|\b[A-Z]:\\|\bfile://"
)


def make_notebooks() -> Any:
    """Import the script that makes the notebooks."""
    path = ROOT / "tutorials" / "make_notebooks.py"
    spec = importlib.util.spec_from_file_location("make_notebooks", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def links(text: str) -> list[str]:
    """Return the relative links of a page or of a notebook's text."""
    found = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    return [link for link in found if not re.match(r"[a-z]+:", link)]


# the others are in test_tutorials_in_depth.py, so that both halves can run at the same time
@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS[:3], ids=named)
def test_tutorial_runs(tutorial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_tutorial(tutorial, tmp_path, monkeypatch)


def test_every_tutorial_claims_something_that_is_checked() -> None:
    assert {path.stem for path in TUTORIALS} == set(CHECKS)


@pytest.mark.parametrize("path", [*TUTORIALS, LIST], ids=named)
def test_no_absolute_paths(path: Path) -> None:
    assert ABSOLUTE.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [*TUTORIALS, LIST], ids=named)
def test_relative_links_lead_somewhere(path: Path) -> None:
    local = links(path.read_text(encoding="utf-8"))
    assert [link for link in local if not (path.parent / link).exists()] == []


def test_the_list_names_every_tutorial() -> None:
    assert [
        path.name for path in TUTORIALS if path.name not in links(LIST.read_text("utf-8"))
    ] == []


def test_there_is_one_notebook_per_source() -> None:
    assert sorted(p.stem for p in NOTEBOOKS.glob("*")) == [p.stem for p in TUTORIALS]


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=named)
def test_notebook_is_in_step_with_its_source(tutorial: Path) -> None:
    kept = (NOTEBOOKS / f"{tutorial.stem}.ipynb").read_text(encoding="utf-8")
    assert kept == make_notebooks().notebook_text(tutorial), (
        "run python tutorials/make_notebooks.py"
    )


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=named)
def test_notebook_has_no_outputs_and_its_links_lead_somewhere(tutorial: Path) -> None:
    notebook = json.loads((NOTEBOOKS / f"{tutorial.stem}.ipynb").read_text(encoding="utf-8"))
    identities = [cell["id"] for cell in notebook["cells"]]
    assert len(set(identities)) == len(identities)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
        else:
            local = links("".join(cell["source"]))
            assert [link for link in local if not (NOTEBOOKS / link).exists()] == []


def test_links_move_with_the_notebooks(tmp_path: Path) -> None:
    source = tmp_path / "09_links.md"
    source.write_text(
        "[a](../docs/a.md#b) [c](01_c.md) [d](https://e.org/f.md) [g](#g)\n\n```{code-cell}\n1\n```\n",
        encoding="utf-8",
    )
    notebook = json.loads(make_notebooks().notebook_text(source))
    assert [cell["cell_type"] for cell in notebook["cells"]] == ["markdown", "code"]
    assert (
        "".join(notebook["cells"][0]["source"])
        == "[a](../../docs/a.md#b) [c](01_c.ipynb) [d](https://e.org/f.md) [g](#g)"
    )
