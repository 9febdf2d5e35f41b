"""What is looked at after every epoch, on the trials that were held out for it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from neuroalign.bridge import encode
from neuroalign.diagnostics import LabelledLatents, alignment
from neuroalign.nn.divergences import mixture_divergence
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.random import RandomStreams
from neuroalign.training.pairing import RowPlan
from neuroalign.training.sources import WindowSource

DIAGNOSIS_ROWS = 2**31 - 5  # key of the random streams, which no epoch ever has
SATURATION_SAMPLES = 8
EPOCH_ROWS = 256  # rows whose saturation an epoch estimates, fewer with many subjects
EPOCH_DENSITIES = 60_000  # which an epoch computes for it, at most about


def saturation(mean: Tensor, scale: Tensor, present: Tensor | None, noise: Tensor) -> float:
    """Estimate the mixture term of posteriors over its largest possible value.

    Parameters
    ----------
    mean, scale : Tensor
        (subject, row, latent).
    present : Tensor of bool, optional
        (subject, row): whom each row has.
    noise : Tensor
        Standard normal, (sample, subject, row, latent).
    """
    posteriors = Normal(mean, scale, validate_args=False)
    term = mixture_divergence(posteriors, noise.to(mean.dtype), present)
    n_subjects = len(mean)
    return float(term.mean() / (n_subjects * np.log(n_subjects)))


class EpochMeasure:
    """Alignment and saturation of held-out trials.

    Parameters
    ----------
    sources : mapping of str to WindowSource
        Windows of all trials of each subject.
    labels : mapping of str to ndarray
        Of all trials of each subject.
    validation : mapping of str to ndarray
        Positions of held-out trials, in rising order.
    classes : ndarray
        All labels.
    rows : RowPlan or None
        Rows over the held-out trials; without them no saturation is measured.
    """

    def __init__(
        self,
        sources: Mapping[str, WindowSource],
        labels: Mapping[str, np.ndarray],
        validation: Mapping[str, np.ndarray],
        classes: np.ndarray,
        rows: RowPlan | None,
    ) -> None:
        self.held = {name: source.of_trials(validation[name]) for name, source in sources.items()}
        self.labels = {name: labels[name][validation[name]] for name in sources}
        self.classes = classes
        self.index: Tensor | None = None
        self.present: Tensor | None = None
        self.noise: Tensor | None = None
        device = next(iter(sources.values())).counts.device
        self.streams = RandomStreams([0], device)
        if rows is not None:
            self._choose_rows(rows, sources, validation)

    def _choose_rows(
        self,
        rows: RowPlan,
        sources: Mapping[str, WindowSource],
        validation: Mapping[str, np.ndarray],
    ) -> None:
        """Draw rows once, and find their windows among those of the held-out trials."""
        n_subjects = len(sources)
        self.streams.reseed(DIAGNOSIS_ROWS)
        n_rows = min(EPOCH_ROWS, max(EPOCH_DENSITIES // (SATURATION_SAMPLES * n_subjects**2), 16))
        drawn = rows.draw(self.streams).batch(0, n_rows)
        index = drawn.index[0].cpu().numpy()
        found = []
        for m, (name, source) in enumerate(sources.items()):
            trial, window = np.divmod(index[:, m], len(source.starts))
            place = np.searchsorted(validation[name], trial)
            # where a subject is absent its index means nothing and is never looked at
            place = np.minimum(place, len(validation[name]) - 1)
            found.append(place * len(source.starts) + window)
        self.index = torch.from_numpy(np.stack(found)).to(drawn.index.device)
        self.present = None if drawn.present is None else drawn.present[0].T

    def __call__(self, vae: MultimodalVAE) -> dict[str, float]:
        """Return columns of the history."""
        posteriors = [encode(vae, m, source) for m, source in enumerate(self.held.values())]
        latents = {}
        for posterior, name in zip(posteriors, self.held, strict=True):
            values = posterior.mean.cpu().numpy()
            shape = (len(self.labels[name]), -1, values.shape[-1])
            latents[name] = LabelledLatents(values.reshape(shape), self.labels[name])
        measured = {"validation_alignment": alignment(latents, self.classes)}
        if self.index is not None:
            chosen = list(zip(posteriors, self.index, strict=True))
            mean = torch.stack([posterior.mean[index] for posterior, index in chosen])
            scale = torch.stack([posterior.scale[index] for posterior, index in chosen])
            if self.noise is None:  # the same in every epoch
                self.noise = self.streams.normal(SATURATION_SAMPLES, *mean.shape)[0]
            measured["validation_saturation"] = saturation(mean, scale, self.present, self.noise)
        return measured
