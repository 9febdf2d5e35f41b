"""What labels alone cannot give: trial-by-trial imputation, an unpaired variable, an unseen odor.

    python benchmarks/beyond_labels.py together [SEED ...]  # rats that share every trial's latents
    python benchmarks/beyond_labels.py unseen [SEED ...]    # an odor left out of the pairing

`together`: simulated rats recorded simultaneously, paired by trial and by label; imputing a rat
from another above the label floor (bits per spike), and reading `arousal`, which varies from
trial to trial whatever the odor, across rats (correlation, averages per odor taken away).
`unseen`: rats recorded apart; each odor in turn meets no other rat in the fit, and its held-out
trials are then read by classifiers of the other rats that know all odors (share of its trials
read right, chance 0.25). Every method, the classical ones too, is fitted as it is by default.
Writes benchmarks/results/beyond_labels_{together,unseen}.csv.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import xarray as xr

import neuroalign as na

RESULTS = Path(__file__).parent / "results"
BASELINES = ("raw counts", "PCA", "PCA + Procrustes", "multi-set CCA", "SRM", "logit latents")
SEEDS = (20, 21)


def model(seed: int, **settings: object) -> na.SharedLatentModel:
    return na.SharedLatentModel(random_state=seed, verbose=False, **settings)  # type: ignore[arg-type]


def windows_of(seed: int, *, simultaneous: bool) -> xr.DataTree:
    recordings, _ = na.simulate_recordings(simultaneous=simultaneous, random_state=seed)
    return na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)))


def together(seed: int) -> pd.DataFrame:
    result = na.evaluate(
        windows_of(seed, simultaneous=True),
        {
            "mm-vamp, paired by trial": model(seed, pairing="trial", dropout=0.5),
            "mm-vamp, paired by label": model(seed),
            "independent": model(seed, sharing="independent", beta=0.1),
        },
        label="odor",
        simultaneous=True,
        baselines=BASELINES,
        transfer=["arousal"],
        permutations=200,
        bootstraps=0,
        random_state=seed,
    )
    print(result.to_frame("imputation").groupby(["model", "kind"]).mean(numeric_only=True))
    read = result.to_frame("transfer").assign(part="arousal")
    imputed = result.to_frame("imputation").assign(part="imputation")
    return pd.concat([read, imputed])


def unseen(seed: int) -> pd.DataFrame:
    result = na.evaluate(
        windows_of(seed, simultaneous=False),
        {"mm-vamp": model(seed), "independent": model(seed, sharing="independent", beta=0.1)},
        label="odor",
        baselines=BASELINES,
        leave_label_out="all",
        imputation=False,
        permutations=0,
        bootstraps=0,
        random_state=seed,
    )
    return result.to_frame("left out")


def main(part: str, seeds: list[int]) -> None:
    pieces = []
    for seed in seeds:
        pieces.append((together if part == "together" else unseen)(seed).assign(seed=seed))
        print(pieces[-1].round(3).to_string(), flush=True)
        RESULTS.mkdir(exist_ok=True)
        pd.concat(pieces).to_csv(
            RESULTS / f"beyond_labels_{part}.csv", index=False, float_format="%.4f"
        )


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in {"together", "unseen"}:
        raise SystemExit(__doc__)
    main(sys.argv[1], list(map(int, sys.argv[2:])) or list(SEEDS))
