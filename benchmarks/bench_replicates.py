"""Fits side by side against the same fits one after the other.

    python benchmarks/bench_replicates.py [--device cpu|cuda] [--epochs 4] [--repeats 3]

The five simulated rats with the default recipe, a fixed number of epochs without early stopping,
so that both ways do the same work. For 1, 2, 4, 8 (and on a GPU 32) replicates: the time of
`fit_many` over that of as many fits alone, both measured in this run, one after the other. On a
CPU it is processor time of one thread, on a GPU wall time after a warm-up.
Writes benchmarks/results/bench_replicates.json and .csv.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import neuroalign as na

RESULTS = Path(__file__).parent / "results"


def clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: Callable[[], object], device: str) -> float:
    started = clock(device)
    work()
    return clock(device) - started


def main(device: str, epochs: int, repeats: int) -> None:
    if device == "cpu":
        torch.set_num_threads(1)
    recordings, _ = na.simulate_recordings(random_state=5)
    windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)))

    def models(number: int) -> list[na.SharedLatentModel]:
        return [
            na.SharedLatentModel(
                max_epochs=epochs, patience=None, device=device, random_state=seed, verbose=False
            )
            for seed in range(number)
        ]

    def together(number: int) -> None:
        failed = [
            f
            for f in na.fit_many(models(number), windows, label="odor")
            if not hasattr(f, "fitted_")
        ]
        if failed:
            raise RuntimeError(str(failed[0]))

    def apart(number: int) -> None:
        for model in models(number):
            model.fit(windows, label="odor")

    apart(1)  # what is compiled or cached on first use
    rows = []
    for number in (1, 2, 4, 8) if device == "cpu" else (1, 4, 8, 32):
        for repeat in range(repeats):
            alone, side = (
                timed(lambda n=number: apart(n), device),
                timed(lambda n=number: together(n), device),
            )  # type: ignore[misc]
            rows.append(
                {
                    "replicates": number,
                    "repeat": repeat,
                    "ratio": side / alone,
                    "over_one": side / (alone / number),
                }
            )
            print(rows[-1], flush=True)
    table = (
        pd.DataFrame(rows)
        .groupby("replicates")[["ratio", "over_one"]]
        .agg(["median", "min", "max"])
    )
    print(table.round(2).to_string())
    machine = {
        "device": device if device == "cpu" else torch.cuda.get_device_name(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "epochs": epochs,
        "repeats": repeats,
    }
    RESULTS.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(RESULTS / "bench_replicates.csv", index=False, float_format="%.4f")
    (RESULTS / "bench_replicates.json").write_text(
        json.dumps({"machine": machine, "rows": rows}, indent=1)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    main(**vars(parser.parse_args()))
