"""Binning spike times into trial frames: neuroalign beside pynapple and elephant.

    pip install pynapple elephant
    python benchmarks/bench_ingest.py [--repeats 5] [--large]

The same spikes, frames and bins for all: 300 units, 3 million spikes, 400 frames of 0.5 s in bins
of 10 ms, onsets on whole milliseconds between the bins' edges. pynapple counts in an
`IntervalSet` of the frames, after one call that compiles; elephant bins the whole session and
frames are cut from it, which needs onsets on its grid, so that it gets onsets rounded to 10 ms
and so do we in that comparison. Counts are compared, and where they differ the number of bins is
said. Every repeat runs the three one after the other; ratios are theirs over ours.
`--large` bins 1,000 units, 50 million spikes and 1,000 trials of 1 s, and reports the time over
that of copying the spike times once, and the peak of memory over the binned counts.
Writes benchmarks/results/bench_ingest.json.
"""

from __future__ import annotations

import argparse
import json
import platform
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


def spikes(units: int, number: int, duration: float) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    share = random.gamma(0.7, size=units)
    counts = np.maximum(1, (number * share / share.sum()).astype(int))
    return [np.sort(random.uniform(0, duration, size=n)) for n in counts]


def recordings_of(trains: list[np.ndarray], onsets: np.ndarray) -> Any:
    trials = pd.DataFrame({"onset": onsets, "odor": np.where(np.arange(len(onsets)) % 2, "A", "B")})
    return na.from_arrays(
        {"ada": dict(enumerate(trains))}, {"ada": trials}, onset="onset", labels=["odor"]
    )


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def ours(recordings: Any, length: float) -> np.ndarray:
    binned = na.bin_spikes(recordings, frame_start=0.0, frame_length=length, bin_width=BIN)
    return np.asarray(binned["ada"]["counts"].transpose("trial", "unit", "time").values)


def compare(repeats: int) -> list[dict[str, Any]]:
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
    ours_fine, ours_coarse = recordings_of(trains, fine), recordings_of(trains, coarse)
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
    rows = []
    for repeat in range(repeats):
        mine, counts = seconds(lambda: ours(ours_fine, length))
        theirs, other = seconds(pynapple)
        rows.append({"against": "pynapple", "repeat": repeat, "ratio": theirs / mine})
        rows[-1]["bins_that_differ"] = int((counts != other).sum())
        mine, counts = seconds(lambda: ours(ours_coarse, length))
        theirs, other = seconds(elephant_bins)
        rows.append({"against": "elephant", "repeat": repeat, "ratio": theirs / mine})
        rows[-1]["bins_that_differ"] = int((counts != other).sum())
        rows[-2]["bins"] = rows[-1]["bins"] = counts.size
        print(rows[-2], rows[-1], flush=True)
    return rows


def large() -> dict[str, float]:
    duration, length = 4000.0, 1.0
    trains = spikes(1000, 50_000_000, duration)
    onsets = np.round(np.arange(1000) * 3.9 + 0.003, 3)
    recordings = recordings_of(trains, onsets)
    ours(recordings, length)
    binning, counts = seconds(lambda: ours(recordings, length))
    copying, _ = seconds(lambda: [train.copy() for train in trains])
    tracemalloc.start()
    ours(recordings, length)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    found = {
        "time_over_one_copy_of_the_spikes": binning / copying,
        "peak_memory_over_counts": peak / counts.nbytes,
        "spikes_in_frames": int(counts.sum()),
    }
    print(found)
    return found


def main(repeats: int, with_large: bool) -> None:
    warnings.simplefilter("ignore")
    report: dict[str, Any] = {
        "machine": {"python": platform.python_version(), "numpy": np.__version__}
    }
    report["rows"] = compare(repeats)
    table = pd.DataFrame(report["rows"])
    print(table.groupby("against")["ratio"].agg(["median", "min", "max"]).round(1).to_string())
    if with_large:
        report["large"] = large()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "bench_ingest.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    main(arguments.repeats, arguments.large)
