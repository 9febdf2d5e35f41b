"""Fit one way of sharing on a benchmark, with the networks of images and texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from neuroalign.errors import ParameterError
from neuroalign.nn.convolution import ConvolutionalDecoder, ConvolutionalEncoder
from neuroalign.nn.count_likelihoods import CategoricalLikelihood
from neuroalign.nn.likelihood_base import Likelihood
from neuroalign.nn.likelihoods import LaplaceLikelihood
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.random import RandomStreams
from neuroalign.training.config import TrainingConfig
from neuroalign.training.keeping import HistoryRow
from neuroalign.training.loop import train
from neuroalign.training.pairing import FixedRows
from neuroalign.training.schedules import ObjectiveSchedules, Schedule
from neuroalign.training.sets import TrainingSet
from neuroalign.training.sources import Source
from neuroalign.validation.dataset import Benchmark, Modality, Rows, Words
from neuroalign.validation.settings import StudySettings
from neuroalign.validation.sources import ComposedImages, ComposedTexts, on_device, source_of

INITIAL_WEIGHTS = 2**31 - 3  # key of the random streams, which no epoch ever has


@dataclass(frozen=True)
class FitKey:
    """Which fit of a study."""

    method: str
    beta: float
    seed: int

    @property
    def name(self) -> str:
        """A name for files."""
        return f"{self.method}_beta{self.beta:g}_seed{self.seed}"


def build_vae(benchmark: Benchmark, settings: StudySettings, key: FitKey) -> MultimodalVAE:
    """Build untrained networks of every modality; reconstruction terms are weighted by size.

    The term of a modality with fewer numbers counts the more (largest size / its size), so that
    a text is not drowned by an image; modalities of one size all have weight 1.
    """
    encoders: list[nn.Module] = []
    decoders: list[nn.Module] = []
    for modality in benchmark.modalities:
        streams = RandomStreams([key.seed])
        streams.reseed(INITIAL_WEIGHTS, *modality.name.encode())
        encoder, decoder = _networks(modality, settings, streams)
        encoders.append(encoder)
        decoders.append(decoder)
    sizes = [_size(modality) for modality in benchmark.modalities]
    return MultimodalVAE(
        encoders,
        decoders,
        [_likelihood(modality) for modality in benchmark.modalities],
        sharing=key.method,
        weights=[max(sizes) / size for size in sizes],
    )


def _size(modality: Modality) -> int:
    size = 1
    for length in modality.shape:
        size *= length
    return size


def _likelihood(modality: Modality) -> Likelihood:
    if modality.kind == "text":
        return SymbolLikelihood(modality.n_symbols)
    return LaplaceLikelihood(0.75)  # of values from 0 to 1 (section B.2.2)


class SymbolLikelihood(CategoricalLikelihood):
    """A symbol at every position, from log-probabilities of shape (..., symbol, position)."""

    def log_probabilities(self, parameters: torch.Tensor) -> torch.Tensor:
        """Return normalised log-probabilities, (..., symbol, position)."""
        return parameters.log_softmax(-2)


def _networks(
    modality: Modality, settings: StudySettings, streams: RandomStreams
) -> tuple[nn.Module, nn.Module]:
    if modality.kind == "text":
        shape = (modality.n_symbols, *modality.shape)
        filters, stride = settings.text_filters, 2 if settings.stem_stride > 1 else 1
    else:
        shape, filters, stride = modality.shape, settings.image_filters, settings.stem_stride
    told: dict[str, Any] = {"stem_stride": stride, "branch_weight": settings.branch_weight}
    return (
        ConvolutionalEncoder(shape, filters, settings.n_latents, streams, **told),
        ConvolutionalDecoder(shape, filters, settings.n_latents, streams, **told),
    )


def training_rows(benchmark: Benchmark, settings: StudySettings) -> Rows:
    """Return the training rows that networks and linear classifiers may see."""
    rows = benchmark.train
    return rows if settings.train_rows is None else rows.first(settings.train_rows)


def sources_of(benchmark: Benchmark, rows: Rows, device: torch.device) -> list[Source]:
    """Put rows on the device, a source per modality."""
    return [
        source_of(rows.observations[modality.name], modality.n_symbols, device)
        for modality in benchmark.modalities
    ]


def fit(
    benchmark: Benchmark,
    settings: StudySettings,
    key: FitKey,
    *,
    device: torch.device,
    checkpoint: Path | None = None,
    on_epoch: Callable[[int, HistoryRow], None] | None = None,
) -> tuple[MultimodalVAE, list[HistoryRow]]:
    """Train one way of sharing on the training rows, for a fixed number of epochs.

    Parameters
    ----------
    benchmark : Benchmark
        Its training rows are what is seen.
    settings : StudySettings
        Networks and training.
    key : FitKey
        Way of sharing, β and seed.
    device : torch.device
        Where to train; all rows lie there as bytes.
    checkpoint : Path, optional
        Where to keep the state; an interrupted fit goes on from it.
    on_epoch : callable, optional
        Called with the epoch and its row of the history.

    Returns
    -------
    MultimodalVAE
        Trained.
    list of dict
        A row per epoch, in nats per row.

    Raises
    ------
    TrainingError
        If a loss is not finite.
    """
    vae = build_vae(benchmark, settings, key).to(device)
    streams = RandomStreams([key.seed], device)
    rows = training_rows(benchmark, settings)
    n_rows, n_modalities = len(rows), len(benchmark.modalities)
    paired = torch.arange(n_rows, device=device).unsqueeze(-1).expand(-1, n_modalities)
    data = TrainingSet(
        [modality.name for modality in benchmark.modalities],
        _training_sources(benchmark, rows, settings, streams),
        FixedRows(paired, 1),
    )
    progress = train(
        vae,
        data,
        TrainingConfig(
            max_epochs=settings.epochs,
            least_steps=1,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            weight_averaging=settings.weight_averaging,
            gradient_clip=settings.gradient_clip,
            patience=None,
        ),
        objective=objective(settings, key),
        streams=streams,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
        fingerprint=fingerprint(benchmark, settings, key),
    )
    return vae, progress.history[0]


def _training_sources(
    benchmark: Benchmark, rows: Rows, settings: StudySettings, streams: RandomStreams
) -> list[Source]:
    """Return the training rows as they are, or what composes them anew."""
    if not settings.redraw:
        return sources_of(benchmark, rows, streams.device)
    if not benchmark.ingredients:
        raise ParameterError(
            f"nothing of {benchmark.name} was composed here, so nothing can be redrawn; "
            "leave out redraw."
        )
    return [
        _composed(benchmark, modality, rows, streams)
        if modality.name in benchmark.ingredients
        else source_of(rows.observations[modality.name], modality.n_symbols, streams.device)
        for modality in benchmark.modalities
    ]


def _composed(
    benchmark: Benchmark, modality: Modality, rows: Rows, streams: RandomStreams
) -> Source:
    parts, device = benchmark.ingredients[modality.name], streams.device
    if isinstance(parts, Words):
        return ComposedTexts(
            on_device(rows.labels, device),
            on_device(parts.symbols, device),
            on_device(parts.lengths, device),
            parts.separator,
            (modality.shape[0], modality.n_symbols),
            streams,
        )
    return ComposedImages(
        on_device(parts.digits[: len(rows)], device),
        on_device(parts.background, device),
        modality.shape[1],
        streams,
    )


def objective(settings: StudySettings, key: FitKey) -> ObjectiveSchedules:
    """Return the weights of the objective's parts, epoch by epoch."""
    standard: float | list[tuple[float, float]] = 0.0
    if settings.standard_weight_epochs > 0:
        standard = [(0.0, 1.0), (settings.standard_weight_epochs, 0.0)]
    return ObjectiveSchedules(
        (Schedule.of(key.beta),),
        Schedule.of(float(settings.divergence == "mixture")),
        Schedule.of(standard),
    )


def fingerprint(benchmark: Benchmark, settings: StudySettings, key: FitKey) -> str:
    """Return a hash of everything a fit depends on, so that no result is taken for another's."""
    digest = hashlib.sha256()
    told = {"settings": settings.of_fit(), "fit": key.name, "benchmark": benchmark.name}
    digest.update(json.dumps(told, sort_keys=True).encode())
    for part in benchmark.parts().values():
        for name in sorted(part.observations):
            digest.update(name.encode())
            digest.update(part.observations[name].tobytes())
        digest.update(part.labels.tobytes())
    return digest.hexdigest()
