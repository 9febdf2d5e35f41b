"""Captured steps: a recording replays what the same steps would do, or is not used at all."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from fit_examples import changed, problem, weights

from neuroalign.errors import NeuroAlignWarning
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.training import loop
from neuroalign.training.captured_steps import WARM_UP, CapturedSteps, steps_for
from neuroalign.training.keeping import FitProgress
from neuroalign.training.loop import train
from neuroalign.training.pairing import ResampledRows
from neuroalign.training.schedules import ObjectiveSchedules
from neuroalign.training.steps import Steps, tensor_cores

CONFIG = changed(max_epochs=5, weight_averaging=0.9)


class Remembered:
    """Stands for a graph: does the same work again, on what lies where it lay."""

    def __init__(self) -> None:
        self.warmed = self.recorded = self.replayed = 0

    def warm(self, work: Callable[[], None]) -> None:
        self.warmed += 1
        work()

    def record(
        self, work: Callable[[], None], generators: Sequence[torch.Generator]
    ) -> Callable[[], None]:
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            work()

        return replay


class Wrong(Remembered):
    """A graph that misses a part of the work."""

    def record(
        self, work: Callable[[], None], generators: Sequence[torch.Generator]
    ) -> Callable[[], None]:
        super().record(work, generators)
        return lambda: None


class Breaking(Remembered):
    """A device that cannot capture, and that spoils the generators in trying."""

    def record(
        self, work: Callable[[], None], generators: Sequence[torch.Generator]
    ) -> Callable[[], None]:
        work()
        for generator in generators:
            generator.manual_seed(0)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")


def fitted(
    monkeypatch: pytest.MonkeyPatch,
    recorder: Remembered | None,
    objective: ObjectiveSchedules,
    **settings: Any,
) -> tuple[MultimodalVAE, FitProgress]:
    vae, data, streams = problem([3, 8])
    rows = data.training_rows
    assert isinstance(rows, ResampledRows)
    if settings.get("mixing", 0.0) > 0:
        ada, bob = rows.members  # bob lacks a label, and every row has a donor
        members = [ada, [bob[0], torch.empty(0, dtype=torch.int64)]]
        data.training_rows = ResampledRows(members, rows.n_windows, donors=True)

    def chosen(*parts: Any) -> Steps:
        return Steps(*parts) if recorder is None else CapturedSteps(*parts, recorder=recorder)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "steps_for", chosen)
        progress = train(
            vae,
            data,
            changed(**{**vars(CONFIG), **settings}),
            objective=objective,
            streams=streams,
        )
    return vae, progress


def same(first: MultimodalVAE, second: MultimodalVAE) -> bool:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("mixing", [0.0, 0.3])
def test_replayed_steps_end_where_plain_steps_do(
    monkeypatch: pytest.MonkeyPatch, mixing: float
) -> None:
    objective = weights([(0, 0.1), (4, 0.7)], 0.5)  # beta changes from epoch to epoch
    plain, expected = fitted(monkeypatch, None, objective, mixing=mixing)
    recorder = Remembered()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        captured, progress = fitted(monkeypatch, recorder, objective, mixing=mixing)
    assert same(plain, captured)
    assert progress.history == expected.history
    assert recorder.warmed == WARM_UP
    assert recorder.recorded == 1
    # 5 epochs of 3 steps; the one that is recorded is replayed to be compared
    assert recorder.replayed == 5 * 3 - WARM_UP


def test_weights_of_the_objective_that_change_are_recorded_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    objective = weights(0.1, 0.5, standard_weight=[(0, 1.0), (2, 0.0)])
    plain, _ = fitted(monkeypatch, None, objective)
    recorder = Remembered()
    captured, _ = fitted(monkeypatch, recorder, objective)
    assert same(plain, captured)
    assert recorder.recorded == 2  # the first epoch is the warm-up; weights settle in the third


def test_replicates_that_leave_take_the_recording_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"patience": 2, "max_epochs": 40, "learning_rate": 0.05}
    objective = weights(0.1, 2.0)
    plain, expected = fitted(monkeypatch, None, objective, **settings)
    recorder = Remembered()
    captured, progress = fitted(monkeypatch, recorder, objective, **settings)
    lengths = [len(rows) for rows in progress.history]
    assert lengths[0] != lengths[1]
    assert progress.history == expected.history
    assert same(plain, captured)
    assert recorder.recorded == 2


@pytest.mark.parametrize(
    ("recorder", "said"),
    [
        (Wrong(), r"here \(a recorded step differs from the same step taken plainly\); going on"),
        (Breaking(), r"here \(operation not permitted when stream is capturing\); going on"),
    ],
)
def test_a_recording_that_fails_or_differs_is_left_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, recorder: Remembered, said: str
) -> None:
    objective = weights(0.1, 0.5)
    plain, expected = fitted(monkeypatch, None, objective)
    with pytest.warns(NeuroAlignWarning, match=said) as warned:
        captured, progress = fitted(monkeypatch, recorder, objective)
    assert len(warned) == 1
    assert same(plain, captured)
    assert progress.history == expected.history


def test_a_cpu_takes_its_steps_plainly() -> None:
    vae, data, streams = problem([3])
    optimiser = torch.optim.Adam(vae.parameters())
    average = loop.WeightAverage(vae, 0.0)
    assert type(steps_for(vae, data, CONFIG, optimiser, average, streams)) is Steps


def test_only_a_gpu_is_told_to_use_its_tensor_cores_and_only_for_a_while() -> None:
    before = torch.get_float32_matmul_precision()
    with tensor_cores(torch.device("cpu")):
        assert torch.get_float32_matmul_precision() == before
    with tensor_cores(torch.device("cuda")):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before
