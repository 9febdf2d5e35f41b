"""How far a fit has come, and how that is kept so that an interrupted fit can go on."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from neuroalign.errors import ModelFileError, TrainingError
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.replicates import keep_replicates
from neuroalign.training.averaging import WeightAverage
from neuroalign.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

HistoryRow = dict[str, float]


class NoReplicateLeftError(TrainingError):
    """Every replicate broke; the message is that of the last one.

    Attributes
    ----------
    errors : tuple of str
        What went wrong with each replicate.
    """

    def __init__(self, message: str, errors: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


@dataclass
class FitProgress:
    """How far a fit has come, per replicate.

    Attributes
    ----------
    epoch : int
        Epochs done.
    history : list of list of dict
        For each replicate, a row per epoch in which it was active.
    best_score : list of float
        Lowest validation score so far: the objective of the middle half of the rows, in nats.
    best_epoch : list of int
        When it was reached.
    running : list of int
        Replicates that the network still holds, in its order; those that are done leave it.
    errors : list of str
        What went wrong with each replicate; empty if nothing did.
    best_weights : dict
        The weights of the best epochs, of all replicates (empty without validation, unless
        replicates have left).
    """

    epoch: int
    history: list[list[HistoryRow]]
    best_score: list[float]
    best_epoch: list[int]
    running: list[int]
    errors: list[str]
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def fresh(cls, n_replicates: int) -> FitProgress:
        """Return the progress of a fit that has not begun."""
        return cls(
            0,
            [[] for _ in range(n_replicates)],
            [math.inf] * n_replicates,
            [0] * n_replicates,
            list(range(n_replicates)),
            [""] * n_replicates,
        )

    def of(self, replicate: int) -> FitProgress:
        """Return the progress of one replicate, as if it had been fitted alone."""
        return FitProgress(
            len(self.history[replicate]),
            [self.history[replicate]],
            [self.best_score[replicate]],
            [self.best_epoch[replicate]],
            [0],
            [self.errors[replicate]],
        )

    def is_active(self, replicate: int, patience: int | None) -> bool:
        """Tell whether a replicate still trains."""
        if self.errors[replicate]:
            return False
        return patience is None or self.epoch - self.best_epoch[replicate] < patience

    @torch.no_grad()
    def keep(self, vae: MultimodalVAE, replicates: Sequence[int]) -> None:
        """Take over the weights that these replicates (by their first numbers) have now."""
        weights = dict(vae.named_parameters())
        if not self.best_weights:  # nobody has left so far
            self.best_weights = {n: value.detach().clone() for n, value in weights.items()}
            return
        places = [self.running.index(r) for r in replicates]
        for name, value in weights.items():
            self.best_weights[name][list(replicates)] = value[places]


class Keeper:
    """Keeps the state after each whole epoch, and writes it now and then.

    An interrupt may come in the middle of a step; what is written then is the state before the
    epoch that was cut short, so that a resumed fit ends exactly where it would have.
    """

    def __init__(self, path: Path | None, fingerprint: str, seconds: float) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self.seconds = seconds
        self.written_at = time.monotonic()
        self.kept: Checkpoint | None = None

    def end_epoch(
        self,
        vae: MultimodalVAE,
        optimiser: torch.optim.Optimizer,
        average: WeightAverage,
        progress: FitProgress,
    ) -> None:
        """Keep the state that a whole epoch has left."""
        if self.path is None:
            return
        self.kept = capture(vae, optimiser, average, progress, self.fingerprint)
        if time.monotonic() - self.written_at > self.seconds:
            self.write()

    def write(self) -> None:
        """Write what was kept last."""
        if self.path is not None and self.kept is not None:
            write_checkpoint(self.path, self.kept)
            self.written_at = time.monotonic()


def capture(
    vae: MultimodalVAE,
    optimiser: torch.optim.Optimizer,
    average: WeightAverage,
    progress: FitProgress,
    fingerprint: str,
) -> Checkpoint:
    """Copy everything that a fit needs to go on."""
    tensors = {f"weights/{name}": value for name, value in vae.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.state().items()}
    tensors |= {f"best/{name}": value for name, value in progress.best_weights.items()}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"adam/{number}/{name}": value for name, value in moments.items()}
    state = {key: value for key, value in vars(progress).items() if key != "best_weights"}
    return Checkpoint(
        {name: value.detach().clone() for name, value in tensors.items()},
        copy.deepcopy(state) | {"fingerprint": fingerprint},
    )


@torch.no_grad()
def narrow(
    vae: MultimodalVAE,
    optimiser: torch.optim.Optimizer,
    average: WeightAverage,
    places: Sequence[int],
) -> None:
    """Let all replicates but those at these places leave the network and what follows it."""
    chosen = list(places)
    keep_replicates(vae, chosen)
    for parameter in vae.parameters():
        for name, moment in optimiser.state.get(parameter, {}).items():
            if name != "step":
                optimiser.state[parameter][name] = moment[chosen]
    average.narrow(chosen)


def resume(
    path: Path,
    vae: MultimodalVAE,
    optimiser: torch.optim.Optimizer,
    average: WeightAverage,
    fingerprint: str,
) -> FitProgress:
    """Put back what a checkpoint holds.

    Raises
    ------
    ModelFileError
        If the checkpoint is damaged or belongs to another fit.
    """
    saved = read_checkpoint(path, next(vae.parameters()).device)
    state = dict(saved.state)
    if state.pop("fingerprint", None) != fingerprint:
        raise ModelFileError(
            f"the checkpoint {path} belongs to another fit (other data or other settings); "
            "delete it, or give another path."
        )
    parts: dict[str, dict[str, Tensor]] = {
        "weights": {},
        "average": {},
        "best": {},
        "adam": {},
    }
    for name, value in saved.tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    if len(state["running"]) < len(state["errors"]):
        narrow(vae, optimiser, average, state["running"])
    vae.load_state_dict(parts["weights"])
    average.restore(parts["average"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["adam"].items():
        number, _, moment = name.partition("/")
        moments.setdefault(int(number), {})[moment] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": moments, "param_groups": groups})
    return FitProgress(**state, best_weights=parts["best"])
