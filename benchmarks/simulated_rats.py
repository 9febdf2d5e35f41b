"""Simulated rats, held-out trials: how well each way of sharing decodes within and across rats.

    python benchmarks/simulated_rats.py tune      # one simulation that is used for nothing else
    python benchmarks/simulated_rats.py compare   # three other simulations, with the tuned beta
    python benchmarks/simulated_rats.py null      # labels permuted before the fit, and in both

Writes benchmarks/results/simulated_rats_*.csv. Every method has the same networks, epochs,
training trials and early stopping; what is tuned is beta, on the tuning simulation alone.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import neuroalign as na
from neuroalign.data.simulation_truth import SimulationTruth
from neuroalign.schema import map_subjects

RESULTS = Path(__file__).parent / "results"
TUNING_SEED, SEEDS = 5, (10, 11, 12)
BETAS = (0.03, 0.1, 0.3, 1.0, 3.0)
METHODS = {
    "mm-vamp": {},
    "independent": {"sharing": "independent"},
    "aggregated": {"sharing": "aggregated"},
}


def windows_of(seed: int) -> tuple[xr.DataTree, xr.DataTree, SimulationTruth]:
    recordings, truth = na.simulate_recordings(random_state=seed)
    windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)))
    train, test = na.split_trials(windows, test_size=0.25, stratify="odor", random_state=seed)
    return train, test, truth


def fit(train: xr.DataTree, seed: int, **settings: object) -> na.SharedLatentModel:
    model = na.SharedLatentModel(random_state=seed, verbose=False, **settings)  # type: ignore[arg-type]
    with warnings.catch_warnings():  # the table shows what the warnings would say
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        return model.fit(train, label="odor")


def accuracies(scores: xr.Dataset) -> Iterator[dict[str, object]]:
    """Average over test subjects: within, across from the pooled others."""
    accuracy = scores["accuracy"]
    subjects = [str(s) for s in scores["test_subject"].values]
    for level in ("window", "trial"):
        chosen = accuracy.sel(level=level)
        within = [float(chosen.sel(train_subject=s, test_subject=s)) for s in subjects]
        row = {"level": level, "within": np.mean(within)}
        if "others" in accuracy["train_subject"].values:
            row["across"] = float(chosen.sel(train_subject="others").mean())
        yield row


def decode(
    model: na.SharedLatentModel, train: xr.DataTree, test: xr.DataTree
) -> list[dict[str, object]]:
    scores = na.decode_labels(
        model.transform(train),
        model.transform(test),
        label="odor",
        permutations=100,
        bootstraps=100,
    )
    return list(accuracies(scores))


def tune() -> pd.DataFrame:
    train, test, _ = windows_of(TUNING_SEED)
    rows = []
    for name, settings in METHODS.items():
        for beta in BETAS:
            model = fit(train, TUNING_SEED, beta=beta, **settings)
            about = {"method": name, "beta": beta, "epoch": model.best_epoch_}
            rows += [{**about, **row} for row in decode(model, train, test)]
            print(pd.DataFrame(rows[-2:]).to_string(index=False, header=False), flush=True)
    return save(rows, "tuning")


def best_betas() -> dict[str, float]:
    table = pd.read_csv(RESULTS / "simulated_rats_tuning.csv").query("level == 'window'")
    table = table.assign(score=table["within"] + table["across"])
    best = table.loc[table.groupby("method")["score"].idxmax()]
    return dict(zip(best["method"], best["beta"], strict=True))


def compare() -> pd.DataFrame:
    rows = []
    for seed in SEEDS:
        train, test, truth = windows_of(seed)
        bayes = truth.bayes_accuracy(test, label="odor")
        rows.append(
            {
                "seed": seed,
                "method": "Bayes-optimal, tuning and position known",
                "level": "window",
                "within": bayes.mean(),
            }
        )
        unplaced = truth.bayes_accuracy(test, label="odor", position_known=False)
        rows.append(
            {
                "seed": seed,
                "method": "Bayes-optimal, tuning known",
                "level": "window",
                "within": unplaced.mean(),
            }
        )
        raw = na.decode_labels(
            *na.raw_features(train, test), label="odor", permutations=100, bootstraps=100
        )
        rows += [
            {
                "seed": seed,
                "method": "logistic regression on raw counts",
                **{k: v for k, v in r.items() if k != "across"},
            }
            for r in accuracies(raw)
        ]
        variants = {name: {**METHODS[name], "beta": beta} for name, beta in best_betas().items()}
        variants["mm-vamp, beta 1"] = {"beta": 1.0}
        variants["mm-vamp, two latents"] = {"n_latents": 2, "beta": 1.0}
        for name, settings in variants.items():
            model = fit(train, seed, **settings)
            rows += [
                {
                    "seed": seed,
                    "method": name,
                    "beta": model.beta,
                    "alignment": model.alignment_,
                    "epoch": model.best_epoch_,
                    **r,
                }
                for r in decode(model, train, test)
            ]
            if name in {"mm-vamp, beta 1", *METHODS}:
                rows[-1] |= imputation(model, train, test)
            print(pd.DataFrame(rows[-2:]).to_string(index=False, header=False), flush=True)
    return save(rows, "comparison")


def imputation(
    model: na.SharedLatentModel, train: xr.DataTree, test: xr.DataTree
) -> dict[str, float]:
    scores = na.score_imputation(model, train, test, label="odor", bootstraps=100)
    bits = scores["bits_per_spike"]
    result = {
        f"bits_{kind}": float(bits.sel(kind=kind).mean())
        for kind in ("imputed", "floor", "ceiling")
    }
    below = bits.sel(kind="imputed") < bits.sel(kind="floor")
    result["pairs_below_floor"] = int(below.sum())
    for kind in ("imputed", "floor"):
        result[f"coherence_{kind}"] = float(scores["coherence_window"].sel(kind=kind).mean())
    result["coherence_real"] = float(scores["real_coherence"].sel(level="window").mean())
    return result


def permuted(tree: xr.DataTree, seed: int) -> xr.DataTree:
    """Permute odors over whole trials, subject by subject; the true odor stays as `true_odor`."""

    def shuffle(name: str, data: xr.Dataset) -> xr.Dataset:
        order = np.random.default_rng([seed, *name.encode()]).permutation(data.sizes["trial"])
        return data.assign_coords(
            true_odor=data["odor"], odor=("trial", data["odor"].values[order])
        )

    return map_subjects(tree, shuffle)


def null() -> pd.DataFrame:
    rows = []
    for seed in SEEDS:
        train, test, _ = windows_of(seed)
        train, test = permuted(train, seed), permuted(test, seed)
        model = fit(train, seed)
        for label, name in (("true_odor", "fit"), ("odor", "fit and classifier")):
            scores = na.decode_labels(
                model.transform(train),
                model.transform(test),
                label=label,
                permutations=200,
                bootstraps=100,
            )
            rows += [{"seed": seed, "permuted": name, **row} for row in accuracies(scores)]
            print(pd.DataFrame(rows[-2:]).to_string(index=False, header=False), flush=True)
    return save(rows, "null")


def save(rows: list[dict[str, object]], name: str) -> pd.DataFrame:
    RESULTS.mkdir(exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(RESULTS / f"simulated_rats_{name}.csv", index=False, float_format="%.4f")
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["tune", "compare", "null"])
    part = parser.parse_args().part
    table = {"tune": tune, "compare": compare, "null": null}[part]()
    keys = [k for k in ("method", "permuted", "beta", "level") if k in table]
    print(table.groupby(keys, dropna=False).mean(numeric_only=True).round(3).to_string())
