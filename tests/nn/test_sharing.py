"""Sharing rules against the equations they come from."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from neuroalign.nn.divergences import pairwise_divergence, standard_divergence
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.sharing import SHARING_RULES, SharingOptions, aggregate


def posteriors(replicates: int = 2) -> Normal:
    generator = torch.Generator().manual_seed(3)
    shape = (3, replicates, 4, 2)
    return Normal(
        torch.randn(shape, generator=generator), torch.rand(shape, generator=generator) + 0.1
    )


def test_aggregated_follows_equations_15_and_16() -> None:
    q = posteriors()
    joint = aggregate(q)
    torch.testing.assert_close(joint.mean, q.mean.mean(0))
    torch.testing.assert_close(joint.scale, q.scale.mean(0))
    shared = SHARING_RULES["aggregated"](q, RandomStreams([0, 1]), SharingOptions(), None)
    assert torch.equal(shared.latents[0], shared.latents[2])
    standard = Normal(torch.zeros_like(joint.mean), torch.ones_like(joint.mean))
    torch.testing.assert_close(shared.regularisation, kl_divergence(joint, standard).sum(-1))


def test_aggregate_drops_the_absent() -> None:
    q = posteriors()
    present = torch.ones(3, 2, 4, dtype=torch.bool)
    present[1] = False
    joint = aggregate(q, present)
    torch.testing.assert_close(joint.mean, (q.mean[0] + q.mean[2]) / 2)
    torch.testing.assert_close(joint.scale, (q.scale[0] + q.scale[2]) / 2)


def test_independent_is_tied_to_the_standard_normal_alone() -> None:
    q = posteriors()
    shared = SHARING_RULES["independent"](q, RandomStreams([0, 1]), SharingOptions(), None)
    torch.testing.assert_close(shared.regularisation, standard_divergence(q))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_standard_weight_mixes_both_terms(weight: float) -> None:
    q = posteriors()
    options = SharingOptions(standard_weight=weight)
    shared = SHARING_RULES["mm-vamp"](q, RandomStreams([0, 1]), options, None)
    expected = weight * standard_divergence(q) + (1 - weight) * pairwise_divergence(q)
    torch.testing.assert_close(shared.regularisation, expected)


@pytest.mark.parametrize("divergence", ["pairwise", "mixture"])
@pytest.mark.parametrize("rule", sorted(SHARING_RULES))
def test_a_replicate_draws_as_it_would_alone(rule: str, divergence: str) -> None:
    q = posteriors()
    options = SharingOptions(divergence=divergence, mixture_samples=3)  # type: ignore[arg-type]
    both = SHARING_RULES[rule](q, RandomStreams([5, 6]), options, None)
    alone = Normal(q.mean[:, 1:], q.scale[:, 1:])
    one = SHARING_RULES[rule](alone, RandomStreams([6]), options, None)
    torch.testing.assert_close(both.latents[:, 1:], one.latents)
    torch.testing.assert_close(both.regularisation[1:], one.regularisation)
