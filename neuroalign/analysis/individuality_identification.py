"""How well an animal can be told from its latents."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuroalign.analysis.classifiers import (
    fit_classifier,
    read_probabilities,
    trial_probabilities,
)
from neuroalign.analysis.individuality_trials import ComparedTrials, take_trials
from neuroalign.analysis.predictions import BOUNDS, LEVELS, correct_shares
from neuroalign.analysis.statistics import (
    balanced_accuracy,
    bootstrap_balanced_accuracy,
    permutation_p_value,
)
from neuroalign.data.randomness import named_generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from neuroalign.analysis.labels import LabelledTrials


def identify_subjects(
    trials: ComparedTrials,
    *,
    classifier: Any = None,
    bootstraps: int,
    permutations: int,
    seed: int,
) -> xr.Dataset:
    """Read from held-out latents whose they are.

    Held-out trials count equally by subject and label, so that reading the label alone is at
    chance. Every subject gives as many training trials of a label as the subject with fewest of
    it, so that the classifier has no use for the label either.

    Parameters
    ----------
    trials : ComparedTrials
        Latents in one space.
    classifier : scikit-learn classifier, optional
        See `fit_classifier`.
    bootstraps, permutations : int
        Resamples of held-out trials within subject and label, and permutations of their
        subjects within label.
    seed : int
        Seed.

    Returns
    -------
    Dataset
        `identification(level)`, `identification_interval(level, bound)`,
        `identification_chance`, `identification_p_value` and
        `identification_confusion(subject, predicted_subject)`.
    """
    # Sorted, so that the order of the subjects changes neither the fit nor a draw.
    names = sorted(trials.subjects)
    fitted = fit_classifier(
        _balanced_training(trials, names, seed),
        classifier=classifier,
        random=named_generator(seed, "folds", "identification"),
    )
    features = np.concatenate([trials.test[name].features for name in names])
    owner = np.repeat(names, [trials.test[name].labels.size for name in names])
    label = np.concatenate([trials.test[name].labels for name in names])
    probability = read_probabilities(fitted, features, names)
    read = np.array(names)[trial_probabilities(probability).argmax(axis=1)]
    true_cell, read_cell = (_cells(who, label, names, trials.labels) for who in (owner, read))
    shares = correct_shares(probability, owner, np.array(names))
    values = [balanced_accuracy(true_cell, share) for share in shares]
    intervals = [
        bootstrap_balanced_accuracy(
            true_cell,
            share,
            bootstraps=bootstraps,
            random_state=named_generator(seed, "identification", level),
        )
        for level, share in zip(LEVELS, shares, strict=True)
    ]
    p_value = permutation_p_value(
        true_cell,
        read_cell,
        permutations=permutations,
        groups=label,
        random_state=named_generator(seed, "identification"),
    )
    found = xr.Dataset(
        {
            "identification": ("level", values),
            "identification_interval": (("level", "bound"), intervals),
            "identification_chance": ((), 1 / len(names)),
            "identification_p_value": ((), p_value),
            "identification_confusion": (
                ("subject", "predicted_subject"),
                _confusion(owner, read, label, names, trials.labels),
            ),
        },
        coords={
            "level": list(LEVELS),
            "bound": list(BOUNDS),
            "subject": names,
            "predicted_subject": names,
        },
    )
    return found.sel(subject=trials.subjects, predicted_subject=trials.subjects)


def _balanced_training(
    trials: ComparedTrials, names: Sequence[str], seed: int
) -> list[LabelledTrials]:
    """Take equally many training trials of a label from every subject, labelled by subject."""
    least = {
        label: min(int((table.labels == label).sum()) for table in trials.train.values())
        for label in trials.labels
    }
    tables = []
    for name in names:
        table = trials.train[name]
        random = named_generator(seed, "identification", name)
        rows = [
            random.permutation(np.flatnonzero(table.labels == label))[: least[label]]
            for label in trials.labels
        ]
        chosen = take_trials(table, np.sort(np.concatenate(rows)))
        tables.append(replace(chosen, labels=np.full(chosen.labels.size, name)))
    return tables


def _cells(
    who: np.ndarray, label: np.ndarray, names: Sequence[str], labels: Sequence[str]
) -> np.ndarray:
    """Return a number for every trial's combination of subject and label."""
    subject = np.array([list(names).index(name) for name in who.tolist()])
    code = np.array([list(labels).index(one) for one in label.tolist()])
    return np.asarray(subject * len(labels) + code)


def _confusion(
    owner: np.ndarray,
    read: np.ndarray,
    label: np.ndarray,
    names: Sequence[str],
    labels: Sequence[str],
) -> np.ndarray:
    """Return which share of a subject's trials is taken for whose, averaged over labels."""
    found = np.zeros((len(labels), len(names), len(names)))
    for index, one in enumerate(labels):
        for row, name in enumerate(names):
            taken = read[(owner == name) & (label == one)]
            found[index, row] = [(taken == guess).mean() for guess in names]
    return np.asarray(found.mean(axis=0))
