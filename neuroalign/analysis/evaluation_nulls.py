"""The model null: labels permuted before pairing and fitting, and everything done again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from neuroalign.analysis.evaluation_tasks import (
    PAIRED_LABEL,
    Failure,
    FoldResult,
    Plan,
    fit_folds,
)
from neuroalign.analysis.fitting_many import fits_at_once
from neuroalign.analysis.labels import labels_as_text
from neuroalign.analysis.predictions import pool_predictions
from neuroalign.analysis.tuning import Grid
from neuroalign.data.randomness import named_generator
from neuroalign.errors import DataWarning, TrainingError
from neuroalign.schema import iterate_subjects, map_subjects

Fold = tuple[xr.DataTree, xr.DataTree]
READ_LABEL = "permuted_label"  # what is decoded when labels are permuted before everything


def model_null(
    windows: xr.DataTree,
    folds: Sequence[Fold],
    model: Any,
    grid: Grid,
    plan: Plan,
    *,
    permutations: int,
    permute_classifier: bool,
    observed: xr.DataArray,
    run: Callable[[Sequence[tuple[str, Any]]], Sequence[list[FoldResult | Failure]]],
    n_jobs: int,
    name: str,
) -> xr.Dataset:
    """Repeat the evaluation of one method with permuted labels.

    A permutation of which a fit fails has no score, and counts as one that reaches the accuracy
    seen: a p-value can only grow by it.

    Parameters
    ----------
    windows : DataTree
        All trials.
    folds : sequence of (train, test)
        The splits of the evaluation, which stay as they are.
    model, grid, plan
        As in `fit_folds`; settings are chosen anew for every permutation.
    permutations : int
        How many.
    permute_classifier : bool
        Whether classifiers and scores see the permuted labels too, or the true ones.
    observed : DataArray
        `headline(scope, level)` with the true labels.
    run : callable
        Runs tasks, in this process or in several.
    n_jobs : int
        How many processes share the tasks, so that none is left without.
    name : str
        The method's name.

    Returns
    -------
    Dataset
        `model_null(scope, permutation)`: accuracy per trial, averaged over subjects, NaN where
        a fit failed; `model_null_failed`: permutations without an accuracy;
        `model_null_p(scope)`: (1 + permutations that reach the accuracy seen or failed) /
        (1 + all).

    Raises
    ------
    TrainingError
        If no permutation could be fitted.

    Warns
    -----
    DataWarning
        If some could not be fitted.
    """
    asked = replace(
        plan,
        fit_label=PAIRED_LABEL,
        label=READ_LABEL if permute_classifier else plan.label,
        imputation=False,
    )
    given = [
        (permutation, number) for permutation in range(permutations) for number in range(len(folds))
    ]
    size = fits_at_once(model, len(given), n_jobs)  # permutations train side by side
    tasks: list[tuple[str, Any]] = []
    for start in range(0, len(given), size):
        part = given[start : start + size]
        dealt = {p: permuted_labels(windows, plan, p, folds) for p, _ in part}
        permuted = [
            (with_labels(folds[n][0], dealt[p]), with_labels(folds[n][1], dealt[p]))
            for p, n in part
        ]
        call = (fit_folds, (model, grid, permuted, asked), {"numbers": [n for _, n in part]})
        first, last = part[0][0], part[-1][0]
        which = f"permutation {first}" if first == last else f"permutations {first} to {last}"
        tasks.append((f"{name}, {which}", call))
    done = (result for results in run(tasks) for result in results)
    each = [[next(done) for _ in folds] for _ in range(permutations)]
    seen = observed.sel(level="trial").values
    null = np.stack([_null_scores(found, len(seen), plan.seed) for found in each], axis=1)
    missing = ~np.isfinite(null)
    failed = (missing & np.isfinite(seen)[:, None]).any(axis=0)
    if failed.any():
        _report_failures(name, int(failed.sum()), each)
    # one that failed might have reached it
    reached = ((null >= seen[:, None] - 1e-9) | missing).sum(axis=1)
    p_value = np.where(np.isfinite(seen), (1 + reached) / (1 + permutations), np.nan)
    return xr.Dataset(
        {
            "model_null": (("scope", "permutation"), null),
            "model_null_p": ("scope", p_value),
            "model_null_failed": failed.sum(),
        },
        coords={"scope": observed["scope"].values, "permutation": np.arange(permutations)},
    )


def _null_scores(folds: Sequence[FoldResult | Failure], scopes: int, seed: int) -> np.ndarray:
    """Return the accuracy per trial of one permutation, by scope; NaN if a fold has no result."""
    from neuroalign.analysis.evaluation_scores import headline

    found = [fold.predictions for fold in folds if isinstance(fold, FoldResult)]
    if len(found) < len(folds):
        return np.full(scopes, np.nan)
    scores = headline(pool_predictions(found), permutations=0, bootstraps=0, seed=seed)
    return np.asarray(scores["headline"].sel(level="trial").values, dtype=np.float64)


def _report_failures(
    name: str, failed: int, each: Sequence[Sequence[FoldResult | Failure]]
) -> None:
    problems = [str(one.error) for found in each for one in found if isinstance(one, Failure)]
    reason = problems[0] if problems else "its test trials could not be read"
    if failed == len(each):
        raise TrainingError(
            f"model null of {name!r}: none of {failed} permutations could be fitted; the first "
            f"failed with: {reason}"
        )
    warnings.warn(
        f"model null of {name!r}: {failed} of {len(each)} permutations could not be fitted and "
        f"count as reaching the accuracy seen, so that p is too large rather than too small; "
        f"the first failed with: {reason}",
        DataWarning,
        stacklevel=4,
    )


def permuted_labels(
    windows: xr.DataTree, plan: Plan, permutation: int, folds: Sequence[Fold] = ()
) -> dict[str, dict[Any, tuple[str, str]]]:
    """Deal the labels of each subject's trials out anew, among trials tested in the same fold.

    Every fold, and what is never tested, keeps its number of trials of each label, as the
    splits were made to. What trials are paired by and what is decoded move together. Subjects
    that were recorded together share trials and so share the permutation.

    Returns
    -------
    dict
        For every subject and trial id, the new label to pair by and the new label to decode.
    """
    dealt = {}
    for subject, data in iterate_subjects(windows):
        who = "" if plan.simultaneous else subject
        random = named_generator(plan.seed, "model null", str(permutation), who)
        trials = data["trial"].values
        block = np.full(trials.size, -1)
        for number, (_, test) in enumerate(folds):
            if subject in test.children:
                tested = test.children[subject].to_dataset()["trial"].values
                block[np.isin(trials, tested)] = number
        order = np.arange(trials.size)
        for number in np.unique(block):
            members = np.flatnonzero(block == number)
            order[members] = random.permutation(members)
        paired = labels_as_text(data, plan.fit_label, subject=subject)[order]
        read = labels_as_text(data, plan.label, subject=subject)[order]
        pairs = zip(paired.tolist(), read.tolist(), strict=True)
        dealt[subject] = dict(zip(trials.tolist(), pairs, strict=True))
    return dealt


def with_labels(
    tree: xr.DataTree, labels: Mapping[str, Mapping[Any, tuple[str, str]]]
) -> xr.DataTree:
    """Add the permuted labels to the trials of a tree."""

    def relabel(subject: str, data: xr.Dataset) -> xr.Dataset:
        found = [labels[subject][trial] for trial in data["trial"].values.tolist()]
        paired, read = (np.array(column, dtype=str) for column in zip(*found, strict=True))
        return data.assign_coords({PAIRED_LABEL: ("trial", paired), READ_LABEL: ("trial", read)})

    return map_subjects(tree, relabel)
