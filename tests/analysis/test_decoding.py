"""Decoding: truths on fabricated latents, the null, order invariance, messages."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from analysis_examples import LABELS, latent_subject, latent_trees
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from sklearn.naive_bayes import GaussianNB

from neuroalign.analysis.classifiers import PENALTIES, _choose_penalty
from neuroalign.analysis.decoding import decode_labels, scores_to_frame
from neuroalign.analysis.labels import LabelledTrials, labels_as_text, ordered_labels
from neuroalign.analysis.position import smooth_positions
from neuroalign.errors import DataError, DataWarning, ParameterError
from neuroalign.schema import build_tree

FEW = {"permutations": 50, "bootstraps": 50}


def relabel(tree, function):
    return build_tree({name: function(child.to_dataset()) for name, child in tree.children.items()})


def test_separable_latents_are_read_perfectly_within_and_across():
    train, test = latent_trees(separation=20)
    scores = decode_labels(train, test, label="odor", permutations=99, bootstraps=50)
    assert (scores["accuracy"] == 1).all()
    assert (scores["interval"] == 1).all()
    assert (scores["chance"] == 0.25).all()
    assert scores["p_value"].values == pytest.approx(np.full((4, 3), 0.01))
    assert list(scores["train_subject"].values) == ["ada", "bob", "cleo", "others"]
    assert (scores["predicted"].values == scores["test_trial_label"].values).all()
    assert scores["probability"].sum("predicted_label").values == pytest.approx(1.0)
    assert (scores["confusion"].values == 8 * np.eye(4, dtype=int)).all()


def test_subjects_in_spaces_of_their_own_are_read_within_but_not_across():
    train, test = latent_trees(("ada", "bob"), separation=20)
    swap = {"A": "B", "B": "C", "C": "D", "D": "A"}

    def turn(dataset):
        odor = np.array([swap[value] for value in dataset["odor"].values])
        return dataset.assign_coords(odor=("trial", odor))

    trees = [
        build_tree({"ada": tree["ada"].to_dataset(), "bob": turn(tree["bob"].to_dataset())})
        for tree in (train, test)
    ]
    accuracy = decode_labels(*trees, label="odor", **FEW)["accuracy"].sel(level="trial")
    within = [accuracy.sel(train_subject=s, test_subject=s).item() for s in ("ada", "bob")]
    assert within == [1.0, 1.0]
    assert (accuracy.sel(train_subject="others") == 0).all()


def test_noise_is_at_chance_and_p_values_are_not_small():
    train, test = latent_trees(separation=0, per_label=15, seed=5)
    scores = decode_labels(train, test, label="odor", permutations=200, bootstraps=200)
    assert scores["accuracy"].mean().item() == pytest.approx(0.25, abs=0.06)
    assert scores["p_value"].mean().item() > 0.2
    low, high = (scores["interval"].sel(bound=bound, level="trial") for bound in ("low", "high"))
    assert ((low <= 0.25) & (high >= 0.25)).mean().item() > 0.75


def test_numbers_agree_with_sklearn_on_the_same_rows():
    train, test = latent_trees(("ada", "bob"), separation=0.7, per_label=10, seed=1)
    reader = LogisticRegression(C=0.5)
    scores = decode_labels(train, test, label="odor", classifier=reader, **FEW)

    def rows(*datasets):
        features = [d["mean"].values.reshape(-1, 3) for d in datasets]
        labels = [np.repeat(d["odor"].values, 4) for d in datasets]
        return np.concatenate(features), np.concatenate(labels)

    fitted = LogisticRegression(C=0.5).fit(*rows(train["ada"].to_dataset()))
    held_out = test["bob"].to_dataset()
    features, labels = rows(held_out)
    pair = {"train_subject": "ada", "test_subject": "bob"}
    window = balanced_accuracy_score(labels, fitted.predict(features))
    assert scores["accuracy"].sel(level="window", **pair).item() == pytest.approx(window)
    averaged = fitted.predict_proba(features).reshape(-1, 4, 4).mean(axis=1)
    read = fitted.classes_[averaged.argmax(axis=1)]
    trial = balanced_accuracy_score(held_out["odor"].values, read)
    assert scores["accuracy"].sel(level="trial", **pair).item() == pytest.approx(trial)
    expected = confusion_matrix(held_out["odor"].values, read, labels=list(LABELS))
    assert (scores["confusion"].sel(**pair).values == expected).all()
    mine = scores["probability"].sel(train_subject="ada")
    mine = mine.values[scores["test_trial_subject"].values == "bob"]
    assert mine == pytest.approx(averaged)
    assert not hasattr(reader, "classes_")  # cloned, not fitted


def test_others_pools_all_but_the_tested_subject():
    train, test = latent_trees(separation=0.7, seed=2)
    reader = GaussianNB()
    scores = decode_labels(train, test, label="odor", classifier=reader, **FEW)
    pool = [train[s].to_dataset() for s in ("bob", "cleo")]
    features = np.concatenate([d["mean"].values.reshape(-1, 3) for d in pool])
    labels = np.concatenate([np.repeat(d["odor"].values, 4) for d in pool])
    read = GaussianNB().fit(features, labels).predict(test["ada"]["mean"].values.reshape(-1, 3))
    expected = balanced_accuracy_score(np.repeat(test["ada"]["odor"].values, 4), read)
    place = {"level": "window", "train_subject": "others", "test_subject": "ada"}
    assert scores["accuracy"].sel(**place).item() == pytest.approx(expected)


@settings(max_examples=3, deadline=None)
@given(st.permutations(["ada", "bob", "cleo"]))
def test_the_order_of_subjects_changes_nothing(order):
    train, test = latent_trees(separation=0.6, seed=3, per_label=5)
    turned = [build_tree({n: tree[n].to_dataset() for n in order}) for tree in (train, test)]
    first = decode_labels(train, test, label="odor", **FEW)
    second = decode_labels(*turned, label="odor", **FEW)
    second = second.sel(
        train_subject=first["train_subject"].values, test_subject=first["test_subject"].values
    )
    for name in ("accuracy", "interval", "p_value", "confusion", "chance"):
        assert first[name].values == pytest.approx(second[name].values), name


def test_a_seed_gives_the_same_numbers_and_none_gives_a_recorded_one():
    train, test = latent_trees(separation=0.5)
    one, two = (decode_labels(train, test, label="odor", random_state=4, **FEW) for _ in range(2))
    xr.testing.assert_identical(one, two)
    fresh = decode_labels(train, test, label="odor", random_state=None, **FEW)
    again = decode_labels(
        train, test, label="odor", random_state=fresh.attrs["random_state"], **FEW
    )
    xr.testing.assert_identical(fresh, again)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array([2, 10]), ["2", "10"]),
        (np.array([False, True]), ["False", "True"]),
        (np.array([0.0, 0.5]), ["0", "0.5"]),
        (np.array(["x", "y"]), ["x", "y"]),
    ],
)
def test_labels_of_every_type(labels, classes):
    train, test = latent_trees(("ada",), labels=labels, separation=20)
    scores = decode_labels(train, test, label="odor", **FEW)
    assert json.loads(scores.attrs["classes"]) == classes
    assert scores["accuracy"].sel(level="trial").values.ravel() == [1.0]
    assert "others" not in scores["train_subject"].values


def test_whole_numbers_of_different_types_are_the_same_label():
    train, test = latent_trees(("ada", "bob"), labels=np.array([1, 2]), separation=20)

    def as_float(tree):
        bob = tree["bob"].to_dataset()
        bob = bob.assign_coords(odor=("trial", bob["odor"].values.astype(float)))
        return build_tree({"ada": tree["ada"].to_dataset(), "bob": bob})

    scores = decode_labels(as_float(train), as_float(test), label="odor", **FEW)
    assert (scores["accuracy"] == 1).all()
    assert ordered_labels(["b", "10", "9"]) == ["10", "9", "b"]


def test_a_list_of_labels_is_their_combination():
    train, test = latent_trees(("ada",), separation=20)

    def add(dataset):
        return dataset.assign_coords(late=("trial", np.isin(dataset["odor"].values, ["C", "D"])))

    train, test = relabel(train, add), relabel(test, add)
    scores = decode_labels(train, test, label=["odor", "late"], **FEW)
    assert scores.attrs["label"] == "odor|late"
    assert json.loads(scores.attrs["classes"]) == ["A|False", "B|False", "C|True", "D|True"]
    assert (scores["accuracy"] == 1).all()
    text = labels_as_text(train["ada"].to_dataset(), ["odor"], subject="ada")
    assert (text == train["ada"]["odor"].values).all()


def test_trials_of_labels_never_trained_are_read_but_not_scored():
    train, test = latent_trees(("ada", "bob"), separation=20)
    train = relabel(train, lambda d: d.isel(trial=d["odor"].values != "D"))
    scores = decode_labels(train, test, label="odor", **FEW)
    unseen = scores["test_trial_label"].values == "D"
    assert (scores["scored"].values == ~unseen).all()
    assert (scores["predicted"].values[:, unseen] != "").all()
    assert scores["chance"].values == pytest.approx(1 / 3)
    assert (scores["accuracy"] == 1).all()
    assert scores["confusion"].sum(("true_label", "predicted_label")).values.ravel()[0] == 24


def test_a_subject_that_lacks_a_label_is_told_and_loses_those_trials():
    train, test = latent_trees(("ada", "bob"), separation=20)
    ada = train["ada"].to_dataset()
    train = build_tree(
        {"ada": ada.isel(trial=ada["odor"].values != "D"), "bob": train["bob"].to_dataset()}
    )
    with pytest.warns(DataWarning, match="no training trials with 'D' for subject 'ada'"):
        scores = decode_labels(train, test, label="odor", **FEW)
    accuracy = scores["accuracy"].sel(level="trial", test_subject="bob")
    assert accuracy.sel(train_subject="ada").item() == pytest.approx(0.75)
    assert accuracy.sel(train_subject="bob").item() == 1.0


def test_a_subject_without_training_is_read_by_the_others_only():
    train, test = latent_trees(separation=20)
    train = build_tree({name: train[name].to_dataset() for name in ("ada", "bob")})
    scores = decode_labels(train, test, label="odor", **FEW)
    accuracy = scores["accuracy"].sel(level="trial", test_subject="cleo")
    assert np.isnan(accuracy.sel(train_subject="cleo").item())
    assert accuracy.sel(train_subject="others").item() == 1.0
    frame = scores_to_frame(scores)
    assert not ((frame["train_subject"] == "cleo") & (frame["test_subject"] == "cleo")).any()


def test_shared_trials_are_refused_unless_asked_for():
    train, _ = latent_trees(("ada", "bob"))
    with pytest.raises(DataError, match=r"must not share trials, got 32 shared.*split_trials"):
        decode_labels(train, train, label="odor")
    scores = decode_labels(train, train, label="odor", allow_overlap=True, **FEW)
    assert scores.attrs["protocol"] == "train-on-train"


def broken(change):
    train, test = latent_trees(("ada", "bob"))
    return change(train, test)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a, b: (relabel(a, lambda d: d.isel(trial=d["odor"].values == "A")), b),
            "at least two different labels among the training trials, got only \\['A'\\]",
        ),
        (
            lambda a, b: (a, relabel(b, lambda d: d.assign(mean=d["mean"] * np.nan))),
            "expected finite latents, got NaN or infinity in 32 trials of subject 'ada'",
        ),
        (
            lambda a, b: (a, relabel(b, lambda d: d.isel(trial=slice(0, 0)))),
            "expected trials with windows and latents for subject 'ada' of test_latents",
        ),
        (
            lambda a, b: (a, relabel(b, lambda d: d.isel(latent=[0]))),
            "latents of subject 'ada' to be the same latents, got 3 and 1",
        ),
        (
            lambda a, b: (
                a,
                relabel(b, lambda d: d.assign_coords(odor=("trial", np.full(32, "Z")))),
            ),
            r"test trials of subject 'ada' with a label of the training \(A, B, C, D\), got Z",
        ),
        (
            lambda a, b: (
                relabel(a, lambda d: d.assign_coords(odor=("trial", np.full(32, np.nan)))),
                b,
            ),
            "expected a label for every training trial, got 32 without one",
        ),
        (
            lambda a, b: (build_tree({"others": a["ada"].to_dataset()}), b),
            "no subject may be called 'others'",
        ),
    ],
)
def test_bad_latents_never_yield_numbers(change, message):
    with pytest.raises(DataError, match=message):
        decode_labels(*broken(change), label="odor", **FEW)


def test_a_missing_label_names_what_there_is():
    train, test = latent_trees(("ada",))
    with pytest.raises(DataError, match="no trial label 'side' for subject 'ada'; it has: 'odor'"):
        decode_labels(train, test, label="side")


def test_a_classifier_without_probabilities_is_refused():
    from sklearn.svm import LinearSVC

    train, test = latent_trees(("ada",))
    with pytest.raises(ParameterError, match="predict_proba, got LinearSVC"):
        decode_labels(train, test, label="odor", classifier=LinearSVC())


def test_latents_that_carry_other_names_are_not_compared():
    train, test = latent_trees(("ada", "bob"), separation=20)

    def name(tree):
        return build_tree(
            {
                s: tree[s].to_dataset().assign_coords(latent=[f"{s} {i}" for i in range(3)])
                for s in ("ada", "bob")
            }
        )

    scores = decode_labels(name(train), name(test), label="odor", **FEW)
    assert list(scores["train_subject"].values) == ["ada", "bob"]
    assert np.isnan(scores["accuracy"].sel(train_subject="ada", test_subject="bob")).all()


def test_inputs_stay_as_they_were_and_scores_can_be_saved(tmp_path):
    train, test = latent_trees(separation=0.5)
    before = train.copy(deep=True), test.copy(deep=True)
    scores = decode_labels(train, test, label="odor", **FEW)
    xr.testing.assert_identical(train, before[0])
    xr.testing.assert_identical(test, before[1])
    scores.to_netcdf(tmp_path / "scores.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "scores.nc", engine="h5netcdf") as loaded:
        xr.testing.assert_equal(loaded.load(), scores)


def test_frame_has_one_row_per_score_and_corrects_within_each_kind():
    train, test = latent_trees(separation=0.4, seed=8)
    scores = decode_labels(train, test, label="odor", permutations=200, bootstraps=50)
    frame = scores_to_frame(scores)
    assert len(frame) == 2 * (3 + 6 + 3)
    trial = frame[frame["level"] == "trial"]
    assert frame.loc[frame["level"] == "window", "p_value"].isna().all()
    for _, rows in trial.groupby("kind"):
        order = rows.sort_values("p_value")
        ranked = order["p_value"] * len(rows) / np.arange(1, len(rows) + 1)
        expected = np.minimum.accumulate(ranked.to_numpy()[::-1])[::-1].clip(max=1)
        assert order["p_corrected"].to_numpy() == pytest.approx(expected)
    row = trial[(trial["train_subject"] == "others") & (trial["test_subject"] == "bob")].iloc[0]
    place = {"train_subject": "others", "test_subject": "bob"}
    assert row["accuracy"] == scores["accuracy"].sel(level="trial", **place).item()
    assert row["low"] <= row["accuracy"] <= row["high"]
    with pytest.raises(DataError, match="made by decode_labels or cross_validate, got DataFrame"):
        scores_to_frame(pd.DataFrame())


def test_the_penalty_is_chosen_by_whole_trials():
    # Every trial has an offset of its own and nothing else, so windows of one trial look alike.
    # Chosen by windows, the weakest penalty would seem best; by whole trials the strongest is.
    subject = latent_subject(np.tile(["A", "B"], 20), separation=0, windows=8, latents=30)
    offsets = np.random.default_rng(0).normal(size=(40, 1, 30)) * 3
    features = subject["mean"].values * 0.1 + offsets
    labels = subject["odor"].values
    trials = LabelledTrials(features, labels, np.arange(40), None)
    windows = LabelledTrials(
        features.reshape(320, 1, 30), np.repeat(labels, 8), np.arange(320), None
    )
    random = np.random.default_rng(0)
    assert _choose_penalty([trials], random) == min(PENALTIES)
    assert _choose_penalty([windows], random) == max(PENALTIES)


def turning_trees() -> tuple[xr.DataTree, xr.DataTree]:
    """Latents that mean the opposite in the second half of the trial."""

    def turn(dataset):
        sign = xr.DataArray([1.0, 1.0, 1.0, -1.0, -1.0, -1.0], dims="window")
        return dataset.assign(mean=(dataset["mean"] * sign).transpose("trial", "window", "latent"))

    trees = latent_trees(("ada", "bob"), separation=20, windows=6, labels=("A", "B"))
    first, second = (relabel(tree, turn) for tree in trees)
    return first, second


def test_a_classifier_that_is_told_the_position_follows_what_latents_mean_over_the_trial():
    trees = turning_trees()
    accuracy = {
        told: decode_labels(*trees, label="odor", position=told, **FEW)["accuracy"].sel(
            level="window"
        )
        for told in (False, True)
    }
    assert (abs(accuracy[False] - 0.5) < 0.2).all()  # one linear map cannot read both halves
    assert (accuracy[True] == 1).all()


def test_the_position_alone_reads_nothing():
    train, test = (
        relabel(tree, lambda d: d.assign(mean=0 * d["mean"] + 1e-6 * d["mean"].isel(trial=0)))
        for tree in latent_trees(("ada", "bob"), windows=6)
    )
    scores = decode_labels(train, test, label="odor", position=True, **FEW)
    assert (scores["accuracy"] == 0.25).all()
    assert (
        scores.attrs["classifier"] == "logistic regression, C by trial, told the window's position"
    )


def test_a_single_window_has_no_position_to_tell():
    trees = latent_trees(("ada", "bob"), windows=1)
    told, plain = (
        decode_labels(*trees, label="odor", position=told, **FEW) for told in (True, False)
    )
    xr.testing.assert_equal(told, plain)


def test_positions_are_told_only_of_the_same_windows():
    train, test = latent_trees(("ada", "bob"), windows=6)
    later = relabel(test, lambda d: d.assign_coords(window=d["window"] + 0.5))
    with pytest.raises(DataError, match="expected the same windows in training and test"):
        decode_labels(train, later, label="odor", position=True, **FEW)
    short = {
        side: build_tree(
            {"ada": tree["ada"].to_dataset(), "bob": tree["bob"].to_dataset().isel(window=[0, 1])}
        )
        for side, tree in (("train", train), ("test", test))
    }
    with pytest.raises(DataError, match="got 6 for 'ada', 2 for 'bob'"):
        decode_labels(short["train"], short["test"], label="odor", position=True, **FEW)


def test_smooth_positions_are_cosines_of_which_none_repeats_another():
    for windows in (1, 2, 3, 16):
        terms = smooth_positions(windows)
        assert terms.shape == (windows, min(3, windows))
        products = terms.T @ terms  # orthogonal, like the discrete cosine transform
        np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-12)
        assert (terms[:, 0] == 1).all()
