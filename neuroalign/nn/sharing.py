"""How the modalities share: which latents every decoder reads, and the term R.

Every rule takes the unimodal posteriors, stacked to (modality, ..., latent), and returns the
latents each decoder reads together with the regularisation term of the negative objective
`Σ_m −E[log p(x_m | z_m)] + β · R`. It also says what a single modality's posterior is, and what
the joint posterior is where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.distributions import Normal

from neuroalign.nn.divergences import (
    mixture_divergence,
    pairwise_divergence,
    standard_divergence,
    standard_divergences,
)
from neuroalign.nn.joint import (
    JointPosterior,
    aggregate,
    product_of_experts,
    share_of_experts,
    subset_products,
    with_prior,
)
from neuroalign.nn.random import RandomStreams


@dataclass(frozen=True)
class SharingOptions:
    """What a sharing rule can be told.

    Attributes
    ----------
    mixture_share : float
        Share of the divergence to the mixture in the MM-VAMP term; the rest is pairwise.
    mixture_samples : int
        Monte Carlo samples per posterior for the divergence to the mixture.
    standard_weight : float
        Weight α of the terms to N(0, I) that are mixed into the MM-VAMP term.
    """

    mixture_share: float = 0.0
    mixture_samples: int = 1
    standard_weight: float = 0.0


@dataclass(frozen=True)
class Shared:
    """What a sharing rule gives back.

    Attributes
    ----------
    latents : Tensor of shape (draw, modality, replicate, row, latent)
        What each decoder reads.
    regularisation : Tensor of shape (replicate, row)
        The term R of each row, in nats.
    weights : Tensor of shape (draw, replicate, row), or None
        What each draw's reconstruction counts; None counts every draw once.
    """

    latents: Tensor
    regularisation: Tensor
    weights: Tensor | None = None


Terms = Callable[[Normal, RandomStreams, SharingOptions, Tensor | None], Shared]


@dataclass(frozen=True)
class SharingRule:
    """One way of sharing.

    Attributes
    ----------
    terms : callable
        Latents and R of a batch of rows.
    unimodal : callable
        From what an encoder says to the posterior given this modality alone.
    joint : callable or None
        From all encoders to the posterior given every modality present, if the rule has one.
    """

    terms: Terms
    unimodal: Callable[[Normal], Normal] = lambda posterior: posterior
    joint: Callable[[Normal, Tensor | None], JointPosterior] | None = None


def sample(posteriors: Normal, streams: RandomStreams) -> tuple[Tensor, Tensor]:
    """Draw one latent from each posterior; return latents and noise, (modality, replicate, ...)."""
    noise = _noise(posteriors.mean, streams)
    return posteriors.mean + posteriors.scale * noise, noise


def mm_vamp(
    posteriors: Normal, streams: RandomStreams, options: SharingOptions, present: Tensor | None
) -> Shared:
    """Tie posteriors softly by the MM-VAMP prior, a mixture of all of them (equations 3, 4)."""
    latents, noise = sample(posteriors, streams)
    share, weight = options.mixture_share, options.standard_weight
    parts = []
    if weight < 1.0 and share < 1.0:
        pairwise = pairwise_divergence(posteriors, present)
        parts.append((1.0 - weight) * (1.0 - share) * pairwise)
    if weight < 1.0 and share > 0.0:
        draws = _mirrored(noise, options.mixture_samples, streams)
        mixture = mixture_divergence(posteriors, draws, present)
        parts.append((1.0 - weight) * share * mixture)
    if weight > 0.0:
        parts.append(weight * standard_divergence(posteriors, present))
    return Shared(latents.unsqueeze(0), torch.stack(parts).sum(0))


def _mirrored(noise: Tensor, samples: int, streams: RandomStreams) -> Tensor:
    """Add draws to the first, every second one the mirror image of the one before it.

    Antithetic pairs leave the estimate unbiased and its gradient quieter, the more so the
    nearer the posteriors lie.
    """
    draws = [noise]
    while len(draws) < samples:
        mirror = len(draws) % 2 == 1
        draws.append(-draws[-1] if mirror else _noise(noise, streams))
    return torch.stack(draws)


def independent(
    posteriors: Normal, streams: RandomStreams, options: SharingOptions, present: Tensor | None
) -> Shared:
    """Tie every posterior to N(0, I) and none to another (Kingma and Welling, 2014)."""
    del options
    latents, _ = sample(posteriors, streams)
    return Shared(latents.unsqueeze(0), standard_divergence(posteriors, present))


def autoencoder(
    posteriors: Normal, streams: RandomStreams, options: SharingOptions, present: Tensor | None
) -> Shared:
    """Decode the means and tie nothing: the limit of appendix A.1."""
    del streams, options, present
    mean = posteriors.mean
    return Shared(mean.unsqueeze(0), mean.new_zeros(mean.shape[1:-1]))


def aggregated(
    posteriors: Normal, streams: RandomStreams, options: SharingOptions, present: Tensor | None
) -> Shared:
    """Let every decoder read one joint sample (equations 15 and 16; Hosoya, 2018)."""
    del options
    joint = aggregate(posteriors, present)
    latent = _sample_joint(joint, streams)
    return Shared(latent.expand_as(posteriors.mean).unsqueeze(0), standard_divergences(joint))


def poe(
    posteriors: Normal, streams: RandomStreams, options: SharingOptions, present: Tensor | None
) -> Shared:
    """Multiply the experts present and N(0, I) into one joint normal (Wu and Goodman, 2018).

    The objective is the joint bound plus every single modality's own bound, so that one
    modality alone can be encoded; each modality is therefore reconstructed twice.
    """
    del options
    joint = product_of_experts(posteriors, present)
    single = with_prior(posteriors)
    together = _sample_joint(joint, streams).expand_as(posteriors.mean)
    alone, _ = sample(single, streams)
    regularisation = standard_divergences(joint) + standard_divergence(single, present)
    return Shared(torch.stack([together, alone]), regularisation)


def moe(
    posteriors: Normal, streams: RandomStreams, options: SharingOptions, present: Tensor | None
) -> Shared:
    """Average the experts: every expert's sample decodes every modality (Shi et al., 2019).

    The mixture's expectation is taken expert by expert, without importance weights.
    """
    del options
    latents, _ = sample(posteriors, streams)
    weights = share_of_experts(posteriors, present)
    divergences = standard_divergences(posteriors)
    regularisation = (weights * torch.where(weights > 0, divergences, 0.0)).sum(0)
    everywhere = latents.unsqueeze(1).expand(-1, len(latents), *latents.shape[1:])
    return Shared(everywhere, regularisation, weights)


def mopoe(
    posteriors: Normal, streams: RandomStreams, options: SharingOptions, present: Tensor | None
) -> Shared:
    """Average the products of all subsets of the modalities present (Sutter et al., 2021).

    Each row decodes a sample of one subset; subsets come round equally often over the rows of
    a batch, in an order that chance decides.
    """
    del options
    joint = subset_products(posteriors, present)
    n_rows = posteriors.mean.shape[-2]
    chosen = joint.pick(streams.spread(n_rows, joint.weights.dtype))
    latent = _sample_joint(chosen, streams)
    divergences = standard_divergences(joint.components)
    return Shared(
        latent.expand_as(posteriors.mean).unsqueeze(0), (joint.weights * divergences).sum(0)
    )


def _sample_joint(joint: Normal, streams: RandomStreams) -> Tensor:
    """Draw one latent per row, shape (1, replicate, row, latent)."""
    mean = joint.mean.unsqueeze(0)
    return mean + joint.scale * _noise(mean, streams)


def _noise(like: Tensor, streams: RandomStreams) -> Tensor:
    """Draw noise for tensors of shape (modality, replicate, ...), a replicate at a time."""
    shape = (like.shape[0], *like.shape[2:])
    return streams.normal(*shape, dtype=like.dtype, row_axis=1).transpose(0, 1)


def _mean_only(posterior: Normal) -> Normal:
    return Normal(posterior.mean, torch.zeros_like(posterior.scale), validate_args=False)


def _single(combine: Callable[[Normal, Tensor | None], Normal]) -> Callable[..., JointPosterior]:
    def joint(posteriors: Normal, present: Tensor | None) -> JointPosterior:
        return JointPosterior.of(combine(posteriors, present))

    return joint


def _experts(posteriors: Normal, present: Tensor | None) -> JointPosterior:
    return JointPosterior(posteriors, share_of_experts(posteriors, present))


SHARING_RULES: Final[Mapping[str, SharingRule]] = {
    "mm-vamp": SharingRule(mm_vamp),
    "independent": SharingRule(independent),
    "aggregated": SharingRule(aggregated, joint=_single(aggregate)),
    "poe": SharingRule(poe, unimodal=with_prior, joint=_single(product_of_experts)),
    "moe": SharingRule(moe, joint=_experts),
    "mopoe": SharingRule(mopoe, joint=subset_products),
    "autoencoder": SharingRule(autoencoder, unimodal=_mean_only),
}
