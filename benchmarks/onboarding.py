"""A rat joins a model of the other four: accuracy against the trials it brings.

    python benchmarks/onboarding.py [SEED ...]

Each simulated rat is left out in turn, the model is fitted to the other four, saved, loaded, and
the fifth is added with 5, 10, 20 and all training trials per odor. Beside it stand the model
fitted to all five rats and logistic regression on the rat's own raw counts. Held-out trials,
balanced accuracy per window. Checks that no weight of the old rats moved. Writes
benchmarks/results/onboarding.csv, beside other seeds that it holds already.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch
import xarray as xr
from simulated_rats import RESULTS, fit, windows_of

import neuroalign as na
from neuroalign.schema import build_tree

SEEDS = (20,)
TRIALS = (5, 10, 20, None)


def alone(tree: xr.DataTree, name: str) -> xr.DataTree:
    return build_tree({name: tree.children[name].to_dataset()})


def without(tree: xr.DataTree, name: str) -> xr.DataTree:
    return build_tree({n: c.to_dataset() for n, c in tree.children.items() if n != name})


def joint_scores(model: na.SharedLatentModel, train: xr.DataTree, test: xr.DataTree) -> xr.Dataset:
    return na.decode_labels(
        model.transform(train), model.transform(test), label="odor", permutations=0, bootstraps=0
    )["accuracy"]


def reloaded(model: na.SharedLatentModel) -> na.SharedLatentModel:
    with tempfile.TemporaryDirectory() as folder:
        return na.SharedLatentModel.load(model.save(Path(folder) / "model")).set_params(
            verbose=False
        )


def moved(before: na.SharedLatentModel, after: na.SharedLatentModel) -> int:
    """Count weights of the old subjects that are not equal to the bit."""
    old, new = before.fitted_.vae.state_dict(), after.fitted_.vae.state_dict()
    return sum(not torch.equal(value, new[name]) for name, value in old.items())


def main(seeds: list[int]) -> None:
    path = RESULTS / "onboarding.csv"
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    rows = [row for row in rows if row["seed"] not in seeds]
    for seed in seeds:
        train, test, _ = windows_of(seed)
        together = joint_scores(fit(train, seed), train, test).sel(level="window")
        raw = na.decode_labels(
            *na.raw_features(train, test), label="odor", permutations=0, bootstraps=0
        )["accuracy"].sel(level="window")
        for name in train.children:
            old = without(train, name)
            model = reloaded(fit(old, seed))
            probe = model.add_subject(alone(train, name), max_epochs=1)
            assert moved(model, probe) == 0
            table = na.score_joining(
                model,
                model.transform(old),
                alone(train, name),
                alone(test, name),
                label="odor",
                trials_per_label=TRIALS,
                bootstraps=0,
                random_state=seed,
            ).query("level == 'window'")
            for wanted, (_, part) in zip(TRIALS, table.groupby("trials"), strict=True):
                rows.append(
                    {
                        "seed": seed,
                        "subject": name,
                        "trials_per_label": "all" if wanted is None else wanted,
                        **dict(zip(part["kind"], part["accuracy"], strict=True)),
                        "joint_across": float(
                            together.sel(train_subject="others", test_subject=name)
                        ),
                        "joint_within": float(together.sel(train_subject=name, test_subject=name)),
                        "raw": float(raw.sel(train_subject=name, test_subject=name)),
                    }
                )
            print(pd.DataFrame(rows[-len(TRIALS) :]).to_string(index=False), flush=True)
            RESULTS.mkdir(exist_ok=True)
            frame = pd.DataFrame(rows)
            frame.to_csv(path, index=False, float_format="%.4f")
    order = frame.groupby("trials_per_label", sort=False).mean(numeric_only=True)
    print(order.drop(columns="seed").round(3).to_string())


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or list(SEEDS))
