"""Fit estimators of any kind: ours side by side, others one after the other."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from neuroalign.analysis.labels import Label
from neuroalign.errors import NeuroAlignError, NeuroAlignWarning, TrainingError


def fit_each(
    models: Sequence[Any], windows: Sequence[xr.DataTree], *, label: Label
) -> list[Any | NeuroAlignError]:
    """Fit every model on its own windows; what cannot be fitted gives its error.

    Parameters
    ----------
    models : sequence of estimators
        Unfitted; `SharedLatentModel` are fitted through `fit_many`, others are changed by
        their own `fit`, so pass clones.
    windows : sequence of DataTree
        One per model.
    label : str or list of str
        Passed to the fits.

    Returns
    -------
    list
        Fitted models or errors, in order.
    """
    # a single fit needs no company, and is then the same to the bit as the user's own
    if len(models) > 1 and is_ours(models[0]) and all(is_ours(model) for model in models):
        from neuroalign.many_fits import fit_many

        return list(fit_many(models, windows, label=label))
    return [_fit(model, tree, label) for model, tree in zip(models, windows, strict=True)]


def fits_at_once(model: Any, waiting: int, n_jobs: int) -> int:
    """Say how many of the fits that wait are worth handing over together.

    Parameters
    ----------
    model : estimator
        What is fitted.
    waiting : int
        How many fits there are to do.
    n_jobs : int
        Processes that share them, as joblib counts them.

    Returns
    -------
    int
        As many as gain from each other's company on the model's device, but no more than leave
        every process something to do.
    """
    if not is_ours(model):
        return 1
    from neuroalign.many_fits import batch_size_for

    most = batch_size_for(model.get_params(deep=False)["device"])
    return max(1, min(most, share_of_each(waiting, n_jobs)))


def share_of_each(waiting: int, n_jobs: int) -> int:
    """Return the most fits that one of several processes has to do, if all take equally many."""
    from joblib import effective_n_jobs

    return -(-waiting // max(1, int(effective_n_jobs(n_jobs))))


def is_ours(model: Any) -> bool:
    """Tell whether a model is a `SharedLatentModel` itself; one derived from it may fit otherwise."""
    from neuroalign.model import SharedLatentModel

    return type(model) is SharedLatentModel


def _fit(model: Any, windows: xr.DataTree, label: Label) -> Any | NeuroAlignError:
    try:
        with warnings.catch_warnings():  # tables show alignment and accuracy beside each other
            warnings.simplefilter("ignore", NeuroAlignWarning)
            return model.fit(windows, label=label)
    except NeuroAlignError as error:
        return error
    except (np.linalg.LinAlgError, FloatingPointError) as error:
        return TrainingError(f"{type(model).__name__} could not be computed: {error}")
