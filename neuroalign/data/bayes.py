"""The Bayes-optimal reading of an odor from simulated counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.special import logsumexp, softmax

from neuroalign.data.randomness import named_generator, resolve_seed
from neuroalign.data.simulation_truth import GRID, SimulationTruth, SubjectTruth, latents_of
from neuroalign.data.windows import lags_per_window, window_starts
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import build_tree, iterate_subjects, label_values, validate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

FloatArray = npt.NDArray[np.float64]
CHUNK: Final = 64  # trials at a time, to bound memory


def odor_posterior(
    truth: SimulationTruth,
    windows: xr.DataTree,
    label: str,
    *,
    samples: int,
    odors: Sequence[str] | None,
    random_state: int,
    position_known: bool = True,
) -> xr.DataTree:
    """Compute what `SimulationTruth.posterior` returns."""
    validate(windows, "windowed", argument="windows")
    if label != "odor":
        raise ParameterError(f"the Bayes-optimal classifier reads 'odor' only, got {label!r}.")
    if samples < 1:
        raise ParameterError(f"samples must be at least 1, got {samples}.")
    names = _candidates(truth, windows, odors)
    seed = resolve_seed(random_state)
    posteriors: dict[str, xr.Dataset] = {}
    for subject, data in iterate_subjects(windows):
        known = _match(truth.subject(subject), data, subject)
        stream = named_generator(seed, "bayes", subject)
        rates = _sampled_log_rates(truth, known, data, names, samples, stream)
        read = _window_posterior if position_known else _posterior_without_position
        probability = read(data, rates, samples)
        posteriors[subject] = xr.Dataset(
            {"probability": (("trial", "window", "odor_name"), probability)},
            coords={
                **{k: c for k, c in data.coords.items() if set(c.dims) <= {"trial", "window"}},
                "odor_name": np.array(names),
            },
            attrs={"subject": subject},
        )
    return build_tree(posteriors)


def odor_accuracy(
    truth: SimulationTruth,
    windows: xr.DataTree,
    label: str,
    *,
    samples: int,
    odors: Sequence[str] | None,
    random_state: int,
    position_known: bool = True,
) -> pd.Series[float]:
    """Compute what `SimulationTruth.bayes_accuracy` returns."""
    import pandas as pd

    posterior = odor_posterior(
        truth,
        windows,
        label,
        samples=samples,
        odors=odors,
        random_state=random_state,
        position_known=position_known,
    )
    accuracy: dict[str, float] = {}
    for subject, data in iterate_subjects(posterior):
        named = data["odor_name"].values
        true = label_values(data, label, subject=subject)
        counted = np.isin(true, named)
        best = named[data["probability"].values.argmax(axis=-1)]
        accuracy[subject] = float((best == true[:, None])[counted].mean())
    return pd.Series(accuracy, name="bayes_accuracy", dtype=float).rename_axis("subject")


def _candidates(
    truth: SimulationTruth, windows: xr.DataTree, odors: Sequence[str] | None
) -> list[str]:
    known = truth.trajectories.odors
    if odors is None:
        found: set[str] = set()
        for subject, data in iterate_subjects(windows):
            found |= set(label_values(data, "odor", subject=subject).tolist())
        odors = sorted(found)
    unknown = [name for name in odors if name not in known]
    if unknown or not odors:
        raise ParameterError(
            f"odors must be among {', '.join(map(repr, known))}, got {list(odors)!r}."
        )
    return list(odors)


def _match(known: SubjectTruth, data: xr.Dataset, subject: str) -> FloatArray:
    """Return baseline and tuning (unit, 1 + latent) of the units that the windows hold."""
    row = {name: index for index, name in enumerate(known.unit.tolist())}
    units = data["unit"].values.tolist()
    absent = [name for name in units if name not in row]
    if absent:
        raise DataError(
            f"expected units that were simulated for subject {subject!r}, got {absent[0]!r}."
        )
    rows = [row[name] for name in units]
    return np.column_stack([known.baseline[rows], known.tuning[rows]])


def _sampled_log_rates(
    truth: SimulationTruth,
    known: FloatArray,
    data: xr.Dataset,
    names: Sequence[str],
    samples: int,
    stream: np.random.Generator,
) -> FloatArray:
    """Return log expected counts of shape (odor * sample, unit, time) for drawn trials."""
    trajectories = truth.trajectories
    subject = truth.subject(str(data.attrs["subject"]))
    width = float(data.attrs["bin_width"])
    pieces = max(1, round(width / GRID))
    within = ((np.arange(pieces) + 0.5) / pieces - 0.5) * width
    shift = float(data.attrs["frame_start"]) - subject.frame_start
    time = (data["time"].values[:, None] + within + shift).ravel()
    gain, jitter, nuisance = draw_trials(truth, samples, stream)
    blocks: list[FloatArray] = []
    for name in names:
        odor = np.full(samples, trajectories.odors.index(name))
        latents = latents_of(trajectories, odor, nuisance, time[None] - jitter[:, None])
        rate = np.exp(known[:, 0] + latents @ known[:, 1:].T).swapaxes(1, 2) * gain[:, None, None]
        expected = rate.reshape(samples, rate.shape[1], -1, pieces).mean(axis=-1) * width
        blocks.append(np.log(expected))
    return np.concatenate(blocks)


def draw_trials(
    truth: SimulationTruth, number: int, stream: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Draw gain (trial,), latency in seconds (trial,) and nuisance (trial, nuisance latent)."""
    spread = truth.gain_spread
    gain = np.exp(spread * stream.standard_normal(number) - spread**2 / 2)
    jitter = truth.jitter_spread * stream.standard_normal(number)
    nuisance = stream.standard_normal((number, truth.trajectories.nuisance_weights.shape[0]))
    return gain, jitter, nuisance


def _window_posterior(data: xr.Dataset, log_expected: FloatArray, samples: int) -> FloatArray:
    """Return the posterior (trial, window, odor) from Poisson log-likelihoods of the bins."""
    counts = data["counts"].values
    starts, lags = window_starts(data), lags_per_window(data)
    trials, bins = counts.shape[0], counts.shape[2]
    total = np.exp(log_expected).sum(axis=1)
    odors = log_expected.shape[0] // samples
    result = np.empty((trials, starts.size, odors))
    for first in range(0, trials, CHUNK):
        part = counts[first : first + CHUNK].astype(np.float64)
        running = np.zeros((bins + 1, part.shape[0], log_expected.shape[0]))
        for time in range(bins):
            # the factorials of the counts are the same for all odors and cancel
            found = part[:, :, time] @ log_expected[:, :, time].T - total[:, time]
            running[time + 1] = running[time] + found
        for window, start in enumerate(starts):
            likelihood = running[start + lags] - running[start]
            by_odor = likelihood.reshape(part.shape[0], odors, samples)
            result[first : first + CHUNK, window] = softmax(logsumexp(by_odor, axis=2), axis=1)
    return result


def _posterior_without_position(
    data: xr.Dataset, log_expected: FloatArray, samples: int
) -> FloatArray:
    """Return the posterior (trial, window, odor) of a reader who is not told where a window is.

    All positions of the frame's windows are held equally likely.
    """
    counts = data["counts"].values
    starts, lags = window_starts(data), lags_per_window(data)
    odors = log_expected.shape[0] // samples
    pieces = [log_expected[:, :, s : s + lags].reshape(len(log_expected), -1) for s in starts]
    totals = [np.exp(piece).sum(axis=1) for piece in pieces]
    result = np.empty((len(counts), starts.size, odors))
    for window, start in enumerate(starts):
        seen = counts[:, :, start : start + lags].reshape(len(counts), -1).astype(np.float64)
        by_odor = np.full((len(counts), odors), -np.inf)
        for piece, total in zip(pieces, totals, strict=True):
            likelihood = (seen @ piece.T - total).reshape(len(counts), odors, samples)
            by_odor = np.logaddexp(by_odor, logsumexp(likelihood, axis=2))
        result[:, window] = softmax(by_odor, axis=1)
    return result
