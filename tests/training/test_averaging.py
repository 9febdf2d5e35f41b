"""The running average of the weights against one written by hand."""

import copy

import pytest
import torch
from fit_examples import CONFIG, changed, fit, problem, weights
from torch import Tensor

from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.sharing import SharingOptions
from neuroalign.training.averaging import WeightAverage
from neuroalign.training.keeping import HistoryRow
from neuroalign.training.loop import VALIDATION_NOISE, evaluate_rows, train
from neuroalign.training.sets import VALIDATION_ROWS

Weights = dict[str, Tensor]
# one step an epoch, so that all weights there ever were can be seen between epochs
STEPWISE = changed(least_steps=1, batch_size=1000, max_epochs=14, learning_rate=0.05)


def _weights(vae: MultimodalVAE) -> Weights:
    return {name: value.detach().clone() for name, value in vae.state_dict().items()}


def _averages(steps: list[Weights], decay: float) -> list[Weights]:
    """Return the average after each step; the first one forgets where the weights began."""
    averages = [steps[0]]
    for n, weight in enumerate(steps[1:], start=1):
        kept = min(decay, (1 + n) / (10 + n))
        before = averages[-1]
        averages.append({k: kept * before[k] + (1 - kept) * weight[k] for k in weight})
    return averages


def _assert_equal(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("decay", [0.05, 0.5, 0.8])
def test_the_average_follows_the_weights_as_it_would_by_hand(decay: float) -> None:
    vae, _, _ = problem([0, 1])
    average = WeightAverage(vae, decay)
    generator = torch.Generator().manual_seed(1)
    steps = []
    for step in range(40):  # the decay of 0.8 is reached after 35 steps
        with torch.no_grad():
            for parameter in vae.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator).double())
        before = _weights(vae)
        average.step()
        _assert_equal(_weights(vae), before)
        steps.append(before)
        if step in {0, 1, 5, 39}:
            _assert_equal(_weights(average.network), _averages(steps, decay)[-1])


def test_an_average_that_keeps_nothing_is_the_network_itself() -> None:
    vae, _, _ = problem([0])
    average = WeightAverage(vae, 0.0)
    average.step()
    assert average.network is vae
    assert average.state() == {}


def test_the_averaged_network_is_a_copy_that_shares_options_alone() -> None:
    vae, _, _ = problem([0])
    average = WeightAverage(vae, 0.5)
    mine = {p.untyped_storage().data_ptr() for p in vae.parameters()}
    assert not mine & {p.untyped_storage().data_ptr() for p in average.network.parameters()}
    vae.set_options(SharingOptions(0.3, 2, 0.1))
    assert average.network.options == SharingOptions(0.3, 2, 0.1)


def test_a_restored_average_goes_on_as_it_would_have() -> None:
    vae, _, _ = problem([0])
    first = WeightAverage(vae, 0.9)
    generator = torch.Generator().manual_seed(1)

    def move(average: WeightAverage) -> None:
        with torch.no_grad():
            for parameter in vae.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator).double())
        average.step()

    for _ in range(3):
        move(first)
    second = WeightAverage(vae, 0.9)
    second.restore({name: value.clone() for name, value in first.state().items()})
    state, start = generator.get_state(), _weights(vae)
    for average in (first, second):
        vae.load_state_dict(start)
        generator.set_state(state)
        for _ in range(4):
            move(average)
    for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("patience", [None, 4])
def test_the_average_is_what_is_measured_validated_and_kept(patience: int | None) -> None:
    config = changed(**{**vars(STEPWISE), "weight_averaging": 0.5, "patience": patience})
    vae, data, streams = problem([3])
    assert data.validation_rows is not None
    steps: list[Weights] = []
    measured: list[Weights] = []

    def measure(network: MultimodalVAE) -> HistoryRow:
        measured.append(_weights(network))
        return {}

    data.measure = measure
    progress = train(
        vae,
        data,
        config,
        objective=weights(0.1),
        streams=streams,
        on_epoch=lambda *_: steps.append(_weights(vae)),
    )
    averages = _averages(steps, 0.5)
    for found, expected in zip(measured, averages, strict=True):
        _assert_equal(found, expected)
    held_out = RandomStreams([3])
    held_out.reseed(VALIDATION_ROWS)
    rows = data.validation_rows.draw(held_out)
    network = copy.deepcopy(vae)
    scores = []
    for average, row in zip(averages, progress.history[0], strict=True):
        network.load_state_dict(average)
        held_out.reseed(VALIDATION_NOISE)
        each = evaluate_rows(network, data.sources, rows, held_out)
        assert row["validation_objective"] == pytest.approx(float(each.mean().total(0.1)), rel=1e-6)
        scores.append(float(each.typical().total(0.1)))
        assert row["validation_score"] == pytest.approx(scores[-1], rel=1e-6)
    best = len(averages) if patience is None else 1 + scores.index(min(scores))
    _assert_equal(_weights(vae), averages[best - 1])
    assert any(not torch.equal(vae.state_dict()[k], v) for k, v in steps[best - 1].items())


def test_averaging_does_not_change_the_steps_themselves() -> None:
    plain: list[Weights] = []
    averaged: list[Weights] = []
    for decay, steps in ((0.0, plain), (0.8, averaged)):
        vae, data, streams = problem([3])
        config = changed(**{**vars(STEPWISE), "weight_averaging": decay, "max_epochs": 5})
        train(
            vae,
            data,
            config,
            objective=weights(0.1),
            streams=streams,
            on_epoch=lambda *_: steps.append(_weights(vae)),  # noqa: B023
        )
    for a, b in zip(plain, averaged, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_without_validation_the_last_average_is_kept() -> None:
    config = changed(max_epochs=3, weight_averaging=0.9, patience=2)
    kept, _ = fit([3], weights(0.1), config, validation=False)
    last, _ = fit([3], weights(0.1), changed(max_epochs=3), validation=False)
    assert CONFIG.weight_averaging == 0.0
    assert any(
        not torch.equal(a, b) for a, b in zip(kept.parameters(), last.parameters(), strict=True)
    )
    seen: list[Weights] = []

    def measure(network: MultimodalVAE) -> HistoryRow:
        seen.append(_weights(network))
        return {}

    again, _ = fit([3], weights(0.1), config, validation=False, measure=measure)
    assert all(torch.equal(_weights(again)[name], value) for name, value in seen[-1].items())
