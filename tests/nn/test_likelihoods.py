"""Likelihoods against torch.distributions."""

import pytest
import torch
from torch.distributions import Laplace, Normal, Poisson

from neuroalign.nn.likelihoods import (
    LIKELIHOODS,
    GaussianLikelihood,
    LaplaceLikelihood,
    Likelihood,
    PoissonLikelihood,
    summed_log_factorials,
)

PARAMETERS = torch.randn(2, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
COUNTS = torch.poisson(PARAMETERS.exp(), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("likelihood", "reference"),
    [
        (GaussianLikelihood(), Normal(PARAMETERS, 0.5**0.5)),
        (GaussianLikelihood(2.0), Normal(PARAMETERS, 2.0)),
        (LaplaceLikelihood(), Laplace(PARAMETERS, 0.75)),
        (PoissonLikelihood(), Poisson(PARAMETERS.exp())),
    ],
)
def test_log_probability_and_mean_equal_torch(
    likelihood: Likelihood, reference: torch.distributions.Distribution
) -> None:
    expected = reference.log_prob(COUNTS)
    torch.testing.assert_close(likelihood.log_prob(PARAMETERS, COUNTS), expected)
    torch.testing.assert_close(likelihood.row_log_prob(PARAMETERS, COUNTS), expected.sum(-1))
    torch.testing.assert_close(likelihood.mean(PARAMETERS), reference.mean)


def test_gaussian_default_is_the_squared_error_plus_a_constant() -> None:
    likelihood = GaussianLikelihood()
    loss = -likelihood.row_log_prob(PARAMETERS, COUNTS)
    square = (PARAMETERS - COUNTS).square().sum(-1)
    gap = loss - square
    torch.testing.assert_close(gap, gap[:1, :1].expand_as(gap))


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
def test_a_decoder_can_start_from_the_mean(name: str) -> None:
    likelihood = LIKELIHOODS[name]()
    mean = torch.tensor([0.02, 1.5, 0.3])
    torch.testing.assert_close(likelihood.mean(likelihood.start(mean)), mean)


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
def test_gradients_are_right(name: str) -> None:
    likelihood = LIKELIHOODS[name]()
    parameters = PARAMETERS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: likelihood.row_log_prob(p, COUNTS), (parameters,))


def test_what_cannot_be_modelled_is_named() -> None:
    poisson = PoissonLikelihood()
    assert poisson.problem(torch.tensor([0.0, 3.0])) is None
    assert poisson.problem(torch.tensor([-1.0])) == "negative counts"
    assert poisson.problem(torch.tensor([0.5])) == "fractional counts"
    assert GaussianLikelihood().problem(torch.tensor([torch.nan])) == "values that are not finite"


def test_absurd_log_rates_stay_finite() -> None:
    poisson = PoissonLikelihood()
    wild = torch.tensor([1e6, -1e6])
    assert torch.isfinite(poisson.log_prob(wild, torch.tensor([2.0, 2.0]))).all()


def test_log_factorials_of_rows() -> None:
    counts = torch.tensor([[[0.0, 1.0, 2.0, 255.0], [0.0, 0.0, 1.0, 1.0]]], dtype=torch.float64)
    torch.testing.assert_close(summed_log_factorials(counts), torch.lgamma(counts + 1).sum(-1))
