"""Joint posteriors: what all modalities of a row say together.

Posteriors have shape (modality, ..., latent); `present` of shape (modality, ...) says which
modalities a row has, and absent ones are left out of every product and mixture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.distributions import Normal

# 1,023 subsets; the number of products, and the memory they take, doubles with every modality
MOST_SUBSET_MODALITIES: Final = 10


@dataclass(frozen=True)
class JointPosterior:
    """A mixture of normals given all modalities of a row.

    Attributes
    ----------
    components : Normal
        Mean and scale of shape (component, ..., latent).
    weights : Tensor of shape (component, ...)
        The mixture's weights, which sum to 1; a component of weight 0 means nothing.
    """

    components: Normal
    weights: Tensor

    @classmethod
    def of(cls, posterior: Normal) -> JointPosterior:
        """Wrap a single normal of shape (..., latent)."""
        mean, scale = posterior.mean.unsqueeze(0), posterior.scale.unsqueeze(0)
        return cls(Normal(mean, scale, validate_args=False), torch.ones_like(mean[..., 0]))

    def pick(self, place: Tensor) -> Normal:
        """Return for each row the component in which `place`, from 0 to 1, falls."""
        passed = self.weights.cumsum(0) <= place
        # rounding may leave the last sum a little below a place near 1
        last = (self.weights > 0).to(torch.int64).cumsum(0).argmax(0)
        index = torch.minimum(passed.sum(0), last)
        where = index.unsqueeze(0).unsqueeze(-1)
        where = where.expand(1, *self.components.mean.shape[1:])
        return Normal(
            self.components.mean.gather(0, where)[0],
            self.components.scale.gather(0, where)[0],
            validate_args=False,
        )


def share_of_experts(posteriors: Normal, present: Tensor | None) -> Tensor:
    """Return equal weights of the modalities present, shape (modality, ...)."""
    mean = posteriors.mean
    if present is None:
        return mean.new_full(mean.shape[:-1], 1.0 / len(mean))
    there = present.to(mean.dtype)
    return there / there.sum(0).clamp_min(1.0)


def aggregate(posteriors: Normal, present: Tensor | None = None) -> Normal:
    """Return the normal with the mean of means and the mean of scales (equations 15, 16).

    A row without anybody gets mean 0 and scale 1.
    """
    if present is None:
        return Normal(posteriors.mean.mean(0), posteriors.scale.mean(0), validate_args=False)
    there = present.unsqueeze(-1)
    count = there.sum(0).clamp_min(1).to(posteriors.mean.dtype)
    mean = torch.where(there, posteriors.mean, 0.0).sum(0) / count
    scale = torch.where(there, posteriors.scale, 0.0).sum(0) / count
    nobody = ~there.any(0)
    return Normal(mean, torch.where(nobody, 1.0, scale), validate_args=False)


def with_prior(posterior: Normal) -> Normal:
    """Return the normalised product of each posterior with N(0, I)."""
    variance = posterior.scale.square()
    shrunk = 1.0 / (1.0 + variance)
    return Normal(posterior.mean * shrunk, posterior.scale * shrunk.sqrt(), validate_args=False)


def product_of_experts(posteriors: Normal, present: Tensor | None = None) -> Normal:
    """Return the normalised product of the experts present and N(0, I), shape (..., latent)."""
    precision, weighted = _natural(posteriors, present)
    total = 1.0 + precision.sum(0)
    return Normal(weighted.sum(0) / total, total.rsqrt(), validate_args=False)


def subset_products(posteriors: Normal, present: Tensor | None = None) -> JointPosterior:
    """Return the mixture of the products of all non-empty subsets of the modalities present.

    A product holds its subset's experts alone, without N(0, I), so that the subset of one
    modality is that modality's own posterior.
    """
    precision, weighted = _natural(posteriors, present)
    table = subset_table(len(precision), precision.device)
    members = table.to(precision.dtype)
    total = torch.einsum("sm,m...->s...", members, precision)
    mean = torch.einsum("sm,m...->s...", members, weighted)
    if present is None:
        weights = total.new_full(total.shape[:-1], 1.0 / len(table))
    else:
        # a subset counts where none of its members is absent
        missing = torch.einsum("sm,m...->s...", members, (~present).to(precision.dtype))
        valid = (missing == 0).to(precision.dtype)
        weights = valid / valid.sum(0).clamp_min(1.0)
        total = torch.where((weights > 0).unsqueeze(-1), total, 1.0)
    return JointPosterior(Normal(mean / total, total.rsqrt(), validate_args=False), weights)


def subset_table(n_modalities: int, device: torch.device | str = "cpu") -> Tensor:
    """Return all non-empty subsets as rows of a boolean table, (subset, modality).

    Raises
    ------
    ValueError
        If there are more modalities than can be enumerated.
    """
    if n_modalities > MOST_SUBSET_MODALITIES:
        raise ValueError(
            f"the subsets of {n_modalities} modalities are {2**n_modalities - 1}; at most "
            f"{MOST_SUBSET_MODALITIES} modalities can be enumerated."
        )
    codes = torch.arange(1, 2**n_modalities, device=device)
    return (codes.unsqueeze(-1) >> torch.arange(n_modalities, device=device)) % 2 == 1


def _natural(posteriors: Normal, present: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return precisions and precision-weighted means, zero where absent."""
    mean, scale = posteriors.mean, posteriors.scale
    if present is not None:
        there = present.unsqueeze(-1)
        mean = torch.where(there, mean, 0.0)
        scale = torch.where(there, scale, torch.inf)
    precision = scale.square().reciprocal()
    return precision, precision * mean
