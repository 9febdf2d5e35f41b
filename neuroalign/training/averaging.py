"""A running average of the weights, which generalises better than the last step's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.replicates import keep_replicates


class WeightAverage:
    """Follows the weights of a network with an exponential average.

    The average forgets the first steps faster than later ones, since those are far from any
    solution: its decay after n steps is (1 + n) / (10 + n) until that reaches `decay`.

    Parameters
    ----------
    vae : MultimodalVAE
        The network that is trained.
    decay : float
        What the average keeps at each step, 0 to below 1; at 0 it is the network itself.
    """

    def __init__(self, vae: MultimodalVAE, decay: float) -> None:
        self.current = vae
        self.decay = decay
        self.steps = 0
        self.averaged: MultimodalVAE | None = None
        if decay > 0.0:
            self.averaged = copy.deepcopy(vae).requires_grad_(False)
            # listed once: walking through modules at every step costs as much as a layer
            self._averages: list[Tensor] = list(self.averaged.parameters())
            self._weights = [weights.detach() for weights in vae.parameters()]

    @property
    def network(self) -> MultimodalVAE:
        """The network that is validated and kept."""
        if self.averaged is None:
            return self.current
        self.averaged.set_options(self.current.options)
        return self.averaged

    @torch.no_grad()
    def step(self) -> None:
        """Follow the weights after one optimiser step; the first is taken as it is."""
        if self.averaged is None:
            return
        kept = min(self.decay, (1.0 + self.steps) / (10.0 + self.steps)) if self.steps else 0.0
        torch._foreach_lerp_(self._averages, self._weights, 1.0 - kept)
        self.steps += 1

    @torch.no_grad()
    def narrow(self, places: list[int]) -> None:
        """Let all replicates but those at these places leave, after they left the network."""
        if self.averaged is None:
            return
        keep_replicates(self.averaged, places)
        self._averages = list(self.averaged.parameters())
        self._weights = [weights.detach() for weights in self.current.parameters()]

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must keep."""
        if self.averaged is None:
            return {}
        return {**self.averaged.state_dict(), "steps": torch.tensor(self.steps)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what a checkpoint kept."""
        if self.averaged is not None:
            weights = dict(state)
            self.steps = int(weights.pop("steps"))
            self.averaged.load_state_dict(weights)
