"""Training networks from one or several random starts, of one fit or of several side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from neuroalign.errors import TrainingError
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.replicates import stack_networks, take_replicates
from neuroalign.settings import final_options, objective_schedules, training_config
from neuroalign.training.keeping import FitProgress, HistoryRow
from neuroalign.training.loop import evaluate_rows, train
from neuroalign.training.sets import TrainingSet

if TYPE_CHECKING:
    from tqdm import tqdm

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
    seed : int
        Seed of the first start; those of the others follow from it.
    """

    build: Callable[[int], MultimodalVAE]
    data: TrainingSet
    settings: Mapping[str, Any]
    device: torch.device
    seed: int

    @property
    def seeds(self) -> list[int]:
        """Seeds of all starts that the settings ask for."""
        others = range(1, int(self.settings["n_init"]))
        return [self.seed, *(_restart_seed(self.seed, k) for k in others)]


def train_fit(
    training: Training, *, checkpoint: Path | None = None, fingerprint: str = ""
) -> list[Start]:
    """Train all starts of one fit; see `train_starts`.

    Raises
    ------
    TrainingError
        If a loss is not finite in every start.
    """
    (starts,) = train_starts([training], checkpoint=checkpoint, fingerprint=fingerprint)
    if isinstance(starts, TrainingError):
        raise starts
    return starts


def train_starts(
    trainings: Sequence[Training], *, checkpoint: Path | None = None, fingerprint: str = ""
) -> list[list[Start] | TrainingError]:
    """Train all starts of several fits side by side, as replicates of one network.

    Parameters
    ----------
    trainings : sequence of Training
        Of networks and data of the same shapes, and of settings that differ in beta and
        `n_init` alone.
    checkpoint : Path, optional
        File that keeps an interrupted series.
    fingerprint : str
        Says what is being fitted.

    Returns
    -------
    list
        For every training the starts that ended well, the first first, or the error if none
        did.
    """
    seeds = [(training, seed) for training in trainings for seed in training.seeds]
    vae = stack_networks([training.build(seed) for training, seed in seeds])
    first = trainings[0]
    schedules = [objective_schedules(training.settings).beta[0] for training, _ in seeds]
    with _bar(first.settings, len(seeds)) as bar:

        def show(epoch: int, row: HistoryRow) -> None:
            bar.update(epoch - bar.n)
            shown = "validation_objective" if "validation_objective" in row else "objective"
            bar.set_postfix({shown.replace("_", " "): f"{row[shown]:.4g}"})

        try:
            progress = train(
                vae,
                [training.data for training, _ in seeds],
                training_config(first.settings),
                objective=replace(objective_schedules(first.settings), beta=tuple(schedules)),
                streams=RandomStreams([seed for _, seed in seeds], first.device),
                on_epoch=show,
                checkpoint=checkpoint,
                fingerprint=f"{fingerprint}/{[seed for _, seed in seeds]}",
            )
        except TrainingError as problem:  # none of all starts ended well
            return [problem for _ in trainings]
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    found = iter(range(len(seeds)))
    return [_starts_of(training, vae, progress, found) for training in trainings]


def best_start(starts: Sequence[Start]) -> Start:
    """Return the start with the lowest objective."""
    return starts[0] if len(starts) == 1 else min(starts, key=lambda start: start.objective)


def _starts_of(
    training: Training, vae: MultimodalVAE, progress: FitProgress, places: Iterator[int]
) -> list[Start] | TrainingError:
    """Take one fit's starts out of the replicates, the next of which `places` names."""
    starts, problem = [], ""
    for seed in training.seeds:
        place = next(places)
        if progress.errors[place]:  # the others may do better
            problem = progress.errors[place]
            continue
        own = take_replicates(vae, [place])
        judged = float("nan") if len(training.seeds) == 1 else _judge(training, own)
        starts.append(Start(seed, own, progress.of(place), judged))
    return starts or TrainingError(problem)


def _restart_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, RESTART, number]).generate_state(1)[0])


def _bar(settings: Mapping[str, Any], number: int) -> tqdm[Any]:
    from tqdm import tqdm

    return tqdm(
        total=settings["max_epochs"],
        desc="fit" if number == 1 else f"{number} fits",
        unit="epoch",
        disable=not settings["verbose"],
    )


def _judge(training: Training, vae: MultimodalVAE) -> float:
    """Return the negative objective on the same rows and with the same noise for every start."""
    data = training.data
    streams = RandomStreams([training.seed], training.device)
    streams.reseed(JUDGED_ROWS)
    rows = (data.validation_rows or data.training_rows).draw(streams)
    vae.set_options(final_options(training.settings))
    each = evaluate_rows(vae, data.sources, rows, streams, training.settings["precision"])
    # what stopping goes by, if there was any
    terms = each.mean() if data.validation_rows is None else each.typical()
    beta = objective_schedules(training.settings).beta[0].final
    return float(terms.total(beta)[0])
