"""What a trained network is completed with: latents, calibration, and what became of the fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from neuroalign.bridge import encode
from neuroalign.data.windows import window_starts
from neuroalign.diagnostics import (
    Hits,
    LabelledLatents,
    alignment,
    nearest_centre_hits,
    resolution,
    shared_centre_hits,
)
from neuroalign.fitted import Diagnosis, FittedModel, TrainingLatents, calibrate, pair_rates
from neuroalign.label_rates import update_rates
from neuroalign.monitoring import DIAGNOSIS_ROWS, SATURATION_SAMPLES, saturation
from neuroalign.nn.expectation import average_windows
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.random import RandomStreams
from neuroalign.training.pairing import RowPlan
from neuroalign.training.sources import Source, WindowSource


def training_latents(
    fitted: FittedModel,
    name: str,
    dataset: xr.Dataset,
    source: WindowSource,
    labels: np.ndarray,
) -> TrainingLatents:
    """Encode a subject's training trials and average its counts by label."""
    posterior = encode(fitted.vae, fitted.modality(name), source)
    shape = (dataset.sizes["trial"], dataset.sizes["window"], -1)
    counts = dataset["counts"].transpose("trial", "time", "unit").values
    means = [
        counts[labels == value].mean(0, dtype=np.float64)
        if (labels == value).any()
        else np.full(counts.shape[1:], np.nan)
        for value in fitted.classes
    ]
    return TrainingLatents(
        mean=posterior.mean.cpu().numpy().reshape(shape),
        scale=posterior.scale.cpu().numpy().reshape(shape),
        labels=labels,
        trials=dataset["trial"].values.astype(np.int64),
        starts=window_starts(dataset).astype(np.int64),
        label_means=np.stack(means).astype(np.float32),
    )


def calibrate_pairs(fitted: FittedModel, datasets: Mapping[str, xr.Dataset]) -> None:
    """Calibrate what needs single trials' counts, which the model does not keep.

    That is every subject's own reconstruction, and, for simultaneous recordings, every pair;
    pairs recorded apart need label averages only, and wait until they are asked for.
    """
    simultaneous = fitted.settings["pairing"] == "trial"
    for name, dataset in datasets.items():
        counts = dataset["counts"].transpose("trial", "time", "unit").values
        rates = pair_rates(fitted, name, name, fitted.latents[name].mean)
        fitted.calibration[name, name] = calibrate(rates, fitted.latents[name].starts, counts)
        fitted.label_rates[name] = _label_rates(fitted, name, counts, rates)
    for target, dataset in datasets.items():
        counts = dataset["counts"].transpose("trial", "time", "unit").values
        for source in fitted.subjects if simultaneous else []:
            if source == target:
                continue
            kept = fitted.latents[source]
            _, here, there = np.intersect1d(
                kept.trials, fitted.latents[target].trials, return_indices=True
            )
            if len(here):
                rates = pair_rates(fitted, source, target, kept.mean[here])
                fitted.calibration[source, target] = calibrate(rates, kept.starts, counts[there])


def _best_resolution(fitted: FittedModel) -> float:
    values = [resolution(k.mean, k.scale, k.labels) for k in fitted.latents.values()]
    known = [value for value in values if not np.isnan(value)]  # subjects of several labels
    return max(known, default=float("nan"))


def _label_rates(fitted: FittedModel, name: str, counts: np.ndarray, rates: Tensor) -> np.ndarray:
    """Return a subject's expected counts for every label, (label, time, unit).

    NaN for labels that it does not have, and for bins that no window reaches.
    """
    kept = fitted.latents[name]
    offset, slope = fitted.calibration[name, name]
    expected = offset.to(rates) + slope.to(rates) * rates
    in_time = average_windows(expected, torch.from_numpy(kept.starts), counts.shape[1]).double()
    reached = torch.isfinite(in_time[0, :, 0]).numpy()
    result = np.full((len(fitted.classes), *counts.shape[1:]), np.nan, dtype=np.float32)
    result[:, reached] = update_rates(
        in_time.numpy()[:, reached],
        counts[:, reached],
        np.searchsorted(fitted.classes, kept.labels),
        len(fitted.classes),
        np.isin(kept.trials, fitted.validation_trials.get(name, [])),
    )
    return result


def diagnose(
    fitted: FittedModel,
    vae: MultimodalVAE,
    rows: RowPlan,
    sources: Sequence[Source],
) -> Diagnosis:
    """Judge a fit on its validation trials, or on all trials where none were held out.

    Parameters
    ----------
    fitted : FittedModel
        Whose stored latents are looked at.
    vae : MultimodalVAE
        Networks that read the sources, for the saturation.
    rows : RowPlan
        Rows over the sources.
    sources : sequence of Source
        Examples of each subject.
    """
    held = {
        name: np.isin(kept.trials, fitted.validation_trials.get(name, []))
        for name, kept in fitted.latents.items()
    }
    held_out = any(where.any() for where in held.values())

    def part(name: str, where: np.ndarray) -> LabelledLatents:
        kept = fitted.latents[name]
        return LabelledLatents(kept.mean[where], kept.labels[where])

    looked_at = {name: part(name, held[name] == held_out) for name in fitted.subjects}
    references = {name: part(name, ~held[name]) for name in fitted.subjects}
    within = Hits()
    for name, judged in looked_at.items():
        within += nearest_centre_hits(references[name], judged, fitted.classes)
    across = shared_centre_hits(references, looked_at, fitted.classes)
    return Diagnosis(
        alignment=alignment(looked_at, fitted.classes),
        saturation=_saturation(fitted, vae, rows, sources),
        hits=within.hits,
        trials=within.trials,
        held_out=held_out,
        resolution=_best_resolution(fitted),
        shared_hits=across.hits,
        shared_trials=across.trials,
    )


@torch.no_grad()
def _saturation(
    fitted: FittedModel, vae: MultimodalVAE, rows: RowPlan, sources: Sequence[Source]
) -> float:
    if len(fitted.subjects) < 2 or fitted.settings["sharing"] == "autoencoder":
        return float("nan")
    streams = RandomStreams([fitted.seed], fitted.device)
    streams.reseed(DIAGNOSIS_ROWS)
    drawn = rows.draw(streams).batch(0, 1024)
    inputs = [source.gather(drawn.index[..., m])[0] for m, source in enumerate(sources)]
    posteriors = vae.rule.unimodal(vae.encode(inputs))
    present = None if drawn.present is None else drawn.present[0].T
    mean, scale = posteriors.mean[:, 0], posteriors.scale[:, 0]
    noise = streams.normal(SATURATION_SAMPLES, *mean.shape)[0]
    return saturation(mean, scale, present, noise)
