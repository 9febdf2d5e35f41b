"""What a fit leaves behind, and what can be asked of it: encoding and decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from neuroalign.bridge import (
    ENCODING_ROWS,
    FittedSubject,
    encode,
    latents_dataset,
    match_units,
    window_source,
)
from neuroalign.data.windows import lags_per_window
from neuroalign.diagnostics import Hits, LabelledLatents, label_centres, warn_about
from neuroalign.errors import DataError
from neuroalign.nn.expectation import average_windows, fit_calibration, rate_of_mean_root
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.translation import (
    LabelReader,
    Translation,
    fit_label_reader,
    fit_translation,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Geometry:
    """Bins of the windows that a model was fitted on.

    Attributes
    ----------
    bin_width : float
        Width of a time bin, seconds.
    n_lags : int
        Bins per window.
    """

    bin_width: float
    n_lags: int


@dataclass(frozen=True)
class TrainingLatents:
    """Posteriors of a subject's training trials, kept so that the old data are not needed.

    Attributes
    ----------
    mean, scale : ndarray of float32, (trial, window, latent)
        Parameters of the posteriors.
    labels : ndarray of shape (trial,)
        What paired the trials.
    trials : ndarray of int64, (trial,)
        Trial ids.
    starts : ndarray of int64, (window,)
        First bin of each window.
    label_means : ndarray of float32, (label, time, unit)
        Mean counts per bin of each label's training trials; NaN where there are none.
    """

    mean: np.ndarray
    scale: np.ndarray
    labels: np.ndarray
    trials: np.ndarray
    starts: np.ndarray
    label_means: np.ndarray


@dataclass(frozen=True)
class Diagnosis:
    """How the fit went, judged on validation trials (on all trials if none were held out).

    Attributes
    ----------
    alignment : float
        Distance between subjects over distance between labels.
    saturation : float
        Mixture term over M·log M.
    hits, trials : int
        Trials that lie nearest to their own label's average, and how many were looked at.
    held_out : bool
        Whether the trials were held out.
    resolution : float
        Distance between labels over the width of the posteriors, the largest of all subjects'.
    shared_hits, shared_trials : int
        Trials that lie nearest to their own label's average of the other subjects, and how many
        were looked at.
    """

    alignment: float
    saturation: float
    hits: int
    trials: int
    held_out: bool
    resolution: float = float("nan")
    shared_hits: int = 0
    shared_trials: int = 0

    @property
    def within(self) -> Hits:
        """Trials against their own subject's averages."""
        return Hits(self.hits, self.trials)

    @property
    def across(self) -> Hits:
        """Trials against the other subjects' averages."""
        return Hits(self.shared_hits, self.shared_trials)


@dataclass
class FittedModel:
    """A fitted model: networks, what they were fitted on, and how it went."""

    vae: MultimodalVAE
    subjects: dict[str, FittedSubject]
    settings: dict[str, Any]
    geometry: Geometry
    label: str | list[str]
    classes: np.ndarray
    latents: dict[str, TrainingLatents]
    history: pd.DataFrame
    best_epoch: int
    diagnosis: Diagnosis
    seed: int
    device: torch.device
    validation_trials: dict[str, list[int]]
    restarts: pd.DataFrame
    added: tuple[str, ...] = ()  # subjects that joined after the fit
    calibration: dict[tuple[str, str], tuple[Tensor, Tensor]] = field(default_factory=dict)
    joint_calibration: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    label_rates: dict[str, np.ndarray] = field(default_factory=dict)  # (label, time, unit)
    translation: dict[tuple[str, str], Translation] = field(default_factory=dict)
    readers: dict[str, LabelReader] = field(default_factory=dict)

    @property
    def alignment(self) -> float:
        """Distance between subjects over distance between labels."""
        return self.diagnosis.alignment

    @property
    def saturation(self) -> float:
        """Mixture term over M·log M."""
        return self.diagnosis.saturation

    @property
    def dtype(self) -> torch.dtype:
        """Floating point type of the networks."""
        return torch.float64 if self.settings["precision"] == "float64" else torch.float32

    def modality(self, name: str) -> int:
        """Return the position of a subject among the networks."""
        return list(self.subjects).index(name)

    def warn(self) -> None:
        """Warn when the subjects did not meet or the latents carry no label."""
        if self.diagnosis.held_out:
            tied = self.settings["sharing"] not in {"independent", "autoencoder"}
            # averages of single trials lie apart whatever the fit did
            enough = self.diagnosis.trials >= 2 * len(self.classes) * len(self.subjects)
            warn_about(
                self.diagnosis.alignment if tied and enough else 0.0,
                self.diagnosis.within,
                len(self.classes),
                across=self.diagnosis.across if tied else None,
                resolved=self.diagnosis.resolution,
            )

    def summary(self) -> str:
        """Say in a few lines what was fitted and how it went."""
        label = self.label if isinstance(self.label, str) else " and ".join(self.label)
        values = ", ".join(map(str, self.classes))
        where = "validation" if self.diagnosis.held_out else "training"
        units = ", ".join(f"{n} ({len(s.unit_ids)} units)" for n, s in self.subjects.items())
        return "\n".join(
            [
                (
                    f"SharedLatentModel: {self.settings['n_latents']} latents, "
                    f"sharing {self.settings['sharing']}, beta {shown_plan(self.settings['beta'])}, "
                    f"{self.settings['likelihood']} likelihood, scaling {self.settings['scaling']}"
                ),
                f"subjects: {units}",
                f"trials paired by {label} ({values}), pairing {self.settings['pairing']}",
                f"epoch {self.best_epoch} of {len(self.history)} kept, seed {self.seed}",
                *([f"added after the fit: {', '.join(self.added)}"] if self.added else []),
                *self._meeting(where),
                (
                    f"{self.diagnosis.hits} of {self.diagnosis.trials} {where} trials lie nearest to "
                    f"their own label's average{self._told_by_others()} "
                    f"(chance {1 / max(1, len(self.classes)):.2f})"
                ),
            ]
        )

    def _told_by_others(self) -> str:
        across = self.diagnosis.across
        if not across.trials:
            return ""
        return f", {across.hits} of {across.trials} to that of the other subjects"

    def _meeting(self, where: str) -> list[str]:
        """Say how far the subjects met."""
        if len(self.subjects) < 2:
            return ["one subject: its latents are shared with nobody"]
        return [
            (
                f"alignment {self.alignment:.2f} on {where} trials (the same label in two "
                "subjects, over two labels in one: near 0 they met, near 1 they did not)"
            ),
            f"saturation {self.saturation:.2f} (mixture term over its maximum, for information)",
        ]


def shown_plan(plan: float | Sequence[Sequence[float]]) -> str:
    """Write a number, or the points of a schedule, in short."""
    if isinstance(plan, int | float | np.number):
        return f"{plan:g}"
    return " then ".join(f"{value:g} at epoch {epochs:g}" for epochs, value in plan)


def check_geometry(fitted: FittedModel, name: str, dataset: xr.Dataset) -> None:
    """Refuse windows whose bins are not those of the fit.

    Raises
    ------
    DataError
        If bin width or window length differ.
    """
    width, lags = float(dataset.attrs["bin_width"]), lags_per_window(dataset)
    expected = fitted.geometry
    if abs(width - expected.bin_width) > 1e-9 or lags != expected.n_lags:
        raise DataError(
            f"expected windows of {expected.n_lags} bins of {expected.bin_width:g} s as in the "
            f"fit, got {lags} bins of {width:g} s for subject {name!r}; bin and window alike."
        )


def encode_subject(fitted: FittedModel, name: str, dataset: xr.Dataset) -> xr.Dataset:
    """Encode all windows of one subject into labelled latents (trial, window, latent)."""
    check_geometry(fitted, name, dataset)
    subject = fitted.subjects[name]
    matched = match_units(dataset, subject)
    source = window_source(
        matched, subject, device=fitted.device, dtype=fitted.dtype, target_counts=False
    )
    posterior = encode(fitted.vae, fitted.modality(name), source)
    mean, scale = posterior.mean.cpu().numpy(), posterior.scale.cpu().numpy()
    return latents_dataset(matched, mean, scale, subject=name)


@torch.no_grad()
def decoded_rates(fitted: FittedModel, mean: np.ndarray, target: str) -> Tensor:
    """Decode latents (trial, window, latent) to uncalibrated rates (trial, window, lag, unit)."""
    modality, subject = fitted.modality(target), fitted.subjects[target]
    flat = torch.from_numpy(np.ascontiguousarray(mean.reshape(-1, mean.shape[-1])))
    scaling = subject.scaling.to(torch.device("cpu"), fitted.dtype)
    likelihood = fitted.vae.likelihoods[modality]
    pieces = []
    for start in range(0, len(flat), ENCODING_ROWS):
        latent = flat[start : start + ENCODING_ROWS].to(fitted.device, fitted.dtype)
        parameters = fitted.vae.decoders[modality](latent.unsqueeze(0))[0]
        value = likelihood.mean(parameters).cpu()  # type: ignore[operator]
        if likelihood.target == "scaled":
            value = scaling.undo(value)
            value = rate_of_mean_root(value) if scaling.square_root else value.clamp_min(0.0)
        pieces.append(value)
    shape = (*mean.shape[:2], fitted.geometry.n_lags, len(subject.unit_ids))
    return torch.cat(pieces).reshape(shape)


def pair_calibration(fitted: FittedModel, source: str, target: str) -> tuple[Tensor, Tensor]:
    """Return offset and slope (unit) that turn rates decoded from a source into counts.

    For subjects recorded apart, what is to be met is the target's training average of each
    source trial's label; it is computed from what the model keeps, when first asked for.
    """
    if (source, target) not in fitted.calibration:
        kept, met = fitted.latents[source], fitted.latents[target].label_means
        label = np.searchsorted(fitted.classes, kept.labels)
        usable = np.isfinite(met[label]).all((1, 2))
        if not usable.any():
            raise DataError(
                f"{source!r} and {target!r} share no label in the fit, so nothing says how many "
                f"spikes {target!r} fires in trials of {source!r}."
            )
        rates = pair_rates(fitted, source, target, kept.mean[usable])
        fitted.calibration[source, target] = calibrate(rates, kept.starts, met[label[usable]])
    return fitted.calibration[source, target]


def pair_rates(fitted: FittedModel, source: str, target: str, mean: np.ndarray) -> Tensor:
    """Return the target's uncalibrated rates given a source's latents, (trial, window, lag, unit).

    A subject's own latents are decoded as they are. Another's are turned into an expectation
    over what the target may have had: over the labels, weighted by how probable the source's
    whole trial makes them, of the target's rates for the label (the mean of rates, not the rates
    of a mean). For simultaneous recordings these are decoded from the target's average latents
    for the label, shifted by what the source's deviation from its own averages says about them.
    """
    if source == target:
        return decoded_rates(fitted, mean, target)
    centres = label_centres_of(fitted, target)
    known = np.flatnonzero(np.isfinite(centres).all((1, 2)))
    weights = label_reader(fitted, source)(mean)[:, known]
    weights = weights / np.maximum(weights.sum(1, keepdims=True), 1e-30)
    if fitted.settings["pairing"] != "trial":
        rates = _label_windows(fitted, target)[torch.from_numpy(known)]
        return torch.einsum("tk,kwlu->twlu", torch.from_numpy(weights).to(rates), rates)
    shift = pair_translation(fitted, source, target)(_deviation(fitted, source, mean))
    total: Tensor | float = 0.0
    for weight, label in zip(weights.T, known, strict=True):
        rates = decoded_rates(fitted, centres[label] + shift, target)
        total = total + torch.from_numpy(weight)[:, None, None, None].to(rates) * rates
    return torch.as_tensor(total)


def label_centres_of(fitted: FittedModel, subject: str) -> np.ndarray:
    """Return a subject's average training latents per label, (label, window, latent); NaN if none."""
    kept = fitted.latents[subject]
    return label_centres(LabelledLatents(kept.mean, kept.labels), fitted.classes).astype(
        kept.mean.dtype
    )


def _label_windows(fitted: FittedModel, subject: str) -> Tensor:
    """Cut a subject's rates for every label into windows, (label, window, lag, unit)."""
    frames = torch.from_numpy(fitted.label_rates[subject])
    starts = torch.from_numpy(fitted.latents[subject].starts)
    lags = torch.arange(fitted.geometry.n_lags)
    return frames[:, starts[:, None] + lags]


def _deviation(fitted: FittedModel, source: str, mean: np.ndarray) -> np.ndarray:
    """Return latents minus what the label that they suggest would lead one to expect."""
    centres = label_centres_of(fitted, source)
    known = np.isfinite(centres).all((1, 2))
    weights = label_reader(fitted, source)(mean)[:, known]
    expected = np.einsum("tk,kwl->twl", weights, centres[known])
    return np.asarray(mean - expected, dtype=mean.dtype)


def label_reader(fitted: FittedModel, source: str) -> LabelReader:
    """Return what reads labels from a subject's latents, made when first asked for."""
    if source not in fitted.readers:
        kept = fitted.latents[source]
        codes = np.searchsorted(fitted.classes, kept.labels)
        fitted.readers[source] = fit_label_reader(
            kept.mean, codes, len(fitted.classes), _held_out(fitted, source)
        )
    return fitted.readers[source]


def pair_translation(fitted: FittedModel, source: str, target: str) -> Translation:
    """Return the regression of a target's deviations on a source's, over trials they share.

    Deviations are from each subject's own average latents of the trial's label and window.

    Raises
    ------
    DataError
        If they share no trial.
    """
    if (source, target) not in fitted.translation:
        here, there = fitted.latents[source], fitted.latents[target]
        _, mine, theirs = np.intersect1d(here.trials, there.trials, return_indices=True)
        if len(mine) == 0:
            raise DataError(
                f"{source!r} and {target!r} share no trial in the fit, so nothing says what "
                f"{target!r} would do in trials of {source!r}."
            )
        fitted.translation[source, target] = fit_translation(
            _own_deviation(fitted, source)[mine],
            _own_deviation(fitted, target)[theirs],
            _held_out(fitted, source)[mine],
        )
    return fitted.translation[source, target]


def _own_deviation(fitted: FittedModel, subject: str) -> np.ndarray:
    """Return training latents minus the average of their label, (trial, window, latent)."""
    kept = fitted.latents[subject]
    codes = np.searchsorted(fitted.classes, kept.labels)
    return np.asarray(kept.mean - label_centres_of(fitted, subject)[codes])


def _held_out(fitted: FittedModel, subject: str) -> np.ndarray:
    held = fitted.validation_trials.get(subject, [])
    return np.isin(fitted.latents[subject].trials, held)


def calibrate(rates: Tensor, starts: np.ndarray, counts: np.ndarray) -> tuple[Tensor, Tensor]:
    """Fit offset and slope (unit) on training trials.

    Parameters
    ----------
    rates : Tensor of shape (trial, window, lag, unit)
        Uncalibrated rates.
    starts : ndarray of int64, (window,)
        First bin of each window.
    counts : ndarray of shape (trial, time, unit)
        What is to be met, per bin.
    """
    in_time = average_windows(rates, torch.from_numpy(starts), counts.shape[1])
    covered = torch.isfinite(in_time[0, :, 0])
    met = torch.from_numpy(np.ascontiguousarray(counts, dtype=np.float32))[:, covered]
    offset, slope = fit_calibration(in_time[:, covered].flatten(0, 1), met.flatten(0, 1))
    return offset.float(), slope.float()
