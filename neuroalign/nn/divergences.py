"""Divergences between the modalities' posteriors.

Everywhere `mean` and `scale` have shape (modality, ..., latent), with any dimensions between;
results drop the first and the last. `present` of shape (modality, ...) says which modalities
a row has; absent ones are no experts and add nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Normal


def normal_divergence(first: Normal, second: Normal) -> Tensor:
    """Return KL(first ‖ second) of diagonal normals, summed over latents, shape (...)."""
    ratio = first.scale / second.scale
    shift = (first.mean - second.mean) / second.scale
    return (0.5 * (ratio.square() + shift.square() - 1.0) - ratio.log()).sum(-1)


def standard_divergence(posteriors: Normal, present: Tensor | None = None) -> Tensor:
    """Return Σ_m KL(q_m ‖ N(0, I)) over the modalities present, shape (...)."""
    return _masked(standard_divergences(posteriors), present).sum(0)


def standard_divergences(posteriors: Normal) -> Tensor:
    """Return KL(q ‖ N(0, I)) of every posterior, summed over latents; drops the last dimension."""
    mean, scale = posteriors.mean, posteriors.scale
    return (0.5 * (scale.square() + mean.square() - 1.0) - scale.log()).sum(-1)


def pairwise_divergence(posteriors: Normal, present: Tensor | None = None) -> Tensor:
    """Return (1/M) Σ_m Σ_k KL(q_m ‖ q_k) over the modalities present, shape (...).

    By convexity it bounds Σ_m KL(q_m ‖ (1/M) Σ_k q_k) of equation 4 from above, and unlike
    that one it keeps a gradient when posteriors are far apart.
    """
    mean, scale = posteriors.mean, posteriors.scale
    weight = torch.ones_like(mean)
    if present is not None:
        weight = present.unsqueeze(-1).to(mean.dtype).expand_as(mean)
        mean = torch.where(weight > 0, mean, 0.0)
        scale = torch.where(weight > 0, scale, 1.0)
    present_count = weight.sum(0)
    count = present_count.clamp_min(1.0)
    # any common shift leaves differences as they are; the centre keeps the expansion below
    # accurate when posteriors are far from the origin and close to each other
    mean = (mean - (mean.sum(0) / count).detach()) * weight
    precision = weight / scale.square()
    moments = (weight * scale.square() + mean.square()).sum(0)
    # Σ_m Σ_k (σ_m² + (μ_m − μ_k)²) / σ_k² with the square opened up: no pair is ever formed,
    # and the logarithms of KL(q_m ‖ q_k) and KL(q_k ‖ q_m) cancel in the double sum
    total = (
        moments * precision.sum(0)
        - 2.0 * mean.sum(0) * (precision * mean).sum(0)
        + present_count * (precision * mean.square()).sum(0)
    )
    return (0.5 * (total - present_count.square()) / count).sum(-1)


def mixture_divergence(posteriors: Normal, noise: Tensor, present: Tensor | None = None) -> Tensor:
    """Estimate Σ_m KL(q_m ‖ (1/M) Σ_k q_k) by Monte Carlo, equations 3 and 4, shape (...).

    Parameters
    ----------
    posteriors : Normal
        Mean and scale of shape (modality, ..., latent).
    noise : Tensor of shape (sample, modality, ..., latent)
        Standard normal numbers; sample s of modality m is mean_m + scale_m · noise.
    present : Tensor of bool, shape (modality, ...), optional
        Which modalities each row has.
    """
    mean, scale = posteriors.mean, posteriors.scale
    n_modalities = len(mean)
    if present is not None:
        there = present.unsqueeze(-1)
        mean, scale = torch.where(there, mean, 0.0), torch.where(there, scale, 1.0)
    own = mean + scale * noise  # (sample, modality, ..., latent)
    log_own = _log_density(noise, scale)
    shift = (own.unsqueeze(2) - mean) / scale  # (sample, modality, expert, ..., latent)
    log_experts = _log_density(shift, scale)
    if present is None:
        log_mixture = log_experts.logsumexp(dim=2) - math.log(n_modalities)
    else:
        log_experts = log_experts.masked_fill(~present, -torch.inf)
        # rows without anybody have no mixture; their terms are masked below
        log_experts = torch.where(present.any(0), log_experts, torch.zeros_like(log_experts))
        n_present = present.sum(0).clamp_min(1).to(mean.dtype)
        log_mixture = log_experts.logsumexp(dim=2) - n_present.log()
    return _masked((log_own - log_mixture).mean(0), present).sum(0)


def _log_density(standardised: Tensor, scale: Tensor) -> Tensor:
    """Return the normal log-density up to its constant, which cancels in log ratios."""
    return (-0.5 * standardised.square() - scale.log()).sum(-1)


def _masked(terms: Tensor, present: Tensor | None) -> Tensor:
    # where, not a product: nothing of an absent modality may reach the sum, not even its NaN
    return terms if present is None else torch.where(present, terms, torch.zeros_like(terms))
