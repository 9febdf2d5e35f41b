"""Small files in the layouts of published data sets, written by pynwb."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from nwb_examples import add_trials, add_units, empty_file, example_spikes, example_trials, save

if TYPE_CHECKING:
    from pathlib import Path

ORIENTATIONS = [0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0]
CHANNELS = [850_100, 850_104, 850_108, 850_112]
PLACES = ["VISp", "VISl", "LP", "None"]
# quality, peak channel, amplitude_cutoff, presence_ratio, isi_violations, and whether the spec keeps it
UNITS = [
    ("good", 850_100, 0.01, 0.99, 0.05, True),
    ("good", 850_104, 0.10, 0.95, 0.50, True),  # on the limits
    ("noise", 850_100, 0.01, 0.99, 0.05, False),
    ("good", 850_108, 0.01, 0.99, 0.05, False),  # thalamus
    ("good", 850_112, 0.01, 0.99, 0.05, False),  # out of the brain
    ("good", 850_100, np.nan, 0.99, 0.05, False),
    ("good", 850_100, 0.01, 0.94, 0.05, False),
    ("good", 850_100, 0.01, 0.99, 0.51, False),
]
# codes of one trial of the recognition block, and when they come relative to the key press
RECOGNITION = ((1, -1.8), (2, -0.8), (3, -0.3), (None, 0.0), (6, 0.05))
ANSWERS = [31, 36, 34, 32, 33, 35, 31, 36]


def gratings() -> dict[str, list[Any]]:
    """Sixteen gratings of eight directions, and two blanks."""
    orientation = [*ORIENTATIONS[:5], np.nan, *ORIENTATIONS[5:], *ORIENTATIONS, np.nan]
    n = len(orientation)
    return {
        "start_time": [2.0 + 3.0 * row for row in range(n)],
        "stop_time": [4.0 + 3.0 * row for row in range(n)],
        "stimulus_name": ["drifting_gratings"] * n,
        "stimulus_block": [2.0] * n,
        "color": ["[1.0, 1.0, 1.0]"] * n,
        "contrast": [0.8] * n,
        "orientation": orientation,
        "phase": ["[5308.98333333, 5308.98333333]"] * n,
        "size": ["[250.0, 250.0]"] * n,
        "spatial_frequency": ["" if np.isnan(angle) else "0.04" for angle in orientation],
        "temporal_frequency": [
            np.nan if np.isnan(angle) else float(2 ** (row % 2))
            for row, angle in enumerate(orientation)
        ],
        "units": ["deg"] * n,
    }


def write_allen(path: Path) -> Path:
    """Write a session as the Allen Visual Coding files are: presentations and unit metrics."""
    from pynwb import TimeSeries
    from pynwb.epoch import TimeIntervals

    file = empty_file("699733573")
    _add_channels(file)
    generator = np.random.default_rng(0)
    columns = ("quality", "peak_channel_id", "amplitude_cutoff", "presence_ratio", "isi_violations")
    for name in (*columns, "snr"):
        file.add_unit_column(name, name)
    for row, (*values, _) in enumerate(UNITS):
        spikes = np.sort(generator.uniform(0.5, 60.0, size=300))
        file.add_unit(
            id=950_000_000 + row,
            spike_times=spikes,
            snr=1.0 + row,
            **dict(zip(columns, values, strict=True)),
        )
    times = TimeSeries(name="timestamps", data=np.arange(5.0), unit="s", timestamps=np.arange(5.0))
    file.create_processing_module("stimulus", "Stimulus times").add(times)
    spontaneous = {"start_time": [0.0, 56.0], "stop_time": [2.0, 60.0]}
    for name, rows in {"drifting_gratings": gratings(), "spontaneous": spontaneous}.items():
        table = TimeIntervals(name=f"{name}_presentations", description=name)
        for column in rows:
            if column not in {"start_time", "stop_time"}:
                table.add_column(column, column)
        for row in range(len(rows["start_time"])):
            values = {column: content[row] for column, content in rows.items()}
            table.add_interval(**values, tags=["stimulus_time_interval"], timeseries=times)
        file.add_time_intervals(table)
    file.add_invalid_time_interval(start_time=10.0, stop_time=10.5)
    pulses = TimeIntervals(name="optogenetic_stimulation", description="pulses")
    pulses.add_column("condition", "condition")
    for row in range(6):
        pulses.add_row(start_time=40.0 + row, stop_time=40.1 + row, condition="ab"[row % 2])
    file.create_processing_module("optotagging", "pulses").add(pulses)
    return save(file, path)


def _add_channels(file: Any) -> None:
    device = file.create_device("probeA")
    group = file.create_electrode_group("probeA", "probe", "cortex", device)
    for channel, place in zip(CHANNELS, PLACES, strict=True):
        file.add_electrode(id=channel, location=place, group=group, x=0.0, y=0.0, z=0.0)


def write_recognition(path: Path, *, suffix: str = "") -> Path:
    """Write a session as the files of the recognition task are: codes in an AnnotationSeries."""
    from pynwb import TimeSeries
    from pynwb.misc import AnnotationSeries

    file = empty_file("p9")
    device = file.create_device("Neuralynx-cheetah")
    group = file.create_electrode_group("microwires-1", "wires", "MTL", device)
    for place in ("Left Amygdala", "Right Hippocampus"):
        file.add_electrode(location=place, group=group)
    for unit, times in enumerate(example_spikes(3, 40)):
        file.add_unit(spike_times=times, electrodes=[unit % 2])
    codes, times, blocks = [55], [0.5], [80]
    for row in range(4):  # the learning block
        start = 1.0 + 2.0 * row
        for code, shift in ((1, 0.0), (2, 1.0), (3, 1.2), (20 + row % 2, 1.5)):
            codes.append(code)
            times.append(start + shift)
            blocks.append(80)
    for row, answer in enumerate(ANSWERS):
        for code, shift in RECOGNITION:
            codes.append(answer if code is None else code)
            times.append(12.0 + 3.0 * row + shift)
            blocks.append(81)
    codes.append(66)
    times.append(40.0)
    blocks.append(81)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the type is old, as these files are
        events = AnnotationSeries(
            name="events",
            description="TTL markers",
            data=[f"{code}{suffix}" for code in codes],
            timestamps=times,
        )
    file.add_acquisition(events)
    file.add_acquisition(
        TimeSeries(name="experiment_ids", data=blocks, unit="NA", timestamps=times)
    )
    return save(file, path)


def write_behavioral_events(path: Path) -> Path:
    """Write a session with one series per kind of event, and signals of other kinds beside them."""
    from pynwb import TimeSeries
    from pynwb.behavior import BehavioralEvents, BehavioralTimeSeries
    from pynwb.misc import IntervalSeries

    file = empty_file("ann")
    add_units(file, example_spikes(3, 20))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the type is old, as such files are
        events = BehavioralEvents(name="BehavioralEvents")
    for name, times, data in (
        ("cue_left", [1.0, 7.0, 13.0], [1, 1, 1]),
        ("cue_right", [4.0, 10.0, 16.0], [1, 1, 1]),
        ("reward", [5.0, 8.0, 8.5], [0.1, 0.2, 0.1]),
    ):
        events.add_timeseries(
            TimeSeries(name=name, data=np.array(data), unit="n.a.", timestamps=np.array(times))
        )
    module = file.create_processing_module("behavior", "behavior")
    module.add(events)
    speed = TimeSeries(
        name="speed", data=np.linspace(0, 1, 50), unit="m/s", starting_time=0.0, rate=10.0
    )
    module.add(BehavioralTimeSeries(name="running", time_series=speed))
    touches = IntervalSeries(
        name="touches",
        data=np.array([1, -1, 2, 1, -1, -2, 1, 1], dtype=np.int8),
        timestamps=[1.0, 1.5, 2.0, 3.0, 3.5, 4.0, 5.0, 6.0],
    )
    file.add_acquisition(touches)
    return save(file, path)


def write_with_trials(path: Path, **columns: Any) -> Path:
    """Write eight trials with the given columns besides the usual ones."""
    file = empty_file("mitt")
    add_units(file, example_spikes())
    add_trials(file, {**example_trials(), **columns})
    return save(file, path)
