"""The README's tables are what the recorded results give, to the last digit."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    path = ROOT / "benchmarks" / "readme_tables.py"
    spec = importlib.util.spec_from_file_location("readme_tables", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["rats_table", "mice_table"])
def test_the_readme_shows_the_table_of_the_recorded_results(tables: ModuleType, name: str) -> None:
    expected = "\n".join(getattr(tables, name)())
    assert expected.count("\n") > 5
    assert expected in (ROOT / "README.md").read_text(encoding="utf-8")


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
