"""The paper's protocol: latent classification, coherence and reconstruction of held-out rows.

Classifiers are linear and see the latents of single modalities; coherence asks a judge that
knows real images what a generated one shows; reconstruction is reported from all modalities
and from each modality alone (sections 5 and B.2.3).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.random import RandomStreams
from neuroalign.validation.dataset import Benchmark, Rows
from neuroalign.validation.fitting import sources_of, training_rows
from neuroalign.validation.judge import Judge
from neuroalign.validation.scoring import attribute_scores, score_predictions
from neuroalign.validation.settings import StudySettings

AT_ONCE = 512  # rows on the way through the networks together, which bounds memory
NOISE = 7  # key of the random streams of posterior samples


@dataclass(frozen=True)
class Score:
    """One number of a fit.

    Attributes
    ----------
    measure : str
        "latent" (of posterior samples), "latent means", "latent, validation rows", "latent
        attribute", "coherence", "reconstruction joint" or "reconstruction single".
    value : float
        Accuracy or average precision; for reconstruction −log p(x | z) in nats per row.
    source, target : str
        Modality that was encoded, modality that was decoded; "all" and "" where that says it.
    attribute : str
        Of "latent attribute".
    """

    measure: str
    value: float
    source: str = ""
    target: str = ""
    attribute: str = ""


def score_fit(
    benchmark: Benchmark,
    vae: MultimodalVAE,
    judges: Mapping[str, Judge],
    settings: StudySettings,
    *,
    seed: int = 0,
) -> list[Score]:
    """Score a trained network on the test rows.

    Parameters
    ----------
    benchmark : Benchmark
        Linear classifiers learn from latents of its training rows.
    vae : MultimodalVAE
        One replicate, not changed.
    judges : mapping of str to Judge
        For the modalities whose generated images are judged; others are not.
    settings : StudySettings
        How many training latents classifiers see.
    seed : int
        Of posterior samples.
    """
    streams = RandomStreams([seed], next(vae.parameters()).device)
    streams.reseed(NOISE)
    names = [modality.name for modality in benchmark.modalities]
    train = training_rows(benchmark, settings).first(settings.classifier_rows)
    known = encode(benchmark, vae, train)
    asked = encode(benchmark, vae, benchmark.test)
    chosen_by = encode(benchmark, vae, benchmark.validation)
    scores = []
    for m, name in enumerate(names):
        scores += _latent_scores(
            benchmark, train, _one(known, m), _one(asked, m), _one(chosen_by, m), name, streams
        )
        scores += _coherence(benchmark, vae, judges, name, _one(asked, m), streams)
    return scores + _reconstruction(benchmark, vae, asked, streams)


@torch.no_grad()
def encode(benchmark: Benchmark, vae: MultimodalVAE, rows: Rows) -> Normal:
    """Return what each encoder says of the rows, (modality, row, latent), before any sharing."""
    parts = [vae.encode(inputs) for inputs, _ in _batches(benchmark, vae, rows)]
    return Normal(
        torch.cat([part.mean[:, 0] for part in parts], 1),
        torch.cat([part.scale[:, 0] for part in parts], 1),
        validate_args=False,
    )


def _batches(
    benchmark: Benchmark, vae: MultimodalVAE, rows: Rows
) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Yield inputs and targets of the rows, batch by batch, with one replicate."""
    device = next(vae.parameters()).device
    sources = sources_of(benchmark, rows, device)
    everything = torch.arange(len(rows), device=device).unsqueeze(0)
    for index in torch.split(everything, AT_ONCE, dim=1):
        gathered = [source.gather(index) for source in sources]
        yield [inputs for inputs, _ in gathered], [targets for _, targets in gathered]


def _one(posteriors: Normal, modality: int) -> Normal:
    return Normal(posteriors.mean[modality], posteriors.scale[modality], validate_args=False)


def _latent_scores(
    benchmark: Benchmark,
    train: Rows,
    known: Normal,
    asked: Normal,
    chosen_by: Normal,
    modality: str,
    streams: RandomStreams,
) -> list[Score]:
    """Read labels off one modality's latents: off posterior samples as the paper, and off means."""

    def samples(posterior: Normal) -> np.ndarray:
        return _array(_sample(posterior, streams))

    learned = LinearReader.fit(samples(known), train.labels, benchmark.label_names)
    scores = learned.scores(samples(asked), benchmark.test.labels, modality)
    beside = learned.scores(samples(chosen_by), benchmark.validation.labels, modality)[0]
    scores.append(Score("latent, validation rows", beside.value, modality))
    reader = LinearReader.fit(_array(known.mean), train.labels, benchmark.label_names)
    means = reader.scores(_array(asked.mean), benchmark.test.labels, modality)[0]
    return [*scores, Score("latent means", means.value, modality)]


def _array(latents: Tensor) -> np.ndarray:
    return latents.cpu().numpy().astype(np.float64)


def _sample(posterior: Normal, streams: RandomStreams) -> Tensor:
    return posterior.mean + posterior.scale * streams.normal(*posterior.mean.shape)[0]


@dataclass(frozen=True)
class LinearReader:
    """Linear classifiers of latents: one of the classes, or one for each attribute.

    Attributes
    ----------
    models : sequence
        Logistic regressions of standardised latents; None for an attribute that no training row
        has, or every one, which cannot be learned.
    label_names : sequence of str
        Classes or attributes.
    multilabel : bool
        Whether there is a model for each attribute.
    """

    models: Sequence[Any]
    label_names: Sequence[str]
    multilabel: bool

    @classmethod
    def fit(
        cls, latents: np.ndarray, labels: np.ndarray, label_names: Sequence[str]
    ) -> LinearReader:
        """Learn labels from latents (row, latent)."""
        columns = [labels] if labels.ndim == 1 else list(labels.T)
        models = [_linear(latents, c) if len(np.unique(c)) > 1 else None for c in columns]
        return cls(models, label_names, labels.ndim == 2)

    def scores(self, latents: np.ndarray, truth: np.ndarray, modality: str) -> list[Score]:
        """Return the score over all, then those of single attributes where there are any."""
        if not self.multilabel:
            table = np.zeros((len(latents), len(self.label_names)))
            if (model := self.models[0]) is not None:
                table[:, model.classes_] = model.predict_proba(latents)
            return [Score("latent", score_predictions(table, truth), modality)]
        usable = [
            a for a, model in enumerate(self.models) if model is not None and truth[:, a].any()
        ]
        table = np.stack([self.models[a].predict_proba(latents)[:, 1] for a in usable], axis=1)
        single = attribute_scores(table, truth[:, usable])
        return [
            Score("latent", float(single.mean()), modality),
            *(
                Score("latent attribute", float(value), modality, attribute=self.label_names[a])
                for a, value in zip(usable, single, strict=True)
            ),
        ]


def _linear(latents: np.ndarray, labels: np.ndarray) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with warnings.catch_warnings():  # what a few more steps would change is far below the noise
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        return model.fit(latents, labels)


@torch.no_grad()
def generate(
    vae: MultimodalVAE, latents: Tensor, modality: int, at_once: int = AT_ONCE
) -> Iterator[Tensor]:
    """Yield what a decoder makes of latents (row, latent): parameters, batch by batch."""
    for part in torch.split(latents, at_once):
        yield vae.decoders[modality](part.unsqueeze(0))[0]


def _coherence(
    benchmark: Benchmark,
    vae: MultimodalVAE,
    judges: Mapping[str, Judge],
    source: str,
    posterior: Normal,
    streams: RandomStreams,
) -> list[Score]:
    """Generate every judged modality from a sample of one modality's posterior."""
    single = vae.rule.unimodal(posterior)
    latents = _sample(single, streams)
    scores = []
    for m, modality in enumerate(benchmark.modalities):
        if modality.name in judges:
            judge = judges[modality.name]
            read = [judge.read(images.clamp(0, 1)) for images in generate(vae, latents, m)]
            value = score_predictions(np.concatenate(read), benchmark.test.labels)
            scores.append(Score("coherence", value, source, modality.name))
    return scores


@torch.no_grad()
def _reconstruction(
    benchmark: Benchmark, vae: MultimodalVAE, asked: Normal, streams: RandomStreams
) -> list[Score]:
    """Return −log p(x | z) per modality from all modalities, and from itself alone."""
    single = vae.rule.unimodal(asked)
    alone = _sample(single, streams)
    together = alone
    if vae.rule.joint is not None:
        joint = vae.rule.joint(asked, None)
        chosen = joint.pick(streams.uniform(asked.mean.shape[1])[0])
        together = _sample(chosen, streams).expand_as(alone)
    scores = []
    targets = [targets for _, targets in _batches(benchmark, vae, benchmark.test)]
    for m, modality in enumerate(benchmark.modalities):
        for said, latents in (("joint", together[m]), ("single", alone[m])):
            total = 0.0
            for parameters, batch in zip(generate(vae, latents, m), targets, strict=True):
                likelihood = vae.likelihoods[m]
                rows = likelihood.row_log_prob(parameters.unsqueeze(0), batch[m])  # type: ignore[operator]
                total -= float(rows.double().sum())
            source = "all" if said == "joint" else modality.name
            scores.append(
                Score(f"reconstruction {said}", total / len(benchmark.test), source, modality.name)
            )
    return scores
