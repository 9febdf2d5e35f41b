"""What fits work on: one alone, or several side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.nn.random import RandomStreams
from neuroalign.training.keeping import HistoryRow
from neuroalign.training.pairing import RowPlan, Rows, StackedRows
from neuroalign.training.schedules import ObjectiveSchedules
from neuroalign.training.sources import Source, StackedWindows

VALIDATION_ROWS: Final = 2**31 - 1  # key of the random streams, which no epoch ever has

Measure = Callable[[MultimodalVAE], HistoryRow]


@dataclass
class TrainingSet:
    """What a fit works on.

    Attributes
    ----------
    names : sequence of str
        The modalities' names, for messages and for the history.
    sources : sequence of Source
        Examples of each modality.
    training_rows : RowPlan
        Rows to train on.
    validation_rows : RowPlan or None
        Rows of held-out trials, which decide when to stop.
    measure : callable, optional
        Given the network of one replicate as it would be kept, returns numbers to be added to
        its history row.
    """

    names: Sequence[str]
    sources: Sequence[Source]
    training_rows: RowPlan
    validation_rows: RowPlan | None = None
    measure: Measure | None = None


@dataclass(frozen=True)
class SideBySide:
    """What the replicates that still train work on, side by side."""

    sets: Sequence[TrainingSet]
    data: TrainingSet
    objective: ObjectiveSchedules
    streams: RandomStreams
    held_out: Rows | None

    @classmethod
    def of(
        cls,
        data: TrainingSet | Sequence[TrainingSet],
        objective: ObjectiveSchedules,
        streams: RandomStreams,
        running: Sequence[int],
    ) -> SideBySide:
        """Stack what these replicates work on and draw their held-out rows."""
        sets = [data if isinstance(data, TrainingSet) else data[r] for r in running]
        stacked = stack_sets(sets)
        own = streams.only(running)
        betas = tuple(objective.beta[r] for r in running)
        held_out = _validation_rows(stacked, own)
        return cls(sets, stacked, dataclasses.replace(objective, beta=betas), own, held_out)


def stack_sets(sets: Sequence[TrainingSet]) -> TrainingSet:
    """Put what several replicates work on side by side; what they share stays as it is."""
    first = sets[0]
    if all(one is first for one in sets):
        return first
    plans = [one.validation_rows for one in sets if one.validation_rows is not None]
    return TrainingSet(
        first.names,
        [StackedWindows(modality) for modality in zip(*(one.sources for one in sets), strict=True)],
        StackedRows([one.training_rows for one in sets]),
        StackedRows(plans) if plans else None,
    )


def _validation_rows(data: TrainingSet, streams: RandomStreams) -> Rows | None:
    if data.validation_rows is None:
        return None
    streams.reseed(VALIDATION_ROWS)  # the same rows in every epoch: scores are comparable
    return data.validation_rows.draw(streams)
