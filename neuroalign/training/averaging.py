"""A running average of the weights, which generalises better than the last step's weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from neuroalign.nn.multimodal_vae import MultimodalVAE


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
        self.steps = 0  # counted here too: reading a counter on a GPU would wait for it
        self.averaged: AveragedModel | None = None
        if decay > 0.0:
            self.averaged = AveragedModel(vae, multi_avg_fn=self._follow)

    @property
    def network(self) -> MultimodalVAE:
        """The network that is validated and kept."""
        if self.averaged is None:
            return self.current
        network = self.averaged.module
        assert isinstance(network, MultimodalVAE)
        network.set_options(self.current.options)
        return network

    def step(self) -> None:
        """Follow the weights after one optimiser step."""
        if self.averaged is not None:
            self.averaged.update_parameters(self.current)
            self.steps += 1

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must keep."""
        return {} if self.averaged is None else dict(self.averaged.state_dict())

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what a checkpoint kept."""
        if self.averaged is not None:
            self.averaged.load_state_dict(state)
            self.steps = int(self.averaged.n_averaged)

    @torch.no_grad()
    def _follow(
        self, averages: Sequence[Tensor], weights: Sequence[Tensor], number: Tensor | int
    ) -> None:
        del number
        kept = min(self.decay, (1.0 + self.steps) / (10.0 + self.steps))
        torch._foreach_lerp_(list(averages), list(weights), 1.0 - kept)
