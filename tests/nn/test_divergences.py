"""The terms of the objective against torch's own divergences, quadrature and known limits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from torch.distributions import Normal, kl_divergence

from neuroalign.nn.divergences import (
    mixture_divergence,
    normal_divergence,
    pairwise_divergence,
    standard_divergence,
)


def posteriors(seed: int, modalities: int = 4, rows: int = 5, latents: int = 3) -> Normal:
    generator = torch.Generator().manual_seed(seed)
    shape = (modalities, 1, rows, latents)
    mean = torch.randn(shape, generator=generator, dtype=torch.float64)
    scale = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
    return Normal(mean, scale)


def brute_pairwise(q: Normal, present: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(q.mean.shape[1:-1], dtype=torch.float64)
    for m in range(len(q.mean)):
        for k in range(len(q.mean)):
            pair = kl_divergence(Normal(q.mean[m], q.scale[m]), Normal(q.mean[k], q.scale[k]))
            total += torch.where(present[m] & present[k], pair.sum(-1), 0.0)
    return total / present.sum(0).clamp_min(1)  # nobody there: no term


@given(seed=st.integers(0, 10_000), modalities=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_pairwise_equals_the_sum_over_pairs(seed: int, modalities: int) -> None:
    q = posteriors(seed, modalities)
    everyone = torch.ones(q.mean.shape[:-1], dtype=torch.bool)
    torch.testing.assert_close(pairwise_divergence(q), brute_pairwise(q, everyone))
    present = torch.rand(q.mean.shape[:-1], generator=torch.Generator().manual_seed(seed)) < 0.6
    torch.testing.assert_close(pairwise_divergence(q, present), brute_pairwise(q, present))


def test_pairwise_keeps_its_digits_far_from_the_origin() -> None:
    q = posteriors(0)
    moved = Normal((q.mean + 300.0).float(), q.scale.float())
    torch.testing.assert_close(
        pairwise_divergence(moved).double(), pairwise_divergence(q), rtol=1e-3, atol=1e-3
    )


def test_standard_and_normal_divergence_equal_torch() -> None:
    q = posteriors(1)
    standard = Normal(torch.zeros_like(q.mean), torch.ones_like(q.scale))
    expected = kl_divergence(q, standard).sum(-1)
    torch.testing.assert_close(standard_divergence(q), expected.sum(0))
    torch.testing.assert_close(normal_divergence(q, standard), expected)


def test_absent_modalities_get_exactly_no_gradient() -> None:
    q = posteriors(2)
    present = torch.ones(q.mean.shape[:-1], dtype=torch.bool)
    present[1, :, ::2] = False
    noise = torch.randn(3, *q.mean.shape, dtype=torch.float64)
    for term in (
        lambda p: pairwise_divergence(p, present),
        lambda p: mixture_divergence(p, noise, present),
        lambda p: standard_divergence(p, present),
    ):
        mean = q.mean.clone().requires_grad_()
        scale = q.scale.clone().requires_grad_()
        term(Normal(mean, scale)).sum().backward()
        for gradient in (mean.grad, scale.grad):
            assert gradient is not None
            assert (gradient[~present] == 0).all()
            assert (gradient[present] != 0).any()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_mixture_is_bounded_per_sample(seed: int) -> None:
    """log(q/h) ≤ log M, and ≤ the mean pairwise log ratio on the same sample (Jensen)."""
    q = posteriors(seed, modalities=3)
    noise = torch.randn(
        1, *q.mean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    summed = mixture_divergence(q, noise)
    assert (summed <= 3 * math.log(3) + 1e-9).all()
    sample = q.mean + q.scale * noise[0]
    log_q = torch.stack([Normal(q.mean[k], q.scale[k]).log_prob(sample).sum(-1) for k in range(3)])
    own = torch.stack([log_q[m, m] for m in range(3)])
    mean_ratio = (own.unsqueeze(0) - log_q).mean(0).sum(0)
    assert (summed <= mean_ratio + 1e-9).all()


def quadrature(means: list[float], scales: list[float]) -> float:
    total = 0.0
    parts = [stats.norm(m, s) for m, s in zip(means, scales, strict=True)]

    def integrand(z: float, m: int) -> float:
        log_mixture = np.logaddexp.reduce([p.logpdf(z) for p in parts]) - np.log(len(parts))
        return float(parts[m].pdf(z) * (parts[m].logpdf(z) - log_mixture))

    for m, (mean, scale) in enumerate(zip(means, scales, strict=True)):
        total += integrate.quad(
            integrand, mean - 12 * scale, mean + 12 * scale, args=(m,), limit=200
        )[0]
    return total


@pytest.mark.parametrize(
    ("means", "scales"),
    [
        ([0.0, 1.0, -0.5], [1.0, 0.5, 0.7]),
        ([0.0, 0.0], [1.0, 1.0]),
        ([0.0, 60.0, -60.0], [1.0, 1.0, 1.0]),
    ],
)
def test_mixture_estimate_converges_to_quadrature(means: list[float], scales: list[float]) -> None:
    """Equations 8 to 10: 0 when posteriors coincide, M log M when they are disjoint."""
    q = Normal(
        torch.tensor(means, dtype=torch.float64).reshape(-1, 1, 1, 1),
        torch.tensor(scales, dtype=torch.float64).reshape(-1, 1, 1, 1),
    )
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(200_000, *q.mean.shape, dtype=torch.float64, generator=generator)
    estimate = float(mixture_divergence(q, noise))
    exact = quadrature(means, scales)
    assert estimate == pytest.approx(exact, abs=0.01)
    assert exact <= float(pairwise_divergence(q)) + 1e-9
    if means == [0.0, 0.0]:
        assert exact == pytest.approx(0.0, abs=1e-9)
    if max(means) > 50:
        assert exact == pytest.approx(3 * math.log(3), abs=1e-6)


def test_terms_do_not_depend_on_the_order_of_modalities() -> None:
    q = posteriors(5)
    order = [2, 0, 3, 1]
    turned = Normal(q.mean[order], q.scale[order])
    noise = torch.randn(2, *q.mean.shape, dtype=torch.float64)
    torch.testing.assert_close(pairwise_divergence(q), pairwise_divergence(turned))
    torch.testing.assert_close(
        mixture_divergence(q, noise), mixture_divergence(turned, noise[:, order])
    )


def test_gradients_are_right() -> None:
    q = posteriors(6, modalities=3, rows=2, latents=2)
    noise = torch.randn(2, *q.mean.shape, dtype=torch.float64)
    inputs = (q.mean.requires_grad_(), q.scale.requires_grad_())
    assert torch.autograd.gradcheck(lambda m, s: pairwise_divergence(Normal(m, s, False)), inputs)
    assert torch.autograd.gradcheck(
        lambda m, s: mixture_divergence(Normal(m, s, False), noise), inputs
    )
