"""From settings to untrained networks on a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch

from neuroalign.bridge import FittedSubject
from neuroalign.errors import ParameterError
from neuroalign.nn.likelihoods import LIKELIHOODS
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.networks import Decoder, Encoder
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.sharing import SharingOptions
from neuroalign.settings import hidden_widths

INITIAL_WEIGHTS: Final = 2**31 - 3  # key of the random streams, which no epoch ever has


def resolve_device(name: str) -> torch.device:
    """Return the device; "auto" is a CUDA GPU if there is one, otherwise the CPU.

    Raises
    ------
    ParameterError
        If torch does not know the device or it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
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
    n_latents = settings["n_latents"]
    encoders, decoders, likelihoods = [], [], []
    for name, subject in subjects.items():
        streams = RandomStreams([seed])
        streams.reseed(INITIAL_WEIGHTS, *name.encode())
        n_features = len(subject.scaling.shift)
        likelihood = LIKELIHOODS[settings["likelihood"]]()
        encoders.append(
            Encoder(
                n_features,
                hidden_widths(settings["encoder_hidden"], n_features),
                n_latents,
                streams,
                dropout=settings["dropout"],
            )
        )
        decoder = Decoder(
            n_latents,
            hidden_widths(settings["decoder_hidden"], n_features),
            n_features * likelihood.parameters_per_feature,
            streams,
        )
        decoder.start_from(likelihood.start(_mean_target(subject, likelihood.target)))
        decoders.append(decoder)
        likelihoods.append(likelihood)
    options = SharingOptions(
        divergence=settings["divergence"],
        mixture_samples=settings["mixture_samples"],
        standard_weight=settings["standard_weight"],
    )
    vae = MultimodalVAE(
        encoders, decoders, likelihoods, sharing=settings["sharing"], options=options
    )
    return vae.double() if settings["precision"] == "float64" else vae


def _mean_target(subject: FittedSubject, target: str) -> torch.Tensor:
    """Return about the mean of what the likelihood models, so that training starts from there."""
    n_lags = len(subject.scaling.shift) // len(subject.unit_ids)
    counts = subject.mean_counts.repeat(n_lags)
    if target == "counts":
        return counts
    # features that were standardised have mean zero; others begin at their mean count (for
    # sparse counts the mean root is about the mean count)
    return (counts - subject.scaling.shift) * subject.scaling.gain * _is_raw(subject)


def _is_raw(subject: FittedSubject) -> float:
    return float(bool((subject.scaling.shift == 0).all() and (subject.scaling.gain == 1).all()))
