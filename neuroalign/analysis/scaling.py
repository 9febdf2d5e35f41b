"""Scale counts with the statistics of training trials, as the model's inputs are scaled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from neuroalign.errors import ParameterError
from neuroalign.poisson_root import expected_root

Scaling = Literal["sqrt-standard", "standard", "sqrt", "none"]
# Standard deviations below this are rounding, not variation: the feature is constant.
CONSTANT: Final = 1e-9


@dataclass(frozen=True)
class FeatureScaling:
    """How every feature is scaled; its statistics are those of training trials."""

    scaling: Scaling
    mean: np.ndarray  # (feature,)
    factor: np.ndarray  # (feature,), 0 for constant features

    @property
    def takes_root(self) -> bool:
        """Whether counts are replaced by their square roots."""
        return self.scaling.startswith("sqrt")

    def of_counts(self, counts: np.ndarray) -> np.ndarray:
        """Scale counts, shape (..., feature)."""
        values = counts.astype(np.float64)
        return self._standardise(np.sqrt(values) if self.takes_root else values)

    def of_expected(self, expected: np.ndarray) -> np.ndarray:
        """Scale expected counts, shape (..., feature), to the mean that their counts would have.

        The root of an expectation is not the expected root (at 0.02 spikes a bin it is seven
        times too large), so roots are averaged over Poisson counts.
        """
        values = np.asarray(expected, dtype=np.float64)
        return self._standardise(expected_root(values) if self.takes_root else values)

    def _standardise(self, values: np.ndarray) -> np.ndarray:
        if self.scaling in {"sqrt", "none"}:
            return values
        return np.asarray((values - self.mean) * self.factor)


def fit_scaling(counts: np.ndarray, scaling: Scaling) -> FeatureScaling:
    """Find the scaling of every feature from training counts.

    Parameters
    ----------
    counts : ndarray of shape (..., feature)
        Counts of training trials.
    scaling : str
        "sqrt-standard" (square root, then mean 0 and variance 1), "standard", "sqrt", "none".

    Raises
    ------
    ParameterError
        If the scaling has another name.
    """
    check_scaling(scaling)
    values = counts.reshape(-1, counts.shape[-1]).astype(np.float64)
    if scaling.startswith("sqrt"):
        values = np.sqrt(values)
    spread = values.std(axis=0)
    varies = spread > CONSTANT
    factor = np.where(varies, 1 / np.where(varies, spread, 1.0), 0.0)
    return FeatureScaling(scaling=scaling, mean=values.mean(axis=0), factor=factor)


def check_scaling(scaling: str) -> None:
    """Refuse scalings that do not exist.

    Raises
    ------
    ParameterError
        If the scaling is none of the four.
    """
    if scaling not in get_args(Scaling):
        raise ParameterError(
            f"scaling must be one of {', '.join(map(repr, get_args(Scaling)))}, got {scaling!r}."
        )
