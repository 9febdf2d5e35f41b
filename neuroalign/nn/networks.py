"""Fully connected encoders and decoders with a leading replicate dimension.

Weights have shape (replicate, in, out), so that one batched product serves every replicate;
a single fit is the case of one replicate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from neuroalign.nn.products import affine
from neuroalign.nn.random import RandomStreams

NEGATIVE_SLOPE = 0.01
# log-scales stay inside this bound (smoothly), so that no posterior becomes a point or a plain
LOG_SCALE_BOUND = 6.0


class StackedLinear(nn.Module):
    """An affine map per replicate.

    Parameters
    ----------
    n_in, n_out : int
        Sizes of the last dimension before and after.
    streams : RandomStreams
        Draws the initial weights, uniform within ±1/√n_in as `torch.nn.Linear` does.
    """

    def __init__(self, n_in: int, n_out: int, streams: RandomStreams) -> None:
        super().__init__()
        # our own bound: torch.nn.init would take the wrong fan-in from stacked weights
        bound = 1.0 / math.sqrt(n_in) if n_in else 0.0
        self.weight = nn.Parameter((2.0 * streams.uniform(n_in, n_out) - 1.0) * bound)
        self.bias = nn.Parameter((2.0 * streams.uniform(1, n_out) - 1.0) * bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (replicate, ..., in) to (replicate, ..., out)."""
        return self.rectified(x, None)

    def rectified(self, x: Tensor, negative_slope: float | None) -> Tensor:
        """Map x and apply a leaky rectifier of this slope, or none."""
        flat = x if x.dim() == 3 else x.reshape(x.shape[0], -1, x.shape[-1])
        y = affine(flat, self.weight, self.bias, negative_slope)
        return y if x.dim() == 3 else y.reshape(*x.shape[:-1], -1)


class MultilayerPerceptron(nn.Module):
    """Affine layers with leaky rectifiers between them; no hidden layer makes it linear.

    Parameters
    ----------
    n_in, n_out : int
        Sizes of the last dimension before and after.
    hidden : sequence of int
        Widths of the hidden layers.
    streams : RandomStreams
        Draws the initial weights.
    """

    def __init__(
        self, n_in: int, hidden: Sequence[int], n_out: int, streams: RandomStreams
    ) -> None:
        super().__init__()
        sizes = [n_in, *hidden, n_out]
        self.layers = nn.ModuleList(
            StackedLinear(before, after, streams) for before, after in itertools.pairwise(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (replicate, ..., in) to (replicate, ..., out)."""
        for layer in self.layers[:-1]:
            x = layer.rectified(x, NEGATIVE_SLOPE)  # type: ignore[operator]
        return torch.as_tensor(self.layers[-1](x))


class Encoder(nn.Module):
    """Maps one modality's features to its posterior, a diagonal normal distribution.

    Parameters
    ----------
    n_features, n_latents : int
        Sizes of input and latent.
    hidden : sequence of int
        Widths of the hidden layers.
    dropout : float
        Share of input features that are set to zero in training (the rest is scaled up).
    streams : RandomStreams
        Draws the initial weights.
    """

    def __init__(
        self,
        n_features: int,
        hidden: Sequence[int],
        n_latents: int,
        streams: RandomStreams,
        *,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = MultilayerPerceptron(n_features, hidden, 2 * n_latents, streams)
        self.dropout = dropout

    def forward(self, x: Tensor, streams: RandomStreams | None = None) -> Normal:
        """Encode x of shape (replicate, row, feature); `streams` switches dropout on."""
        if streams is not None and self.dropout > 0.0:
            kept = streams.coins(1.0 - self.dropout, *x.shape[1:], dtype=x.dtype)
            x = kept.mul_(1.0 / (1.0 - self.dropout)).mul_(x)
        output = self.network(x)
        if output.dtype == torch.bfloat16:  # distributions are computed in full precision
            output = output.float()
        mean, raw = output.chunk(2, dim=-1)
        return Normal(mean, bounded_scale(raw), validate_args=False)


class Decoder(nn.Module):
    """Maps latents to the parameters of one modality's likelihood.

    Parameters
    ----------
    n_latents, n_parameters : int
        Sizes of latent and output.
    hidden : sequence of int
        Widths of the hidden layers.
    streams : RandomStreams
        Draws the initial weights.
    """

    def __init__(
        self, n_latents: int, hidden: Sequence[int], n_parameters: int, streams: RandomStreams
    ) -> None:
        super().__init__()
        self.network = MultilayerPerceptron(n_latents, hidden, n_parameters, streams)

    def forward(self, z: Tensor) -> Tensor:
        """Decode z of shape (replicate, ..., latent) to (replicate, ..., parameter)."""
        return torch.as_tensor(self.network(z))

    @torch.no_grad()
    def start_from(self, parameters: Tensor) -> None:
        """Let the output start at `parameters` of shape (parameter,), whatever the latent."""
        last = self.network.layers[-1]
        assert isinstance(last, StackedLinear)
        last.bias.copy_(parameters.to(last.bias).expand_as(last.bias))


def bounded_scale(raw: Tensor) -> Tensor:
    """Turn a network's output into a scale inside exp(±LOG_SCALE_BOUND), smoothly."""
    return torch.exp(LOG_SCALE_BOUND * torch.tanh(raw / LOG_SCALE_BOUND))
