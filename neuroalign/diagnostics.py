"""Did the animals meet, and do the latents say anything? Asked of every fit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from neuroalign.errors import AlignmentWarning, CollapseWarning

# distance between labels, in widths of the posteriors, below which latents are noise
CRUSHED: Final = 0.1


@dataclass(frozen=True)
class LabelledLatents:
    """Latent means of some trials of one subject.

    Attributes
    ----------
    mean : ndarray of shape (trial, window, latent)
        Posterior means.
    labels : ndarray of shape (trial,)
        The label of each trial.
    """

    mean: np.ndarray
    labels: np.ndarray


def label_centres(latents: LabelledLatents, classes: np.ndarray) -> np.ndarray:
    """Return the mean latent of each label and window, (label, window, latent); NaN if absent."""
    return np.stack(
        [
            latents.mean[latents.labels == value].mean(0, dtype=np.float64)
            if (latents.labels == value).any()
            else np.full(latents.mean.shape[1:], np.nan)
            for value in classes
        ]
    )


def alignment(subjects: Mapping[str, LabelledLatents], classes: np.ndarray) -> float:
    """Compare the distance between subjects with the distance between labels.

    Returns
    -------
    float
        Root mean squared distance between two subjects' average latents of the same label and
        window, over that between two labels of the same subject and window. Near 0 the
        subjects coincide; at 1 and above, a subject's label lies no nearer to the same label of
        another subject than to its own other labels. Not-a-number for one subject or one label.
    """
    if len(subjects) < 2 or len(classes) < 2:
        return float("nan")
    centres = np.stack([label_centres(latents, classes) for latents in subjects.values()])
    between_subjects = _mean_square_distance(centres)
    between_labels = _mean_square_distance(np.swapaxes(centres, 0, 1))
    if not between_labels > 0:
        return float("inf")
    return float(np.sqrt(between_subjects / between_labels))


def _mean_square_distance(centres: np.ndarray) -> float:
    first, second = np.triu_indices(len(centres), k=1)
    square = np.square(centres[first] - centres[second]).sum(-1)
    return float(np.nanmean(square)) if np.isfinite(square).any() else float("nan")


def nearest_centre_hits(
    reference: LabelledLatents, held_out: LabelledLatents, classes: np.ndarray
) -> tuple[int, int]:
    """Count held-out trials whose nearest label centre is their own label's.

    Distances are summed over windows, after scaling each latent by its spread.
    """
    centres = label_centres(reference, classes)
    spread = reference.mean.std((0, 1))
    spread = np.where(spread > 0, spread, 1.0)
    gaps = (held_out.mean[:, None] - centres[None]) / spread
    distance = np.square(gaps).sum((-1, -2))
    distance = np.where(np.isnan(distance), np.inf, distance)
    guess = classes[distance.argmin(1)]
    return int((guess == held_out.labels).sum()), len(held_out.labels)


def resolution(mean: np.ndarray, scale: np.ndarray, labels: np.ndarray) -> float:
    """Compare the distance between labels with the width of the posteriors.

    Parameters
    ----------
    mean, scale : ndarray of shape (trial, window, latent)
        Parameters of one subject's posteriors.
    labels : ndarray of shape (trial,)
        The label of each trial.

    Returns
    -------
    float
        Root mean squared distance between two labels' average latents of the same window, over
        the root mean squared scale; infinite where posteriors are points, not-a-number for one
        label.
    """
    centres = label_centres(LabelledLatents(mean, labels), np.unique(labels))
    between = _mean_square_distance(centres)
    width = float(np.square(scale, dtype=np.float64).sum(-1).mean())
    return float(np.sqrt(between / width)) if width > 0 else float("inf")


def warn_about(
    alignment_value: float,
    hits: int,
    trials: int,
    n_classes: int,
    *,
    resolved: float = float("inf"),
) -> None:
    """Warn when the subjects did not meet or the latents carry no label.

    Warns
    -----
    CollapseWarning
        If held-out trials show that latents carry next to no label: the upper 95 % bound of
        the share assigned to their own label stays below chance plus a fifth of the way to 1.
        Few trials cannot show this, so few trials do not warn. Also if `resolved`, the
        distance between labels over the width of the posteriors, is below a tenth: whatever
        the averages say, the latents themselves are noise then.
    AlignmentWarning
        If latents carry the label but subjects are as far apart as labels.
    """
    from scipy import stats

    if trials == 0 or n_classes < 2:
        return
    chance = 1.0 / n_classes
    upper = stats.beta.ppf(0.95, hits + 1, trials - hits) if hits < trials else 1.0
    if upper < chance + 0.2 * (1.0 - chance):
        warnings.warn(
            f"the latents say next to nothing about the label: {hits} of {trials} validation "
            f"trials lie nearest to their own label's average, {chance * trials:.0f} would by "
            "chance. Lower beta, train longer, or check that the recordings carry the label.",
            CollapseWarning,
            stacklevel=3,
        )
    elif resolved < CRUSHED:
        warnings.warn(
            f"the latents are crushed: labels lie {resolved:.2g} posterior widths apart, so that "
            "samples of the latents say next to nothing about the label. Lower beta.",
            CollapseWarning,
            stacklevel=3,
        )
    elif alignment_value >= 1.0:
        warnings.warn(
            f"the subjects did not meet in the latent space: the same label lies {alignment_value:.2f} "
            "times as far apart between subjects as labels do within them (validation trials). "
            'Raise beta, train longer, or use divergence="pairwise" if you chose "mixture".',
            AlignmentWarning,
            stacklevel=3,
        )
