"""Training networks from one or several random starts, of one fit or of several side by side."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from neuroalign.errors import DataWarning, TrainingError
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.replicates import stack_networks, take_replicates
from neuroalign.settings import final_options, objective_schedules, training_config
from neuroalign.training.keeping import FitProgress, HistoryRow, NoReplicateLeftError
from neuroalign.training.loop import evaluate_rows, train
from neuroalign.training.memory import replicates_at_once
from neuroalign.training.processes import active_processes
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
        If a loss is not finite in every start, or a start does not fit into memory.
    """
    (starts,) = train_starts([training], checkpoint=checkpoint, fingerprint=fingerprint)
    if isinstance(starts, TrainingError):
        raise starts
    return starts


def train_starts(
    trainings: Sequence[Training], *, checkpoint: Path | None = None, fingerprint: str = ""
) -> list[list[Start] | TrainingError]:
    """Train all starts of several fits, as many side by side as memory is estimated to hold.

    Where a piece turns out too large for the device's memory after all, it is halved, and what
    follows is cut as small.

    Parameters
    ----------
    trainings : sequence of Training
        Of networks and data of the same shapes, and of settings that differ in beta and
        `n_init` alone.
    checkpoint : Path, optional
        File that keeps an interrupted series; pieces of it have files of their own beside it.
    fingerprint : str
        Says what is being fitted.

    Returns
    -------
    list
        For every training the starts that ended well, the first first, or the error if none
        did.

    Warns
    -----
    DataWarning
        If a piece had to be halved.
    """
    given = [(training, seed) for training in trainings for seed in training.seeds]
    files = _PieceFiles(checkpoint, len(given))
    limit = replicates_that_fit(trainings[0]) if len(given) > 1 else 1
    found: list[Start | TrainingError] = []
    while len(found) < len(given):
        begin = len(found)
        piece = given[begin : begin + (files.kept_size(begin) or limit)]
        file = files.path(begin, begin + len(piece))
        try:
            found += _train_piece(piece, file, fingerprint)
            continue
        except torch.cuda.OutOfMemoryError as full:
            problem = too_large(trainings[0].device, full)
        # only now, as the error held on to everything that the piece had laid on the device
        if trainings[0].device.type == "cuda":
            torch.cuda.empty_cache()
        if file is not None:
            file.unlink(missing_ok=True)
        if len(piece) == 1:
            found.append(problem)
            continue
        limit = len(piece) // 2
        warnings.warn(
            f"{len(piece)} fits side by side did not fit into the memory of "
            f"{trainings[0].device}; going on with {limit} at a time.",
            DataWarning,
            stacklevel=2,
        )
    if any(isinstance(one, Start) for one in found):
        files.remove()
    each = iter(found)
    return [_of_one_fit([next(each) for _ in training.seeds]) for training in trainings]


def replicates_that_fit(training: Training) -> int:
    """Say how many replicates of a fit may train side by side; see `replicates_at_once`."""
    network = training.build(training.seed)
    options, share = final_options(training.settings), objective_schedules(training.settings)
    most = max(value for _, value in share.mixture_share.points)
    network.set_options(replace(options, mixture_share=most))
    return replicates_at_once(training.data, network, training_config(training.settings))


def too_large(device: torch.device, full: torch.cuda.OutOfMemoryError) -> TrainingError:
    """Say what to do where one fit alone is too large for a device's memory."""
    return TrainingError(
        f"one fit alone does not fit into the memory of {device} "
        f"({str(full).partition(chr(10))[0]}); lower batch_size or the widths of hidden layers, "
        'or pass device="cpu".'
    )


def _of_one_fit(starts: Sequence[Start | TrainingError]) -> list[Start] | TrainingError:
    """Return the starts that ended well, or the last error if none did."""
    well = [one for one in starts if isinstance(one, Start)]
    problems = [one for one in starts if isinstance(one, TrainingError)]
    return well or problems[-1]


@dataclass(frozen=True)
class _PieceFiles:
    """Where the pieces of a series keep their state: a series of one piece in the file itself."""

    checkpoint: Path | None
    total: int

    def path(self, begin: int, end: int) -> Path | None:
        if self.checkpoint is None or (begin, end) == (0, self.total):
            return self.checkpoint
        return self.checkpoint.with_name(f"{self.checkpoint.name}.{begin}-{end}")

    def kept_size(self, begin: int) -> int:
        """Return how large a piece was when it was interrupted, since it can go on only so."""
        if self.checkpoint is None:
            return 0
        if begin == 0 and self.checkpoint.exists():
            return self.total
        return max((last - first for first, last in self._kept() if first == begin), default=0)

    def remove(self) -> None:
        """Remove the files of a series that is done."""
        if self.checkpoint is not None:
            self.checkpoint.unlink(missing_ok=True)
            for file in self._kept().values():
                file.unlink()

    def _kept(self) -> dict[tuple[int, int], Path]:
        if self.checkpoint is None or not self.checkpoint.parent.is_dir():
            return {}
        name = re.compile(re.escape(self.checkpoint.name) + r"\.(\d+)-(\d+)")
        files = sorted(self.checkpoint.parent.iterdir())
        found = {file: name.fullmatch(file.name) for file in files}
        return {(int(m[1]), int(m[2])): file for file, m in found.items() if m}


def _train_piece(
    piece: Sequence[tuple[Training, int]], checkpoint: Path | None, fingerprint: str
) -> list[Start | TrainingError]:
    """Train starts (training, seed) side by side, as replicates of one network."""
    seeds = [seed for _, seed in piece]
    vae = stack_networks([training.build(seed) for training, seed in piece])
    first = piece[0][0]
    schedules = [objective_schedules(training.settings).beta[0] for training, _ in piece]
    with _bar(first.settings, len(piece)) as bar:

        def show(epoch: int, row: HistoryRow) -> None:
            bar.update(epoch - bar.n)
            # the score decides when to stop, so it is what tells whether the fit still gets better
            shown = "validation_score" if "validation_score" in row else "objective"
            bar.set_postfix({shown.replace("_", " "): f"{row[shown]:.4g}"})

        try:
            progress = train(
                vae,
                [training.data for training, _ in piece],
                training_config(first.settings),
                objective=replace(objective_schedules(first.settings), beta=tuple(schedules)),
                streams=RandomStreams(seeds, first.device),
                on_epoch=show,
                checkpoint=checkpoint,
                fingerprint=f"{fingerprint}/{seeds}",
                processes=active_processes(),
            )
        except NoReplicateLeftError as problem:
            return [TrainingError(own) for own in problem.errors]
    return [
        TrainingError(progress.errors[place])
        if progress.errors[place]
        else _start(training, seed, take_replicates(vae, [place]), progress.of(place))
        for place, (training, seed) in enumerate(piece)
    ]


def best_start(starts: Sequence[Start]) -> Start:
    """Return the start with the lowest objective."""
    return starts[0] if len(starts) == 1 else min(starts, key=lambda start: start.objective)


def _start(training: Training, seed: int, own: MultimodalVAE, progress: FitProgress) -> Start:
    judged = float("nan") if len(training.seeds) == 1 else _judge(training, own)
    return Start(seed, own, progress, judged)


def _restart_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, RESTART, number]).generate_state(1)[0])


def _bar(settings: Mapping[str, Any], number: int) -> tqdm[Any]:
    from tqdm import tqdm

    return tqdm(
        total=settings["max_epochs"],
        desc="fit" if number == 1 else f"{number} fits",
        unit="epoch",
        disable=not settings["verbose"] or not active_processes().is_first,
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
