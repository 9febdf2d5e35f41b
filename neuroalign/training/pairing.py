"""Rows: which example of each modality stands beside which of the others.

Modalities were recorded separately, so a row takes, for one label and one window position,
one trial of each. Whoever pairs by label has used the label: see the page on pairing and
leakage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from neuroalign.nn.random import RandomStreams


@dataclass(frozen=True)
class Rows:
    """Rows of one epoch.

    Attributes
    ----------
    index : Tensor of int64, (replicate, row, modality)
        The example each modality contributes.
    present : Tensor of bool, (replicate, row, modality), or None
        Whether the modality takes part in the row; None means everywhere.
    donor : Tensor of int64, (replicate, row, modality), or None
        A second example of the same modality, label and window position, with which the first
        may be mixed.
    """

    index: Tensor
    present: Tensor | None = None
    donor: Tensor | None = None

    def batch(self, start: int, stop: int) -> Rows:
        """Return the rows from `start` to `stop`."""
        present = None if self.present is None else self.present[:, start:stop]
        donor = None if self.donor is None else self.donor[:, start:stop]
        return Rows(self.index[:, start:stop], present, donor)

    def of(self, replicates: Sequence[int]) -> Rows:
        """Return the rows of these replicates."""
        chosen = list(replicates)
        present = None if self.present is None else self.present[chosen]
        return Rows(self.index[chosen], present, None if self.donor is None else self.donor[chosen])


class RowPlan(Protocol):
    """Draws the rows of an epoch, always equally many."""

    @property
    def n_rows(self) -> int:
        """How many rows an epoch has."""
        ...

    def draw(self, streams: RandomStreams) -> Rows:
        """Draw the rows of one epoch, shuffled."""
        ...


class StackedRows:
    """A plan of its own for every replicate.

    Parameters
    ----------
    plans : sequence of RowPlan
        One per replicate, with equally many rows.
    """

    def __init__(self, plans: Sequence[RowPlan]) -> None:
        self.plans = plans

    @property
    def n_rows(self) -> int:
        """How many rows an epoch has, of every replicate."""
        return self.plans[0].n_rows

    def draw(self, streams: RandomStreams) -> Rows:
        """Draw every replicate's rows from its own plan, as it would alone."""
        drawn = [plan.draw(streams.only([r])) for r, plan in enumerate(self.plans)]
        donor = [rows.donor for rows in drawn if rows.donor is not None]
        return Rows(
            torch.cat([rows.index for rows in drawn]),
            self._presence(drawn),
            torch.cat(donor) if len(donor) == len(drawn) else None,
        )

    @staticmethod
    def _presence(drawn: Sequence[Rows]) -> Tensor | None:
        if all(rows.present is None for rows in drawn):
            return None
        return torch.cat(
            [
                torch.ones_like(rows.index, dtype=torch.bool)
                if rows.present is None
                else rows.present
                for rows in drawn
            ]
        )


class ResampledRows:
    """Partners are drawn anew whenever rows are drawn, and all trials are used.

    An epoch has, per label and window position, as many rows as the modality with most trials
    of that label has trials; the others' trials come round equally often (to within one).

    Parameters
    ----------
    members : sequence (modality) of sequences (label) of Tensor of int64
        Trials of each label; a modality without a label has an empty tensor there.
    n_windows : int
        Window positions of a trial.
    donors : bool
        Whether to draw a second example for every first one.
    """

    def __init__(
        self, members: Sequence[Sequence[Tensor]], n_windows: int, *, donors: bool = False
    ) -> None:
        self.members = members
        self.donors = donors
        self.n_windows = n_windows
        n_labels = len(members[0])
        self._sizes = [max(len(m[label]) for m in members) for label in range(n_labels)]
        self._complete = all(len(trials) > 0 for m in members for trials in m)

    @property
    def n_rows(self) -> int:
        """How many rows an epoch has."""
        return sum(self._sizes) * self.n_windows

    def draw(self, streams: RandomStreams) -> Rows:
        """Draw the rows of one epoch, shuffled."""
        presence = []
        for modality in self.members:
            presence += [
                torch.full((size * self.n_windows,), len(trials) > 0, device=streams.device)
                for trials, size in zip(modality, self._sizes, strict=True)
            ]
        index = self._columns(streams)
        donor = self._columns(streams) if self.donors else None
        order = streams.permutation(self.n_rows)
        place = order.unsqueeze(-1).expand_as(index)
        there = None
        if not self._complete:
            there = torch.cat(presence).reshape(len(self.members), -1).T[order]
        return Rows(
            index.gather(1, place), there, None if donor is None else donor.gather(1, place)
        )

    def _columns(self, streams: RandomStreams) -> Tensor:
        """Return (replicate, row, modality) examples, rows in the order of the labels."""
        columns = []
        for modality in self.members:
            pieces = [
                self._examples(trials, size, streams)
                for trials, size in zip(modality, self._sizes, strict=True)
            ]
            columns.append(torch.cat(pieces, dim=1))
        return torch.stack(columns, dim=-1)

    def _examples(self, trials: Tensor, size: int, streams: RandomStreams) -> Tensor:
        """Return (replicate, window · slot) examples of one modality and label."""
        window = torch.arange(self.n_windows, device=streams.device).unsqueeze(-1)
        if len(trials) == 0:  # absent: any example will do, nothing of it is used
            return window.expand(streams.n_replicates, -1, size).reshape(streams.n_replicates, -1)
        turn = streams.permutation(self.n_windows, size) % len(trials)
        # the second permutation lets chance decide whose turn comes once more often
        order = streams.permutation(self.n_windows, len(trials))
        chosen = trials[order.gather(-1, turn)]
        return (chosen * self.n_windows + window).flatten(1)


class FixedRows:
    """The same rows in every epoch, in a new order: pairing by rank or by trial.

    Parameters
    ----------
    trials : Tensor of int64, (partnership, modality)
        Which trials stand beside each other.
    n_windows : int
        Window positions of a trial.
    present : Tensor of bool, (partnership, modality), optional
        Whether the modality has that trial.
    """

    def __init__(self, trials: Tensor, n_windows: int, present: Tensor | None = None) -> None:
        window = torch.arange(n_windows, device=trials.device)
        index = trials.unsqueeze(1) * n_windows + window.unsqueeze(-1)
        self.index = index.flatten(0, 1)
        self.present = None if present is None else present.repeat_interleave(n_windows, dim=0)

    @property
    def n_rows(self) -> int:
        """How many rows an epoch has."""
        return len(self.index)

    def draw(self, streams: RandomStreams) -> Rows:
        """Return the rows in a new order for every replicate."""
        order = streams.permutation(self.n_rows)
        present = None if self.present is None else self.present[order]
        return Rows(self.index[order], present)
