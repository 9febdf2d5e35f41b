"""Logit latents: closed forms, and training trials that no classifier of theirs has seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from analysis_examples import LABELS, window_trees
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import neuroalign as na
from neuroalign.analysis.logit_latents import SMALLEST, LogitLatents
from neuroalign.data.windows import window_view
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import build_tree, map_subjects

Trees = tuple[xr.DataTree, xr.DataTree]

READER = LogisticRegression(C=0.01)


@pytest.fixture(scope="module")
def trees() -> Trees:
    return window_trees(("ada", "bob"), per_label=6)


def rows(dataset: xr.Dataset) -> np.ndarray:
    view = window_view(dataset).astype(float)
    return view.reshape(*view.shape[:2], -1)


def expected_odds(train: xr.Dataset, given: xr.Dataset) -> np.ndarray:
    """Return the linear scores of sklearn's classifier, centred over classes."""
    features, labels = rows(train), np.repeat(train["odor"].values, train.sizes["window"])
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    fitted = pipeline.fit(np.sqrt(features).reshape(labels.size, -1), labels)
    read = rows(given)
    scores = fitted.decision_function(np.sqrt(read).reshape(-1, read.shape[2]))
    scores -= scores.mean(axis=1, keepdims=True)
    return np.asarray(scores.reshape(*read.shape[:2], -1))


def renumbered(tree: xr.DataTree, by: int = 500) -> xr.DataTree:
    return map_subjects(tree, lambda _, d: d.assign_coords(trial=d["trial"].values + by))


def share_read_right(latents: xr.Dataset, classes: list[str]) -> float:
    read = np.array(classes)[latents["mean"].values.mean(axis=1).argmax(axis=1)]
    return float(np.mean(read == latents["odor"].values))


def test_new_trials_have_the_centred_scores_of_the_classifier_of_all(trees: Trees) -> None:
    train, test = trees
    latents = LogitLatents(classifier=READER).fit(train, label="odor").transform(test)
    for name in ("ada", "bob"):
        expected = expected_odds(train[name].to_dataset(), test[name].to_dataset())
        assert latents[name]["mean"].values == pytest.approx(expected, abs=1e-4)
        assert latents[name]["mean"].sum("latent").values == pytest.approx(0.0, abs=1e-5)
        named = [str(value) for value in latents[name]["latent"].values]
        assert named == [f"log-odds {label}" for label in LABELS]


def test_training_trials_have_the_scores_of_classifiers_of_other_folds(trees: Trees) -> None:
    train, _ = trees
    fitted = LogitLatents(classifier=READER, n_folds=3).fit(train, label="odor")
    for name in ("ada", "bob"):
        data, made = train[name].to_dataset(), fitted.transform(train)[name].to_dataset()
        folds = np.array([fitted.readers_[name].fold_of[t] for t in data["trial"].values.tolist()])
        assert np.bincount(folds).tolist() == [8, 8, 8]
        for fold in range(3):
            inside = folds == fold
            _, counts = np.unique(data["odor"].values[inside], return_counts=True)
            assert counts.tolist() == [2, 2, 2, 2]
            expected = expected_odds(data.isel(trial=~inside), data.isel(trial=inside))
            assert made["mean"].values[inside] == pytest.approx(expected, abs=1e-4)


def test_noise_is_at_chance_in_cross_fitted_latents_and_not_in_those_of_its_own_fit() -> None:
    train, test = window_trees(("ada", "bob", "cleo"), per_label=15, strength=0.0, seed=3)
    eager = LogisticRegression(C=10.0, max_iter=500)
    fitted = LogitLatents(classifier=eager).fit(train, label="odor")
    shares = {}
    # under other ids, training trials are read by the classifier that was trained on them
    for kind, tree in (("cross", train), ("own", renumbered(train)), ("new", test)):
        latents = fitted.transform(tree)
        shares[kind] = np.mean(
            [share_read_right(latents[n].to_dataset(), fitted.classes_) for n in tree.children]
        )
    assert shares["own"] > 0.4
    assert shares["cross"] == pytest.approx(0.25, abs=0.1)  # 180 trials
    assert shares["new"] == pytest.approx(0.25, abs=0.1)


def test_cross_fitted_trials_are_as_sure_of_themselves_as_new_ones() -> None:
    train, test = window_trees(("ada", "bob", "cleo"), per_label=12, strength=0.3, seed=1)
    eager = LogisticRegression(C=1.0, max_iter=500)
    fitted = LogitLatents(classifier=eager, n_folds=12).fit(train, label="odor")

    def evidence(tree: xr.DataTree) -> float:
        latents = fitted.transform(tree)
        found = []
        for name in tree.children:
            own = latents[name]["odor"].values[:, None] == np.array(fitted.classes_)
            found.append(latents[name]["mean"].values.mean(axis=1)[own].mean())
        return float(np.mean(found))

    new, cross, seen = evidence(test), evidence(train), evidence(renumbered(train))
    assert cross == pytest.approx(new, rel=0.25)
    assert seen > 1.25 * new


def test_training_trials_are_known_by_subject_and_id_whatever_comes_beside_them(
    trees: Trees,
) -> None:
    train, test = trees
    fitted = LogitLatents(classifier=READER, n_folds=3).fit(train, label="odor")
    own = fitted.transform(train)["ada"].to_dataset()
    pieces = [test["ada"].to_dataset(), train["ada"].to_dataset().isel(trial=[5, 2])]
    mixed = xr.concat(
        pieces,
        "trial",
        data_vars="minimal",
        coords="minimal",
        join="exact",
        compat="equals",
        combine_attrs="override",
    )
    made = fitted.transform(build_tree({"ada": mixed}))["ada"]["mean"].values
    assert made[-2:] == pytest.approx(own["mean"].values[[5, 2]], abs=1e-5)
    assert made[:-2] == pytest.approx(fitted.transform(test)["ada"]["mean"].values, abs=1e-5)
    # ids that only bob was fitted with are new for ada
    apart = build_tree(
        {"ada": renumbered(train)["ada"].to_dataset(), "bob": train["bob"].to_dataset()}
    )
    other = LogitLatents(classifier=READER, n_folds=3).fit(apart, label="odor")
    seen = other.transform(train)["ada"]["mean"].values
    expected = expected_odds(train["ada"].to_dataset(), train["ada"].to_dataset())
    assert seen == pytest.approx(expected, abs=1e-4)


def without(tree: xr.DataTree, subject: str, label: str, *, but: int = 0) -> xr.DataTree:
    def cut(name: str, data: xr.Dataset) -> xr.Dataset:
        has = np.flatnonzero(data["odor"].values == label)[but:]
        return data.drop_isel(trial=has) if name == subject else data

    return map_subjects(tree, cut)


def test_a_label_that_a_subject_lacks_is_neither_likely_nor_unlikely(trees: Trees) -> None:
    train, test = without(trees[0], "bob", "B"), trees[1]
    fitted = LogitLatents(classifier=READER, n_folds=3).fit(train, label="odor")
    assert fitted.classes_ == list(LABELS)
    for tree in (train, test):
        latents = fitted.transform(tree)["bob"]["mean"]
        assert (latents.sel(latent="log-odds B") == 0).all()
        rest = latents.sel(latent=["log-odds A", "log-odds C", "log-odds D"])
        assert rest.sum("latent").values == pytest.approx(0.0, abs=1e-5)
        assert (fitted.transform(tree)["ada"]["mean"].sel(latent="log-odds B") != 0).any()
    expected = expected_odds(train["bob"].to_dataset(), test["bob"].to_dataset())
    made = fitted.transform(test)["bob"]["mean"].values[:, :, [0, 2, 3]]
    assert made == pytest.approx(expected, abs=1e-4)


def test_the_only_trial_of_a_label_is_read_without_it(trees: Trees) -> None:
    train = without(trees[0], "bob", "B", but=1)
    latents = LogitLatents(classifier=READER, n_folds=3).fit_transform(train, label="odor")
    bob = latents["bob"].to_dataset()
    odds = bob["mean"].sel(latent="log-odds B").values
    fold_of_it = odds[bob["odor"].values == "B"]
    assert (fold_of_it == 0).all()
    assert (odds != 0).any()


def test_probabilities_of_zero_stay_finite() -> None:
    class Sure(LogisticRegression):  # type: ignore[misc]
        def predict_proba(self, rows: np.ndarray) -> np.ndarray:
            given = super().predict_proba(rows)
            return np.asarray(given == given.max(axis=1, keepdims=True), dtype=float)

    train, test = window_trees(("ada",), per_label=4)
    latents = LogitLatents(classifier=Sure(), n_folds=2).fit(train, label="odor").transform(test)
    values = latents["ada"]["mean"].values
    assert values.max() == pytest.approx(-0.75 * np.log(SMALLEST))
    assert values.min() == pytest.approx(0.25 * np.log(SMALLEST))


def test_the_default_classifier_is_that_of_decoding(trees: Trees) -> None:
    train, test = window_trees(("ada", "bob"), per_label=6, bins=6)
    fitted = LogitLatents(n_folds=2).fit(train, label="odor")
    pipeline = fitted.readers_["ada"].overall.classifier
    assert list(pipeline.named_steps) == ["standardscaler", "logisticregression"]
    scores = na.decode_labels(
        fitted.transform(train),
        fitted.transform(test),
        label="odor",
        permutations=0,
        bootstraps=0,
    )
    accuracy = scores["accuracy"].sel(level="trial")
    assert (accuracy.sel(train_subject="others") > 0.7).all()


def test_a_seed_deals_the_folds(trees: Trees) -> None:
    train, _ = trees

    def fit(seed: Any) -> LogitLatents:
        return LogitLatents(classifier=READER, n_folds=3, random_state=seed).fit(
            train, label="odor"
        )

    fresh = fit(None)
    xr.testing.assert_identical(fresh.transform(train), fit(fresh.seed_).transform(train))
    assert fit(0).readers_["ada"].fold_of != fit(1).readers_["ada"].fold_of


def test_what_cannot_be_cross_fitted_is_refused(trees: Trees) -> None:
    train = trees[0]
    with pytest.raises(ParameterError, match="n_folds must be a whole number of at least 2, got 1"):
        LogitLatents(n_folds=1).fit(train, label="odor")
    with pytest.raises(DataError, match="n_folds = 25 training trials, got 24 for subject 'ada'"):
        LogitLatents(n_folds=25).fit(train, label="odor")
    with pytest.raises(ParameterError, match="predict_proba, got LinearSVC"):
        LogitLatents(classifier=LinearSVC()).fit(train, label="odor")
    with pytest.raises(ParameterError, match="fit needs a label"):
        LogitLatents().fit(train)
    pair = map_subjects(train, lambda _, d: d.isel(trial=[0, 1, 4, 8]))  # A, B, A, A
    with pytest.raises(DataError, match=r"outside every fold.*got \['A'\] outside fold . .*'ada'"):
        LogitLatents(n_folds=4, classifier=READER).fit(pair, label="odor")
