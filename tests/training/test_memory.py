"""Memory of replicates: the estimate against what the allocator gave out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fit_examples import CONFIG
from torch.profiler import ProfilerActivity, profile

from neuroalign.nn.likelihoods import LIKELIHOODS, LikelihoodShape
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.networks import Decoder, Encoder
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.replicates import stack_networks
from neuroalign.nn.sharing import SharingOptions
from neuroalign.training import memory
from neuroalign.training.config import TrainingConfig
from neuroalign.training.loop import train
from neuroalign.training.memory import MOST_ON_CPU, replicate_bytes, replicates_at_once
from neuroalign.training.pairing import ResampledRows
from neuroalign.training.schedules import ObjectiveSchedules, Schedule
from neuroalign.training.sets import TrainingSet
from neuroalign.training.sources import FeatureScaling, WindowSource

LAGS, WINDOWS = 4, 6
BRIEF = TrainingConfig(
    max_epochs=1, least_steps=1, batch_size=128, mixing=0.5, patience=5, weight_averaging=0.9,
    gradient_clip=5.0,
)  # fmt: skip


def replicate(
    seed: int,
    *,
    sharing: str = "mm-vamp",
    likelihood: str = "poisson",
    units: tuple[int, ...] = (20, 30, 25),
    hidden: tuple[int, ...] = (32,),
    latents: int = 4,
    trials: int = 60,
    held_out: int = 12,
    mixture: int = 0,
) -> tuple[MultimodalVAE, TrainingSet]:
    """Return a network and data of its own."""
    generator, streams = torch.Generator().manual_seed(seed), RandomStreams([seed])
    sources, parts = [], []
    for number in units:
        features = LAGS * number
        rates = torch.full((trials, 10, number), 0.4)
        counts = torch.poisson(rates, generator=generator).clamp_max(1).to(torch.uint8)
        modelled = LIKELIHOODS[likelihood](
            LikelihoodShape(features, n_categories=3, largest_mean=4.0, noise_scale=None)
        )
        scaling = FeatureScaling(True, torch.zeros(features), torch.ones(features))
        wanted = modelled.target == "counts"
        sources.append(
            WindowSource(counts, torch.arange(WINDOWS), LAGS, scaling, target_counts=wanted)
        )
        encoder = Encoder(features, hidden, latents, streams, dropout=0.3)
        outputs = features * modelled.parameters_per_feature
        parts.append((encoder, Decoder(latents, hidden, outputs, streams), modelled))
    options = SharingOptions(mixture_share=float(mixture > 0), mixture_samples=max(1, mixture))
    network = MultimodalVAE(*zip(*parts, strict=True), sharing=sharing, options=options)
    first = trials - held_out
    seen = [[torch.arange(label, first, 2) for label in (0, 1)] for _ in units]
    unseen = [[torch.arange(first + label, trials, 2) for label in (0, 1)] for _ in units]
    names = [str(number) for number in units]
    return network, TrainingSet(
        names,
        sources,
        ResampledRows(seen, WINDOWS, donors=True),
        ResampledRows(unseen, WINDOWS),
    )


def peak_bytes(number: int, config: TrainingConfig, **shape: Any) -> int:
    """Return the most bytes that training so many replicates held at a time."""
    parts = [replicate(seed, **shape) for seed in range(number)]
    mixed = Schedule.of(float(shape.get("mixture", 0) > 0))
    objective = ObjectiveSchedules((Schedule.of(0.3),) * number, mixture_share=mixed)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        vae = stack_networks([network for network, _ in parts])
        data = [one for _, one in parts]
        train(vae, data, config, objective=objective, streams=RandomStreams(range(number)))
    held = most = 0
    for event in profiled.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "wide": {"hidden": (200, 200)},
    "linear": {"hidden": ()},
    "one subject": {"units": (80,), "sharing": "independent"},
    "many trials": {"trials": 300, "held_out": 30, "batch_size": 512},
    "more rows judged than trained": {"trials": 40, "held_out": 20, "batch_size": 24},
    "gaussian": {"likelihood": "gaussian"},
    "negative binomial": {"likelihood": "negative-binomial"},
    "categorical": {"likelihood": "categorical"},
    "product of experts": {"sharing": "poe"},
    "mixture of experts": {"sharing": "moe"},
    "subsets": {"sharing": "mopoe", "units": (6,) * 6, "latents": 16},
    "mixture": {"mixture": 4, "units": (6,) * 6, "latents": 16},
    "mixture judged": {"mixture": 4, "units": (6,) * 6, "latents": 16, "batch_size": 24},
}


@pytest.mark.parametrize("case", CASES)
def test_a_replicate_takes_between_half_of_the_estimate_and_all_of_it(case: str) -> None:
    shape = dict(CASES[case])
    config = TrainingConfig(**vars(BRIEF) | {"batch_size": shape.pop("batch_size", 128)})
    network, data = replicate(0, **shape)
    # what two more replicates take; what does not grow with them cancels
    taken = (peak_bytes(4, config, **shape) - peak_bytes(2, config, **shape)) / 2
    estimate = replicate_bytes(data, network, config)
    assert taken <= estimate <= 2 * taken


def test_rows_that_are_judged_at_once_count_if_they_are_more_than_a_batch() -> None:
    config = TrainingConfig(**vars(BRIEF) | {"batch_size": 8})
    few, many = (
        replicate_bytes(data, network, config)
        for network, data in (replicate(0, trials=t, held_out=t // 2) for t in (20, 80))
    )
    (network, _) = replicate(0)
    judged = memory.numbers_per_row(network, training=False) * 4 * (40 - 10) * WINDOWS
    assert many - few >= judged


def test_a_cpu_takes_a_few_and_a_gpu_what_fits_into_half_of_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, data = replicate(0)
    assert replicates_at_once(data, network, CONFIG) == MOST_ON_CPU
    one = replicate_bytes(data, network, CONFIG)
    free = {"bytes": 0}
    monkeypatch.setattr(memory, "_device_of", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free["bytes"], 10**12))
    for given, expected in ((20 * one, 10), (19 * one, 9), (one, 1), (0, 1)):
        free["bytes"] = given
        assert replicates_at_once(data, network, CONFIG) == expected
