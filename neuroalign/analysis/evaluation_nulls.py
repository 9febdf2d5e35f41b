"""The model null: labels permuted before pairing and fitting, and everything done again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from neuroalign.analysis.evaluation_tasks import PAIRED_LABEL, FoldResult, Plan, fit_fold
from neuroalign.analysis.labels import Label, labels_as_text
from neuroalign.analysis.predictions import pool_predictions
from neuroalign.analysis.tuning import Grid
from neuroalign.data.randomness import named_generator
from neuroalign.schema import map_subjects

Fold = tuple[xr.DataTree, xr.DataTree]


def model_null(
    windows: xr.DataTree,
    make_folds: Callable[[xr.DataTree], Sequence[Fold]],
    model: Any,
    grid: Grid,
    plan: Plan,
    *,
    permutations: int,
    permute_classifier: bool,
    observed: xr.DataArray,
    run: Callable[[Sequence[tuple[str, Any]]], Sequence[FoldResult]],
    name: str,
) -> xr.Dataset:
    """Repeat the evaluation of one method with permuted labels.

    Parameters
    ----------
    windows : DataTree
        All trials.
    make_folds : callable
        Splits a tree as the evaluation does.
    model, grid, plan
        As in `fit_fold`; settings are chosen anew for every permutation.
    permutations : int
        How many.
    permute_classifier : bool
        Whether classifiers and scores see the permuted labels too, or the true ones.
    observed : DataArray
        `headline(scope, level)` with the true labels.
    run : callable
        Runs tasks, in this process or in several.
    name : str
        The method's name.

    Returns
    -------
    Dataset
        `model_null(scope, permutation)`: accuracy per trial, averaged over subjects;
        `model_null_p(scope)`: (1 + permutations that reach the accuracy seen) / (1 + all).
    """
    from neuroalign.analysis.evaluation_scores import headline

    tasks: list[tuple[str, Any]] = []
    counts = []
    for permutation in range(permutations):
        tree = permute_before_fit(windows, plan.fit_label, plan.seed, permutation)
        asked = replace(
            plan,
            fit_label=PAIRED_LABEL,
            label=PAIRED_LABEL if permute_classifier else plan.label,
            imputation=False,
        )
        folds = make_folds(tree)
        counts.append(len(folds))
        tasks += [
            (f"{name}, permutation {permutation}", (fit_fold, (model, grid, fold, asked), {"number": n}))
            for n, fold in enumerate(folds)
        ]  # fmt: skip
    done = iter(run(tasks))
    null = np.full((observed.sizes["scope"], permutations), np.nan)
    for permutation, number in enumerate(counts):
        pooled = pool_predictions([next(done).predictions for _ in range(number)])
        scores = headline(pooled, permutations=0, bootstraps=0, seed=plan.seed)
        null[:, permutation] = scores["headline"].sel(level="trial").values
    seen = observed.sel(level="trial").values
    reached = (null >= seen[:, None] - 1e-9).sum(axis=1)
    p_value = np.where(np.isfinite(seen), (1 + reached) / (1 + permutations), np.nan)
    return xr.Dataset(
        {"model_null": (("scope", "permutation"), null), "model_null_p": ("scope", p_value)},
        coords={"scope": observed["scope"].values, "permutation": np.arange(permutations)},
    )


def permute_before_fit(
    windows: xr.DataTree, label: Label, seed: int, permutation: int
) -> xr.DataTree:
    """Add labels permuted over the trials of each subject, as coordinate "paired_label"."""

    def permute(subject: str, data: xr.Dataset) -> xr.Dataset:
        values = labels_as_text(data, label, subject=subject)
        random = named_generator(seed, "model null", str(permutation), subject)
        return data.assign_coords({PAIRED_LABEL: ("trial", random.permutation(values))})

    return map_subjects(windows, permute)
