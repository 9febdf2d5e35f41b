"""Tables of the README and of what was measured are what the recorded results give."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the script afresh, as scripts of its folder import each other."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.reload(importlib.import_module("readme_tables"))


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("rats_table", "docs/measured.md"),
        ("mice_table", "docs/measured.md"),
        ("both_table", "README.md"),
    ],
)
def test_pages_show_the_tables_of_the_recorded_results(
    tables: ModuleType, name: str, page: str
) -> None:
    expected = "\n".join(getattr(tables, name)())
    assert expected.count("\n") > 5
    assert expected in (ROOT / page).read_text(encoding="utf-8")


def test_differences_are_paired_over_simulations(
    tables: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = [0.8, 0.7, 0.9, 0.6], [0.75, 0.66, 0.84, 0.57]
    scores = pd.DataFrame(
        {
            "method": [tables.OURS] * 4 + ["poe"] * 4,
            "seed": [*range(4)] * 2,
            "within": ours + theirs,
        }
    )
    gaps = np.subtract(theirs, ours)
    t = gaps.mean() / (gaps.std(ddof=1) / 2)  # by hand: four pairs
    assert t == pytest.approx(-6.97, abs=0.01)
    assert tables._difference(scores, "poe", "within") == "−0.045 (0.01)"
    assert tables._difference(scores.drop(index=[4, 5]), "poe", "within") == ""
    assert tables._difference(scores, tables.OURS, "within") == ""
