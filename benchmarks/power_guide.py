"""How many trials, units and animals are enough: accuracy over a grid of subsets of simulations.

    python benchmarks/power_guide.py [--seeds 30 31]   # resumable, one row per cell
    python benchmarks/power_guide.py --draw            # only figure and page, from the table

Per seed four animals with 90 units each, of which a cell sees the first 10, 30 or 90, so that a
unit is as sharply tuned in every cell (the simulation tunes the units of a small animal more
sharply, which would hide what units are worth). Units fire at 2.2 Hz on average, the rate of the
five simulated rats. A cell trains on the first 5, 10, 20 or 40 trials of each odor, with two or
four animals; scores are of the same 100 held-out trials of the same two animals in all cells of a
seed. Default settings of the model. *Across*: a classifier trained on the other animals' latents;
beside it the shared response model on the same trials, each animal's own raw counts, and the
Bayes-optimal classifier that does not know the window's position. Cells of one seed come before
those of the next, so that an interrupted run is a smaller study of the whole grid. Writes
benchmarks/results/power_guide.csv, docs/figures/power_guide.png and the table of
docs/how_much_data.md.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

import neuroalign as na
from neuroalign.data.simulation_truth import SimulationTruth
from neuroalign.schema import map_subjects

TABLE = Path(__file__).parent / "results" / "power_guide.csv"
DOCS = Path(__file__).parents[1] / "docs"
FIGURE, PAGE = DOCS / "figures" / "power_guide.png", DOCS / "how_much_data.md"
MARKS = ("<!-- table: written by benchmarks/power_guide.py -->", "<!-- end of table -->")
SEEDS = (30, 31)  # no setting of the package was chosen on these
ANIMALS = (2, 4)
UNITS = (10, 30, 90)
TRIALS = (5, 10, 20, 40)  # for training, of each odor
SIMULATED_TRIALS, TEST_TRIALS = 340, 100
ODORS = 4
TESTED = ("animal1", "animal2")
CELL = ["seed", "animals", "units", "trials"]


@lru_cache(maxsize=1)
def simulated(seed: int) -> tuple[xr.DataTree, xr.DataTree, SimulationTruth]:
    """Simulate the animals of a seed; return what cells train on, test trials and the truth."""
    recordings, truth = na.simulate_recordings(
        units={f"animal{number}": max(UNITS) for number in range(1, max(ANIMALS) + 1)},
        trials=SIMULATED_TRIALS,
        random_state=seed,
    )
    windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)))
    pool, test = na.split_trials(windows, test_size=TEST_TRIALS, stratify="odor", random_state=seed)
    return pool, test, truth


def some_animals(tree: xr.DataTree, animals: int, units: int) -> xr.DataTree:
    """Keep the first animals, and the first units of each."""
    kept = [f"animal{number}" for number in range(1, animals + 1)]
    chosen = tree.filter(lambda node: node.name in kept)
    return map_subjects(chosen, lambda _, data: data.isel(unit=slice(0, units)))


def some_trials(tree: xr.DataTree, trials: int) -> xr.DataTree:
    """Keep the first trials of every odor."""

    def keep(name: str, data: xr.Dataset) -> xr.Dataset:
        odor = pd.Series(data["odor"].values)
        assert odor.value_counts().min() >= trials, f"{name} has too few trials of an odor"
        return data.isel(trial=(odor.groupby(odor).cumcount() < trials).values)

    return map_subjects(tree, keep)


def accuracies(name: str, train: xr.DataTree, test: xr.DataTree) -> dict[str, float]:
    """Average over the tested animals: within, and across where the latents are common."""
    accuracy = na.decode_labels(train, test, label="odor", permutations=0, bootstraps=0)["accuracy"]
    found: dict[str, float] = {}
    for level in ("window", "trial"):
        chosen = accuracy.sel(level=level)
        within = [float(chosen.sel(train_subject=a, test_subject=a)) for a in TESTED]
        found[f"{name}_within_{level}"] = float(np.mean(within))
        if "others" in chosen["train_subject"].values:
            across = chosen.sel(train_subject="others", test_subject=list(TESTED))
            if np.isfinite(across.values).all():
                found[f"{name}_across_{level}"] = float(across.mean())
    return found


def one_cell(seed: int, animals: int, units: int, trials: int) -> dict[str, Any]:
    started = time.process_time()
    pool, held_out, truth = simulated(seed)
    train = some_trials(some_animals(pool, animals, units), trials)
    test = some_animals(held_out, animals, units)
    model = na.SharedLatentModel(random_state=seed, verbose=False)
    with warnings.catch_warnings():  # the table shows what the warnings would say
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        model.fit(train, label="odor")
        classical = na.SharedResponse().fit(train, label="odor")
    tested = some_animals(held_out, len(TESTED), units)
    counts = [
        na.window_view(child.to_dataset()).sum((2, 3)).mean() for child in tested.children.values()
    ]
    optimum = truth.bayes_accuracy(tested, label="odor", position_known=False, samples=100)
    return {
        "seed": seed,
        "animals": animals,
        "units": units,
        "trials": trials,
        "spikes_per_window": float(np.mean(counts)),
        **accuracies("model", model.transform(train), model.transform(test)),
        **accuracies("srm", classical.transform(train), classical.transform(test)),
        **accuracies("raw", *na.raw_features(train, test)),
        "optimal_window": float(optimum.mean()),
        "alignment": model.alignment_,
        "epochs": len(model.history_),
        "seconds": time.process_time() - started,
    }


def save(rows: list[dict[str, Any]]) -> None:
    """Write the table aside and put it in place, so that a stop never leaves half a table."""
    TABLE.parent.mkdir(exist_ok=True)
    aside = TABLE.with_suffix(".csv.part")
    pd.DataFrame(rows).sort_values(CELL).to_csv(aside, index=False, float_format="%.4f")
    os.replace(aside, TABLE)


def run(seeds: list[int]) -> pd.DataFrame:
    kept = pd.read_csv(TABLE).to_dict("records") if TABLE.exists() else []
    rows: list[dict[str, Any]] = [{str(key): value for key, value in row.items()} for row in kept]
    done = {tuple(int(row[key]) for key in CELL) for row in rows}
    for cell in itertools.product(seeds, ANIMALS, UNITS, TRIALS):
        if cell in done:
            continue
        rows.append(one_cell(*cell))
        save(rows)
        write_page(pd.DataFrame(rows))
        print({key: round(value, 3) for key, value in rows[-1].items()}, flush=True)
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> None:
    """One panel per number of units: accuracy against training trials, all simulations."""
    import matplotlib.pyplot as plt
    import seaborn

    colors = seaborn.color_palette("colorblind", 3)
    figure, axes = plt.subplots(1, len(UNITS), figsize=(9, 3.4), sharey=True, layout="constrained")
    lines = [
        ("raw_within_trial", max(ANIMALS), "one animal's raw counts, within", "0.4", "--", "s"),
        *(
            ("model_across_trial", number, f"mm-vamp, across, {number} animals", color, "-", "o")
            for number, color in zip(ANIMALS, colors, strict=False)
        ),
        (
            "srm_across_trial",
            max(ANIMALS),
            f"SRM, across, {max(ANIMALS)} animals",
            colors[2],
            ":",
            "^",
        ),
    ]
    for axis, units in zip(axes, UNITS, strict=True):
        cell = table[table["units"] == units]
        for column, animals, label, color, style, marker in lines:
            grouped = cell[cell["animals"] == animals].groupby("trials")[column]
            mean = grouped.mean()
            axis.plot(
                mean.index, mean, color=color, linestyle=style, marker=marker, ms=4, label=label
            )
            axis.fill_between(
                mean.index, grouped.min(), grouped.max(), color=color, alpha=0.15, linewidth=0
            )
        axis.axhline(1 / ODORS, color="0.6", linewidth=1)
        axis.set_xscale("log")
        axis.set_xticks(TRIALS, [str(number) for number in TRIALS])
        axis.minorticks_off()
        spikes = cell["spikes_per_window"].mean()
        axis.set_title(f"{units} units ({spikes:.0f} spikes a window)", fontsize=9)
        axis.set_xlabel("training trials per odor", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    axes[0].set_ylim(0.1, 1.0)
    axes[0].set_ylabel("balanced accuracy per trial", fontsize=9)
    axes[0].text(TRIALS[-1], 0.235, "chance", fontsize=8, color="0.4", ha="right", va="top")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, dpi=110)


def as_markdown(table: pd.DataFrame) -> str:
    """Lay out mean, lowest and highest simulation of every cell that has been run."""

    def shown(values: pd.Series) -> str:
        spread = f" ({values.min():.2f}–{values.max():.2f})" if len(values) > 1 else ""
        return f"{values.mean():.2f}{spread}"

    heads = [
        "units",
        "spikes per window",
        "animals",
        "training trials per odor",
        "mm-vamp, across",
        "SRM, across",
        "raw counts, within",
        "optimum per window",
        "simulations",
    ]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for (units, animals, trials), cell in table.groupby(["units", "animals", "trials"]):
        spikes = f"{table[table['units'] == units]['spikes_per_window'].mean():.0f}"
        scores = [
            shown(cell[column])
            for column in (
                "model_across_trial",
                "srm_across_trial",
                "raw_within_trial",
                "optimal_window",
            )
        ]
        row = [str(units), spikes, str(animals), str(trials), *scores, str(len(cell))]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def write_page(table: pd.DataFrame) -> None:
    """Put the table between its marks on the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    page = f"{before}{MARKS[0]}\n\n{as_markdown(table)}\n\n{MARKS[1]}{after}"
    PAGE.write_text(page, encoding="utf-8")


def main(seeds: list[int], *, only_draw: bool) -> None:
    torch.set_num_threads(1)
    table = pd.read_csv(TABLE) if only_draw else run(seeds)
    shown = ["model_across_trial", "srm_across_trial", "raw_within_trial", "optimal_window"]
    print(table.groupby(["animals", "units", "trials"])[shown].mean().round(2).to_string())
    write_page(table)
    draw(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--draw", action="store_true", help="only figure and page, from the table")
    arguments = parser.parse_args()
    main(arguments.seeds, only_draw=arguments.draw)
