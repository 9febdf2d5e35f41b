"""How the modalities share: which latents every decoder reads, and the term R.

Every rule takes the unimodal posteriors, stacked to (modality, ..., latent), and returns the
latents each decoder reads together with the regularisation term of the negative objective
`Σ_m −E[log p(x_m | z_m)] + β · R`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor
from torch.distributions import Normal

from neuroalign.nn.divergences import (
    mixture_divergence,
    normal_divergence,
    pairwise_divergence,
    standard_divergence,
)
from neuroalign.nn.random import RandomStreams

Divergence = Literal["pairwise", "mixture"]


@dataclass(frozen=True)
class SharingOptions:
    """What a sharing rule can be told.

    Attributes
    ----------
    divergence : str
        "pairwise" or "mixture", for the MM-VAMP term.
    mixture_samples : int
        Monte Carlo samples per posterior for the mixture term.
    standard_weight : float or Tensor
        Weight α of the terms to N(0, I) that are mixed into the MM-VAMP term.
    """

    divergence: Divergence = "pairwise"
    mixture_samples: int = 1
    standard_weight: float | Tensor = 0.0


@dataclass(frozen=True)
class Shared:
    """What a sharing rule gives back.

    Attributes
    ----------
    latents : Tensor of shape (modality, replicate, row, latent)
        What each decoder reads.
    regularisation : Tensor of shape (replicate, row)
        The term R of each row, in nats.
    """

    latents: Tensor
    regularisation: Tensor


SharingRule = Callable[[Normal, RandomStreams, SharingOptions, Tensor | None], Shared]


def sample(posteriors: Normal, streams: RandomStreams) -> tuple[Tensor, Tensor]:
    """Draw one latent from each posterior; return latents and noise, (modality, replicate, ...)."""
    noise = _noise(posteriors.mean, streams)
    return posteriors.mean + posteriors.scale * noise, noise


def mm_vamp(
    posteriors: Normal, streams: RandomStreams, options: SharingOptions, present: Tensor | None
) -> Shared:
    """Tie posteriors softly by the MM-VAMP prior, a mixture of all of them (equations 3, 4)."""
    latents, noise = sample(posteriors, streams)
    if options.divergence == "pairwise":
        regularisation = pairwise_divergence(posteriors, present)
    else:
        draws = [noise]
        draws += [_noise(posteriors.mean, streams) for _ in range(options.mixture_samples - 1)]
        regularisation = mixture_divergence(posteriors, torch.stack(draws), present)
    weight = options.standard_weight
    if isinstance(weight, Tensor) or weight > 0.0:
        standard = standard_divergence(posteriors, present)
        regularisation = weight * standard + (1.0 - weight) * regularisation
    return Shared(latents, regularisation)


def independent(
    posteriors: Normal, streams: RandomStreams, options: SharingOptions, present: Tensor | None
) -> Shared:
    """Tie every posterior to N(0, I) and none to another (Kingma and Welling, 2014)."""
    del options
    latents, _ = sample(posteriors, streams)
    return Shared(latents, standard_divergence(posteriors, present))


def aggregated(
    posteriors: Normal, streams: RandomStreams, options: SharingOptions, present: Tensor | None
) -> Shared:
    """Let every decoder read one joint sample (equations 15 and 16; Hosoya, 2018)."""
    del options
    joint = aggregate(posteriors, present)
    noise = _noise(joint.mean.unsqueeze(0), streams)[0]
    latent = joint.mean + joint.scale * noise
    standard = Normal(torch.zeros_like(joint.mean), torch.ones_like(joint.scale), False)
    return Shared(
        latent.unsqueeze(0).expand_as(posteriors.mean), normal_divergence(joint, standard)
    )


def aggregate(posteriors: Normal, present: Tensor | None = None) -> Normal:
    """Return the joint normal with the mean of means and the mean of scales, shape (..., latent)."""
    if present is None:
        return Normal(posteriors.mean.mean(0), posteriors.scale.mean(0), validate_args=False)
    there = present.unsqueeze(-1)
    count = there.sum(0).clamp_min(1).to(posteriors.mean.dtype)
    mean = torch.where(there, posteriors.mean, 0.0).sum(0) / count
    scale = torch.where(there, posteriors.scale, 0.0).sum(0) / count
    nobody = ~there.any(0)
    return Normal(mean, torch.where(nobody, 1.0, scale), validate_args=False)


def _noise(like: Tensor, streams: RandomStreams) -> Tensor:
    """Draw noise for tensors of shape (modality, replicate, ...), a replicate at a time."""
    shape = (like.shape[0], *like.shape[2:])
    return streams.normal(*shape, dtype=like.dtype).transpose(0, 1)


SHARING_RULES: Final[Mapping[str, SharingRule]] = {
    "mm-vamp": mm_vamp,
    "independent": independent,
    "aggregated": aggregated,
}
