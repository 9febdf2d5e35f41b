"""Small NWB files, written by pynwb row by row: independent of the package's own writer."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

ODORS = ["A", "B", "C", "D"]
SPEC = {
    "name": "example",
    "trials": {"labels": {"odor": "odor"}},
    "frame": {"start": 0.1, "length": 0.2},
    "bin_width": 0.01,
    "window": {"length": 0.1, "step": 0.01},
    "label": "odor",
}


def example_spikes(n_units: int = 3, n_trials: int = 8, seed: int = 0) -> list[np.ndarray]:
    """Ascending spike times (s) that cover trials at 1, 2, ... s."""
    generator = np.random.default_rng(seed)
    return [
        np.sort(np.round(generator.uniform(0.5, n_trials + 1, size=20 * (unit + 1)), 4))
        for unit in range(n_units)
    ]


def example_trials(n_trials: int = 8) -> dict[str, list]:
    return {
        "start_time": [float(trial + 1) for trial in range(n_trials)],
        "stop_time": [trial + 1.6 for trial in range(n_trials)],
        "odor": [ODORS[trial % 4] for trial in range(n_trials)],
        "correct": [trial % 8 != 5 for trial in range(n_trials)],
        "block": [trial // 4 for trial in range(n_trials)],
        "contrast": [0.25 * (trial % 2) for trial in range(n_trials)],
    }


def empty_file(subject: str | None = "mitt"):
    from pynwb import NWBFile
    from pynwb.file import Subject

    file = NWBFile("example", "id", datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    if subject:
        file.subject = Subject(subject_id=subject)
    return file


def save(file, path: Path) -> Path:
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(path, "w") as writer:
        writer.write(file)
    return path


def add_units(file, spikes, regions=None, **columns) -> None:
    columns = {"region": regions or ["CA1"] * len(spikes), **columns}
    for name in columns:
        file.add_unit_column(name, name)
    for unit, times in enumerate(spikes):
        values = {name: column[unit] for name, column in columns.items()}
        file.add_unit(spike_times=times, id=10 + unit, **values)


def add_trials(file, trials) -> None:
    for name in trials:
        if name not in {"start_time", "stop_time"}:
            file.add_trial_column(name, name)
    for row in range(len(trials["start_time"])):
        file.add_trial(**{name: values[row] for name, values in trials.items()})


def write_example(
    path: Path, *, subject: str | None = "mitt", spikes=None, trials=None, regions=None
) -> Path:
    """Write a file with three units and eight trials, or with what is given instead."""
    file = empty_file(subject)
    add_units(file, example_spikes() if spikes is None else spikes, regions)
    add_trials(file, example_trials() if trials is None else trials)
    return save(file, path)
