"""Residual convolutional encoders and decoders with a leading replicate dimension.

Inside a network the replicates lie side by side along the channels, (row, replicate · channel,
...), so that one grouped convolution serves them all; one replicate is an ordinary convolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional

from neuroalign.nn.networks import StackedLinear, bounded_scale
from neuroalign.nn.random import RandomStreams

NEGATIVE_SLOPE: Final = 0.2
# residual branches begin as small corrections (the published networks)
BRANCH_WEIGHT: Final = 0.1

_CONVOLUTIONS: Final = {1: functional.conv1d, 2: functional.conv2d}


class StackedConvolution(nn.Module):
    """A convolution per replicate, in one or two dimensions, that keeps or divides the size.

    Parameters
    ----------
    n_in, n_out : int
        Channels before and after.
    kernel : int
        Width of the kernel in every dimension; odd.
    n_dimensions : int
        1 for texts, 2 for images.
    streams : RandomStreams
        Draws the initial weights, uniform within ±1/√fan-in as `torch.nn.Conv2d` does.
    stride : int
        1 keeps the size, 2 halves it, and so on.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        n_dimensions: int,
        streams: RandomStreams,
        *,
        stride: int = 1,
    ) -> None:
        super().__init__()
        window = (kernel,) * n_dimensions
        bound = 1.0 / math.sqrt(n_in * math.prod(window))
        self.weight = nn.Parameter((2.0 * streams.uniform(n_out, n_in, *window) - 1.0) * bound)
        self.bias = nn.Parameter((2.0 * streams.uniform(n_out) - 1.0) * bound)
        self.stride = stride
        self.padding = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (row, replicate · in, ...) to (row, replicate · out, ...)."""
        convolve = _CONVOLUTIONS[self.weight.dim() - 3]
        return convolve(
            x,
            self.weight.flatten(0, 1),
            self.bias.flatten(),
            stride=self.stride,
            padding=self.padding,
            groups=len(self.weight),
        )


class ResidualBlock(nn.Module):
    """Two convolutions whose output corrects the input.

    Parameters
    ----------
    n_in, n_out : int
        Channels before and after; if they differ, the input goes through a kernel of width 1.
    n_dimensions : int
        1 for texts, 2 for images.
    streams : RandomStreams
        Draws the initial weights.
    branch_weight : float
        What the correction counts.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        n_dimensions: int,
        streams: RandomStreams,
        *,
        branch_weight: float = BRANCH_WEIGHT,
    ) -> None:
        super().__init__()
        self.branch_weight = branch_weight
        narrow = min(n_in, n_out)
        self.first = StackedConvolution(n_in, narrow, 3, n_dimensions, streams)
        self.second = StackedConvolution(narrow, n_out, 3, n_dimensions, streams)
        self.shortcut = (
            nn.Identity()
            if n_in == n_out
            else StackedConvolution(n_in, n_out, 1, n_dimensions, streams)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (row, replicate · in, ...) to (row, replicate · out, ...)."""
        branch = self.first(functional.leaky_relu(x, NEGATIVE_SLOPE))
        branch = self.second(functional.leaky_relu(branch, NEGATIVE_SLOPE))
        return torch.add(self.shortcut(x), branch, alpha=self.branch_weight)


def stage_sizes(size: Sequence[int], n_stages: int, stem_stride: int) -> list[tuple[int, ...]]:
    """Return the spatial size at every stage of an encoder, from the first convolution on."""
    sizes = [tuple(-(-length // stem_stride) for length in size)]
    for _ in range(n_stages - 1):
        sizes.append(tuple(-(-length // 2) for length in sizes[-1]))
    return sizes


class ResidualTrunk(nn.Module):
    """A first convolution, then stages of a residual block each, halving the size in between.

    Parameters
    ----------
    shape : tuple of int
        Of one observation: (channel, height, width) or (channel, position).
    filters : sequence of int
        Channels of each stage.
    streams : RandomStreams
        Draws the initial weights.
    stem_stride : int
        Stride of the first convolution.
    branch_weight : float
        What each block's correction counts; near 1, short trainings get further.
    """

    def __init__(
        self,
        shape: Sequence[int],
        filters: Sequence[int],
        streams: RandomStreams,
        *,
        stem_stride: int = 1,
        branch_weight: float = BRANCH_WEIGHT,
    ) -> None:
        super().__init__()
        n_dimensions = len(shape) - 1
        kernel = max(3, stem_stride | 1)  # odd, and no pixel is stepped over
        self.stem = StackedConvolution(
            shape[0], filters[0], kernel, n_dimensions, streams, stride=stem_stride
        )
        before = [filters[0], *filters[:-1]]
        self.blocks = nn.ModuleList(
            ResidualBlock(n_in, n_out, n_dimensions, streams, branch_weight=branch_weight)
            for n_in, n_out in zip(before, filters, strict=True)
        )
        sizes = stage_sizes(shape[1:], len(filters), stem_stride)
        self.n_features = filters[-1] * math.prod(sizes[-1])
        self._pool = functional.avg_pool1d if n_dimensions == 1 else functional.avg_pool2d

    def maps(self, x: Tensor) -> Tensor:
        """Map x of shape (replicate, row, channel, ...) to (row, replicate · filter, ...)."""
        hidden = self.stem(_channels_last(x.transpose(0, 1).flatten(1, 2)))
        for stage, block in enumerate(self.blocks):
            if stage > 0:
                hidden = self._pool(hidden, 3, stride=2, padding=1)
            hidden = block(hidden)
        return functional.leaky_relu(hidden, NEGATIVE_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (replicate, row, channel, ...) to (replicate, row, feature)."""
        n_replicates, n_rows = x.shape[:2]
        return self.maps(x).reshape(n_rows, n_replicates, -1).transpose(0, 1)


class ConvolutionalEncoder(nn.Module):
    """Maps images or texts to their posterior, a diagonal normal distribution.

    Parameters
    ----------
    shape, filters, streams, stem_stride, branch_weight
        As for `ResidualTrunk`.
    n_latents : int
        Size of the latent.
    """

    def __init__(
        self,
        shape: Sequence[int],
        filters: Sequence[int],
        n_latents: int,
        streams: RandomStreams,
        *,
        stem_stride: int = 1,
        branch_weight: float = BRANCH_WEIGHT,
    ) -> None:
        super().__init__()
        self.trunk = ResidualTrunk(
            shape, filters, streams, stem_stride=stem_stride, branch_weight=branch_weight
        )
        self.heads = StackedLinear(self.trunk.n_features, 2 * n_latents, streams)

    def forward(self, x: Tensor, streams: RandomStreams | None = None) -> Normal:
        """Encode x of shape (replicate, row, channel, ...); these networks have no dropout."""
        del streams
        output = self.heads(self.trunk(x))
        if output.dtype == torch.bfloat16:  # distributions are computed in full precision
            output = output.float()
        mean, raw = output.chunk(2, dim=-1)
        return Normal(mean, bounded_scale(raw), validate_args=False)


class ConvolutionalDecoder(nn.Module):
    """Maps latents to images or to the log-probabilities of symbols: an encoder's mirror image.

    Parameters
    ----------
    shape : tuple of int
        Of the output: (channel, height, width) or (symbol, position).
    filters, streams, stem_stride, branch_weight
        Of the encoder. Where its first convolution strides, the last one here computes the
        pixels that one stride covers as channels of the smaller map and lays them out side by
        side (sub-pixel convolution, Shi et al. 2016), at a fraction of the work of a
        convolution of the full size.
    n_latents : int
        Size of the latent.
    """

    def __init__(
        self,
        shape: Sequence[int],
        filters: Sequence[int],
        n_latents: int,
        streams: RandomStreams,
        *,
        stem_stride: int = 1,
        branch_weight: float = BRANCH_WEIGHT,
    ) -> None:
        super().__init__()
        n_dimensions = len(shape) - 1
        self._shape = tuple(shape)
        self._stride = stem_stride
        sizes = stage_sizes(shape[1:], len(filters), stem_stride)
        self._start = (filters[-1], *sizes[-1])
        self._sizes = [*sizes[-2::-1], sizes[0]]  # to grow to after each block
        self.first = StackedLinear(n_latents, math.prod(self._start), streams)
        mirrored = list(filters[::-1])
        after = [*mirrored[1:], mirrored[-1]]
        self.blocks = nn.ModuleList(
            ResidualBlock(n_in, n_out, n_dimensions, streams, branch_weight=branch_weight)
            for n_in, n_out in zip(mirrored, after, strict=True)
        )
        n_last = shape[0] * stem_stride**n_dimensions
        self.last = StackedConvolution(filters[0], n_last, 3, n_dimensions, streams)

    def forward(self, z: Tensor) -> Tensor:
        """Decode z of shape (replicate, row, latent) to (replicate, row, channel, ...)."""
        n_replicates, n_rows = z.shape[:2]
        hidden = self.first(z).transpose(0, 1).reshape(n_rows, -1, *self._start[1:])
        hidden = _channels_last(hidden)
        for block, size in zip(self.blocks, self._sizes, strict=True):
            hidden = block(hidden)
            if hidden.shape[2:] != size:
                hidden = functional.interpolate(hidden, size=size)
        output = self.last(functional.leaky_relu(hidden, NEGATIVE_SLOPE))
        output = _side_by_side(output, self._stride, self._shape[1:])
        by_replicate = output.reshape(n_rows, n_replicates, *self._shape)
        return torch.as_tensor(by_replicate.transpose(0, 1))


def _channels_last(maps: Tensor) -> Tensor:
    """Lay images out in memory pixel by pixel, in which narrow convolutions are the faster."""
    if maps.dim() != 4:
        return maps
    return maps.contiguous(memory_format=torch.channels_last)


def _side_by_side(maps: Tensor, stride: int, size: Sequence[int]) -> Tensor:
    """Lay stride values of each dimension, held as channels, out in space; cut to the size."""
    if stride > 1:
        small = maps.shape[2:]
        n_dimensions = len(small)
        parts = maps.reshape(len(maps), -1, *(stride,) * n_dimensions, *small)
        # (row, channel, stride, stride, height, width) to (row, channel, height, stride, ...)
        order = [axis for i in range(n_dimensions) for axis in (2 + n_dimensions + i, 2 + i)]
        grown = [stride * length for length in small]
        maps = parts.permute(0, 1, *order).reshape(len(maps), -1, *grown)
    for axis, length in enumerate(size, start=2):
        maps = maps.narrow(axis, 0, length)
    return maps
