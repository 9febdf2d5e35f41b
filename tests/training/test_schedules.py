"""Weights that change while a fit runs, and fits that wait until they have settled."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from fit_examples import changed, fit, weights
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.training.keeping import HistoryRow
from neuroalign.training.schedules import ObjectiveSchedules, Plan, Schedule


@pytest.mark.parametrize("plan", [0.3, np.float32(0.25), 2, np.int64(1)])
def test_a_number_never_changes(plan: float) -> None:
    schedule = Schedule.of(plan)
    assert [schedule(epoch) for epoch in (0, 1, 1000)] == [float(plan)] * 3
    assert schedule.final == float(plan)
    assert schedule.settled_after == 0.0


def test_values_at_between_before_and_after_the_points() -> None:
    schedule = Schedule.of([(2, 0.0), (6, 1.0), (8, 0.5)])
    expected = {0: 0.0, 1: 0.0, 2: 0.0, 3: 0.25, 4: 0.5, 6: 1.0, 7: 0.75, 8: 0.5, 9: 0.5, 500: 0.5}
    assert {epoch: schedule(epoch) for epoch in expected} == expected
    assert schedule.final == 0.5
    assert schedule.settled_after == 8.0


@given(
    points=st.lists(
        st.tuples(st.integers(0, 60), st.floats(-5.0, 5.0)),
        min_size=1,
        max_size=5,
        unique_by=lambda point: point[0],
    )
)
@settings(max_examples=50, deadline=None)
def test_values_lie_on_the_lines_between_points(points: list[tuple[int, float]]) -> None:
    points.sort()
    schedule = Schedule.of(np.array(points) if len(points) == 2 else points)  # type: ignore[arg-type]
    for (start, low), (stop, high) in pairwise(points):
        for epoch in range(start, stop + 1):
            part = (epoch - start) / (stop - start)
            assert schedule(epoch) == pytest.approx(low + part * (high - low), abs=1e-9)
    assert schedule(points[-1][0] + 7) == points[-1][1]
    assert schedule(0) == pytest.approx(points[0][1])
    assert schedule.settled_after == points[-1][0]


ORDER = "the points' epochs must rise from 0 or later"


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ([], ORDER),
        ([(-1, 0.0), (3, 1.0)], ORDER),
        ([(3, 0.0), (3, 1.0)], ORDER),
        ([(3, 0.0), (2, 1.0)], ORDER),
        ([(0, 0.0, 1.0)], "a point is a pair of epochs done and value, got (0, 0.0, 1.0)"),
        ([(0, 0.0), (4,)], "a point is a pair of epochs done and value, got (4,)"),
    ],
)
def test_points_that_make_no_schedule_are_refused(plan: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Schedule.of(plan)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "plan",
    [[0.1, 0.2], [(0, 0.0), (math.nan, 1.0)], [(math.nan, 0.3)], [(0, 0.0), (math.inf, 1.0)]],
)
def test_points_that_are_no_pairs_of_finite_numbers_are_refused(plan: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Schedule.of(plan)


def test_an_objective_has_settled_when_its_last_part_has() -> None:
    assert weights(0.1, 0.2).settled_after == 0.0
    assert weights(0.1, [(0, 0.0), (7, 1.0)]).settled_after == 7.0
    both = weights([(2, 0.0), (7, 1.0)], mixture_share=[(0, 0), (9, 1)], standard_weight=0.5)
    assert both.settled_after == 9.0
    assert weights(0.1, standard_weight=[(0, 1), (4, 0)]).settled_after == 4.0
    assert ObjectiveSchedules((Schedule.of(0.3),)).mixture_share(5) == 0.0


def test_each_epoch_trains_and_validates_with_the_weights_of_its_schedules() -> None:
    beta = [[(0, 0.0), (4, 1.0)], [(1, 0.5), (2, 0.25)]]
    seen: list[tuple[float, float]] = []

    def measure(network: MultimodalVAE) -> HistoryRow:
        seen.append((network.options.mixture_share, network.options.standard_weight))
        return {}

    for averaging in (0.0, 0.9):  # the averaged network is told as well
        seen.clear()
        objective = weights(
            *beta, mixture_share=[(1, 0.0), (3, 1.0)], standard_weight=[(0, 1.0), (2, 0.0)]
        )
        config = changed(max_epochs=6, weight_averaging=averaging)
        _, progress = fit([3, 4], objective, config, measure=measure)
        assert seen[::2] == seen[1::2]  # the same for both replicates
        assert seen[::2] == [(0.0, 1.0), (0.0, 0.5), (0.5, 0.0), (1.0, 0.0), (1.0, 0.0), (1.0, 0.0)]
        assert [row["beta"] for row in progress.history[0]] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
        assert [row["beta"] for row in progress.history[1]] == [0.5, 0.5, 0.25, 0.25, 0.25, 0.25]
        for rows in progress.history:
            for row in rows:
                total = row["validation_reconstruction"]
                total += row["beta"] * row["validation_regularisation"]
                assert row["validation_objective"] == pytest.approx(total, rel=1e-12)


def test_weights_of_the_mm_vamp_term_change_the_training_itself() -> None:
    config = changed(max_epochs=2)
    plain, late, early = (
        fit([3], weights(0.5, standard_weight=plan), config)[0]
        for plan in (0.0, [(1, 0.0), (2, 1.0)], [(0, 0.0), (1, 1.0)])
    )
    pairs = zip(plain.parameters(), late.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)  # it would change in the third epoch
    pairs = zip(plain.parameters(), early.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def _fit_with_rising_beta(plan: Plan, averaging: float = 0.0) -> tuple[list[float], int]:
    """Fit with an objective that gets worse until it settles; return scores and the best epoch."""
    config = changed(
        patience=1, max_epochs=25, learning_rate=0.003, weight_averaging=averaging, least_steps=3
    )
    _, progress = fit([1], weights(plan), config)
    return [row["validation_score"] for row in progress.history[0]], progress.best_epoch[0]


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_no_fit_stops_or_keeps_weights_before_its_objective_has_settled(averaging: float) -> None:
    settles = 6
    scores, best = _fit_with_rising_beta([(0, 0.0), (settles, 20.0)], averaging)
    # one epoch without improvement would have been enough to stop before
    assert scores[1] > scores[0]
    # the epoch after six epochs is the first one with the final weights
    assert best > settles
    comparable = scores[settles:]
    assert best == settles + 1 + int(np.argmin(comparable))
    assert len(scores) in {25, best + 1}


@pytest.mark.parametrize("settles", [6, 5.5])
def test_scores_before_the_objective_has_settled_compare_with_none_after(settles: float) -> None:
    scores, best = _fit_with_rising_beta([(5, 0.0), (settles, 20.0)])
    # beta is 0 up to the sixth epoch: its score compares with none after it
    assert scores[6] > scores[5]
    assert best == 7 + int(np.argmin(scores[6:]))


def test_each_replicate_waits_for_the_slowest_schedule() -> None:
    config = changed(patience=1, max_epochs=12, least_steps=1)
    _, progress = fit([1, 2], weights(0.1, [(0, 0.0), (5, 5.0)]), config)
    assert all(len(rows) > 5 for rows in progress.history)
    assert all(best > 5 for best in progress.best_epoch)
