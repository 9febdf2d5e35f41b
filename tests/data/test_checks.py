from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroalign.data.checks import (
    SpikeTrains,
    check_clocks,
    check_spike_trains,
    check_trial_times,
)
from neuroalign.data.specs import TimesSpec
from neuroalign.errors import DataError, DataWarning

SECONDS = TimesSpec()
spike_lists = st.lists(
    st.lists(st.floats(0, 1e6, allow_nan=False), max_size=6), min_size=1, max_size=5
)
UNITS = np.array(["mitt/a", "mitt/b"])


def trains(*units):
    arrays = [np.asarray(unit, dtype=float) for unit in units]
    return SpikeTrains(np.concatenate(arrays), np.cumsum([a.size for a in arrays]))


def checked(*units, times=SECONDS):
    return check_spike_trains(trains(*units), UNITS, times=times, where="FILE")


def test_trains_know_their_owners_and_select_units():
    both = trains([1, 2, 3], [5])
    assert both.counts.tolist() == [3, 1]
    assert both.owner.tolist() == [0, 0, 0, 1]
    second = both.select(np.array([False, True]))
    assert second.times.tolist() == [5]
    assert second.stops.tolist() == [1]


def test_good_times_pass_unchanged_even_when_units_overlap():
    result, n_sorted = checked([1, 2, 9], [0.5, 3])
    assert result.times.tolist() == [1, 2, 9, 0.5, 3]
    assert n_sorted == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_times_that_are_not_finite(bad):
    with pytest.raises(DataError) as raised:
        checked([1, 2], [3, bad, bad])
    assert str(raised.value) == (
        "2 spike times are not finite (NaN or infinite), the first in unit 'mitt/b' of FILE; "
        "remove them from the file."
    )


def test_unsorted_times_are_refused_or_sorted_on_request():
    with pytest.raises(DataError) as raised:
        checked([1, 2], [4, 3, 5])
    assert str(raised.value) == (
        "spike times are not ascending in 1 of 2 units, the first 'mitt/b' of FILE; if only "
        "their order is wrong, put 'times: {sort: true}' into the spec."
    )
    result, n_sorted = checked([1, 2], [4, 3, 5], times=TimesSpec(sort=True))
    assert result.times.tolist() == [1, 2, 3, 4, 5]
    assert n_sorted == 1


def test_absurd_times():
    with pytest.raises(DataError, match=r"reach 1.7e\+09 s, expected seconds since the session"):
        checked([1.7e9, 1.7e9 + 1], [1.7e9])
    with pytest.raises(DataError, match="trial times in column 'onset' of FILE reach"):
        check_trial_times(np.array([1.7e9]), what="onset", times=SECONDS, where="FILE")
    # a million seconds is long, not absurd
    checked([1e6], [1e6 + 1])


def test_negative_times_are_allowed_with_a_warning():
    with pytest.warns(DataWarning, match="2 spikes of FILE lie before the session clock starts"):
        result, _ = checked([-2, 1], [-1, 3])
    assert result.times.tolist() == [-2, 1, -1, 3]


def test_milliseconds_on_request():
    result, _ = checked([1000, 2000], [1500], times=TimesSpec(spikes="milliseconds"))
    assert result.times.tolist() == [1, 2, 1.5]
    seconds = check_trial_times(
        np.array([500.0, np.nan]), what="onset", times=TimesSpec(trials="milliseconds"), where=""
    )
    assert seconds[0] == 0.5
    assert np.isnan(seconds[1])


@pytest.mark.parametrize("stops", [[1], [2, 1], [1, 5], []])
def test_an_index_that_does_not_fit(stops):
    broken = SpikeTrains(np.array([1.0, 2.0]), np.array(stops, dtype=np.int64))
    with pytest.raises(DataError, match="the index of spike times does not fit them"):
        check_spike_trains(broken, UNITS, times=SECONDS, where="FILE")


ONSET = np.arange(1.0, 101.0)
STOP = ONSET + 0.6


def firing(stop: float, rate: float = 5.0) -> SpikeTrains:
    times = np.linspace(0.1, stop, int(rate * stop))
    return trains(times, times)


def test_agreeing_clocks_are_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_clocks(firing(101), ONSET, STOP, times=SECONDS, where="FILE")
        # a few trials in an hour of recording are no milliseconds
        check_clocks(firing(3600), ONSET[:5], STOP[:5], times=SECONDS, where="FILE")
        check_clocks(firing(101), ONSET, np.full(100, np.nan), times=SECONDS, where="FILE")


def test_spikes_that_look_like_milliseconds():
    spikes = SpikeTrains(firing(101).times * 1000, firing(101).stops)
    with pytest.raises(DataError) as raised:
        check_clocks(spikes, ONSET, STOP, times=SECONDS, where="FILE")
    assert str(raised.value) == (
        "spike times of FILE look like milliseconds: they span 100900, the trials 99.6 s; put "
        "'times: {spikes: milliseconds}' into the spec, or 'times: {spikes: seconds}' if they are "
        "seconds."
    )
    with pytest.warns(DataWarning, match="begin before the first spike"):
        check_clocks(spikes, ONSET, STOP, times=TimesSpec(spikes="seconds"), where="FILE")


def test_trials_that_look_like_milliseconds():
    with pytest.raises(DataError, match=r"trial times of FILE look like milliseconds"):
        check_clocks(firing(101), ONSET * 1000, STOP * 1000, times=SECONDS, where="FILE")


def test_spikes_that_end_before_the_trials_do():
    with pytest.warns(DataWarning, match=r"40 of 100 trials of FILE begin after the last spike"):
        check_clocks(firing(60.5), ONSET, STOP, times=SECONDS, where="FILE")


def test_spikes_that_look_relative_to_trials():
    with pytest.raises(DataError, match="98 of 100 trials of FILE begin after the last spike"):
        check_clocks(firing(2), ONSET, STOP, times=SECONDS, where="FILE")
    with pytest.warns(DataWarning, match="98 of 100 trials"):
        check_clocks(firing(2), ONSET, STOP, times=TimesSpec(spikes="seconds"), where="FILE")


def test_spikes_that_begin_after_the_trials_do():
    late = trains(np.linspace(50.5, 101, 300))
    with pytest.warns(DataWarning, match=r"50 of 100 trials of FILE begin before the first spike"):
        check_clocks(late, ONSET, STOP, times=SECONDS, where="FILE")


def test_clocks_that_never_meet_and_units_that_never_fire():
    with pytest.raises(DataError, match="no spike lies within the trials of FILE"):
        check_clocks(firing(50), ONSET + 500, STOP + 500, times=SECONDS, where="FILE")
    with pytest.raises(DataError, match="no unit of FILE has any spike"):
        check_clocks(trains([], []), ONSET, STOP, times=SECONDS, where="FILE")


def test_infinite_trial_times():
    with pytest.raises(DataError, match="are infinite; correct them"):
        check_trial_times(np.array([1, np.inf]), what="onset", times=SECONDS, where="FILE")


@given(spike_lists, st.data())
def test_sorting_and_selecting_equal_what_lists_do(units, data):
    names = np.array([f"mitt/{number}" for number in range(len(units))])
    kept = data.draw(st.lists(st.booleans(), min_size=len(units), max_size=len(units)))
    result, n_sorted = check_spike_trains(
        trains(*units), names, times=TimesSpec(sort=True), where="FILE"
    )
    assert n_sorted == sum(sorted(unit) != unit for unit in units)
    chosen = result.select(np.array(kept))
    expected = [sorted(unit) for unit, keep in zip(units, kept, strict=True) if keep]
    assert [part.tolist() for part in np.split(chosen.times, chosen.stops)[:-1]] == expected
