"""Training steps, and what one of them needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neuroalign.errors import ParameterError
from neuroalign.nn.multimodal_vae import MultimodalVAE, ObjectiveTerms
from neuroalign.nn.random import RandomStreams
from neuroalign.training.averaging import WeightAverage
from neuroalign.training.config import TrainingConfig
from neuroalign.training.pairing import Rows
from neuroalign.training.processes import ALONE, Processes
from neuroalign.training.sets import TrainingSet
from neuroalign.training.sources import Mixing, Source


class Steps:
    """Takes training steps and adds up their terms, which stay on the device.

    Parameters
    ----------
    vae : MultimodalVAE
        Changed in place.
    data : TrainingSet
        Where examples come from.
    config : TrainingConfig
        Precision, clipping, mixing.
    optimiser : Optimizer
        Over the network's parameters.
    average : WeightAverage
        Follows the weights after every step.
    streams : RandomStreams
        Draws noise.
    processes : Processes
        Those that take the steps together; each works on its part of a batch.
    """

    def __init__(
        self,
        vae: MultimodalVAE,
        data: TrainingSet,
        config: TrainingConfig,
        optimiser: torch.optim.Optimizer,
        average: WeightAverage,
        streams: RandomStreams,
        processes: Processes = ALONE,
    ) -> None:
        self.vae = vae
        self.sources = data.sources
        self.config = config
        self.optimiser = optimiser
        self.average = average
        self.streams = streams
        self.processes = processes
        self._network: nn.Module = vae
        if processes.number > 1:
            self._network = nn.parallel.DistributedDataParallel(vae, broadcast_buffers=False)
        like = next(vae.parameters())
        self._beta = like.new_zeros(streams.n_replicates)
        self._reconstruction = like.new_zeros(len(data.sources), streams.n_replicates)
        self._regularisation = torch.zeros_like(self._beta)
        self._blamed = torch.zeros_like(self._reconstruction, dtype=torch.bool)
        self._number = 0

    def begin(self, beta: Tensor) -> None:
        """Begin an epoch with this beta, (replicate,)."""
        self._beta.copy_(beta)
        for total in (self._reconstruction, self._regularisation, self._blamed):
            total.zero_()
        self._number = 0

    def take(self, batch: Rows) -> None:
        """Take one step on these rows."""
        self._work(batch)
        self.average.step()
        self._number += 1

    def end(self) -> ObjectiveTerms:
        """Return the mean terms of the epoch's steps; a modality that others broke has none."""
        blamed = self._blamed.to(self._regularisation.dtype)
        if self.processes.number > 1:
            self.processes.add_up(self._reconstruction, self._regularisation, blamed)
        innocent = (blamed > 0).any(0) & (blamed == 0)
        reconstruction = torch.where(innocent, 0.0, self._reconstruction)
        return ObjectiveTerms(reconstruction / self._number, self._regularisation / self._number)

    def _work(self, batch: Rows) -> None:
        """Go forward and backward and change the weights; nothing here waits for the device."""
        share, streams = 1.0, self.streams
        if self.processes.number > 1:
            batch, streams, share = self._own_part(batch)
        inputs, targets, present = gather(self.sources, batch, streams, self.config.mixing)
        with products_in(self.config.precision, batch.index.device):
            terms = self._network(inputs, targets, streams, training=True, present=present)
        self.optimiser.zero_grad(set_to_none=True)
        # replicates are summed, never averaged: each keeps the gradient it would have alone
        loss = terms.total(self._beta).sum()
        # processes are averaged, although their parts of a batch may not be equally large
        (loss if share == 1.0 else loss * (share * self.processes.number)).backward()
        if self.config.gradient_clip is not None:
            clip_gradients(self.vae, self.config.gradient_clip)
        self.optimiser.step()
        self._add(terms, share)

    @torch.no_grad()
    def _add(self, terms: ObjectiveTerms, share: float) -> None:
        # a modality that breaks breaks all others one step later: remember who was first
        broken = ~torch.isfinite(terms.reconstruction)
        self._blamed.copy_(torch.where(self._blamed.any(0), self._blamed, broken))
        self._reconstruction.add_(terms.reconstruction, alpha=share)
        self._regularisation.add_(terms.regularisation, alpha=share)

    def _own_part(self, batch: Rows) -> tuple[Rows, RandomStreams, float]:
        """Return this process's rows, the noise that they would get in any case, and their share."""
        total = batch.index.shape[1]
        start, stop = self.processes.share(total)
        if total < self.processes.number:
            raise ParameterError(
                f"a batch of {total} rows cannot be spread over {self.processes.number} "
                "processes; start fewer, or raise batch_size."
            )
        streams = self.streams.part(start, stop, total)
        return batch.batch(start, stop), streams, (stop - start) / total


def gather(
    sources: Sequence[Source], rows: Rows, streams: RandomStreams, mixing: float = 0.0
) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
    """Return what encoders see, what likelihoods model, and who is present, for these rows."""
    pairs = [
        source.gather(rows.index[..., m], _mixing(rows, m, streams, mixing))
        for m, source in enumerate(sources)
    ]
    present = None if rows.present is None else rows.present.permute(2, 0, 1)
    return [inputs for inputs, _ in pairs], [targets for _, targets in pairs], present


def products_in(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which matrix products are computed in this precision."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def tensor_cores(device: torch.device) -> Iterator[None]:
    """Let a GPU compute float32 products on its tensor cores (TF32), and put back what was set."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@torch.no_grad()
def clip_gradients(vae: MultimodalVAE, largest: float) -> None:
    """Shorten each replicate's gradient to at most `largest`, whatever the others' are."""
    gradients = [p.grad for p in vae.parameters() if p.grad is not None]
    norms = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]
    norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    factor = (largest / norm.clamp_min(1e-12)).clamp_max(1.0)
    for gradient in gradients:
        gradient.mul_(factor.reshape(-1, *[1] * (gradient.dim() - 1)))


def _mixing(rows: Rows, modality: int, streams: RandomStreams, share: float) -> Mixing | None:
    if share == 0.0 or rows.donor is None:
        return None
    return Mixing(rows.donor[..., modality], share, streams)
