"""Read labels from test trials with classifiers of every subject, and score what was read."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

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
    ordered_labels,
)
from neuroalign.analysis.position import tell_positions
from neuroalign.analysis.statistics import (
    balanced_accuracy,
    bootstrap_balanced_accuracy,
    check_count,
    permutation_p_value,
)
from neuroalign.data.randomness import named_generator
from neuroalign.data.splits import assert_disjoint
from neuroalign.errors import DataError, DataWarning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OTHERS: Final = "others"
LEVELS: Final = ("window", "trial")
BOUNDS: Final = ("low", "high")


@dataclass(frozen=True)
class ReadTrials:
    """A subject's test trials: their ids, true labels, fold, and whether they count."""

    trials: np.ndarray  # (trial,)
    labels: np.ndarray  # (trial,) text
    folds: np.ndarray  # (trial,)
    scored: np.ndarray  # (trial,) bool


@dataclass(frozen=True)
class Predictions:
    """Window probabilities of every test trial, by every classifier that could read it."""

    classes: tuple[str, ...]
    train_subjects: tuple[str, ...]
    trials: Mapping[str, ReadTrials]
    probability: Mapping[tuple[str, str], np.ndarray]  # (trial, window, class)

    @property
    def test_subjects(self) -> tuple[str, ...]:
        """Subjects whose trials were read, in their order."""
        return tuple(self.trials)


def predict_labels(
    train_latents: xr.DataTree,
    test_latents: xr.DataTree,
    *,
    label: Label,
    classifier: Any = None,
    position: bool = False,
    allow_overlap: bool = False,
    random_state: int = 0,
    fold: int = 0,
) -> Predictions:
    """Fit the classifier of every subject and of the pooled others, and read all test trials.

    Parameters
    ----------
    train_latents, test_latents : DataTree
        Latents, `mean(trial, window, latent)` for every subject.
    label : str or list of str
        Trial coordinate to read, or several whose combination is meant.
    classifier : scikit-learn classifier, optional
        See `fit_classifier`.
    position : bool
        Tell the classifier where in the trial each window lies, see `tell_positions`.
    allow_overlap : bool
        Let training trials be read too.
    random_state : int
        Seed.
    fold : int
        Number under which these test trials are kept when several folds are pooled.

    Returns
    -------
    Predictions
        Window probabilities for every pair of classifier and test subject in the same space.

    Raises
    ------
    DataError
        If trials are shared, labels missing or all the same, a subject's train and test
        latents are not of one kind, or (with `position`) windows are not the same.
    """
    train = labelled_trials(train_latents, label, argument="train_latents")
    test = labelled_trials(test_latents, label, argument="test_latents")
    check_tables(train, test)
    if not allow_overlap:
        assert_disjoint(train_latents, test_latents)
    if position:
        train, test = tell_positions(train, test)
    classes = tuple(ordered_labels(name for table in train.values() for name in table.labels))
    warn_of_absent_labels(train, classes)

    fitted: dict[tuple[str, ...], Any] = {}

    def reader(subjects: tuple[str, ...]) -> Any:
        if subjects not in fitted:
            fitted[subjects] = fit_classifier(
                [train[name] for name in subjects],
                classifier=classifier,
                random=named_generator(random_state, "folds", *subjects),
            )
        return fitted[subjects]

    probability: dict[tuple[str, str], np.ndarray] = {}
    for subject, table in test.items():
        # Sorted, so that the order of the subjects cannot change a pooled fit.
        readable = sorted(name for name in train if table.shares_space_with(train[name]))
        for name in readable:
            read = read_probabilities(reader((name,)), table.features, classes)
            probability[name, subject] = read
        rest = tuple(name for name in readable if name != subject)
        if rest:
            read = read_probabilities(reader(rest), table.features, classes)
            probability[OTHERS, subject] = read
    names = list(train) + [name for name in test if name not in train]
    if any(source == OTHERS for source, _ in probability):
        names.append(OTHERS)
    return Predictions(
        classes=classes,
        train_subjects=tuple(names),
        trials={name: read_trials(table, classes, fold) for name, table in test.items()},
        probability=probability,
    )


def check_tables(train: Mapping[str, LabelledTrials], test: Mapping[str, LabelledTrials]) -> None:
    """Refuse subjects with one label, and train and test latents of different kinds."""
    if OTHERS in train or OTHERS in test:
        raise DataError(
            f"no subject may be called {OTHERS!r}, which names the pooled rest; rename it."
        )
    for name, table in train.items():
        check_training_labels(table.labels, where=f"subject {name!r} of train_latents")
        if name in test and not table.shares_space_with(test[name]):
            raise DataError(
                f"expected train and test latents of subject {name!r} to be the same latents, got "
                f"{table.features.shape[2]} and {test[name].features.shape[2]} of them or other "
                "names; transform both with the same model."
            )


def warn_of_absent_labels(train: Mapping[str, LabelledTrials], classes: Sequence[str]) -> None:
    """Name the labels that a subject's training trials lack."""
    for name, table in train.items():
        absent = [label for label in classes if label not in set(table.labels.tolist())]
        if absent:
            warnings.warn(
                f"no training trials with {', '.join(map(repr, absent))} for subject {name!r}: "
                "its own classifier cannot read them and gets those test trials wrong; "
                "keep_labels chooses labels that all subjects have.",
                DataWarning,
                stacklevel=4,
            )


def read_trials(table: LabelledTrials, classes: Sequence[str], fold: int) -> ReadTrials:
    """Return what is known of a subject's test trials."""
    return ReadTrials(
        trials=table.trials,
        labels=table.labels,
        folds=np.full(table.labels.size, fold),
        scored=np.isin(table.labels, list(classes)),
    )


def pool_predictions(folds: Sequence[Predictions]) -> Predictions:
    """Join the out-of-fold predictions of several folds, every trial keeping its fold.

    Parameters
    ----------
    folds : sequence of Predictions
        One per fold, of disjoint test trials.

    Returns
    -------
    Predictions
        With the classes of all folds.
    """
    classes = tuple(ordered_labels(label for fold in folds for label in fold.classes))
    tests = list(dict.fromkeys(name for fold in folds for name in fold.trials))
    sources = list(dict.fromkeys(name for fold in folds for name in fold.train_subjects))
    sources.sort(key=lambda name: name == OTHERS)  # stable: the others go last
    trials = {
        name: ReadTrials(
            *(
                np.concatenate([getattr(f.trials[name], field) for f in folds if name in f.trials])
                for field in ("trials", "labels", "folds", "scored")
            )
        )
        for name in tests
    }
    probability: dict[tuple[str, str], np.ndarray] = {}
    for source in sources:
        for name in tests:
            present = [fold for fold in folds if name in fold.trials]
            if present and all((source, name) in fold.probability for fold in present):
                probability[source, name] = np.concatenate(
                    [
                        _with_columns(f.probability[source, name], f.classes, classes)
                        for f in present
                    ]
                )
    return Predictions(classes, tuple(sources), trials, probability)


def _with_columns(
    probability: np.ndarray, given: Sequence[str], wanted: Sequence[str]
) -> np.ndarray:
    widened = np.zeros((*probability.shape[:2], len(wanted)))
    widened[:, :, [wanted.index(label) for label in given]] = probability
    return widened


def score_predictions(
    predictions: Predictions,
    *,
    permutations: int = 1000,
    bootstraps: int = 1000,
    random_state: int = 0,
) -> xr.Dataset:
    """Score what was read against the true labels; `decode_labels` describes the result.

    Parameters
    ----------
    predictions : Predictions
        From `predict_labels` or `pool_predictions`.
    permutations, bootstraps : int
        Numbers of label permutations and of resamples over trials.
    random_state : int
        Seed.

    Returns
    -------
    Dataset
        With dims `level`, `train_subject`, `test_subject`, `bound`, `true_label`,
        `predicted_label`, `test_trial`.

    Raises
    ------
    DataError
        If no test trial of a subject has a label that the training had.
    ParameterError
        If a number of repetitions is no whole number of at least 0.
    """
    check_count("permutations", permutations)
    check_count("bootstraps", bootstraps)
    scores = _empty_scores(predictions)
    classes = np.array(predictions.classes, dtype=str)
    offset = 0
    for column, (subject, trials) in enumerate(predictions.trials.items()):
        check_scorable(subject, trials, predictions.classes)
        scores["chance"][column] = 1 / np.unique(trials.labels[trials.scored]).size
        flat = slice(offset, offset + trials.labels.size)
        offset = flat.stop
        for row, source in enumerate(predictions.train_subjects):
            windows = predictions.probability.get((source, subject))
            if windows is None:
                continue
            averaged = trial_probabilities(windows)
            read = classes[averaged.argmax(axis=1)]
            scores["probability"][row, flat] = averaged
            scores["predicted"][row, flat] = read
            true, counted = trials.labels[trials.scored], read[trials.scored]
            scores["confusion"][row, column] = _confusion(true, counted, classes)
            scores["p_value"][row, column] = permutation_p_value(
                true,
                counted,
                permutations=permutations,
                groups=trials.folds[trials.scored],
                random_state=named_generator(random_state, "permutation", source, subject),
            )
            shares = correct_shares(windows, trials.labels, classes)
            for level, share in enumerate(shares):
                random = named_generator(random_state, "bootstrap", LEVELS[level], source, subject)
                right = share[trials.scored]
                scores["accuracy"][level, row, column] = balanced_accuracy(true, right)
                scores["interval"][level, row, column] = bootstrap_balanced_accuracy(
                    true, right, bootstraps=bootstraps, random_state=random
                )
    return _as_dataset(predictions, scores)


def check_scorable(subject: str, trials: ReadTrials, classes: Sequence[str]) -> None:
    """Refuse a subject none of whose test trials can be scored."""
    if not trials.scored.any():
        raise DataError(
            f"expected test trials of subject {subject!r} with a label of the training "
            f"({', '.join(classes)}), got {', '.join(np.unique(trials.labels))}; "
            "split the trials with stratify=label."
        )


def correct_shares(
    probability: np.ndarray, labels: np.ndarray, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Say, per trial, which share of its windows, and whether the trial, was read right.

    Parameters
    ----------
    probability : ndarray of shape (trial, window, class)
        What was read.
    labels : ndarray of shape (trial,)
        The true labels.
    classes : ndarray of shape (class,)
        What the columns mean.

    Returns
    -------
    tuple of ndarray of shape (trial,)
        Share of windows, and 0 or 1 for the trial.
    """
    windows = (classes[probability.argmax(axis=2)] == labels[:, None]).mean(axis=1)
    trial = classes[trial_probabilities(probability).argmax(axis=1)] == labels
    return windows, trial.astype(np.float64)


def _confusion(true: np.ndarray, read: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return np.array([[np.sum((true == t) & (read == r)) for r in classes] for t in classes])


def _empty_scores(predictions: Predictions) -> dict[str, np.ndarray]:
    sources, subjects = len(predictions.train_subjects), len(predictions.trials)
    classes = len(predictions.classes)
    trials = sum(trial.labels.size for trial in predictions.trials.values())
    width = max(map(len, predictions.classes))
    return {
        "accuracy": np.full((2, sources, subjects), np.nan),
        "interval": np.full((2, sources, subjects, 2), np.nan),
        "chance": np.full(subjects, np.nan),
        "p_value": np.full((sources, subjects), np.nan),
        "confusion": np.zeros((sources, subjects, classes, classes), dtype=np.int64),
        "predicted": np.full((sources, trials), "", dtype=f"<U{width}"),
        "probability": np.full((sources, trials, classes), np.nan),
    }


def _as_dataset(predictions: Predictions, scores: Mapping[str, np.ndarray]) -> xr.Dataset:
    pair = ("train_subject", "test_subject")
    dims: dict[str, tuple[str, ...]] = {
        "accuracy": ("level", *pair),
        "interval": ("level", *pair, "bound"),
        "chance": ("test_subject",),
        "p_value": pair,
        "confusion": (*pair, "true_label", "predicted_label"),
        "predicted": ("train_subject", "test_trial"),
        "probability": ("train_subject", "test_trial", "predicted_label"),
    }
    read = list(predictions.trials.values())
    sizes = [trials.labels.size for trials in read]
    classes = np.array(predictions.classes, dtype=str)
    return xr.Dataset(
        {name: (dims[name], values) for name, values in scores.items()},
        coords={
            "level": list(LEVELS),
            "train_subject": list(predictions.train_subjects),
            "test_subject": list(predictions.trials),
            "bound": list(BOUNDS),
            "true_label": classes,
            "predicted_label": classes,
            "test_trial_subject": ("test_trial", np.repeat(list(predictions.trials), sizes)),
            "test_trial_id": ("test_trial", _joined(trials.trials for trials in read)),
            "test_trial_label": ("test_trial", _joined(trials.labels for trials in read)),
            "test_trial_fold": ("test_trial", _joined(trials.folds for trials in read)),
            "scored": ("test_trial", _joined(trials.scored for trials in read)),
        },
        attrs={"stage": "scores", "classes": json.dumps(list(predictions.classes))},
    )


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(parts))
