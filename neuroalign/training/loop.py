"""The training loop: one path for one fit or for many replicates side by side."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from neuroalign.errors import ParameterError
from neuroalign.nn.multimodal_vae import MultimodalVAE, ObjectiveRows, ObjectiveTerms
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.replicates import bounds_of, each_replicate, set_bounds, set_weights
from neuroalign.training.averaging import WeightAverage
from neuroalign.training.captured_steps import steps_for
from neuroalign.training.config import TrainingConfig
from neuroalign.training.keeping import (
    FitProgress,
    HistoryRow,
    Keeper,
    NoReplicateLeftError,
    narrow,
    resume,
)
from neuroalign.training.pairing import Rows
from neuroalign.training.processes import ALONE, Processes
from neuroalign.training.schedules import ObjectiveSchedules
from neuroalign.training.sets import SideBySide, TrainingSet
from neuroalign.training.sources import Source
from neuroalign.training.steps import Steps, gather, products_in, tensor_cores
from neuroalign.training.threads import threads_that_help

# key of the random streams: epochs count from 1, so it never meets them
VALIDATION_NOISE: Final = 2**31 - 2
EVALUATION_ROWS: Final = 2048  # rows evaluated at once, which bounds memory
LOOKED_AT: Final = 64  # rows by which processes tell whether they train on the same data

NEVER_FINITE: Final = (
    "the validation score was finite in no epoch; lower the learning rate or set gradient_clip."
)

EpochCallback = Callable[[int, HistoryRow], None]


def train(
    vae: MultimodalVAE,
    data: TrainingSet | Sequence[TrainingSet],
    config: TrainingConfig,
    *,
    objective: ObjectiveSchedules,
    streams: RandomStreams,
    on_epoch: EpochCallback | None = None,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    processes: Processes = ALONE,
) -> FitProgress:
    """Minimise the negative objective and leave the chosen weights in `vae`.

    Parameters
    ----------
    vae : MultimodalVAE
        Changed in place.
    data : TrainingSet or sequence of TrainingSet
        Sources and rows, the same for all replicates or one for each; those of several must
        agree in units, bins and numbers of rows.
    config : TrainingConfig
        How long and how fast.
    objective : ObjectiveSchedules
        Weights of the objective's parts, which may change with the epochs. While they do,
        validation objectives do not compare, and no replicate stops.
    streams : RandomStreams
        A generator per replicate; reseeded by epoch, so that a fit can be resumed.
    on_epoch : callable, optional
        Called with the number of epochs done and the history row of the first replicate that
        still trains.
    checkpoint : Path, optional
        Where to keep the state of the fit; if the file is there, the fit goes on from it.
    fingerprint : str
        Says what is being fitted; a checkpoint of something else is refused.
    processes : Processes
        Those that train this fit together, each on its part of every batch; all of them call
        this with the same arguments. Decisions and checkpoints are the first one's.

    Returns
    -------
    FitProgress
        History, best epochs, and what went wrong with single replicates (`errors`).

    Raises
    ------
    NoReplicateLeftError
        If a loss is not finite in every replicate; a TrainingError that names the modality.
    ModelFileError
        If the checkpoint is damaged or belongs to another fit.
    ParameterError
        If the processes do not train the same fit, or a batch has fewer rows than there are
        processes.
    """
    with (
        tensor_cores(streams.device),
        threads_that_help(vae, config.batch_size, streams.device),
    ):
        return _train(
            vae, data, config, objective, streams, on_epoch, checkpoint, fingerprint, processes
        )


def _train(
    vae: MultimodalVAE,
    data: TrainingSet | Sequence[TrainingSet],
    config: TrainingConfig,
    objective: ObjectiveSchedules,
    streams: RandomStreams,
    on_epoch: EpochCallback | None,
    checkpoint: Path | None,
    fingerprint: str,
    processes: Processes,
) -> FitProgress:
    """Do what `train` says."""
    optimiser = torch.optim.Adam(
        vae.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
        capturable=streams.device.type == "cuda",
    )
    average = WeightAverage(vae, config.weight_averaging)
    bounds = bounds_of(vae)  # of all replicates; narrowing leaves those of the rest
    progress = FitProgress.fresh(len(objective.beta))
    if checkpoint is not None and checkpoint.exists():
        progress = resume(checkpoint, vae, optimiser, average, fingerprint)
    side = SideBySide.of(data, objective, streams, progress.running)
    patience = config.patience if side.held_out is not None else None
    keeper = Keeper(
        checkpoint if processes.is_first else None, fingerprint, config.checkpoint_seconds
    )
    check_same_fit(vae, side, config, processes)
    steps = steps_for(vae, side.data, config, optimiser, average, side.streams, processes)
    try:
        while progress.epoch < config.max_epochs and _active(progress, patience):
            beta = _set_weights(vae, side.objective, progress.epoch, streams.device)
            side.streams.reseed(progress.epoch + 1)
            trained = _train_epoch(steps, side.data, config, beta, side.streams)
            rows = _history_rows(
                side.data.names, trained, _validate(average.network, side, config),
                _measured(average.network, side.sets), beta,
            )  # fmt: skip
            rows = processes.agree(rows)
            settled = progress.epoch >= objective.settled_after + 1
            _record(progress, average.network, side.data.names, rows, patience, settled=settled)
            if on_epoch is not None:
                order = (*_active(progress, patience), *progress.running)
                shown = next((r for r in order if progress.history[r]), None)
                if shown is not None:
                    on_epoch(progress.epoch, progress.history[shown][-1])
            going = _active(progress, patience)
            if going and len(going) < len(progress.running):
                places = [progress.running.index(r) for r in going]
                progress.keep(average.network, [])  # there is room for all from now on
                narrow(vae, optimiser, average, places)
                progress.running = going
                side = SideBySide.of(data, objective, streams, going)
                steps = steps_for(
                    vae, side.data, config, optimiser, average, side.streams, processes
                )
            keeper.end_epoch(vae, optimiser, average, progress)
    finally:  # also when it is interrupted
        keeper.write()
    if patience is None or not progress.best_weights:
        _check_kept(average.network, side, config, progress)
        if progress.best_weights:
            progress.keep(average.network, progress.running)
    elif never := [r for r, epoch in enumerate(progress.best_epoch) if epoch == 0]:
        for r in never:  # others' best epochs say nothing about its weights
            _note_problem(progress, r, progress.errors[r] or NEVER_FINITE)
    if progress.best_weights:
        set_weights(vae, progress.best_weights)
        set_bounds(vae, bounds)
    elif average.network is not vae:
        vae.load_state_dict(average.network.state_dict())
    return progress


def check_same_fit(
    vae: MultimodalVAE, side: SideBySide, config: TrainingConfig, processes: Processes
) -> None:
    """Refuse processes that do not train the same fit, whose gradients would be mixed.

    Raises
    ------
    ParameterError
        If weights, data, rows or settings differ between processes.
    """
    if processes.number == 1:
        return
    side.streams.reseed(VALIDATION_NOISE)
    rows = side.data.training_rows.draw(side.streams)
    inputs, targets, _ = gather(side.data.sources, rows.batch(0, LOOKED_AT), side.streams)
    seen = hashlib.sha256(repr((config, side.streams.seeds, side.objective)).encode())
    for tensor in (*vae.parameters(), rows.index, *inputs, *targets):
        seen.update(tensor.detach().cpu().numpy().tobytes())
    if len(set(processes.gather(seen.hexdigest()))) > 1:
        raise ParameterError(
            f"expected the same fit in all {processes.number} processes, got others: each must "
            "call fit with the same windows, the same settings and the same random_state (a "
            "number)."
        )


def _active(progress: FitProgress, patience: int | None) -> list[int]:
    return [r for r in progress.running if progress.is_active(r, patience)]


def _validate(vae: MultimodalVAE, side: SideBySide, config: TrainingConfig) -> ObjectiveRows | None:
    if side.held_out is None:
        return None
    side.streams.reseed(VALIDATION_NOISE)
    return evaluate_rows(vae, side.data.sources, side.held_out, side.streams, config.precision)


def _measured(vae: MultimodalVAE, sets: Sequence[TrainingSet]) -> list[HistoryRow]:
    if all(one.measure is None for one in sets):
        return [{} for _ in sets]
    return [
        {} if one.measure is None else one.measure(network)
        for one, network in zip(sets, each_replicate(vae), strict=True)
    ]


def _check_kept(
    vae: MultimodalVAE, side: SideBySide, config: TrainingConfig, progress: FitProgress
) -> None:
    """Refuse weights that no finite loss vouches for: the last step may be one too many."""
    side.streams.reseed(VALIDATION_NOISE)
    rows = side.data.training_rows.draw(side.streams) if side.held_out is None else side.held_out
    terms = evaluate_rows(vae, side.data.sources, rows, side.streams, config.precision).mean()
    for place, r in enumerate(progress.running):
        row: HistoryRow = {"regularisation": float(terms.regularisation[place])}
        for m, name in enumerate(side.data.names):
            row[f"reconstruction[{name}]"] = float(terms.reconstruction[m, place])
        _note_problem(progress, r, _problem(row, side.data.names, progress.epoch))


def _note_problem(progress: FitProgress, replicate: int, problem: str) -> None:
    """Remember that a replicate broke; the others go on, unless there are none."""
    if problem:
        progress.errors[replicate] = problem
        if all(progress.errors):
            raise NoReplicateLeftError(problem, progress.errors)


def _set_weights(
    vae: MultimodalVAE, objective: ObjectiveSchedules, epoch: int, device: torch.device
) -> Tensor:
    """Set the objective's weights for the epoch after so many; return beta (replicate,)."""
    vae.set_options(
        dataclasses.replace(
            vae.options,
            mixture_share=objective.mixture_share(epoch),
            standard_weight=objective.standard_weight(epoch),
        )
    )
    values = [schedule(epoch) for schedule in objective.beta]
    return torch.tensor(values, device=device, dtype=next(vae.parameters()).dtype)


def _train_epoch(
    steps: Steps, data: TrainingSet, config: TrainingConfig, beta: Tensor, streams: RandomStreams
) -> ObjectiveTerms:
    """Take an epoch's steps; return the mean terms, left on the device until the end.

    Small data are passed over several times, with rows drawn anew: an epoch, and with it
    patience, would otherwise mean a handful of steps there.
    """
    n_rows = data.training_rows.n_rows
    n_batches = max(1, round(n_rows / config.batch_size))
    size = n_rows // n_batches  # equal batches: at most n_batches − 1 rows sit out a pass
    passes = math.ceil(config.least_steps / n_batches)
    steps.begin(beta)
    for step in range(passes * n_batches):
        start = step % n_batches * size
        if start == 0:
            rows = data.training_rows.draw(streams)
        steps.take(rows.batch(start, start + size))
    return steps.end()


@torch.no_grad()
def evaluate_rows(
    vae: MultimodalVAE,
    sources: Sequence[Source],
    rows: Rows,
    streams: RandomStreams,
    precision: str = "float32",
) -> ObjectiveRows:
    """Return the terms of the negative objective of every row, without dropout."""
    n_rows = rows.index.shape[1]
    parts = []
    for start in range(0, n_rows, EVALUATION_ROWS):
        part = rows.batch(start, min(start + EVALUATION_ROWS, n_rows))
        inputs, targets, there = gather(sources, part, streams)
        with products_in(precision, part.index.device):
            parts.append(vae.row_terms(inputs, targets, streams, training=False, present=there))
    present = [part.present for part in parts if part.present is not None]
    return ObjectiveRows(
        torch.cat([part.reconstruction for part in parts], dim=-1),
        torch.cat([part.regularisation for part in parts], dim=-1),
        torch.cat(present, dim=-1) if present else None,
    )


def _history_rows(
    names: Sequence[str],
    trained: ObjectiveTerms,
    validated: ObjectiveRows | None,
    measured: Sequence[HistoryRow],
    beta: Tensor,
) -> list[HistoryRow]:
    """Return the numbers of an epoch, a row per replicate."""
    parts = {"": trained} | ({} if validated is None else {"validation_": validated.mean()})
    scores = None if validated is None else validated.typical().total(beta).cpu()
    host = {
        prefix: (t.reconstruction.cpu(), t.regularisation.cpu(), t.total(beta).cpu())
        for prefix, t in parts.items()
    }
    rows: list[HistoryRow] = []
    for r in range(len(beta)):
        row: HistoryRow = {"beta": float(beta[r])}
        for prefix, (reconstruction, regularisation, total) in host.items():
            row[f"{prefix}objective"] = float(total[r])
            row[f"{prefix}reconstruction"] = float(reconstruction[:, r].sum())
            row[f"{prefix}regularisation"] = float(regularisation[r])
            for m, name in enumerate(names):
                row[f"{prefix}reconstruction[{name}]"] = float(reconstruction[m, r])
        if scores is not None:
            row["validation_score"] = float(scores[r])
        rows.append(row | measured[r])
    return rows


def _record(
    progress: FitProgress,
    vae: MultimodalVAE,
    names: Sequence[str],
    rows: Sequence[HistoryRow],
    patience: int | None,
    *,
    settled: bool,
) -> None:
    """Add the epoch to the history and keep the weights of replicates that got better."""
    active = _active(progress, patience)
    progress.epoch += 1
    improved = []
    for r in active:
        row = {"epoch": progress.epoch, **rows[progress.running.index(r)]}
        problem = _problem(row, names, progress.epoch)
        _note_problem(progress, r, problem)
        if problem:
            continue
        progress.history[r].append(row)
        score = row.get("validation_score")
        # while the objective itself changes, its last value stands for the fit
        if score is None or not math.isfinite(score):
            continue
        if not settled or score < progress.best_score[r]:
            progress.best_score[r] = score
            progress.best_epoch[r] = progress.epoch
            improved.append(r)
    if patience is not None and improved:
        progress.keep(vae, improved)


def _problem(row: HistoryRow, names: Sequence[str], epoch: int) -> str:
    """Say which term is not finite; nothing if all are."""
    broken = [name for name in names if not math.isfinite(row[f"reconstruction[{name}]"])]
    if broken:
        return (
            f"the reconstruction term of {', '.join(map(repr, broken))} is not finite in epoch "
            f"{epoch}; lower the learning rate, set gradient_clip, or look at the counts of "
            "these subjects."
        )
    if not math.isfinite(row["regularisation"]):
        return (
            f"the regularisation term is not finite in epoch {epoch}; lower the learning rate "
            "or set gradient_clip."
        )
    return ""
