"""Fitting: from labelled windows to a fitted model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from neuroalign.bridge import (
    FittedSubject,
    encode,
    fit_subject,
    labels_of,
    match_units,
    plan_rows,
    window_source,
)
from neuroalign.construction import build_networks, resolve_device
from neuroalign.data.windows import window_starts
from neuroalign.diagnostics import LabelledLatents, alignment, nearest_centre_hits
from neuroalign.errors import DataError
from neuroalign.fitted import Diagnosis, FittedModel, TrainingLatents, calibrate, pair_rates
from neuroalign.nn.divergences import mixture_divergence
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.random import RandomStreams
from neuroalign.preparation import Label, check_labels, common_geometry, fingerprint, hold_out
from neuroalign.settings import training_config
from neuroalign.training.keeping import FitProgress
from neuroalign.training.loop import TrainingSet, evaluate_rows, train
from neuroalign.training.pairing import RowPlan
from neuroalign.training.sources import WindowSource

# keys of the random streams, which no epoch ever has
SCORE_ROWS, DIAGNOSIS_ROWS = 2**31 - 4, 2**31 - 5
SATURATION_SAMPLES = 8


def fit_model(
    datasets: Mapping[str, xr.Dataset],
    label: Label,
    settings: Mapping[str, Any],
    *,
    seed: int,
    checkpoint: Path | None,
) -> FittedModel:
    """Fit one model; see `SharedLatentModel.fit`."""
    geometry = common_geometry(datasets)
    labels, classes = labels_of(datasets, label)
    check_labels(labels, classes, label, settings)
    device = resolve_device(settings["device"])
    training, validation = hold_out(datasets, labels, settings, seed)
    subjects = {
        name: fit_subject(name, data.isel(trial=training[name]), settings["scaling"])
        for name, data in datasets.items()
    }
    streams = RandomStreams([seed], device)
    vae = build_networks(subjects, settings, seed).to(device)
    sources = _sources(datasets, subjects, vae, settings, device)
    plan = _planner(datasets, labels, classes, settings, device)
    held_out = plan(validation) if any(map(len, validation.values())) else None
    rows = plan(training)
    if rows.n_rows == 0:
        raise DataError(
            f"no trial of one subject can stand beside a trial of another by {label!r} with "
            f"pairing={settings['pairing']!r}; look at the labels (or trial ids) of the subjects."
        )
    progress = _train(
        vae,
        TrainingSet(list(subjects), list(sources.values()), rows, held_out),
        settings,
        streams,
        checkpoint,
        fingerprint(datasets, labels, settings, seed),
    )
    history = pd.DataFrame(progress.history[0])
    fitted = FittedModel(
        vae=vae,
        subjects=subjects,
        settings=dict(settings),
        geometry=geometry,
        label=label,
        classes=classes,
        latents={},
        history=history,
        best_epoch=_kept_epoch(progress, settings["patience"]),
        diagnosis=Diagnosis(float("nan"), float("nan"), 0, 0, held_out=False),
        seed=seed,
        device=device,
        validation_trials={
            name: [int(t) for t in datasets[name]["trial"].values[where]]
            for name, where in validation.items()
        },
    )
    fitted.latents = _training_latents(fitted, datasets, sources, labels)
    _calibrate_pairs(fitted, datasets)
    fitted.diagnosis = _diagnose(fitted, training, validation, held_out or rows, sources, streams)
    return fitted


def _kept_epoch(progress: FitProgress, patience: int | None) -> int:
    """Return the epoch whose weights the model has: the last one, unless stopping chose."""
    return progress.epoch if patience is None else progress.best_epoch[0] or progress.epoch


def _sources(
    datasets: Mapping[str, xr.Dataset],
    subjects: Mapping[str, FittedSubject],
    vae: MultimodalVAE,
    settings: Mapping[str, Any],
    device: torch.device,
) -> dict[str, WindowSource]:
    dtype = torch.float64 if settings["precision"] == "float64" else torch.float32
    sources = {}
    for (name, subject), likelihood in zip(subjects.items(), vae.likelihoods, strict=True):
        sources[name] = window_source(
            match_units(datasets[name], subject),
            subject,
            device=device,
            dtype=dtype,
            target_counts=likelihood.target == "counts",
        )
    return sources


def _planner(
    datasets: Mapping[str, xr.Dataset],
    labels: Mapping[str, np.ndarray],
    classes: np.ndarray,
    settings: Mapping[str, Any],
    device: torch.device,
) -> Any:
    def plan(positions: Mapping[str, np.ndarray]) -> RowPlan:
        return plan_rows(
            datasets,
            labels,
            positions,
            pairing=settings["pairing"],
            classes=classes,
            device=device,
            donors=settings["mixing"] > 0,
        )

    return plan


def _train(
    vae: MultimodalVAE,
    data: TrainingSet,
    settings: Mapping[str, Any],
    streams: RandomStreams,
    checkpoint: Path | None,
    mark: str,
) -> FitProgress:
    from tqdm import tqdm

    config = training_config(settings)
    beta = torch.tensor([float(settings["beta"])], device=streams.device)
    with tqdm(
        total=config.max_epochs, desc="fit", unit="epoch", disable=not settings["verbose"]
    ) as bar:

        def show(epoch: int, row: Mapping[str, float]) -> None:
            bar.update(epoch - bar.n)
            shown = "validation_objective" if "validation_objective" in row else "objective"
            bar.set_postfix({shown.replace("_", " "): f"{row[shown]:.4g}"})

        progress = train(
            vae,
            data,
            config,
            beta=beta,
            streams=streams,
            on_epoch=show,
            checkpoint=checkpoint,
            fingerprint=mark,
        )
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return progress


def score_model(
    fitted: FittedModel, datasets: Mapping[str, xr.Dataset], label: str | Sequence[str]
) -> float:
    """Return minus the negative objective per row; see `SharedLatentModel.score`."""
    labels, classes = labels_of(datasets, label)
    positions = {name: np.arange(data.sizes["trial"]) for name, data in datasets.items()}
    plan = _planner(datasets, labels, classes, fitted.settings, fitted.device)(positions)
    streams = RandomStreams([fitted.seed], fitted.device)
    streams.reseed(SCORE_ROWS)
    sources = _sources(datasets, fitted.subjects, fitted.vae, fitted.settings, fitted.device)
    terms = evaluate_rows(fitted.vae, list(sources.values()), plan.draw(streams), streams)
    return -float(terms.total(float(fitted.settings["beta"]))[0])


def _training_latents(
    fitted: FittedModel,
    datasets: Mapping[str, xr.Dataset],
    sources: Mapping[str, WindowSource],
    labels: Mapping[str, np.ndarray],
) -> dict[str, TrainingLatents]:
    latents = {}
    for m, (name, dataset) in enumerate(datasets.items()):
        posterior = encode(fitted.vae, m, sources[name])
        shape = (dataset.sizes["trial"], dataset.sizes["window"], -1)
        counts = dataset["counts"].transpose("trial", "time", "unit").values
        means = [
            counts[labels[name] == value].mean(0, dtype=np.float64)
            if (labels[name] == value).any()
            else np.full(counts.shape[1:], np.nan)
            for value in fitted.classes
        ]
        latents[name] = TrainingLatents(
            mean=posterior.mean.cpu().numpy().reshape(shape),
            scale=posterior.scale.cpu().numpy().reshape(shape),
            labels=labels[name],
            trials=dataset["trial"].values.astype(np.int64),
            starts=window_starts(dataset).astype(np.int64),
            label_means=np.stack(means).astype(np.float32),
        )
    return latents


def _calibrate_pairs(fitted: FittedModel, datasets: Mapping[str, xr.Dataset]) -> None:
    """Calibrate what needs single trials' counts, which the model does not keep.

    That is every subject's own reconstruction, and, for simultaneous recordings, every pair;
    pairs recorded apart need label averages only, and wait until they are asked for.
    """
    simultaneous = fitted.settings["pairing"] == "trial"
    for target, dataset in datasets.items():
        counts = dataset["counts"].transpose("trial", "time", "unit").values
        for source in fitted.subjects if simultaneous else [target]:
            kept = fitted.latents[source]
            _, here, there = np.intersect1d(
                kept.trials, fitted.latents[target].trials, return_indices=True
            )
            if len(here):
                rates = pair_rates(fitted, source, target, kept.mean[here])
                fitted.calibration[source, target] = calibrate(rates, kept.starts, counts[there])


def _diagnose(
    fitted: FittedModel,
    training: Mapping[str, np.ndarray],
    validation: Mapping[str, np.ndarray],
    rows: RowPlan,
    sources: Mapping[str, WindowSource],
    streams: RandomStreams,
) -> Diagnosis:
    held_out = any(map(len, validation.values()))
    judged = validation if held_out else training

    def part(name: str, where: np.ndarray) -> LabelledLatents:
        kept = fitted.latents[name]
        return LabelledLatents(kept.mean[where], kept.labels[where])

    looked_at = {name: part(name, judged[name]) for name in fitted.subjects}
    hits = trials = 0
    for name, held in looked_at.items():
        found, total = nearest_centre_hits(part(name, training[name]), held, fitted.classes)
        hits, trials = hits + found, trials + total
    return Diagnosis(
        alignment=alignment(looked_at, fitted.classes),
        saturation=_saturation(fitted, rows, sources, streams),
        hits=hits,
        trials=trials,
        held_out=held_out,
    )


@torch.no_grad()
def _saturation(
    fitted: FittedModel,
    rows: RowPlan,
    sources: Mapping[str, WindowSource],
    streams: RandomStreams,
) -> float:
    n_subjects = len(fitted.subjects)
    if n_subjects < 2:
        return float("nan")
    streams.reseed(DIAGNOSIS_ROWS)
    drawn = rows.draw(streams).batch(0, 1024)
    inputs = [source.gather(drawn.index[..., m])[0] for m, source in enumerate(sources.values())]
    posteriors = fitted.vae.encode(inputs)
    noise = streams.normal(SATURATION_SAMPLES, *posteriors.mean[:, 0].shape).movedim(0, 2)
    present = None if drawn.present is None else drawn.present.permute(2, 0, 1)
    term = mixture_divergence(posteriors, noise.to(posteriors.mean.dtype), present)
    return float(term.mean() / (n_subjects * np.log(n_subjects)))
