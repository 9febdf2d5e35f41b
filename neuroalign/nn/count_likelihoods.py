"""Likelihoods of spike counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from neuroalign.nn.likelihood_base import Likelihood, Target

# exp(±20) is far outside any firing rate, and keeps a bad step from ending in infinity
LOG_RATE_BOUND: Final = 20.0
SMALLEST_MEAN: Final = 1e-4  # what decoders of silent features start from, counts
# the learned log of the dispersion 1/r stays inside ±6 (smoothly), from nearly Poisson to bursts
DISPERSION_BOUND: Final = 6.0


def count_problem(x: Tensor) -> str | None:
    """Say why these are no counts, or None."""
    if bool((x < 0).any()):
        return "negative counts"
    if x.is_floating_point() and bool((x != x.round()).any()):
        return "fractional counts"
    return None


def summed_log_factorials(x: Tensor) -> Tensor:
    """Return Σ log x! over features of counts (replicate, row, ...), shape (replicate, row).

    Most bins hold no spike or one, where log x! is zero; on the CPU only the others are
    computed, since the logarithm of the gamma function costs as much as a layer.
    """
    flat = x.flatten(2)
    if x.device.type != "cpu":  # finding the others would wait for the device
        return torch.lgamma(flat + 1.0).sum(-1)
    # numpy finds them several times faster than torch does
    several = torch.from_numpy(np.flatnonzero(flat.detach().numpy() > 1.0))
    values = torch.lgamma(flat.reshape(-1)[several] + 1.0)
    total = flat.new_zeros(flat.shape[0] * flat.shape[1])
    return total.index_add_(0, several // flat.shape[2], values).reshape(flat.shape[:2])


class CountLikelihood(Likelihood):
    """Counts whose log expectation the decoder gives, smoothly bounded from above.

    A latent a little outside of what training saw can ask for an exponentially large rate, so
    that one held-out trial decides the objective of all; no unit's expectation needs to exceed
    the most spikes that were ever counted by much.

    Parameters
    ----------
    largest_mean : float or None
        What expected counts stay below; None bounds them by numbers alone.
    """

    target: Target = "counts"

    def __init__(self, largest_mean: float | None = None) -> None:
        super().__init__()
        # one number, or, for replicates that differ, a tensor (replicate, 1, 1)
        self.bound: float | Tensor | None = None
        self._placed: tuple[Tensor, Tensor] | None = None
        if largest_mean is not None:
            self.bound = math.log(largest_mean)

    def stack(self, parts: Sequence[CountLikelihood]) -> None:
        """Take over the bounds of several replicates' likelihoods."""
        bounds = [part.bound for part in parts]
        self.bound = bounds[0]
        if any(bound != bounds[0] for bound in bounds):
            self.bound = torch.tensor(bounds, dtype=torch.float64).reshape(-1, 1, 1)

    def keep_replicates(self, places: Sequence[int]) -> None:
        """Let all replicates but those at these places leave."""
        if isinstance(self.bound, Tensor):
            kept = self.bound[list(places)]
            self.bound = float(kept[0]) if bool((kept == kept[0]).all()) else kept

    def log_rate(self, parameters: Tensor) -> Tensor:
        """Return the log of expected counts: the parameters where they are far below the bound."""
        if self.bound is None:
            return parameters.clamp(-LOG_RATE_BOUND, LOG_RATE_BOUND)
        bound = self._bound_beside(parameters) if isinstance(self.bound, Tensor) else self.bound
        gap = torch.nn.functional.softplus(bound - parameters)
        return (bound - gap).clamp_min(-LOG_RATE_BOUND)

    def _bound_beside(self, parameters: Tensor) -> Tensor:
        """Return the bounds where the parameters lie; copied there once, not at every step."""
        bound = self.bound
        assert isinstance(bound, Tensor)
        held = self._placed
        known = held is not None and held[0] is bound and held[1].dtype == parameters.dtype
        if held is None or not known or held[1].device != parameters.device:
            held = self._placed = (bound, bound.to(parameters))
        return held[1]

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expected counts."""
        return self.log_rate(parameters).exp()

    def start(self, mean: Tensor) -> Tensor:
        """Return parameters of this mean; silent features start at one count in ten thousand."""
        if self.bound is None:
            return mean.clamp_min(SMALLEST_MEAN).log()
        assert not isinstance(self.bound, Tensor), "networks start before they are stacked"
        highest = 0.99 * math.exp(self.bound)
        wanted = mean.clamp(SMALLEST_MEAN, highest).double().log()
        return (wanted - torch.log(-torch.expm1(wanted - self.bound))).to(mean)

    def problem(self, x: Tensor) -> str | None:
        """Refuse negative or fractional counts."""
        return super().problem(x) or count_problem(x)


class PoissonLikelihood(CountLikelihood):
    """Spike counts with a Poisson distribution; the decoder gives log expected counts.

    Parameters
    ----------
    largest_mean : float or None
        What expected counts stay below.
    """

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the Poisson log-probability of every count."""
        log_rate = self.log_rate(parameters)
        return x * log_rate - log_rate.exp() - torch.lgamma(x + 1.0)

    def row_log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the summed log-probability; what depends on counts alone is cut short."""
        if self.bound is None:
            log_rate = self.log_rate(parameters)
            kernel = (x * log_rate - log_rate.exp()).flatten(2).sum(-1)
        elif isinstance(self.bound, Tensor):
            bounds = enumerate(self.bound.flatten().tolist())
            kernel = torch.cat(
                [_BoundedKernel.apply(parameters[r : r + 1], x[r : r + 1], b) for r, b in bounds]  # type: ignore[no-untyped-call]
            )
        else:
            kernel = _BoundedKernel.apply(parameters, x, self.bound)  # type: ignore[no-untyped-call]
        return kernel - summed_log_factorials(x)


class _BoundedKernel(torch.autograd.Function):
    """Σ x·u − exp(u) over features, u the bounded log rate, with its gradient in closed form.

    With s = sigmoid(parameters − bound), exp(u) = exp(bound)·s and du/dparameters = 1 − s: one
    transcendental function and a logarithm replace four and what autograd keeps of them.
    """

    @staticmethod
    def forward(ctx: Any, parameters: Tensor, x: Tensor, bound: float) -> Tensor:
        """Return the kernel (replicate, row) for parameters and x (replicate, row, ...)."""
        # below, the rate is constant, which keeps its logarithm finite
        share = torch.sigmoid(parameters - bound).clamp_min_(math.exp(-LOG_RATE_BOUND - bound))
        ctx.save_for_backward(share, x)
        ctx.bound = bound
        log_rate = share.log().add_(bound)
        return log_rate.mul_(x).sub_(share, alpha=math.exp(bound)).flatten(2).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient with respect to the parameters."""
        share, x = ctx.saved_tensors
        lowest = math.exp(-LOG_RATE_BOUND - ctx.bound)
        # 0 where the rate is held at its lowest and 1 elsewhere, without slow comparisons
        free = share.sub(lowest).mul_(1e6 / lowest).clamp_(0.0, 1.0)
        slope = free.sub_(free * share).mul_(x.sub(share, alpha=math.exp(ctx.bound)))
        shape = (*gradient.shape, *[1] * (slope.dim() - 2))
        return slope.mul_(gradient.reshape(shape)), None, None


class NegativeBinomialLikelihood(CountLikelihood):
    """Spike counts that vary more than Poisson counts; the decoder gives log expected counts.

    The variance is μ + μ²/r. The dispersion 1/r is learned, one number per feature; at 1/r → 0
    the counts are Poisson.

    Parameters
    ----------
    n_features, n_replicates : int
        How many dispersions there are.
    dispersion : float
        1/r to start from.
    largest_mean : float or None
        What expected counts stay below.
    """

    def __init__(
        self,
        n_features: int,
        n_replicates: int = 1,
        *,
        dispersion: float = 0.1,
        largest_mean: float | None = None,
    ) -> None:
        super().__init__(largest_mean)
        start = DISPERSION_BOUND * math.atanh(math.log(dispersion) / DISPERSION_BOUND)
        self.raw_dispersion = nn.Parameter(torch.full((n_replicates, 1, n_features), start))

    @property
    def log_number(self) -> Tensor:
        """Return log r, of shape (replicate, 1, feature)."""
        return -DISPERSION_BOUND * torch.tanh(self.raw_dispersion / DISPERSION_BOUND)

    def _kernel(self, log_rate: Tensor, x: Tensor, log_number: Tensor) -> Tensor:
        """Return the terms without gamma functions: x log(μ/(r+μ)) − r log(1 + μ/r)."""
        odds = log_rate - log_number
        softplus = torch.nn.functional.softplus(odds)
        return x * (odds - softplus) - log_number.exp() * softplus

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the log-probability of every count, (replicate, row, feature)."""
        log_rate = self.log_rate(parameters)
        number = self.log_number.exp()
        gammas = torch.lgamma(x + number) - torch.lgamma(number) - torch.lgamma(x + 1.0)
        return self._kernel(log_rate, x, self.log_number) + gammas

    def row_log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the summed log-probability; gamma functions only where there are spikes."""
        log_rate = self.log_rate(parameters)
        kernel = self._kernel(log_rate, x, self.log_number).flatten(2).sum(-1)
        return kernel + self._summed_gammas(x) - summed_log_factorials(x)

    def _summed_gammas(self, x: Tensor) -> Tensor:
        """Return Σ log Γ(x + r)/Γ(r) over features, which vanishes where x is 0."""
        number = self.log_number.exp()
        if x.device.type != "cpu":
            return (torch.lgamma(x + number) - torch.lgamma(number)).sum(-1)
        replicate, row, feature = torch.nonzero(x > 0.0, as_tuple=True)
        here = number[replicate, 0, feature]
        values = torch.lgamma(x[replicate, row, feature] + here) - torch.lgamma(here)
        total = x.new_zeros(x.shape[:2])
        return total.index_put((replicate, row), values, accumulate=True)


class BernoulliLikelihood(Likelihood):
    """Bins with a spike or without; the decoder gives the log-odds of a spike."""

    target: Target = "counts"

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the log-probability of every bin."""
        return x * parameters - torch.nn.functional.softplus(parameters)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the probability of a spike."""
        return parameters.sigmoid()

    def start(self, mean: Tensor) -> Tensor:
        """Return the log-odds of the mean."""
        return torch.logit(mean, eps=1e-4)

    def problem(self, x: Tensor) -> str | None:
        """Refuse what is neither 0 nor 1."""
        if (general := super().problem(x) or count_problem(x)) is not None:
            return general
        return f"counts up to {int(x.max())}, not 0 or 1" if bool((x > 1).any()) else None


class CategoricalLikelihood(Likelihood):
    """One of several categories per feature, such as 0, 1, 2, … spikes or a letter.

    The decoder gives unnormalised log-probabilities, a block of features per category.

    Parameters
    ----------
    n_categories : int
        Observations are 0 to n_categories − 1.
    """

    target: Target = "counts"

    def __init__(self, n_categories: int) -> None:
        super().__init__()
        self.parameters_per_feature = n_categories

    def log_probabilities(self, parameters: Tensor) -> Tensor:
        """Return normalised log-probabilities, (..., category, feature)."""
        blocks = parameters.reshape(*parameters.shape[:-1], self.parameters_per_feature, -1)
        return blocks.log_softmax(-2)

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return the log-probability of every observed category."""
        which = x.to(torch.int64).unsqueeze(-2)
        return self.log_probabilities(parameters).gather(-2, which).squeeze(-2)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expected category, for counts the expected count."""
        probabilities = self.log_probabilities(parameters).exp()
        values = torch.arange(self.parameters_per_feature, device=probabilities.device).to(
            probabilities
        )
        return (probabilities * values.unsqueeze(-1)).sum(-2)

    def start(self, mean: Tensor) -> Tensor:
        """Return the log-probabilities of Poisson counts with this mean, block by block."""
        values = torch.arange(self.parameters_per_feature).to(mean).unsqueeze(-1)
        rate = mean.clamp_min(1e-4)
        return (values * rate.log() - torch.lgamma(values + 1.0)).log_softmax(0).flatten()

    def problem(self, x: Tensor) -> str | None:
        """Refuse what is not one of the categories."""
        if (general := super().problem(x) or count_problem(x)) is not None:
            return general
        largest = self.parameters_per_feature - 1
        return f"values above {largest}" if bool((x > largest).any()) else None
