"""Whether two animals arrange labels and windows alike: dissimilarities and Procrustes distance.

All is compared between one half of a subject's held-out trials and one half of another's, or the
other half of its own: so the diagonal, a subject against itself, says what noise leaves of the
best possible agreement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr

from neuroalign.analysis.individuality_trials import ComparedTrials, take_trials
from neuroalign.data.randomness import named_generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from neuroalign.analysis.labels import LabelledTrials

SPLITS: Final = 50
PAIR: Final = ("subject", "other")


def compare_geometry(trials: ComparedTrials, *, seed: int) -> xr.Dataset:
    """Compare how subjects arrange labels and windows in the latent space.

    Parameters
    ----------
    trials : ComparedTrials
        Held-out latents in one space.
    seed : int
        Seed of the 50 splits of each subject's trials into halves.

    Returns
    -------
    Dataset
        `representational_similarity`, `similarity_corrected`, `procrustes_distance` and
        `unrotated_distance` (subject, other); see `individual_differences`.
    """
    names = trials.subjects
    shape = (SPLITS, len(names), len(names))
    similarity, rotated, plain = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for split in range(SPLITS):
        halves = [
            split_half(trials.test[name], named_generator(seed, "geometry", name, str(split)))
            for name in names
        ]
        distances, places = [], []
        for side in (0, 1):
            tables = [half[side] for half in halves]
            distances.append([dissimilarities(table, trials.labels) for table in tables])
            places.append([standard_places(table, trials.labels) for table in tables])
        similarity[split] = _both_ways(_correlations(*distances))
        pairs = [[procrustes(first, second) for second in places[1]] for first in places[0]]
        rotated[split], plain[split] = (_both_ways(np.array(pairs)[..., k]) for k in (0, 1))
    mean = similarity.mean(axis=0)
    return xr.Dataset(
        {
            "representational_similarity": (PAIR, mean),
            "similarity_corrected": (PAIR, disattenuate(mean)),
            "procrustes_distance": (PAIR, rotated.mean(axis=0)),
            "unrotated_distance": (PAIR, plain.mean(axis=0)),
        },
        coords={"subject": names, "other": names},
    )


def split_half(
    table: LabelledTrials, random: np.random.Generator
) -> tuple[LabelledTrials, LabelledTrials]:
    """Deal the trials of every label into two halves at random."""
    second = np.zeros(table.labels.size, dtype=bool)
    for label in np.unique(table.labels):
        rows = random.permutation(np.flatnonzero(table.labels == label))
        # Which half gets an odd trial is drawn, so that neither is the smaller one for all labels.
        extra = int(random.integers(2)) if rows.size % 2 else 0
        second[rows[: rows.size // 2 + extra]] = True
    return take_trials(table, ~second), take_trials(table, second)


def dissimilarities(table: LabelledTrials, labels: Sequence[str]) -> np.ndarray:
    """Return unbiased squared distances between all pairs of averages of a label and window.

    Averages are noisy, which lengthens distances, and windows of one label share their trials,
    hence their noise. Both are taken off, as cross-validation over all pairs of trials would.

    Parameters
    ----------
    table : LabelledTrials
        One subject's latents.
    labels : sequence of str
        The labels wanted.

    Returns
    -------
    ndarray of shape (pair,)
        Upper triangle, label by label, windows within; NaN if a label has fewer than two trials.
    """
    windows = table.features.shape[1]
    means, noise = [], np.zeros((len(labels) * windows, len(labels) * windows))
    for index, label in enumerate(labels):
        rows = table.features[table.labels == label]
        centre = rows.mean(axis=0)
        offset = rows - centre
        means.append(centre)
        block = slice(index * windows, (index + 1) * windows)
        if len(rows) < 2:
            return np.full(noise.shape[0] * (noise.shape[0] - 1) // 2, np.nan)
        shared = np.einsum("iwl,ivl->wv", offset, offset)
        noise[block, block] = shared / (len(rows) * (len(rows) - 1))
    placed = np.concatenate(means)
    product = placed @ placed.T - noise
    length = np.diagonal(product)
    square = length[:, None] + length[None, :] - 2 * product
    return np.asarray(square[np.triu_indices(len(square), k=1)])


def _correlations(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
    """Correlate every row of the one with every row of the other; NaN where a row is constant."""
    return np.array([[_pearson(one, other) for other in second] for one in first])


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    if first.size < 3:
        return float("nan")
    offsets = [values - values.mean() for values in (first, second)]
    lengths = [float(np.linalg.norm(offset)) for offset in offsets]
    if not min(lengths) > 0:
        return float("nan")
    return float(offsets[0] @ offsets[1] / (lengths[0] * lengths[1]))


def _both_ways(between_halves: np.ndarray) -> np.ndarray:
    """Average first half against second and second against first, so that order says nothing."""
    return np.asarray((between_halves + between_halves.T) / 2)


def disattenuate(similarity: np.ndarray) -> np.ndarray:
    """Divide each correlation by what noise leaves of it, the root of both self-correlations.

    Parameters
    ----------
    similarity : ndarray of shape (subject, subject)
        Correlations between halves; the diagonal holds each subject's with itself.

    Returns
    -------
    ndarray of shape (subject, subject)
        1 on the diagonal; NaN where a subject does not agree with itself.
    """
    own = np.diagonal(similarity)
    root = np.sqrt(np.where(own > 0, own, np.nan))
    return np.asarray(similarity / (root[:, None] * root[None, :]))


def standard_places(table: LabelledTrials, labels: Sequence[str]) -> np.ndarray:
    """Return averages (label and window, latent), centred and of unit length; NaN if all equal."""
    means = [table.features[table.labels == label].mean(axis=0) for label in labels]
    placed = np.concatenate(means)
    placed = placed - placed.mean(axis=0)
    length = float(np.linalg.norm(placed))
    return np.asarray(placed / (length if length > 0 else np.nan))


def procrustes(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the disparity of two standardised configurations, rotated to fit and as they are.

    Parameters
    ----------
    first, second : ndarray of shape (point, latent)
        Centred and of unit length.

    Returns
    -------
    tuple of float
        Squared distance left after the best rotation or reflection and scale, and after the
        best scale alone; both between 0 and 1.
    """
    product = first.T @ second
    if not np.isfinite(product).all():
        return float("nan"), float("nan")
    best = float(np.linalg.svd(product, compute_uv=False).sum())
    as_is = max(float(np.trace(product)), 0.0)  # a negative scale would be a reflection
    return max(1 - best**2, 0.0), max(1 - as_is**2, 0.0)
