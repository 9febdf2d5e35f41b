"""The classifier that reads labels from windows: logistic regression, its penalty chosen by trial."""

from __future__ import annotations

import dataclasses
import warnings
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from neuroalign.analysis.labels import LabelledTrials
from neuroalign.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PENALTIES: Final = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # C, the inverse of the penalty's strength
SEARCH_FOLDS: Final = 3
SEARCH_ROWS: Final = 3000
FALLBACK_PENALTY: Final = 0.1


def fit_classifier(
    tables: Sequence[LabelledTrials], *, classifier: Any = None, random: np.random.Generator
) -> Any:
    """Fit a classifier to every window of the trials, pooled over the given subjects.

    Parameters
    ----------
    tables : sequence of LabelledTrials
        Training trials, one entry per subject.
    classifier : scikit-learn classifier, optional
        Cloned before it is fitted; needs `predict_proba`. The default standardises the latents
        and fits a logistic regression that gives every label the same weight; its C is chosen
        by cross-validation over whole training trials.
    random : Generator
        Deals trials into the folds of that search.

    Returns
    -------
    scikit-learn classifier
        Fitted.

    Raises
    ------
    ParameterError
        If the classifier gives no probabilities.
    """
    if classifier is None:
        return fit_logistic(tables, _choose_penalty(tables, random))
    from sklearn.base import clone

    if not hasattr(classifier, "fit") or not hasattr(classifier, "predict_proba"):
        raise ParameterError(
            "classifier must be a scikit-learn classifier with predict_proba, got "
            f"{type(classifier).__name__}; take for example LogisticRegression()."
        )
    features, labels = _rows(tables)
    return clone(classifier).fit(features, labels)


def read_probabilities(classifier: Any, features: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Read the probability of every class from every window.

    Parameters
    ----------
    classifier : scikit-learn classifier
        Fitted.
    features : ndarray of shape (trial, window, latent)
        The windows to read.
    classes : sequence of str
        The columns wanted; a class that the classifier never saw has probability 0.

    Returns
    -------
    ndarray of shape (trial, window, class)
        Probabilities that sum to 1 over classes.
    """
    trials, windows, latents = features.shape
    raw = np.asarray(classifier.predict_proba(features.reshape(-1, latents)), dtype=np.float64)
    column = {label: index for index, label in enumerate(classes)}
    probability = np.zeros((raw.shape[0], len(classes)))
    probability[:, [column[str(label)] for label in classifier.classes_]] = raw
    return probability.reshape(trials, windows, len(classes))


def trial_probabilities(probability: np.ndarray) -> np.ndarray:
    """Average the windows' probabilities over each trial and let them sum to 1 again.

    Parameters
    ----------
    probability : ndarray of shape (trial, window, class)
        Per window.

    Returns
    -------
    ndarray of shape (trial, class)
        Per trial.
    """
    averaged = probability.mean(axis=1)
    return np.asarray(averaged / averaged.sum(axis=1, keepdims=True))


def _rows(
    tables: Sequence[LabelledTrials], *, windows: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Stack windows as rows; with `windows`, take that many of each trial, evenly spread."""
    features, labels = [], []
    for table in tables:
        available = table.features.shape[1]
        taken = np.arange(available)
        if windows is not None and windows < available:
            taken = np.linspace(0, available - 1, windows).round().astype(int)
        features.append(table.features[:, taken].reshape(-1, table.features.shape[2]))
        labels.append(np.repeat(table.labels, taken.size))
    return np.concatenate(features), np.concatenate(labels)


def fit_logistic(tables: Sequence[LabelledTrials], penalty: float) -> Any:
    """Standardise the latents and fit a logistic regression with that C to every window."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = _rows(tables)
    regression = LogisticRegression(C=penalty, class_weight="balanced", max_iter=500, tol=1e-4)
    pipeline = make_pipeline(StandardScaler(), regression)
    with warnings.catch_warnings(), one_blas_thread():
        # Separable latents push the weights up slowly; the labels read are settled long before.
        _ignore_convergence()
        return pipeline.fit(features, labels)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep products of single windows on one core: handing them out costs more than it saves.

    Threads that wait for the next product spin meanwhile, and slow whatever else runs. One
    thread also gives the same last digits whatever the number of cores.
    """
    with _libraries().limit(limits=1, user_api="blas"):
        yield


@cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()  # looks through all loaded libraries, which takes a while


def _ignore_convergence() -> None:
    from sklearn.exceptions import ConvergenceWarning

    warnings.simplefilter("ignore", category=ConvergenceWarning)


def _choose_penalty(tables: Sequence[LabelledTrials], random: np.random.Generator) -> float:
    """Choose C by the balanced log loss of held-out training trials."""
    folds = [deal_folds(table.labels, random) for table in tables]
    trials = sum(table.labels.size for table in tables)
    windows = max(1, SEARCH_ROWS // trials)
    losses = []
    for fold in range(SEARCH_FOLDS):
        inside = [take_trials(t, f != fold) for t, f in zip(tables, folds, strict=True)]
        outside = [take_trials(t, f == fold) for t, f in zip(tables, folds, strict=True)]
        fit_rows, read_rows = _rows(inside, windows=windows), _rows(outside, windows=windows)
        if read_rows[1].size and np.unique(fit_rows[1]).size > 1:
            losses.append(losses_along_path(*fit_rows, *read_rows))
    if not losses:
        return FALLBACK_PENALTY
    return PENALTIES[int(np.argmin(np.mean(losses, axis=0)))]


def take_trials(table: LabelledTrials, chosen: np.ndarray) -> LabelledTrials:
    """Return the chosen trials of a subject."""
    return dataclasses.replace(
        table,
        features=table.features[chosen],
        labels=table.labels[chosen],
        trials=table.trials[chosen],
    )


def deal_folds(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Deal the trials of every label round the folds, in random order."""
    order = random.permutation(labels.size)
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(labels.size, dtype=np.int64)
    folds[order] = np.arange(labels.size) % SEARCH_FOLDS
    return folds


def losses_along_path(
    features: np.ndarray, labels: np.ndarray, held_out: np.ndarray, held_out_labels: np.ndarray
) -> list[float]:
    """Return the held-out log-loss, weighting labels equally, for every C of `PENALTIES`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    inputs, outputs = scaler.transform(features), scaler.transform(held_out)
    # Each solution starts the next, which saves most of the steps.
    regression = LogisticRegression(
        class_weight="balanced", max_iter=200, tol=1e-3, warm_start=True
    )
    losses = []
    with warnings.catch_warnings(), one_blas_thread():
        _ignore_convergence()
        for penalty in PENALTIES:
            regression.set_params(C=penalty).fit(inputs, labels)
            losses.append(_balanced_log_loss(regression, outputs, held_out_labels))
    return losses


def _balanced_log_loss(regression: Any, features: np.ndarray, labels: np.ndarray) -> float:
    column = {label: index for index, label in enumerate(regression.classes_)}
    probability = regression.predict_proba(features)
    right = np.array([column.get(label, -1) for label in labels])
    given = np.where(right >= 0, probability[np.arange(labels.size), right], 0.0)
    loss = -np.log(np.clip(given, 1e-6, 1.0))
    return float(np.mean([loss[labels == label].mean() for label in np.unique(labels)]))
