"""Classifiers of real images that judge generated ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neuroalign.errors import DataError, TrainingError
from neuroalign.nn.convolution import ResidualTrunk
from neuroalign.nn.networks import StackedLinear
from neuroalign.nn.random import RandomStreams
from neuroalign.validation.dataset import Benchmark, Ingredients, Rows
from neuroalign.validation.scoring import score_predictions
from neuroalign.validation.sources import ComposedImages, ImageSource, on_device

BATCH = 128
LEAST_STEPS = 20  # of an epoch: small data are cut into smaller batches
PREDICTED_AT_ONCE = 512
LOOKS = 10  # at the validation images, while a judge learns
FILTERS = (32, 64, 128)
LEARNING_RATE = 3e-3
# of all steps: from the first step at the full rate, a judge of busy images stays at chance
WARM_UP = 0.15
LEAST_STRIDE = 2  # with it a judge of digits reads 0.98 of them, at a quarter of the work


class JudgeNetwork(nn.Module):
    """A residual classifier of images.

    Parameters
    ----------
    shape : tuple of int
        Of an image, (channel, height, width).
    filters : sequence of int
        Channels of the residual stages.
    n_labels : int
        Classes, or attributes.
    streams : RandomStreams
        Draws the initial weights.
    stem_stride : int
        Stride of the first convolution.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        filters: tuple[int, ...],
        n_labels: int,
        streams: RandomStreams,
        *,
        stem_stride: int = LEAST_STRIDE,
    ) -> None:
        super().__init__()
        self.stem_stride = stem_stride
        self.trunk = ResidualTrunk(
            shape, filters, streams, stem_stride=stem_stride, branch_weight=1.0
        )
        self.head = StackedLinear(2 * filters[-1], n_labels, streams)

    def forward(self, images: Tensor) -> Tensor:
        """Return a score per label from images (row, channel, height, width)."""
        maps = self.trunk.maps(images.unsqueeze(0)).flatten(2)
        # what there is counts, not where: digits and faces are moved about
        pooled = torch.cat([maps.mean(-1), maps.amax(-1)], dim=-1)
        return torch.as_tensor(self.head(pooled.unsqueeze(0))[0])


@dataclass(frozen=True)
class Judge:
    """A trained classifier of one modality's real images.

    Attributes
    ----------
    modality : str
        Whose images it reads.
    network : JudgeNetwork
        Trained on the training rows; of its epochs the best on the validation rows was kept.
    multilabel : bool
        Whether it reads attributes.
    score : float
        Accuracy, or mean average precision, on real images of the test rows.
    """

    modality: str
    network: JudgeNetwork
    multilabel: bool
    score: float

    @torch.no_grad()
    def read(self, images: Tensor) -> np.ndarray:
        """Return probabilities (row, label) of images (row, channel, height, width), 0 to 1."""
        scores = [self.network(part) for part in torch.split(images, PREDICTED_AT_ONCE)]
        whole = torch.cat(scores)
        known = whole.sigmoid() if self.multilabel else whole.softmax(-1)
        return known.cpu().numpy()


def train_judge(
    benchmark: Benchmark,
    modality: str,
    *,
    n_images: int,
    n_rows: int | None = None,
    stem_stride: int = LEAST_STRIDE,
    seed: int = 0,
    device: torch.device,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Judge:
    """Train a classifier on real images of one modality.

    Parameters
    ----------
    benchmark : Benchmark
        Training rows teach it, validation rows choose its epoch, test rows tell how good it is.
    modality : str
        An image modality.
    n_images : int
        Images that are shown to it, over all passes; the learning rate rises over the first
        of them and then falls to 0 along half a cosine.
    n_rows : int, optional
        How many of the training rows teach it; all by default.
    stem_stride : int
        Stride of its first convolution.
    seed : int
        Of initial weights and order.
    device : torch.device
        Where to train.
    on_epoch : callable, optional
        Called with the epoch and the score on the validation rows.

    Returns
    -------
    Judge
        With its score on real test images.
    """
    shape = next(m.shape for m in benchmark.modalities if m.name == modality)
    streams = RandomStreams([seed])
    streams.reseed(0, *b"judge", *modality.encode())
    n_labels = len(benchmark.label_names)
    network = JudgeNetwork(shape, FILTERS, n_labels, streams, stem_stride=stem_stride).to(device)
    rows = benchmark.train if n_rows is None else benchmark.train.first(n_rows)
    images, labels = _taught_with(benchmark, rows, modality, device)
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    epochs = max(1, round(n_images / len(labels)))
    steps = max(LEAST_STEPS, len(labels) // BATCH)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, learning_rates(epochs * steps))
    best, best_score = None, -np.inf
    for epoch in range(1, epochs + 1):
        order = streams.permutation(len(labels))[0].to(device)
        for part in order.tensor_split(steps):
            loss = _loss(network(images.gather(part.unsqueeze(0))[0][0]), labels[part])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
        if epoch % max(1, epochs // LOOKS) and epoch < epochs:
            continue
        score = _score(Judge(modality, network, benchmark.multilabel, 0.0), benchmark.validation)
        if on_epoch is not None:
            on_epoch(epoch, score)
        if score > best_score:
            best_score = score
            best = {k: v.detach().clone() for k, v in network.state_dict().items()}
    if best is None:
        raise TrainingError(f"the classifier of {modality!r} images has no finite score.")
    network.load_state_dict(best)
    trained = Judge(modality, network, benchmark.multilabel, 0.0)
    return Judge(modality, network, benchmark.multilabel, _score(trained, benchmark.test))


def learning_rates(n_steps: int) -> Callable[[int], float]:
    """Return what says the share of a judge's learning rate at each of its steps."""
    rising = max(1, round(WARM_UP * n_steps))

    def share(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1, n_steps - rising)))

    return share


def _loss(scores: Tensor, labels: Tensor) -> Tensor:
    if labels.dim() == 2:
        return functional.binary_cross_entropy_with_logits(scores, labels)
    return functional.cross_entropy(scores, labels)


def _taught_with(
    benchmark: Benchmark, rows: Rows, modality: str, device: torch.device
) -> tuple[ImageSource | ComposedImages, Tensor]:
    """Return training images and labels; images that were composed are composed anew each time."""
    images, labels = _on_device(rows, modality, device)
    parts = benchmark.ingredients.get(modality)
    if not isinstance(parts, Ingredients):  # of texts, which no judge reads
        return images, labels
    streams = RandomStreams([0], device)
    digits = on_device(parts.digits[: len(rows)], device)
    background = on_device(parts.background, device)
    return ComposedImages(digits, background, images.images.shape[-1], streams), labels


def _on_device(rows: Rows, modality: str, device: torch.device) -> tuple[ImageSource, Tensor]:
    images = ImageSource(on_device(rows.observations[modality], device))
    labels = on_device(rows.labels, device)
    return images, labels.float() if labels.dim() == 2 else labels


def _score(judge: Judge, rows: Rows) -> float:
    device = next(judge.network.parameters()).device
    images, _ = _on_device(rows, judge.modality, device)
    everything = torch.arange(len(rows), device=device)
    parts = [
        judge.read(images.gather(part)[0]) for part in torch.split(everything, PREDICTED_AT_ONCE)
    ]
    return score_predictions(np.concatenate(parts), rows.labels)


def save_judge(judge: Judge, path: Path) -> None:
    """Write a judge to one safetensors file."""
    from safetensors.torch import save_file

    aside = path.with_suffix(".part")
    tensors = {k: v.detach().cpu().contiguous() for k, v in judge.network.state_dict().items()}
    told = {"score": repr(judge.score), "stem_stride": str(judge.network.stem_stride)}
    save_file(tensors, aside, metadata={"modality": judge.modality, **told})
    aside.replace(path)


def load_judge(path: Path, benchmark: Benchmark, device: torch.device) -> Judge:
    """Read what `save_judge` wrote.

    Raises
    ------
    DataError
        If the file is damaged or of other images.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        shape = next(m.shape for m in benchmark.modalities if m.name == told["modality"])
        network = JudgeNetwork(
            shape,
            FILTERS,
            len(benchmark.label_names),
            RandomStreams([0]),
            stem_stride=int(told["stem_stride"]),
        )
        network.load_state_dict(tensors)
        score = float(told["score"])
    except (
        SafetensorError,
        LookupError,
        StopIteration,
        RuntimeError,
        TypeError,
        ValueError,
    ) as problem:
        raise DataError(
            f"{path} is not a judge of these images: {problem}; delete it."
        ) from problem
    return Judge(told["modality"], network.to(device), benchmark.multilabel, score)
