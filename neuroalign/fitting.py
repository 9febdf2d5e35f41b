"""Fitting: from labelled windows to a fitted model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from neuroalign.bridge import (
    FittedSubject,
    check_counts,
    fit_subject,
    labels_of,
    match_units,
    plan_rows,
    window_source,
)
from neuroalign.construction import build_networks, resolve_device
from neuroalign.errors import DataError
from neuroalign.finishing import calibrate_pairs, diagnose, training_latents
from neuroalign.fitted import (
    Diagnosis,
    FittedModel,
    Geometry,
)
from neuroalign.joint_reconstruction import calibrate_joint
from neuroalign.monitoring import EpochMeasure
from neuroalign.nn.likelihood_base import Likelihood
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.random import RandomStreams
from neuroalign.preparation import (
    Label,
    check_labels,
    check_trials,
    common_geometry,
    fingerprint,
    hold_out,
)
from neuroalign.restarts import Start, Training, best_start, train_fit
from neuroalign.settings import final_options, objective_schedules
from neuroalign.training.keeping import FitProgress
from neuroalign.training.loop import evaluate_rows
from neuroalign.training.pairing import RowPlan
from neuroalign.training.sets import Measure, TrainingSet
from neuroalign.training.sources import WindowSource

SCORE_ROWS = 2**31 - 4  # key of the random streams, which no epoch ever has


@dataclass(frozen=True)
class PreparedFit:
    """All that a fit needs before its networks are trained, and to go on once they are."""

    datasets: Mapping[str, xr.Dataset]
    label: Label
    settings: Mapping[str, Any]
    seed: int
    geometry: Geometry
    labels: Mapping[str, np.ndarray]
    classes: np.ndarray
    subjects: dict[str, FittedSubject]
    sources: Mapping[str, WindowSource]
    validation: Mapping[str, np.ndarray]
    training: Training

    @property
    def fingerprint(self) -> str:
        """Say what is being fitted, to recognise its checkpoint."""
        return fingerprint(self.datasets, self.labels, self.settings, self.seed)


def fit_model(
    datasets: Mapping[str, xr.Dataset],
    label: Label,
    settings: Mapping[str, Any],
    *,
    seed: int,
    checkpoint: Path | None,
) -> FittedModel:
    """Fit one model; see `SharedLatentModel.fit`."""
    prepared = prepare_fit(datasets, label, settings, seed=seed)
    said = "" if checkpoint is None else prepared.fingerprint
    starts = train_fit(prepared.training, checkpoint=checkpoint, fingerprint=said)
    return finish_fit(prepared, starts)


def prepare_fit(
    datasets: Mapping[str, xr.Dataset], label: Label, settings: Mapping[str, Any], *, seed: int
) -> PreparedFit:
    """Check what is to be fitted, hold trials out, and lay the counts on the device.

    Raises
    ------
    DataError
        If the windows are not what a fit needs.
    """
    geometry = common_geometry(datasets)
    for name, dataset in datasets.items():
        check_counts(dataset, name)
    labels, classes = labels_of(datasets, label)
    check_labels(labels, classes, label, settings)
    check_trials(datasets, settings)
    device = resolve_device(settings["device"])
    training, validation = hold_out(datasets, labels, settings, seed)
    check_training(training, settings)
    subjects = {
        name: fit_subject(
            name,
            data.isel(trial=training[name]),
            settings,
            largest_count=int(data["counts"].max()),
        )
        for name, data in datasets.items()
    }

    def build(own_seed: int) -> MultimodalVAE:
        return build_networks(subjects, settings, own_seed).to(device)

    sources = subject_sources(datasets, subjects, build(seed), settings, device)
    plan = _planner(datasets, labels, classes, settings, device)
    held_out = plan(validation) if any(map(len, validation.values())) else None
    if held_out is not None and held_out.n_rows == 0:
        held_out = None  # validation trials of which none stands beside another
    rows = plan(training)
    if rows.n_rows == 0:
        raise DataError(
            f"no trial of one subject can stand beside a trial of another by {label!r} with "
            f"pairing={settings['pairing']!r}; look at the labels (or trial ids) of the subjects."
        )
    stochastic = settings["sharing"] != "autoencoder"  # others have posteriors to saturate
    measure = _epoch_measure(sources, labels, validation, classes, held_out if stochastic else None)
    data = TrainingSet(list(subjects), list(sources.values()), rows, held_out, measure)
    return PreparedFit(
        datasets=datasets,
        label=label,
        settings=settings,
        seed=seed,
        geometry=geometry,
        labels=labels,
        classes=classes,
        subjects=subjects,
        sources=sources,
        validation=validation,
        training=Training(build, data, settings, device, seed),
    )


def finish_fit(prepared: PreparedFit, starts: Sequence[Start]) -> FittedModel:
    """Make a model of the best start: latents, calibration and diagnosis."""
    best, settings, data = best_start(starts), prepared.settings, prepared.training.data
    datasets = prepared.datasets
    fitted = FittedModel(
        vae=best.vae,
        subjects=prepared.subjects,
        settings=dict(settings),
        geometry=prepared.geometry,
        label=prepared.label,
        classes=prepared.classes,
        latents={},
        history=pd.DataFrame(best.progress.history[0]),
        best_epoch=kept_epoch(best.progress, settings["patience"]),
        diagnosis=Diagnosis(float("nan"), float("nan"), 0, 0, held_out=False),
        seed=prepared.seed,
        device=prepared.training.device,
        validation_trials={
            name: [int(t) for t in datasets[name]["trial"].values[where]]
            for name, where in prepared.validation.items()
        },
        restarts=restart_table(starts, settings["patience"]),
    )
    fitted.latents = {
        name: training_latents(fitted, name, dataset, prepared.sources[name], prepared.labels[name])
        for name, dataset in datasets.items()
    }
    calibrate_pairs(fitted, datasets)
    calibrate_joint(fitted, datasets)
    rows = data.validation_rows or data.training_rows
    fitted.diagnosis = diagnose(fitted, fitted.vae, rows, data.sources)
    return fitted


def check_training(training: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> None:
    """Refuse a fit that holds out all trials of a subject.

    Raises
    ------
    DataError
        If a subject has no trial left to train on.
    """
    empty = [name for name, positions in training.items() if len(positions) == 0]
    if empty:
        raise DataError(
            f"no trial of subject {empty[0]!r} is left to train on after holding out "
            f"validation_fraction={settings['validation_fraction']:g} of them; lower it, or pass 0."
        )


def restart_table(starts: Sequence[Start], patience: int | None) -> pd.DataFrame:
    """Lay out how every random start ended."""
    return pd.DataFrame(
        [
            {
                "seed": start.seed,
                "best_epoch": kept_epoch(start.progress, patience),
                "objective": start.objective,
            }
            for start in starts
        ]
    )


def _epoch_measure(
    sources: Mapping[str, WindowSource],
    labels: Mapping[str, np.ndarray],
    validation: Mapping[str, np.ndarray],
    classes: np.ndarray,
    rows: RowPlan | None,
) -> Measure | None:
    """Return what tells after every epoch how far apart subjects are on held-out trials."""
    if not all(map(len, validation.values())) or len(sources) < 2 or len(classes) < 2:
        return None
    return EpochMeasure(sources, labels, validation, classes, rows)


def kept_epoch(progress: FitProgress, patience: int | None) -> int:
    """Return the epoch whose weights the model has: the last one, unless stopping chose."""
    return progress.epoch if patience is None else progress.best_epoch[0] or progress.epoch


def subject_sources(
    datasets: Mapping[str, xr.Dataset],
    subjects: Mapping[str, FittedSubject],
    vae: MultimodalVAE,
    settings: Mapping[str, Any],
    device: torch.device,
) -> dict[str, WindowSource]:
    """Put every subject's counts on the device, after asking whether they can be modelled.

    Raises
    ------
    DataError
        If a likelihood cannot model the counts.
    """
    return {
        name: source_for(datasets[name], subject, likelihood, settings, device)  # type: ignore[arg-type]
        for (name, subject), likelihood in zip(subjects.items(), vae.likelihoods, strict=True)
    }


def source_for(
    dataset: xr.Dataset,
    subject: FittedSubject,
    likelihood: Likelihood,
    settings: Mapping[str, Any],
    device: torch.device,
) -> WindowSource:
    """Put one subject's counts on the device; see `subject_sources`."""
    source = window_source(
        match_units(dataset, subject),
        subject,
        device=device,
        dtype=torch.float64 if settings["precision"] == "float64" else torch.float32,
        target_counts=likelihood.target == "counts",
    )
    problem = likelihood.problem(source.counts) if likelihood.target == "counts" else None
    if problem is not None:
        raise DataError(
            f"the {settings['likelihood']} likelihood cannot model the counts of subject "
            f"{subject.name!r}: {problem}; choose another likelihood (poisson takes any counts) "
            "or shorter bins."
        )
    return source


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


def score_model(
    fitted: FittedModel, datasets: Mapping[str, xr.Dataset], label: str | Sequence[str]
) -> float:
    """Return minus the negative objective per row; see `SharedLatentModel.score`."""
    labels, classes = labels_of(datasets, label)
    positions = {name: np.arange(data.sizes["trial"]) for name, data in datasets.items()}
    plan = _planner(datasets, labels, classes, fitted.settings, fitted.device)(positions)
    if plan.n_rows == 0:
        raise DataError(
            f"no trial of one subject can stand beside a trial of another by {label!r} with "
            f"pairing={fitted.settings['pairing']!r}; look at the labels (or trial ids)."
        )
    streams = RandomStreams([fitted.seed], fitted.device)
    streams.reseed(SCORE_ROWS)
    sources = subject_sources(datasets, fitted.subjects, fitted.vae, fitted.settings, fitted.device)
    fitted.vae.set_options(final_options(fitted.settings))
    rows = evaluate_rows(fitted.vae, list(sources.values()), plan.draw(streams), streams)
    terms = rows.mean()
    beta = objective_schedules(fitted.settings).beta[0].final
    return -float(terms.total(beta)[0])
