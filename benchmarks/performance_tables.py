"""Print the tables of docs/performance.md from recorded results, or write them into the page.

    python benchmarks/performance_tables.py [--write]

`bench_fit.py`, `bench_sweep.py`, `bench_replicates.py`, `cebra_rats.py` and `time_to_accuracy.py`
write what is read here.
Numbers are medians over repeats, in brackets the lowest and highest; ratios are formed within a
repeat. What has not been measured is a line that says so, with the command.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
from accuracy_tables import accuracy, cebra
from table_layout import shown, table_of

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"
PAGE, FIGURE = DOCS / "performance.md", DOCS / "figures" / "performance.png"
BLOCK = re.compile(
    r"(<!-- (\w+): written by benchmarks/performance_tables\.py -->\n).*?(<!-- end -->)", re.DOTALL
)
RECIPES: Final = {"paper": "paper's networks", "recommended": "default networks"}
LOADERS: Final = (
    "Lightning, 0 workers",
    "Lightning, 2 workers",
    "Lightning, 0 workers, fused Adam",
)
PANELS: Final = {
    "animals": "animals",
    "units": "units per animal",
    "trials": "trials per animal",
    "replicates": "replicates side by side",
}
CPU_FIT = "python benchmarks/bench_fit.py"
CPU_SWEEP = "python benchmarks/bench_sweep.py"

Result = Mapping[str, Any]
Repeats = dict[str, dict[int, float]]  # work to repeat to time over that of the reference


def recorded(name: str) -> Result | None:
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def owed(command: str) -> list[str]:
    return [f"Not measured yet: `{command}`."]


def machine(result: Result) -> str:
    """Say in a line what measured."""
    found = result["machine"]
    threads = found["threads"]
    where = (
        f"{found['processor']} with {found['instructions']}, {found['cores']} cores, "
        f"{threads} thread{'s' * (threads > 1)}"
    )
    if "gpu" in found:
        where = f"{found['gpu']} (TF32 {'on' if found['tf32'] else 'off'})"
    repeats = result["settings"]["repeats"]
    line = f"Measured on: {where}, PyTorch {found['torch']}; {repeats} repeats."
    busy = found["busy cores before"]
    return f"{line} **The machine had other work** ({busy:.1f} cores)." if busy > 0.2 else line


def relative(result: Result, recipe: str) -> Repeats:
    """Return the works of a recipe."""
    found: Repeats = {}
    for row in result["rows"]:
        if row["recipe"] == recipe:
            found.setdefault(row["work"], {})[row["repeat"]] = row["relative"]
    return found


def over(works: Repeats, work: str, reference: str) -> list[float]:
    """Return a work's time over another's, repeat by repeat."""
    below = works.get(reference, {})
    return [value / below[r] for r, value in works.get(work, {}).items() if r in below]


# ---- tables, by the name of their block on the page


def epoch(name: str = "bench_fit") -> list[str]:
    """What an epoch is made of."""
    result = recorded(name)
    if result is None:
        return owed(CPU_FIT)
    both = [relative(result, recipe) for recipe in RECIPES]

    def left(works: Repeats) -> list[float]:
        used = "products, oneDNN" if "products, oneDNN" in works else "products"
        parts = (works.get(name, {}) for name in (used, "optimiser"))
        return [1.0 - a - b for a, b in zip(*(part.values() for part in parts), strict=True)]

    def validation(works: Repeats) -> list[float]:
        return [1.0 - ratio for ratio in over(works, "training", "with validation")]

    rows = [
        ("matrix products alone", [shown(over(w, "products", "training")) for w in both]),
        (
            "matrix products alone, everything on one thread",
            [shown(over(w, "products, one thread", "training, one thread")) for w in both],
        ),
        (
            "the same products by oneDNN",
            [shown(over(w, "products, oneDNN", "training")) for w in both],
        ),
        ("optimiser alone", [shown(over(w, "optimiser", "training")) for w in both]),
        ("what is left", [shown(left(w)) for w in both]),
        (
            "training without oneDNN",
            [shown(over(w, "training, plain products", "training")) for w in both],
        ),
        (
            "share of validation in an epoch with it",
            [shown(validation(w), percent=True) for w in both],
        ),
        ("the recipe as it stands", [shown(over(w, "as it stands", "training")) for w in both]),
    ]
    sizes = [_problem(title, result["problems"][name]) for name, title in RECIPES.items()]
    heads = ["time over that of training", *RECIPES.values()]
    shown_rows = [(name, *cells) for name, cells in rows if any(cells)]
    return [machine(result), *sizes, "", *table_of(heads, shown_rows)]


def avx2() -> list[str]:
    """The same on a processor without AVX-512, where oneDNN is not used."""
    return epoch("bench_fit_avx2")


def _problem(title: str, problem: Mapping[str, Any]) -> str:
    text = (
        f"{title.capitalize()}: {problem['parameters'] / 1e6:.2f} million weights, "
        f"{problem['steps']} steps of {problem['rows of a step']} rows an epoch, "
        f"{problem['held-out rows']:,} rows held out; as the recipe stands, "
        f"{problem['steps as it stands']} steps."
    )
    gap = problem.get("gap of losses")
    # one digit of the gap, so that it is no claim about rounding
    return text if gap is None else f"{text} Lightning's loss differs from ours by {gap:.0e} of it."


def threads() -> list[str]:
    """What all threads give over one."""
    result = recorded("bench_fit")
    if result is None:
        return owed(CPU_FIT)
    both = [relative(result, recipe) for recipe in RECIPES]
    if "training, one thread" not in both[0]:
        return ["Measured with one thread only."]
    rows = [
        (
            name,
            *(shown(over(w, f"{work}, one thread", work)) for w in both),
        )
        for name, work in (("training", "training"), ("matrix products alone", "products"))
    ]
    number = result["machine"]["threads"]
    return table_of([f"time on one thread over that on {number}", *RECIPES.values()], rows)


def lightning() -> list[str]:
    """The Lightning program over neuroalign."""
    result = recorded("bench_fit")
    if result is None:
        return owed(CPU_FIT)
    if "lightning" in result["missing"]:
        return [f"Not measured: {result['missing']['lightning']}."]
    heads, columns = ["DataLoader"], []
    for recipe, title in RECIPES.items():
        works = relative(result, recipe)
        heads += [f"{title}, training", f"{title}, with validation"]
        columns += [
            [shown(over(works, loader, "training")) for loader in LOADERS],
            [
                shown(over(works, f"{loader}, with validation", "with validation"))
                for loader in LOADERS
            ],
        ]
    names = [loader.removeprefix("Lightning, ") for loader in LOADERS]
    return table_of(heads, list(zip(names, *columns, strict=True)))


def bfloat16() -> list[str]:
    """Products in bfloat16."""
    result = recorded("bench_fit")
    if result is None:
        return owed(CPU_FIT)
    if "bfloat16" in result["missing"]:
        return [f"Not measured: {result['missing']['bfloat16']}."]
    scores = pd.DataFrame(result["accuracy"]["rows"])
    rows = []
    for (recipe, title), epochs in zip(RECIPES.items(), result["accuracy"]["epochs"], strict=True):
        works = relative(result, recipe)
        times = [
            shown(over(works, reference, "training, bfloat16"))
            for reference in ("training, plain products", "training")
        ]
        own = scores[scores["recipe"] == recipe]
        each = [
            shown(own.loc[own["precision"] == precision, "accuracy"].tolist())
            for precision in ("bfloat16", "float32")
        ]
        rows.append((f"{title}, {epochs} epochs", *times, *each))
    heads = [
        "",
        "epoch in float32 without oneDNN, over bfloat16's",
        "epoch in float32 as it is, over bfloat16's",
        "accuracy across rats, bfloat16",
        "float32",
    ]
    return table_of(heads, rows)


def growth() -> list[str]:
    """How the cost of an epoch grows."""
    result = recorded("bench_sweep")
    if result is None:
        return owed(CPU_SWEEP)
    table = pd.DataFrame(result["rows"])
    base = result["settings"]["base"]
    rows = []
    for varied, title in PANELS.items():
        by_size = table[table["varied"] == varied].groupby("size")["relative"]
        sizes = [f"{size}" for size in by_size.groups]
        cells = [shown([by_size.median()[size]]) for size in by_size.groups]
        spread = (by_size.max() - by_size.min()) / by_size.median()
        rows.append((title, ", ".join(sizes), ", ".join(cells), f"{100 * spread.max():.0f} %"))
    heads = ["varied", "sizes", "time over that of the smallest", "largest spread of repeats"]
    held = ", ".join(f"{number} {PANELS[name]}" for name, number in base.items())
    return [
        f"![Time of an epoch against the number of {', '.join(PANELS.values())}](figures/{FIGURE.name})",
        "",
        f"{machine(result)} What is not varied: {held}.",
        "",
        *table_of(heads, rows),
    ]


def many() -> list[str]:
    """Many fits over the same fits one after the other."""
    replicates = pd.read_csv(RESULTS / "bench_replicates.csv").groupby("replicates")["ratio"]
    rows = [
        (f"{number} fits side by side (`fit_many`), one thread", shown(values.tolist()))
        for number, values in replicates
        if number > 1
    ]
    result = recorded("bench_sweep")
    jobs = [row for row in result["rows"] if row["varied"] == "jobs"] if result else []
    if jobs:
        name = f"`sweep` in {jobs[0]['size']} processes over one with all threads"
        rows.append((name, shown([row["relative"] for row in jobs])))
    lines = table_of(["", "time over one after the other"], rows)
    return lines if jobs else [*lines, "", f"`sweep` in several processes: {owed(CPU_SWEEP)[0]}"]


def gpu() -> list[str]:
    """Whole fits on a GPU, in seconds."""
    fit, sweep = recorded("bench_fit_cuda"), recorded("bench_sweep_cuda")
    lines = owed(f"{CPU_FIT} --device cuda") if fit is None else _gpu_fit(fit)
    lines += [""]
    return lines + (owed(f"{CPU_SWEEP} --device cuda") if sweep is None else _gpu_sweep(sweep))


def _gpu_fit(result: Result) -> list[str]:
    found = result["paper_fit"]
    rows = [
        (f"the paper's fit, {found['epochs']:,} epochs", f"{found['seconds']:.1f} s"),
        ("its floor: the larger of the next two", f"{found['floor_seconds']:.1f} s"),
        (
            f"products, at {found['teraflop_per_second']:.0f} TFLOP/s of a large product",
            f"{found['floor_of_products_seconds']:.1f} s",
        ),
        (
            f"weights through memory, at {found['terabyte_per_second']:.2f} TB/s of a large copy",
            f"{found['floor_of_memory_seconds']:.1f} s",
        ),
    ]
    return [machine(result), "", *table_of(["", "time"], rows)]


def _gpu_sweep(result: Result) -> list[str]:
    table, found = pd.DataFrame(result["rows"]), result["gpu"]
    side = table[table["varied"] == "replicates"].groupby("size")["relative"]
    most = max(side.groups)
    name = f"model null, {found['permutations']} permutations, default settings"
    rows = [
        (f"an epoch of {most} replicates over one", shown(side.get_group(most).tolist())),
        (name, f"{found['model null, seconds']:.1f} s"),
    ]
    if "study" in found:
        study = found["study"]
        title = f"{study['fits']} fits of the paper, {study['epochs']:,} epochs"
        rows.append((title, f"{study['seconds']:.0f} s"))
    return [machine(result), "", *table_of(["", ""], rows)]


TABLES: Final[Mapping[str, Callable[[], list[str]]]] = {
    function.__name__: function
    for function in (epoch, avx2, lightning, threads, bfloat16, growth, many, cebra, accuracy, gpu)
}


def filled(text: str) -> str:
    """Return the page with every block as the recorded results give it."""

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}\n" + "\n".join(TABLES[match[2]]()) + f"\n\n{match[3]}"

    return BLOCK.sub(block, text)


def draw_growth(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a panel for everything that varies: time over that of the smallest size."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn

    table = pd.DataFrame(rows)
    colors = seaborn.color_palette("colorblind", len(PANELS))
    figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 3), layout="constrained")
    for axis, (varied, title), color in zip(axes, PANELS.items(), colors, strict=True):
        by_size = table[table["varied"] == varied].groupby("size")["relative"]
        middle = by_size.median()
        sizes = middle.index.to_numpy()
        proportional = sizes / sizes[0]
        axis.plot(sizes, proportional, "--", color="0.6", linewidth=1, label="in proportion")
        axis.fill_between(sizes, by_size.min(), by_size.max(), color=color, alpha=0.2, linewidth=0)
        axis.plot(sizes, middle, "o-", color=color, ms=4, label="measured")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.set_ylim(0.8, 1.25 * max(proportional.max(), by_size.max().max()))
        ticks = [value for value in (1, 2, 4, 8, 16, 32, 64) if value <= axis.get_ylim()[1]]
        axis.set_yticks(ticks, [str(value) for value in ticks])
        axis.minorticks_off()
        axis.set_xlabel(title, fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    axes[0].set_ylabel("epoch's time over the smallest", fontsize=9)
    axes[0].legend(frameon=False, fontsize=8, loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(*, write: bool) -> None:
    if not write:
        for name, table in TABLES.items():
            print("\n".join([f"[{name}]", *table(), ""]))
        return
    sweep = recorded("bench_sweep")
    if sweep is not None:
        draw_growth(sweep["rows"], FIGURE)
    aside = PAGE.with_suffix(".md.part")
    aside.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    os.replace(aside, PAGE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    main(write=parser.parse_args().write)
