"""Where a modality's examples come from: spike counts on the device, windows cut on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from neuroalign.nn.random import RandomStreams


@dataclass(frozen=True)
class Mixing:
    """How examples are mixed: single units are taken from donors.

    Attributes
    ----------
    donor : Tensor of int64
        Examples shaped like the index.
    share : float
        Probability that a unit comes from the donor.
    streams : RandomStreams
        Draws which.
    """

    donor: Tensor
    share: float
    streams: RandomStreams


class Source(Protocol):
    """Examples of one modality, numbered from zero."""

    @property
    def n_examples(self) -> int:
        """How many examples there are."""
        ...

    def gather(self, index: Tensor, mixed: Mixing | None = None) -> tuple[Tensor, Tensor]:
        """Return what the encoder sees and what the likelihood models, of these examples."""
        ...


@dataclass(frozen=True)
class FeatureScaling:
    """How counts become the encoder's input: (f(counts) − shift) · gain.

    Attributes
    ----------
    square_root : bool
        Whether f is the square root (otherwise the identity).
    shift, gain : Tensor of shape (feature,)
        Statistics of the training trials; a constant feature has gain zero.
    moved : bool
        Whether shift and gain are other than zero and one; if not, no time is spent on them.
    """

    square_root: bool
    shift: Tensor
    gain: Tensor
    moved: bool = True

    def __call__(self, counts: Tensor) -> Tensor:
        """Scale float counts of shape (..., feature); they may come back as they are."""
        if not self.moved:
            return _square_root(counts) if self.square_root else counts
        values = _square_root(counts) if self.square_root else counts.clone()
        return values.sub_(self.shift).mul_(self.gain)  # in place: this runs once a step

    def undo(self, scaled: Tensor) -> Tensor:
        """Return f(counts) from scaled values; constant features come back as their constant."""
        spread = torch.where(self.gain > 0, self.gain, 1.0).reciprocal()
        return torch.where(self.gain > 0, scaled * spread, 0.0) + self.shift

    @classmethod
    def stack(cls, scalings: Sequence[FeatureScaling]) -> FeatureScaling:
        """Put the scalings of several fits side by side, for features (replicate, row, feature)."""
        return cls(
            scalings[0].square_root,
            torch.stack([scaling.shift for scaling in scalings]).unsqueeze(1),
            torch.stack([scaling.gain for scaling in scalings]).unsqueeze(1),
            any(scaling.moved for scaling in scalings),
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> FeatureScaling:
        """Return the same scaling on a device and in a precision."""
        return FeatureScaling(
            self.square_root,
            self.shift.to(device, dtype),
            self.gain.to(device, dtype),
            self.moved,
        )


def _square_root(counts: Tensor) -> Tensor:
    """Return √x; most counts are 0, for which the plain function is many times slower."""
    return counts.clamp_min(1e-30).rsqrt_().mul_(counts)


class WindowSource:
    """Windows of one modality's spike counts; example trial · n_windows + window.

    Parameters
    ----------
    counts : Tensor of integers, (trial, time, unit)
        Time-major, so that a window is one contiguous piece; overlap is never stored.
    starts : Tensor of int64, (window,)
        First time bin of each window.
    n_lags : int
        Bins per window.
    scaling : FeatureScaling
        For the features in the order (lag, unit).
    target_counts : bool
        Whether the likelihood models counts rather than scaled features.
    totals : FeatureScaling, optional
        Show the encoder each unit's spikes in the whole window too, scaled by this.
    """

    def __init__(
        self,
        counts: Tensor,
        starts: Tensor,
        n_lags: int,
        scaling: FeatureScaling,
        *,
        target_counts: bool,
        totals: FeatureScaling | None = None,
    ) -> None:
        n_trials, n_times, n_units = counts.shape
        self.counts = counts.contiguous()
        self.starts = starts
        self.scaling = scaling
        self.totals = totals
        self.target_counts = target_counts
        self.n_features = n_lags * n_units
        # every window as a view: neighbours overlap in memory and none is copied
        self._pieces = self.counts.as_strided(
            (n_trials, n_times - n_lags + 1, self.n_features), (n_times * n_units, n_units, 1)
        )

    def of_trials(self, trials: np.ndarray) -> WindowSource:
        """Return a source of these trials alone, by position."""
        return WindowSource(
            self.counts[torch.from_numpy(trials).to(self.counts.device)],
            self.starts,
            self.n_features // self.counts.shape[-1],
            self.scaling,
            target_counts=self.target_counts,
            totals=self.totals,
        )

    @property
    def n_examples(self) -> int:
        """How many windows there are in all trials."""
        return len(self.counts) * len(self.starts)

    def window_counts(self, index: Tensor) -> Tensor:
        """Return the counts of these windows as floats, (..., feature)."""
        trial = torch.div(index, len(self.starts), rounding_mode="floor")
        window = index - trial * len(self.starts)
        return self._pieces[trial, self.starts[window]].to(self.scaling.shift.dtype)

    def gather(self, index: Tensor, mixed: Mixing | None = None) -> tuple[Tensor, Tensor]:
        """Return what the encoder sees, and counts or the scaled features as the target."""
        counts = self.window_counts(index)
        if mixed is not None:
            by_unit = (*index.shape, -1, self.counts.shape[-1])
            swapped = mixed.streams.coins(
                mixed.share, *index.shape[1:], 1, by_unit[-1], dtype=counts.dtype
            )
            counts = counts.reshape(by_unit)
            donated = self.window_counts(mixed.donor).reshape(by_unit)
            # counts are whole numbers, so this is the one or the other exactly
            counts = donated.sub_(counts).mul_(swapped).add_(counts).flatten(-2)
        features = self.scaling(counts)
        target = counts if self.target_counts else features
        if self.totals is None:
            return features, target
        # after mixing, so that the totals are those of the bins beside them
        totals = counts.reshape(*index.shape, -1, self.counts.shape[-1]).sum(-2)
        return torch.cat([features, self.totals(totals)], dim=-1), target


class StackedWindows:
    """Windows of one modality in several fits side by side, each with its trials and scaling.

    Parameters
    ----------
    sources : sequence of WindowSource
        One per replicate, with the same units and bins. Counts that several of them share lie
        on the device once.
    """

    def __init__(self, sources: Sequence[WindowSource]) -> None:
        first = sources[0]
        distinct = {id(source.counts): source.counts for source in sources}
        place, trials = {}, 0
        for key, counts in distinct.items():
            place[key] = trials
            trials += len(counts)
        totals = [source.totals for source in sources if source.totals is not None]
        self._windows = WindowSource(
            torch.cat(list(distinct.values())) if len(distinct) > 1 else first.counts,
            first.starts,
            first.n_features // first.counts.shape[-1],
            FeatureScaling.stack([source.scaling for source in sources]),
            target_counts=first.target_counts,
            totals=FeatureScaling.stack(totals) if totals else None,
        )
        offsets = [place[id(source.counts)] * len(first.starts) for source in sources]
        self._offsets = torch.tensor(offsets, device=first.counts.device).unsqueeze(-1)

    @property
    def n_examples(self) -> int:
        """How many windows there are in all trials of all replicates."""
        return self._windows.n_examples

    def gather(self, index: Tensor, mixed: Mixing | None = None) -> tuple[Tensor, Tensor]:
        """Return what `WindowSource.gather` does, the index counting each replicate's own."""
        if mixed is not None:
            mixed = Mixing(mixed.donor + self._offsets, mixed.share, mixed.streams)
        return self._windows.gather(index + self._offsets, mixed)


class PosteriorSource:
    """Stored posteriors of one modality; example trial · n_windows + window.

    Parameters
    ----------
    mean, scale : Tensor of shape (trial, window, latent)
        Parameters of the posteriors, which nothing changes.
    """

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        self.parameters = torch.cat([mean, scale], dim=-1).flatten(0, 1)

    @property
    def n_examples(self) -> int:
        """How many windows there are in all trials."""
        return len(self.parameters)

    def gather(self, index: Tensor, mixed: Mixing | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and scale side by side, twice: nothing models them."""
        del mixed  # a posterior is a whole; its parts cannot come from two trials
        parameters = self.parameters[index]
        return parameters, parameters
