"""How far an animal's average latents lie from the other animals', free of the noise in averages.

The squared length of a noisy average is too long by the noise's variance. The inner product of
the averages of two disjoint halves of trials is not; its mean over all ways to halve the trials
is the squared length of the average minus the variance of that average, which is what is
computed here.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr

from neuroalign.analysis.individuality_trials import (
    ComparedTrials,
    percentile_interval,
    resampling_weights,
)
from neuroalign.analysis.predictions import BOUNDS
from neuroalign.analysis.statistics import TIE_TOLERANCE, correct_p_values
from neuroalign.data.randomness import named_generator
from neuroalign.errors import DataWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from neuroalign.analysis.labels import LabelledTrials

CHUNK: Final = 100  # resamples or permutations held at a time


@dataclass(frozen=True)
class Averages:
    """Average latents, and the variance of each average summed over latents; any leading dims."""

    mean: np.ndarray  # (..., subject, label, window, latent)
    noise: np.ndarray  # (..., subject, label, window)

    def deviation(self) -> np.ndarray:
        """Return each subject's mean minus the mean of the others' means."""
        count = self.mean.shape[-4]
        others = (self.mean.sum(axis=-4, keepdims=True) - self.mean) / (count - 1)
        return np.asarray(self.mean - others)

    def deviation_noise(self) -> np.ndarray:
        """Return the variance of the deviation, summed over latents."""
        count = self.mean.shape[-4]
        others = self.noise.sum(axis=-3, keepdims=True) - self.noise
        return np.asarray(self.noise + others / (count - 1) ** 2)

    def label_square(self) -> float:
        """Return the mean unbiased squared distance between two labels of a subject and window."""
        first, second = np.triu_indices(self.mean.shape[-3], k=1)
        gap = self.mean[..., first, :, :] - self.mean[..., second, :, :]
        noise = self.noise[..., first, :] + self.noise[..., second, :]
        return float((np.square(gap).sum(axis=-1) - noise).mean())


def deviations(
    trials: ComparedTrials, *, bootstraps: int, permutations: int, seed: int
) -> xr.Dataset:
    """Measure how far each subject's held-out trajectories lie from the other subjects'.

    Parameters
    ----------
    trials : ComparedTrials
        Held-out latents in one space.
    bootstraps : int
        Resamples over trials within subject and label behind the intervals.
    permutations : int
        Permutations of trials over subjects within label behind the p-values.
    seed : int
        Seed.

    Returns
    -------
    Dataset
        `deviation`, `deviation_norm`, `deviation_norm_interval`, `deviation_total`,
        `deviation_total_interval`, `label_distance`, `deviation_p_value`,
        `deviation_p_corrected`; see `individual_differences`.

    Warns
    -----
    DataWarning
        If the labels do not differ, so that nothing can be measured in distances between them.
    """
    even = {name: np.ones((1, table.labels.size)) for name, table in trials.test.items()}
    once = averages(trials, even)
    point = Averages(once.mean[0], once.noise[0])
    deviation = point.deviation()
    square = np.square(deviation).sum(axis=-1) - point.deviation_noise()
    unit = _label_square_or_nan(point)
    cells, total = _resampled_squares(trials, point, bootstraps=bootstraps, seed=seed)
    p_values = exchange_p_values(trials, permutations=permutations, seed=seed)
    place = ("subject", "label", "window")
    latent_names = next(iter(trials.test.values())).latent_names
    return xr.Dataset(
        {
            "deviation": ((*place, "latent"), deviation),
            "deviation_norm": (place, signed_root(square / unit)),
            "deviation_norm_interval": (
                (*place, "bound"),
                signed_root(percentile_interval(cells) / unit),
            ),
            "deviation_total": ("subject", signed_root(square.mean(axis=(1, 2)) / unit)),
            "deviation_total_interval": (
                ("subject", "bound"),
                signed_root(percentile_interval(total) / unit),
            ),
            "label_distance": ((), np.sqrt(unit)),
            "deviation_p_value": ("subject", p_values),
            "deviation_p_corrected": ("subject", correct_p_values(p_values)),
        },
        coords={
            "subject": trials.subjects,
            "label": list(trials.labels),
            "window": trials.windows,
            "bound": list(BOUNDS),
            **({} if latent_names is None else {"latent": list(latent_names)}),
        },
    )


def signed_root(values: np.ndarray) -> np.ndarray:
    """Return the root of the absolute value with the sign of the value."""
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values)))


def _label_square_or_nan(point: Averages) -> float:
    found = point.label_square()
    if found > 0:
        return found
    warnings.warn(
        "the held-out latents do not differ between labels, so that deviations cannot be given in "
        "distances between labels and are NaN; look at decode_labels, and lower beta or train "
        "longer.",
        DataWarning,
        stacklevel=4,
    )
    return float("nan")


def averages(
    trials: ComparedTrials, weights: dict[str, np.ndarray], *, resampled: bool = False
) -> Averages:
    """Average held-out latents by subject, label and window, once per row of the weights.

    Parameters
    ----------
    trials : ComparedTrials
        Held-out latents.
    weights : dict of ndarray of shape (row, trial)
        How often each trial counts; within a label they sum to its number of trials.
    resampled : bool
        Trials were drawn with replacement. The mean of n draws from n trials varies by a share
        of (n - 1) / n too little about their mean, which matters for few trials: it is moved
        away accordingly.

    Returns
    -------
    Averages
        With leading dim row.
    """
    found = [
        _label_averages(table, trials.labels, weights[name], resampled)
        for name, table in trials.test.items()
    ]
    return Averages(
        mean=np.stack([mean for mean, _ in found], axis=1),
        noise=np.stack([noise for _, noise in found], axis=1),
    )


def _label_averages(
    table: LabelledTrials, labels: Sequence[str], weights: np.ndarray, resampled: bool
) -> tuple[np.ndarray, np.ndarray]:
    means, noises = [], []
    for label in labels:
        rows = np.flatnonzero(table.labels == label)
        centre = table.features[rows].mean(axis=0)
        offset = table.features[rows] - centre
        chosen, count = weights[:, rows], rows.size
        shift = np.tensordot(chosen, offset, axes=1) / count
        square = chosen @ np.square(offset).sum(axis=-1) / count
        noise = (square - np.square(shift).sum(axis=-1)) / (count - 1)
        wider = count / (count - 1) if resampled else 1.0
        means.append(centre + np.sqrt(wider) * shift)
        noises.append(wider * noise)
    return np.stack(means, axis=1), np.stack(noises, axis=1)


def _resampled_squares(
    trials: ComparedTrials, point: Averages, *, bootstraps: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Resample trials: unbiased squares (bootstrap, subject, label, window), and their mean."""
    deviation, noise = point.deviation(), point.deviation_noise()
    plain = np.square(deviation).sum(axis=-1)
    weights = {
        name: resampling_weights(
            table.labels,
            bootstraps=bootstraps,
            random=named_generator(seed, "deviation", name),
        )
        for name, table in trials.test.items()
    }
    cells = np.zeros((bootstraps, *plain.shape))
    total = np.zeros((bootstraps, plain.shape[0]))
    for start in range(0, bootstraps, CHUNK):
        part = slice(start, start + CHUNK)
        chosen = {name: rows[part] for name, rows in weights.items()}
        drawn = averages(trials, chosen, resampled=True)
        error = drawn.deviation() - deviation
        along = (deviation * error).sum(axis=-1)
        beside = np.square(error).sum(axis=-1) - drawn.deviation_noise()
        cells[part] = _about_unbiased_length(plain, plain - noise, along, beside)
        total[part] = _about_unbiased_length(
            plain.mean(axis=(1, 2)),
            (plain - noise).mean(axis=(1, 2)),
            along.mean(axis=(2, 3)),
            beside.mean(axis=(2, 3)),
        )
    return cells, total


def _about_unbiased_length(
    plain: np.ndarray, square: np.ndarray, along: np.ndarray, beside: np.ndarray
) -> np.ndarray:
    """Add the resampled errors to a deviation that has the unbiased length.

    Resampling about the plain average would take that average, noise and all, for the truth:
    the interval would lie too high by the noise and be too wide. So the deviation is shortened
    to its unbiased length first. The mean over resamples is then the unbiased square.
    """
    kept = np.divide(np.maximum(square, 0), plain, out=np.zeros_like(plain), where=plain > 0)
    return np.asarray(kept * plain + 2 * np.sqrt(kept) * along + beside + np.minimum(square, 0))


def exchange_p_values(trials: ComparedTrials, *, permutations: int, seed: int) -> np.ndarray:
    """Test each subject's deviation against trials dealt anew to the subjects within each label.

    The statistic is the squared deviation, summed over labels and windows, over its noise as
    estimated from the same trials. The division keeps the test near its level where animals
    differ in noise only; under full exchangeability it is exact.

    Parameters
    ----------
    trials : ComparedTrials
        Held-out latents.
    permutations : int
        Number of permutations; 0 gives NaN. Every subject keeps its number of trials.
    seed : int
        Seed.

    Returns
    -------
    ndarray of shape (subject,)
        (1 + permutations that reach the statistic) / (1 + permutations).
    """
    if permutations == 0:
        return np.full(len(trials.subjects), np.nan)
    # By name, so that the order of the subjects cannot change a p-value.
    order = sorted(trials.subjects)
    squares = np.zeros((permutations + 1, len(order)))
    noises = np.zeros_like(squares)
    for label in trials.labels:
        rows = [trials.test[name].features[trials.test[name].labels == label] for name in order]
        pooled = np.concatenate([part.reshape(len(part), -1) for part in rows])
        owner = np.repeat(np.arange(len(order)), [len(part) for part in rows])
        random = named_generator(seed, "exchange", label)
        dealt = random.permuted(np.tile(owner, (permutations, 1)), axis=1)
        found = _exchanged(pooled - pooled.mean(axis=0), np.vstack([owner, dealt]))
        squares += found[0]
        noises += found[1]
    silent = np.where(squares > 0, np.inf, 0.0)
    statistic = np.divide(squares, noises, out=silent, where=noises > 0)
    reached = statistic[1:] >= statistic[0] * (1 - TIE_TOLERANCE)
    p_value = (1 + reached.sum(axis=0)) / (1 + permutations)
    return np.asarray(p_value[[order.index(name) for name in trials.subjects]])


def _exchanged(rows: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return squared deviation and its noise, (dealing, subject), from inner products of trials."""
    subjects = int(owners.max()) + 1
    counts = np.bincount(owners[0])
    gram = rows @ rows.T
    away = np.full((subjects, subjects), -1 / (subjects - 1))
    np.fill_diagonal(away, 1.0)
    square, noise = np.zeros((len(owners), subjects)), np.zeros((len(owners), subjects))
    for start in range(0, len(owners), CHUNK):
        part = slice(start, start + CHUNK)
        member = (owners[part, None, :] == np.arange(subjects)[:, None]).astype(np.float64)
        share = member / counts[:, None]
        means = share @ gram @ share.transpose(0, 2, 1)
        square[part] = np.einsum("sg,pgh,sh->ps", away, means, away)
        lengths = np.diagonal(means, axis1=1, axis2=2)
        # Rounding may leave a spread of -1e-17 where all trials are equal.
        spread = np.maximum(share @ np.diagonal(gram) - lengths, 0) / (counts - 1)
        noise[part] = spread @ np.square(away).T
    return square, noise
