"""Likelihoods p(x | z): each knows its log-probability, its mean, and what it cannot model.

A decoder's output holds `parameters_per_feature` blocks of features side by side.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Final, Literal

import torch
from torch import Tensor, nn

Target = Literal["scaled", "counts"]
# exp(±20) is far outside any firing rate, and keeps a bad step from ending in infinity
LOG_RATE_BOUND: Final = 20.0


class Likelihood(nn.Module, ABC):
    """What a modality's observations are, given the decoder's output.

    Attributes
    ----------
    target : str
        "scaled" if the likelihood models the encoder's scaled input, "counts" if it models
        spike counts whatever the encoder sees.
    parameters_per_feature : int
        How many numbers the decoder gives for each feature.
    """

    target: Target
    parameters_per_feature: int = 1

    @abstractmethod
    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | parameters) of every feature, shaped like x."""

    def row_log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | parameters) summed over features (everything after the row), (..., row).

        The first two dimensions are replicate and row.
        """
        return self.log_prob(parameters, x).flatten(2).sum(-1)

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expectation of x, of shape (..., feature)."""

    @abstractmethod
    def start(self, mean: Tensor) -> Tensor:
        """Return parameters whose mean is about `mean`, of shape (feature,), to start from."""

    def problem(self, x: Tensor) -> str | None:
        """Say in a few words why x cannot be modelled, or None if it can."""
        return None if bool(torch.isfinite(x).all()) else "values that are not finite"


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
        gap: Tensor = (x - parameters).flatten(2)
        square: Tensor = torch.linalg.vector_norm(gap, dim=-1).square()
        return -constant * x.shape[2:].numel() + square * (-0.5 / self.scale**2)

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


def summed_log_factorials(x: Tensor) -> Tensor:
    """Return Σ log x! over features of counts (replicate, row, ...), shape (replicate, row).

    Most bins hold no spike or one, where log x! is zero; on the CPU only the others are
    computed, since the logarithm of the gamma function costs as much as a layer.
    """
    flat = x.flatten(2)
    if x.device.type != "cpu":  # finding the others would wait for the device
        return torch.lgamma(flat + 1.0).sum(-1)
    replicate, row, feature = torch.nonzero(flat > 1.0, as_tuple=True)
    total = flat.new_zeros(flat.shape[:2])
    values = torch.lgamma(flat[replicate, row, feature] + 1.0)
    return total.index_put_((replicate, row), values, accumulate=True)


class PoissonLikelihood(Likelihood):
    """Spike counts with a Poisson distribution; the decoder gives log expected counts."""

    target: Target = "counts"

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the Poisson log-probability of every count."""
        log_rate = parameters.clamp(-LOG_RATE_BOUND, LOG_RATE_BOUND)
        return x * log_rate - log_rate.exp() - torch.lgamma(x + 1.0)

    def row_log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the summed log-probability; what depends on counts alone is cut short."""
        log_rate = parameters.clamp(-LOG_RATE_BOUND, LOG_RATE_BOUND)
        return (x * log_rate - log_rate.exp()).flatten(2).sum(-1) - summed_log_factorials(x)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expected counts."""
        return parameters.clamp(-LOG_RATE_BOUND, LOG_RATE_BOUND).exp()

    def start(self, mean: Tensor) -> Tensor:
        """Return the log of the mean; silent features start at one count in ten thousand."""
        return mean.clamp_min(1e-4).log()

    def problem(self, x: Tensor) -> str | None:
        """Refuse negative or fractional counts."""
        if (general := super().problem(x)) is not None:
            return general
        if bool((x < 0).any()):
            return "negative counts"
        if x.is_floating_point() and bool((x != x.round()).any()):
            return "fractional counts"
        return None


LIKELIHOODS: Final[dict[str, type[Likelihood]]] = {
    "gaussian": GaussianLikelihood,
    "laplace": LaplaceLikelihood,
    "poisson": PoissonLikelihood,
}
