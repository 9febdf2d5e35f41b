"""Weights that change while a fit runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Plan = float | Sequence[Sequence[float]]


@dataclass(frozen=True)
class Schedule:
    """A value that changes linearly between points, and stays after the last.

    Attributes
    ----------
    points : tuple of (epochs done, value)
        In the order of epochs; the first epoch of a fit trains with 0 epochs done.
    """

    points: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, plan: Plan) -> Schedule:
        """Build a schedule from one number, which never changes, or from points.

        Raises
        ------
        ValueError
            If points are none, not pairs of numbers, or not in the order of epochs.
        """
        if isinstance(plan, int | float | np.number):
            return cls(((0.0, float(plan)),))
        points = []
        for point in plan:
            try:
                epoch, value = point
                parts: list[object] = [epoch, value]
                if any(isinstance(part, str) for part in parts):
                    raise TypeError
                points.append((float(epoch), float(value)))
            except (TypeError, ValueError) as problem:
                raise ValueError(
                    f"a point is a pair of epochs done and value, got {point!r}"
                ) from problem
        if not np.isfinite(points).all():
            raise ValueError("epochs and values must be finite")
        epochs = [epoch for epoch, _ in points]
        if not points or epochs[0] < 0 or any(np.diff(epochs) <= 0):
            raise ValueError("the points' epochs must rise from 0 or later")
        return cls(tuple(points))

    def __call__(self, epochs_done: int) -> float:
        """Return the value after so many epochs."""
        epochs, values = zip(*self.points, strict=True)
        return float(np.interp(epochs_done, epochs, values))

    @property
    def final(self) -> float:
        """Value after the last point."""
        return self.points[-1][1]

    @property
    def settled_after(self) -> float:
        """Epochs done after which the value stays."""
        return self.points[-1][0]


@dataclass(frozen=True)
class ObjectiveSchedules:
    """The weights of the objective's parts.

    Attributes
    ----------
    beta : tuple of Schedule
        Weight of R, one per replicate.
    mixture_share : Schedule
        Share of the divergence to the mixture in the MM-VAMP term.
    standard_weight : Schedule
        Weight of the divergence to N(0, I) in the MM-VAMP term.
    """

    beta: tuple[Schedule, ...]
    mixture_share: Schedule = Schedule(((0.0, 0.0),))
    standard_weight: Schedule = Schedule(((0.0, 0.0),))

    @property
    def settled_after(self) -> float:
        """Epochs done after which nothing changes any more, so that objectives compare."""
        parts = (*self.beta, self.mixture_share, self.standard_weight)
        return max(part.settled_after for part in parts)
