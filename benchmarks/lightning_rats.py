"""The shared latent model as one would write it with Lightning and a DataLoader.

`bench_fit.py` measures it beside neuroalign. Needs `pip install "lightning==2.5.*"`. It is meant
to be good plain code: windows lie in memory as float32 tensors, all pairs of posteriors go through
one vectorised divergence, logging is once an epoch, and nothing is switched on that costs time.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

try:
    import lightning.pytorch as pl
except ImportError:
    import pytorch_lightning as pl  # the same under its older name

from timing import Work

from neuroalign.nn.random import RandomStreams
from neuroalign.restarts import Training

LOG_SCALE_BOUND = 6.0
LOG_RATE_BOUND = 20.0


class RatRows(Dataset[tuple[Tensor, ...]]):
    """Row i holds a window of every rat; a tensor (row, feature) per rat."""

    def __init__(self, windows: Sequence[Tensor]) -> None:
        self.windows = list(windows)

    def __len__(self) -> int:
        return len(self.windows[0])

    def __getitem__(self, row: int) -> tuple[Tensor, ...]:
        return tuple(windows[row] for windows in self.windows)


@dataclass(frozen=True)
class RatShape:
    """What one rat's networks must know."""

    n_features: int
    encoder_hidden: Sequence[int]
    decoder_hidden: Sequence[int]
    shift: Tensor  # (feature,), of the encoder's input
    gain: Tensor
    log_largest_mean: float | None = None  # bound of a Poisson rate


def mlp(sizes: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers[:-1])


class LightningRats(pl.LightningModule):
    """An encoder and a decoder per rat, tied by the pairwise MM-VAMP term."""

    def __init__(
        self,
        shapes: Sequence[RatShape],
        *,
        n_latents: int,
        beta: float,
        likelihood: str,
        square_root: bool,
        dropout: float,
        learning_rate: float,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            mlp([s.n_features, *s.encoder_hidden, 2 * n_latents], dropout) for s in shapes
        )
        self.decoders = nn.ModuleList(
            mlp([n_latents, *s.decoder_hidden, s.n_features]) for s in shapes
        )
        for number, shape in enumerate(shapes):
            self.register_buffer(f"shift{number}", shape.shift)
            self.register_buffer(f"gain{number}", shape.gain)
        self.bounds = [shape.log_largest_mean for shape in shapes]
        # raw counts, as in the paper, need no scaling at all
        self.scaled = square_root or any(
            bool((s.shift != 0).any() or (s.gain != 1).any()) for s in shapes
        )
        self.beta, self.likelihood, self.square_root = beta, likelihood, square_root
        self.learning_rate, self.fused = learning_rate, fused

    def posteriors(self, batch: Sequence[Tensor]) -> Normal:
        """Return the posteriors of all rats, (rat, row, latent)."""
        outputs = []
        for number, counts in enumerate(batch):
            x = counts.sqrt() if self.square_root else counts
            if self.scaled:
                x = (x - getattr(self, f"shift{number}")) * getattr(self, f"gain{number}")
            outputs.append(self.encoders[number](x))
        mean, raw = torch.stack(outputs).chunk(2, dim=-1)
        scale = torch.exp(LOG_SCALE_BOUND * torch.tanh(raw / LOG_SCALE_BOUND))
        return Normal(mean, scale, validate_args=False)

    def misfit(self, number: int, output: Tensor, counts: Tensor) -> Tensor:
        """Return −log p of each row but for what depends on the counts alone, (row,)."""
        if self.likelihood == "gaussian":  # of scale 1/√2: the squared error
            return functional.mse_loss(output, counts, reduction="none").sum(-1)
        bound = self.bounds[number]
        assert bound is not None
        log_rate = (bound - functional.softplus(bound - output)).clamp_min(-LOG_RATE_BOUND)
        return functional.poisson_nll_loss(log_rate, counts, reduction="none").sum(-1)

    def left_out(self, batch: Sequence[Tensor]) -> float:
        """Return what `misfit` leaves out, per row of the batch."""
        if self.likelihood == "gaussian":
            return sum(counts.shape[-1] for counts in batch) * 0.5 * math.log(math.pi)
        return float(sum(torch.lgamma(counts + 1.0).sum() for counts in batch)) / len(batch[0])

    def loss(self, batch: Sequence[Tensor], noise: Tensor | None = None) -> Tensor:
        posteriors = self.posteriors(batch)
        if noise is None:
            noise = torch.randn_like(posteriors.mean)
        latents = posteriors.mean + posteriors.scale * noise
        misfit = sum(
            self.misfit(number, decoder(latents[number]), batch[number])
            for number, decoder in enumerate(self.decoders)
        )
        mean, scale = posteriors.mean, posteriors.scale
        first = Normal(mean.unsqueeze(0), scale.unsqueeze(0), validate_args=False)
        second = Normal(mean.unsqueeze(1), scale.unsqueeze(1), validate_args=False)
        apart = kl_divergence(first, second).sum(-1).sum((0, 1)) / len(batch)
        total: Tensor = (misfit + self.beta * apart).mean()
        return total

    def training_step(self, batch: Sequence[Tensor], _: int) -> Tensor:
        loss = self.loss(batch)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[0]))
        return loss

    def validation_step(self, batch: Sequence[Tensor], _: int) -> None:
        self.log("validation_loss", self.loss(batch), batch_size=len(batch[0]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.fused:
            return torch.optim.Adam(self.parameters(), lr=self.learning_rate, fused=True)
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class EpochClock(pl.Callback):
    """Notes when epochs end; validation belongs to its epoch."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        del trainer
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def loader(
    windows: Sequence[Tensor], batch_size: int, workers: int, *, shuffle: bool, pin: bool
) -> DataLoader[Any]:
    return DataLoader(
        RatRows(windows),
        batch_size=batch_size,
        shuffle=shuffle,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin,
    )


def epoch_seconds(
    model: LightningRats,
    windows: Sequence[Tensor],
    held_out: Sequence[Tensor] | None,
    *,
    epochs: int,
    batch_size: int,
    workers: int,
    gradient_clip: float | None,
    device: str,
) -> list[float]:
    """Train for some epochs; return seconds of each but the first."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    clock, cuda = EpochClock(), device == "cuda"
    trainer = pl.Trainer(
        accelerator="gpu" if cuda else "cpu",
        devices=1,
        max_epochs=epochs,
        gradient_clip_val=gradient_clip,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[clock],
    )
    training = loader(windows, batch_size, workers, shuffle=True, pin=cuda)
    validation = None
    if held_out is not None:
        validation = loader(held_out, batch_size, workers, shuffle=False, pin=cuda)
    with warnings.catch_warnings():  # that few workers are few is what is measured here
        warnings.simplefilter("ignore")
        trainer.fit(model, training, validation)
    return [after - before for before, after in itertools.pairwise(clock.ends)]


class RecordedNoise(RandomStreams):
    """Random streams that remember what they drew."""

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32, row_axis: int = 0) -> Tensor:
        self.drawn = super().normal(*shape, dtype=dtype, row_axis=row_axis)
        return self.drawn


@dataclass(frozen=True)
class Plain:
    """The Lightning program's side of a problem: its windows in memory, and how to build it."""

    build: Callable[..., Any]
    windows: list[Tensor]
    held_out: list[Tensor]

    @classmethod
    def of(cls, training: Training) -> Plain:
        settings, vae = training.settings, training.build(training.seed)
        shapes = []
        for m, source in enumerate(training.data.sources):
            hidden = [
                [layer.weight.shape[-1] for layer in part.network.layers[:-1]]  # type: ignore[union-attr, index]
                for part in (vae.encoders[m], vae.decoders[m])
            ]
            scaling = source.scaling  # type: ignore[attr-defined]
            bound = getattr(vae.likelihoods[m], "bound", None)
            n_features = len(scaling.shift)
            shapes.append(
                RatShape(n_features, *hidden, scaling.shift.cpu(), scaling.gain.cpu(), bound)
            )

        def build(**changes: Any) -> LightningRats:
            names = ("n_latents", "beta", "likelihood", "dropout", "learning_rate")
            square_root = "sqrt" in settings["scaling"]
            return LightningRats(
                shapes, **{n: settings[n] for n in names}, square_root=square_root, **changes
            )

        data, streams = training.data, RandomStreams([training.seed], training.device)
        assert data.validation_rows is not None
        tables = [
            [s.window_counts(rows.index[0, :, m]).cpu() for m, s in enumerate(data.sources)]  # type: ignore[attr-defined]
            for rows in (data.training_rows.draw(streams), data.validation_rows.draw(streams))
        ]
        return cls(build, *tables)

    def work(self, training: Training, *, validate: bool, workers: int, **changes: Any) -> Work:
        def epochs_of_it(epochs: int) -> list[float]:
            return epoch_seconds(
                self.build(**changes),
                self.windows,
                self.held_out if validate else None,
                epochs=epochs,
                batch_size=training.settings["batch_size"],
                workers=workers,
                gradient_clip=training.settings["gradient_clip"],
                device=training.device.type,
            )

        return epochs_of_it

    @torch.no_grad()
    def loss_gap(self, training: Training) -> float:
        """Return the relative gap between both programs' losses, with the same weights and noise."""
        ours, theirs = training.build(training.seed).cpu(), self.build().eval()
        for mine, other in ((ours.encoders, theirs.encoders), (ours.decoders, theirs.decoders)):
            for part, sequence in zip(mine, other, strict=True):
                linear = [layer for layer in sequence if isinstance(layer, torch.nn.Linear)]
                for layer, copied in zip(part.network.layers, linear, strict=True):  # type: ignore[union-attr, arg-type]
                    copied.weight.copy_(layer.weight[0].T)
                    copied.bias.copy_(layer.bias[0, 0])
        batch = [windows[:128] for windows in self.windows]
        streams = RecordedNoise([7])
        scalings = [s.scaling.to(torch.device("cpu"), torch.float32) for s in training.data.sources]  # type: ignore[attr-defined]
        inputs = [scale(counts)[None] for scale, counts in zip(scalings, batch, strict=True)]
        counted = ours.likelihoods[0].target == "counts"
        targets = [counts[None] for counts in batch] if counted else inputs
        terms = ours(inputs, targets, streams, training=False)
        expected = float(terms.total(training.settings["beta"])[0])
        found = float(theirs.loss(batch, noise=streams.drawn[0])) + theirs.left_out(batch)
        return abs(found - expected) / abs(expected)
