"""Settings of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["float32", "bfloat16", "float64"]


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how fast to train.

    Attributes
    ----------
    max_epochs : int
        Epochs after which training ends in any case.
    least_steps : int
        Fewest steps of an epoch; rows are passed over as often as that takes.
    batch_size : int
        Rows per step, about: batches of an epoch are made equally large.
    mixing : float
        Probability that a unit's counts in a training row come from the row's donor.
    learning_rate, weight_decay : float
        Of the Adam optimiser.
    patience : int or None
        Epochs without a better validation score (the objective of the middle half of the
        held-out rows) after which a replicate stops; None trains to the end and keeps the last weights.
    weight_averaging : float
        Decay per step of a running average of the weights, which is what is validated and kept;
        0 keeps the weights themselves.
    gradient_clip : float or None
        Largest norm of one replicate's gradient.
    precision : str
        "float32", "bfloat16" (products in bfloat16, everything else in float32) or "float64".
    checkpoint_seconds : float
        Least time between two checkpoints, in seconds.
    capture : bool
        Whether a GPU records a step once and replays it, where it can.
    """

    max_epochs: int = 100
    least_steps: int = 15
    batch_size: int = 128
    mixing: float = 0.0
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    patience: int | None = 10
    weight_averaging: float = 0.0
    gradient_clip: float | None = None
    precision: Precision = "float32"
    checkpoint_seconds: float = 30.0
    capture: bool = True
