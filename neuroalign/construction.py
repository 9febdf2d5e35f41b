"""From settings to untrained networks on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from neuroalign.bridge import FittedSubject
from neuroalign.errors import ParameterError
from neuroalign.nn.likelihood_base import Likelihood
from neuroalign.nn.likelihoods import LIKELIHOODS, LikelihoodShape
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.networks import Decoder, Encoder
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.sharing import SharingOptions
from neuroalign.settings import hidden_widths
from neuroalign.training.processes import active_processes

INITIAL_WEIGHTS: Final = 2**31 - 3  # key of the random streams, which no epoch ever has


def resolve_device(name: str) -> torch.device:
    """Return the device; "auto" is a CUDA GPU if there is one, otherwise the CPU.

    Processes that work together take the GPU of their own number each.

    Raises
    ------
    ParameterError
        If torch does not know the device or it is not there.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        number = active_processes().local_rank
        return torch.device(f"cuda:{number}" if number else "cuda")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as problem:
        raise ParameterError(
            f'device must be "auto", "cpu" or another torch device that this machine has, got {name!r}, '
            f"which torch cannot use here ({str(problem).splitlines()[0]})."
        ) from problem
    return device


def build_networks(
    subjects: Mapping[str, FittedSubject], settings: Mapping[str, Any], seed: int
) -> MultimodalVAE:
    """Build encoders, decoders and likelihoods; weights depend on seed and subject alone.

    Each subject draws from a stream keyed by its name, so that the order of subjects does not
    matter, nor who else takes part.
    """
    parts = [build_subject(subject, settings, seed) for subject in subjects.values()]
    vae = MultimodalVAE(
        [part.encoder for part in parts],
        [part.decoder for part in parts],
        [part.likelihood for part in parts],
        sharing=settings["sharing"],
        options=SharingOptions(mixture_samples=settings["mixture_samples"]),
        weights=reconstruction_weights(subjects, settings["reconstruction_weights"]),
    )
    return vae.double() if settings["precision"] == "float64" else vae


@dataclass(frozen=True)
class SubjectNetworks:
    """What one subject brings to the model."""

    encoder: Encoder
    decoder: Decoder
    likelihood: Likelihood


def build_subject(
    subject: FittedSubject, settings: Mapping[str, Any], seed: int
) -> SubjectNetworks:
    """Build one subject's networks from a random stream keyed by its name."""
    streams = RandomStreams([seed])
    streams.reseed(INITIAL_WEIGHTS, *subject.name.encode())
    n_features, n_latents = subject.n_features, settings["n_latents"]
    likelihood = LIKELIHOODS[settings["likelihood"]](
        LikelihoodShape(
            n_features,
            n_categories=max(1, subject.largest_count) + 1,
            largest_mean=2.0 * (subject.largest_count + 1),
            noise_scale=settings["noise_scale"],
        )
    )
    encoder = Encoder(
        subject.n_inputs,
        hidden_widths(settings["encoder_hidden"], n_features),
        n_latents,
        streams,
        dropout=settings["dropout"],
    )
    decoder = Decoder(
        n_latents,
        hidden_widths(settings["decoder_hidden"], n_features),
        n_features * likelihood.parameters_per_feature,
        streams,
    )
    decoder.start_from(likelihood.start(_mean_target(subject, likelihood.target)))
    return SubjectNetworks(encoder, decoder, likelihood)


def reconstruction_weights(
    subjects: Mapping[str, FittedSubject], wanted: Mapping[str, float] | str | None
) -> list[float]:
    """Return the weight of each subject's reconstruction term.

    Raises
    ------
    ParameterError
        If weights are given by name and a name is unknown or missing.
    """
    if wanted is None:
        return [1.0] * len(subjects)
    if isinstance(wanted, str):  # "size"
        sizes = [subject.n_features for subject in subjects.values()]
        return [max(sizes) / size for size in sizes]
    if set(wanted) != set(subjects):
        raise ParameterError(
            f"reconstruction_weights must name the subjects {', '.join(map(repr, subjects))}, "
            f"got {', '.join(map(repr, wanted))}."
        )
    return [float(wanted[name]) for name in subjects]


def _mean_target(subject: FittedSubject, target: str) -> torch.Tensor:
    """Return about the mean of what the likelihood models, so that training starts from there."""
    n_lags = subject.n_features // len(subject.unit_ids)
    counts = subject.mean_counts.repeat(n_lags)
    if target == "counts":
        return counts
    # features that were standardised have mean zero; others begin at their mean count (for
    # sparse counts the mean root is about the mean count)
    return (counts - subject.scaling.shift) * subject.scaling.gain * _is_raw(subject)


def _is_raw(subject: FittedSubject) -> float:
    return float(bool((subject.scaling.shift == 0).all() and (subject.scaling.gain == 1).all()))
