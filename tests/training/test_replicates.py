"""Replicates: side by side they do what they would do alone, leave when done, and may break."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from fit_examples import CONFIG, changed, fit, problem, weights

from neuroalign.errors import TrainingError
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.replicates import each_replicate, set_weights, stack_networks, take_replicates
from neuroalign.training.config import TrainingConfig
from neuroalign.training.keeping import FitProgress
from neuroalign.training.loop import train
from neuroalign.training.pairing import FixedRows, StackedRows
from neuroalign.training.sources import FeatureScaling, Mixing, StackedWindows, WindowSource

# patience is short and steps are long, so that replicates stop at different epochs
STOPPING = changed(max_epochs=40, patience=2, learning_rate=0.05, least_steps=2)
SEEDS, BETAS = (3, 8, 11), (0.1, 0.7, 0.3)


def together(
    seeds: Sequence[int], betas: Sequence[float], config: TrainingConfig, **extra: object
) -> tuple[MultimodalVAE, FitProgress]:
    """Fit several problems side by side, each with its own data, weights and beta."""
    parts = [problem([seed]) for seed in seeds]
    vae = stack_networks([network for network, _, _ in parts])
    return vae, train(
        vae,
        [data for _, data, _ in parts],
        config,
        objective=weights(*betas),
        streams=RandomStreams(seeds),
        **extra,  # type: ignore[arg-type]
    )


def assert_close_networks(found: MultimodalVAE, expected: MultimodalVAE) -> None:
    other = dict(expected.named_parameters())
    for name, value in found.named_parameters():
        torch.testing.assert_close(value, other[name], rtol=1e-9, atol=1e-10)


def test_stacked_networks_come_apart_again() -> None:
    networks = [problem([seed])[0] for seed in SEEDS]
    stacked = stack_networks(networks)
    assert all(len(p) == 3 for p in stacked.parameters())
    for r, network in enumerate(networks):
        for a, b in zip(
            take_replicates(stacked, [r]).parameters(), network.parameters(), strict=True
        ):
            assert torch.equal(a, b)
    swapped = take_replicates(stacked, [2, 0])
    set_weights(swapped, dict(networks[1].named_parameters()))
    for a, b in zip(swapped.parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.data_ptr() != b.data_ptr()


def test_replicates_are_looked_at_one_by_one_without_copies() -> None:
    networks = [problem([seed])[0] for seed in SEEDS]
    stacked = stack_networks(networks)
    places = {name: value.data_ptr() for name, value in stacked.named_parameters()}
    for seen, alone in enumerate(each_replicate(stacked)):
        expected = networks[seen]
        other = dict(expected.named_parameters())
        for name, value in alone.named_parameters():
            assert torch.equal(value, other[name])
            step = value.numel() * value.element_size()
            assert value.data_ptr() == places[name] + seen * step
    assert list(each_replicate(networks[0])) == [networks[0]]


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_side_by_side_fits_are_those_alone_also_when_some_stop_early(averaging: float) -> None:
    config = changed(**{**vars(STOPPING), "weight_averaging": averaging})
    vae, progress = together(SEEDS, BETAS, config)
    lengths = []
    for r, (seed, beta) in enumerate(zip(SEEDS, BETAS, strict=True)):
        alone, own = fit([seed], weights(beta), config)
        lengths.append(len(own.history[0]))
        assert_close_networks(take_replicates(vae, [r]), alone)
        assert progress.best_epoch[r] == own.best_epoch[0]
        assert len(progress.history[r]) == len(own.history[0])
        for mine, theirs in zip(progress.history[r], own.history[0], strict=True):
            assert mine == pytest.approx(theirs, rel=1e-9)
        single = progress.of(r)
        assert (single.epoch, single.best_epoch) == (own.epoch, own.best_epoch)
    assert len(set(lengths)) > 1  # or nobody would have left before the others


def test_without_validation_all_go_to_the_end() -> None:
    parts = [problem([seed], validation=False) for seed in SEEDS]
    vae = stack_networks([network for network, _, _ in parts])
    sets = [data for _, data, _ in parts]
    train(vae, sets, CONFIG, objective=weights(*BETAS), streams=RandomStreams(SEEDS))
    for r, (seed, beta) in enumerate(zip(SEEDS, BETAS, strict=True)):
        alone, _ = fit([seed], weights(beta), validation=False)
        assert_close_networks(take_replicates(vae, [r]), alone)


@pytest.mark.parametrize("validation", [True, False])
def test_one_that_breaks_leaves_and_the_others_go_on(validation: bool) -> None:
    parts = [problem([seed], validation=validation, broken=seed == 8) for seed in SEEDS]
    vae = stack_networks([network for network, _, _ in parts])
    sets = [data for _, data, _ in parts]
    progress = train(vae, sets, CONFIG, objective=weights(*BETAS), streams=RandomStreams(SEEDS))
    assert [bool(error) for error in progress.errors] == [False, True, False]
    assert "reconstruction term of 'bob' is not finite in epoch 1" in progress.errors[1]
    for r in (0, 2):
        alone, own = fit([SEEDS[r]], weights(BETAS[r]), validation=validation)
        assert_close_networks(take_replicates(vae, [r]), alone)
        assert len(progress.history[r]) == len(own.history[0])


def test_if_all_break_that_is_an_error() -> None:
    parts = [problem([seed], broken=True) for seed in SEEDS]
    vae = stack_networks([network for network, _, _ in parts])
    sets = [data for _, data, _ in parts]
    with pytest.raises(TrainingError, match="of 'bob' is not finite in epoch 1"):
        train(vae, sets, CONFIG, objective=weights(*BETAS), streams=RandomStreams(SEEDS))


@pytest.mark.parametrize("stopped_at", [2, 5, 8])
def test_an_interrupted_series_goes_on_to_the_same_end(stopped_at: int, tmp_path: Path) -> None:
    """Whoever had left by then stays away; the others go on to the bit."""
    whole, expected = together(SEEDS, BETAS, STOPPING)
    path = tmp_path / "fit.safetensors"

    def interrupt(epoch: int, _: object) -> None:
        if epoch == stopped_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        together(SEEDS, BETAS, STOPPING, checkpoint=path, on_epoch=interrupt)
    resumed, progress = together(SEEDS, BETAS, STOPPING, checkpoint=path)
    assert progress.history == expected.history
    assert progress.best_epoch == expected.best_epoch
    for a, b in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)


# --- Sources and rows side by side -----------------------------------------------------------


def source(seed: int, trials: int) -> WindowSource:
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 4, (trials, 5, 3), generator=generator, dtype=torch.uint8)
    shift, gain = torch.rand(2, 6, generator=generator, dtype=torch.float64)
    scaling = FeatureScaling(seed % 2 == 0, shift, gain)
    return WindowSource(counts, torch.tensor([0, 2, 3]), 2, scaling, target_counts=True)


def test_stacked_windows_are_each_replicates_own() -> None:
    first, second = source(2, 4), source(4, 6)
    shared = WindowSource(first.counts, first.starts, 2, second.scaling, target_counts=True)
    sources = [first, second, shared]
    stacked = StackedWindows(sources)
    assert stacked.n_examples == 3 * (4 + 6)  # shared counts lie there once
    index = torch.stack([torch.arange(12) % s.n_examples for s in sources])
    donor = torch.stack([(7 * torch.arange(12) + 1) % s.n_examples for s in sources])
    streams = RandomStreams([1, 2, 3])
    streams.reseed(9)
    mixed = stacked.gather(index, Mixing(donor, 0.5, streams))
    plain = stacked.gather(index)
    for r, one in enumerate(sources):
        alone = RandomStreams([r + 1])
        alone.reseed(9)
        own = slice(r, r + 1)
        for found, expected in zip(plain, one.gather(index[own]), strict=True):
            assert torch.equal(found[own], expected)
        expected_mix = one.gather(index[own], Mixing(donor[own], 0.5, alone))
        for found, expected in zip(mixed, expected_mix, strict=True):
            assert torch.equal(found[own], expected)


def test_stacked_rows_draw_what_each_plan_draws_alone() -> None:
    whole = FixedRows(torch.tensor([[0, 1], [2, 2], [3, 0]]), 2)
    there = torch.tensor([[True, True], [True, False], [True, True]])
    holes = FixedRows(torch.tensor([[3, 1], [1, 2], [0, 0]]), 2, there)
    plan = StackedRows([whole, holes])
    assert plan.n_rows == 6
    streams = RandomStreams([5, 6])
    streams.reseed(2)
    drawn = plan.draw(streams)
    assert drawn.present is not None
    assert drawn.donor is None
    for r, one in enumerate((whole, holes)):
        alone = RandomStreams([5 + r])
        alone.reseed(2)
        rows = one.draw(alone)
        assert torch.equal(drawn.index[r : r + 1], rows.index)
        if rows.present is None:
            assert bool(drawn.present[r].all())
        else:
            assert torch.equal(drawn.present[r : r + 1], rows.present)
    assert torch.equal(drawn.of([1]).index, drawn.index[1:])


def test_streams_of_some_replicates_go_on_where_they_were() -> None:
    whole, other = RandomStreams([4, 5]), RandomStreams([4, 5])
    expected = whole.normal(3)
    second = other.only([1])
    assert second.seeds == (5,)
    torch.testing.assert_close(second.normal(3), expected[1:])
    torch.testing.assert_close(other.only([0]).normal(3), expected[:1])
