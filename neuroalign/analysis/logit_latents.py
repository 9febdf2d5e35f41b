"""Each subject's own classifier's log-odds as its latents: labels shared, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from neuroalign.analysis.aligner_base import SubjectWindows, Training, WindowBaseline
from neuroalign.analysis.baselines import Transform, flat_windows
from neuroalign.analysis.classifiers import fit_classifier, read_probabilities
from neuroalign.analysis.labels import LabelledTrials, ordered_labels
from neuroalign.analysis.scaling import FeatureScaling, Scaling, fit_scaling
from neuroalign.analysis.statistics import check_count
from neuroalign.data.allocation import assign_folds
from neuroalign.data.randomness import RandomState, named_generator, resolve_seed
from neuroalign.errors import DataError

if TYPE_CHECKING:
    import xarray as xr

# Smaller probabilities count as this one, so that no window's log-probability is infinite.
SMALLEST: Final = 1e-6


@dataclass(frozen=True)
class Reader:
    """A subject's classifier with the scaling of the trials that it was trained on."""

    scaling: FeatureScaling
    classifier: Any

    def log_odds(self, counts: np.ndarray, classes: Sequence[str]) -> np.ndarray:
        """Return log-probabilities, centred over the classes known; 0 for the others."""
        known = [str(label) for label in self.classifier.classes_]
        features = self.scaling.of_counts(counts)
        probability = read_probabilities(self.classifier, features, known)
        values = np.log(np.maximum(probability, SMALLEST))
        centred = values - values.mean(axis=2, keepdims=True)
        odds = np.zeros((*centred.shape[:2], len(classes)))
        odds[:, :, [classes.index(label) for label in known]] = centred
        return odds


@dataclass(frozen=True)
class CrossFitted:
    """A subject's readers: one of all training trials, and one for every fold of the others."""

    overall: Reader
    by_fold: tuple[Reader, ...]
    fold_of: Mapping[object, int]  # training trial id -> its fold


class LogitLatents(WindowBaseline):
    """Every subject's own classifier's log-probabilities of the labels, centred over labels.

    The latents of all subjects mean the same by construction, so that decoding the label across
    subjects measures how well each subject's classifier reads it and nothing that was aligned:
    what a shared space has to beat.

    Training trials are read by classifiers of other training trials (cross-fitting over whole
    trials), so that training latents are as uncertain as those of new trials; `transform` knows
    training trials by subject and trial id. All others are read by the classifier of all
    training trials.

    A label of which a subject has no training trials (or a fold of it none in the other folds)
    has the value 0 there: neither likely nor unlikely beside the average label.

    Parameters
    ----------
    scaling : str, default="sqrt-standard"
        As in `raw_features`; fitted to the trials that a classifier is trained on.
    classifier : scikit-learn classifier, optional
        Needs `predict_proba`; by default the logistic regression of `decode_labels`, whose C is
        chosen by cross-validation over whole trials, anew for every fold.
    n_folds : int, default=5
        Folds of the cross-fitting, at least 2; divided evenly over the labels.
    random_state : int, Generator or None, default=0
        Seed of the folds; None draws a fresh one.

    Attributes
    ----------
    label_ : str or list of str
        The label that is read.
    classes_ : list of str
        Its values among the training trials of all subjects, one latent each.
    readers_ : dict
        Every subject's classifiers.
    seed_ : int
        Seed of this fit.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> latents = LogitLatents(n_folds=2).fit(train, label="odor").transform(test)
    >>> [str(name) for name in latents["bob"]["latent"].values]
    ['log-odds A', 'log-odds B', 'log-odds C', 'log-odds D']
    """

    method: ClassVar[str] = "log-odds of the subject's own classifier"

    def __init__(
        self,
        *,
        scaling: Scaling = "sqrt-standard",
        classifier: Any = None,
        n_folds: int = 5,
        random_state: RandomState = 0,
    ) -> None:
        self.scaling = scaling
        self.classifier = classifier
        self.n_folds = n_folds
        self.random_state = random_state

    def _learn(self, training: Training) -> None:
        check_count("n_folds", self.n_folds, least=2)
        seed = resolve_seed(self.random_state)
        labels = training.labels()
        self.readers_ = {
            name: self._cross_fit(name, given.dataset, labels[name], seed)
            for name, given in training.subjects.items()
        }
        self.label_ = training.resolve_label()
        self.classes_ = ordered_labels(np.concatenate(list(labels.values())))
        self.seed_ = seed

    def _cross_fit(
        self, subject: str, dataset: xr.Dataset, labels: np.ndarray, seed: int
    ) -> CrossFitted:
        counts, trials = flat_windows(dataset), dataset["trial"].values
        if labels.size < self.n_folds:
            raise DataError(
                f"expected at least n_folds = {self.n_folds} training trials, got {labels.size} "
                f"for subject {subject!r}; ask for fewer folds."
            )
        # Not by subject: folds that depended on names would let them decide.
        folds = assign_folds(labels, self.n_folds, named_generator(seed, "logit folds"))
        readers = []
        for fold in range(self.n_folds):
            others = folds != fold
            if np.unique(labels[others]).size < 2:
                raise DataError(
                    "expected two labels outside every fold, so that a classifier can read the "
                    f"fold, got {np.unique(labels[others]).tolist()} outside fold {fold} for "
                    f"subject {subject!r}; a label needs two training trials at least."
                )
            readers.append(self._fit_reader(counts[others], labels[others], trials[others], seed))
        overall = self._fit_reader(counts, labels, trials, seed)
        fold_of = dict(zip(trials.tolist(), folds.tolist(), strict=True))
        return CrossFitted(overall, tuple(readers), fold_of)

    def _fit_reader(
        self, counts: np.ndarray, labels: np.ndarray, trials: np.ndarray, seed: int
    ) -> Reader:
        scaling = fit_scaling(counts, self.scaling)
        table = LabelledTrials(scaling.of_counts(counts), labels, trials, None)
        random = named_generator(seed, "logit classifier")
        return Reader(scaling, fit_classifier([table], classifier=self.classifier, random=random))

    def _reader(self, given: SubjectWindows) -> tuple[Transform, list[str]]:
        fitted, dataset = self.readers_[given.inputs.subject], given.dataset
        folds = np.array(
            [fitted.fold_of.get(trial, -1) for trial in dataset["trial"].values.tolist()]
        )

        def read(counts: np.ndarray) -> np.ndarray:
            odds = np.zeros((*counts.shape[:2], len(self.classes_)))
            for fold in np.unique(folds):
                reader = fitted.overall if fold < 0 else fitted.by_fold[fold]
                odds[folds == fold] = reader.log_odds(counts[folds == fold], self.classes_)
            return odds

        return read, [f"log-odds {label}" for label in self.classes_]
