"""Convolutions of several replicates against torch's own, and networks that mirror each other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from neuroalign.nn.convolution import (
    ConvolutionalDecoder,
    ConvolutionalEncoder,
    ResidualBlock,
    StackedConvolution,
    stage_sizes,
)
from neuroalign.nn.random import RandomStreams

IMAGE = (3, 9, 7)
TEXT = (5, 13)


def _merged(x: Tensor) -> Tensor:
    return x.transpose(0, 1).flatten(1, 2)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("n_dimensions", "size"), [(1, (13,)), (2, (9, 7))])
def test_each_replicate_is_convolved_with_its_own_kernel(
    n_dimensions: int, size: tuple[int, ...], stride: int
) -> None:
    layer = StackedConvolution(3, 4, 3, n_dimensions, RandomStreams([1, 2]), stride=stride).double()
    x = torch.randn(2, 5, 3, *size, dtype=torch.float64)
    convolve = functional.conv1d if n_dimensions == 1 else functional.conv2d
    expected = [
        convolve(x[r], layer.weight[r], layer.bias[r], stride=stride, padding=1) for r in (0, 1)
    ]
    found = layer(_merged(x)).reshape(5, 2, 4, *expected[0].shape[2:]).transpose(0, 1)
    torch.testing.assert_close(found, torch.stack(expected))


def test_initial_weights_stay_within_the_inverse_root_of_the_fan_in() -> None:
    layer = StackedConvolution(8, 16, 3, 2, RandomStreams([0]))
    bound = (8 * 9) ** -0.5
    assert 0.9 * bound < layer.weight.abs().max() <= bound
    assert layer.bias.abs().max() <= bound


def test_residual_block_adds_a_tenth_of_its_branch() -> None:
    block = ResidualBlock(4, 4, 2, RandomStreams([3])).double()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    branch = block.second(functional.leaky_relu(block.first(functional.leaky_relu(x, 0.2)), 0.2))
    torch.testing.assert_close(block(x), x + 0.1 * branch)


@pytest.mark.parametrize("shape", [IMAGE, TEXT])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_replicate_computes_what_it_would_alone(shape: tuple[int, ...], stride: int) -> None:
    x = torch.rand(2, 6, *shape)
    z = torch.randn(2, 6, 3)

    def networks(seeds: list[int]) -> tuple[ConvolutionalEncoder, ConvolutionalDecoder]:
        encoder = ConvolutionalEncoder(shape, (4, 6), 3, RandomStreams(seeds), stem_stride=stride)
        decoder = ConvolutionalDecoder(shape, (4, 6), 3, RandomStreams(seeds), stem_stride=stride)
        return encoder.double(), decoder.double()

    encoder, decoder = networks([7, 8])
    posterior, images = encoder(x.double()), decoder(z.double())
    for r, seed in enumerate((7, 8)):
        alone, alone_decoder = networks([seed])
        torch.testing.assert_close(posterior.mean[r : r + 1], alone(x[r : r + 1].double()).mean)
        torch.testing.assert_close(images[r : r + 1], alone_decoder(z[r : r + 1].double()))


@given(
    size=st.lists(st.integers(4, 33), min_size=1, max_size=2),
    n_stages=st.integers(1, 4),
    stride=st.sampled_from([1, 2]),
)
@settings(max_examples=25, deadline=None)
def test_decoders_give_back_the_size_that_encoders_see(
    size: list[int], n_stages: int, stride: int
) -> None:
    shape = (2, *size)
    filters = [3] * n_stages
    streams = RandomStreams([0])
    encoder = ConvolutionalEncoder(shape, filters, 2, streams, stem_stride=stride)
    decoder = ConvolutionalDecoder(shape, filters, 2, streams, stem_stride=stride)
    x = torch.rand(1, 2, *shape)
    assert encoder(x).mean.shape == (1, 2, 2)
    assert decoder(torch.zeros(1, 2, 2)).shape == x.shape
    sizes = stage_sizes(size, n_stages, stride)
    assert encoder.trunk.n_features == 3 * torch.Size(sizes[-1]).numel()


def test_gradients_of_a_replicate_do_not_reach_another() -> None:
    encoder = ConvolutionalEncoder(IMAGE, (4, 6), 3, RandomStreams([0, 1]))
    encoder(torch.rand(2, 4, *IMAGE)).mean[0].sum().backward()
    for parameter in encoder.parameters():
        assert parameter.grad is not None
        assert (parameter.grad[1] == 0).all()
    assert any((p.grad[0] != 0).any() for p in encoder.parameters() if p.grad is not None)
