"""The compiled loops count as numpy does, refuse what it refuses, and may be missing."""

from __future__ import annotations

import builtins
import subprocess
import sys
import textwrap
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign.data import counting
from neuroalign.data.binning import bin_spikes, frame_edges
from neuroalign.data.counting import UnitSpikes, count_spikes, load_kernels
from neuroalign.errors import DataError
from neuroalign.schema import build_tree

pytest.importorskip("numba")

from neuroalign.data import binning_kernels

Floats = npt.NDArray[np.float64]


def spikes_of(trains: list[Any], *, kept: list[int] | None = None) -> UnitSpikes:
    """Spike trains one after the other, of which some units are kept, in an order of their own."""
    sizes = np.array([len(train) for train in trains], dtype=np.int64)
    stops = np.cumsum(sizes)
    parts = [slice(int(b - n), int(b)) for b, n in zip(stops, sizes, strict=True)]
    chosen = list(range(len(trains))) if kept is None else kept
    filled = sizes > 0
    return UnitSpikes(
        times=np.concatenate([np.asarray(train, dtype=np.float64) for train in trains]),
        starts=(stops - sizes)[filled],
        stops=stops[filled],
        kept=[parts[unit] for unit in chosen],
        others=[part for unit, part in enumerate(parts) if unit not in chosen],
        grouped=True,
    )


def recording(times: Any, owner: Any, *, subject: str = "mitt", units: int = 3) -> xr.DataTree:
    onset = np.arange(4.0)
    data = xr.Dataset(
        {"spike_time": ("spike", np.asarray(times, float)), "spike_unit": ("spike", owner)},
        coords={
            "unit": [f"{subject}/{n}" for n in range(units)],
            "unit_number": ("unit", np.arange(units)),
            "trial": np.arange(onset.size),
            "onset": ("trial", onset),
            "start": ("trial", onset),
            "stop": ("trial", onset + 1.0),
        },
        attrs={"stage": "recording", "subject": subject},
    )
    return build_tree({subject: data})


def both_ways(spikes: UnitSpikes, edges: Floats) -> npt.NDArray[Any]:
    """Count by numpy and by compiled loops, and return what both say."""
    mine = binning_kernels.count_units_and_trials(spikes.times, spikes.kept, spikes.others, edges)
    plain = count_spikes(spikes, edges, "mitt", compiled=False)
    assert mine is not None
    assert mine.dtype == plain.dtype
    np.testing.assert_array_equal(mine, plain)
    return plain


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    clock=st.sampled_from([0.0, 17.0, 1e3, 1e6, 5e7]),
    units=st.integers(1, 40),
    busiest=st.sampled_from([0, 3, 200, 3000]),
    trials=st.integers(0, 30),
    bins=st.sampled_from([1, 3, 50, 700]),
    width=st.sampled_from([1e-6, 0.001, 0.01, 1 / 3]),
    spread=st.sampled_from([0.0, 0.5, 3.0, 40.0]),
)
def test_compiled_loops_count_as_numpy_does(
    seed, clock, units, busiest, trials, bins, width, spread
):
    # overlapping and unsorted frames, several spikes at one time, edges and what is just below
    stream = np.random.default_rng(seed)
    length = bins * width
    onset = clock + stream.uniform(0, spread * length, size=trials)
    edges = frame_edges(onset, frame_start=0.25, bins=bins, bin_width=width)
    trains = []
    for _ in range(units):
        number = int(stream.integers(0, busiest + 1))
        train = clock + 0.25 + stream.uniform(-0.2, spread + 1.2, size=number) * length
        if edges.size:
            on_edge = stream.choice(edges.ravel(), size=number // 3)
            train = np.concatenate([train, on_edge, np.nextafter(on_edge, -np.inf)])
        trains.append(np.sort(np.repeat(train, stream.integers(1, 3, size=train.size))))
    kept = stream.permutation(units)[: int(stream.integers(1, units + 1))]
    both_ways(spikes_of(trains, kept=kept.tolist()), edges)


@pytest.mark.parametrize("number", [255, 256, 65535])
def test_counts_as_large_as_their_type_are_kept(number):
    edges = frame_edges([0.0, 0.5], frame_start=0.0, bins=4, bin_width=0.25)
    counts = both_ways(spikes_of([[0.1], np.full(number, 0.3)]), edges)
    assert counts.dtype == (np.uint8 if number == 255 else np.uint16)
    assert counts[0, 1].tolist() == [0, number, 0, 0]
    assert counts[1].sum() == 0


@pytest.mark.parametrize("spikes", [256, 1000, 65_536, 200_000])
def test_busy_frames_of_sparse_bins_stay_small(spikes):
    # more spikes in the frame than a bin could hold, though no bin is full
    bins = 1000 if spikes > 1000 else 10
    edges = frame_edges([0.0], frame_start=0.0, bins=bins, bin_width=0.01)
    train = (np.arange(spikes) + 0.5) / spikes * bins * 0.01
    counts = both_ways(spikes_of([train, train[::2]]), edges)
    assert counts.dtype == np.uint8
    assert counts.sum(dtype=int) == spikes + spikes // 2


def test_threads_count_as_one_thread_does(monkeypatch):
    stream = np.random.default_rng(0)
    trains = [np.sort(stream.uniform(0, 100, size=stream.integers(0, 2000))) for _ in range(70)]
    edges = frame_edges(np.arange(1.0, 90.0), frame_start=0.0, bins=30, bin_width=0.01)
    alone = both_ways(spikes_of(trains), edges)
    monkeypatch.setattr(binning_kernels, "SPIKES_PER_THREAD", 1000)
    monkeypatch.setattr(binning_kernels.numba, "config", SimpleNamespace(NUMBA_NUM_THREADS=3))
    np.testing.assert_array_equal(both_ways(spikes_of(trains), edges), alone)
    unsorted = [*trains[:-2], trains[0][::-1], trains[-1]]
    spikes = spikes_of(unsorted)
    assert binning_kernels.count_units_and_trials(spikes.times, spikes.kept, [], edges) is None


@pytest.mark.parametrize("place", [1, 511, 512, 513, 3000, 4999])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize("trials", [0, 1, 40])
def test_one_bad_spike_is_found_wherever_it_is(place, value, trials):
    # before, between and after the frames, which need not be looked at to count
    train = np.linspace(0.0, 100.0, 5001)
    edges = frame_edges(np.linspace(30.0, 60.0, trials), frame_start=0.0, bins=5, bin_width=0.1)
    for unit in (0, 1):
        trains = [train.copy(), train.copy()]
        both_ways(spikes_of(trains), edges)
        trains[unit][place] = value
        for kept in ([0, 1], [1 - unit]):
            spikes = spikes_of(trains, kept=kept)
            found = binning_kernels.count_units_and_trials(
                spikes.times, spikes.kept, spikes.others, edges
            )
            assert found is None


def test_spikes_may_be_read_only_strided_and_of_other_bytes():
    edges = frame_edges([0.0], frame_start=0.0, bins=2, bin_width=0.5)
    times = np.array([0.1, 9.0, 0.2, 9.0, 0.6, 9.0])[::2]
    swapped = times.astype(">f8")
    frozen = times.copy()
    frozen.flags.writeable = False
    for given_times in (times, swapped, frozen):
        found = binning_kernels.count_units_and_trials(given_times, [slice(0, 3)], [], edges)
        assert found is not None
        assert found.tolist() == [[[2, 1]]]


BAD = {
    "not sorted": ([0.1, 0.3, 0.2, 0.5], [0, 0, 0, 1], "must ascend within each unit"),
    "not a number": ([0.1, np.nan, 0.2, 0.5], [0, 0, 0, 1], "must be finite"),
    "a unit that starts with no number": ([np.nan, 0.2, 0.1, 0.5], [0, 0, 0, 1], "must be finite"),
    "infinite": ([0.1, 0.2, 0.3, np.inf], [0, 0, 0, 1], "must be finite"),
    "infinite at the start": ([-np.inf, 0.2, 0.3, 0.5], [0, 0, 0, 1], "must be finite"),
    "both": ([0.2, 0.1, 0.3, np.nan], [0, 0, 0, 1], "must be finite"),
    "a dropped unit": ([0.1, 0.3, 0.2, 0.1], [0, 0, 7, 7], "must ascend within each unit"),
    "mixed": ([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1], "must be grouped by unit"),
    "mixed and unsorted": ([0.1, 0.2, 0.3, 0.2], [0, 1, 0, 0], "must ascend within each unit"),
    "too many": (np.full(70_000, 0.1), np.zeros(70_000, int), "a bin holds 70000 spikes"),
}


@pytest.mark.parametrize(("times", "owner", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("piece", [2, 1 << 16])
def test_both_ways_refuse_the_same_with_the_same_words(times, owner, message, piece, monkeypatch):
    said = []
    monkeypatch.setattr(counting, "PIECE", piece if len(times) < 10 else 1 << 16)
    for compiled in (False, True):
        monkeypatch.setattr(
            "neuroalign.data.binning.is_worth_compiling", lambda recordings, way=compiled: way
        )
        with pytest.raises(DataError, match=message) as caught:
            bin_spikes(recording(times, owner), frame_start=0.0, frame_length=0.5, bin_width=0.1)
        said.append(str(caught.value))
    assert said[0] == said[1]


@given(st.lists(st.sampled_from([0, 1, 2, 7]), max_size=12), st.integers(1, 13))
def test_stretches_are_found_whatever_the_pieces(owner, piece):
    data = recording(np.arange(len(owner)), np.array(owner, dtype=np.int32))["mitt"].to_dataset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "PIECE", piece)
        found = counting.find_spikes(data, "mitt")
    changes = [0, *(i for i in range(1, len(owner)) if owner[i] != owner[i - 1])]
    expected = changes if owner else []
    assert found.starts.tolist() == expected
    assert found.stops.tolist() == [*expected[1:], len(owner)][: len(expected)]
    assert found.grouped == (len(expected) == len(set(owner)))
    if found.grouped:
        assert [owner[part] for part in found.kept] == [
            [unit] * owner.count(unit) for unit in range(3)
        ]
        assert [set(owner[part]) for part in found.others] == ([{7}] if 7 in owner else [])


@pytest.mark.parametrize(
    ("loaded", "limit"),
    [((), 1.0), (("numba",), 0.5), (("numba", counting.STARTED), 0.025)],
    ids=["not imported", "imported", "used by other code"],
)
def test_how_much_work_loading_is_worth(loaded, limit, monkeypatch):
    monkeypatch.delitem(sys.modules, counting.KERNELS, raising=False)
    for name in ("numba", counting.STARTED):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in loaded:
        monkeypatch.setitem(sys.modules, name, sys)
    data = recording([0.1], np.zeros(1, np.int32))
    frames = 12 * counting.SECONDS_PER_FRAME  # four trials, three units
    for share, expected in ((0.9, False), (1.1, True)):
        monkeypatch.setattr(counting, "SECONDS_PER_SPIKE", share * limit - frames)
        assert counting.is_worth_compiling(data) == expected


def test_work_is_that_of_all_subjects_together(monkeypatch):
    monkeypatch.setattr(counting, "SECONDS_PER_SPIKE", 0.6)
    for name in (counting.KERNELS, "numba", counting.STARTED):
        monkeypatch.delitem(sys.modules, name, raising=False)
    one = {"mitt": recording([0.1], np.zeros(1, np.int32))["mitt"].to_dataset()}
    assert not counting.is_worth_compiling(build_tree(one))
    assert counting.is_worth_compiling(build_tree({**one, "ada": one["mitt"]}))


def test_numba_imports_what_tells_that_it_has_compiled():
    script = f"""
        import sys
        import numba
        assert {counting.STARTED!r} not in sys.modules
        numba.njit(lambda x: x + 1)(1)
        assert {counting.STARTED!r} in sys.modules
    """
    run(script)


def test_once_loaded_they_are_used_for_little_work_too():
    binning_kernels.compiled("uint8")
    assert counting.is_worth_compiling(recording([0.1], np.zeros(1, np.int32)))


@pytest.fixture
def forgotten():
    """Let the modules be looked for again, before and after."""
    load_kernels.cache_clear()
    binning_kernels.compiled.cache_clear()
    yield
    load_kernels.cache_clear()
    binning_kernels.compiled.cache_clear()


@pytest.mark.parametrize("error", [ImportError("no numba"), OSError("no libllvmlite.so")])
def test_numpy_counts_where_numba_cannot_be_imported(error, monkeypatch, forgotten):
    import neuroalign.data as package

    real = builtins.__import__

    def refuse(name, *args, **keywords):
        if name == "numba" or (name == "neuroalign.data" and "binning_kernels" in args[2]):
            raise error
        return real(name, *args, **keywords)

    monkeypatch.delattr(package, "binning_kernels", raising=False)
    monkeypatch.delitem(sys.modules, counting.KERNELS, raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    spikes = spikes_of([[0.1, 0.2, 0.6]])
    edges = frame_edges([0.0], frame_start=0.0, bins=2, bin_width=0.5)
    assert count_spikes(spikes, edges, "mitt", compiled=True).tolist() == [[[2, 1]]]
    assert load_kernels() is None


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("cannot cache function 'count_units': no locator available"),
        OSError(28, "full"),
    ],
)
def test_loops_are_compiled_where_they_cannot_be_kept(error, monkeypatch, forgotten):
    real, asked = binning_kernels.numba.njit, []

    def refuse_to_keep(*args, cache=False, **options):
        asked.append(cache)
        if cache:
            raise error
        return real(*args, **options)

    monkeypatch.setattr(binning_kernels.numba, "njit", refuse_to_keep)
    edges = frame_edges([0.0], frame_start=0.0, bins=2, bin_width=0.5)
    both_ways(spikes_of([[0.1, 0.2, 0.6]]), edges)
    assert asked == [True, False]


def run(script: str, **environment: str) -> str:
    import os

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_numba_is_not_imported_for_little_work():
    script = """
        import sys
        import pandas as pd
        import neuroalign as na
        table = pd.DataFrame({"onset": [1.0, 2.0], "odor": ["A", "B"]})
        tree = na.from_arrays({"mitt": [[0.9, 2.1]]}, {"mitt": table})
        na.bin_spikes(tree, frame_start=0.0, frame_length=0.5, bin_width=0.1)
        assert "numba" not in sys.modules
    """
    run(script)


def test_numpy_counts_where_numba_is_told_to_compile_nothing():
    script = """
        from neuroalign.data.counting import load_kernels
        assert load_kernels() is None
    """
    run(script, NUMBA_DISABLE_JIT="1")


def test_memory_of_the_compiled_way_is_that_of_the_counts():
    import tracemalloc

    stream = np.random.default_rng(0)
    spikes = spikes_of([np.sort(stream.random(4000) * 1000) for _ in range(60)])
    edges = frame_edges(
        np.sort(stream.random(500) * 990), frame_start=0.0, bins=100, bin_width=0.01
    )
    count_spikes(spikes, edges, "mitt", compiled=True)
    tracemalloc.start()
    counts = count_spikes(spikes, edges, "mitt", compiled=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.6 * counts.nbytes  # 0.4 of it are temporaries as large as the edges


def test_neither_way_warns():
    edges = frame_edges([0.0, 0.0], frame_start=0.0, bins=2, bin_width=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both_ways(spikes_of([[], [0.1]]), edges)
