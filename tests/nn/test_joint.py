"""Joint posteriors against products of densities, enumeration of subsets, and equations 15, 16."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import Tensor
from torch.distributions import Normal

from neuroalign.nn.joint import (
    MOST_SUBSET_MODALITIES,
    JointPosterior,
    aggregate,
    product_of_experts,
    share_of_experts,
    subset_products,
    subset_table,
    with_prior,
)
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.sharing import SHARING_RULES, SharingOptions

GRID = np.linspace(-14.0, 14.0, 6001)


def _posteriors(seed: int, modalities: int = 3, rows: int = 5, latents: int = 2) -> Normal:
    generator = torch.Generator().manual_seed(seed)
    shape = (modalities, 1, rows, latents)
    mean = torch.randn(shape, generator=generator, dtype=torch.float64)
    scale = 2.0 * torch.rand(shape, generator=generator, dtype=torch.float64) + 0.2
    return Normal(mean, scale)


def _presence(seed: int, modalities: int, rows: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.rand(modalities, 1, rows, generator=generator) < 0.6


def _members(present: Tensor, row: int) -> list[int]:
    return [m for m in range(len(present)) if bool(present[m, 0, row])]


def _density_of_product(means: list[float], scales: list[float]) -> np.ndarray:
    """Multiply the densities on a grid and divide by their integral."""
    logs = sum(stats.norm.logpdf(GRID, m, s) for m, s in zip(means, scales, strict=True))
    density = np.exp(logs - np.max(logs))
    return np.asarray(density / integrate.trapezoid(density, GRID))


@given(seed=st.integers(0, 10_000), modalities=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_product_of_experts_is_the_normalised_product_of_densities(
    seed: int, modalities: int
) -> None:
    q = _posteriors(seed, modalities, rows=2, latents=1)
    present = _presence(seed, modalities, rows=2)
    everyone = torch.ones_like(present)
    for joint, there in (
        (product_of_experts(q), everyone),
        (product_of_experts(q, present), present),
    ):
        for row in range(2):
            members = _members(there, row)
            means = [0.0] + [float(q.mean[m, 0, row, 0]) for m in members]
            scales = [1.0] + [float(q.scale[m, 0, row, 0]) for m in members]
            expected = _density_of_product(means, scales)
            found = stats.norm.pdf(GRID, joint.mean[0, row, 0], joint.scale[0, row, 0])
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_product_of_experts_adds_precisions(seed: int) -> None:
    q, present = _posteriors(seed), _presence(seed, 3)
    joint = product_of_experts(q, present)
    for row in range(5):
        members = _members(present, row)
        precision = 1.0 + sum(1.0 / q.scale[m, 0, row] ** 2 for m in members)
        weighted = sum(
            (q.mean[m, 0, row] / q.scale[m, 0, row] ** 2 for m in members), torch.zeros(2)
        )
        torch.testing.assert_close(joint.mean[0, row], (weighted / precision).double())
        expected = torch.as_tensor(precision).double() ** -0.5
        torch.testing.assert_close(joint.scale[0, row], expected.expand(2))


def test_one_expert_times_the_prior() -> None:
    q = _posteriors(0, modalities=3, latents=1)
    single = with_prior(q)
    for m in range(3):
        alone = product_of_experts(Normal(q.mean[m : m + 1], q.scale[m : m + 1]))
        torch.testing.assert_close(single.mean[m], alone.mean)
        torch.testing.assert_close(single.scale[m], alone.scale)
        expected = _density_of_product(
            [0.0, float(q.mean[m, 0, 0, 0])], [1.0, float(q.scale[m, 0, 0, 0])]
        )
        found = stats.norm.pdf(GRID, single.mean[m, 0, 0, 0], single.scale[m, 0, 0, 0])
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def _subsets(members: list[int]) -> set[tuple[int, ...]]:
    sizes = range(1, len(members) + 1)
    return {s for size in sizes for s in itertools.combinations(members, size)}


@pytest.mark.parametrize("modalities", [1, 2, 3, 4])
def test_subset_table_holds_every_subset_once(modalities: int) -> None:
    table = subset_table(modalities)
    found = [tuple(row.nonzero().flatten().tolist()) for row in table]
    assert len(found) == len(set(found))
    assert set(found) == _subsets(list(range(modalities)))


def test_too_many_subsets_are_refused() -> None:
    assert len(subset_table(MOST_SUBSET_MODALITIES)) == 1023
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        subset_table(11)
    assert str(caught.value) == (
        "the subsets of 11 modalities are 2047; at most 10 modalities can be enumerated."
    )


@given(seed=st.integers(0, 10_000), modalities=st.integers(1, 4), missing=st.booleans())
@settings(max_examples=25, deadline=None)
def test_subset_products_equal_enumeration(seed: int, modalities: int, missing: bool) -> None:
    q = _posteriors(seed, modalities)
    present = _presence(seed, modalities) if missing else None
    joint = subset_products(q, present)
    assert torch.isfinite(joint.components.mean).all()
    assert torch.isfinite(joint.components.scale).all()
    for row in range(5):
        members = list(range(modalities)) if present is None else _members(present, row)
        valid = _subsets(members)
        for index, chosen in enumerate(subset_table(modalities)):
            subset = tuple(chosen.nonzero().flatten().tolist())
            weight = float(joint.weights[index, 0, row])
            if subset not in valid:
                assert weight == 0.0
                continue
            assert weight == pytest.approx(1.0 / len(valid), rel=1e-12)
            precision = sum((q.scale[m, 0, row] ** -2 for m in subset), torch.zeros(2))
            weighted = sum(
                (q.mean[m, 0, row] * q.scale[m, 0, row] ** -2 for m in subset), torch.zeros(2)
            )
            torch.testing.assert_close(joint.components.mean[index, 0, row], weighted / precision)
            torch.testing.assert_close(joint.components.scale[index, 0, row], precision**-0.5)


def test_absent_modalities_do_not_reach_any_joint_posterior() -> None:
    q, present = _posteriors(4, 4, rows=16), _presence(4, 4, rows=16)
    # every pattern of presence, nobody included
    present[:, 0] = torch.tensor(list(itertools.product([True, False], repeat=4))).T
    hole = torch.where(present, 0.0, torch.nan).unsqueeze(-1)
    broken = Normal(q.mean + hole, q.scale + hole, validate_args=False)
    for combine in (product_of_experts, aggregate):
        expected, found = combine(q, present), combine(broken, present)
        assert torch.equal(found.mean, expected.mean)
        assert torch.equal(found.scale, expected.scale)
    expected_mixture, mixture = subset_products(q, present), subset_products(broken, present)
    assert torch.equal(mixture.weights, expected_mixture.weights)
    counts = mixture.weights > 0
    for name in ("mean", "scale"):
        found = getattr(mixture.components, name)[counts]
        assert torch.equal(found, getattr(expected_mixture.components, name)[counts])


def test_rows_without_anybody_have_the_prior() -> None:
    q = _posteriors(5)
    nobody = torch.zeros(3, 1, 5, dtype=torch.bool)
    for joint in (product_of_experts(q, nobody), aggregate(q, nobody)):
        assert (joint.mean == 0).all()
        assert (joint.scale == 1).all()
    assert (subset_products(q, nobody).weights == 0).all()
    assert (share_of_experts(q, nobody) == 0).all()


@given(seed=st.integers(0, 10_000), modalities=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_aggregated_and_shares_average_over_those_present(seed: int, modalities: int) -> None:
    """Equations 15 and 16: the mean of the means and the mean of the scales."""
    q, present = _posteriors(seed, modalities), _presence(seed, modalities)
    everyone = torch.ones_like(present)
    for joint, share, there in (
        (aggregate(q), share_of_experts(q, None), everyone),
        (aggregate(q, present), share_of_experts(q, present), present),
    ):
        for row in range(5):
            members = _members(there, row)
            if members:
                mean = sum(q.mean[m, 0, row] for m in members) / len(members)
                scale = sum(q.scale[m, 0, row] for m in members) / len(members)
                torch.testing.assert_close(joint.mean[0, row], torch.as_tensor(mean))
                torch.testing.assert_close(joint.scale[0, row], torch.as_tensor(scale))
            for m in range(modalities):
                expected = 1.0 / len(members) if m in members else 0.0
                assert float(share[m, 0, row]) == pytest.approx(expected, rel=1e-12)


def _numbered(weights: Tensor) -> JointPosterior:
    """Return a mixture whose components are told apart by their means."""
    number = torch.arange(float(len(weights)), dtype=torch.float64).reshape(-1, 1, 1, 1)
    number = number.expand(*weights.shape, 2)
    return JointPosterior(Normal(number, number + 1.0), weights)


@given(seed=st.integers(0, 10_000), components=st.integers(1, 7))
@settings(max_examples=25, deadline=None)
def test_pick_returns_the_component_in_which_the_place_falls(seed: int, components: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.gamma(1.0, size=(components, 2, 6)) * (rng.random((components, 2, 6)) < 0.7)
    weights[rng.integers(components)] += 0.01
    weights /= weights.sum(0)
    place = rng.random((2, 6))
    place[0, 0], place[0, 1] = 0.0, 1.0  # rounding may lead to the far end
    picked = _numbered(torch.from_numpy(weights)).pick(torch.from_numpy(place))
    for replicate, row in itertools.product(range(2), range(6)):
        mine = weights[:, replicate, row]
        possible = np.flatnonzero(mine)
        bounds = np.cumsum(mine[possible])
        position = np.searchsorted(bounds, place[replicate, row], side="right")
        expected = possible[min(position, len(possible) - 1)]
        assert picked.mean[replicate, row].tolist() == [expected] * 2
        assert picked.scale[replicate, row].tolist() == [expected + 1.0] * 2


def test_pick_takes_components_in_proportion_to_their_weights() -> None:
    weights = torch.tensor([0.1, 0.0, 0.35, 0.05, 0.5, 0.0], dtype=torch.float64)
    n_rows = 2000
    place = (torch.arange(n_rows, dtype=torch.float64) + 0.5) / n_rows
    joint = _numbered(weights.reshape(-1, 1, 1).expand(-1, 1, n_rows))
    counts = joint.pick(place.unsqueeze(0)).mean[0, :, 0].long().bincount(minlength=6)
    assert ((counts - n_rows * weights).abs() <= 1).all()


def test_a_single_normal_is_picked_wherever_the_place_falls() -> None:
    q = Normal(torch.randn(2, 5, 3).double(), torch.rand(2, 5, 3).double() + 0.1)
    joint = JointPosterior.of(q)
    assert (joint.weights == 1).all()
    for place in (0.0, 0.3, 1.0):
        picked = joint.pick(torch.full((2, 5), place, dtype=torch.float64))
        assert torch.equal(picked.mean, q.mean)
        assert torch.equal(picked.scale, q.scale)


def _chosen_subsets(q: Normal, present: Tensor | None, seeds: list[int]) -> list[list[int]]:
    """Return which subset each row of each replicate decodes, by the nearest product's mean."""
    shared = SHARING_RULES["mopoe"].terms(q, RandomStreams(seeds), SharingOptions(), present)
    means = subset_products(q, present).components.mean
    distance = (shared.latents[0, 0] - means).abs().sum(-1)
    assert float(distance.amin(0).max()) < 1e-6  # scales are tiny: a sample is its mean
    return distance.argmin(0).tolist()


def _sharp(rows: int, replicates: int) -> Normal:
    mean = torch.tensor([[0.0, 1.0], [2.0, -1.0], [-3.0, 0.5]], dtype=torch.float64)
    mean = mean.reshape(3, 1, 1, 2).expand(3, replicates, rows, 2)
    return Normal(mean, torch.full_like(mean, 1e-9))


@given(seed=st.integers(0, 10_000), turns=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_subsets_come_round_exactly_equally_often(seed: int, turns: int) -> None:
    q = _sharp(7 * turns, 2)
    for chosen in _chosen_subsets(q, None, [seed, seed + 1]):
        assert np.bincount(chosen, minlength=7).tolist() == [turns] * 7


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_subsets_of_those_present_come_round_exactly_equally_often(absent: int) -> None:
    q = _sharp(12, 2)
    present = torch.ones(3, 2, 12, dtype=torch.bool)
    present[absent] = False
    valid = (~subset_table(3)[:, absent]).tolist()
    for chosen in _chosen_subsets(q, present, [0, 1]):
        assert np.bincount(chosen, minlength=7).tolist() == [4 * v for v in valid]


def test_chance_decides_which_row_gets_which_subset() -> None:
    n_replicates = 1400
    chosen = np.array(_chosen_subsets(_sharp(7, n_replicates), None, list(range(n_replicates))))
    expected = n_replicates / 7
    error = math.sqrt(n_replicates * (1 / 7) * (6 / 7))
    for row in chosen.T:
        assert np.abs(np.bincount(row, minlength=7) - expected).max() < 5 * error


@pytest.mark.parametrize("complete", [True, False])
def test_gradients_of_joint_posteriors_are_right(complete: bool) -> None:
    given = _posteriors(4, rows=3)
    present = None if complete else torch.tensor([[[1, 0, 1]], [[1, 1, 0]], [[0, 1, 1]]]).bool()
    inputs = (given.mean.clone().requires_grad_(), given.scale.clone().requires_grad_())

    def parts(joint: Normal) -> tuple[Tensor, Tensor]:
        return joint.mean, joint.scale

    for method in (
        lambda q: parts(aggregate(q, present)),
        lambda q: parts(product_of_experts(q, present)),
        lambda q: parts(with_prior(product_of_experts(q, present))),
        lambda q: parts(subset_products(q, present).components),
    ):
        assert torch.autograd.gradcheck(
            lambda m, s: method(Normal(m, s, validate_args=False)),  # noqa: B023
            inputs,
        )
