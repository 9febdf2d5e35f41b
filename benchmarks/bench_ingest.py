"""Reading and binning spikes: neuroalign beside pynapple, elephant and pynwb.

    pip install pynapple elephant
    python benchmarks/bench_ingest.py [--repeats 15] [--large]

**Binning.** The same spikes, frames and bins for all: 300 units, 3 million spikes, 400 frames of
0.5 s in bins of 10 ms, onsets on whole milliseconds between the bins' edges. pynapple counts in
an `IntervalSet` of the frames, after one call that compiles; elephant bins the whole session and
frames are cut from it, which needs onsets on its grid, so that it gets onsets rounded to 10 ms
and so do we in that comparison. Ours is called once before, too: it loads or compiles its loops.
Counts are compared, and where they differ the number of bins is said.

**Reading.** Eight files of 100 units with 20,000 spikes each, as `write_nwb` writes them and
again with spike times compressed by gzip: `read_nwb` beside reading units and trials by pynwb
(its own way to one unit's spikes, in a loop) and by pynapple (`NWBFile`, then units and trials),
and with one thread for each core. `read_nwb` also checks what it reads; the others do not.

Every repeat runs what is compared one after the other; ratios are theirs over ours, so that 2
means that ours takes half the time. Medians and quartiles are over repeats.

`--large` bins 1,000 units, 50 million spikes and 1,000 trials of 1 s in a fresh process, and
reports the time over that of copying the spike times once (into memory that is there, and into
new memory), and the peak of memory over the binned counts: of the whole process (Linux; resident
memory at its peak during the call, less what was resident before) and of what Python and numpy
allocate. Loading the compiled loops is timed in fresh processes, with and without numba's cache.
Writes benchmarks/results/bench_ingest.json.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import neuroalign as na

RESULTS = Path(__file__).parent / "results"
BIN = 0.01
LIBRARIES = ("numpy", "numba", "xarray", "pynapple", "elephant", "neo", "pynwb", "h5py")
SPEC = {"name": "bench", "trials": {"onset": "onset", "labels": {"odor": {"column": "odor"}}}}
LOADING = """
import time
import numpy, xarray, pandas
started = time.perf_counter()
from neuroalign.data.counting import load_kernels
load_kernels().compiled("uint8")
print(time.perf_counter() - started)
"""


def machine() -> dict[str, Any]:
    found = platform.processor() or platform.machine()
    about = Path("/proc/cpuinfo")
    for line in about.read_text().splitlines() if about.exists() else ():
        if line.startswith("model name"):
            found = line.partition(":")[2].strip()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"processor": found, "cores": cores, "python": platform.python_version(), **versions}


def spikes(units: int, number: int, duration: float) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    share = random.gamma(0.7, size=units)
    counts = np.maximum(1, (number * share / share.sum()).astype(int))
    return [np.sort(random.uniform(0, duration, size=n)) for n in counts]


def recordings_of(trains: dict[str, list[np.ndarray]], onsets: np.ndarray) -> Any:
    trials = pd.DataFrame({"onset": onsets, "odor": np.where(np.arange(len(onsets)) % 2, "A", "B")})
    return na.from_arrays(
        {name: dict(enumerate(each)) for name, each in trains.items()},
        dict.fromkeys(trains, trials),
        onset="onset",
        labels=["odor"],
    )


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def ours(recordings: Any, length: float) -> np.ndarray:
    binned = na.bin_spikes(recordings, frame_start=0.0, frame_length=length, bin_width=BIN)
    return np.asarray(binned["ada"]["counts"].transpose("trial", "unit", "time").values)


def compare_binning(repeats: int) -> list[dict[str, Any]]:
    import elephant.conversion
    import neo
    import pynapple as nap
    import quantities as pq

    duration, length, trials = 1000.0, 0.5, 400
    trains = spikes(300, 3_000_000, duration)
    onsets = np.sort(np.random.default_rng(1).choice(np.arange(2, 990, 2), trials, replace=False))
    fine, coarse = np.round(onsets + 0.003, 3), onsets.astype(np.float64)
    group = nap.TsGroup({i: nap.Ts(train) for i, train in enumerate(trains)})
    frames = nap.IntervalSet(fine, fine + length)
    neo_trains = [neo.SpikeTrain(t, units="s", t_start=0.0, t_stop=duration) for t in trains]
    ours_fine = recordings_of({"ada": trains}, fine)
    ours_coarse = recordings_of({"ada": trains}, coarse)
    bins = round(length / BIN)

    def pynapple() -> np.ndarray:
        counted = np.asarray(group.count(BIN, ep=frames))
        return counted.reshape(trials, bins, -1).swapaxes(1, 2)

    def elephant_bins() -> np.ndarray:
        whole = elephant.conversion.BinnedSpikeTrain(
            neo_trains, bin_size=BIN * pq.s, t_start=0 * pq.s, t_stop=duration * pq.s
        ).to_array()
        starts = np.round(coarse / BIN).astype(int)
        return np.stack([whole[:, s : s + bins] for s in starts])

    pynapple()  # compiles
    ours(ours_fine, length)  # loads or compiles
    rows = []
    for repeat in range(repeats):
        for against, theirs, recordings in (
            ("pynapple count", pynapple, ours_fine),
            ("elephant BinnedSpikeTrain", elephant_bins, ours_coarse),
        ):
            mine, counts = seconds(lambda recordings=recordings: ours(recordings, length))
            other, found = seconds(theirs)
            differ = int((counts != found).sum())
            rows.append(
                {
                    "against": against,
                    "repeat": repeat,
                    "seconds": mine,
                    "ratio": other / mine,
                    "bins": counts.size,
                    "bins_that_differ": differ,
                }
            )
            print(rows[-1], flush=True)
    return rows


def write_files(folder: Path) -> dict[str, list[Path]]:
    """Write eight animals, and the same again with compressed spike times."""
    import h5py

    random = np.random.default_rng(0)
    trains = {
        f"a{animal}": [np.sort(random.uniform(0, 3600, 20_000)) for _ in range(100)]
        for animal in range(8)
    }
    tree = recordings_of(trains, np.arange(400) * 8.0 + 5)
    plain = list(na.write_nwb(tree, folder / "plain").values())
    packed = list(na.write_nwb(tree, folder / "gzip").values())
    for path in packed:
        with h5py.File(path, "r+") as file:
            units = file["units"]
            values, attributes = units["spike_times"][:], dict(units["spike_times"].attrs)
            del units["spike_times"]
            dataset = units.create_dataset(
                "spike_times", data=values, chunks=(100_000,), compression="gzip"
            )
            dataset.attrs.update(attributes)
            units["spike_times_index"].attrs["target"] = dataset.ref
    return {"plain": plain, "gzip": packed}


def by_pynwb(paths: list[Path]) -> list[Any]:
    from pynwb import NWBHDF5IO

    found = []
    for path in paths:
        with NWBHDF5IO(path, "r", load_namespaces=True) as reader:
            file = reader.read()
            units = [file.units.get_unit_spike_times(i) for i in range(len(file.units))]
            found.append((units, file.trials.to_dataframe()))
    return found


def by_pynapple(paths: list[Path]) -> list[Any]:
    import pynapple as nap

    found = []
    for path in paths:
        file = nap.NWBFile(str(path))
        found.append((file["units"], file["trials"]))
        file.close()
    return found


def compare_reading(repeats: int) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(folder))
        for repeat in range(-1, repeats):  # the first imports, and is not counted
            for kind, paths in files.items():
                others: dict[str, Callable[[], Any]] = {
                    "pynwb, unit by unit": lambda paths=paths: by_pynwb(paths),
                    "pynapple NWBFile": lambda paths=paths: by_pynapple(paths),
                    "read_nwb, n_jobs=-1": lambda paths=paths: na.read_nwb(paths, SPEC, n_jobs=-1),
                }
                for against, theirs in others.items():
                    mine, _ = seconds(lambda paths=paths: na.read_nwb(paths, SPEC))
                    other, _ = seconds(theirs)
                    row = {"against": f"{against} ({kind})", "repeat": repeat}
                    row |= {"seconds": mine, "ratio": other / mine}
                    if repeat >= 0:
                        rows.append(row)
                        print(row, flush=True)
    return rows


def large(repeats: int) -> dict[str, Any]:
    trains = spikes(1000, 50_000_000, 4000.0)
    recordings = recordings_of({"ada": trains}, np.round(np.arange(1000) * 3.9 + 0.003, 3))
    there = [train.copy() for train in trains]
    counts = ours(recordings, 1.0)  # loads or compiles
    peak = resident_peak(lambda: ours(recordings, 1.0))
    tracemalloc.start()
    ours(recordings, 1.0)
    traced = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    rows = []
    for _ in range(repeats):
        binning, _ = seconds(lambda: ours(recordings, 1.0))
        copying, _ = seconds(lambda: [np.copyto(a, b) for a, b in zip(there, trains, strict=True)])
        anew, _ = seconds(lambda: [train.copy() for train in trains])
        rows.append(
            {
                "seconds": binning,
                "time_over_one_copy_of_the_spikes": binning / copying,
                "time_over_one_copy_into_new_memory": binning / anew,
            }
        )
    return {
        **{name: spread([row[name] for row in rows]) for name in rows[0]},
        "peak_memory_over_counts": None if peak is None else peak / counts.nbytes,
        "peak_python_memory_over_counts": traced / counts.nbytes,
        "counts_bytes": counts.nbytes,
        "spikes_in_frames": int(counts.sum()),
    }


def resident_peak(work: Callable[[], Any]) -> int | None:
    """Return how far resident memory rises above what it was before (bytes; Linux)."""
    status, forget = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not forget.exists():
        return None

    def read(name: str) -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024

    forget.write_text("5")  # the peak so far
    before = read("VmRSS")
    work()
    return read("VmHWM") - before


def loading() -> dict[str, float]:
    """Time loading the compiled loops, without numba's cache and with it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        found = [
            float(
                subprocess.run(
                    [sys.executable, "-c", LOADING],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
            for _ in range(6)
        ]
    return {"compiling_seconds": found[0], "loading_seconds": float(np.median(found[1:]))}


def spread(values: list[float]) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": middle, "quartile_low": low, "quartile_high": high}


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    table = pd.DataFrame(rows)
    return {
        str(against): spread(part["ratio"].tolist())
        for against, part in table.groupby("against", sort=False)
    }


def main(repeats: int, with_large: bool) -> None:
    warnings.simplefilter("ignore")
    report: dict[str, Any] = {"machine": machine()}
    report["loading"] = loading()
    report["rows"] = compare_binning(repeats)
    report["reading_rows"] = compare_reading(repeats)
    report["theirs_over_ours"] = summary(report["rows"] + report["reading_rows"])
    if with_large:
        child = [sys.executable, __file__, "--only-large", "--repeats", str(repeats)]
        done = subprocess.run(child, capture_output=True, text=True, check=True)
        report["large"] = json.loads(done.stdout)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "bench_ingest.json").write_text(json.dumps(report, indent=1) + "\n")
    shown = {name: report.get(name) for name in ("machine", "loading", "theirs_over_ours", "large")}
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only-large", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only_large:
        warnings.simplefilter("ignore")
        print(json.dumps(large(arguments.repeats)))
    else:
        main(arguments.repeats, arguments.large)
