"""Saved models: a folder of safetensors, JSON and CSV. Loading never executes code."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from neuroalign.bridge import FittedSubject
from neuroalign.construction import build_networks, resolve_device
from neuroalign.errors import ModelFileError
from neuroalign.fitted import Diagnosis, FittedModel, Geometry, TrainingLatents
from neuroalign.preparation import plain
from neuroalign.training.sources import FeatureScaling
from neuroalign.version import __version__

FORMAT_VERSION: Final = 1
FILES: Final = (
    "model.json",
    "weights.safetensors",
    "posteriors.safetensors",
    "history.csv",
    "restarts.csv",
)


def save_fitted(
    fitted: FittedModel, settings: Mapping[str, Any], path: Path, overwrite: bool
) -> Path:
    """Write a fitted model as a folder, aside first, so that a folder there is always whole.

    Raises
    ------
    ModelFileError
        If something is at `path` and `overwrite` is not set, or it is no saved model.
    """
    if path.exists() and not overwrite:
        raise ModelFileError(
            f"{path} exists already and is not overwritten; choose another name, or pass "
            "overwrite=True."
        )
    if path.exists() and not (path / "model.json").exists():
        raise ModelFileError(f"{path} is not a saved model, so it is not replaced.")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        aside.chmod(0o755)  # mkdtemp makes folders that nobody else can read
        _write(fitted, settings, aside)
        _put_in_place(aside, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return path


def _put_in_place(aside: Path, path: Path) -> None:
    if not path.exists():
        os.replace(aside, path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
    os.replace(path, old / path.name)
    try:
        os.replace(aside, path)
    except OSError:
        os.replace(old / path.name, path)  # the old model comes back
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _write(fitted: FittedModel, settings: Mapping[str, Any], folder: Path) -> None:
    weights = {f"network/{k}": v for k, v in fitted.vae.state_dict().items()}
    posteriors: dict[str, Tensor] = {}
    for m, (name, subject) in enumerate(fitted.subjects.items()):
        for what, scaling in (("scaling", subject.scaling), ("totals", subject.totals)):
            if scaling is not None:
                weights[f"{what}/{m}/shift"] = scaling.shift
                weights[f"{what}/{m}/gain"] = scaling.gain
        weights[f"mean_counts/{m}"] = subject.mean_counts
        kept = fitted.latents[name]
        for part in ("mean", "scale", "trials", "starts", "label_means"):
            posteriors[f"{m}/{part}"] = torch.from_numpy(np.ascontiguousarray(getattr(kept, part)))
        posteriors[f"{m}/label_rates"] = torch.from_numpy(fitted.label_rates[name])
    order = list(fitted.subjects)
    for (source, target), (offset, slope) in fitted.calibration.items():
        key = f"calibration/{order.index(source)}/{order.index(target)}"
        weights[f"{key}/offset"], weights[f"{key}/slope"] = offset, slope
    for target, (offset, slope) in fitted.joint_calibration.items():
        key = f"calibration/joint/{order.index(target)}"
        weights[f"{key}/offset"], weights[f"{key}/slope"] = offset, slope
    for name, tensors in (("weights", weights), ("posteriors", posteriors)):
        contiguous = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        save_file(contiguous, folder / f"{name}.safetensors")
    fitted.history.to_csv(folder / "history.csv", index=False)
    fitted.restarts.to_csv(folder / "restarts.csv", index=False)
    text = json.dumps(_manifest(fitted, settings), indent=2, default=plain)
    (folder / "model.json").write_text(text, encoding="utf-8")


def _manifest(fitted: FittedModel, settings: Mapping[str, Any]) -> dict[str, Any]:
    random_state = settings.get("random_state")
    plain = dict(settings)
    plain["random_state"] = random_state if isinstance(random_state, int) else fitted.seed
    return {
        "format": "neuroalign model",
        "format_version": FORMAT_VERSION,
        "versions": {
            "neuroalign": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "settings": plain,
        "fit_settings": fitted.settings,
        "seed": fitted.seed,
        "label": fitted.label,
        "classes": {"kind": fitted.classes.dtype.kind, "values": fitted.classes.tolist()},
        "geometry": vars(fitted.geometry),
        "best_epoch": fitted.best_epoch,
        "diagnosis": vars(fitted.diagnosis),
        "validation_trials": fitted.validation_trials,
        "added": list(fitted.added),
        "subjects": [
            {
                "name": name,
                "unit_ids": list(subject.unit_ids),
                "square_root": subject.scaling.square_root,
                "largest_count": subject.largest_count,
                "labels": fitted.latents[name].labels.tolist(),
            }
            for name, subject in fitted.subjects.items()
        ],
    }


def load_fitted(path: Path, device: str) -> tuple[FittedModel, dict[str, Any]]:
    """Read a folder that `save_fitted` wrote; return the fit and the model's arguments.

    Raises
    ------
    ModelFileError
        If the folder is no saved model, lacks a file, is damaged, or is of a newer format.
    """
    missing = [name for name in FILES if not (path / name).is_file()]
    if missing:
        raise ModelFileError(
            f"expected a folder written by SharedLatentModel.save at {path}, but "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not there."
        )
    try:
        manifest = json.loads((path / "model.json").read_text(encoding="utf-8"))
        version = manifest.get("format_version", 0)
        if manifest.get("format") != "neuroalign model" or version > FORMAT_VERSION:
            raise ModelFileError(
                f"{path} was written in format {version}, this neuroalign reads up to "
                f"{FORMAT_VERSION}; update neuroalign."
            )
        for kept in ("settings", "fit_settings"):  # older models had no such choice
            manifest[kept].setdefault("window_totals", False)
        weights = load_file(path / "weights.safetensors")
        posteriors = load_file(path / "posteriors.safetensors")
        tables = {name: pd.read_csv(path / f"{name}.csv") for name in ("history", "restarts")}
        fitted = _assemble(manifest, weights, posteriors, tables, resolve_device(device))
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as problem:
        if isinstance(problem, ModelFileError):
            raise
        raise ModelFileError(f"the saved model in {path} is damaged ({problem}).") from problem
    return fitted, manifest["settings"]


def _scaling(weights: Mapping[str, Tensor], key: str, entry: Mapping[str, Any]) -> FeatureScaling:
    return FeatureScaling(entry["square_root"], weights[f"{key}/shift"], weights[f"{key}/gain"])


def _assemble(
    manifest: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    posteriors: Mapping[str, Tensor],
    tables: Mapping[str, pd.DataFrame],
    device: torch.device,
) -> FittedModel:
    classes = np.array(manifest["classes"]["values"])
    settings = manifest["fit_settings"]
    subjects: dict[str, FittedSubject] = {}
    latents: dict[str, TrainingLatents] = {}
    for m, entry in enumerate(manifest["subjects"]):
        name = entry["name"]
        subjects[name] = FittedSubject(
            name,
            tuple(entry["unit_ids"]),
            _scaling(weights, f"scaling/{m}", entry),
            weights[f"mean_counts/{m}"],
            entry["largest_count"],
            _scaling(weights, f"totals/{m}", entry) if settings["window_totals"] else None,
        )
        parts = {
            part: posteriors[f"{m}/{part}"].numpy()
            for part in ("mean", "scale", "trials", "starts", "label_means")
        }
        labels = np.array(entry["labels"], dtype=classes.dtype)
        latents[name] = TrainingLatents(labels=labels, **parts)
    vae = build_networks(subjects, settings, manifest["seed"])
    prefix = "network/"
    vae.load_state_dict(
        {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    )
    diagnosis = dict(manifest["diagnosis"])
    return FittedModel(
        vae=vae.to(device),
        subjects=subjects,
        settings=settings,
        geometry=Geometry(**manifest["geometry"]),
        label=manifest["label"],
        classes=classes,
        latents=latents,
        history=tables["history"],
        restarts=tables["restarts"],
        added=tuple(manifest["added"]),
        best_epoch=manifest["best_epoch"],
        diagnosis=Diagnosis(**diagnosis),
        seed=manifest["seed"],
        device=device,
        validation_trials=manifest["validation_trials"],
        calibration=_calibration(weights, list(subjects)),
        joint_calibration=_joint_calibration(weights, list(subjects)),
        label_rates={
            name: posteriors[f"{m}/label_rates"].numpy() for m, name in enumerate(subjects)
        },
    )


def _calibration(
    weights: Mapping[str, Tensor], order: list[str]
) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
    result = {}
    for key, offset in weights.items():
        parts = key.split("/")
        if parts[0] == "calibration" and parts[1] != "joint" and parts[-1] == "offset":
            source, target = order[int(parts[1])], order[int(parts[2])]
            result[source, target] = (offset, weights[key.removesuffix("offset") + "slope"])
    return result


def _joint_calibration(
    weights: Mapping[str, Tensor], order: list[str]
) -> dict[str, tuple[Tensor, Tensor]]:
    result = {}
    for m, name in enumerate(order):
        key = f"calibration/joint/{m}"
        if f"{key}/offset" in weights:
            result[name] = (weights[f"{key}/offset"], weights[f"{key}/slope"])
    return result
