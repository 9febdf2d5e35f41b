"""Stand-ins for modalities that a fit knows by their stored posteriors alone."""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributions import Normal

from neuroalign.nn.random import RandomStreams


class StoredPosterior(nn.Module):
    """An encoder whose input already is the posterior: mean and scale side by side."""

    def forward(self, x: Tensor, streams: RandomStreams | None = None) -> Normal:
        """Split x of shape (replicate, row, 2 · latent)."""
        del streams
        mean, scale = x.chunk(2, dim=-1)
        return Normal(mean, scale, validate_args=False)


class NoDecoder(nn.Module):
    """A decoder of a modality that is not reconstructed."""

    def forward(self, z: Tensor) -> Tensor:
        """Return the latents as they are; `NoLikelihood` does not look at them."""
        return z


class NoLikelihood(nn.Module):
    """The likelihood of a modality that is not reconstructed: a term of zero."""

    target = "counts"

    def row_log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return zeros of shape (replicate, row)."""
        del x
        return parameters.new_zeros(parameters.shape[:2])
