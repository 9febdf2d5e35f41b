"""A tiny fit of two modalities for the tests of training."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from neuroalign.nn.likelihoods import GaussianLikelihood
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.networks import Decoder, Encoder
from neuroalign.nn.random import RandomStreams
from neuroalign.training.config import TrainingConfig
from neuroalign.training.keeping import FitProgress
from neuroalign.training.loop import train
from neuroalign.training.pairing import ResampledRows
from neuroalign.training.schedules import ObjectiveSchedules, Plan, Schedule
from neuroalign.training.sets import Measure, TrainingSet
from neuroalign.training.sources import FeatureScaling, WindowSource

CONFIG = TrainingConfig(
    max_epochs=4,
    least_steps=3,
    batch_size=8,
    learning_rate=0.01,
    patience=None,
    precision="float64",
    gradient_clip=5.0,
)


def changed(**settings: Any) -> TrainingConfig:
    """Return the settings above with some of them changed."""
    return TrainingConfig(**{**vars(CONFIG), **settings})


def weights(*beta: Plan, **others: Plan) -> ObjectiveSchedules:
    """Return schedules of beta, one per replicate, and of other weights by name."""
    return ObjectiveSchedules(
        tuple(Schedule.of(plan) for plan in beta),
        **{name: Schedule.of(plan) for name, plan in others.items()},
    )


def problem(
    seeds: Sequence[int], *, validation: bool = True, broken: bool = False, dropout: float = 0.3
) -> tuple[MultimodalVAE, TrainingSet, RandomStreams]:
    """Return a network, data and streams; a broken one has a modality that is not finite."""
    generator = torch.Generator().manual_seed(0)
    sources, members, held_out = [], [], []
    for units in (4, 5):
        counts = torch.poisson(torch.ones(12, 6, units), generator=generator).to(torch.uint8)
        n_features = 3 * units
        gain = torch.full(
            (n_features,), math.nan if broken and units == 5 else 1.0, dtype=torch.float64
        )
        scaling = FeatureScaling(True, torch.zeros(n_features, dtype=torch.float64), gain)
        sources.append(
            WindowSource(counts, torch.tensor([0, 2, 3]), 3, scaling, target_counts=False)
        )
        members.append([torch.arange(0, 4), torch.arange(4, 9)])
        held_out.append([torch.tensor([9, 10]), torch.tensor([11])])
    streams = RandomStreams(seeds)
    vae = MultimodalVAE(
        [Encoder(s.n_features, (6,), 2, streams, dropout=dropout) for s in sources],
        [Decoder(2, (6,), s.n_features, streams) for s in sources],
        [GaussianLikelihood(), GaussianLikelihood()],
    ).double()
    rows = ResampledRows(held_out, 3) if validation else None
    return vae, TrainingSet(["ada", "bob"], sources, ResampledRows(members, 3), rows), streams


def fit(
    seeds: Sequence[int],
    objective: ObjectiveSchedules,
    config: TrainingConfig = CONFIG,
    *,
    validation: bool = True,
    measure: Measure | None = None,
    **extra: Any,
) -> tuple[MultimodalVAE, FitProgress]:
    """Fit the problem of these seeds."""
    vae, data, streams = problem(seeds, validation=validation)
    data.measure = measure
    return vae, train(vae, data, config, objective=objective, streams=streams, **extra)
