"""Event times put into tables: intervals from signs, several series in one."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neuroalign.data.columns import Table, spelt_out
from neuroalign.data.trial_sources import Place, event_groups, pool_events, series_table

CODES = st.lists(st.sampled_from([-3, -2, -1, 0, 1, 2, 3]), max_size=30)


def intervals_by_hand(codes: list[int]) -> list[tuple[int, int, float]]:
    """Return row, code and stop of every start, found by looking forward from each."""
    found = []
    for row, code in enumerate(codes):
        if code <= 0:
            continue
        stop = math.nan
        for later in range(row + 1, len(codes)):
            if codes[later] == code:
                break
            if codes[later] == -code:
                stop = float(later)
                break
        found.append((row, code, stop))
    return found


@given(codes=CODES)
def test_every_start_has_the_next_stop_of_its_code(codes: list[int]) -> None:
    times = np.arange(len(codes), dtype=float)
    table = series_table(
        {"timestamps": times, "data": np.array(codes, dtype=np.int8)}, "x", kind="IntervalSeries"
    )
    expected = intervals_by_hand(codes)
    assert table.columns["timestamps"].tolist() == [float(row) for row, _, _ in expected]
    assert table.columns["data"].tolist() == [code for _, code, _ in expected]
    np.testing.assert_array_equal(table.columns["stop_time"], [stop for *_, stop in expected])
    assert table.ids.tolist() == list(range(len(expected)))


TIMES = st.lists(st.integers(0, 50).map(float), max_size=10)


@given(series=st.dictionaries(st.sampled_from(["a", "b", "c"]), TIMES, min_size=1))
def test_pooled_events_are_all_there_in_order_with_their_series(
    series: dict[str, list[float]],
) -> None:
    parts = [
        (f"group/{name}", series_table({"timestamps": times, "data": np.ones(len(times))}, name))
        for name, times in series.items()
    ]
    columns = pool_events(parts, "group").columns
    pairs = list(zip(columns["timestamps"].tolist(), columns["series"].tolist(), strict=True))
    assert [time for time, _ in pairs] == sorted(
        time for times in series.values() for time in times
    )
    assert sorted(pairs) == sorted((t, name) for name, times in series.items() for t in times)


def test_what_only_some_series_have_is_missing_in_the_others() -> None:
    cue = series_table({"timestamps": [1.0, 3.0], "data": ["go", "stop"]}, "cue")
    reward = series_table({"timestamps": [2.0], "data": [0.1]}, "reward")
    bare = series_table({"timestamps": [0.5]}, "bare")
    table = Table(
        np.arange(1), {"start_time": np.array([4.0]), "correct": np.array([True])}, "table"
    )
    pooled = pool_events(
        [("x/cue", cue), ("x/reward", reward), ("x/bare", bare), ("y/table", table)], "x"
    )
    assert pooled.columns["timestamps"].tolist() == [0.5, 1.0, 2.0, 3.0, 4.0]
    assert pooled.columns["data"].tolist() == ["", "go", "0.1", "stop", ""]
    assert pooled.columns["correct"].tolist() == ["", "", "", "", "true"]
    assert pooled.columns["series"].tolist() == ["bare", "cue", "reward", "cue", "table"]


def test_series_of_one_name_are_called_by_their_paths() -> None:
    part = series_table({"timestamps": [1.0]}, "x")
    assert pool_events([("a/lick", part), ("b/lick", part)], "x").columns["series"].tolist() == [
        "a/lick",
        "b/lick",
    ]


def test_columns_that_do_not_fit_the_timestamps_are_left_out_with_the_reason() -> None:
    table = series_table(
        {"timestamps": [1.0, 2.0], "data": [1, 2, 3], "control": np.zeros((2, 3))}, "x"
    )
    assert list(table.columns) == ["timestamps"]
    assert table.skipped == {
        "control": "it has more than one value per row",
        "data": "it has 3 values for 2 timestamps",
    }


def test_labels_of_codes_are_spelt_out_and_unknown_codes_are_missing() -> None:
    table = series_table({"timestamps": [1.0, 2.0, 3.0], "data": [1, 0, 7]}, "x", labels=["A", "B"])
    assert table.columns["data"].tolist() == ["B", "A", ""]
    numbers = spelt_out(np.array([1.0, np.nan, -1.0]), np.array([10, 20]))
    np.testing.assert_array_equal(numbers, [20.0, np.nan, np.nan])


def test_groups_are_those_below_a_module_with_more_than_one_series() -> None:
    paths = [
        "acquisition/a",
        "acquisition/b",
        "processing/behavior/events/left",
        "processing/behavior/events/right",
        "processing/behavior/licks/only",
        "processing/behavior/alone",
    ]
    places = {path: Place(path, "series", None) for path in paths}
    assert list(event_groups(places)) == ["processing/behavior/events"]
