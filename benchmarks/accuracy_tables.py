"""The tables of docs/performance.md about time and accuracy beside other packages."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd
from table_layout import shown, table_of

RESULTS = Path(__file__).parent / "results"
ASKED: Final = (0.7, 0.8, 0.85)  # accuracies that a method must reach within and across rats
OURS: Final = "mm-vamp"


def cebra() -> list[str]:
    """CEBRA's time over ours, and what either reads."""
    table = pd.read_csv(RESULTS / "cebra_rats.csv")
    windows = table[table["level"] == "window"]
    rows = []
    for seed, own in windows.groupby("seed"):
        seconds = own.groupby("model")["seconds"].first()
        ratio = f"{seconds['CEBRA'] / seconds['mm-vamp']:.1f}"
        score = own.set_index(["model", "scope"])["accuracy"]
        cells = [f"{score[m, s]:.2f}" for m in ("CEBRA", "mm-vamp") for s in ("within", "across")]
        rows.append((str(seed), ratio, *cells))
    heads = ["seed", "CEBRA's time over mm-vamp's", "CEBRA, within rats", "across"]
    return table_of([*heads, "mm-vamp, within rats", "across"], rows)


def accuracy() -> list[str]:
    """How long every method takes to an accuracy, over our time to the same one."""
    table = pd.read_csv(RESULTS / "time_to_accuracy.csv")
    table["both"] = table[["within", "across"]].min(axis=1)
    methods = list(dict.fromkeys(table["method"]))
    seeds = sorted(set(table["seed"]))
    ours = table[table["method"] == OURS]
    ours = ours[ours["budget"] == ours["budget"].max()]
    rows = []
    for method in methods:
        own = table[table["method"] == method]
        cells = [_times(table, method, level) for level in ASKED]
        longest = own[own["budget"] == own["budget"].max()]
        over = longest.set_index("seed")["seconds"] / ours.set_index("seed")["seconds"]
        last = [shown(longest[scope].tolist()) for scope in ("within", "across")]
        rows.append((method, *cells, shown(over.dropna().tolist()), *last))
    heads = ["method", *(f"to {level:.2f}" for level in ASKED), "largest budget"]
    return [
        f"Simulations: {', '.join(map(str, seeds))}.",
        "",
        *table_of([*heads, "within rats then", "across"], rows),
    ]


def _seconds(table: pd.DataFrame, method: str, level: float, seed: int) -> float:
    """Return the time of the smallest budget that reaches an accuracy; infinite if none does."""
    own = table[(table["method"] == method) & (table["seed"] == seed)].sort_values("budget")
    reached = own.loc[own["both"] >= level, "seconds"]
    return float(reached.iloc[0]) if len(reached) else float("inf")


def _times(table: pd.DataFrame, method: str, level: float) -> str:
    """Lay out the times over ours of those simulations in which the method gets there."""
    seeds = sorted(set(table.loc[table["method"] == method, "seed"]))
    theirs = [_seconds(table, method, level, seed) for seed in seeds]
    ours = [_seconds(table, OURS, level, seed) for seed in seeds]
    both = [a / b for a, b in zip(theirs, ours, strict=True) if max(a, b) < float("inf")]
    missed = sum(a == float("inf") for a in theirs)
    alone = sum(a < b == float("inf") for a, b in zip(theirs, ours, strict=True))
    said = [shown(both)] if both else []
    said += [f"not reached in {missed}"] if missed else []
    said += [f"reached in {alone} where {OURS} did not"] if alone else []
    return "not reached" if missed == len(seeds) else ", ".join(said)
