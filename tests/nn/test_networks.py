"""Stacked networks against torch's own layers."""

import pytest
import torch

from neuroalign.nn.networks import (
    LOG_SCALE_BOUND,
    Decoder,
    Encoder,
    MultilayerPerceptron,
    StackedLinear,
    bounded_scale,
)
from neuroalign.nn.random import RandomStreams


def test_stacked_linear_equals_one_linear_per_replicate() -> None:
    layer = StackedLinear(6, 4, RandomStreams([1, 2, 3]))
    x = torch.randn(3, 5, 6)
    for r in range(3):
        expected = torch.nn.functional.linear(x[r], layer.weight[r].T, layer.bias[r, 0])
        torch.testing.assert_close(layer(x)[r], expected)
    deeper = torch.randn(3, 2, 5, 6)
    torch.testing.assert_close(layer(deeper)[:, 1], layer(deeper[:, 1]))


def test_initial_weights_have_the_range_of_torch_linear() -> None:
    layer = StackedLinear(100, 400, RandomStreams([0]))
    assert float(layer.weight.detach().abs().max()) == pytest.approx(0.1, rel=0.01)
    assert float(layer.weight.detach().std()) == pytest.approx(0.1 / 3**0.5, rel=0.02)


def test_a_replicate_starts_as_it_would_alone() -> None:
    together = MultilayerPerceptron(5, (7,), 3, RandomStreams([4, 9]))
    alone = MultilayerPerceptron(5, (7,), 3, RandomStreams([9]))
    for a, b in zip(together.parameters(), alone.parameters(), strict=True):
        assert torch.equal(a[1], b[0])


def test_no_hidden_layer_is_linear() -> None:
    network = MultilayerPerceptron(4, (), 2, RandomStreams([0]))
    x, y = torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    zero = network(torch.zeros(1, 3, 4))
    torch.testing.assert_close(network(x + y) - zero, network(x) + network(y) - 2 * zero)


def test_scales_stay_inside_their_bound_and_move_freely_near_one() -> None:
    raw = torch.tensor([-1e4, 0.0, 1e4], dtype=torch.float64, requires_grad=True)
    scale = bounded_scale(raw)
    bound = torch.tensor(LOG_SCALE_BOUND, dtype=torch.float64)
    torch.testing.assert_close(
        scale.detach(), torch.stack([(-bound).exp(), torch.ones(()).double(), bound.exp()])
    )
    scale[1].backward()  # type: ignore[no-untyped-call]
    assert raw.grad is not None
    assert float(raw.grad[1]) == pytest.approx(1.0)


def test_dropout_keeps_the_mean_and_needs_streams() -> None:
    streams = RandomStreams([0])
    encoder = Encoder(1000, (), 1, streams, dropout=0.5)
    x = torch.ones(1, 400, 1000)
    assert torch.equal(encoder(x).mean, encoder(x).mean)
    noisy = encoder(x, streams).mean.detach()
    assert float(noisy.std()) > 0
    torch.testing.assert_close(noisy.mean(), encoder(x).mean.mean(), atol=0.05, rtol=0.05)


def test_decoder_starts_where_it_is_told() -> None:
    decoder = Decoder(2, (8,), 5, RandomStreams([0, 1]))
    wanted = torch.arange(5.0)
    decoder.start_from(wanted)
    last = decoder.network.layers[-1]
    assert isinstance(last, StackedLinear)
    assert torch.equal(last.bias[1, 0], wanted)


def test_streams_depend_on_seed_and_keys_alone() -> None:
    first, second = RandomStreams([7, 8]), RandomStreams([8])
    first.reseed(3)
    second.reseed(3)
    assert torch.equal(first.normal(4)[1], second.normal(4)[0])
    assert not torch.equal(first.normal(4)[0], first.normal(4)[0])
    first.reseed(3)
    again = first.normal(4)
    first.reseed(3, 1)
    assert not torch.equal(first.normal(4), again)
    order = first.permutation(2, 6)
    assert torch.equal(order.sort(-1).values, torch.arange(6).expand(2, 2, 6))


def test_global_random_state_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    streams = RandomStreams([0])
    Encoder(3, (4,), 2, streams, dropout=0.5)(torch.ones(1, 2, 3), streams)
    assert torch.equal(before, torch.get_rng_state())
