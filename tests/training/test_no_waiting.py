"""A step asks nothing back from the device and copies nothing to it, or it could not be captured.

Tensors without contents ("meta") stand for those of a GPU: whoever asks for their values fails,
and so does whoever mixes them with tensors of the CPU.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from neuroalign.nn.count_likelihoods import CountLikelihood
from neuroalign.nn.likelihoods import LIKELIHOODS, LikelihoodShape
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.networks import Decoder, Encoder
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.sharing import SHARING_RULES, SharingOptions
from neuroalign.training.pairing import Rows
from neuroalign.training.sources import FeatureScaling, StackedWindows, WindowSource
from neuroalign.training.steps import gather

DEVICE = torch.device("meta")
UNITS = (4, 5)
LAGS = 3
REPLICATES = 2


class NoContents(RandomStreams):
    """Draws numbers that are nowhere."""

    def __init__(self) -> None:
        self.seeds, self.device = tuple(range(REPLICATES)), DEVICE

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32, row_axis: int = 0) -> Tensor:
        return torch.empty(REPLICATES, *shape, dtype=dtype, device=DEVICE)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(REPLICATES, *shape, dtype=dtype, device=DEVICE)

    def coins(self, share: float, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return self.uniform(*shape, dtype=dtype)


class Watch(TorchDispatchMode):
    """Refuses what crosses between devices."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [value for value in args if isinstance(value, Tensor) and value.dim() > 0]
        if isinstance(out, Tensor) and any(value.device != out.device for value in given):
            raise RuntimeError(f"{func} copies between devices")
        return out


def network(sharing: str, likelihood: str) -> MultimodalVAE:
    streams = RandomStreams(range(REPLICATES))
    features = [LAGS * units for units in UNITS]
    models = [
        LIKELIHOODS[likelihood](
            LikelihoodShape(number, n_categories=3, largest_mean=5.0, noise_scale=1.0)
        )
        for number in features
    ]
    for model in models:  # replicates whose bounds differ hold them in a tensor
        if isinstance(model, CountLikelihood) and model.bound is not None:
            other = type(model)(largest_mean=9.0) if likelihood == "poisson" else None
            if other is not None:
                model.stack([model, other])
    vae = MultimodalVAE(
        [Encoder(number, (6,), 2, streams, dropout=0.3) for number in features],
        [
            Decoder(2, (6,), number * model.parameters_per_feature, streams)
            for number, model in zip(features, models, strict=True)
        ],
        models,
        sharing=sharing,
        options=SharingOptions(0.5, 2, 0.3),
    )
    for part in vae.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            setattr(part, name, nn.Parameter(torch.empty(parameter.shape, device=DEVICE)))
    return vae


def sources(*, target_counts: bool) -> list[StackedWindows]:
    def one(units: int) -> WindowSource:
        n_features = LAGS * units
        return WindowSource(
            torch.empty(12, 6, units, dtype=torch.uint8, device=DEVICE),
            torch.empty(3, dtype=torch.int64, device=DEVICE),
            LAGS,
            FeatureScaling(
                True, torch.empty(n_features, device=DEVICE), torch.empty(n_features, device=DEVICE)
            ),
            target_counts=target_counts,
        )

    return [StackedWindows([one(units) for _ in range(REPLICATES)]) for units in UNITS]


def step(vae: MultimodalVAE, stacked: list[StackedWindows], *, missing: bool) -> None:
    index = torch.empty(REPLICATES, 7, len(UNITS), dtype=torch.int64, device=DEVICE)
    present = torch.empty_like(index, dtype=torch.bool) if missing else None
    streams = NoContents()
    rows = Rows(index, present, index.clone())
    inputs, targets, there = gather(stacked, rows, streams, 0.3)
    terms = vae(inputs, targets, streams, training=True, present=there)
    terms.total(torch.empty(REPLICATES, device=DEVICE)).sum().backward()


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("likelihood", list(LIKELIHOODS))
@pytest.mark.parametrize("sharing", list(SHARING_RULES))
def test_a_step_stays_on_its_device(sharing: str, likelihood: str, missing: bool) -> None:
    vae = network(sharing, likelihood)
    stacked = sources(target_counts=vae.likelihoods[0].target == "counts")
    step(vae, stacked, missing=missing)  # what is placed once, is placed before a capture
    with Watch():
        step(vae, stacked, missing=missing)


def test_the_watch_sees_what_waits_and_what_copies() -> None:
    there = torch.empty(3, device=DEVICE)
    with Watch():
        with pytest.raises((RuntimeError, NotImplementedError)):
            bool((there > 0).any())
        with pytest.raises((RuntimeError, NotImplementedError)):
            torch.nonzero(there)
        with pytest.raises(RuntimeError, match="copies between devices"):
            torch.ones(3).to(DEVICE)
