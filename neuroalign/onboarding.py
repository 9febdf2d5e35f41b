"""A new subject joins a fitted model whose other subjects stay as they are.

The old subjects are known by the posteriors that the model keeps; their recordings are not
needed, and none of their weights moves.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
import xarray as xr

from neuroalign.bridge import FittedSubject, check_counts, fit_subject, labels_of
from neuroalign.construction import build_subject
from neuroalign.errors import DataError, ParameterError
from neuroalign.finishing import calibrate_pairs, diagnose, training_latents
from neuroalign.fitted import Diagnosis, FittedModel, check_geometry
from neuroalign.fitting import check_training, kept_epoch, restart_table, source_for
from neuroalign.nn.frozen import NoDecoder, NoLikelihood, StoredPosterior
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.sharing import SharingOptions
from neuroalign.preparation import hold_out
from neuroalign.restarts import Training, best_start, train_fit
from neuroalign.settings import resolved_settings
from neuroalign.training.pairing import FixedRows, ResampledRows, RowPlan
from neuroalign.training.sets import TrainingSet
from neuroalign.training.sources import PosteriorSource, Source

# what may differ between the fit and the joining: how to train, not what the model is
TRAINING_SETTINGS: Final = (
    "beta",
    "dropout",
    "mixing",
    "max_epochs",
    "batch_size",
    "weight_averaging",
    "n_init",
    "learning_rate",
    "weight_decay",
    "gradient_clip",
    "validation_fraction",
    "patience",
    "verbose",
)


def add_subject(
    fitted: FittedModel,
    name: str,
    dataset: xr.Dataset,
    *,
    seed: int,
    overrides: Mapping[str, Any],
) -> FittedModel:
    """Return a fit that has one subject more; see `SharedLatentModel.add_subject`."""
    settings = _settings(fitted, overrides)
    _check(fitted, name, dataset)
    check_counts(dataset, name)
    labels = _labels(fitted, name, dataset)
    training, validation = hold_out({name: dataset}, {name: labels}, settings, seed)
    check_training(training, settings)
    subject = fit_subject(
        name,
        dataset.isel(trial=training[name]),
        settings,
        largest_count=int(dataset["counts"].max()),
    )
    source = source_for(
        dataset, subject, build_subject(subject, settings, seed).likelihood, settings, fitted.device
    )
    rows = _plan(fitted, dataset, labels, training[name], held_out=False)
    held_out = _plan(fitted, dataset, labels, validation[name], held_out=True)
    if rows is None:
        raise DataError(
            f"no trial of {name!r} can stand beside a trial of the fit's subjects by "
            f"{fitted.label!r}; look at its labels (or trial ids)."
        )
    sources: list[Source] = [*_stored(fitted), source]
    starts = train_fit(
        Training(
            lambda own_seed: _networks(fitted, subject, settings, own_seed),
            TrainingSet([*fitted.subjects, name], sources, rows, held_out),
            settings,
            fitted.device,
            seed,
        )
    )
    best = best_start(starts)
    grown = _assemble(fitted, subject, settings, best.vae, validation[name], dataset)
    grown.history = _own_columns(pd.DataFrame(best.progress.history[0]), fitted)
    grown.best_epoch = kept_epoch(best.progress, settings["patience"])
    grown.restarts = restart_table(starts, settings["patience"])
    grown.latents[name] = training_latents(grown, name, dataset, source, labels)
    calibrate_pairs(grown, {name: dataset})
    grown.diagnosis = diagnose(grown, best.vae, held_out or rows, sources)
    return grown


def _settings(fitted: FittedModel, overrides: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(overrides) - set(TRAINING_SETTINGS))
    if unknown:
        raise ParameterError(
            f"add_subject cannot change {', '.join(map(repr, unknown))}: a joining subject takes "
            f"the model as it is; it may change {', '.join(TRAINING_SETTINGS)}."
        )
    settings = {**fitted.settings, **overrides}
    resolved = resolved_settings({**settings, "reconstruction_weights": None})
    return {**settings, "beta": resolved["beta"]}


def _check(fitted: FittedModel, name: str, dataset: xr.Dataset) -> None:
    sharing = fitted.settings["sharing"]
    if sharing != "mm-vamp":
        raise ParameterError(
            'add_subject needs sharing="mm-vamp", whose prior ties a new subject to the stored '
            f"posteriors of the others; this model was fitted with sharing={sharing!r}."
        )
    check_geometry(fitted, name, dataset)
    expected = len(next(iter(fitted.latents.values())).starts)
    if dataset.sizes["window"] != expected:
        raise DataError(
            f"expected {expected} windows per trial as in the fit, got {dataset.sizes['window']} "
            f"for subject {name!r}; cut frame and windows alike."
        )
    if dataset.sizes["trial"] == 0:
        raise DataError(f"no trials for subject {name!r}; loosen the spec's trial rules.")
    if dataset.sizes["unit"] == 0:
        raise DataError(f"subject {name!r} has no units left; loosen the spec's unit rules.")


def _labels(fitted: FittedModel, name: str, dataset: xr.Dataset) -> np.ndarray:
    labels, classes = labels_of({name: dataset}, fitted.label)
    unknown = classes[~np.isin(classes, fitted.classes)]
    if len(unknown):
        raise DataError(
            f"subject {name!r} has {fitted.label} {str(unknown[0])!r}, which the fit does not know "
            f"(it knows {', '.join(map(str, fitted.classes))}); leave those trials out (keep_labels)."
        )
    return labels[name]


def _plan(
    fitted: FittedModel,
    dataset: xr.Dataset,
    labels: np.ndarray,
    positions: np.ndarray,
    *,
    held_out: bool,
) -> RowPlan | None:
    """Plan rows of the new subject's trials and the others' stored posteriors; None if empty.

    Held-out trials meet held-out trials where the others have any of that label.
    """
    n_windows = dataset.sizes["window"]
    if len(positions) == 0:
        return None
    if fitted.settings["pairing"] == "trial":
        ids = dataset["trial"].values[positions]
        columns = [_places(kept.trials, ids) for kept in fitted.latents.values()]
        table = np.stack([*columns, positions], axis=1)
        table = table[(table[:, :-1] >= 0).any(1)]
        if len(table) == 0:
            return None
        there = torch.from_numpy(table >= 0).to(fitted.device)
        index = torch.from_numpy(np.maximum(table, 0)).to(fitted.device)
        return FixedRows(index, n_windows, None if bool(there.all()) else there)
    present = [value for value in fitted.classes if (labels[positions] == value).any()]
    members = []
    for name, kept in fitted.latents.items():
        held = np.isin(kept.trials, fitted.validation_trials.get(name, []))
        members.append([_of_label(kept.labels == value, held == held_out) for value in present])
    members.append([positions[labels[positions] == value] for value in present])
    tensors = [[torch.from_numpy(t).to(fitted.device) for t in subject] for subject in members]
    return ResampledRows(tensors, n_windows, donors=fitted.settings["mixing"] > 0)


def _of_label(labelled: np.ndarray, preferred: np.ndarray) -> np.ndarray:
    chosen = np.flatnonzero(labelled & preferred)
    return chosen if len(chosen) else np.flatnonzero(labelled)


def _places(trials: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    where = {int(t): i for i, t in enumerate(trials)}
    return np.array([where.get(int(t), -1) for t in wanted], dtype=np.int64)


def _stored(fitted: FittedModel) -> list[PosteriorSource]:
    def put(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(fitted.device, fitted.dtype)

    return [PosteriorSource(put(kept.mean), put(kept.scale)) for kept in fitted.latents.values()]


def _networks(
    fitted: FittedModel, subject: FittedSubject, settings: Mapping[str, Any], seed: int
) -> MultimodalVAE:
    """Build the new subject's networks beside stand-ins for the others."""
    own = build_subject(subject, settings, seed)
    others = len(fitted.subjects)
    vae = MultimodalVAE(
        [*(StoredPosterior() for _ in range(others)), own.encoder],
        [*(NoDecoder() for _ in range(others)), own.decoder],
        [*(NoLikelihood() for _ in range(others)), own.likelihood],  # type: ignore[list-item]
        sharing=settings["sharing"],
        options=SharingOptions(mixture_samples=settings["mixture_samples"]),
    ).to(fitted.device)
    return vae.double() if settings["precision"] == "float64" else vae


def _assemble(
    fitted: FittedModel,
    subject: FittedSubject,
    settings: Mapping[str, Any],
    joined: MultimodalVAE,
    held_out: np.ndarray,
    dataset: xr.Dataset,
) -> FittedModel:
    """Put the new networks beside copies of the old ones."""
    old = fitted.vae
    kept = dict(fitted.settings)
    if kept["reconstruction_weights"] is not None:  # by name, so that the old ones stay
        weights = dict(zip(fitted.subjects, old.weights, strict=True))
        kept["reconstruction_weights"] = {**weights, subject.name: 1.0}
    vae = MultimodalVAE(
        [*map(copy.deepcopy, old.encoders), joined.encoders[-1]],
        [*map(copy.deepcopy, old.decoders), joined.decoders[-1]],
        [*map(copy.deepcopy, old.likelihoods), joined.likelihoods[-1]],  # type: ignore[list-item]
        sharing=settings["sharing"],
        options=old.options,
        weights=[*old.weights, 1.0],
    )
    trials = [int(t) for t in dataset["trial"].values[held_out]]
    return FittedModel(
        vae=vae,
        subjects={**fitted.subjects, subject.name: subject},
        settings=kept,
        geometry=fitted.geometry,
        label=fitted.label,
        classes=fitted.classes,
        latents=dict(fitted.latents),
        history=fitted.history,
        best_epoch=fitted.best_epoch,
        diagnosis=Diagnosis(float("nan"), float("nan"), 0, 0, held_out=False),
        seed=fitted.seed,
        device=fitted.device,
        validation_trials={**fitted.validation_trials, subject.name: trials},
        restarts=fitted.restarts,
        added=(*fitted.added, subject.name),
        calibration=dict(fitted.calibration),
        label_rates=dict(fitted.label_rates),
        translation=dict(fitted.translation),
        readers=dict(fitted.readers),
    )


def _own_columns(history: pd.DataFrame, fitted: FittedModel) -> pd.DataFrame:
    """Drop the columns of subjects that were not trained."""
    idle = [c for c in history.columns if any(c.endswith(f"[{n}]") for n in fitted.subjects)]
    return history.drop(columns=idle)
