"""Likelihoods of scaled features, and the table of all likelihoods by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from neuroalign.nn.count_likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
)
from neuroalign.nn.likelihood_base import Likelihood, Target

# learned log-scales stay inside ±4 (smoothly): a constant feature would otherwise become a point
SCALE_BOUND: Final = 4.0


class GaussianLikelihood(Likelihood):
    """Normal observations of one fixed scale.

    With the default scale 1/√2 the negative log-probability is the squared error plus a
    constant, the published reconstruction term for spike counts.

    Parameters
    ----------
    scale : float
        Standard deviation.
    """

    target: Target = "scaled"

    def __init__(self, scale: float = math.sqrt(0.5)) -> None:
        super().__init__()
        self.scale = scale

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the normal log-density of every feature."""
        constant = math.log(self.scale) + 0.5 * math.log(2.0 * math.pi)
        return (x - parameters).square() * (-0.5 / self.scale**2) - constant

    def row_log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the summed log-density without a temporary for each of its terms."""
        constant = math.log(self.scale) + 0.5 * math.log(2.0 * math.pi)
        square = nn.functional.mse_loss(parameters, x, reduction="none").flatten(2).sum(-1)
        return -constant * x.shape[2:].numel() + square * (-0.5 / self.scale**2)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the parameters: they are the mean."""
        return parameters

    def start(self, mean: Tensor) -> Tensor:
        """Return the mean itself."""
        return mean


class LearnedGaussianLikelihood(Likelihood):
    """Normal observations whose scale is learned, one number per feature.

    Parameters
    ----------
    n_features, n_replicates : int
        How many scales there are.
    scale : float
        Standard deviation to start from.
    """

    target: Target = "scaled"

    def __init__(
        self, n_features: int, n_replicates: int = 1, *, scale: float = math.sqrt(0.5)
    ) -> None:
        super().__init__()
        start = SCALE_BOUND * math.atanh(math.log(scale) / SCALE_BOUND)
        self.raw_scale = nn.Parameter(torch.full((n_replicates, 1, n_features), start))

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the normal log-density of every feature, (replicate, row, feature)."""
        log_scale = SCALE_BOUND * torch.tanh(self.raw_scale / SCALE_BOUND)
        standardised = (x - parameters) * torch.exp(-log_scale)
        return -0.5 * standardised.square() - log_scale - 0.5 * math.log(2.0 * math.pi)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the parameters: they are the mean."""
        return parameters

    def start(self, mean: Tensor) -> Tensor:
        """Return the mean itself."""
        return mean


class LaplaceLikelihood(Likelihood):
    """Laplace observations of one fixed scale (0.75 in the published image experiments).

    Parameters
    ----------
    scale : float
        Scale b of exp(−|x − location| / b) / 2b.
    """

    target: Target = "scaled"

    def __init__(self, scale: float = 0.75) -> None:
        super().__init__()
        self.scale = scale

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the Laplace log-density of every feature."""
        return (x - parameters).abs() * (-1.0 / self.scale) - math.log(2.0 * self.scale)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the parameters: they are the location, which is the mean."""
        return parameters

    def start(self, mean: Tensor) -> Tensor:
        """Return the mean itself."""
        return mean


@dataclass(frozen=True)
class LikelihoodShape:
    """What a likelihood must know of a modality before it can be built.

    Attributes
    ----------
    n_features : int
        Features of the modality.
    n_replicates : int
        Replicates of the networks.
    n_categories : int
        Categories of a categorical likelihood: one more than the largest count.
    largest_mean : float or None
        What the expected counts of Poisson and negative binomial stay below.
    noise_scale : float, "learned" or None
        Scale of the Gaussian and the Laplace distribution; None is each one's default.
    """

    n_features: int
    n_replicates: int = 1
    n_categories: int = 2
    largest_mean: float | None = None
    noise_scale: float | Literal["learned"] | None = None


def _gaussian(shape: LikelihoodShape) -> Likelihood:
    if shape.noise_scale == "learned":
        return LearnedGaussianLikelihood(shape.n_features, shape.n_replicates)
    return (
        GaussianLikelihood()
        if shape.noise_scale is None
        else GaussianLikelihood(float(shape.noise_scale))
    )


def _laplace(shape: LikelihoodShape) -> Likelihood:
    if shape.noise_scale == "learned":
        raise ValueError("the scale of the Laplace distribution cannot be learned.")
    return (
        LaplaceLikelihood()
        if shape.noise_scale is None
        else LaplaceLikelihood(float(shape.noise_scale))
    )


LIKELIHOODS: Final[Mapping[str, Callable[[LikelihoodShape], Likelihood]]] = {
    "gaussian": _gaussian,
    "laplace": _laplace,
    "poisson": lambda shape: PoissonLikelihood(shape.largest_mean),
    "negative-binomial": lambda shape: NegativeBinomialLikelihood(
        shape.n_features, shape.n_replicates, largest_mean=shape.largest_mean
    ),
    "bernoulli": lambda _: BernoulliLikelihood(),
    "categorical": lambda shape: CategoricalLikelihood(shape.n_categories),
}
