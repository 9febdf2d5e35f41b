"""Four mice, visual cortex: is the stimulus side decoded within and across mice?

    python benchmarks/visual_cortex.py FOLDER_WITH_NWB_FILES [--splits 10] [--first-seed 10]

Split seeds 0 to 2 were looked at while the settings were chosen; the default seeds are others.
Writes benchmarks/results/visual_cortex.csv: one row per split, method and mouse, per trial.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import pandas as pd

import neuroalign as na

RESULTS = Path(__file__).parent / "results"


def main(folder: str, splits: int, first_seed: int) -> None:
    windows = na.slide_windows(na.bin_spikes(na.read_nwb(folder, "steinmetz_visual")))
    rows: list[pd.DataFrame] = []
    for seed in range(first_seed, first_seed + splits):
        train, test = na.split_trials(windows, test_size=0.25, stratify="side", random_state=seed)
        sets = {"logistic regression on raw counts": na.raw_features(train, test)}
        for name, change in {"mm-vamp": {}, "independent": {"sharing": "independent"}}.items():
            model = na.SharedLatentModel.from_recipe(
                "steinmetz_visual", random_state=seed, verbose=False, **change
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", na.NeuroAlignWarning)
                model.fit(train, label="side")
            sets[name] = model.transform(train), model.transform(test)
        for name, (a, b) in sets.items():
            scores = na.scores_to_frame(
                na.decode_labels(a, b, label="side", permutations=1000, bootstraps=100)
            )
            scores = scores[scores["level"] == "trial"].assign(seed=seed, method=name)
            keep = (scores["train_subject"] == scores["test_subject"]) | (
                scores["train_subject"] == "others"
            )
            rows.append(scores[keep].dropna(subset="accuracy"))
        done = pd.concat(rows[-3:])
        print(
            seed,
            done.groupby(["method", done["train_subject"] == "others"])["accuracy"]
            .mean()
            .round(3)
            .to_dict(),
            flush=True,
        )
    RESULTS.mkdir(exist_ok=True)
    table = pd.concat(rows)
    table["kind"] = table["train_subject"].eq("others").map({True: "across", False: "within"})
    table.to_csv(RESULTS / "visual_cortex.csv", index=False, float_format="%.4f")
    per_split = table.groupby(["method", "kind", "seed"])["accuracy"].mean()
    print(per_split.groupby(["method", "kind"]).agg(["mean", "min", "max"]).round(3).to_string())
    print(
        table.groupby(["method", "kind", "test_subject"])["accuracy"]
        .mean()
        .unstack()
        .round(3)
        .to_string()
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=10)
    main(**vars(parser.parse_args()))
