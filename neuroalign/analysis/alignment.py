"""Three classical ways to bring label averages of several subjects into one space.

Every function takes one matrix per subject, (row, feature), whose rows mean the same for all:
the average of a label at a window position. The columns are centred. Nothing depends on which
subject comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

MOST_ITERATIONS: Final = 1000
# An iteration that lowers the objective by less than this share of its scale is the last.
TOLERANCE: Final = 1e-12
# Directions of variance below this share of the largest are rounding.
RANK_TOLERANCE: Final = 1e-10


@dataclass(frozen=True)
class Alignment:
    """One map per subject, what the subjects then share, and how the objective went."""

    maps: tuple[np.ndarray, ...]  # (feature, latent) each
    shared: np.ndarray  # (row, latent)
    objective: np.ndarray  # (iteration,)


def procrustes_to(
    averages: np.ndarray, template: np.ndarray, *, scale: bool = False
) -> tuple[np.ndarray, float]:
    """Find the rotation, and the scale, that bring a subject's averages closest to a template.

    Parameters
    ----------
    averages, template : ndarray of shape (row, latent)
        Centred.
    scale : bool
        Whether a scale is fitted too.

    Returns
    -------
    rotation : ndarray of shape (latent, latent)
        Orthogonal; reflections are allowed, since the sign of a latent means nothing.
    scale : float
        1 unless it was asked for.
    """
    from scipy.linalg import orthogonal_procrustes

    rotation, explained = orthogonal_procrustes(averages, template)
    size = float(np.square(averages).sum())
    return rotation, float(explained) / size if scale and size > 0 else 1.0


def generalised_procrustes(averages: Sequence[np.ndarray], *, scale: bool = False) -> Alignment:
    """Rotate all subjects to their mean, again and again until the mean stays.

    It starts from the left singular vectors of all averages side by side, so that no subject
    is the first template.

    Parameters
    ----------
    averages : sequence of ndarray of shape (row, latent)
        Centred averages of every subject.
    scale : bool
        Whether every subject is scaled too; the sum of squares over subjects stays.

    Returns
    -------
    Alignment
        Scaled rotations, the mean template along its principal axes, and the squared distance
        of the subjects to the template, as a share of their sum of squares.

    References
    ----------
    Gower (1975), "Generalized Procrustes analysis", Psychometrika 40, 33-51. The scales are
    those of ten Berge (1977), "Orthogonal Procrustes rotation for two or more matrices",
    Psychometrika 42, 267-276.
    """
    latents = averages[0].shape[1]
    total = sum(float(np.square(each).sum()) for each in averages) or 1.0
    left, size, _ = np.linalg.svd(np.concatenate(averages, axis=1), full_matrices=False)
    template = left[:, :latents] * size[:latents] / np.sqrt(len(averages))
    objective: list[float] = []
    while True:
        rotations = [procrustes_to(each, template)[0] for each in averages]
        rotated = [each @ turn for each, turn in zip(averages, rotations, strict=True)]
        factors = _scales(rotated) if scale else np.ones(len(averages))
        moved = [factor * each for factor, each in zip(factors, rotated, strict=True)]
        template = np.mean(moved, axis=0)
        objective.append(sum(float(np.square(each - template).sum()) for each in moved) / total)
        if _settled(objective, 1.0):
            break
    turn = principal_rotation(template)
    maps = [factor * each @ turn for factor, each in zip(factors, rotations, strict=True)]
    return Alignment(tuple(maps), template @ turn, np.array(objective))


def _scales(rotated: Sequence[np.ndarray]) -> np.ndarray:
    """Return the scales of least distance to the mean that keep the total sum of squares."""
    rows = np.stack([each.ravel() for each in rotated])
    norms = np.linalg.norm(rows, axis=1)
    safe = np.where(norms > 0, norms, 1.0)
    directions = rows / safe[:, None]
    _, vectors = np.linalg.eigh(directions @ directions.T)
    return np.asarray(np.abs(vectors[:, -1]) * np.linalg.norm(norms) / safe)


def principal_rotation(template: np.ndarray) -> np.ndarray:
    """Return the rotation (latent, latent) to the principal axes of a template (row, latent).

    The largest entry of every rotated column is positive, so the result does not depend on the
    axes in which the template came.
    """
    _, _, axes = np.linalg.svd(template, full_matrices=False)
    return np.asarray(axes.T * _signs(template @ axes.T))


def _signs(columns: np.ndarray) -> np.ndarray:
    largest = np.abs(columns).argmax(axis=0)
    signs = np.sign(columns[largest, np.arange(columns.shape[1])])
    return np.where(signs == 0, 1.0, signs)


def _settled(objective: Sequence[float], size: float) -> bool:
    if len(objective) < 2:
        return False
    small = objective[-2] - objective[-1] <= TOLERANCE * size
    return small or len(objective) >= MOST_ITERATIONS


def multiset_correlation(
    averages: Sequence[np.ndarray], latents: int, *, regularisation: float = 0.0
) -> Alignment:
    """Find what is linearly predictable from every subject best: canonical variates of many sets.

    Maximises the sum over subjects of the squared correlation between a common variate and its
    best prediction from that subject (MAXVAR); for two subjects these are the canonical
    correlations of Hotelling.

    Parameters
    ----------
    averages : sequence of ndarray of shape (row, component)
        Centred averages of every subject.
    latents : int
        Number of variates.
    regularisation : float
        Ridge, as a share of the subject's mean variance over components.

    Returns
    -------
    Alignment
        Maps to the prediction of the common variates, the common variates (uncorrelated,
        variance 1), and the share of each that a subject predicts, averaged over subjects: for
        two subjects without ridge (1 + canonical correlation) / 2.

    References
    ----------
    Kettenring (1971), "Canonical analysis of several sets of variables", Biometrika 58,
    433-451; in the form of Carroll (1968), "Generalization of canonical correlation analysis
    to three or more sets of variables".
    """
    rows = averages[0].shape[0]
    whitened, roots = [], []
    for each in averages:
        variance, axes = np.linalg.eigh(each.T @ each)
        variance = variance + regularisation * variance.mean()
        kept = variance > RANK_TOLERANCE * max(variance[-1], np.finfo(float).tiny)
        root = axes[:, kept] / np.sqrt(variance[kept])
        roots.append(root)
        whitened.append(each @ root)
    left, size, _ = np.linalg.svd(np.concatenate(whitened, axis=1), full_matrices=False)
    common = left[:, :latents] * np.sqrt(rows)
    common = common * _signs(common)
    maps = [root @ (each.T @ common) for root, each in zip(roots, whitened, strict=True)]
    return Alignment(tuple(maps), common, np.square(size[:latents]) / len(averages))


def shared_response(
    averages: Sequence[np.ndarray], latents: int, *, random: np.random.Generator, starts: int = 1
) -> Alignment:
    """Find orthonormal maps and one response that together explain all subjects' averages best.

    Minimises the squared error of averages = response @ map.T, in turn over the maps, each
    with orthonormal columns, and over the response.

    Parameters
    ----------
    averages : sequence of ndarray of shape (row, feature)
        Centred averages of every subject.
    latents : int
        Number of latents.
    random : Generator
        Draws the first responses.
    starts : int
        Random starts; the one with the smallest error is kept.

    Returns
    -------
    Alignment
        Orthonormal maps, the shared response along its principal axes, and the squared error by
        iteration.

    References
    ----------
    Chen et al. (2015), "A reduced-dimension fMRI shared response model", Advances in Neural
    Information Processing Systems 28: the deterministic model.
    """
    rows = averages[0].shape[0]
    # Maps lie in the space that a subject's averages span, which has fewer dimensions.
    bases, reduced = zip(*[np.linalg.qr(each.T) for each in averages], strict=True)
    inputs = [each.T for each in reduced]
    found = [_respond(inputs, random.normal(size=(rows, latents))) for _ in range(starts)]
    best = min(found, key=lambda each: float(each.objective[-1]))
    turn = principal_rotation(best.shared)
    maps = [base @ each @ turn for base, each in zip(bases, best.maps, strict=True)]
    return Alignment(tuple(maps), best.shared @ turn, best.objective)


def _respond(averages: Sequence[np.ndarray], response: np.ndarray) -> Alignment:
    total = sum(float(np.square(each).sum()) for each in averages)
    objective: list[float] = []
    while True:
        maps = [_orthonormal(each.T @ response) for each in averages]
        response = np.mean([each @ to for each, to in zip(averages, maps, strict=True)], axis=0)
        # the error with orthonormal maps and the mean response, without forming it
        error = total - len(averages) * float(np.square(response).sum())
        objective.append(max(error, 0.0))
        if _settled(objective, total):
            return Alignment(tuple(maps), response, np.array(objective))


def _orthonormal(matrix: np.ndarray) -> np.ndarray:
    """Return the matrix with orthonormal columns that is closest in direction."""
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray(left @ right)
