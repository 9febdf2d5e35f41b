"""Four mice, visual cortex: is the stimulus side decoded within and across mice?

    python benchmarks/visual_cortex.py FOLDER_WITH_NWB_FILES [--splits 10] [--first-seed 10]

Every method sees the same splits of whole trials, 75 % for training. The baselines choose their
settings inside the training trials; the model takes the recipe of `steinmetz_visual`, which was
chosen looking at test trials of split seeds 0 to 2, so the default seeds are others.
Writes benchmarks/results/visual_cortex.csv: per split, method, mouse and classifier, per trial.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

import neuroalign as na

RESULTS = Path(__file__).parent / "results"
BASELINES = ("raw counts", "PCA + Procrustes", "multi-set CCA", "SRM", "logit latents")
MODELS: dict[str, dict[str, object]] = {
    "mm-vamp": {},
    "independent": {"sharing": "independent"},
}


def main(folder: str, splits: int, first_seed: int) -> None:
    windows = na.slide_windows(na.bin_spikes(na.read_nwb(folder, "steinmetz_visual")))
    tables: list[pd.DataFrame] = []
    for seed in range(first_seed, first_seed + splits):
        models = {
            name: na.SharedLatentModel.from_recipe(
                "steinmetz_visual", random_state=seed, verbose=False, **change
            )
            for name, change in MODELS.items()
        }
        result = na.evaluate(
            windows,
            models,
            label="side",
            cv=0.25,
            baselines=BASELINES,
            tune="baselines",
            imputation=False,
            permutations=1000,
            bootstraps=200,
            random_state=seed,
        )
        table = result.to_frame("decoding")
        table = table[(table["level"] == "trial") & (table["kind"] != "pair")]
        tables.append(table.assign(seed=seed))
        print(seed, means(table).round(3).to_dict(), flush=True)
        RESULTS.mkdir(exist_ok=True)
        pd.concat(tables).to_csv(RESULTS / "visual_cortex.csv", index=False, float_format="%.4f")
    summarise(pd.concat(tables))


def means(table: pd.DataFrame) -> pd.Series:
    return table.groupby(["model", "kind"])["accuracy"].mean()


def summarise(table: pd.DataFrame) -> None:
    per_split = table.groupby(["model", "kind", "seed"])["accuracy"].mean()
    print(per_split.groupby(["model", "kind"]).agg(["mean", "min", "max"]).round(3).to_string())
    by_mouse = table.groupby(["model", "kind", "test_subject"])["accuracy"].mean().unstack()
    print(by_mouse.round(3).to_string())
    across = table[(table["model"] == "mm-vamp") & (table["kind"] == "across")]
    print("largest corrected p across mice:", across.groupby("test_subject")["p_corrected"].max())
    for kind, other in (("within", "raw counts"), ("across", "logit latents")):
        pair = per_split[:, kind].unstack("model")
        difference = pair["mm-vamp"] - pair[other]
        p = wilcoxon(difference).pvalue if np.any(difference != 0) else 1.0
        print(f"{kind}, mm-vamp minus {other}: {difference.mean():+.3f}, Wilcoxon p = {p:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=10)
    main(**vars(parser.parse_args()))
