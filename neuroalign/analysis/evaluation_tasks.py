"""One method on one fold: settings chosen, model fitted, labels read, activity imputed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from neuroalign.analysis.fitting_many import fit_each
from neuroalign.analysis.imputation_pairs import PairScore, align_expected
from neuroalign.analysis.imputation_run import prepare_sources, prepare_targets, score_pairs
from neuroalign.analysis.labels import Label, labels_as_text
from neuroalign.analysis.poisson import gains_and_spikes, unit_means
from neuroalign.analysis.predictions import Predictions, predict_labels
from neuroalign.analysis.tuning import Choice, Grid, choose_settings
from neuroalign.errors import (
    DataError,
    DataWarning,
    NeuroAlignError,
    NeuroAlignWarning,
    ParameterError,
)
from neuroalign.schema import iterate_subjects, map_subjects, subjects_of

PAIRED_LABEL = "paired_label"  # what trials are paired by when a label is left out


@dataclass(frozen=True)
class Plan:
    """What is asked of every method on every fold."""

    label: Label
    fit_label: Label
    simultaneous: bool
    classifier: Any
    imputation: bool
    seed: int


@dataclass(frozen=True)
class FoldResult:
    """What one method reached on one fold."""

    predictions: Predictions
    choice: Choice = field(default_factory=lambda: Choice({}))
    seconds: float = float("nan")
    alignment: float = float("nan")
    pairs: Mapping[tuple[str, str], PairScore] = field(default_factory=dict)
    real_coherence: Mapping[str, np.ndarray] = field(default_factory=dict)
    own: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    latents: tuple[xr.DataTree, xr.DataTree] | None = None


@dataclass(frozen=True)
class Failure:
    """What kept one method from a result on one fold.

    Attributes
    ----------
    error : NeuroAlignError
        What was raised.
    fitting : bool
        Whether choosing settings and fitting raised it, or reading what was fitted.
    """

    error: NeuroAlignError
    fitting: bool


def fit_folds(
    model: Any,
    grid: Grid,
    folds: Sequence[tuple[xr.DataTree, xr.DataTree]],
    plan: Plan,
    *,
    numbers: Sequence[int],
    keep_latents: bool = False,
) -> list[FoldResult | Failure]:
    """Choose settings on training trials, fit with all of them, and read the test trials.

    Parameters
    ----------
    model : estimator
        Cloned.
    grid : mapping
        Values to choose from; see `choose_settings`.
    folds : sequence of tuple of DataTree
        Training and test windows; the fits of several folds may train side by side.
    plan : Plan
        What is asked.
    numbers : sequence of int
        The folds' numbers.
    keep_latents : bool
        Whether the latents are handed on.

    Returns
    -------
    list
        A result for every fold, or what went wrong: one fold must not cost the others theirs.
    """
    from sklearn.base import clone

    choices = [_choose(model, grid, train, plan) for train, _ in folds]
    chosen = {place: one for place, one in enumerate(choices) if isinstance(one, Choice)}
    started = time.perf_counter()
    unfitted = [clone(model).set_params(**choice.settings) for choice in chosen.values()]
    fitted = fit_each(unfitted, [folds[place][0] for place in chosen], label=plan.fit_label)
    seconds = (time.perf_counter() - started) / max(1, len(chosen))
    found: dict[int, FoldResult | Failure] = {
        place: one for place, one in enumerate(choices) if isinstance(one, Failure)
    }
    for (place, choice), one in zip(chosen.items(), fitted, strict=True):
        if isinstance(one, NeuroAlignError):
            found[place] = Failure(one, fitting=True)
            continue
        try:
            result = _read(one, folds[place], plan, numbers[place], keep_latents)
        except NeuroAlignError as error:
            found[place] = Failure(error, fitting=False)
        else:
            found[place] = replace(result, choice=choice, seconds=seconds + result.seconds)
    return [found[place] for place in range(len(folds))]


def _choose(model: Any, grid: Grid, train: xr.DataTree, plan: Plan) -> Choice | Failure:
    try:
        return choose_settings(
            model,
            grid,
            train,
            label=plan.label,
            fit_label=plan.fit_label,
            simultaneous=plan.simultaneous,
            classifier=plan.classifier,
            random_state=plan.seed,
        )
    except NeuroAlignError as error:
        return Failure(error, fitting=True)


def _read(
    fitted: Any, fold: tuple[xr.DataTree, xr.DataTree], plan: Plan, number: int, keep: bool
) -> FoldResult:
    begun = time.perf_counter()
    latents = fitted.transform(fold[0]), fitted.transform(fold[1])
    seconds = time.perf_counter() - begun
    result = judge_fold(fitted, latents, fold, plan, number=number)
    return replace(result, seconds=seconds, latents=latents if keep else None)


def judge_fold(
    fitted: Any,
    latents: tuple[xr.DataTree, xr.DataTree],
    fold: tuple[xr.DataTree, xr.DataTree],
    plan: Plan,
    *,
    number: int,
) -> FoldResult:
    """Read, impute and reconstruct the test trials of a fold with a fitted model."""
    train, test = fold
    predictions = predict_labels(
        *latents,
        label=plan.label,
        classifier=plan.classifier,
        random_state=plan.seed,
        fold=number,
    )
    pairs: dict[tuple[str, str], PairScore] = {}
    real: dict[str, np.ndarray] = {}
    if plan.imputation and hasattr(fitted, "impute") and len(subjects_of(test)) > 1:
        pairs, real = _impute(fitted, fold, latents, plan)
    return FoldResult(
        predictions=predictions,
        alignment=float(getattr(fitted, "alignment_", np.nan)),
        pairs=pairs,
        real_coherence=real,
        own=_reconstruct(fitted, train, test) if plan.imputation else {},
    )


def try_fold(
    model: Any,
    grid: Grid,
    fold: tuple[xr.DataTree, xr.DataTree],
    plan: Plan,
    *,
    number: int,
    name: str,
    own: bool,
    keep_latents: bool = False,
) -> FoldResult | str:
    """Fit and judge one method on one fold, or say what kept it from a result.

    What a user has to mend ends the evaluation: parameters that make no sense, and data that a
    user's own model cannot be fitted to as it is set. What goes wrong in computing does not, so
    that the results of others are not lost to it; nor do the limits of a baseline, which nobody
    has set.

    Parameters
    ----------
    model, grid, fold, plan, number, keep_latents
        As in `fit_folds`.
    name : str
        The method's name, for messages.
    own : bool
        Whether the user passed the model, rather than asked for a baseline by name.

    Raises
    ------
    ParameterError
        If a parameter of a user's model or the classifier makes no sense.
    DataError
        If a user's model cannot be fitted to these data.
    """
    (result,) = fit_folds(model, grid, [fold], plan, numbers=[number], keep_latents=keep_latents)
    if isinstance(result, FoldResult):
        return result
    error = result.error
    to_mend = (ParameterError, DataError) if result.fitting else (ParameterError,)
    if isinstance(error, to_mend) and (own or not result.fitting):
        raise type(error)(f"method {name!r}: {error}") from error
    return str(error)


def _impute(
    fitted: Any,
    fold: tuple[xr.DataTree, xr.DataTree],
    latents: tuple[xr.DataTree, xr.DataTree],
    plan: Plan,
) -> tuple[dict[tuple[str, str], PairScore], dict[str, np.ndarray]]:
    train, test = fold
    names = subjects_of(test)
    asked: dict[str, Any] = {
        "label": plan.label,
        "classifier": plan.classifier,
        "seed": plan.seed,
    }
    readers = prepare_sources(*latents, names, **asked)
    references = prepare_targets(train, test, names, scaling="sqrt-standard", bootstraps=0, **asked)
    match = "trial" if plan.simultaneous else "label"
    pairs = dict(score_pairs(fitted, test, readers, references, match=match))
    return pairs, {name: r.real_coherence for name, r in references.items()}


def _reconstruct(
    fitted: Any, train: xr.DataTree, test: xr.DataTree
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return every subject's likelihood gains and spikes per test trial, of its own activity."""
    if not hasattr(fitted, "reconstruct"):
        return {}
    reconstructed = fitted.reconstruct(test)
    found = {}
    for name, given in iterate_subjects(test):
        expected, bins = align_expected(reconstructed[name].to_dataset(), given, given, name)
        means = unit_means(train.children[name].to_dataset()["counts"].values[:, :, bins])
        counts = given["counts"].values[:, :, bins].astype(np.float64)
        found[name] = gains_and_spikes(expected, counts, np.ones(len(counts)), means)
    return found


def leave_label_unpaired(tree: xr.DataTree, label: Label, value: str) -> xr.DataTree:
    """Add what trials are paired by when one label is left out: its trials stand alone.

    A trial of the label that is left out gets a label that no other subject has, so it meets
    nobody in a row and no prior draws it towards another subject.

    Parameters
    ----------
    tree : DataTree
        Any stage.
    label : str or list of str
        Trial coordinate.
    value : str
        The label, as text, that is left out.

    Returns
    -------
    DataTree
        With the trial coordinate "paired_label".
    """

    def relabel(subject: str, data: xr.Dataset) -> xr.Dataset:
        values = labels_as_text(data, label, subject=subject)
        alone = np.where(values == value, f"{value} of {subject}", values)
        return data.assign_coords({PAIRED_LABEL: ("trial", alone)})

    return map_subjects(tree, relabel)


def fit_without_label(
    model: Any,
    settings: Mapping[str, Any],
    fold: tuple[xr.DataTree, xr.DataTree],
    plan: Plan,
    *,
    value: str,
    number: int,
) -> Predictions | None:
    """Fit with one label unpaired, and read all test trials with classifiers that know it.

    The classifiers see the labels of all training trials: the question is whether the trials
    that were never paired land where the other subjects' trials of that label do, and whether
    the others stay away from there.

    Parameters
    ----------
    model : estimator
        Cloned.
    settings : mapping
        Chosen with all labels paired, so that this fit has no say in them.
    fold, plan, number
        As in `fit_folds`.
    value : str
        The label that is left out.

    Returns
    -------
    Predictions or None
        None if the fold has no test trial of that label, or the method cannot be fitted so.

    Warns
    -----
    DataWarning
        If the method cannot be fitted without that label.
    """
    from sklearn.base import clone

    train, test = (leave_label_unpaired(part, plan.label, value) for part in fold)
    if not any(
        (labels_as_text(data, plan.label, subject=name) == value).any()
        for name, data in iterate_subjects(test)
    ):
        return None
    unfitted = clone(model).set_params(**settings)
    if "allow_missing" in unfitted.get_params(deep=False):
        unfitted.set_params(allow_missing=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NeuroAlignWarning)
            fitted = unfitted.fit(train, label=PAIRED_LABEL)
    except NeuroAlignError as error:  # one method's limit must not cost what the others reached
        warnings.warn(
            f"{type(model).__name__} cannot be fitted without label {value!r}: {error}",
            DataWarning,
            stacklevel=2,
        )
        return None
    return predict_labels(
        fitted.transform(train),
        fitted.transform(test),
        label=plan.label,
        classifier=plan.classifier,
        random_state=plan.seed,
        fold=number,
    )
