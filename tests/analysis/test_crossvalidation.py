"""Cross-validation: every trial once, by a model that never saw it."""

import numpy as np
import pytest
from analysis_examples import LabelModel, window_trees
from sklearn.metrics import balanced_accuracy_score

from neuroalign.analysis.crossvalidation import cross_validate
from neuroalign.analysis.decoding import decode_labels, scores_to_frame
from neuroalign.data.splits import kfold_trials
from neuroalign.errors import ParameterError
from neuroalign.schema import iterate_subjects

FEW = {"permutations": 99, "bootstraps": 50}


class Recorder(LabelModel):
    """Remembers, outside itself, which trials each fit saw and which it was asked about."""

    def __init__(self, log=None):
        super().__init__()
        self.log = log

    def fit(self, windows, *, label):
        self.log.append(
            ("fit", label, {n: set(d["trial"].values) for n, d in iterate_subjects(windows)})
        )
        return super().fit(windows, label="odor")

    def transform(self, windows):
        self.log.append(
            ("see", "", {n: set(d["trial"].values) for n, d in iterate_subjects(windows)})
        )
        return super().transform(windows)

    def __sklearn_clone__(self):
        return Recorder(self.log)  # an ordinary clone would copy the log


def test_every_trial_is_read_once_by_a_model_that_never_saw_it():
    windows, _ = window_trees(("ada", "bob"), per_label=6)
    log = []
    scores = cross_validate(Recorder(log), windows, label="odor", n_splits=3, **FEW)
    fits = [entry for entry in log if entry[0] == "fit"]
    asked = [entry for entry in log if entry[0] == "see"]
    assert len(fits) == 3
    for number, fit in enumerate(fits):
        seen, held_out = asked[2 * number], asked[2 * number + 1]
        assert seen[2] == fit[2]
        for subject in ("ada", "bob"):
            assert not fit[2][subject] & held_out[2][subject]
    for subject in ("ada", "bob"):
        mine = scores["test_trial_subject"].values == subject
        ids = scores["test_trial_id"].values[mine]
        assert sorted(ids) == sorted(windows[subject]["trial"].values)
        labels = windows[subject]["odor"].to_series()
        assert [labels[i] for i in ids] == scores["test_trial_label"].values[mine].tolist()
    assert scores.attrs["protocol"] == "cross-validation"
    assert scores.attrs["n_splits"] == 3


def test_pooled_and_fold_accuracies_follow_from_the_predictions():
    windows, _ = window_trees(("ada", "bob"), per_label=8, strength=0.5)
    scores = cross_validate(LabelModel(), windows, label="odor", n_splits=4, **FEW)
    read = scores["predicted"].sel(train_subject="others").values
    mine = scores["test_trial_subject"].values == "bob"
    true, folds = scores["test_trial_label"].values, scores["test_trial_fold"].values
    place = {"level": "trial", "train_subject": "others", "test_subject": "bob"}
    assert scores["accuracy"].sel(**place).item() == pytest.approx(
        balanced_accuracy_score(true[mine], read[mine])
    )
    for fold in range(4):
        chosen = mine & (folds == fold)
        assert scores["fold_accuracy"].sel(fold=fold, **place).item() == pytest.approx(
            balanced_accuracy_score(true[chosen], read[chosen])
        )
    frame = scores_to_frame(scores)
    assert frame["accuracy"].between(0, 1).all()


def test_a_fold_is_what_decode_labels_says_of_it():
    windows, _ = window_trees(("ada", "bob"), per_label=8, strength=0.5)
    scores = cross_validate(LabelModel(), windows, label="odor", n_splits=4, random_state=3, **FEW)
    train, test = next(iter(kfold_trials(windows, n_splits=4, stratify="odor", random_state=3)))
    model = LabelModel().fit(train, label="odor")
    one = decode_labels(
        model.transform(train), model.transform(test), label="odor", random_state=3, **FEW
    )
    assert scores["fold_accuracy"].sel(fold=0).values == pytest.approx(one["accuracy"].values)


def test_the_model_can_be_fitted_with_another_label():
    windows, _ = window_trees(("ada",), per_label=6)
    log = []
    scores = cross_validate(
        Recorder(log), windows, label="odor", fit_label="place", n_splits=2, **FEW
    )
    assert {entry[1] for entry in log if entry[0] == "fit"} == {"place"}
    assert scores.attrs["fit_label"] == "place"


def test_noise_is_at_chance():
    windows, _ = window_trees(("ada", "bob"), per_label=12, strength=0.0)
    scores = cross_validate(LabelModel(), windows, label="odor", n_splits=4, **FEW)
    assert scores["accuracy"].mean().item() == pytest.approx(0.25, abs=0.1)
    assert (scores["p_value"] > 0.01).all()


def test_bad_arguments():
    windows, _ = window_trees(("ada",))
    with pytest.raises(ParameterError, match=r"model must be an estimator .* got str"):
        cross_validate("model", windows, label="odor")
    with pytest.raises(ParameterError, match="n_splits must be a whole number of at least 2"):
        cross_validate(LabelModel(), windows, label="odor", n_splits=1)
    with pytest.raises(ParameterError, match="expected at least n_splits = 50 trials"):
        cross_validate(LabelModel(), windows, label="odor", n_splits=50)


def test_seeds():
    windows, _ = window_trees(("ada", "bob"), per_label=5, strength=0.4)
    arguments = {"label": "odor", "n_splits": 2, **FEW}
    one = cross_validate(LabelModel(), windows, random_state=1, **arguments)
    two = cross_validate(LabelModel(), windows, random_state=1, **arguments)
    assert one.identical(two)
    other = cross_validate(LabelModel(), windows, random_state=2, **arguments)
    assert not np.array_equal(one["test_trial_id"].values, other["test_trial_id"].values)
