"""Score one source and target: imputed activity beside its floor and its ceiling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr

from neuroalign.analysis.above_floor import differences_by_trial
from neuroalign.analysis.classifiers import read_probabilities
from neuroalign.analysis.imputation_reference import (
    SourceReader,
    TargetReference,
    reached_bins,
)
from neuroalign.analysis.poisson import gains_and_spikes, sum_by_label
from neuroalign.analysis.predictions import LEVELS, correct_shares
from neuroalign.analysis.statistics import balanced_accuracy
from neuroalign.data.windows import lags_per_window, window_starts
from neuroalign.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS: Final = ("imputed", "floor", "ceiling")


@dataclass(frozen=True)
class PairScore:
    """Scores of one source and target for each kind; gains and spikes are per source trial.

    `above_floor` and `pair_spikes` are per source trial and trial of the target that it is scored
    on, (source trial, target trial), or (source trial, 1) where each has one of its own.
    """

    trials: int
    gains: Mapping[str, np.ndarray]
    spikes: np.ndarray
    values: Mapping[str, Mapping[str, float]]
    above_floor: np.ndarray
    pair_spikes: np.ndarray


def align_expected(
    imputed: xr.Dataset, source: xr.Dataset, target: xr.Dataset, subject: str
) -> tuple[np.ndarray, np.ndarray]:
    """Bring expected counts into the order of the source's trials, the target's units and bins.

    Parameters
    ----------
    imputed : Dataset
        `expected(trial, unit, time)`, of the target's units.
    source, target : Dataset
        Whose trials, and whose units and windows, are expected.
    subject : str
        The target, for messages.

    Returns
    -------
    tuple of ndarray
        Expected counts (trial, unit, time) at the bins that windows reach, and those bins.

    Raises
    ------
    DataError
        If trials, units or bins are missing, or a number is not finite or negative.
    """
    bins = reached_bins(target)
    expected = imputed["expected"].values
    rows = _positions(imputed["trial"].values, source["trial"].values, "trials", subject)
    units = _positions(imputed["unit"].values, target["unit"].values, "units", subject)
    times = _positions(
        np.round(imputed["time"].values, 6),
        np.round(target["time"].values[bins], 6),
        "time bins",
        subject,
    )
    chosen = expected[np.ix_(rows, units, times)].astype(np.float64)
    _check_expected(chosen, subject)
    return chosen, bins


def _positions(given: np.ndarray, wanted: np.ndarray, what: str, subject: str) -> np.ndarray:
    place = {value: index for index, value in enumerate(given.tolist())}
    missing = [value for value in wanted.tolist() if value not in place]
    if missing:
        raise DataError(
            f"expected imputed activity of {subject!r} for all {len(wanted)} {what}, got none for "
            f"{len(missing)} of them, such as {missing[0]!r}; impute from the same windows."
        )
    return np.array([place[value] for value in wanted.tolist()], dtype=np.int64)


def _check_expected(expected: np.ndarray, subject: str) -> None:
    if not np.isfinite(expected).all() or (expected < 0).any():
        raise DataError(
            f"expected counts must be finite and not negative, got others for {subject!r}; "
            "the model did not learn sensible rates."
        )


def score_pair(
    reader: SourceReader,
    reference: TargetReference,
    *,
    frames: xr.Dataset,
    windows: xr.Dataset,
    match: str,
) -> PairScore:
    """Score imputed activity of one source and target, and its floor and ceiling.

    Parameters
    ----------
    reader, reference
        From `prepare_source` and `prepare_target`.
    frames, windows : Dataset
        Imputed `expected(trial, unit, time)` and `expected(trial, window, unit, lag)`.
    match : str
        "label" or "trial".

    Raises
    ------
    DataError
        If the imputed activity does not fit, or no source trial can be scored.
    """
    chosen = _scorable(reader, reference, match)
    true = reader.labels[chosen]
    held_to, held_trials = _held_out_counts(reader, reference, chosen, match)
    source = xr.Dataset(coords={"trial": reader.trials[chosen]})
    imputed, _ = align_expected(frames, source, reference.dataset, reference.subject)
    classes = np.array(reference.averages.classes)
    truth = _codes(true, classes)
    read = _read_labels(reader, reference, chosen)
    averages = reference.averages.expected
    expected = {"imputed": imputed, "floor": averages[read], "ceiling": averages[truth]}
    by_average = _read_averages(reference)
    probability = {
        "imputed": read_windows(windows, reader.trials[chosen], reference),
        "floor": by_average[read],
        "ceiling": by_average[truth],
    }
    gains: dict[str, np.ndarray] = {}
    values: dict[str, dict[str, float]] = {}
    spikes = np.zeros(0)
    for kind in KINDS:
        gains[kind], spikes = gains_and_spikes(
            expected[kind], held_to, held_trials, reference.averages.unit_mean
        )
        shares = correct_shares(probability[kind], true, classes)
        coherence = [balanced_accuracy(true, share) for share in shares]
        values[kind] = {
            f"coherence_{level}": value for level, value in zip(LEVELS, coherence, strict=True)
        }
        both, per_unit = _correlations(expected[kind], true, reference)
        values[kind] |= {"correlation": both, "correlation_unit": per_unit}
    if match == "trial":
        above_floor = (gains["imputed"] - gains["floor"])[:, None]
        pair_spikes = spikes[:, None]
    else:
        above_floor, pair_spikes = _above_floor(expected, true, reference)
    return PairScore(true.size, gains, spikes, values, above_floor, pair_spikes)


def _above_floor(
    expected: Mapping[str, np.ndarray], true: np.ndarray, reference: TargetReference
) -> tuple[np.ndarray, np.ndarray]:
    """Return gains over the floor and spikes of every two trials of one label."""
    counts = reference.dataset["counts"].values[:, :, reference.bins]
    same = true[:, None] == reference.labels[None, :]
    gains = differences_by_trial(
        expected["imputed"], expected["floor"], counts, reference.averages.unit_mean
    )
    return gains * same, counts.sum(axis=(1, 2), dtype=np.float64) * same


def _codes(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    place = {label: index for index, label in enumerate(classes.tolist())}
    return np.array([place[label] for label in labels.tolist()], dtype=np.int64)


def _scorable(reader: SourceReader, reference: TargetReference, match: str) -> np.ndarray:
    chosen = np.isin(reader.labels, reference.held_out_classes)
    chosen &= np.isin(reader.labels, list(reader.classes))
    if match == "trial":
        chosen &= np.isin(reader.trials, reference.dataset["trial"].values)
    if not chosen.any():
        raise DataError(
            f"expected test trials of {reader.subject!r} with a label that {reference.subject!r} "
            f"has in training and in held-out trials ({', '.join(reference.held_out_classes)})"
            f"{', and with the same ids' if match == 'trial' else ''}, got none."
        )
    return np.flatnonzero(chosen)


def _held_out_counts(
    reader: SourceReader, reference: TargetReference, chosen: np.ndarray, match: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return, per source trial, the summed counts it is scored on and of how many trials."""
    if match == "label":
        codes = _codes(reader.labels[chosen], np.array(reference.averages.classes))
        return reference.summed[codes], reference.trials[codes]
    place = {trial: row for row, trial in enumerate(reference.dataset["trial"].values.tolist())}
    rows = [place[trial] for trial in reader.trials[chosen].tolist()]
    counts = reference.dataset["counts"].values[rows][:, :, reference.bins]
    return counts.astype(np.float64), np.ones(len(rows))


def _read_labels(
    reader: SourceReader, reference: TargetReference, chosen: np.ndarray
) -> np.ndarray:
    """Return the code, among the target's classes, of the label read from the source's latents."""
    shared = [label for label in reference.averages.classes if label in reader.classes]
    columns = [reader.classes.index(label) for label in shared]
    best = reader.probability[chosen][:, columns].argmax(axis=1)
    return np.array([reference.averages.classes.index(shared[index]) for index in best])


def _read_averages(reference: TargetReference) -> np.ndarray:
    """Read the windows of every label's training average: probability (class, window, class)."""
    frames = np.zeros((*reference.averages.expected.shape[:2], reference.dataset.sizes["time"]))
    frames[:, :, reference.bins] = reference.averages.expected
    starts, lags = window_starts(reference.dataset), lags_per_window(reference.dataset)
    windows = frames[:, :, starts[:, None] + np.arange(lags)].transpose(0, 2, 1, 3)
    return _read_expected(windows, reference)


def read_windows(windows: xr.Dataset, trials: np.ndarray, reference: TargetReference) -> np.ndarray:
    """Return what the reader of real windows makes of imputed ones, (trial, window, class).

    Raises
    ------
    DataError
        If the windows are not those of the target.
    """
    wanted = ("trial", "window", "unit", "lag")
    if windows["expected"].dims != wanted:
        raise DataError(
            f"expected imputed windows with dims {wanted}, got {windows['expected'].dims} for "
            f"{reference.subject!r}; the model's impute must honour windows=True."
        )
    rows = _positions(windows["trial"].values, trials, "trials", reference.subject)
    units = _positions(
        windows["unit"].values, reference.dataset["unit"].values, "units", reference.subject
    )
    chosen = windows["expected"].values[rows][:, :, units]
    lags = lags_per_window(reference.dataset)
    if chosen.shape[3] != lags:
        raise DataError(
            f"expected imputed windows of {lags} bins, got {chosen.shape[3]} for "
            f"{reference.subject!r}; impute from windows of the same length."
        )
    _check_expected(chosen, reference.subject)
    return _read_expected(chosen, reference)


def _read_expected(windows: np.ndarray, reference: TargetReference) -> np.ndarray:
    features = reference.scaling.of_expected(windows.reshape(*windows.shape[:2], -1))
    return read_probabilities(reference.classifier, features, reference.averages.classes)


def _correlations(
    expected: np.ndarray, labels: np.ndarray, reference: TargetReference
) -> tuple[float, float]:
    """Correlate label averages with the held-out ones: over everything, and unit by unit."""
    classes = reference.averages.classes
    summed, trials = sum_by_label(expected, labels, classes)
    present = np.flatnonzero((trials > 0) & (reference.trials > 0))
    imputed = summed[present] / trials[present, None, None]
    real = reference.summed[present] / reference.trials[present, None, None]
    units = [_pearson(imputed[:, unit], real[:, unit]) for unit in range(real.shape[1])]
    measured = [value for value in units if np.isfinite(value)]
    return _pearson(imputed, real), float(np.mean(measured)) if measured else float("nan")


def _pearson(imputed: np.ndarray, real: np.ndarray) -> float:
    """Correlate; NaN where the real activity is constant, 0 where only the imputed one is."""
    if _is_constant(real):
        return float("nan")
    if _is_constant(imputed):
        return 0.0
    return float(np.corrcoef(imputed.ravel(), real.ravel())[0, 1])


def _is_constant(values: np.ndarray) -> bool:
    return bool(np.ptp(values) <= 1e-9 * np.abs(values).max(initial=1e-12))
