"""One benchmark from its data to its report, in a folder that can be gone on with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch

from neuroalign.errors import DataError, ParameterError
from neuroalign.validation.dataset import Benchmark
from neuroalign.validation.report import write_report
from neuroalign.validation.settings import PRESETS, StudySettings
from neuroalign.validation.study import run_study, trained_judges, write_aside

# below this score on real test images a judge of generated ones is not believed; the paper's
# judge of PolyMNIST reaches 0.98, and small drawn data are harder to learn from
LEAST_JUDGE: Final = {
    "PolyMNIST": 0.98,
    "PolyMNIST-style": 0.98,
    "PolyMNIST-style (small digits)": 0.85,
    "CelebA": 0.6,
    "CelebA-style (drawn faces)": 0.8,
}


def study_settings(benchmark: str, preset: str = "quick", **changes: Any) -> StudySettings:
    """Return a preset's settings with some of them changed.

    Parameters
    ----------
    benchmark : str
        "polymnist" or "celeba".
    preset : str
        "quick" for two cores, "paper" for the paper's text, "code" for its published programs.
    **changes
        Fields of `StudySettings`; those that are None stay as the preset has them, except that
        `standard_weight_epochs` is scaled with `epochs`.

    Raises
    ------
    ParameterError
        If benchmark or preset is unknown, or a value cannot be.
    """
    if benchmark not in PRESETS:
        raise ParameterError(f"benchmark must be one of {list(PRESETS)}, got {benchmark!r}.")
    if preset not in PRESETS[benchmark]:
        raise ParameterError(f"preset must be one of {list(PRESETS[benchmark])}, got {preset!r}.")
    known = {field.name for field in dataclasses.fields(StudySettings)}
    if unknown := set(changes) - known:
        raise ParameterError(f"unknown setting {min(unknown)!r}; choose from {sorted(known)}.")
    given = {name: value for name, value in changes.items() if value is not None}
    chosen = PRESETS[benchmark][preset]
    if "epochs" in given:
        # the term to N(0, I) falls over the same part of a shorter or longer training
        share = chosen.standard_weight_epochs / chosen.epochs
        given.setdefault("standard_weight_epochs", share * given["epochs"])
    return dataclasses.replace(chosen, **given)


def validate(
    benchmark: Benchmark,
    settings: StudySettings,
    out: str | Path,
    *,
    device: str = "auto",
    n_jobs: int = 1,
    say: Callable[[str], None],
) -> Path:
    """Run a study and write its report.

    Parameters
    ----------
    benchmark : Benchmark
        From `polymnist` or `celeba`.
    settings : StudySettings
        From `study_settings`.
    out : str or Path
        Folder; what is in it from an interrupted run is not done again.
    device : str
        "auto", "cpu", "cuda" or another torch device.
    n_jobs : int
        Processes that fit side by side.
    say : callable
        Told in a line what happens.

    Returns
    -------
    Path
        Of `report.md`.

    Raises
    ------
    DataError
        If the folder holds something else.
    """
    from neuroalign.construction import resolve_device

    folder = Path(out)
    where = resolve_device(device)
    _check_folder(folder, benchmark, settings)
    least = LEAST_JUDGE.get(benchmark.name, 0.9)
    if n_jobs != 1:
        torch.set_num_threads(1)  # processes and threads would wait for each other
    run_study(benchmark, settings, folder, device=where, least_judge=least, n_jobs=n_jobs, say=say)
    judges = trained_judges(benchmark, settings, folder, device=where, say=say)
    return write_report(benchmark, settings, judges, folder, least_judge=least, device=where)


def _check_folder(folder: Path, benchmark: Benchmark, settings: StudySettings) -> None:
    """Refuse a folder of another study; note what this one is."""
    note = folder / "study.json"
    told = {"benchmark": benchmark.name, "settings": dataclasses.asdict(settings)}
    told = json.loads(json.dumps(told))
    if note.exists():
        kept = json.loads(note.read_text(encoding="utf-8"))
        judging = {"judge_rows", "judge_images"}  # judges are trained anew, fits kept
        free = {"methods", "betas", "seeds"} | judging  # more of these may be added
        before = kept.get("settings", {})
        mine = {k: v for k, v in told["settings"].items() if k not in free}
        theirs = {k: v for k, v in before.items() if k not in free}
        if kept.get("benchmark") != benchmark.name or mine != theirs:
            changed = sorted(k for k in mine if mine[k] != theirs.get(k))
            raise DataError(
                f"{folder} holds a study of {kept.get('benchmark')} with other settings "
                f"({', '.join(changed) or 'other data'}); give another folder."
            )
        if any(told["settings"][name] != before.get(name) for name in judging):
            for judge in (folder / "judges").glob("*.safetensors"):
                judge.unlink()
    elif folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} holds something else; give a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(told, indent=1)
    write_aside(note, lambda aside: aside.write_text(text, encoding="utf-8"))
