"""A classifier for every window position, with one penalty for all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from neuroalign.analysis.classifiers import (
    FALLBACK_PENALTY,
    PENALTIES,
    SEARCH_FOLDS,
    deal_folds,
    fit_classifier,
    fit_logistic,
    losses_along_path,
    read_probabilities,
    take_trials,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from neuroalign.analysis.labels import LabelledTrials

SEARCH_WINDOWS: Final = 4


@dataclass(frozen=True)
class WindowClassifiers:
    """The fitted classifier of every window, and the C that they share."""

    fitted: tuple[Any, ...]  # (window,)
    penalty: float


def fit_windows(
    tables: Sequence[LabelledTrials], *, classifier: Any, random: np.random.Generator
) -> WindowClassifiers:
    """Fit a classifier to every window position of the trials, pooled over the given subjects.

    Parameters
    ----------
    tables : sequence of LabelledTrials
        Training trials, one entry per subject, with the same windows.
    classifier : scikit-learn classifier or None
        None for the default that `decode_over_time` describes.
    random : Generator
        Deals trials into the folds of the search for C.

    Returns
    -------
    WindowClassifiers
        One per window.

    Raises
    ------
    ParameterError
        If the classifier gives no probabilities.
    """
    count = tables[0].features.shape[1]
    every = [[_only_window(table, window) for table in tables] for window in range(count)]
    if classifier is not None:
        fitted = [fit_classifier(one, classifier=classifier, random=random) for one in every]
        return WindowClassifiers(tuple(fitted), float("nan"))
    penalty = _choose_window_penalty(tables, random)
    return WindowClassifiers(tuple(fit_logistic(one, penalty) for one in every), penalty)


def _only_window(table: LabelledTrials, window: int) -> LabelledTrials:
    return replace(table, features=table.features[:, window : window + 1])


def _choose_window_penalty(tables: Sequence[LabelledTrials], random: np.random.Generator) -> float:
    """Choose one C for all windows by the summed held-out loss of single-window classifiers.

    Windows pooled as rows would choose for a classifier that reads all windows alike, and for
    a code that moves through the frame that one knows nothing, whatever each window knows.
    """
    folds = [deal_folds(table.labels, random) for table in tables]
    windows = tables[0].features.shape[1]
    searched = np.linspace(0, windows - 1, min(SEARCH_WINDOWS, windows)).round().astype(int)
    losses = []
    for fold in range(SEARCH_FOLDS):
        inside = [take_trials(t, f != fold) for t, f in zip(tables, folds, strict=True)]
        outside = [take_trials(t, f == fold) for t, f in zip(tables, folds, strict=True)]
        read_labels = np.concatenate([table.labels for table in outside])
        fit_labels = np.concatenate([table.labels for table in inside])
        if not read_labels.size or np.unique(fit_labels).size < 2:
            continue
        for window in searched:
            fit_rows = np.concatenate([table.features[:, window] for table in inside])
            read_rows = np.concatenate([table.features[:, window] for table in outside])
            losses.append(losses_along_path(fit_rows, fit_labels, read_rows, read_labels))
    if not losses:
        return FALLBACK_PENALTY
    return PENALTIES[int(np.argmin(np.mean(losses, axis=0)))]


def read_windows(
    classifiers: WindowClassifiers,
    features: np.ndarray,
    classes: Sequence[str],
    *,
    generalise: bool,
) -> np.ndarray:
    """Read the label of every trial from its windows.

    Parameters
    ----------
    classifiers : WindowClassifiers
        From `fit_windows`.
    features : ndarray of shape (trial, window, latent)
        The trials to read.
    classes : sequence of str
        The labels that may be read.
    generalise : bool
        Let the classifier of every window read every window, not only its own.

    Returns
    -------
    ndarray of str, shape (trial, window) or (trial, train window, test window)
        What was read.
    """
    names = np.array(classes, dtype=str)
    read = []
    for window, classifier in enumerate(classifiers.fitted):
        seen = features if generalise else features[:, window : window + 1]
        read.append(names[read_probabilities(classifier, seen, classes).argmax(axis=2)])
    stacked = np.stack(read, axis=1)
    return stacked if generalise else stacked[:, :, 0]
