"""Networks side by side: stack those of several fits along the replicate dimension, take one out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from neuroalign.nn.count_likelihoods import CountLikelihood
from neuroalign.nn.multimodal_vae import MultimodalVAE


@torch.no_grad()
def stack_networks(networks: Sequence[MultimodalVAE]) -> MultimodalVAE:
    """Return one network that holds the replicates of all, in order.

    Every parameter has the replicate dimension first, so stacking is concatenation; bounds of
    expected counts may differ, and what else is no parameter must be the same in all.

    Parameters
    ----------
    networks : sequence of MultimodalVAE
        Built alike; copied, not changed.
    """
    stacked = copy.deepcopy(networks[0])
    if len(networks) > 1:
        parts = [dict(one.named_parameters()) for one in networks]
        for name, parameter in stacked.named_parameters():
            parameter.data = torch.cat([part[name].data for part in parts])
    for m, likelihood in enumerate(stacked.likelihoods):
        if isinstance(likelihood, CountLikelihood):
            likelihood.stack([one.likelihoods[m] for one in networks])  # type: ignore[misc]
    return stacked


def bounds_of(network: MultimodalVAE) -> list[float | Tensor | None]:
    """Return the bounds of expected counts of every modality's likelihood."""
    return [
        likelihood.bound if isinstance(likelihood, CountLikelihood) else None
        for likelihood in network.likelihoods
    ]


def set_bounds(network: MultimodalVAE, bounds: Sequence[float | Tensor | None]) -> None:
    """Give every likelihood of counts its bound back, for as many replicates as there were."""
    for likelihood, bound in zip(network.likelihoods, bounds, strict=True):
        if isinstance(likelihood, CountLikelihood):
            likelihood.bound = bound


def set_weights(network: MultimodalVAE, weights: Mapping[str, Tensor]) -> None:
    """Give a network these weights, whatever number of replicates it held before."""
    for name, parameter in network.named_parameters():
        parameter.data = weights[name].detach().clone()


@torch.no_grad()
def take_replicates(network: MultimodalVAE, replicates: Sequence[int]) -> MultimodalVAE:
    """Return a copy that holds these replicates alone, in this order."""
    taken = copy.deepcopy(network)
    keep_replicates(taken, replicates)
    return taken


@torch.no_grad()
def each_replicate(network: MultimodalVAE) -> Iterator[MultimodalVAE]:
    """Yield every replicate alone: the same object each time, its weights views of the network's.

    Nothing is copied but the first replicate, so looking at many of them is cheap; whoever
    wants to keep one takes it with `take_replicates`.
    """
    weights = dict(network.named_parameters())
    number = len(next(iter(weights.values()))) if weights else 1
    if number == 1:
        yield network
        return
    alone = take_replicates(network, [0])
    for place in range(number):
        for name, parameter in alone.named_parameters():
            parameter.data = weights[name].data[place : place + 1]
        for own, whole in zip(alone.likelihoods, network.likelihoods, strict=True):
            if isinstance(own, CountLikelihood) and isinstance(whole, CountLikelihood):
                own.bound = whole.bound
                own.keep_replicates([place])
        yield alone


@torch.no_grad()
def keep_replicates(network: MultimodalVAE, replicates: Sequence[int]) -> None:
    """Let all other replicates leave a network."""
    for parameter in network.parameters():
        parameter.data = parameter.data[list(replicates)]
        parameter.grad = None
    for likelihood in network.likelihoods:
        if isinstance(likelihood, CountLikelihood):
            likelihood.keep_replicates(replicates)
