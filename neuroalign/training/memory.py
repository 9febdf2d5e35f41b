"""How much memory replicates take that train side by side, and so how many may."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import nn

from neuroalign.nn.count_likelihoods import NegativeBinomialLikelihood
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.networks import StackedLinear
from neuroalign.training.config import TrainingConfig
from neuroalign.training.loop import EVALUATION_ROWS
from neuroalign.training.sets import TrainingSet
from neuroalign.training.sources import WindowSource

# On a CPU the gain is reached with a few replicates, and a piece that is done is done.
MOST_ON_CPU: Final = 4
MOST_ON_GPU: Final = 128
SHARE_OF_MEMORY: Final = 0.5  # the rest is for what allocators waste, and for others

# weights, gradients, two moments, average, best, and a copy while replicates are taken out
COPIES_OF_WEIGHTS: Final = 7
# of every feature of a row, held until the step ends: target, input, input after dropout
HELD_FEATURES: Final = 3
# of one modality's features while its counts are mixed and scaled, or its likelihood is computed
PASSING_FEATURES: Final = 4
# of every hidden unit: before and after the rectifier
HELD_HIDDEN: Final = 2
# of every number that a decoder gives: itself, and what the likelihood keeps for its gradient
HELD_OUTPUTS: Final = 3
HELD_DISPERSED: Final = 6  # where the likelihood learns a dispersion
# of every latent of all modalities, pairs or subsets that are compared: means, scales, products
HELD_LATENTS: Final = 12
INDEX_BYTES: Final = 17  # example and donor, eight bytes each, and whether it takes part
COPIES_OF_COUNTS: Final = 2  # stacked for all, and again while replicates leave


def replicates_at_once(data: TrainingSet, network: MultimodalVAE, config: TrainingConfig) -> int:
    """Say how many replicates of a fit may train side by side on its device.

    Parameters
    ----------
    data : TrainingSet
        What one replicate works on.
    network : MultimodalVAE
        One replicate, on the device.
    config : TrainingConfig
        How it is trained.

    Returns
    -------
    int
        On a CPU a few, since more gain nothing there; on a GPU as many as `replicate_bytes`
        lets into half of the free memory, and at least one.
    """
    device = _device_of(network)
    if device.type != "cuda":
        return MOST_ON_CPU
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, int(SHARE_OF_MEMORY * free / replicate_bytes(data, network, config)))


def replicate_bytes(data: TrainingSet, network: MultimodalVAE, config: TrainingConfig) -> int:
    """Estimate the memory that one more replicate takes while it trains.

    The sum of what lasts (weights with their gradients, moments and copies; the counts, stacked
    with those of other fits; indices of the rows) and of what a step or an evaluation holds at
    its peak, whichever is more. An evaluation takes up to `EVALUATION_ROWS` rows at once, many
    more than a step, but keeps nothing for gradients. What a replicate takes was measured on
    small networks of several kinds to be between half of this and all of it (see the tests).

    Parameters
    ----------
    data : TrainingSet
        What the replicate works on.
    network : MultimodalVAE
        One replicate; only its shapes and options are looked at.
    config : TrainingConfig
        Batch size, and whether weights are averaged.

    Returns
    -------
    int
        Bytes.
    """
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    size = next(network.parameters()).element_size()
    n_rows = data.training_rows.n_rows
    n_batches = max(1, round(n_rows / config.batch_size))
    held_out = n_rows if data.validation_rows is None else data.validation_rows.n_rows
    step = numbers_per_row(network, training=True) * (n_rows // n_batches)
    judged = numbers_per_row(network, training=False) * min(held_out, EVALUATION_ROWS)
    counts = sum(
        source.counts.numel() * source.counts.element_size()
        for source in data.sources
        if isinstance(source, WindowSource)
    )
    indices = INDEX_BYTES * len(data.sources) * (n_rows + held_out)
    return (
        COPIES_OF_WEIGHTS * weights + size * max(step, judged) + COPIES_OF_COUNTS * counts + indices
    )


def numbers_per_row(network: MultimodalVAE, *, training: bool) -> int:
    """Count the numbers that one row of one replicate holds at the peak of a step.

    Parameters
    ----------
    network : MultimodalVAE
        One replicate.
    training : bool
        Whether everything is kept for gradients; otherwise a modality's layers are gone when
        the next one's begin.
    """
    draws = {"poe": 2, "moe": network.n_modalities}.get(network.sharing, 1)
    inputs, encoders, decoders, passing = [], [], [], []
    parts = zip(network.encoders, network.decoders, network.likelihoods, strict=True)
    for encoder, decoder, likelihood in parts:
        into, out = _layers(encoder), _layers(decoder)
        features = into[0][0] if into else 0
        outputs = draws * out[-1][1] if out else 0
        dispersed = isinstance(likelihood, NegativeBinomialLikelihood)
        kept = (HELD_DISPERSED if dispersed else HELD_OUTPUTS) * outputs + draws * features
        hidden = HELD_HIDDEN * draws * sum(width for _, width in out[:-1])
        inputs.append(features * (HELD_FEATURES if training else HELD_FEATURES - 1))
        encoders.append(HELD_HIDDEN * sum(width for _, width in into))
        decoders.append(hidden + kept)
        passing.append(PASSING_FEATURES * max(features, outputs))
    together: Callable[[Sequence[int]], int] = sum if training else max
    layers = together(encoders) + together(decoders)
    compared = HELD_LATENTS * _latents_compared(network) // (1 if training else 2)
    return sum(inputs) + layers + max(passing) + compared


def _device_of(network: MultimodalVAE) -> torch.device:
    return next(network.parameters()).device


def _layers(module: nn.Module) -> list[tuple[int, int]]:
    """Return the sizes before and after every affine map, in order."""
    maps = [part for part in module.modules() if isinstance(part, StackedLinear)]
    return [(part.weight.shape[-2], part.weight.shape[-1]) for part in maps]


def _latents_compared(network: MultimodalVAE) -> int:
    """Count the latents of a row that the sharing rule compares at once."""
    number, options = network.n_modalities, network.options
    latents = [layers[-1][1] // 2 for e in network.encoders if (layers := _layers(e))]
    groups = number
    if network.sharing == "mopoe":
        groups = 2**number
    elif network.sharing == "mm-vamp" and options.mixture_share > 0.0:
        groups = options.mixture_samples * number**2
    return max(latents, default=0) * groups
