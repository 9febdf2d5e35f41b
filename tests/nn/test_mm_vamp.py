"""The MM-VAMP prior in one dimension, by quadrature: equations 3, 4, 8 to 10 and lemma 4.1."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, special, stats
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from neuroalign.nn.divergences import mixture_divergence, pairwise_divergence, standard_divergence

Array = NDArray[np.float64]
GRID = np.linspace(-45.0, 45.0, 9001)
means = st.lists(st.floats(-4.0, 4.0), min_size=3, max_size=3)
scales = st.lists(st.floats(0.3, 3.0), min_size=3, max_size=3)


def _normals(mean: list[float], scale: list[float]) -> Normal:
    shape = (-1, 1, 1, 1)
    return Normal(
        torch.tensor(mean, dtype=torch.float64).reshape(shape),
        torch.tensor(scale, dtype=torch.float64).reshape(shape),
    )


def _integral(values: Array) -> float:
    # for smooth functions that vanish at both ends the trapezoidal rule is exact to rounding
    return float(integrate.trapezoid(values, GRID))


def _log_densities(mean: list[float], scale: list[float]) -> tuple[Array, Array]:
    """Return log q_m, (modality, grid), and the log of their mixture, (grid,)."""
    log_q = np.stack([stats.norm.logpdf(GRID, m, s) for m, s in zip(mean, scale, strict=True)])
    return log_q, special.logsumexp(log_q, axis=0) - math.log(len(mean))


def _to_mixture(mean: list[float], scale: list[float]) -> list[float]:
    """Return KL(q_m ‖ h) of every modality."""
    log_q, log_h = _log_densities(mean, scale)
    return [_integral(np.exp(log) * (log - log_h)) for log in log_q]


def _quantile_noise(modalities: int, samples: int = 4000) -> Tensor:
    """Return evenly spread normal quantiles: an average over them is a quadrature."""
    quantiles = special.ndtri((np.arange(samples) + 0.5) / samples)
    noise = torch.from_numpy(quantiles).reshape(-1, 1, 1, 1, 1)
    return noise.expand(samples, modalities, 1, 1, 1)


@given(mean=means, scale=scales)
@settings(max_examples=25, deadline=None)
def test_divergence_to_the_mixture_lies_between_its_bounds(
    mean: list[float], scale: list[float]
) -> None:
    """Each is non-negative, at most log M, and at most the mean of the pairwise divergences."""
    q = _normals(mean, scale)
    single = [Normal(q.mean[m], q.scale[m]) for m in range(3)]
    divergences = _to_mixture(mean, scale)
    for m, divergence in enumerate(divergences):
        pairwise = [float(kl_divergence(single[m], single[k])) for k in range(3)]
        assert -1e-9 <= divergence <= min(math.log(3), sum(pairwise) / 3) + 1e-9
    assert sum(divergences) <= float(pairwise_divergence(q)) + 1e-9


@given(mean=means, scale=scales)
@settings(max_examples=15, deadline=None)
def test_mixture_divergence_equals_the_quadrature(mean: list[float], scale: list[float]) -> None:
    found = float(mixture_divergence(_normals(mean, scale), _quantile_noise(3)))
    assert found == pytest.approx(sum(_to_mixture(mean, scale)), abs=2e-3)


def test_mixture_estimate_is_unbiased() -> None:
    mean, scale, n_samples = [0.0, 1.0, -0.5], [1.0, 0.5, 0.7], 100_000
    q = _normals(mean, scale)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 3, 1, n_samples, 1, dtype=torch.float64, generator=generator)
    rows = Normal(q.mean.expand(3, 1, n_samples, 1), q.scale.expand(3, 1, n_samples, 1))
    estimates = mixture_divergence(rows, noise)
    error = float(estimates.std()) / math.sqrt(n_samples)
    assert float(estimates.mean()) == pytest.approx(sum(_to_mixture(mean, scale)), abs=5 * error)


def test_divergence_vanishes_when_posteriors_coincide() -> None:
    """Equation 8."""
    mean, scale = [0.7] * 4, [0.4] * 4
    assert sum(_to_mixture(mean, scale)) == pytest.approx(0.0, abs=1e-12)
    q = _normals(mean, scale)
    assert float(mixture_divergence(q, _quantile_noise(4))) == pytest.approx(0.0, abs=1e-12)
    assert float(pairwise_divergence(q)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("modalities", [2, 3, 5])
def test_divergence_tends_to_log_m_as_posteriors_part(modalities: int) -> None:
    """Equations 9 and 10: M · log M in all, from below, and it is reached."""
    limit = modalities * math.log(modalities)
    before = 0.0
    for distance in (0.5, 1.0, 2.0, 4.0, 8.0):
        mean = [distance * (m - (modalities - 1) / 2) for m in range(modalities)]
        exact = sum(_to_mixture(mean, [1.0] * modalities))
        assert before < exact < limit + 1e-9
        before = exact
        q = _normals(mean, [1.0] * modalities)
        found = float(mixture_divergence(q, _quantile_noise(modalities)))
        assert found == pytest.approx(exact, abs=5e-3)
    apart = _normals([100.0 * m for m in range(modalities)], [1.0] * modalities)
    found = float(mixture_divergence(apart, _quantile_noise(modalities, 50)))
    assert found == pytest.approx(limit, rel=1e-12)


def _cross_entropy(mean: list[float], scale: list[float], log_prior: Array) -> float:
    """Return Σ_m E_{q_m}[log p(z)], the term that lemma 4.1 is about."""
    log_q, _ = _log_densities(mean, scale)
    return sum(_integral(np.exp(log) * log_prior) for log in log_q)


@given(
    mean=means,
    scale=scales,
    waves=st.lists(
        st.tuples(st.floats(-1.5, 1.5), st.floats(0.2, 5.0), st.floats(0.0, 6.3)),
        min_size=1,
        max_size=4,
    ),
)
@settings(max_examples=40, deadline=None)
def test_the_mixture_is_the_best_prior_that_modalities_can_share(
    mean: list[float], scale: list[float], waves: list[tuple[float, float, float]]
) -> None:
    """Lemma 4.1: every other normalised prior scores lower, by M times its divergence."""
    _, log_h = _log_densities(mean, scale)
    best = _cross_entropy(mean, scale, log_h)
    bump = sum((a * np.sin(f * GRID + phase) for a, f, phase in waves), np.zeros_like(GRID))
    log_prior = log_h + bump
    log_prior -= math.log(_integral(np.exp(log_prior)))
    assert _integral(np.exp(log_prior)) == pytest.approx(1.0, abs=1e-12)
    loss = best - _cross_entropy(mean, scale, log_prior)
    assert loss >= -1e-9
    divergence = _integral(np.exp(log_h) * (log_h - log_prior))
    assert loss == pytest.approx(3.0 * divergence, abs=1e-8)
    if max(abs(a) for a, _, _ in waves) > 0.1 and len(waves) == 1:
        assert loss > 1e-5


@given(mean=means, scale=scales)
@settings(max_examples=15, deadline=None)
def test_familiar_priors_score_below_the_mixture(mean: list[float], scale: list[float]) -> None:
    log_q, log_h = _log_densities(mean, scale)
    best = _cross_entropy(mean, scale, log_h)
    product = log_q.sum(0)
    product -= special.logsumexp(product) + math.log(GRID[1] - GRID[0])
    rivals = [
        stats.norm.logpdf(GRID),
        stats.norm.logpdf(GRID, np.mean(mean), np.mean(scale)),
        stats.norm.logpdf(GRID, np.mean(mean), math.sqrt(np.mean(np.square(scale)) + np.var(mean))),
        product,
        *log_q,
    ]
    for rival in rivals:
        assert _integral(np.exp(rival)) == pytest.approx(1.0, abs=1e-9)
        assert _cross_entropy(mean, scale, rival) <= best + 1e-9


@given(mean=means, scale=scales)
@settings(max_examples=10, deadline=None)
def test_no_prior_that_is_shared_has_a_smaller_term_than_the_mixture(
    mean: list[float], scale: list[float]
) -> None:
    """The same in terms of R: to N(0, I) it is larger than to the mixture."""
    q = _normals(mean, scale)
    mixture = float(mixture_divergence(q, _quantile_noise(3)))
    assert mixture <= float(standard_divergence(q)) + 2e-3


def _gradient(distance: float, share: float) -> float:
    """Return the largest gradient of R in the means of three posteriors so far apart."""
    q = _normals([-distance, 0.0, distance], [1.0, 0.7, 1.2])
    mean = q.mean.requires_grad_()
    moved = Normal(mean, q.scale)
    if share == 1.0:
        term = mixture_divergence(moved, _quantile_noise(3, 200))
    else:
        term = pairwise_divergence(moved)
    (gradient,) = torch.autograd.grad(term.sum(), mean)
    return float(gradient.abs().max())


def test_far_posteriors_attract_each_other_pairwise_but_not_through_the_mixture() -> None:
    """Appendix A.1: there the mixture lets modalities part, the pairwise term never does."""
    assert _gradient(1.0, 1.0) > 0.1
    assert _gradient(20.0, 1.0) < 1e-12
    near, far, farther = (_gradient(distance, 0.0) for distance in (1.0, 20.0, 40.0))
    assert near > 0.1
    assert far > 10.0 * near
    assert farther == pytest.approx(2.0 * far, rel=1e-9)  # a spring


def _log_density(posterior: Normal, z: Tensor) -> Tensor:
    return torch.as_tensor(posterior.log_prob(z).sum(-1))  # type: ignore[no-untyped-call]


@given(seed=st.integers(0, 10_000), modalities=st.integers(1, 5), missing=st.booleans())
@settings(max_examples=30, deadline=None)
def test_mixture_estimate_equals_the_definition_on_the_same_noise(
    seed: int, modalities: int, missing: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (modalities, 2, 3, 2)
    spread = 10.0 ** (2.0 * torch.rand(1, generator=generator, dtype=torch.float64) - 1.0)
    q = Normal(
        spread * torch.randn(shape, generator=generator, dtype=torch.float64),
        (0.7 * torch.randn(shape, generator=generator, dtype=torch.float64)).exp(),
    )
    noise = torch.randn(4, *shape, generator=generator, dtype=torch.float64)
    present = torch.ones(shape[:-1], dtype=torch.bool)
    if missing:
        present = torch.rand(shape[:-1], generator=generator) < 0.6
    found = mixture_divergence(q, noise, present if missing else None)
    sample = q.mean + q.scale * noise
    for replicate, row in np.ndindex(2, 3):
        members = [m for m in range(modalities) if bool(present[m, replicate, row])]
        experts = [Normal(q.mean[m, replicate, row], q.scale[m, replicate, row]) for m in members]
        total, bound = 0.0, 0.0
        for m, own in zip(members, experts, strict=True):
            z = sample[:, m, replicate, row]
            log_own = _log_density(own, z)
            log_experts = torch.stack([_log_density(expert, z) for expert in experts])
            ratio = log_own - (log_experts.exp().mean(0)).log()
            # an expert is in its own mixture, and log is concave (Jensen)
            assert (ratio <= math.log(len(members)) + 1e-9).all()
            assert (ratio <= (log_own - log_experts).mean(0) + 1e-9).all()
            total += float(ratio.mean())
            bound += float((log_own - log_experts).mean())
        assert float(found[replicate, row]) == pytest.approx(total, rel=1e-8, abs=1e-9)
        assert float(found[replicate, row]) <= bound + 1e-9
        assert float(found[replicate, row]) <= len(members) * math.log(max(1, len(members))) + 1e-9


def test_a_row_of_one_modality_has_nothing_to_align() -> None:
    generator = torch.Generator().manual_seed(0)
    q = Normal(
        torch.randn(3, 1, 4, 2, generator=generator, dtype=torch.float64),
        torch.rand(3, 1, 4, 2, generator=generator, dtype=torch.float64) + 0.1,
    )
    noise = torch.randn(2, 3, 1, 4, 2, generator=generator, dtype=torch.float64)
    present = torch.eye(4, dtype=torch.bool)[:3].unsqueeze(1)  # the last row has nobody
    zero = torch.zeros(1, 4, dtype=torch.float64)
    torch.testing.assert_close(pairwise_divergence(q, present), zero)
    torch.testing.assert_close(mixture_divergence(q, noise, present), zero)
