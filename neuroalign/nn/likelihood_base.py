"""What a likelihood p(x | z) is: a log-probability, a mean, and what it cannot model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

Target = Literal["scaled", "counts"]


class Likelihood(nn.Module, ABC):
    """What a modality's observations are, given the decoder's output.

    A decoder's output holds `parameters_per_feature` blocks of features side by side.

    Attributes
    ----------
    target : str
        "scaled" if the likelihood models the encoder's scaled input, "counts" if it models
        spike counts whatever the encoder sees.
    parameters_per_feature : int
        How many numbers the decoder gives for each feature.
    """

    target: Target
    parameters_per_feature: int = 1

    @abstractmethod
    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | parameters) of every feature, shaped like x."""

    def row_log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | parameters) summed over features (everything after the row), (..., row).

        The first two dimensions are replicate and row.
        """
        return self.log_prob(parameters, x).flatten(2).sum(-1)

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expectation of x, of shape (..., feature)."""

    @abstractmethod
    def start(self, mean: Tensor) -> Tensor:
        """Return parameters whose mean is about `mean`, of shape (feature,), to start from."""

    def problem(self, x: Tensor) -> str | None:
        """Say in a few words why x cannot be modelled, or None if it can."""
        return None if bool(torch.isfinite(x).all()) else "values that are not finite"
