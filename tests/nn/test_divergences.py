"""Divergences against torch's own, in whatever order and with whomever absent."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from neuroalign.nn.divergences import (
    mixture_divergence,
    normal_divergence,
    pairwise_divergence,
    standard_divergence,
    standard_divergences,
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
@settings(max_examples=25, deadline=None)
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
    torch.testing.assert_close(standard_divergences(q), expected)
    torch.testing.assert_close(standard_divergence(q), expected.sum(0))
    present = torch.rand(expected.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    torch.testing.assert_close(standard_divergence(q, present), (present * expected).sum(0))
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
        term(Normal(mean, scale)).sum().backward()  # type: ignore[no-untyped-call]
        for gradient in (mean.grad, scale.grad):
            assert gradient is not None
            assert (gradient[~present] == 0).all()
            assert (gradient[present] != 0).any()


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
    assert torch.autograd.gradcheck(lambda m, s: standard_divergence(Normal(m, s, False)), inputs)
