"""Imputing a rat from one, two, three and four others recorded together with it.

    python benchmarks/sources.py [SEED ...]

Simulated rats that share every trial's latents (`simultaneous=True`), fitted with pairing
"trial"; all subsets of sources, averaged with weights from the posteriors' precision or equally.
Bits per spike on the target's own held-out trials, and the odor read from imputed windows.
Writes benchmarks/results/sources.csv.
"""

from __future__ import annotations

import sys

import pandas as pd
from simulated_rats import RESULTS, fit

import neuroalign as na

SEEDS = (20, 21)


def main(seeds: list[int]) -> None:
    pieces = []
    for seed in seeds:
        recordings, _ = na.simulate_recordings(simultaneous=True, random_state=seed)
        windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)))
        train, test = na.split_trials(
            windows, test_size=0.25, simultaneous=True, stratify="odor", random_state=seed
        )
        model = fit(train, seed, pairing="trial", dropout=0.5)
        for target in train.children:
            table = na.score_sources(
                model, train, test, label="odor", target=str(target), subsets=4, bootstraps=0
            )
            pieces.append(table.assign(seed=seed, target=target))
            print(target, flush=True)
    table = pd.concat(pieces)
    RESULTS.mkdir(exist_ok=True)
    table.to_csv(RESULTS / "sources.csv", index=False, float_format="%.4f")
    keys = ["combine", "n_sources"]
    print(table.groupby(keys)[["bits_per_spike", "coherence"]].mean().round(3).to_string())


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or list(SEEDS))
