"""The scaled counts themselves as an estimator, so that they are cross-validated like a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from sklearn.base import BaseEstimator

from neuroalign.analysis.baselines import raw_features

if TYPE_CHECKING:
    import xarray as xr


class RawCounts(BaseEstimator):
    """Latents that are each window's scaled counts, with the scaling of the training trials."""

    def fit(self, windows: xr.DataTree, *, label: Any) -> Self:
        """Keep the training windows, whose statistics scale all others."""
        del label  # counts are scaled alike whatever the trials were
        self.windows_ = windows
        return self

    def transform(self, windows: xr.DataTree) -> xr.DataTree:
        """Return the scaled counts of all windows as latents."""
        return raw_features(self.windows_, windows)[1]
