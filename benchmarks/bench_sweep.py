"""What many fits cost, and how the cost of an epoch grows with the data.

    python benchmarks/bench_sweep.py [--device cpu|cuda] [--repeats 3] [--quick] [--out FOLDER]

Default settings on simulated rats. In every repeat all sizes are timed one after the other, in an
order that rotates, each by the median of a few epochs after the first, validation included; what
is kept is their time over that of the smallest size in the same repeat:

* animals (60 units, 200 trials each), units and trials per animal (five animals), and replicates
  side by side (five animals), each varied alone;
* a sweep of short fits in one process over the same sweep with a process for every core, in wall
  time, from processes that are there already (fits side by side against fits one after the other
  are in `bench_replicates.py`).

On a GPU: 32 replicates over one, 100 permutations of the model null in seconds, and with `--study`
the seconds of 90 fits of the paper's size (`--study-epochs` long). The comparison means something
only on a machine that does nothing else. Writes bench_sweep.json and .csv (with `_cuda` on a GPU)
and draws docs/figures/performance.png (`--draw` does only that, from the table).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from performance_tables import draw_growth
from timing import LABEL, RESULTS, Work, epochs_of, machine, now, prepared, rounds, write_results

import neuroalign as na

SPEC = "odor_sequence"
SIZES: Mapping[str, tuple[int, ...]] = {
    "animals": (2, 3, 5, 10, 20),
    "units": (30, 60, 120, 240, 480),
    "trials": (50, 100, 200, 400, 800),
    "replicates": (1, 2, 4, 8, 16),
}
ON_GPU = {"replicates": (1, 2, 4, 8, 16, 32)}
BASE = {"animals": 5, "units": 60, "trials": 200}
QUICK_SIZES = {"animals": (2, 4), "units": (6, 12), "trials": (30, 60), "replicates": (1, 4)}
QUICK_BASE = {"animals": 2, "units": 8, "trials": 40}
SETTINGS = {"patience": 10_000, "verbose": False}  # the best weights are kept, no fit stops
SWEEP_GRID = {"beta": [0.03, 0.1, 0.3, 1.0]}
PERMUTATIONS = 100
STUDY_BETAS = (1e-4, 1e-3, 1e-2)
STUDY_SEEDS = range(30)


def simulated(animals: int, units: int, trials: int) -> xr.DataTree:
    recordings, _ = na.simulate_recordings(
        units={f"animal{number}": units for number in range(1, animals + 1)},
        trials=trials,
        random_state=5,
    )
    return na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)))


def growing(size: Mapping[str, int], device: str) -> Work:
    """Return epochs of a fit of this size, of as many replicates as it says."""
    replicates = {"replicates": 1, **size}["replicates"]
    shape = {name: size[name] for name in ("animals", "units", "trials")}
    training = prepared(simulated(**shape), device=device, **SETTINGS)
    return lambda epochs: epochs_of(training, epochs, validate=True, replicates=replicates)


def growth(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time an epoch as one of the sizes grows."""
    base, sizes = (QUICK_BASE, QUICK_SIZES) if args.quick else (BASE, SIZES)
    if args.device != "cpu" and not args.quick:
        sizes = {**sizes, **ON_GPU}
    rows = []
    for varied, values in sizes.items():
        works = {str(value): growing({**base, varied: value}, args.device) for value in values}
        for row in rounds(works, str(values[0]), repeats=args.repeats, epochs=args.epochs):
            size = int(row.pop("work"))
            rows.append({"varied": varied, "size": size, **row})
            print(rows[-1], flush=True)
    return rows


def sweeps(args: argparse.Namespace, cores: int) -> list[dict[str, Any]]:
    """Time a sweep in one process and in as many as there are cores."""
    windows = simulated(
        **(QUICK_BASE if args.quick else {"animals": 3, "units": 30, "trials": 100})
    )
    model = na.SharedLatentModel(max_epochs=args.sweep_epochs, patience=None, verbose=False)
    seeds = range(1 if args.quick else 2)

    def seconds(n_jobs: int, grid: Mapping[str, list[float]] = SWEEP_GRID) -> float:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            table = na.sweep(
                windows, model, grid, label=LABEL, out=folder, seeds=seeds, n_jobs=n_jobs
            )
            found = time.perf_counter() - started
        if (table["error"].fillna("") != "").any():
            raise RuntimeError(str(table["error"].iloc[0]))
        return found

    for n_jobs in (1, cores):  # what starts on first use, processes among it
        seconds(n_jobs, {"beta": SWEEP_GRID["beta"][:2]})
    rows = []
    for repeat in range(args.repeats):
        order = (1, cores) if repeat % 2 == 0 else (cores, 1)
        found = {n_jobs: seconds(n_jobs) for n_jobs in order}
        relative = round(found[cores] / found[1], 5)
        rows.append({"varied": "jobs", "size": cores, "repeat": repeat, "relative": relative})
        print(rows[-1], flush=True)
    return rows


def on_gpu(args: argparse.Namespace) -> dict[str, Any]:
    """Time whole studies on a GPU, in seconds."""
    recordings, _ = na.simulate_recordings(
        **({"units": {"ada": 8, "bob": 8}, "trials": 40} if args.quick else {}), random_state=5
    )
    windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)))
    permutations = 4 if args.quick else PERMUTATIONS

    def seconds(work: Callable[[], object]) -> float:
        started = now(args.device)
        work()
        return round(now(args.device) - started, 2)

    def null(number: int) -> object:
        model = na.SharedLatentModel(device=args.device, random_state=0, verbose=False)
        return na.evaluate(
            windows,
            model,
            label=LABEL,
            imputation=False,
            permutations=0,
            bootstraps=0,
            model_permutations=number,
        )

    def study() -> None:
        changes = {"device": args.device, "max_epochs": args.study_epochs, "verbose": False}
        models = [
            na.SharedLatentModel.from_recipe(SPEC, "paper", beta=beta, random_state=seed, **changes)
            for beta in STUDY_BETAS
            for seed in STUDY_SEEDS
        ]
        for fitted in na.fit_many(models, windows, label=LABEL):
            if isinstance(fitted, na.NeuroAlignError):
                raise fitted

    null(1)  # what is compiled or cached on first use
    found: dict[str, Any] = {
        "permutations": permutations,
        "model null, seconds": seconds(lambda: null(permutations)),
    }
    if args.study:
        fits = len(STUDY_BETAS) * len(STUDY_SEEDS)
        found["study"] = {
            "fits": fits,
            "epochs": args.study_epochs,
            "seconds": seconds(study),
        }
    return found


def main(args: argparse.Namespace) -> None:
    name = "bench_sweep" + ("" if args.device == "cpu" else "_cuda")
    if not args.draw:
        warnings.simplefilter("ignore", na.NeuroAlignWarning)  # fits of a few epochs align nothing
        torch.set_num_threads(args.threads)
        if args.device != "cpu":
            torch.backends.cuda.matmul.allow_tf32 = args.tf32
        cores = os.cpu_count() or 1
        measured_on = machine(args.device)
        rows = growth(args)
        if cores > 1 and args.device == "cpu":
            rows += sweeps(args, cores)
        result: dict[str, Any] = {
            "machine": measured_on,
            "settings": {"repeats": args.repeats, "epochs": args.epochs, "base": BASE},
            "rows": rows,
        }
        if args.device != "cpu":
            result["gpu"] = on_gpu(args)
            print(result["gpu"], flush=True)
        write_results(args.out, name, result)
    if args.device == "cpu":
        recorded = json.loads((args.out / f"{name}.json").read_text(encoding="utf-8"))
        draw_growth(recorded["rows"], args.figure)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--sweep-epochs", type=int, default=10, help="of every fit of the sweeps")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--study", action="store_true", help="on a GPU: 90 fits of the paper")
    parser.add_argument("--study-epochs", type=int, default=1000)
    parser.add_argument("--tf32", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the script")
    parser.add_argument("--draw", action="store_true", help="only the figure, from the table")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path, help="where to draw instead of docs/figures/")
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.epochs, args.sweep_epochs, args.study_epochs = 1, 1, 2, 2
    if args.figure is None:
        shipped = Path(__file__).parents[1] / "docs" / "figures"
        args.figure = (shipped if args.out == RESULTS else args.out) / "performance.png"
    return args


if __name__ == "__main__":
    main(arguments())
