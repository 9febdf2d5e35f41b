"""The code on the pages (README, docs) runs as it stands, and what the pages say holds."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import yaml
from pydantic import BaseModel

import neuroalign as na
from neuroalign.data.spec_parts import (
    FrameSpec,
    LabelSpec,
    TimesSpec,
    TrialsSpec,
    UnitsSpec,
    WindowSpec,
)

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MADE = {"_build", "generated", "tutorials"}  # folders that building the site fills
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted(DOCS.rglob("*.md")) if not MADE & set(page.relative_to(DOCS).parts)),
]
UNITS = {"barat": 16, "buchanan": 14, "mitt": 18, "stella": 12, "superchris": 10}
NOT_RUN = "# not run"
ABSOLUTE = re.compile(
    r"(?<![\w.:/])/(?:home|Users|tmp|root|mnt|opt|var|srv|data|work)\b|\b[A-Z]:\\|\bfile://"
)


def fenced(path: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def prepare(folder: Path, page: Path) -> None:
    """Lay out the files a page speaks of: recordings, and YAML blocks that name themselves."""
    recordings, _ = na.simulate_recordings(units=UNITS, trials=40, mean_rate=6, random_state=0)
    na.write_nwb(recordings, folder / "data")
    for block in fenced(page, "yaml"):
        named = re.match(r"# (\S+\.yaml)\n", block)
        if named:
            (folder / named[1]).write_text(block, encoding="utf-8")


def run_page(page: Path) -> dict[str, Any]:
    """Run a page's Python blocks in order, in one namespace."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, block in enumerate(fenced(page, "python"), start=1):
        if NOT_RUN not in block:
            exec(compile(block, f"{page.name}, Python block {number}", "exec"), namespace)
    return namespace


def short_fits(patch: pytest.MonkeyPatch, max_epochs: int) -> None:
    """Let fits end early and quietly, whatever the page asks for."""
    fit = na.SharedLatentModel.fit

    def fit_briefly(self: na.SharedLatentModel, *args: Any, **settings: Any) -> Any:
        self.max_epochs = min(self.max_epochs, max_epochs)
        self.verbose = False
        return fit(self, *args, **settings)

    patch.setattr(na.SharedLatentModel, "fit", fit_briefly)


def check_readme(names: dict[str, Any]) -> None:
    assert {"recordings", "model", "scores"} <= set(names)


def check_pairing(names: dict[str, Any]) -> None:
    chance = 0.25
    assert names["real"]["others"] > 2 * chance
    assert names["baseline"]["others"] > 2 * chance
    assert names["by_window"].mean() > 0.8
    assert abs(names["by_trial"].mean() - chance) < 0.1
    assert names["p_value"] == 1.0
    assert names["score"] > 2 * chance

    def mean(null: str, kind: str) -> float:
        results = names["nulls"][null]
        return float(sum(result[kind] for result in results) / len(results))

    # few permutations of few trials: what falls to chance does so only roughly
    assert mean("model", "within") > 2 * chance
    assert mean("model", "others") < 0.5
    assert mean("model", "others") < mean("model", "within")
    for null in ("decoder", "both"):
        assert mean(null, "within") < 0.5, null
        assert mean(null, "others") < 0.5, null


def check_own_recordings(names: dict[str, Any]) -> None:
    table = na.scores_to_frame(names["scores"]).query("level == 'trial' and kind == 'within'")
    assert (table["accuracy"] < 0.8).all()
    assert set(names["recordings"].children) == {"ada", "bob"}


def check_ways_of_sharing(names: dict[str, Any]) -> None:
    assert set(names["table"]["n_sources"]) == {1, 2}
    old, new = (names[m].fitted_.vae.state_dict() for m in ("model", "grown"))
    assert all((value == new[name]).all() for name, value in old.items())
    across = names["curve"].query("level == 'trial' and kind == 'across'")["accuracy"]
    assert across.iloc[-1] > 0.5


def check_belief(names: dict[str, Any]) -> None:
    assert names["p_by_window"] <= 0.02  # the trap: noise is called significant
    assert names["p_groups"] == 1.0
    assert len(set(names["null"].round(6))) == 1
    assert names["seen"] > names["held_out"]
    assert {"left out", "transfer", "imputation"} <= set(names["result"].parts)


def check_own_method(names: dict[str, Any]) -> None:
    assert names["result"].models == ["total count", "SRM"]


def check_many_fits(names: dict[str, Any]) -> None:
    table = names["table"]
    assert len(table) == 8
    assert (table["error"] == "").all()
    assert (table["across_trial"] > table["chance"]).all()
    assert [model.beta for model in names["fitted"]] == [0.1, 0.1, 1.0, 1.0]


def check_choosing(names: dict[str, Any]) -> None:
    chosen = names["result"].to_frame("fit")
    assert chosen["candidates"].tolist() == [4]
    headline = names["result"].to_frame().query("level == 'trial'").set_index("scope")["accuracy"]
    assert headline["across"] > 0.4


def check_uneven(names: dict[str, Any]) -> None:
    assert names["scores"]["chance"].values == pytest.approx([1 / 4, 1 / 3, 1 / 4])
    labels = [set(child["odor"].values) for child in names["even"].children.values()]
    assert labels == [{"A", "B", "C"}] * 3
    assert {child.sizes["trial"] for child in names["beginning"].children.values()} == {60}


def check_sessions(names: dict[str, Any]) -> None:
    found = names["across_animals"]
    assert set(found) == {"ada-1", "ada-2", "bob-1", "bob-2"}
    assert min(accuracy for accuracy, _ in found.values()) > 0.5
    assert max(p for _, p in found.values()) < 0.05


def check_imputation_claims(names: dict[str, Any]) -> None:
    imputed, real = names["within"]
    assert 0 < imputed < 0.5 * real


def check_trouble(names: dict[str, Any]) -> None:
    table = na.scores_to_frame(names["scores"]).query("level == 'trial'")
    assert table["kind"].unique().tolist() == ["within"]
    assert (table["accuracy"] > 0.25).all()


def check_how_much(names: dict[str, Any]) -> None:
    assert names["power"](40, 0.5, 0.25) == pytest.approx(0.92, abs=0.005)


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "README": check_readme,
    "index": check_readme,
    "choose_settings": check_choosing,
    "uneven_data": check_uneven,
    "several_sessions": check_sessions,
    "what_imputation_can_claim": check_imputation_claims,
    "troubleshooting": check_trouble,
    "how_much_data": check_how_much,
    "bring_your_own_method": check_own_method,
    "can_i_believe_it": check_belief,
    "many_fits": check_many_fits,
    "pairing_and_leakage": check_pairing,
    "bring_your_own_recordings": check_own_recordings,
    "ways_of_sharing": check_ways_of_sharing,
}
# README and index fit five rats at length; the other pages are small by themselves
BRIEF = {"README": 3, "index": 3}
SLOW = (
    "README",
    "can_i_believe_it",
    "choose_settings",
    "index",
    "many_fits",
    "pairing_and_leakage",
    "results_as_nwb",
    "several_sessions",
    "validation",
    "ways_of_sharing",
    "with_other_tools",
)


@pytest.fixture
def quiet_figures() -> Any:
    """Draw without a screen, and close what was drawn."""
    import matplotlib.pyplot as plt

    with mpl.rc_context({"backend": "Agg"}):
        plt.switch_backend("Agg")
        yield
        plt.close("all")


def named(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page.stem in SLOW else [], id=page.stem)
        for page in PAGES
        if fenced(page, "python")
    ],
)
@pytest.mark.usefixtures("quiet_figures")
def test_python_blocks_of_pages_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, page)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        if page.stem in BRIEF:
            short_fits(monkeypatch, BRIEF[page.stem])
            # fits as short as these may rightly warn
            warnings.simplefilter("ignore", na.NeuroAlignWarning)
        names = run_page(page)
    if page.stem in CHECKS:
        CHECKS[page.stem](names)


def test_there_are_pages() -> None:
    assert {"README", "bring_your_own_recordings", "pairing_and_leakage"} <= {
        page.stem for page in PAGES
    }


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_no_absolute_paths(path: Path) -> None:
    assert ABSOLUTE.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_relative_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (path.parent / link).exists()] == []


def test_yaml_of_pages_is_a_valid_spec() -> None:
    for page in PAGES:
        for block in fenced(page, "yaml"):
            na.load_spec(yaml.safe_load(block))


def test_reference_spec_has_every_key() -> None:
    text = (ROOT / "data_specs" / "template.yaml").read_text(encoding="utf-8")
    parts: list[type[BaseModel]] = [
        na.DataSpec,
        TrialsSpec,
        LabelSpec,
        UnitsSpec,
        TimesSpec,
        FrameSpec,
        WindowSpec,
    ]
    keys = {key for part in parts for key in part.model_fields}
    written = set(re.findall(r"(?:^|[\s{,])(\w+):", text))
    assert sorted(keys - written) == []
