"""Are the p-values of `evaluate` uniform where there is nothing to find?

    python benchmarks/null_calibration.py [--sets 100] [--permutations 19] [--jobs 1]

Every data set holds three rats whose firing has nothing to do with the odor, but drifts slowly
within a trial and from trial to trial, so that overlapping windows of one trial resemble each
other. One p-value per data set and null: that of the mean accuracy per trial, across rats. The
last column is what a split by windows instead of trials, with windows permuted, would say of one
rat, with a window at every bin as windows are by default.
Writes benchmarks/results/null_calibration.csv, a row as soon as a data set is done, and .png.
Started again with the same number of permutations it goes on with the sets that are missing.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import kstest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import KFold, permutation_test_score

import neuroalign as na
from neuroalign.schema import iterate_subjects, map_subjects

RESULTS = Path(__file__).parent / "results"
NULLS = ("decoder null", "model null, fit", "model null, fit and classifier")
UNITS = {"ada": 10, "bob": 8, "eve": 6}
TRIALS = 48
STATES = 3


def noise(seed: int) -> xr.DataTree:
    """Draw Poisson counts whose rates a slow state sets, anew for each trial, blind to odors."""
    recordings, _ = na.simulate_recordings(units=UNITS, trials=TRIALS, random_state=seed)
    binned = na.bin_spikes(na.keep_spec_trials(recordings))

    def drift(name: str, data: xr.Dataset) -> xr.Dataset:
        random = np.random.default_rng([seed, *name.encode()])
        state = random.normal(size=(data.sizes["trial"], STATES))
        rate = 0.15 * np.exp(0.7 * state @ random.normal(size=(STATES, data.sizes["unit"])))
        counts = random.poisson(rate[:, :, None].clip(max=5.0), size=data["counts"].shape)
        return data.assign(counts=(data["counts"].dims, counts.astype(data["counts"].dtype)))

    return map_subjects(binned, drift)


def p_values(seed: int, permutations: int) -> dict[str, float]:
    binned = noise(seed)
    windows = na.slide_windows(binned, step=0.05)
    model = na.SharedLatentModel(
        3, max_epochs=2, validation_fraction=0.0, learning_rate=5e-3, verbose=False, random_state=0
    )
    found: dict[str, float] = {"seed": seed}
    for name in NULLS[1:]:
        result = na.evaluate(
            windows,
            {"mm-vamp": model},
            label="odor",
            cv=0.3,
            classifier=LinearDiscriminantAnalysis(),
            imputation=False,
            permutations=999,
            model_permutations=permutations,
            model_null_of="fit" if name == NULLS[1] else "fit and classifier",
            bootstraps=0,
            random_state=seed,
        )
        row = result.to_frame().query("scope == 'across' and level == 'trial'").iloc[0]
        found[NULLS[0]] = row["p_decoder_null"]
        found[name] = row["p_model_null"]
    found["windows split and permuted"] = window_level_p(na.slide_windows(binned), seed)
    return found


def window_level_p(windows: xr.DataTree, seed: int) -> float:
    """Do what one should not: split and permute windows as if they were independent."""
    _, data = next(iter(iterate_subjects(windows)))
    view = na.window_view(data)
    features = np.sqrt(view.reshape(view.shape[0] * view.shape[1], -1))
    labels = np.repeat(data["odor"].values, view.shape[1])
    _, _, p = permutation_test_score(
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        features,
        labels,
        cv=KFold(3, shuffle=True, random_state=seed),
        n_permutations=99,
        random_state=seed,
    )
    return float(p)


def quiet_p_values(seed: int, permutations: int) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        return p_values(seed, permutations) | {"permutations": permutations}


def main(sets: int, permutations: int, jobs: int) -> None:
    from joblib import Parallel, delayed

    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / "null_calibration.csv"
    rows = known_rows(file, permutations)
    missing = [seed for seed in range(sets) if seed not in {row["seed"] for row in rows}]
    work = Parallel(n_jobs=jobs, return_as="generator_unordered")
    for row in work(delayed(quiet_p_values)(seed, permutations) for seed in missing):
        rows.append(row)
        table = pd.DataFrame(rows).sort_values("seed")
        aside = file.with_suffix(".partial")
        table.to_csv(aside, index=False, float_format="%.4f")
        aside.replace(file)
        print(f"{len(rows)} of {sets} data sets", flush=True)
    table = pd.DataFrame(rows).sort_values("seed").drop(columns="permutations")
    for name in table.columns[1:]:
        # p-values are multiples of 1/(1 + permutations): spread each over its step
        step = 1e-3 if name == NULLS[0] else 1 / (1 + permutations) if name in NULLS else 0.01
        spread = table[name] - np.random.default_rng(0).uniform(size=len(table)) * step
        said = kstest(spread, "uniform").pvalue
        print(
            f"{name}: {np.mean(table[name] <= 0.05):.2f} at most 0.05; uniform, KS p = {said:.3f}"
        )
    draw(table)


def known_rows(file: Path, permutations: int) -> list[dict[str, float]]:
    """Read what an earlier run with as many permutations has found."""
    if not file.exists():
        return []
    table = pd.read_csv(file)
    if "permutations" not in table or set(table["permutations"]) != {permutations}:
        return []
    return list(table.to_dict("records"))


def draw(table: pd.DataFrame) -> None:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(4.5, 4.0), layout="constrained")
    for name in table.columns[1:]:
        values = np.sort(table[name])
        axis.step(values, np.arange(1, len(values) + 1) / len(values), where="post", label=name)
    axis.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1)
    axis.set(xlabel="p-value", ylabel="share of noise data sets", xlim=(0, 1), ylim=(0, 1))
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "null_calibration.png", dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--permutations", type=int, default=19)
    parser.add_argument("--jobs", type=int, default=1)
    main(**vars(parser.parse_args()))
