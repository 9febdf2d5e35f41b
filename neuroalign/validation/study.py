"""Fit and score every way of sharing, β and seed; what is done is kept and not done again."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from neuroalign.errors import DataError, TrainingError
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.training.keeping import HistoryRow
from neuroalign.validation.dataset import Benchmark
from neuroalign.validation.fitting import FitKey, build_vae, fingerprint, fit
from neuroalign.validation.judge import LEAST_STRIDE, Judge, load_judge, save_judge, train_judge
from neuroalign.validation.protocol import Score, score_fit
from neuroalign.validation.settings import StudySettings

Say = Callable[[str], None]


def keys_of(settings: StudySettings) -> list[FitKey]:
    """Return all fits of a study: seeds outermost, so that every method is seen early."""
    order = itertools.product(settings.seeds, settings.betas, settings.methods)
    return [FitKey(method, beta, seed) for seed, beta, method in order]


def run_study(
    benchmark: Benchmark,
    settings: StudySettings,
    out: Path,
    *,
    device: torch.device,
    least_judge: float,
    n_jobs: int = 1,
    say: Say,
) -> pd.DataFrame:
    """Fit, score and keep everything; a study that was interrupted goes on where it was.

    Parameters
    ----------
    benchmark : Benchmark
        The data.
    settings : StudySettings
        What to fit and how to score.
    out : Path
        Folder for weights, scores, histories and judges.
    device : torch.device
        Where to train.
    least_judge : float
        Judges that score less on real test images are not believed: coherence is left out.
    n_jobs : int
        Processes that fit side by side.
    say : callable
        Told in a line what happens.

    Returns
    -------
    DataFrame
        A row per score: method, beta, seed, measure, source, target, attribute, value.

    Raises
    ------
    DataError
        If the folder holds a study of other data or other settings.
    """
    fits = out / "fits"
    fits.mkdir(parents=True, exist_ok=True)
    judges = trained_judges(benchmark, settings, out, device=device, n_jobs=n_jobs, say=say)
    believed = {name: judge for name, judge in judges.items() if judge.score >= least_judge}
    for name in set(judges) - set(believed):
        say(
            f"the judge of {name} scores {judges[name].score:.4f} on real images, less than "
            f"{least_judge}: coherence of generated {name} is not judged."
        )
    waiting = [
        key for key in keys_of(settings) if not _is_done(benchmark, settings, key, fits, believed)
    ]
    say(f"{len(waiting)} of {len(keys_of(settings))} fits to do")
    for number, (key, told) in enumerate(
        _each_fit(benchmark, settings, waiting, out, tuple(believed), device, n_jobs), start=1
    ):
        said = f"{key.method}, beta {key.beta:g}, seed {key.seed}"
        say(f"{number}/{len(waiting)} {said}: {told}")
        collect(settings, out)
    return collect(settings, out)


def _is_done(
    benchmark: Benchmark,
    settings: StudySettings,
    key: FitKey,
    fits: Path,
    judges: Mapping[str, Judge],
) -> bool:
    """Tell whether a fit's scores are on disk; those of another study are refused."""
    scores = fits / f"{key.name}.json"
    if not scores.exists():
        return False
    kept = json.loads(scores.read_text(encoding="utf-8"))["fingerprint"]
    if kept.split(" ", 1)[0] != fingerprint(benchmark, settings, key):
        raise DataError(
            f"{scores} is of other data or settings; give another folder, or delete it."
        )
    return bool(kept == _scored_as(benchmark, settings, key, judges))


def _is_fitted(benchmark: Benchmark, settings: StudySettings, key: FitKey, fits: Path) -> bool:
    """Tell whether trained networks are on disk, of which only scores are wanted anew."""
    scores, weights = fits / f"{key.name}.json", fits / f"{key.name}.safetensors"
    if not (scores.exists() and weights.exists()):
        return False
    kept = json.loads(scores.read_text(encoding="utf-8"))["fingerprint"]
    return bool(kept.split(" ", 1)[0] == fingerprint(benchmark, settings, key))


def _each_fit(
    benchmark: Benchmark,
    settings: StudySettings,
    keys: list[FitKey],
    out: Path,
    judged: tuple[str, ...],
    device: torch.device,
    n_jobs: int,
) -> Iterator[tuple[FitKey, str]]:
    """Yield every fit that has ended, and what came of it."""
    from joblib import Parallel, delayed

    work = Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    with warnings.catch_warnings():
        # joblib replaces workers whose memory grew, as it does where images are scored
        warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
        yield from work(
            delayed(_one_fit)(benchmark, settings, k, out, judged, device) for k in keys
        )


def _one_fit(
    benchmark: Benchmark,
    settings: StudySettings,
    key: FitKey,
    out: Path,
    judged: tuple[str, ...],
    device: torch.device,
) -> tuple[FitKey, str]:
    """Fit, score and write; runs in a worker."""
    fits = out / "fits"
    judges = {m: load_judge(out / "judges" / f"{m}.safetensors", benchmark, device) for m in judged}
    kept: dict[str, Any] = {"fingerprint": _scored_as(benchmark, settings, key, judges)}
    if _is_fitted(benchmark, settings, key, fits):
        vae = load_fit(benchmark, settings, key, out, device)
        return key, _score(benchmark, settings, key, vae, judges, fits, kept)
    checkpoint = fits / f"{key.name}.checkpoint"
    try:
        with epochs_shown(key.name, settings.epochs) as on_epoch:
            vae, history = fit(
                benchmark, settings, key, device=device, checkpoint=checkpoint, on_epoch=on_epoch
            )
    except TrainingError as problem:  # one that breaks is a result, not the end of the others
        _write_json(fits / f"{key.name}.json", kept | {"scores": [], "error": str(problem)})
        return key, f"could not be fitted: {problem}"
    _save_weights(vae, fits / f"{key.name}.safetensors")
    write_table(fits / f"{key.name}_history.csv", pd.DataFrame(history))
    said = _score(benchmark, settings, key, vae, judges, fits, kept)
    checkpoint.unlink(missing_ok=True)
    return key, said


def _score(
    benchmark: Benchmark,
    settings: StudySettings,
    key: FitKey,
    vae: MultimodalVAE,
    judges: Mapping[str, Judge],
    fits: Path,
    kept: dict[str, Any],
) -> str:
    """Score trained networks and write the scores; return them in short."""
    found = score_fit(benchmark, vae, judges, settings, seed=key.seed)
    _write_json(
        fits / f"{key.name}.json", kept | {"scores": [dataclasses.asdict(one) for one in found]}
    )
    return _in_short(found)


@contextmanager
def epochs_shown(name: str, epochs: int) -> Iterator[Callable[[int, HistoryRow], None]]:
    """Move a bar with the epochs of a fit, where a person watches; workers have none."""
    from tqdm import tqdm

    watched = sys.stderr.isatty() and parent_process() is None
    with tqdm(total=epochs, desc=name, unit="epoch", leave=False, disable=not watched) as bar:

        def show(epoch: int, row: HistoryRow) -> None:
            bar.update(epoch - bar.n)
            bar.set_postfix(objective=f"{row['objective']:.1f}")

        yield show


def _scored_as(
    benchmark: Benchmark, settings: StudySettings, key: FitKey, judges: Mapping[str, Judge]
) -> str:
    """Say what scores depend on: the fit, how it is scored, and who judges."""
    told = (
        settings.classifier_rows,
        settings.judge_rows,
        settings.judge_images,
        sorted(judges),
    )
    return f"{fingerprint(benchmark, settings, key)} {told}"


def _in_short(scores: list[Score]) -> str:
    frame = pd.DataFrame([dataclasses.asdict(score) for score in scores])
    values = frame[frame["source"] != frame["target"]].groupby("measure")["value"]
    return ", ".join(
        f"{measure} {value.sum():.0f}"  # nats per row, summed over modalities as in tables
        if str(measure).startswith("reconstruction")
        else f"{measure} {value.mean():.3f}"
        for measure, value in values
        if str(measure)[-9:] != "attribute"
    )


def trained_judges(
    benchmark: Benchmark,
    settings: StudySettings,
    out: Path,
    *,
    device: torch.device,
    n_jobs: int = 1,
    say: Say,
) -> dict[str, Judge]:
    """Train a judge for every image modality, or read those that are in the folder."""
    from joblib import Parallel, delayed, effective_n_jobs

    (out / "judges").mkdir(parents=True, exist_ok=True)
    paths = {
        modality.name: out / "judges" / f"{modality.name}.safetensors"
        for modality in benchmark.modalities
        if modality.kind == "image"
    }
    waiting = {name: path for name, path in paths.items() if not path.exists()}
    work = [
        delayed(_one_judge)(benchmark, settings, name, path, device, say)
        for name, path in waiting.items()
    ]
    if len(work) == 1 and n_jobs != 1:  # it has all cores to itself
        with _threads(effective_n_jobs(n_jobs)):
            Parallel(n_jobs=1)(work)
    else:
        Parallel(n_jobs=n_jobs)(work)
    judges = {name: load_judge(path, benchmark, device) for name, path in paths.items()}
    for name in waiting:
        say(f"judge of {name}: {judges[name].score:.4f} on real test images")
    return judges


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let torch use that many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _one_judge(
    benchmark: Benchmark,
    settings: StudySettings,
    modality: str,
    path: Path,
    device: torch.device,
    say: Say,
) -> None:
    """Train a judge and write it; may run in a worker."""
    judge = train_judge(
        benchmark,
        modality,
        n_images=settings.judge_images,
        n_rows=settings.judge_rows,
        stem_stride=max(LEAST_STRIDE, settings.stem_stride),
        device=device,
        on_epoch=partial(_say_epoch, say, modality),
    )
    save_judge(judge, path)


def _say_epoch(say: Say, modality: str, epoch: int, score: float) -> None:
    say(f"judge of {modality}: epoch {epoch}, {score:.3f} on validation images")


def collect(settings: StudySettings, out: Path) -> pd.DataFrame:
    """Return the scores of all fits that are done, and write them as `scores.csv`."""
    rows: list[dict[str, Any]] = []
    for key in keys_of(settings):
        path = out / "fits" / f"{key.name}.json"
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            rows += [dataclasses.asdict(key) | score for score in kept["scores"]]
    columns = ["method", "beta", "seed", "measure", "source", "target", "attribute", "value"]
    table = pd.DataFrame(rows, columns=columns)
    write_table(out / "scores.csv", table)
    return table


def load_fit(
    benchmark: Benchmark, settings: StudySettings, key: FitKey, out: Path, device: torch.device
) -> MultimodalVAE:
    """Return the trained networks of one fit of a study."""
    from safetensors.torch import load_file

    vae = build_vae(benchmark, settings, key)
    vae.load_state_dict(load_file(out / "fits" / f"{key.name}.safetensors"))
    return vae.to(device)


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then rename it, so that files are always whole."""
    aside = path.with_name(f".partial-{path.name}")
    try:
        write(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV."""
    write_aside(path, lambda aside: table.to_csv(aside, index=False, float_format="%.6g"))


def _save_weights(vae: MultimodalVAE, path: Path) -> None:
    from safetensors.torch import save_file

    tensors = {name: v.detach().cpu().contiguous() for name, v in vae.state_dict().items()}
    write_aside(path, lambda aside: save_file(tensors, aside))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1)
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))
