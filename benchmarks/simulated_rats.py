"""Simulated rats, held-out trials: how well each way of sharing decodes within and across rats.

    python benchmarks/simulated_rats.py betas [METHOD ...]   # beta of every way of sharing
    python benchmarks/simulated_rats.py compare [SEED ...]   # every way of sharing, five simulations
    python benchmarks/simulated_rats.py baselines [SEED ...] # classical methods, tuned in training trials
    python benchmarks/simulated_rats.py impute    # every rat from every other, default settings
    python benchmarks/simulated_rats.py null      # labels permuted before the fit, and in both

Writes benchmarks/results/simulated_rats_*.csv. Every method has the same networks, epochs,
training trials and early stopping. Beta was chosen for each from the values listed, on the
*validation trials* of fits to one more simulation (seed 5) that no table shows: the value whose
latents decode best there, within and across rats, or within where nothing is shared.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr

import neuroalign as na
from neuroalign.analysis.imputation_pairs import read_windows
from neuroalign.analysis.imputation_run import prepare_targets
from neuroalign.analysis.predictions import correct_shares
from neuroalign.analysis.statistics import balanced_accuracy
from neuroalign.data.simulation_truth import SimulationTruth
from neuroalign.fitted import decoded_rates
from neuroalign.schema import map_subjects

RESULTS = Path(__file__).parent / "results"
SEEDS = (20, 21, 22, 23, 24)
METHODS: dict[str, tuple[dict[str, object], tuple[float, ...]]] = {
    # name: arguments, values of beta to choose from
    "mm-vamp, pairwise": ({}, (0.1, 0.3, 1.0)),
    "independent": ({"sharing": "independent"}, (0.03, 0.1, 0.3)),
    "aggregated": ({"sharing": "aggregated"}, (0.1, 0.3, 1.0)),
    "mm-vamp, pairwise, two latents": ({"n_latents": 2}, (0.3, 1.0, 3.0)),
    "poe": ({"sharing": "poe"}, (0.1, 0.3, 1.0)),
    "moe": ({"sharing": "moe"}, (0.1, 0.3, 1.0)),
    "mopoe": ({"sharing": "mopoe"}, (0.1, 0.3, 1.0)),
    "autoencoder": ({"sharing": "autoencoder"}, (0.0,)),
    "mm-vamp, mixture": ({"divergence": "mixture"}, (1.0, 3.0, 10.0)),
    "mm-vamp, pairwise then mixture": ({"divergence": [(0, 0), (60, 1)]}, (0.3, 1.0)),
    "mm-vamp, pairwise, Gaussian": ({"likelihood": "gaussian"}, (0.3, 1.0, 3.0)),
}
TUNING_SEED = 5  # a simulation that no table shows
SHARE_NOTHING = ("independent", "autoencoder")


def windows_of(seed: int) -> tuple[xr.DataTree, xr.DataTree, SimulationTruth]:
    recordings, truth = na.simulate_recordings(random_state=seed)
    windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)))
    train, test = na.split_trials(windows, test_size=0.25, stratify="odor", random_state=seed)
    return train, test, truth


def fit(train: xr.DataTree, seed: int, **settings: object) -> na.SharedLatentModel:
    return fit_and_listen(train, seed, **settings)[0]


def fit_and_listen(
    train: xr.DataTree, seed: int, **settings: object
) -> tuple[na.SharedLatentModel, str]:
    """Return the fit and the names of its warnings."""
    model = na.SharedLatentModel(random_state=seed, verbose=False, **settings)  # type: ignore[arg-type]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(train, label="odor")
    said = {w.category.__name__ for w in caught if issubclass(w.category, na.NeuroAlignWarning)}
    return model, ", ".join(sorted(said)) or "none"


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


def parts_of_fit(
    model: na.SharedLatentModel, train: xr.DataTree
) -> tuple[xr.DataTree, xr.DataTree]:
    """Split training trials into those the networks saw and those that decided when to stop."""
    held = model.fitted_.validation_trials

    def part(inside: bool) -> xr.DataTree:
        return map_subjects(
            train,
            lambda name, data: data.isel(trial=np.isin(data["trial"].values, held[name]) == inside),
        )

    return part(False), part(True)


def choose_betas(names: tuple[str, ...]) -> pd.DataFrame:
    """Fit every method with every beta to one more simulation; its validation trials decide."""
    train, _, _ = windows_of(TUNING_SEED)
    path = RESULTS / "simulated_rats_betas.csv"
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    done = {(row["method"], row["beta"]) for row in rows}
    for name in names or tuple(METHODS):
        settings, betas = METHODS[name]
        for beta in betas:
            if (name, beta) in done:
                continue
            model = fit(train, TUNING_SEED, beta=beta, **settings)
            scores = decode(model, *parts_of_fit(model, train))
            chosen = next(row for row in scores if row["level"] == "window")
            within, across = float(chosen["within"]), float(chosen["across"])  # type: ignore[arg-type]
            score = within if name in SHARE_NOTHING else (within + across) / 2
            row = {"method": name, "beta": beta, "within": within, "across": across}
            rows.append({**row, "score": score, "epoch": model.best_epoch_})
            print(pd.DataFrame(rows[-1:]).to_string(index=False, header=False), flush=True)
            save(rows, "betas")
    return pd.DataFrame(rows)


def chosen_betas() -> dict[str, float]:
    table = pd.read_csv(RESULTS / "simulated_rats_betas.csv")
    best = table.loc[table.groupby("method")["score"].idxmax()]
    only = {name: betas[0] for name, (_, betas) in METHODS.items() if len(betas) == 1}
    return only | dict(zip(best["method"], best["beta"], strict=True))


def compare(seeds: tuple[int, ...]) -> pd.DataFrame:
    """Fit every method with its chosen beta; what the table holds already is not fitted again."""
    path, chosen = RESULTS / "simulated_rats_comparison.csv", chosen_betas()
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    rows = [row for row in rows if chosen.get(row["method"]) in (None, row["beta"])]
    if not rows:
        for seed in seeds:
            rows += references(seed, *windows_of(seed))
    done = {(row["seed"], row["method"]) for row in rows if row["method"] in METHODS}
    for seed, name in itertools.product(seeds, METHODS):
        if (seed, name) in done:
            continue
        train, test, _ = windows_of(seed)
        started = time.process_time()
        model, said = fit_and_listen(train, seed, beta=chosen[name], **METHODS[name][0])
        about = {
            "seed": seed,
            "method": name,
            "beta": chosen[name],
            "alignment": model.alignment_,
            "epoch": model.best_epoch_,
            "seconds": time.process_time() - started,
            "warned": said,
        }
        scores = decode(model, train, test)
        extra = imputation(model, train, test)
        extra["coherence_decoded"] = decoded_coherence(model, train, test)
        rows += [{**about, **row, **extra} for row in scores]
        save(rows, "comparison")
        print(pd.DataFrame(rows[-2:]).to_string(index=False, header=False), flush=True)
    return pd.DataFrame(rows)


def judged(seed: int, models: dict[str, object], baselines: Sequence[str] = ()) -> pd.DataFrame:
    """Evaluate methods on the trials that `compare` uses: one row a method, scope and level."""
    train, test, _ = windows_of(seed)
    whole = xr.DataTree.from_dict(
        {
            name: xr.concat(
                [side[name].to_dataset() for side in (train, test)], dim="trial", join="exact"
            )
            for name in train.children
        }
    )
    result = na.evaluate(
        whole,
        models,
        label="odor",
        cv=[(train, test)],
        baselines=baselines,
        tune="baselines" if baselines else None,
        imputation=False,
        permutations=0,
        bootstraps=0,
        random_state=seed,
    )
    table = result.to_frame().assign(seed=seed)
    print(table.query("level == 'window'").round(3).to_string(), flush=True)
    seconds = result.dataset["seconds"].mean("fold").to_series()
    table["seconds"] = table["model"].map(seconds)
    return table[["seed", "model", "scope", "level", "accuracy", "seconds"]]


def baselines(seeds: tuple[int, ...]) -> pd.DataFrame:
    """Score classical methods on the same trials, settings chosen inside the training trials."""
    names = ["spike counts", "PCA + Procrustes", "multi-set CCA", "SRM", "logit latents"]
    rows = pd.concat([judged(seed, {}, names) for seed in seeds]).to_dict("records")
    return save(rows, "baselines")


def references(
    seed: int, train: xr.DataTree, test: xr.DataTree, truth: SimulationTruth
) -> list[dict[str, object]]:
    """Return what no model of ours decides: the optimum and each rat's own classifier."""
    rows: list[dict[str, object]] = []
    for name, known in (("Bayes-optimal", True), ("Bayes-optimal, position unknown", False)):
        accuracy = truth.bayes_accuracy(test, label="odor", position_known=known)
        rows.append({"seed": seed, "method": name, "level": "window", "within": accuracy.mean()})
    raw = na.decode_labels(
        *na.raw_features(train, test), label="odor", permutations=100, bootstraps=100
    )
    for row in accuracies(raw):
        row.pop("across", None)
        rows.append({"seed": seed, "method": "logistic regression on raw counts", **row})
    return rows


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
    own = na.reconstruction_scores(model, train, test, bootstraps=100)["bits_per_spike"]
    result["bits_reconstructed"] = float(own.mean())
    result["coherence_real"] = float(scores["real_coherence"].sel(level="window").mean())
    return result


def decoded_coherence(model: na.SharedLatentModel, train: xr.DataTree, test: xr.DataTree) -> float:
    """Decode one rat's latents with another's decoder, as the paper does, and read the odor.

    `impute` goes through the label that the source's latents suggest and so needs no shared
    space; here nothing but the space carries the odor from rat to rat.
    """
    latents = model.transform(test)
    references = prepare_targets(
        train,
        test,
        model.subjects_,
        label="odor",
        classifier=None,
        scaling="sqrt-standard",
        bootstraps=0,
        seed=0,
    )
    found = []
    for source, child in latents.children.items():
        mean, odor = child["mean"].values, child["odor"].values
        for target, reference in references.items():
            if target == source:
                continue
            with torch.no_grad():
                rates = decoded_rates(model.fitted_, mean, target).numpy()
            windows = xr.Dataset(
                {"expected": (("trial", "window", "unit", "lag"), rates.swapaxes(2, 3))},
                coords={"trial": child["trial"].values, "unit": reference.dataset["unit"].values},
            )
            read = read_windows(windows, child["trial"].values, reference)
            classes = np.array(reference.averages.classes)
            right, _ = correct_shares(read, odor.astype(str), classes)
            found.append(balanced_accuracy(odor, right))
    return float(np.mean(found))


def impute() -> pd.DataFrame:
    """Impute every rat from every other with the default settings."""
    pieces = []
    for seed in SEEDS:
        train, test, _ = windows_of(seed)
        model = fit(train, seed)
        scores = na.score_imputation(model, train, test, label="odor", bootstraps=1000)
        table = na.imputation_to_frame(scores).assign(seed=seed)
        real = scores["real_coherence"].sel(level="window").mean()
        pieces.append(table.assign(real_coherence=float(real)))
        print(table.groupby("kind")["bits_per_spike"].mean().to_dict(), flush=True)
        save(pd.concat(pieces).to_dict("records"), "imputation")
    return pd.concat(pieces)


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
    for seed in SEEDS[:3]:
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
    parser.add_argument("part", choices=["betas", "compare", "baselines", "impute", "null"])
    parser.add_argument("chosen", nargs="*", help="methods (betas) or seeds (compare)")
    arguments = parser.parse_args()
    if arguments.part == "compare":
        table = compare(tuple(map(int, arguments.chosen)) or SEEDS)
    elif arguments.part == "baselines":
        table = baselines(tuple(map(int, arguments.chosen)) or SEEDS)
    elif arguments.part == "betas":
        table = choose_betas(tuple(arguments.chosen))
    else:
        table = {"null": null, "impute": impute}[arguments.part]()
    keys = [k for k in ("method", "model", "scope", "permuted", "kind", "level") if k in table]
    print(table.groupby(keys, dropna=False).mean(numeric_only=True).round(3).to_string())
