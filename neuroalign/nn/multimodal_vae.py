"""A variational autoencoder of several modalities; what they are, it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from neuroalign.nn.likelihood_base import Likelihood
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.sharing import SHARING_RULES, SharingOptions, SharingRule


@dataclass(frozen=True)
class ObjectiveTerms:
    """The parts of the negative objective, averaged over the rows of a batch.

    Attributes
    ----------
    reconstruction : Tensor of shape (modality, replicate)
        −log p(x_m | z_m), in nats per row.
    regularisation : Tensor of shape (replicate,)
        R, in nats per row.
    """

    reconstruction: Tensor
    regularisation: Tensor

    def total(self, beta: Tensor | float) -> Tensor:
        """Return the negative objective Σ_m reconstruction_m + β·R, shape (replicate,)."""
        return self.reconstruction.sum(0) + beta * self.regularisation


@dataclass(frozen=True)
class ObjectiveRows:
    """The parts of the negative objective, row by row.

    Attributes
    ----------
    reconstruction : Tensor of shape (modality, replicate, row)
        −log p(x_m | z_m), in nats; 0 where the row lacks the modality.
    regularisation : Tensor of shape (replicate, row)
        R, in nats.
    present : Tensor of bool, (modality, replicate, row), or None
        Which modalities each row has; None means all.
    """

    reconstruction: Tensor
    regularisation: Tensor
    present: Tensor | None = None

    def mean(self) -> ObjectiveTerms:
        """Average over rows."""
        return ObjectiveTerms(self.reconstruction.mean(-1), self.regularisation.mean(-1))

    def typical(self) -> ObjectiveTerms:
        """Average over the middle half of the rows, for every modality and R apart.

        A few rows can cost more than all others together, for instance a held-out trial whose
        rates are far beyond any in training; they have no say here. A modality that some rows
        lack counts by the share of rows that have it, as it does in the mean over all rows.
        """
        return ObjectiveTerms(
            _middle(self.reconstruction, self.present), _middle(self.regularisation, None)
        )


def _middle(values: Tensor, present: Tensor | None) -> Tensor:
    """Return the interquartile mean over the last dimension, times the share that is present."""
    broken = ~torch.isfinite(values).all(-1)  # no middle is to be trusted then
    if present is not None:
        values = torch.where(present, values, torch.nan)
    # quartiles that are values themselves, or there might be nothing between them
    low = values.nanquantile(0.25, dim=-1, keepdim=True, interpolation="lower")
    high = values.nanquantile(0.75, dim=-1, keepdim=True, interpolation="higher")
    inside = (values >= low) & (values <= high)
    middle = torch.where(inside, values, 0.0).sum(-1) / inside.sum(-1).clamp_min(1)
    if present is not None:
        middle = middle * present.to(middle).mean(-1)
    return torch.where(broken, torch.inf, middle)


class MultimodalVAE(nn.Module):
    """One encoder, decoder and likelihood per modality, and a rule by which they share.

    Parameters
    ----------
    encoders, decoders : sequence of Module
        In the order of the modalities.
    likelihoods : sequence of Likelihood
        What each modality's observations are.
    sharing : str
        A name from `neuroalign.nn.sharing.SHARING_RULES`.
    options : SharingOptions
        Passed to the sharing rule.
    weights : sequence of float, optional
        Weight of each modality's reconstruction term, by default 1.
    """

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        decoders: Sequence[nn.Module],
        likelihoods: Sequence[Likelihood],
        *,
        sharing: str = "mm-vamp",
        options: SharingOptions | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.decoders = nn.ModuleList(decoders)
        self.likelihoods = nn.ModuleList(likelihoods)
        self.sharing = sharing
        self.options = options or SharingOptions()
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(self.encoders)

    @property
    def rule(self) -> SharingRule:
        """How the modalities share."""
        return SHARING_RULES[self.sharing]

    @property
    def n_modalities(self) -> int:
        """How many modalities there are."""
        return len(self.encoders)

    def encode(self, inputs: Sequence[Tensor], streams: RandomStreams | None = None) -> Normal:
        """Return all unimodal posteriors, stacked to (modality, replicate, row, latent)."""
        posteriors = [encoder(x, streams) for encoder, x in zip(self.encoders, inputs, strict=True)]
        return Normal(
            torch.stack([q.mean for q in posteriors]),
            torch.stack([q.scale for q in posteriors]),
            validate_args=False,
        )

    def forward(
        self,
        inputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        streams: RandomStreams,
        *,
        training: bool,
        present: Tensor | None = None,
    ) -> ObjectiveTerms:
        """Compute the terms of the negative objective for one batch of rows.

        Parameters
        ----------
        inputs : sequence of Tensor, (replicate, row, feature)
            What the encoders see, a tensor per modality.
        targets : sequence of Tensor, (replicate, row, feature)
            What the likelihoods model.
        streams : RandomStreams
            Draws posterior samples and dropout.
        training : bool
            Whether dropout is on.
        present : Tensor of bool, (modality, replicate, row), optional
            Which modalities each row has; all by default.
        """
        return self.row_terms(inputs, targets, streams, training=training, present=present).mean()

    def row_terms(
        self,
        inputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        streams: RandomStreams,
        *,
        training: bool,
        present: Tensor | None = None,
    ) -> ObjectiveRows:
        """Compute the same terms for every row; see `forward`."""
        posteriors = self.encode(inputs, streams if training else None)
        shared = self.rule.terms(posteriors, streams, self.options, present)
        rows = []
        for m, target in enumerate(targets):
            latents, weights = shared.latents[:, m], shared.weights
            if weights is not None:  # a draw without weight reaches nothing, not even as NaN
                latents = torch.where((weights > 0).unsqueeze(-1), latents, 0.0)
            if present is not None:  # nor does a decoder reach others through rows it is not in
                latents = torch.where(present[m].unsqueeze(-1), latents, 0.0)
            row = self._log_prob(m, latents, target)
            row = row.sum(0) if weights is None else (weights * row).sum(0)
            if present is not None:
                row = torch.where(present[m], row, torch.zeros_like(row))
            rows.append(-self.weights[m] * row)
        return ObjectiveRows(torch.stack(rows), shared.regularisation, present)

    def _log_prob(self, modality: int, latents: Tensor, target: Tensor) -> Tensor:
        """Return log p(x | z) of every draw and row, from latents (draw, replicate, row, latent)."""
        n_draws, _, n_rows, _ = latents.shape
        # draws are rows to a decoder, so that all of them go through it in one product
        parameters = self.decoders[modality](latents.transpose(0, 1).flatten(1, 2))
        if parameters.dtype == torch.bfloat16:
            parameters = parameters.float()
        if n_draws > 1:
            target = target.repeat(1, n_draws, *[1] * (target.dim() - 2))
        log_prob = self.likelihoods[modality].row_log_prob(parameters, target)  # type: ignore[operator]
        return torch.as_tensor(log_prob.reshape(-1, n_draws, n_rows).transpose(0, 1))

    def set_options(self, options: SharingOptions) -> None:
        """Change what the sharing rule is told, for example by a schedule."""
        self.options = options
