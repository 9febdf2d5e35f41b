"""What the benchmarks of training share: timing epochs, comparing works, writing results."""

from __future__ import annotations

import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

import neuroalign as na
from neuroalign.fitting import prepare_fit
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.replicates import stack_networks
from neuroalign.restarts import Training
from neuroalign.schema import iterate_subjects
from neuroalign.settings import objective_schedules, resolved_settings, training_config
from neuroalign.training.loop import train

RESULTS = Path(__file__).parent / "results"
LABEL = "odor"

Work = Callable[[int], list[float]]  # from a number of epochs to seconds of all but the first


def now(device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def busy_cores(seconds: float = 2.0) -> float:
    """Say how many cores others keep busy now: comparisons ask for a machine at rest."""
    file = Path("/proc/stat")
    if not file.exists():
        return 0.0

    def ticks() -> tuple[float, float]:
        user, nice, system, idle, waiting, *rest = map(float, file.read_text().split()[1:8])
        return user + nice + system + sum(rest), idle + waiting

    before = ticks()
    time.sleep(seconds)
    worked, rested = (new - old for new, old in zip(ticks(), before, strict=True))
    return round(worked / max(worked + rested, 1.0) * (os.cpu_count() or 1), 2)


def machine(device: str) -> dict[str, Any]:
    """Say what measures; called before anything is measured."""
    found = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "busy cores before": busy_cores(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    if device != "cpu":
        found |= {
            "gpu": torch.cuda.get_device_name(),
            "tf32": torch.backends.cuda.matmul.allow_tf32,
        }
    return found


def cpu_lines(key: str) -> list[str]:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(key)]


def _processor() -> str:
    return next(iter(cpu_lines("model name")), platform.processor() or platform.machine())


def write_results(folder: Path, name: str, result: Mapping[str, Any]) -> None:
    """Write the whole as JSON and its rows as CSV, each put in place when it is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        f"{name}.json": json.dumps(result, indent=1) + "\n",
        f"{name}.csv": pd.DataFrame(result["rows"]).to_csv(index=False),
    }
    for file, text in texts.items():
        aside = folder / f"{file}.part"
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, folder / file)


def prepared(windows: xr.DataTree, **settings: Any) -> Training:
    """Return what a fit trains and how, ready for `epochs_of`."""
    model = na.SharedLatentModel(**settings)
    datasets = dict(iterate_subjects(windows))
    settings = resolved_settings(model.get_params(deep=False))
    return prepare_fit(datasets, LABEL, settings, seed=0).training


def epochs_of(
    training: Training, epochs: int, *, validate: bool, replicates: int = 1, **changes: Any
) -> list[float]:
    """Train replicates for some epochs; return seconds of each epoch but the first."""
    seeds = [training.seed + number for number in range(replicates)]
    settings, data = {**training.settings, "max_epochs": epochs, **changes}, training.data
    if not validate:
        data = replace(data, validation_rows=None, measure=None)
    ends: list[float] = []
    objective = objective_schedules(settings)
    train(
        stack_networks([training.build(seed) for seed in seeds]),
        data,
        training_config(settings),
        objective=replace(objective, beta=objective.beta * replicates),
        streams=RandomStreams(seeds, training.device),
        on_epoch=lambda *_: ends.append(now(training.device.type)),
    )
    return [after - before for before, after in itertools.pairwise(ends)]


def rounds(
    works: Mapping[str, Work], reference: str, *, repeats: int, epochs: int
) -> Iterator[dict[str, Any]]:
    """Time every work in every repeat; yield its time over the reference's in that repeat."""
    names = list(works)
    for repeat in range(repeats):
        turn = repeat * len(names) // max(repeats, 1)
        seconds = {n: statistics.median(works[n](1 + epochs)) for n in names[turn:] + names[:turn]}
        for name in names:
            relative = round(seconds[name] / seconds[reference], 5)
            yield {"work": name, "repeat": repeat, "relative": relative}


def timed(epoch: Callable[[], None], device: str) -> Work:
    def work(epochs: int) -> list[float]:
        ends = []
        for _ in range(epochs):
            epoch()
            ends.append(now(device))
        return [after - before for before, after in itertools.pairwise(ends)]

    return work


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_one_thread(work: Work) -> Work:
    def alone(epochs: int) -> list[float]:
        with threads(1):
            return work(epochs)

    return alone
