"""Procrustes, canonical variates of many sets and the shared response against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, optimize, stats
from sklearn.cross_decomposition import CCA

from neuroalign.analysis.alignment import (
    generalised_procrustes,
    multiset_correlation,
    procrustes_to,
    shared_response,
)

ROWS = 24


def centred(*shape: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=shape)
    return np.asarray(values - values.mean(axis=0))


def noisy_copies(
    subjects: int = 4, latents: int = 3, *, noise: float = 0.5, seed: int = 0
) -> list[np.ndarray]:
    """Return one response, rotated and scaled apart for every subject, with noise."""
    random = np.random.default_rng(seed)
    response = centred(ROWS, latents, seed=seed) * np.arange(1, latents + 1)
    copies = []
    for number in range(subjects):
        rotation = stats.ortho_group.rvs(latents, random_state=seed + number)
        each = (number + 1) * response @ rotation + noise * random.normal(size=response.shape)
        copies.append(each - each.mean(axis=0))
    return copies


def unlike(first: list[np.ndarray], second: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))


# --- Procrustes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [False, True])
def test_a_known_rotation_and_scale_are_found_exactly(scale: bool) -> None:
    template = centred(ROWS, 5)
    rotation = stats.ortho_group.rvs(5, random_state=1)
    factor = 3.0 if scale else 1.0
    found, size = procrustes_to(factor * template @ rotation.T, template, scale=scale)
    assert found == pytest.approx(rotation, abs=1e-12)
    assert size == pytest.approx(1 / factor)


def test_no_angle_nor_reflection_nor_scale_comes_closer_to_the_template() -> None:
    averages, template = centred(ROWS, 2, seed=1), centred(ROWS, 2, seed=2)
    rotation, size = procrustes_to(averages, template, scale=True)
    reached = np.square(size * averages @ rotation - template).sum()
    best = np.inf
    for angle in np.linspace(0, 2 * np.pi, 721):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        for flip in (turn, turn * [1, -1]):
            turned = averages @ flip
            least = max((turned * template).sum() / np.square(turned).sum(), 0.0)
            best = min(best, np.square(least * turned - template).sum())
    assert reached <= best + 1e-9
    assert reached == pytest.approx(best, rel=1e-3)


def test_rotated_copies_meet_exactly() -> None:
    copies = noisy_copies(noise=0.0)
    found = generalised_procrustes(copies, scale=True)
    moved = [each @ to for each, to in zip(copies, found.maps, strict=True)]
    assert unlike(moved, [found.shared] * 4) < 1e-9
    assert found.objective[-1] == pytest.approx(0.0, abs=1e-12)


def test_two_subjects_meet_as_closely_as_one_rotated_to_the_other() -> None:
    first, second = noisy_copies(2)
    found = generalised_procrustes([first, second])
    direct, _ = linalg.orthogonal_procrustes(first, second)
    assert found.maps[0] @ found.maps[1].T == pytest.approx(direct, abs=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**16), st.booleans())
def test_subjects_never_move_away_from_their_mean(seed: int, scale: bool) -> None:
    copies = noisy_copies(noise=2.0, seed=seed)
    found = generalised_procrustes(copies, scale=scale)
    assert (np.diff(found.objective) <= 1e-12).all()
    moved = [each @ to for each, to in zip(copies, found.maps, strict=True)]
    assert found.shared == pytest.approx(np.mean(moved, axis=0), abs=1e-9)
    total = sum(np.square(each).sum() for each in copies)
    apart = sum(np.square(each - found.shared).sum() for each in moved) / total
    assert found.objective[-1] == pytest.approx(apart, abs=1e-9)
    assert sum(np.square(each).sum() for each in moved) == pytest.approx(total)
    for to in found.maps:
        gram = to.T @ to
        assert gram == pytest.approx(gram[0, 0] * np.eye(3), abs=1e-9)
        assert scale or gram[0, 0] == pytest.approx(1.0)


def test_scales_are_those_that_an_optimiser_finds() -> None:
    copies = noisy_copies(3, noise=1.5)
    found = generalised_procrustes(copies, scale=True)
    factors = np.array([np.sqrt((to.T @ to)[0, 0]) for to in found.maps])
    turned = [each @ to / f for each, to, f in zip(copies, found.maps, factors, strict=True)]
    norms = np.array([np.square(each).sum() for each in turned])

    def apart(free: np.ndarray) -> float:
        scales = np.abs(free) * np.sqrt(norms.sum() / (np.square(free) @ norms))
        moved = scales[:, None, None] * np.stack(turned)
        return float(np.square(moved - moved.mean(axis=0)).sum())

    best = optimize.minimize(apart, np.ones(3), method="Nelder-Mead", options={"xatol": 1e-8})
    assert apart(factors) == pytest.approx(best.fun, rel=1e-6)


# --- Canonical variates -------------------------------------------------------------------------


def related_sets(*sizes: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    common = random.normal(size=(60, 3))
    sets = []
    for size in sizes:
        each = common @ random.normal(size=(3, size)) + 1.5 * random.normal(size=(60, size))
        sets.append(each - each.mean(axis=0))
    return sets


def test_two_sets_have_the_canonical_correlations() -> None:
    first, second = related_sets(5, 4)
    found = multiset_correlation([first, second], 4)
    variates = [each @ to for each, to in zip((first, second), found.maps, strict=True)]
    correlations = [np.corrcoef(variates[0][:, k], variates[1][:, k])[0, 1] for k in range(4)]
    bases = [np.linalg.qr(each)[0] for each in (first, second)]
    closed = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    assert correlations == pytest.approx(closed, abs=1e-10)
    assert found.objective == pytest.approx((1 + closed) / 2, abs=1e-10)


def test_two_sets_have_the_variates_of_sklearn() -> None:
    first, second = related_sets(5, 4)
    found = multiset_correlation([first, second], 2)
    theirs = CCA(2, tol=1e-12, max_iter=20000).fit(first, second).transform(first, second)
    for mine, each in zip(found.maps, (first, second), strict=True):
        other = theirs[0] if each is first else theirs[1]
        for k in range(2):
            match = np.corrcoef((each @ mine)[:, k], other[:, k])[0, 1]
            assert abs(match) == pytest.approx(1.0, abs=1e-6)


def test_many_sets_solve_the_generalised_eigenvalue_problem() -> None:
    sets = related_sets(4, 3, 5)
    found = multiset_correlation(sets, 3)
    stacked = np.concatenate(sets, axis=1)
    within = linalg.block_diag(*[each.T @ each for each in sets])
    values, vectors = linalg.eigh(stacked.T @ stacked, within)
    assert found.objective == pytest.approx(values[::-1][:3] / 3)
    for k in range(3):
        summed = stacked @ vectors[:, -1 - k]
        assert abs(np.corrcoef(summed, found.shared[:, k])[0, 1]) == pytest.approx(1.0)


def test_maps_are_ridge_regressions_of_the_common_variates() -> None:
    sets = related_sets(4, 3, 5)
    found = multiset_correlation(sets, 2, regularisation=0.7)
    assert found.shared.T @ found.shared / 60 == pytest.approx(np.eye(2), abs=1e-10)
    for each, to in zip(sets, found.maps, strict=True):
        gram = each.T @ each
        ridge = 0.7 * np.trace(gram) / len(gram) * np.eye(len(gram))
        assert to == pytest.approx(np.linalg.solve(gram + ridge, each.T @ found.shared))


def test_without_ridge_any_invertible_mixture_has_the_same_variates() -> None:
    sets = related_sets(4, 3, 5)
    mixed = [each @ centred(*[each.shape[1]] * 2, seed=9 + k) for k, each in enumerate(sets)]
    mixed = [each + 5 * other for each, other in zip(mixed, sets, strict=True)]
    first, second = multiset_correlation(sets, 2), multiset_correlation(mixed, 2)
    assert first.shared == pytest.approx(second.shared, abs=1e-8)


def test_a_set_that_is_silent_predicts_nothing_and_disturbs_nobody() -> None:
    sets = related_sets(4, 3)
    found = multiset_correlation([*sets, np.zeros((60, 2))], 2)
    assert (found.maps[2] == 0).all()
    assert found.shared == pytest.approx(multiset_correlation(sets, 2).shared)


# --- Shared response ----------------------------------------------------------------------------


def mapped_responses(
    noise: float, *, seed: int = 0, features: tuple[int, ...] = (12, 30, 9)
) -> tuple[np.ndarray, list[np.ndarray]]:
    random = np.random.default_rng(seed)
    response = centred(ROWS, 3, seed=seed) * [3.0, 2.0, 1.0]
    averages = []
    for size in features:
        basis = np.linalg.qr(random.normal(size=(size, 3)))[0]
        each = response @ basis.T + noise * random.normal(size=(ROWS, size))
        averages.append(each - each.mean(axis=0))
    return response, averages


def test_a_noise_free_response_is_recovered_up_to_its_axes() -> None:
    response, averages = mapped_responses(0.0)
    found = shared_response(averages, 3, random=np.random.default_rng(0), starts=4)
    total = sum(np.square(each).sum() for each in averages)
    assert found.objective[-1] / total == pytest.approx(0.0, abs=1e-9)
    assert found.shared @ found.shared.T == pytest.approx(response @ response.T, abs=1e-3)
    turn, _ = linalg.orthogonal_procrustes(found.shared, response)
    assert found.shared @ turn == pytest.approx(response, abs=1e-3)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**16))
def test_the_error_never_grows_and_columns_are_orthonormal(seed: int) -> None:
    _, averages = mapped_responses(1.0, seed=seed)
    found = shared_response(averages, 4, random=np.random.default_rng(seed))
    assert (np.diff(found.objective) <= 1e-9).all()
    moved = [each @ to for each, to in zip(averages, found.maps, strict=True)]
    assert found.shared == pytest.approx(np.mean(moved, axis=0), abs=1e-9)
    error = 0.0
    for each, to in zip(averages, found.maps, strict=True):
        assert to.T @ to == pytest.approx(np.eye(4), abs=1e-10)
        error += np.square(each - found.shared @ to.T).sum()
    assert found.objective[-1] == pytest.approx(error)
    axes = found.shared.T @ found.shared
    assert axes == pytest.approx(np.diag(np.diag(axes)), abs=1e-8)


def test_one_subject_has_its_principal_components_as_response() -> None:
    (averages,) = mapped_responses(1.0, features=(12,))[1]
    found = shared_response([averages], 2, random=np.random.default_rng(0))
    size = np.linalg.svd(averages, compute_uv=False)
    assert found.objective[-1] == pytest.approx(np.square(size[2:]).sum(), rel=1e-6)


def test_more_starts_are_never_worse() -> None:
    _, averages = mapped_responses(2.0)
    errors = [
        shared_response(averages, 3, random=np.random.default_rng(0), starts=starts).objective[-1]
        for starts in (1, 3, 9)
    ]
    assert errors == sorted(errors, reverse=True)


# --- All three ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["rotate", "rotate and scale", "correlate", "respond"])
def test_which_subject_comes_first_changes_no_map(method: str) -> None:
    # mostly noise, so that rotations have several optima and the first template decides
    averages = noisy_copies(noise=20.0)

    def align(given: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        if method == "correlate":
            return multiset_correlation(given, 2, regularisation=0.1).maps
        if method == "respond":
            return shared_response(given, 2, random=np.random.default_rng(0)).maps
        return generalised_procrustes(given, scale=method == "rotate and scale").maps

    order = [2, 0, 3, 1]
    first, second = align(averages), align([averages[k] for k in order])
    assert unlike([first[k] for k in order], list(second)) < 1e-7
