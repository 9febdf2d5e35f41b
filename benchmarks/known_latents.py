"""How well odors can be read by a reader that knows the latents and must learn the tuning.

    python benchmarks/known_latents.py [SEED ...]

Every unit's tuning is estimated from the training trials by Poisson regression of its counts per
bin on the *true* latents; with it, the Bayes-optimal reader of the simulation reads the test
windows. What it loses against the reader that knows the tuning is the price of few trials, which
no model that must find the latents as well can avoid. Simulations that no table shows (5, 6).
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import xarray as xr
from simulated_rats import windows_of
from sklearn.linear_model import PoissonRegressor

from neuroalign.data.simulation_truth import GRID, SimulationTruth, SubjectTruth


def learned(truth: SimulationTruth, name: str, data: xr.Dataset) -> SubjectTruth:
    """Return a subject's truth with baseline and tuning estimated from its training trials."""
    known = truth.subject(name)
    counts = data["counts"].transpose("unit", "trial", "time").values.astype(np.float64)
    latents = truth.latents(name, data["time"].values).sel(trial=data["trial"].values).values
    rows = latents.reshape(-1, latents.shape[-1])
    fits = [
        PoissonRegressor(alpha=1e-3, max_iter=300).fit(rows, unit.reshape(-1)) for unit in counts
    ]
    return dataclasses.replace(
        known,
        baseline=np.array([fit.intercept_ for fit in fits]) - np.log(GRID),
        tuning=np.stack([fit.coef_ for fit in fits]),
    )


def main(seeds: list[int]) -> None:
    for seed in seeds:
        train, test, truth = windows_of(seed)
        subjects = {n: learned(truth, n, child.to_dataset()) for n, child in train.children.items()}
        reader = dataclasses.replace(truth, subjects=subjects)
        for known in (True, False):
            optimum = truth.bayes_accuracy(test, position_known=known).mean()
            reached = reader.bayes_accuracy(test, position_known=known).mean()
            said = "known" if known else "unknown"
            print(
                f"seed {seed}, position {said}: {reached:.3f} of {optimum:.3f}, "
                f"{reached / optimum:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main(list(map(int, sys.argv[1:])) or [5, 6])
