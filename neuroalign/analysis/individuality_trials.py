"""Trials that animals can be compared on: labels that all have, in one latent space."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from neuroalign.analysis.labels import (
    Label,
    LabelledTrials,
    check_training_labels,
    labelled_trials,
    ordered_labels,
)
from neuroalign.errors import DataError, DataWarning
from neuroalign.schema import iterate_subjects

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

LEAST_TRIALS = 2  # of a label: one trial has no spread, so its noise cannot be told from signal


@dataclass(frozen=True)
class ComparedTrials:
    """Latents of the labels that every subject has, subjects in the order in which they came."""

    labels: tuple[str, ...]
    windows: np.ndarray  # (window,) start in seconds
    train: Mapping[str, LabelledTrials]
    test: Mapping[str, LabelledTrials]

    @property
    def subjects(self) -> list[str]:
        """Names of the subjects."""
        return list(self.test)


def compared_trials(
    train_latents: xr.DataTree, test_latents: xr.DataTree, label: Label
) -> ComparedTrials:
    """Keep the trials of labels that every subject has, and check that latents can be compared.

    Parameters
    ----------
    train_latents, test_latents : DataTree
        Latents, `mean(trial, window, latent)`, of the same subjects.
    label : str or list of str
        Trial coordinate, or several whose combination is meant.

    Returns
    -------
    ComparedTrials
        Trials of labels with a training trial and two held-out trials in every subject.

    Raises
    ------
    DataError
        If there is one subject only, subjects of the two trees differ, latents are not the same
        for all, their windows differ, or fewer than two labels are common to all.

    Warns
    -----
    DataWarning
        If labels are left out.
    """
    train = labelled_trials(train_latents, label, argument="the model's latents of train")
    test = labelled_trials(test_latents, label, argument="the model's latents of test")
    if len(test) < 2 or set(train) != set(test):
        raise DataError(
            "expected train and test trials of the same subjects, at least two of them, got "
            f"{', '.join(train)} in train and {', '.join(test)} in test."
        )
    for name, table in train.items():
        check_training_labels(table.labels, where=f"subject {name!r} of train")
    _check_one_space(train, test)
    windows = _common_windows(train_latents, test_latents)
    labels = _common_labels(train, test)
    return ComparedTrials(
        labels=tuple(labels),
        windows=windows,
        train={
            name: take_trials(train[name], np.isin(train[name].labels, labels)) for name in test
        },
        test={
            name: take_trials(table, np.isin(table.labels, labels)) for name, table in test.items()
        },
    )


def take_trials(table: LabelledTrials, chosen: np.ndarray) -> LabelledTrials:
    """Keep some trials, given as a mask or as positions."""
    return replace(
        table,
        features=table.features[chosen],
        labels=table.labels[chosen],
        trials=table.trials[chosen],
    )


def _check_one_space(
    train: Mapping[str, LabelledTrials], test: Mapping[str, LabelledTrials]
) -> None:
    first, *_ = test.values()
    for name in test:
        if not all(first.shares_space_with(table[name]) for table in (train, test)):
            raise DataError(
                f"expected latents that all subjects share, got others for {name!r}; compare "
                "subjects in the space of one model, not each in its own."
            )


def _common_windows(*trees: xr.DataTree) -> np.ndarray:
    found = [
        (name, np.asarray(data["window"].values))
        for tree in trees
        for name, data in iterate_subjects(tree)
    ]
    reference = found[0][1]
    for name, windows in found:
        if windows.shape != reference.shape or not np.allclose(windows, reference):
            raise DataError(
                f"expected the same windows for all subjects, got others for {name!r}; "
                "slide_windows gives all subjects the same."
            )
    return reference


def _common_labels(
    train: Mapping[str, LabelledTrials], test: Mapping[str, LabelledTrials]
) -> list[str]:
    every = ordered_labels(label for table in test.values() for label in table.labels)
    kept = [
        label
        for label in every
        if all((table.labels == label).any() for table in train.values())
        and all((table.labels == label).sum() >= LEAST_TRIALS for table in test.values())
    ]
    if len(kept) < 2:
        raise DataError(
            "expected at least two labels with a training trial and two held-out trials in every "
            f"subject, got {', '.join(kept) or 'none'} of {', '.join(every)}; "
            "hold out more trials, split with stratify=label, or choose labels with keep_labels."
        )
    if len(kept) < len(every):
        absent = ", ".join(repr(label) for label in every if label not in kept)
        warnings.warn(
            f"left out of the comparison of subjects: {absent}; not every subject has a training "
            "trial and two held-out trials of it. keep_labels chooses labels that all have.",
            DataWarning,
            stacklevel=4,
        )
    return kept


def resampling_weights(
    labels: np.ndarray, *, bootstraps: int, random: np.random.Generator
) -> np.ndarray:
    """Draw how often each trial is in each resample, with replacement within its label.

    Parameters
    ----------
    labels : ndarray of shape (trial,)
        Strata: every resample has as many trials of each as there are.
    bootstraps : int
        Number of resamples.
    random : Generator
        Where the draws come from.

    Returns
    -------
    ndarray of shape (bootstrap, trial)
        Whole numbers.
    """
    weights = np.zeros((bootstraps, labels.size))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        even = np.full(members.size, 1 / members.size)
        weights[:, members] = random.multinomial(members.size, even, size=bootstraps)
    return weights


def percentile_interval(replicates: np.ndarray) -> np.ndarray:
    """Return the 2.5 and 97.5 percentiles over the first axis as a last axis; NaN without any."""
    if replicates.shape[0] == 0:
        return np.full((*replicates.shape[1:], 2), np.nan)
    return np.moveaxis(np.quantile(replicates, (0.025, 0.975), axis=0), 0, -1)
