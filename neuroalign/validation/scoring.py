"""Accuracy of classes, average precision of attributes."""

from __future__ import annotations

import numpy as np


def score_predictions(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return accuracy over rows, or average precision averaged over attributes.

    Parameters
    ----------
    probabilities : ndarray of shape (row, label)
        What a classifier thinks.
    labels : ndarray
        (row,) classes, or (row, attribute) of bool.
    """
    if labels.ndim == 2:
        return float(np.nanmean(attribute_scores(probabilities, labels)))
    return float((probabilities.argmax(1) == labels).mean())


def attribute_scores(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the average precision of every attribute; NaN where no row has it."""
    from sklearn.metrics import average_precision_score

    return np.array(
        [
            average_precision_score(truth, said) if truth.any() else np.nan
            for truth, said in zip(labels.T, probabilities.T, strict=True)
        ]
    )


def chance_score(labels: np.ndarray) -> float:
    """Return what knowing nothing scores: the commonest class, or each attribute's frequency."""
    if labels.ndim == 2:
        present = labels.any(0)
        return float(labels.mean(0)[present].mean())
    return float(np.bincount(labels).max() / len(labels))
