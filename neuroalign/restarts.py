"""Training networks from one or several random starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from neuroalign.errors import TrainingError
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.random import RandomStreams
from neuroalign.settings import final_options, objective_schedules, training_config
from neuroalign.training.keeping import FitProgress, HistoryRow
from neuroalign.training.loop import Measure, TrainingSet, evaluate_rows, train

# keys of the random streams, which no epoch ever has
JUDGED_ROWS: Final = 2**31 - 6
RESTART: Final = 2**31 - 7


@dataclass(frozen=True)
class Start:
    """One random start and how it ended.

    Attributes
    ----------
    seed : int
        Seed of weights, rows and noise.
    vae : MultimodalVAE
        Its networks.
    progress : FitProgress
        How its training went.
    objective : float
        Negative objective on rows that are the same for all starts: of held-out trials, or of
        training trials where none were held out; not-a-number for a single start.
    """

    seed: int
    vae: MultimodalVAE
    progress: FitProgress
    objective: float


@dataclass(frozen=True)
class Training:
    """What a fit trains and how.

    Attributes
    ----------
    build : callable
        From a seed to untrained networks on their device.
    data : TrainingSet
        Sources and rows.
    settings : mapping
        The model's arguments.
    device : torch.device
        Where training runs.
    measure : callable, optional
        Numbers to be added to the history.
    checkpoint : Path, optional
        File that keeps an interrupted fit.
    fingerprint : str
        Says what is being fitted.
    """

    build: Callable[[int], MultimodalVAE]
    data: TrainingSet
    settings: Mapping[str, Any]
    device: torch.device
    measure: Measure | None = None
    checkpoint: Path | None = None
    fingerprint: str = ""


def train_starts(training: Training, seed: int) -> tuple[Start, list[Start]]:
    """Train as many starts as the settings say; return the best and all.

    Raises
    ------
    TrainingError
        If a loss is not finite in every start.
    """
    wanted = int(training.settings["n_init"])
    seeds = [seed, *(_restart_seed(seed, k) for k in range(1, wanted))]
    starts: list[Start] = []
    failure: TrainingError | None = None
    for number, own in enumerate(seeds):
        try:
            vae, progress = _train_one(training, own, number, wanted)
        except TrainingError as problem:  # the others may do better
            failure = problem
            continue
        judged = float("nan") if wanted == 1 else _judge(training, vae, seed)
        starts.append(Start(own, vae, progress, judged))
    if failure is not None and not starts:
        raise failure
    for number in range(wanted):
        if (path := _checkpoint(training, number)) is not None:
            path.unlink(missing_ok=True)
    best = starts[0] if wanted == 1 else min(starts, key=lambda start: start.objective)
    return best, starts


def _restart_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, RESTART, number]).generate_state(1)[0])


def _checkpoint(training: Training, number: int) -> Path | None:
    path = training.checkpoint
    if path is None or number == 0:
        return path
    return path.with_name(f"{path.name}.{number + 1}")


def _train_one(
    training: Training, seed: int, number: int, wanted: int
) -> tuple[MultimodalVAE, FitProgress]:
    from tqdm import tqdm

    config = training_config(training.settings)
    vae = training.build(seed)
    with tqdm(
        total=config.max_epochs,
        desc="fit" if wanted == 1 else f"fit {number + 1} of {wanted}",
        unit="epoch",
        disable=not training.settings["verbose"],
    ) as bar:

        def show(epoch: int, row: HistoryRow) -> None:
            bar.update(epoch - bar.n)
            shown = "validation_objective" if "validation_objective" in row else "objective"
            bar.set_postfix({shown.replace("_", " "): f"{row[shown]:.4g}"})

        progress = train(
            vae,
            training.data,
            config,
            objective=objective_schedules(training.settings),
            streams=RandomStreams([seed], training.device),
            on_epoch=show,
            measure=training.measure,
            checkpoint=_checkpoint(training, number),
            fingerprint=f"{training.fingerprint}/{seed}",
        )
    return vae, progress


def _judge(training: Training, vae: MultimodalVAE, seed: int) -> float:
    """Return the negative objective on the same rows and with the same noise for every start."""
    data = training.data
    streams = RandomStreams([seed], training.device)
    streams.reseed(JUDGED_ROWS)
    rows = (data.validation_rows or data.training_rows).draw(streams)
    # a start that a checkpoint brought back was not trained now, and knows no weights
    vae.set_options(final_options(training.settings))
    terms = evaluate_rows(vae, data.sources, rows, streams, training.settings["precision"])
    beta = objective_schedules(training.settings).beta[0].final
    return float(terms.total(beta)[0])
