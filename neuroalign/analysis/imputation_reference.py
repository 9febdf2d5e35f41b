"""What imputed activity is held against: labels read from the source, and the target's own trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroalign.analysis.baselines import flat_windows
from neuroalign.analysis.classifiers import (
    fit_classifier,
    read_probabilities,
    trial_probabilities,
)
from neuroalign.analysis.labels import (
    Label,
    LabelledTrials,
    check_training_labels,
    labelled_trials,
    labels_as_text,
    ordered_labels,
)
from neuroalign.analysis.poisson import LabelAverages, fit_label_averages, sum_by_label
from neuroalign.analysis.predictions import correct_shares
from neuroalign.analysis.scaling import FeatureScaling, Scaling, fit_scaling
from neuroalign.analysis.statistics import balanced_accuracy, bootstrap_balanced_accuracy
from neuroalign.data.randomness import named_generator
from neuroalign.data.windows import lags_per_window, window_starts
from neuroalign.errors import DataError

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class SourceReader:
    """A source's test trials with the labels they have, and those read from their latents."""

    subject: str
    trials: np.ndarray  # (trial,)
    labels: np.ndarray  # (trial,) text
    classes: tuple[str, ...]  # of its training
    probability: np.ndarray  # (trial, class)


@dataclass(frozen=True)
class TargetReference:
    """What imputed activity of a target is held against."""

    subject: str
    dataset: xr.Dataset  # its held-out windows
    bins: np.ndarray  # positions in time that windows reach
    labels: np.ndarray  # (trial,) held-out labels
    averages: LabelAverages  # of training trials
    summed: np.ndarray  # (class, unit, time) held-out counts
    trials: np.ndarray  # (class,) held-out trials
    classifier: Any
    scaling: FeatureScaling
    real_coherence: np.ndarray  # (level,)
    real_interval: np.ndarray  # (level, bound)

    @property
    def held_out_classes(self) -> list[str]:
        """Training labels that held-out trials have too."""
        return [c for c, n in zip(self.averages.classes, self.trials, strict=True) if n]


def prepare_source(
    train_latents: xr.DataTree,
    test_latents: xr.DataTree,
    subject: str,
    *,
    label: Label,
    classifier: Any,
    seed: int,
) -> SourceReader:
    """Read the label of every test trial of a source from its own latents."""
    train = labelled_trials(train_latents, label, argument="the model's latents of train")[subject]
    test = labelled_trials(test_latents, label, argument="the model's latents of test")[subject]
    check_training_labels(train.labels, where=f"subject {subject!r} of train")
    fitted = fit_classifier(
        [train], classifier=classifier, random=named_generator(seed, "folds", subject)
    )
    classes = tuple(ordered_labels(train.labels))
    return SourceReader(
        subject=subject,
        trials=test.trials,
        labels=test.labels,
        classes=classes,
        probability=trial_probabilities(read_probabilities(fitted, test.features, classes)),
    )


def reached_bins(dataset: xr.Dataset) -> np.ndarray:
    """Return the positions in time that some window reaches."""
    starts, lags = window_starts(dataset), lags_per_window(dataset)
    return np.unique(starts[:, None] + np.arange(lags))


def prepare_target(
    train: xr.DataTree,
    test: xr.DataTree,
    subject: str,
    *,
    label: Label,
    classifier: Any,
    scaling: Scaling,
    bootstraps: int,
    seed: int,
) -> TargetReference:
    """Average a target's training trials by label, and learn to read its real windows."""
    fitted, held_out = (tree.children[subject].to_dataset() for tree in (train, test))
    train_labels = labels_as_text(fitted, label, subject=subject)
    test_labels = labels_as_text(held_out, label, subject=subject)
    check_training_labels(train_labels, where=f"subject {subject!r} of train")
    classes = ordered_labels(train_labels)
    known = np.isin(test_labels, classes)
    if not known.any():
        raise DataError(
            f"expected held-out trials of subject {subject!r} with a label of its training "
            f"({', '.join(classes)}), got none; split the trials with stratify=label."
        )
    bins = reached_bins(held_out)
    averages = fit_label_averages(
        fitted["counts"].values[:, :, bins],
        train_labels,
        classes,
        random=named_generator(seed, "averages", subject),
    )
    summed, trials = sum_by_label(held_out["counts"].values[:, :, bins], test_labels, classes)
    windows = flat_windows(fitted)
    scaled = fit_scaling(windows, scaling)
    reader = _fit_window_reader(scaled.of_counts(windows), train_labels, classifier, subject, seed)
    features = scaled.of_counts(flat_windows(held_out)[known])
    probability = read_probabilities(reader, features, classes)
    coherence, interval = _real_coherence(
        probability, test_labels[known], np.array(classes), bootstraps, subject, seed
    )
    return TargetReference(
        subject=subject,
        dataset=held_out,
        bins=bins,
        labels=test_labels,
        averages=averages,
        summed=summed,
        trials=trials,
        classifier=reader,
        scaling=scaled,
        real_coherence=coherence,
        real_interval=interval,
    )


def _fit_window_reader(
    features: np.ndarray, labels: np.ndarray, classifier: Any, subject: str, seed: int
) -> Any:
    table = LabelledTrials(features, labels, np.arange(labels.size), None)
    random = named_generator(seed, "windows", subject)
    return fit_classifier([table], classifier=classifier, random=random)


def _real_coherence(
    probability: np.ndarray,
    labels: np.ndarray,
    classes: np.ndarray,
    bootstraps: int,
    subject: str,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    shares = correct_shares(probability, labels, classes)
    accuracy = np.array([balanced_accuracy(labels, share) for share in shares])
    interval = np.array(
        [
            bootstrap_balanced_accuracy(
                labels,
                share,
                bootstraps=bootstraps,
                random_state=named_generator(seed, "coherence", subject),
            )
            for share in shares
        ]
    )
    return accuracy, interval
