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
# share of what one subject's own averages say above chance that the others' must say too
SHARED: Final = 0.5


@dataclass(frozen=True)
class Hits:
    """Trials that lie nearest to the average of their own label, and how many were asked.

    Attributes
    ----------
    hits, trials : int
        Counts.
    """

    hits: int = 0
    trials: int = 0

    def __add__(self, other: Hits) -> Hits:
        """Pool the trials of two subjects."""
        return Hits(self.hits + other.hits, self.trials + other.trials)

    @property
    def share(self) -> float:
        """Share of the trials; not-a-number without any."""
        return self.hits / self.trials if self.trials else float("nan")

    def upper(self) -> float:
        """Return the upper 95 % bound of the share (Clopper and Pearson)."""
        from scipy import stats

        if self.hits >= self.trials:
            return 1.0
        return float(stats.beta.ppf(0.95, self.hits + 1, self.trials - self.hits))


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

    def of(self, where: np.ndarray) -> LabelledLatents:
        """Return some of the trials."""
        return LabelledLatents(self.mean[where], self.labels[where])


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
) -> Hits:
    """Count held-out trials whose nearest label centre is their own label's.

    Distances are summed over windows, after scaling each latent by its spread. Trials of labels
    that the reference lacks are passed over.
    """
    held_out = held_out.of(np.isin(held_out.labels, reference.labels))
    if not len(held_out.labels):
        return Hits()
    centres = label_centres(reference, classes)
    spread = reference.mean.std((0, 1))
    spread = np.where(spread > 0, spread, 1.0)
    gaps = (held_out.mean[:, None] - centres[None]) / spread
    distance = np.square(gaps).sum((-1, -2))
    distance = np.where(np.isnan(distance), np.inf, distance)
    guess = classes[distance.argmin(1)]
    return Hits(int((guess == held_out.labels).sum()), len(held_out.labels))


def shared_centre_hits(
    references: Mapping[str, LabelledLatents],
    held_out: Mapping[str, LabelledLatents],
    classes: np.ndarray,
) -> Hits:
    """Count held-out trials whose nearest label centre among *other* subjects' is their own's.

    The centres are those of all other subjects' trials together: where subjects met, they say
    what a subject's own centres say; where not, they hit as chance does, or worse.
    """
    total = Hits()
    for name, judged in held_out.items():
        others = [latents for other, latents in references.items() if other != name]
        if others:
            pooled = LabelledLatents(
                np.concatenate([latents.mean for latents in others]),
                np.concatenate([latents.labels for latents in others]),
            )
            total += nearest_centre_hits(pooled, judged, classes)
    return total


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
    within: Hits,
    n_classes: int,
    *,
    across: Hits | None = None,
    resolved: float = float("inf"),
) -> None:
    """Warn when the subjects did not meet or the latents carry no label.

    Parameters
    ----------
    alignment_value : float
        From `alignment`.
    within, across : Hits
        Held-out trials against their own subject's label centres, and against the others'
        (None where subjects are not meant to meet).
    n_classes : int
        Number of labels.
    resolved : float
        From `resolution`.

    Warns
    -----
    CollapseWarning
        If held-out trials show that latents carry next to no label: the upper 95 % bound of
        the share assigned to their own label stays below chance plus a fifth of the way to 1.
        Few trials cannot show this, so few trials do not warn. Also if `resolved`, the
        distance between labels over the width of the posteriors, is below a tenth: whatever
        the averages say, the latents themselves are noise then.
    AlignmentWarning
        If latents carry the label but subjects are as far apart as labels, or other subjects'
        label centres do not say what a subject's own say: the upper 95 % bound of the share
        they assign to its own label stays below half of what the own centres reach above chance.
    """
    if within.trials == 0 or n_classes < 2:
        return
    chance = 1.0 / n_classes
    if within.upper() < chance + 0.2 * (1.0 - chance):
        warnings.warn(
            f"the latents say next to nothing about the label: {within.hits} of {within.trials} "
            f"validation trials lie nearest to their own label's average, "
            f"{chance * within.trials:.0f} would by chance. Lower beta, train longer, or check "
            "that the recordings carry the label.",
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
    elif reason := _apart(alignment_value, within, across, chance):
        warnings.warn(
            f"the subjects did not meet in the latent space: {reason} (validation trials). "
            'Raise beta, train longer, or use divergence="pairwise" if you chose "mixture".',
            AlignmentWarning,
            stacklevel=3,
        )


def _apart(alignment_value: float, within: Hits, across: Hits | None, chance: float) -> str | None:
    """Say why subjects did not meet, or None."""
    if alignment_value >= 1.0:
        return (
            f"the same label lies {alignment_value:.2f} times as far apart between subjects as "
            "labels do within them"
        )
    if across is None or across.trials == 0:
        return None
    if across.upper() < chance + SHARED * (within.share - chance):
        return (
            f"{across.hits} of {across.trials} trials lie nearest to their own label's average of "
            f"the other subjects, {within.hits} of {within.trials} to that of their own subject, "
            f"{chance * across.trials:.0f} would by chance"
        )
    return None
