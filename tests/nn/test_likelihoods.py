"""Likelihoods against torch.distributions, scipy and brute force."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Laplace,
    NegativeBinomial,
    Normal,
    Poisson,
)

from neuroalign.nn.count_likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    CountLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    summed_log_factorials,
)
from neuroalign.nn.likelihood_base import Likelihood
from neuroalign.nn.likelihoods import (
    LIKELIHOODS,
    GaussianLikelihood,
    LaplaceLikelihood,
    LearnedGaussianLikelihood,
    LikelihoodShape,
)

SHAPE = (2, 7, 5)
PARAMETERS = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
COUNTS = torch.poisson(PARAMETERS.exp(), generator=torch.Generator().manual_seed(1))
VALUES = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
BITS = (COUNTS > 0).double()
LETTERS = COUNTS.clamp_max(3.0)
LOGITS = torch.randn(2, 7, 4 * 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
# raw numbers of both replicates and all features differ, so that no mix-up goes unseen
RAW = torch.linspace(-2.0, 1.5, 10, dtype=torch.float64).reshape(2, 1, 5)

Case = tuple[Likelihood, Tensor, Tensor, Tensor, Tensor]


def _learned_gaussian() -> LearnedGaussianLikelihood:
    likelihood = LearnedGaussianLikelihood(5, 2).double()
    likelihood.raw_scale.data.copy_(RAW)
    return likelihood


def _negative_binomial() -> NegativeBinomialLikelihood:
    likelihood = NegativeBinomialLikelihood(5, 2).double()
    likelihood.raw_dispersion.data.copy_(RAW)
    return likelihood


def _cases() -> dict[str, Case]:
    """Return likelihood, parameters, observations, and what another library says of them."""
    gaussian, wide = Normal(PARAMETERS, math.sqrt(0.5)), Normal(PARAMETERS, 2.0)
    learned = Normal(PARAMETERS, (4.0 * torch.tanh(RAW / 4.0)).exp())
    laplace, narrow = Laplace(PARAMETERS, 0.75), Laplace(PARAMETERS, 0.2)
    poisson, bernoulli = Poisson(PARAMETERS.exp()), Bernoulli(logits=PARAMETERS)
    number = (-6.0 * torch.tanh(RAW / 6.0)).exp()
    binomial = NegativeBinomial(number, logits=PARAMETERS - number.log())
    categorical = Categorical(logits=LOGITS.reshape(2, 7, 4, 5).transpose(-1, -2))
    expected_letter = categorical.probs @ torch.arange(4.0, dtype=torch.float64)
    plain: dict[str, tuple[Likelihood, Tensor, torch.distributions.Distribution]] = {
        "gaussian": (GaussianLikelihood(), VALUES, gaussian),
        "wide gaussian": (GaussianLikelihood(2.0), VALUES, wide),
        "learned gaussian": (_learned_gaussian(), VALUES, learned),
        "laplace": (LaplaceLikelihood(), VALUES, laplace),
        "narrow laplace": (LaplaceLikelihood(0.2), VALUES, narrow),
        "poisson": (PoissonLikelihood(), COUNTS, poisson),
        "negative binomial": (_negative_binomial(), COUNTS, binomial),
        "bernoulli": (BernoulliLikelihood(), BITS, bernoulli),
    }
    cases: dict[str, Case] = {
        name: (likelihood, PARAMETERS, x, reference.log_prob(x), reference.mean)
        for name, (likelihood, x, reference) in plain.items()
    }
    cases["categorical"] = (
        CategoricalLikelihood(4),
        LOGITS,
        LETTERS,
        categorical.log_prob(LETTERS),  # type: ignore[no-untyped-call]
        expected_letter,
    )
    return cases


CASES = _cases()


@pytest.mark.parametrize("name", CASES)
def test_log_probability_and_mean_equal_torch(name: str) -> None:
    likelihood, parameters, x, log_prob, mean = CASES[name]
    torch.testing.assert_close(likelihood.log_prob(parameters, x), log_prob)
    torch.testing.assert_close(likelihood.row_log_prob(parameters, x), log_prob.sum(-1))
    torch.testing.assert_close(likelihood.mean(parameters), mean)


def test_negative_binomial_equals_scipy() -> None:
    number = np.exp(-6.0 * np.tanh(RAW.numpy() / 6.0))
    rate = PARAMETERS.exp().numpy()
    expected = stats.nbinom.logpmf(COUNTS.numpy(), number, number / (number + rate))
    found = _negative_binomial().log_prob(PARAMETERS, COUNTS).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def test_negative_binomial_counts_vary_by_the_square_of_their_mean() -> None:
    likelihood = NegativeBinomialLikelihood(1, dispersion=0.4).double()
    counts = torch.arange(0.0, 400.0, dtype=torch.float64).reshape(1, -1, 1)
    rate = 3.0
    parameters = torch.full_like(counts, math.log(rate))
    probability = likelihood.log_prob(parameters, counts).exp().detach()
    mean = float((probability * counts).sum())
    variance = float((probability * (counts - mean).square()).sum())
    assert float(probability.sum()) == pytest.approx(1.0, abs=1e-9)
    assert mean == pytest.approx(rate, rel=1e-6)
    assert variance == pytest.approx(rate + 0.4 * rate**2, rel=1e-5)


def test_negative_binomial_tends_to_poisson_as_dispersion_falls() -> None:
    """To first order the log-probability gains dispersion · ((x − μ)² − x) / 2."""
    poisson = PoissonLikelihood().log_prob(PARAMETERS, COUNTS)
    first_order = 0.5 * ((COUNTS - PARAMETERS.exp()).square() - COUNTS)
    rests = []
    for dispersion in (0.02, 0.01, 0.005):
        likelihood = NegativeBinomialLikelihood(5, dispersion=dispersion).double()
        gap = likelihood.log_prob(PARAMETERS, COUNTS).detach() - poisson
        rests.append(float((gap - dispersion * first_order).abs().max()))
        assert float(gap.abs().max()) < 3.0 * dispersion * float(first_order.abs().max())
    # what is left is of second order: halving the dispersion quarters it
    assert rests[0] / rests[1] == pytest.approx(4.0, rel=0.15)
    assert rests[1] / rests[2] == pytest.approx(4.0, rel=0.15)


def test_learned_numbers_start_where_they_are_told() -> None:
    gaussian = LearnedGaussianLikelihood(5, 2, scale=0.3).double()
    torch.testing.assert_close(
        gaussian.log_prob(PARAMETERS, VALUES).detach(),
        Normal(PARAMETERS, 0.3).log_prob(VALUES),  # type: ignore[no-untyped-call]
        rtol=1e-5,
        atol=1e-5,
    )
    binomial = NegativeBinomialLikelihood(5, 2, dispersion=0.1).double()
    expected = stats.nbinom.logpmf(COUNTS.numpy(), 10.0, 10.0 / (10.0 + PARAMETERS.exp().numpy()))
    found = binomial.log_prob(PARAMETERS, COUNTS).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_gaussian_default_is_the_squared_error_plus_a_constant() -> None:
    likelihood = GaussianLikelihood()
    loss = -likelihood.row_log_prob(PARAMETERS, COUNTS)
    square = (PARAMETERS - COUNTS).square().sum(-1)
    gap = loss - square
    torch.testing.assert_close(gap, gap[:1, :1].expand_as(gap))


def test_gaussian_rows_may_have_more_dimensions() -> None:
    location, x = PARAMETERS.unsqueeze(-1) * torch.ones(3), VALUES.unsqueeze(-1) * torch.ones(3)
    expected = Normal(location, 2.0).log_prob(x).sum((-1, -2))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(GaussianLikelihood(2.0).row_log_prob(location, x), expected)


def test_a_perfect_prediction_has_gradient_zero() -> None:
    parameters = VALUES.clone().requires_grad_()
    GaussianLikelihood().row_log_prob(parameters, VALUES).sum().backward()  # type: ignore[no-untyped-call]
    assert parameters.grad is not None
    assert (parameters.grad == 0).all()


@pytest.mark.parametrize("name", ["gaussian", "laplace", "poisson", "negative-binomial"])
def test_a_decoder_can_start_from_the_mean(name: str) -> None:
    likelihood = LIKELIHOODS[name](LikelihoodShape(3))
    mean = torch.tensor([0.02, 1.5, 0.3], dtype=torch.float64)
    torch.testing.assert_close(likelihood.mean(likelihood.start(mean)), mean)


@pytest.mark.parametrize("name", ["poisson", "negative-binomial", "bernoulli"])
def test_silent_features_start_at_one_count_in_ten_thousand(name: str) -> None:
    likelihood = LIKELIHOODS[name](LikelihoodShape(1))
    silent = torch.zeros(1, dtype=torch.float64)
    assert float(likelihood.mean(likelihood.start(silent))) == pytest.approx(1e-4, rel=1e-9)


def test_bernoulli_starts_from_means_below_one() -> None:
    likelihood = BernoulliLikelihood()
    mean = torch.tensor([0.001, 0.3, 0.98], dtype=torch.float64)
    torch.testing.assert_close(likelihood.mean(likelihood.start(mean)), mean)
    # a bin that always holds a spike has finite log-odds all the same
    always = likelihood.mean(likelihood.start(torch.tensor([1.0, 2.5], dtype=torch.float64)))
    torch.testing.assert_close(always, torch.full_like(always, 1.0 - 1e-4))


@pytest.mark.parametrize("n_categories", [2, 4, 30])
def test_categorical_starts_from_a_truncated_poisson_distribution(n_categories: int) -> None:
    likelihood = CategoricalLikelihood(n_categories)
    mean = torch.tensor([0.02, 1.5, 0.3], dtype=torch.float64)
    values = np.arange(n_categories)[:, None]
    expected = stats.poisson.pmf(values, mean.numpy())
    expected /= expected.sum(0)
    start = likelihood.start(mean)
    assert start.shape == (n_categories * 3,)
    np.testing.assert_allclose(likelihood.log_probabilities(start).exp().numpy(), expected)
    np.testing.assert_allclose(likelihood.mean(start).numpy(), (values * expected).sum(0))
    if n_categories == 30:  # nothing is cut off there
        torch.testing.assert_close(likelihood.mean(start), mean)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_right_in_the_decoders_output(name: str) -> None:
    likelihood, parameters, x, _, _ = CASES[name]
    inputs = (parameters[:, :3].clone().requires_grad_(),)
    x = x[:, :3]
    assert torch.autograd.gradcheck(lambda p: likelihood.row_log_prob(p, x), inputs)
    assert torch.autograd.gradcheck(lambda p: likelihood.log_prob(p, x), inputs)


def test_gradients_of_a_bounded_negative_binomial_are_right() -> None:
    likelihood = NegativeBinomialLikelihood(5, 2, largest_mean=6.0).double()
    near = (PARAMETERS[:, :3] + 1.5).clone().requires_grad_()  # where the bound bends
    x = COUNTS[:, :3]
    for method in (likelihood.row_log_prob, likelihood.log_prob, lambda p, _: likelihood.mean(p)):
        assert torch.autograd.gradcheck(lambda p: method(p, x), (near,))  # noqa: B023


@pytest.mark.parametrize(
    ("likelihood", "x"), [(_learned_gaussian(), VALUES), (_negative_binomial(), COUNTS)]
)
def test_gradients_are_right_in_what_is_learned(likelihood: Likelihood, x: Tensor) -> None:
    learned = tuple(likelihood.parameters())
    assert [p.shape for p in learned] == [RAW.shape]
    for method in (likelihood.row_log_prob, likelihood.log_prob):
        # the check moves the likelihood's own parameter in place, so the argument is not read
        assert torch.autograd.gradcheck(lambda _: method(PARAMETERS[:, :3], x[:, :3]), learned)  # noqa: B023


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_shortcuts_for_silent_bins_change_nothing(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rate = 10.0 ** (2.0 * torch.rand(2, 6, 5, generator=generator, dtype=torch.float64) - 1.5)
    counts = torch.poisson(rate, generator=generator)
    for likelihood in (PoissonLikelihood(), _negative_binomial()):
        torch.testing.assert_close(
            likelihood.row_log_prob(rate.log(), counts),
            likelihood.log_prob(rate.log(), counts).sum(-1),
        )


def test_log_factorials_of_rows() -> None:
    counts = torch.tensor([[[0.0, 1.0, 2.0, 255.0], [0.0, 0.0, 1.0, 1.0]]], dtype=torch.float64)
    torch.testing.assert_close(summed_log_factorials(counts), torch.lgamma(counts + 1).sum(-1))


NOT_FINITE = "values that are not finite"


@pytest.mark.parametrize(
    ("likelihood", "x", "expected"),
    [
        *[(likelihood, [value], NOT_FINITE)
          for likelihood in (GaussianLikelihood(), LearnedGaussianLikelihood(1),
                             LaplaceLikelihood(), PoissonLikelihood(),
                             NegativeBinomialLikelihood(1), BernoulliLikelihood(),
                             CategoricalLikelihood(3))
          for value in (math.nan, math.inf, -math.inf)],
        *[(likelihood, [-1.5, 0.0, 7.25], None)
          for likelihood in (GaussianLikelihood(), LearnedGaussianLikelihood(3),
                             LaplaceLikelihood())],
        *[(likelihood, values, expected)
          for likelihood in (PoissonLikelihood(), NegativeBinomialLikelihood(2))
          for values, expected in (([0.0, 300.0], None), ([0.0, -1.0], "negative counts"),
                                   ([0.5, 1.0], "fractional counts"))],
        (BernoulliLikelihood(), [0.0, 1.0, 1.0], None),
        (BernoulliLikelihood(), [0.0, -1.0], "negative counts"),
        (BernoulliLikelihood(), [0.5, 1.0], "fractional counts"),
        (BernoulliLikelihood(), [0.0, 4.0, 2.0], "counts up to 4, not 0 or 1"),
        (CategoricalLikelihood(3), [0.0, 1.0, 2.0], None),
        (CategoricalLikelihood(3), [-1.0, 2.0], "negative counts"),
        (CategoricalLikelihood(3), [0.5, 2.0], "fractional counts"),
        (CategoricalLikelihood(3), [0.0, 3.0], "values above 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_modelled_is_named(
    likelihood: Likelihood, x: list[float], expected: str | None
) -> None:
    assert likelihood.problem(torch.tensor(x)) == expected


def test_counts_may_be_integers() -> None:
    counts = torch.tensor([0, 1, 2], dtype=torch.uint8)
    for likelihood in (
        PoissonLikelihood(),
        NegativeBinomialLikelihood(3),
        CategoricalLikelihood(3),
    ):
        assert likelihood.problem(counts) is None
    assert BernoulliLikelihood().problem(counts) == "counts up to 2, not 0 or 1"


def test_absurd_decoder_outputs_stay_finite() -> None:
    wild = torch.tensor([[[1e6, -1e6]]]).requires_grad_()
    x = torch.tensor([[[1.0, 1.0]]])
    for likelihood in (PoissonLikelihood(), NegativeBinomialLikelihood(2), BernoulliLikelihood()):
        assert torch.isfinite(likelihood.log_prob(wild, x)).all()
        (gradient,) = torch.autograd.grad(likelihood.row_log_prob(wild, x).sum(), wild)
        assert torch.isfinite(gradient).all()


def test_names_build_what_they_say() -> None:
    assert set(LIKELIHOODS) == {
        "gaussian",
        "laplace",
        "poisson",
        "negative-binomial",
        "bernoulli",
        "categorical",
    }
    for name, scale, reference in (
        ("gaussian", None, Normal(PARAMETERS, math.sqrt(0.5))),
        ("gaussian", 2.0, Normal(PARAMETERS, 2.0)),
        ("laplace", None, Laplace(PARAMETERS, 0.75)),
        ("laplace", 0.3, Laplace(PARAMETERS, 0.3)),
    ):
        built = LIKELIHOODS[name](LikelihoodShape(5, 2, noise_scale=scale))
        expected = reference.log_prob(VALUES)  # type: ignore[no-untyped-call]
        torch.testing.assert_close(built.log_prob(PARAMETERS, VALUES), expected)
        assert built.target == "scaled"
    shape = LikelihoodShape(5, 2, n_categories=4, noise_scale="learned")
    learned = LIKELIHOODS["gaussian"](shape)
    assert [p.shape for p in learned.parameters()] == [(2, 1, 5)]
    binomial = LIKELIHOODS["negative-binomial"](shape)
    assert [p.shape for p in binomial.parameters()] == [(2, 1, 5)]
    for name, blocks in (("poisson", 1), ("negative-binomial", 1), ("bernoulli", 1),
                         ("categorical", 4)):  # fmt: skip
        built = LIKELIHOODS[name](shape)
        assert built.target == "counts"
        assert built.parameters_per_feature == blocks


def test_the_scale_of_laplace_cannot_be_learned() -> None:
    with pytest.raises(
        ValueError, match=r"^the scale of the Laplace distribution cannot be learned\.$"
    ):
        LIKELIHOODS["laplace"](LikelihoodShape(5, noise_scale="learned"))


@pytest.mark.parametrize("name", ["poisson", "negative-binomial"])
def test_expected_counts_stay_below_their_bound(name: str) -> None:
    likelihood = LIKELIHOODS[name](LikelihoodShape(3, largest_mean=6.0)).double()
    wild = torch.tensor([[[1e3, 50.0, 3.0]]], dtype=torch.float64)
    mean = likelihood.mean(wild)
    assert (mean <= 6.0).all()
    # far below the bound it changes nothing: μ = exp(p) / (1 + exp(p) / bound)
    low = torch.linspace(-9.0, 4.0, 15, dtype=torch.float64)
    torch.testing.assert_close(likelihood.mean(low), low.exp() / (1.0 + low.exp() / 6.0))
    # one absurd prediction costs no more than the bound
    silent = torch.zeros(1, 1, 3, dtype=torch.float64)
    assert (-likelihood.row_log_prob(wild, silent) <= 3 * 6.0 + 1e-9).all()
    # and is still pulled back
    wild = torch.full((1, 1, 3), 4.0, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(-likelihood.row_log_prob(wild, silent).sum(), wild)
    assert (gradient > 0).all()


@pytest.mark.parametrize("name", ["poisson", "negative-binomial"])
def test_a_bounded_decoder_can_start_from_the_mean(name: str) -> None:
    likelihood = LIKELIHOODS[name](LikelihoodShape(3, largest_mean=6.0))
    mean = torch.tensor([0.0001, 0.5, 5.5])
    torch.testing.assert_close(likelihood.mean(likelihood.start(mean)), mean)
    assert (likelihood.mean(likelihood.start(torch.tensor([0.0, 50.0]))) < 6.0).all()


@pytest.mark.parametrize("shape", [(2, 7, 5), (1, 3, 2, 4)])
def test_the_short_cut_for_bounded_rates_is_the_summed_log_probability(
    shape: tuple[int, ...],
) -> None:
    likelihood = PoissonLikelihood(largest_mean=4.0)
    generator = torch.Generator().manual_seed(3)
    # far below, below and above the bound; rates of e⁻²⁵ are held at e⁻²⁰
    parameters = 4.0 * torch.randn(shape, dtype=torch.float64, generator=generator)
    parameters.flatten()[:3] = torch.tensor([-25.0, -19.0, 30.0], dtype=torch.float64)
    parameters.requires_grad_()
    x = torch.poisson(torch.full(shape, 0.8, dtype=torch.float64), generator=generator)

    def plain(p: Tensor) -> Tensor:
        return likelihood.log_prob(p, x).flatten(2).sum(-1)

    torch.testing.assert_close(likelihood.row_log_prob(parameters, x), plain(parameters))
    weights = torch.randn(shape[:2], dtype=torch.float64, generator=generator)
    short, long = (
        torch.autograd.grad((weights * of(parameters)).sum(), parameters)[0]
        for of in (lambda p: likelihood.row_log_prob(p, x), plain)
    )
    torch.testing.assert_close(short, long)
    assert torch.autograd.gradcheck(lambda p: likelihood.row_log_prob(p, x), parameters)


@pytest.mark.parametrize("name", ["poisson", "negative-binomial"])
def test_replicates_may_have_bounds_of_their_own(name: str) -> None:
    bounds = (4.0, 9.0, 4.0)
    alone = [LIKELIHOODS[name](LikelihoodShape(5, largest_mean=b)).double() for b in bounds]
    stacked = LIKELIHOODS[name](LikelihoodShape(5, n_replicates=3, largest_mean=1.0)).double()
    assert isinstance(stacked, CountLikelihood)
    stacked.stack(alone)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(3)
    parameters = 3.0 * torch.randn(3, 7, 5, dtype=torch.float64, generator=generator)
    x = torch.poisson(torch.full(parameters.shape, 0.8).double(), generator=generator)
    parameters.requires_grad_()

    def look(likelihood: Likelihood, places: slice) -> tuple[Tensor, ...]:
        p, counts = parameters[places], x[places]
        value = likelihood.row_log_prob(p, counts)
        (slope,) = torch.autograd.grad(value.sum(), parameters)
        return value, slope[places], likelihood.mean(p), likelihood.log_prob(p, counts)

    together = look(stacked, slice(None))
    for r, one in enumerate(alone):
        for found, expected in zip(together, look(one, slice(r, r + 1)), strict=True):
            torch.testing.assert_close(found[r : r + 1], expected)
    stacked.keep_replicates([2, 0])  # of one bound, as if they had never had another
    assert stacked.bound == math.log(4.0)
