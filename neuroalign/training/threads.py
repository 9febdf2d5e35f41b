"""How many threads of a CPU a fit is worth."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Final

import torch

from neuroalign.nn.multimodal_vae import MultimodalVAE

# multiplications of the largest product from which one more thread pays: starting threads for
# every small operation costs more than they save
WORK_OF_A_THREAD: Final = 4_000_000


def helpful_threads(vae: MultimodalVAE, batch_size: int) -> int:
    """Return how many of torch's threads a training step is worth, at least one.

    It depends on the networks' sizes and on torch's own number alone and nothing is timed: sums
    may differ in their last bit with the number of threads, and a fit repeated on one machine
    must not. Convolutional networks, whose weights say little about their work, get them all.
    """
    most = torch.get_num_threads()
    weights = list(vae.parameters())
    if not weights or any(weight.dim() > 3 for weight in weights):
        return most
    work = batch_size * max(weight.numel() for weight in weights)
    return min(most, math.ceil(work / WORK_OF_A_THREAD))


@contextlib.contextmanager
def threads_that_help(vae: MultimodalVAE, batch_size: int, device: torch.device) -> Iterator[None]:
    """Let torch use no more threads than help, and put back what was set."""
    before = torch.get_num_threads()
    number = helpful_threads(vae, batch_size) if device.type == "cpu" else before
    if number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
