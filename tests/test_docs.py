"""The documentation is whole: every name, command and page has its place, and what it quotes exists."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import neuroalign as na

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "neuroalign"
MADE = {"_build", "generated", "tutorials"}  # by a build
PAGES = {
    page.relative_to(DOCS).with_suffix("").as_posix(): page
    for page in sorted(DOCS.rglob("*.md"))
    if not MADE & set(page.relative_to(DOCS).parts[:-1])
}
SHORTEST_QUOTE = 10  # letters of a message that a page must quote to mean it


@pytest.fixture
def extensions(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the documentation's own Sphinx extensions be imported."""
    monkeypatch.syspath_prepend(str(DOCS / "_extensions"))
    return importlib.import_module


def blocks(text: str, name: str) -> list[str]:
    return re.findall(rf"^```\{{{name}\}}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def toctree_entries() -> list[str]:
    """Return every page that a table of contents names, from the root of docs."""
    found = []
    for name, page in PAGES.items():
        folder = Path(name).parent
        for block in blocks(page.read_text(encoding="utf-8"), "toctree"):
            lines = [line for line in block.splitlines() if line and not line.startswith(":")]
            found += [(folder / line).as_posix() for line in lines]
    return found


def test_every_page_is_in_exactly_one_table_of_contents() -> None:
    entries = [entry for entry in toctree_entries() if "*" not in entry]
    assert sorted(entries) == sorted(set(PAGES) - {"index"})


def test_every_tutorial_is_found_by_a_pattern() -> None:
    assert "tutorials/*" in toctree_entries()


def test_every_public_name_is_in_the_reference_once() -> None:
    text = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
    listed = [
        line.strip()
        for block in blocks(text, "eval-rst")
        for line in block.splitlines()
        if re.fullmatch(r"   \w+", line)
    ]
    assert sorted(listed) == sorted(set(na.__all__) - {"__version__"})


def test_the_command_reference_holds_the_help_of_every_command(extensions: Any) -> None:
    page = (DOCS / "reference" / "command_line.md").read_text(encoding="utf-8")
    assert "```{commands}\n```" in page
    written = extensions("command_line")
    program = importlib.import_module("neuroalign.cli.app")
    assert written.command_names() == list(program.COMMANDS)
    overview = written.help_of()
    for name in written.command_names():
        assert re.search(rf"^  {name} ", overview, flags=re.MULTILINE)
        text = written.help_of(name)
        assert text.startswith(f"Usage: neuroalign {name} ")
        assert all(f"  {example}" in text for example in program.EXAMPLES[name])


def test_citation_names_the_paper_and_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version"} <= set(citation)
    assert citation["version"] == na.__version__
    assert citation["license"] == "BSD-3-Clause"
    paper = citation["preferred-citation"]
    assert paper["title"].startswith("Unity by Diversity")
    assert [author["family-names"] for author in paper["authors"]] == [
        "Sutter", "Meng", "Fortin", "Vogt", "Shahbaba", "Mandt",
    ]  # fmt: skip


def test_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", text, flags=re.MULTILINE)
    assert next(heading for heading in headings if heading != "Unreleased") == na.__version__


def test_issue_templates_ask_for_what_is_needed() -> None:
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    for page in folder.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        front = yaml.safe_load(text.split("---\n")[1])
        assert {"name", "about", "labels"} <= set(front), page.name
        assert "neuroalign inspect FILE" in text, page.name
    assert len(list(folder.glob("*.md"))) == 3


def test_contributing_names_what_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:neuroalign|tests|benchmarks|docs|data_specs)/[\w./]+)`", text)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([\w-]+)", text, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        yield file, ast.parse(file.read_text(encoding="utf-8"))


def constants(node: ast.AST) -> list[str]:
    """Return the texts in a piece of code; of texts with values in them, the fixed parts."""
    return [
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def warnings_given() -> Iterator[tuple[Path, list[str]]]:
    """Yield the fixed parts of the message of every warning in the package."""
    for file, module in modules():
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and node.args:
                called = node.func
                name = (
                    called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                )
                if name in {"warn", "_warn"}:
                    yield file, constants(node.args[0])


def quoted_messages() -> list[str]:
    """Return the fixed parts of the messages in the first column of troubleshooting's tables."""
    text = PAGES["troubleshooting"].read_text(encoding="utf-8")
    cells = re.findall(r"^\|([^|]+)\|", text, flags=re.MULTILINE)
    quotes = [quote for cell in cells for quote in re.findall(r"`([^`]+)`", cell)]
    names = {"history_", *na.__all__, "window"}
    parts = [part.strip() for quote in quotes if quote not in names for part in quote.split("…")]
    return [part for part in parts if part]


def test_messages_quoted_in_troubleshooting_are_the_packages_own() -> None:
    parts = {part for _, module in modules() for part in constants(module)}
    quotes = quoted_messages()
    assert len(quotes) > 40
    assert [quote for quote in quotes if not any(quote in part for part in parts)] == []


def test_every_warning_of_the_package_is_in_troubleshooting() -> None:
    quotes = [quote for quote in quoted_messages() if len(quote) >= SHORTEST_QUOTE]
    unknown = [
        f"{file.relative_to(ROOT)}: {' … '.join(parts)}"
        for file, parts in warnings_given()
        if "validation" not in file.parts
        and max(map(len, parts), default=0) > SHORTEST_QUOTE
        and not any(quote in part for quote in quotes for part in parts)
    ]
    assert unknown == []


def test_power_of_a_test_against_chance_is_the_binomials() -> None:
    from scipy.stats import binom

    text = PAGES["how_much_data"].read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ((?:[01]\.\d\d \| ){7}[01]\.\d\d) \|$", text, re.MULTILINE)
    assert [int(trials) for trials, _ in rows] == [10, 20, 40, 80, 160]
    cases = [
        *((0.25, a) for a in (0.35, 0.4, 0.5, 0.6)),
        *((0.5, a) for a in (0.6, 0.65, 0.7, 0.8)),
    ]
    for trials, written in rows:
        right = np.arange(int(trials) + 1)
        for (chance, accuracy), value in zip(cases, written.split(" | "), strict=True):
            at_least = binom.pmf(right, int(trials), chance)[::-1].cumsum()[::-1]
            significant = right[at_least <= 0.05]  # numbers of right trials that are rare by chance
            power = binom.pmf(significant, int(trials), accuracy).sum()
            assert abs(power - float(value)) < 0.006, (trials, chance, accuracy)


def test_the_power_guides_table_is_that_of_its_benchmark() -> None:
    table = pd.read_csv(ROOT / "benchmarks" / "results" / "power_guide.csv")
    text = PAGES["how_much_data"].read_text(encoding="utf-8")
    cells = list(table.groupby(["units", "animals", "trials"]))
    assert text.count("\n| ") >= len(cells)
    for (units, animals, trials), cell in cells:
        row = re.search(
            rf"^\| {units} \| \d+ \| {animals} \| {trials} \| (.+) \|$", text, re.MULTILINE
        )
        assert row, (units, animals, trials)
        written = [float(value.split(" ")[0]) for value in row[1].split(" | ")]
        columns = ["model_across_trial", "srm_across_trial", "raw_within_trial", "optimal_window"]
        assert written[:4] == pytest.approx(cell[columns].mean().tolist(), abs=0.006)
        assert written[4] == len(cell)


@pytest.mark.parametrize(
    ("file", "start", "fixed_beta"),
    [
        ("polymnist_style_scores", "**PolyMNIST-style", 0.01),
        ("drawn_faces_scores", "**Drawn faces", None),
    ],
)
def test_tables_of_pictures_are_those_of_the_recorded_scores(
    file: str, start: str, fixed_beta: float | None
) -> None:
    table = pd.read_csv(ROOT / "benchmarks" / "results" / f"{file}.csv")
    text = PAGES["validation"].read_text(encoding="utf-8")
    text = text[text.index(f"\n{start}") :]
    found = re.search(r"^\| method.*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert found
    header, _, *rows = found[0].strip().splitlines()
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    assert len(rows) >= 6
    for row in rows:
        cells = dict(zip(columns, [c.strip(" *") for c in row.strip("|").split("|")], strict=True))
        beta = float(cells.get("β", fixed_beta))  # type: ignore[arg-type]
        mine = table[(table["method"] == cells["method"]) & (table["beta"] == beta)]
        for name in ("latent", "latent means", "coherence"):
            mean = mine[mine["measure"] == name].groupby("seed")["value"].mean().mean()
            assert float(cells[name].split()[0]) == pytest.approx(mean, abs=0.0051), (row, name)
        joint = mine[mine["measure"] == "reconstruction joint"].groupby("seed")["value"].sum()
        assert len(joint) == 3
        written = float(cells["reconstruction joint"].replace(",", ""))
        assert written == pytest.approx(joint.mean(), abs=1.1)


def test_links_out_of_docs_become_pages_of_the_site(extensions: Any) -> None:
    turn = extensions("pages_from_outside").turn_links
    assert turn("[a](../README.md)") == "[a](/index.md)"
    assert (
        turn("[a](../tutorials/01_x.md) [b](../docs/c.md)") == "[a](/tutorials/01_x.md) [b](/c.md)"
    )
    assert turn("[a](objective.md)") == "[a](objective.md)"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("myst_nb")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    folders = ["-d", str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "html")]
    done = subprocess.run([*command, *folders], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {page.stem for page in (tmp_path / "html").glob("*.html")}
    assert {"index", "measured", "troubleshooting", "changelog"} <= pages
    api = (
        tmp_path / "html" / "reference" / "generated" / "neuroalign.SharedLatentModel.html"
    ).read_text()
    assert "add_subject" in api
    assert "set_fit_request" not in api
    spec = (tmp_path / "html" / "reference" / "generated" / "neuroalign.DataSpec.html").read_text()
    assert "label_names" in spec
    assert "model_dump" not in spec
