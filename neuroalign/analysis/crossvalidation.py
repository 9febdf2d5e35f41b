"""Fit and decode fold by fold, so that every trial is read once by a model that never saw it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from neuroalign.analysis.decoding import describe_scores
from neuroalign.analysis.labels import Label, label_name
from neuroalign.analysis.predictions import (
    LEVELS,
    Predictions,
    correct_shares,
    pool_predictions,
    predict_labels,
    score_predictions,
)
from neuroalign.analysis.statistics import balanced_accuracy, check_count
from neuroalign.data.randomness import RandomState, resolve_seed
from neuroalign.data.splits import kfold_trials
from neuroalign.errors import ParameterError

__all__ = ["cross_validate"]


def cross_validate(
    model: Any,
    windows: xr.DataTree,
    *,
    label: Label,
    fit_label: Label | None = None,
    n_splits: int = 5,
    simultaneous: bool = False,
    classifier: Any = None,
    position: bool = False,
    permutations: int = 1000,
    bootstraps: int = 1000,
    random_state: RandomState = 0,
) -> xr.Dataset:
    """Decode every trial once, from a model and classifiers that were fitted without it.

    The trials are split into folds by whole trials, stratified by `label`. For every fold a
    fresh clone of the model is fitted to the other folds, and classifiers of its training
    latents read the fold's trials. Scores come from these out-of-fold predictions pooled over
    folds, so they count every trial once; the accuracy of each fold stands beside them, since
    folds share training trials and their spread is no standard error. Labels are permuted
    within folds only, because a fold's trials were read by one classifier. These p-values are
    approximate: folds train on one another's test trials, and of noise data sets 5 to 12 %
    have p ≤ 0.05; `evaluate` with the model null is exact.

    Parameters
    ----------
    model : estimator
        With `fit(windows, label=...)` and `transform(windows)`, such as an unfitted
        `SharedLatentModel`; cloned, never changed.
    windows : DataTree
        Windowed counts.
    label : str or list of str
        Trial coordinate to decode.
    fit_label : str or list of str, optional
        What the model is fitted with, by default `label`; set it apart to decode what the
        model was not told.
    n_splits : int
        Number of folds.
    simultaneous : bool
        Subjects were recorded together and share their folds, as in `kfold_trials`.
    classifier, position, permutations, bootstraps, random_state
        As in `decode_labels`; the seed also deals the folds.

    Returns
    -------
    Dataset
        As from `decode_labels`, with `protocol="cross-validation"` and `test_trial_fold` saying
        in which fold a trial was read, and `fold_accuracy(fold, level, train_subject,
        test_subject)`: balanced accuracy within each fold.

    Raises
    ------
    ParameterError
        If the model cannot be cloned and fitted, or a number makes no sense.
    DataError
        As `decode_labels`, or if there are too few trials for the folds.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> model = na.SharedLatentModel(2, likelihood="gaussian", max_epochs=1, validation_fraction=0,
    ...                              random_state=0, verbose=False)
    >>> scores = na.cross_validate(model, windows, label="odor", n_splits=2, permutations=20)
    >>> bool(scores["scored"].all())  # every trial was read once
    True
    """
    from sklearn.base import clone

    if not all(hasattr(model, name) for name in ("get_params", "fit", "transform")):
        raise ParameterError(
            "model must be an estimator with get_params, fit and transform, got "
            f"{type(model).__name__}; pass for example SharedLatentModel()."
        )
    check_count("n_splits", n_splits, least=2)
    check_count("permutations", permutations)
    check_count("bootstraps", bootstraps)
    seed = resolve_seed(random_state)
    folds: list[Predictions] = []
    split = kfold_trials(
        windows,
        n_splits=n_splits,
        stratify=label,
        simultaneous=simultaneous,
        random_state=seed,
    )
    for fold, (train, test) in enumerate(split):
        fitted = clone(model).fit(train, label=label if fit_label is None else fit_label)
        folds.append(
            predict_labels(
                fitted.transform(train),
                fitted.transform(test),
                label=label,
                classifier=classifier,
                position=position,
                random_state=seed,
                fold=fold,
            )
        )
    pooled = pool_predictions(folds)
    scores = score_predictions(
        pooled, permutations=permutations, bootstraps=bootstraps, random_state=seed
    )
    scores["fold_accuracy"] = _fold_accuracy(pooled, len(folds))
    described = describe_scores(
        scores,
        label=label,
        protocol="cross-validation",
        permutations=permutations,
        bootstraps=bootstraps,
        classifier=classifier,
        position=position,
        seed=seed,
    )
    return described.assign_attrs(
        n_splits=n_splits, fit_label=label_name(label if fit_label is None else fit_label)
    )


def _fold_accuracy(pooled: Predictions, folds: int) -> xr.DataArray:
    shape = (folds, len(LEVELS), len(pooled.train_subjects), len(pooled.trials))
    accuracy = np.full(shape, np.nan)
    classes = np.array(pooled.classes, dtype=str)
    for (source, subject), probability in pooled.probability.items():
        trials = pooled.trials[subject]
        row = pooled.train_subjects.index(source)
        column = pooled.test_subjects.index(subject)
        for level, right in enumerate(correct_shares(probability, trials.labels, classes)):
            for fold in range(folds):
                inside = trials.scored & (trials.folds == fold)
                accuracy[fold, level, row, column] = balanced_accuracy(
                    trials.labels[inside], right[inside]
                )
    return xr.DataArray(
        accuracy,
        dims=("fold", "level", "train_subject", "test_subject"),
        coords={"fold": np.arange(folds), "level": list(LEVELS)},
    )
