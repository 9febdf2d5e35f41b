"""Sharing rules against the equations they come from, written out row by row."""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from neuroalign.nn import sharing
from neuroalign.nn.divergences import (
    mixture_divergence,
    pairwise_divergence,
    standard_divergence,
)
from neuroalign.nn.joint import aggregate, product_of_experts, subset_products, with_prior
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.sharing import SHARING_RULES, SharingOptions

RULES = sorted(SHARING_RULES)


def posteriors(replicates: int = 2, seed: int = 3, rows: int = 4) -> Normal:
    generator = torch.Generator().manual_seed(seed)
    shape = (3, replicates, rows, 2)
    return Normal(
        torch.randn(shape, generator=generator, dtype=torch.float64),
        torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1,
    )


@contextmanager
def _noise_of(value: float) -> Iterator[None]:
    """Let every noise be one number, so that samples are known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "_noise", lambda like, _: torch.full_like(like, value))
        yield


def _from_standard(mean: Tensor, scale: Tensor) -> float:
    prior = Normal(torch.zeros_like(mean), torch.ones_like(scale))
    return float(kl_divergence(Normal(mean, scale), prior).sum())


def _product(means: list[Tensor], scales: list[Tensor]) -> tuple[Tensor, Tensor]:
    precision = torch.stack([s**-2 for s in scales]).sum(0)
    weighted = torch.stack([m * s**-2 for m, s in zip(means, scales, strict=True)]).sum(0)
    return weighted / precision, precision**-0.5


def _regularisation_of_row(rule: str, means: list[Tensor], scales: list[Tensor]) -> float:
    """Return R of one row from the posteriors, (latent,) each, of those present."""
    n_present = len(means)
    if n_present == 0 or rule == "autoencoder":
        return 0.0
    prior = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    single = list(zip(means, scales, strict=True))
    if rule == "independent":
        return sum(_from_standard(*q) for q in single)
    if rule == "mm-vamp":
        pairs = itertools.product(single, repeat=2)
        total = sum(float(kl_divergence(Normal(*a), Normal(*b)).sum()) for a, b in pairs)
        return total / n_present
    if rule == "aggregated":
        return _from_standard(torch.stack(means).mean(0), torch.stack(scales).mean(0))
    if rule == "poe":
        together = _product([prior[0], *means], [prior[1], *scales])
        alone = [_product([prior[0], m], [prior[1], s]) for m, s in single]
        return _from_standard(*together) + sum(_from_standard(*q) for q in alone)
    if rule == "moe":
        return sum(_from_standard(*q) for q in single) / n_present
    assert rule == "mopoe"
    subsets = [
        chosen
        for size in range(1, n_present + 1)
        for chosen in itertools.combinations(range(n_present), size)
    ]
    terms = [
        _from_standard(*_product([means[m] for m in chosen], [scales[m] for m in chosen]))
        for chosen in subsets
    ]
    return sum(terms) / len(subsets)


@pytest.mark.parametrize("rule", RULES)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_regularisation_equals_its_definition_whoever_is_present(rule: str, seed: int) -> None:
    q = posteriors(replicates=1, seed=seed, rows=8)
    # every pattern of presence, from everybody to nobody
    patterns = torch.tensor(list(itertools.product([True, False], repeat=3))).T.unsqueeze(1)
    for present in (None, patterns):
        shared = SHARING_RULES[rule].terms(q, RandomStreams([seed]), SharingOptions(), present)
        assert shared.regularisation.shape == (1, 8)
        for row in range(8):
            members = [m for m in range(3) if present is None or bool(present[m, 0, row])]
            expected = _regularisation_of_row(
                rule, [q.mean[m, 0, row] for m in members], [q.scale[m, 0, row] for m in members]
            )
            found = float(shared.regularisation[0, row])
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def _readings(rule: str, value: float) -> Tensor:
    with _noise_of(value):
        streams = RandomStreams([0, 1])
        return SHARING_RULES[rule].terms(posteriors(), streams, SharingOptions(), None).latents


@pytest.mark.parametrize("rule", ["mm-vamp", "independent"])
def test_each_decoder_reads_its_own_posterior(rule: str) -> None:
    q = posteriors()
    torch.testing.assert_close(_readings(rule, 0.0), q.mean.unsqueeze(0))
    torch.testing.assert_close(_readings(rule, 2.0), (q.mean + 2.0 * q.scale).unsqueeze(0))


def test_an_autoencoder_decodes_means_whatever_the_noise() -> None:
    assert torch.equal(_readings("autoencoder", 5.0), posteriors().mean.unsqueeze(0))


def test_aggregated_decoders_read_one_joint_sample() -> None:
    """Equations 15 and 16."""
    q = posteriors()
    sample = q.mean.mean(0) + 2.0 * q.scale.mean(0)
    torch.testing.assert_close(_readings("aggregated", 2.0), sample.expand(1, 3, 2, 4, 2))


def test_poe_decoders_read_the_joint_and_their_own_posterior() -> None:
    q = posteriors()
    joint, single = product_of_experts(q), with_prior(q)
    together, alone = _readings("poe", 2.0)
    torch.testing.assert_close(together, (joint.mean + 2.0 * joint.scale).expand(3, 2, 4, 2))
    torch.testing.assert_close(alone, single.mean + 2.0 * single.scale)


def test_moe_decoders_read_every_experts_sample_with_equal_weights() -> None:
    q = posteriors()
    latents = _readings("moe", 2.0)
    assert latents.shape == (3, 3, 2, 4, 2)
    for expert, reader in itertools.product(range(3), repeat=2):
        expected = q.mean[expert] + 2.0 * q.scale[expert]
        torch.testing.assert_close(latents[expert, reader], expected)
    present = torch.tensor([True, False, True]).reshape(3, 1, 1).expand(3, 2, 4)
    for there, shares in ((None, [1 / 3, 1 / 3, 1 / 3]), (present, [0.5, 0.0, 0.5])):
        shared = SHARING_RULES["moe"].terms(q, RandomStreams([0, 1]), SharingOptions(), there)
        assert shared.weights is not None
        torch.testing.assert_close(
            shared.weights, torch.tensor(shares).double().reshape(3, 1, 1).expand(3, 2, 4)
        )


def test_mopoe_decoders_all_read_one_sample_of_one_subset() -> None:
    low, high = _readings("mopoe", 0.0), _readings("mopoe", 1.0)
    assert torch.equal(high[0, 0], high[0, 1])
    assert torch.equal(high[0, 0], high[0, 2])
    components = subset_products(posteriors()).components
    apart = (low[0, 0] - components.mean).abs().sum(-1)
    apart += (high[0, 0] - low[0, 0] - components.scale).abs().sum(-1)
    assert float(apart.amin(0).max()) < 1e-12


def test_samples_have_the_posteriors_moments() -> None:
    n_rows = 20_000
    mean = torch.tensor([[0.5, -1.0], [2.0, 0.0], [-3.0, 1.0]], dtype=torch.float64)
    scale = torch.tensor([[0.3, 1.0], [0.5, 2.0], [1.5, 0.2]], dtype=torch.float64)
    q = Normal(
        mean.reshape(3, 1, 1, 2).expand(3, 1, n_rows, 2),
        scale.reshape(3, 1, 1, 2).expand(3, 1, n_rows, 2),
    )
    joint = {"aggregated": aggregate(q), "poe": product_of_experts(q)}
    error = 5.0 / math.sqrt(n_rows)
    for rule in ("mm-vamp", "independent", "moe", "aggregated", "poe"):
        shared = SHARING_RULES[rule].terms(q, RandomStreams([1]), SharingOptions(), None)
        for m in range(3):
            expected = Normal(joint[rule].mean, joint[rule].scale) if rule in joint else None
            if expected is None:
                expected = Normal(q.mean[m], q.scale[m])
            drawn = shared.latents[m if rule == "moe" else 0, m, 0]
            standardised = (drawn - expected.mean[0]) / expected.scale[0]
            assert float(standardised.mean(0).abs().max()) < error
            assert float((standardised.std(0) - 1.0).abs().max()) < error
            assert abs(float((standardised[:, 0] * standardised[:, 1]).mean())) < error


@pytest.mark.parametrize("rule", RULES)
def test_unimodal_posteriors(rule: str) -> None:
    q = posteriors()
    single = SHARING_RULES[rule].unimodal(q)
    expected = {"poe": with_prior(q), "autoencoder": Normal(q.mean, 0.0 * q.scale, False)}.get(
        rule, q
    )
    assert torch.equal(single.mean, expected.mean)
    assert torch.equal(single.scale, expected.scale)


@pytest.mark.parametrize("missing", [False, True])
def test_joint_posteriors_belong_to_their_rules(missing: bool) -> None:
    q = posteriors()
    present = torch.ones(3, 2, 4, dtype=torch.bool)
    present[1, :, ::2] = False
    there = present if missing else None
    joints = {name: rule.joint for name, rule in SHARING_RULES.items() if rule.joint is not None}
    assert set(joints) == {"aggregated", "poe", "moe", "mopoe"}
    found = {name: joint(q, there) for name, joint in joints.items()}
    for name, expected in (
        ("aggregated", aggregate(q, there)),
        ("poe", product_of_experts(q, there)),
    ):
        assert (found[name].weights == 1).all()
        assert torch.equal(found[name].components.mean[0], expected.mean)
        assert torch.equal(found[name].components.scale[0], expected.scale)
    experts = present if missing else torch.ones_like(present)
    torch.testing.assert_close(found["moe"].weights, experts / experts.sum(0).double())
    assert torch.equal(found["moe"].components.mean, q.mean)
    torch.testing.assert_close(found["mopoe"].weights, subset_products(q, there).weights)
    for joint in found.values():
        torch.testing.assert_close(joint.weights.sum(0), torch.ones(2, 4).double())


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_options_mix_the_pure_terms_linearly(weight: float, share: float) -> None:
    q = posteriors()
    for present in (None, torch.tensor([True, True, False]).reshape(3, 1, 1).expand(3, 2, 4)):

        def term(options: SharingOptions) -> Tensor:
            streams = RandomStreams([0, 1])
            return SHARING_RULES["mm-vamp"].terms(q, streams, options, present).regularisation  # noqa: B023

        mixed = term(SharingOptions(share, 3, weight))
        pairwise, mixture, standard = (
            term(SharingOptions(*pure)) for pure in ((0.0, 3, 0.0), (1.0, 3, 0.0), (0.0, 3, 1.0))
        )
        torch.testing.assert_close(pairwise, pairwise_divergence(q, present))
        torch.testing.assert_close(standard, standard_divergence(q, present))
        expected = weight * standard + (1 - weight) * (share * mixture + (1 - share) * pairwise)
        torch.testing.assert_close(mixed, expected)


def test_the_mixture_term_averages_over_its_samples() -> None:
    """The first sample is the one that is decoded; the others are drawn for R alone."""
    q = posteriors()
    rule = SHARING_RULES["mm-vamp"].terms
    one, many = (
        rule(q, RandomStreams([0, 1]), SharingOptions(1.0, n_samples), None) for n_samples in (1, 4)
    )
    assert torch.equal(one.latents, many.latents)
    decoded = (one.latents - q.mean) / q.scale
    torch.testing.assert_close(one.regularisation, mixture_divergence(q, decoded))
    streams = RandomStreams([0, 1])
    first, third = (streams.normal(3, 4, 2, dtype=torch.float64) for _ in range(2))
    noise = torch.stack([first, -first, third, -third]).transpose(1, 2)  # antithetic pairs
    torch.testing.assert_close(noise[:1], decoded)
    single = torch.stack([mixture_divergence(q, noise[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(many.regularisation, single.mean(0))


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("rule", RULES)
def test_a_replicate_draws_as_it_would_alone(rule: str, share: float) -> None:
    q = posteriors()
    options = SharingOptions(mixture_share=share, mixture_samples=3)
    terms = SHARING_RULES[rule].terms
    present = torch.ones(3, 2, 4, dtype=torch.bool)
    present[0, :, 1] = False
    present[2, 0] = False
    for there in (None, present):
        both = terms(q, RandomStreams([5, 6]), options, there)
        for r, seed in enumerate((5, 6)):
            alone = Normal(q.mean[:, r : r + 1], q.scale[:, r : r + 1])
            mine = None if there is None else there[:, r : r + 1]
            one = terms(alone, RandomStreams([seed]), options, mine)
            torch.testing.assert_close(both.latents[:, :, r : r + 1], one.latents)
            torch.testing.assert_close(both.regularisation[r : r + 1], one.regularisation)
            if both.weights is not None:
                assert one.weights is not None
                torch.testing.assert_close(both.weights[:, r : r + 1], one.weights)
            else:
                assert one.weights is None


OPTIONS = {
    "pairwise": SharingOptions(),
    "mixture": SharingOptions(1.0, 2),
    "standard": SharingOptions(standard_weight=1.0),
}
VARIANTS = [("mm-vamp", name) for name in OPTIONS]
VARIANTS += [(rule, "pairwise") for rule in RULES if rule != "mm-vamp"]


@pytest.mark.parametrize(("rule", "options"), VARIANTS)
def test_posteriors_of_the_absent_do_not_reach_the_result(rule: str, options: str) -> None:
    q = posteriors()
    present = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0)) < 0.6
    hole = torch.where(present, 0.0, torch.nan).unsqueeze(-1)
    broken = Normal(q.mean + hole, q.scale + hole, validate_args=False)
    terms = SHARING_RULES[rule].terms
    expected = terms(q, RandomStreams([0, 1]), OPTIONS[options], present)
    found = terms(broken, RandomStreams([0, 1]), OPTIONS[options], present)
    assert torch.equal(found.regularisation, expected.regularisation)
    for m in range(3):
        counts = present[m].expand(len(found.latents), -1, -1)
        if found.weights is not None:
            counts = counts & (found.weights > 0)
        assert torch.equal(found.latents[:, m][counts], expected.latents[:, m][counts])


# an autoencoder has no R to differentiate
@pytest.mark.parametrize(("rule", "options"), [v for v in VARIANTS if v[0] != "autoencoder"])
def test_posteriors_of_the_absent_do_not_reach_the_gradient(rule: str, options: str) -> None:
    q = posteriors()
    present = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0)) < 0.6
    hole = torch.where(present, 0.0, torch.nan).unsqueeze(-1)
    gradients = []
    for gap in (torch.zeros_like(hole), hole):
        mean = (q.mean + gap).requires_grad_()
        scale = (q.scale + gap).requires_grad_()
        broken = Normal(mean, scale, validate_args=False)
        terms = SHARING_RULES[rule].terms(broken, RandomStreams([0, 1]), OPTIONS[options], present)
        gradients.append(torch.autograd.grad(terms.regularisation.sum(), (mean, scale)))
    for expected, found in zip(*gradients, strict=True):
        assert torch.equal(found[present], expected[present])
        assert (expected[~present] == 0).all()
        assert (expected[present] != 0).any()
