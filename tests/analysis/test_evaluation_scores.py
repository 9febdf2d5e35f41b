"""Scores of an evaluation: headline, its p-values, families of tests, pooled imputation, nulls."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pytest
import xarray as xr
from analysis_examples import LabelModel, latent_subject
from evaluation_examples import (
    BAYES,
    QUICK,
    CodeModel,
    Log,
    RecordingBayes,
    one_tree,
    only,
    with_coordinate,
)
from scipy.stats import binom, false_discovery_control, kstest, norm
from sklearn.metrics import balanced_accuracy_score

from neuroalign.analysis.aligners import ProcrustesPCA, RawCounts
from neuroalign.analysis.decoding import decode_labels, scores_to_frame
from neuroalign.analysis.evaluation import evaluate
from neuroalign.analysis.evaluation_nulls import model_null, permuted_labels, with_labels
from neuroalign.analysis.evaluation_scores import headline, score_left_out, score_method
from neuroalign.analysis.evaluation_tasks import Failure, FoldResult, Plan, fit_folds
from neuroalign.analysis.fitting_many import fits_at_once
from neuroalign.analysis.imputation import score_imputation
from neuroalign.analysis.predictions import Predictions, ReadTrials, predict_labels
from neuroalign.data.splits import kfold_trials, split_trials
from neuroalign.errors import DataError, DataWarning, TrainingError
from neuroalign.model import SharedLatentModel
from neuroalign.schema import build_tree, iterate_subjects

CLASSES = ("A", "B", "C", "D")
Reads = dict[tuple[str, str], Any]


def as_read(
    true: dict[str, Any], read: Reads, *, folds: dict[str, Any] | None = None
) -> Predictions:
    """Predictions that read these labels, (trial,) or (trial, window), without doubt."""
    probability = {
        pair: np.eye(len(CLASSES))[
            np.searchsorted(CLASSES, np.asarray(labels).reshape(len(labels), -1))
        ]
        for pair, labels in read.items()
    }
    trials = {
        subject: ReadTrials(
            trials=np.arange(len(labels)),
            labels=np.asarray(labels),
            folds=np.zeros(len(labels), int) if folds is None else np.asarray(folds[subject]),
            scored=np.ones(len(labels), dtype=bool),
        )
        for subject, labels in true.items()
    }
    sources = tuple(dict.fromkeys(source for source, _ in read))
    return Predictions(CLASSES, sources, trials, probability)


# --- Headline -----------------------------------------------------------------------------------


def test_headline_is_the_average_of_balanced_accuracies() -> None:
    random = np.random.default_rng(0)
    true = {"ada": random.choice(list("AAABCD"), 40), "bob": random.choice(list("ABBD"), 30)}
    read = {
        (source, subject): random.choice(CLASSES, (true[subject].size, 3))
        for subject in true
        for source in ("ada", "bob", "others")
    }
    found = headline(as_read(true, read), permutations=0, bootstraps=0, seed=0)["headline"]
    for scope in ("within", "across"):
        windows, trials = [], []
        for subject, labels in true.items():
            given = read[subject if scope == "within" else "others", subject]
            hits = [(given == label).sum(axis=1) for label in CLASSES]
            voted = np.array(CLASSES)[np.argmax(hits, axis=0)]  # the first of equals, as argmax
            present = np.unique(labels)
            right = (given == labels[:, None]).mean(axis=1)
            windows.append(np.mean([right[labels == label].mean() for label in present]))
            with np.errstate(all="ignore"):
                trials.append(
                    np.mean([(voted == label)[labels == label].mean() for label in present])
                )
        assert found.sel(scope=scope, level="window").item() == pytest.approx(np.mean(windows))
        assert found.sel(scope=scope, level="trial").item() == pytest.approx(np.mean(trials))


def test_subjects_without_others_leave_across_empty() -> None:
    found = headline(
        as_read({"ada": list("AABB")}, {("ada", "ada"): list("ABBB")}),
        permutations=9,
        bootstraps=9,
        seed=0,
    )
    assert found["headline"].sel(scope="within").values.tolist() == [0.75, 0.75]
    for name in found.data_vars:
        assert np.isnan(found[name].sel(scope="across")).all()


def arrangements(labels: list[str], folds: list[int]) -> list[np.ndarray]:
    """Every order of the labels within folds, each as often as permutations give it."""
    groups = [np.flatnonzero(np.array(folds) == fold) for fold in sorted(set(folds))]
    found = []
    for orders in itertools.product(*(itertools.permutations(group) for group in groups)):
        order = np.empty(len(labels), dtype=int)
        for group, rearranged in zip(groups, orders, strict=True):
            order[group] = rearranged
        found.append(np.array(labels)[order])
    return found


def balanced(true: np.ndarray, read: list[str]) -> float:
    right = true == np.array(read)
    return float(np.mean([right[true == label].mean() for label in np.unique(true)]))


@pytest.mark.parametrize(
    "folds", [{"ada": [0] * 5, "bob": [0] * 4}, {"ada": [0, 1, 0, 1, 1], "bob": [1, 0, 0, 1]}]
)
def test_headline_p_value_is_that_of_all_permutations(folds: dict[str, list[int]]) -> None:
    true = {"ada": list("AABBB"), "bob": list("CADA")}
    own = {("ada", "ada"): list("AABAB"), ("bob", "bob"): list("CADB")}
    rest = {("others", "ada"): list("BABBA"), ("others", "bob"): list("CDDA")}
    found = headline(
        as_read(true, own | rest, folds=folds), permutations=20_000, bootstraps=0, seed=1
    )["headline_p"]
    for scope, reads in (("within", own), ("across", rest)):
        pairs = list(zip(true.items(), reads.values(), strict=True))
        seen = np.mean([balanced(np.array(labels), read) for (_, labels), read in pairs])
        by_subject = [
            [balanced(order, read) for order in arrangements(labels, folds[subject])]
            for (subject, labels), read in pairs
        ]
        null = np.add.outer(*by_subject) / 2
        exact = (null >= seen - 1e-9).mean()
        error = np.sqrt(exact * (1 - exact) / 20_000)
        assert found.sel(scope=scope).item() == pytest.approx(exact, abs=4 * error + 1e-4)
        assert 0.001 < exact < 0.5


def test_headline_p_value_is_calibrated_on_noise() -> None:
    found = []
    for seed in range(200):
        trees = [
            build_tree(
                {
                    name: latent_subject(
                        np.tile(["A", "B"], 10), separation=0.0, windows=1, latents=2,
                        first_trial=100 * side, seed=(seed, number, side),
                    )
                    for number, name in enumerate(("ada", "bob"))
                }
            )
            for side in (0, 1)
        ]  # fmt: skip
        read = predict_labels(*trees, label="odor", classifier=BAYES, random_state=seed)
        scores = headline(read, permutations=99, bootstraps=0, seed=seed)
        found.append(scores["headline_p"].values)
    for p_values in np.transpose(found):
        # accuracies of few trials are often equal, which makes p-values large, never small
        assert kstest(p_values, "uniform", alternative="greater").pvalue > 0.01
        assert (p_values <= 0.05).mean() <= binom.ppf(0.999, 200, 0.05) / 200
        assert (p_values <= 0.5).mean() > 0.25


def noise_read_in_folds(seed: int, *, trials: int = 160, latents: int = 10) -> Predictions:
    """Two subjects' noise, read fold by fold by the nearest of two averages of the other folds."""
    random = np.random.default_rng([seed, 1])
    labels = np.tile(list("AB"), trials // 2)
    features = {name: random.normal(size=(trials, latents)) for name in ("ada", "bob")}
    folds = {}
    for name in features:
        folds[name] = np.empty(trials, dtype=int)
        for value in "AB":
            folds[name][labels == value] = random.permutation(trials // 2) % 5
    read: Reads = {}
    for subject, other in (("ada", "bob"), ("bob", "ada")):
        for source, reader in ((subject, subject), ("others", other)):
            said = np.empty(trials, dtype="<U1")
            for fold in range(5):
                known, asked = folds[reader] != fold, folds[subject] == fold
                low, high = (features[reader][known & (labels == v)].mean(axis=0) for v in "AB")
                side = (features[subject][asked] - (low + high) / 2) @ (high - low)
                said[asked] = np.where(side > 0, "B", "A")
            read[source, subject] = said
    return as_read(dict.fromkeys(features, labels), read, folds=folds)


def test_headline_p_value_of_pooled_folds_is_as_far_off_as_the_docstring_says() -> None:
    """Folds train on each other's test trials, which permuting pooled predictions leaves out."""
    found = [
        headline(noise_read_in_folds(seed), permutations=99, bootstraps=0, seed=seed)["headline_p"]
        for seed in range(400)
    ]
    false_alarms = (np.array(found) <= 0.05).mean(axis=0)
    assert (false_alarms > 0.06).all()
    assert (false_alarms < 0.13).all()


def test_headline_interval_has_the_width_of_binomial_shares() -> None:
    random = np.random.default_rng(3)
    true = {name: np.repeat(list("AB"), [60, 140]) for name in ("ada", "bob")}
    read: Reads = {}
    for name, labels in true.items():
        wrong = random.random(labels.size) < 0.3
        read[name, name] = np.where(wrong, np.where(labels == "A", "B", "A"), labels)
    found = headline(as_read(true, read), permutations=0, bootstraps=4000, seed=0)
    one = found.sel(scope="within", level="trial")
    variance = 0.0
    for name, labels in true.items():
        right = read[name, name] == labels
        for value in "AB":
            share = right[labels == value].mean()
            variance += share * (1 - share) / (labels == value).sum() / 4 / 4
    expected = one["headline"].item() + norm.ppf(0.975) * np.sqrt(variance) * np.array([-1, 1])
    np.testing.assert_allclose(one["headline_interval"].values, expected, atol=0.004)


# --- Families of tests --------------------------------------------------------------------------


def test_p_values_are_corrected_apart_for_within_across_and_pairs() -> None:
    windows = one_tree(("ada", "bob", "cleo"), per_label=6, strength=0.25)
    models = {"aligned": ProcrustesPCA(2), "raw": RawCounts()}
    scores = evaluate(windows, models, label="odor", cv=2, imputation=False, **QUICK).dataset
    names = ["ada", "bob", "cleo"]
    families = {
        "within": [(name, name) for name in names],
        "across": [("others", name) for name in names],
        "pairs": list(itertools.permutations(names, 2)),
    }
    for family, members in families.items():
        one = scores.sel(model="aligned")
        given, corrected = (
            np.array([one[n].sel(train_subject=s, test_subject=t).item() for s, t in members])
            for n in ("p_value", "p_corrected")
        )
        np.testing.assert_allclose(corrected, false_discovery_control(given), err_msg=family)
        assert len(set(given.tolist())) > 1
    raw = scores.sel(model="raw")
    assert (np.isnan(raw["p_corrected"]) == np.isnan(raw["p_value"])).all()
    own = [raw["p_value"].sel(train_subject=n, test_subject=n).item() for n in names]
    corrected = [raw["p_corrected"].sel(train_subject=n, test_subject=n).item() for n in names]
    np.testing.assert_allclose(corrected, false_discovery_control(own))


def test_corrected_p_values_are_those_of_the_table_of_scores() -> None:
    windows = one_tree(("ada", "bob", "cleo"), per_label=6, strength=0.25)
    asked: dict[str, Any] = {"label": "odor", "random_state": 2} | QUICK
    evaluation = evaluate(windows, ProcrustesPCA(2), cv=0.4, imputation=False, **asked)
    train, test = split_trials(windows, test_size=0.4, stratify="odor", random_state=2)
    model = ProcrustesPCA(2).fit(train, label="odor")
    expected = scores_to_frame(
        decode_labels(model.transform(train), model.transform(test), **asked)
    )
    keys = ["level", "train_subject", "test_subject"]
    found = evaluation.to_frame("decoding").set_index(keys).sort_index()
    expected = expected.set_index(keys).sort_index()
    for column in ("accuracy", "low", "high", "chance", "p_value", "p_corrected"):
        np.testing.assert_allclose(found[column], expected[column], err_msg=column)
    assert set(found["kind"]) == {"within", "across", "pair"}


# --- Imputation and labels left out, pooled over folds ------------------------------------------


def fold_results(windows: xr.DataTree, folds: list[Any], seed: int = 0) -> list[FoldResult]:
    plan = Plan("odor", "odor", False, BAYES, True, seed)
    results = fit_folds(LabelModel(), {}, folds, plan, numbers=range(len(folds)))
    return [result for result in results if isinstance(result, FoldResult)]


def test_imputation_pools_trials_of_folds() -> None:
    windows = one_tree(per_label=7, strength=0.6)  # folds of unequal size
    folds = list(kfold_trials(windows, n_splits=3, stratify="odor", random_state=0))
    results = fold_results(windows, folds)
    scores = score_method(results, permutations=0, bootstraps=400, seed=0)
    parts = [result.pairs["ada", "bob"] for result in results]
    assert len({part.trials for part in parts}) > 1
    place = {"source": "ada", "target": "bob"}
    spikes = np.concatenate([part.spikes for part in parts])
    for kind in ("imputed", "floor", "ceiling"):
        gains = np.concatenate([part.gains[kind] for part in parts])
        one = scores.sel(kind=kind, **place)
        assert one["bits_per_spike"].item() == pytest.approx(gains.sum() / spikes.sum())
        low, high = one["bits_interval"].values
        assert low < one["bits_per_spike"].item() < high
        single = [
            score_imputation(
                LabelModel().fit(train, label="odor"), train, test, label="odor",
                classifier=BAYES, bootstraps=0,
            ).sel(kind=kind, **place)
            for train, test in folds
        ]  # fmt: skip
        weights = [part["trials"].item() for part in single]
        for measure in ("correlation", "correlation_unit", "coherence_window", "coherence_trial"):
            expected = np.average([part[measure].item() for part in single], weights=weights)
            assert one[measure].item() == pytest.approx(expected)
    bits = scores["bits_per_spike"].sel(**place)
    above = (bits.sel(kind="imputed") - bits.sel(kind="floor")).item()
    assert scores["above_floor"].sel(**place).item() == pytest.approx(above)


def test_the_interval_above_the_floor_is_one_of_differences() -> None:
    windows = one_tree(per_label=8, strength=0.6)
    fold = split_trials(windows, stratify="odor", random_state=0)
    scores = score_method(fold_results(windows, [fold]), permutations=0, bootstraps=4000, seed=0)
    part = fold_results(windows, [fold])[0].pairs["ada", "bob"]
    difference = part.gains["imputed"] - part.gains["floor"]
    ratio = difference.sum() / part.spikes.sum()
    residual = difference - ratio * part.spikes
    spread = residual.std() * np.sqrt(residual.size) / part.spikes.sum()  # delta method
    low, high = scores["above_floor_interval"].sel(source="ada", target="bob").values
    assert high - low == pytest.approx(2 * norm.ppf(0.975) * spread, rel=0.2)
    assert low < ratio < high


def test_left_out_labels_count_the_trials_of_all_folds() -> None:
    first = as_read(
        {"ada": list("AAAB")}, {("ada", "ada"): list("ABAB"), ("others", "ada"): list("BBAA")}
    )
    second = as_read(
        {"ada": ["A"], "bob": list("AA")},
        {("ada", "ada"): ["B"], ("others", "ada"): ["B"], ("others", "bob"): list("AA")},
    )
    found = score_left_out({"A": [first, second]}, bootstraps=500, seed=0).sel(left_out_label="A")
    assert found["left_out"].sel(scope="within", test_subject="ada").item() == 2 / 4
    assert found["left_out"].sel(scope="across", test_subject="ada").item() == 1 / 4
    assert found["left_out"].sel(scope="across", test_subject="bob").item() == 1
    alarms = found["left_out_false_alarms"]
    assert alarms.sel(scope="within", test_subject="ada").item() == 0
    assert alarms.sel(scope="across", test_subject="ada").item() == 1
    assert np.isnan(alarms.sel(scope="across", test_subject="bob"))  # no other label was tested
    assert np.isnan(found["left_out"].sel(scope="within", test_subject="bob"))
    assert found["left_out_interval"].sel(scope="across", test_subject="bob").values.tolist() == [
        1,
        1,
    ]
    interval = found["left_out_interval"].sel(scope="across", test_subject="ada").values
    expected = binom.ppf([0.025, 0.975], 4, 1 / 4) / 4
    assert interval.tolist() == expected.tolist()


# --- The model null -----------------------------------------------------------------------------


def permuted(
    windows: xr.DataTree, permutation: int, folds: Sequence[Any] = (), **changes: Any
) -> xr.DataTree:
    asked: dict[str, Any] = {"label": "odor", "fit_label": "odor", "simultaneous": False}
    plan = Plan(classifier=None, imputation=False, seed=0, **(asked | changes))
    return with_labels(windows, permuted_labels(windows, plan, permutation, folds))


def test_every_fold_keeps_its_number_of_trials_of_each_label() -> None:
    windows = one_tree(("ada", "bob"), per_label=7)
    folds = list(kfold_trials(windows, n_splits=3, stratify="odor", random_state=0))
    single = [split_trials(windows, test_size=0.3, stratify="odor", random_state=0)]
    for splits in (folds, single):
        for subject, data in iterate_subjects(permuted(windows, 0, splits)):
            dealt = data["paired_label"].to_series()
            assert (dealt != data["odor"].to_series()).mean() > 0.4
            for side in itertools.chain.from_iterable(splits):
                part = side[subject].to_dataset()
                assert sorted(dealt[part["trial"].values]) == sorted(part["odor"].values)


def test_labels_are_permuted_over_the_trials_of_each_subject() -> None:
    windows = one_tree(("ada", "bob"), per_label=12)
    drawn = {}
    for permutation in range(3):
        for subject, data in iterate_subjects(permuted(windows, permutation)):
            made = data["paired_label"].values
            assert sorted(made) == sorted(data["odor"].values)
            assert made.tolist() == data["permuted_label"].values.tolist()
            plain = data.drop_vars(["paired_label", "permuted_label"])
            xr.testing.assert_identical(plain, windows[subject].to_dataset())
            drawn[subject, permutation] = "".join(made)
    assert len(set(drawn.values())) == 6
    assert "".join(permuted(windows, 1)["bob"]["paired_label"].values) == drawn["bob", 1]


def test_what_is_paired_and_what_is_decoded_move_together() -> None:
    windows = with_coordinate(
        one_tree(per_label=6), "side", lambda _, d: np.where(d["odor"].values < "C", "l", "r")
    )
    for _, data in iterate_subjects(permuted(windows, 0, fit_label="side")):
        assert sorted(data["permuted_label"].values) == sorted(data["odor"].values)
        side = np.where(data["permuted_label"].values < "C", "l", "r")
        assert data["paired_label"].values.tolist() == side.tolist()
        assert (data["paired_label"].values != data["side"].values).any()


def test_subjects_recorded_together_share_the_permutation() -> None:
    tree = permuted(one_tree(per_label=6), 0, simultaneous=True)
    ada, bob = (data["paired_label"].values.tolist() for _, data in iterate_subjects(tree))
    assert ada == bob != tree["ada"]["odor"].values.tolist()


@pytest.mark.parametrize("null_of", ["fit", "fit and classifier"])
def test_fits_see_permuted_labels_and_classifiers_what_is_asked(null_of: Any) -> None:
    windows = one_tree(("ada", "bob"), per_label=6)
    fits, readings = Log(), Log()
    result = evaluate(
        windows, CodeModel(log=fits), label="odor", cv=2, classifier=RecordingBayes(log=readings),
        permutations=0, bootstraps=0, model_permutations=3, model_null_of=null_of,
    )  # fmt: skip
    folds = list(kfold_trials(windows, n_splits=2, stratify="odor", random_state=0))
    assert [record["label"] for record in fits] == ["odor"] * 2 + ["paired_label"] * 6
    for permutation in range(3):
        tree = permuted(windows, permutation, folds)
        for number, (train, test) in enumerate(folds):
            place = 2 + 2 * permutation + number
            record = fits[place]
            read = dict(zip(("ada", "bob"), readings[2 * place : 2 * place + 2], strict=True))
            for subject in ("ada", "bob"):
                kept = np.isin(tree[subject]["trial"], train[subject]["trial"])
                dealt = tree[subject]["paired_label"].values[kept]
                assert record["labels"][subject].tolist() == dealt.tolist()
                true = train[subject]["odor"].values
                asked = true if null_of == "fit" else dealt
                count = test[subject].sizes["window"]
                assert read[subject].tolist() == np.repeat(asked, count).tolist()
    scores = result.dataset.sel(model="CodeModel")
    assert (scores["headline"] == 1).all()
    null = scores["model_null"].sel(scope="within")
    if null_of == "fit":  # these latents carry the label whatever the fit is told
        assert (null == 1).all()
        assert (scores["model_null_p"] == 1).all()
    else:
        assert (null < 0.8).all()
        assert (scores["model_null_p"] == 1 / 4).all()


def test_the_model_null_counts_permutations_that_reach_the_headline() -> None:
    windows = one_tree(("ada", "bob"), per_label=6, strength=0.0, seed=5)
    scores = evaluate(
        windows, LabelModel(), label="odor", cv=2, imputation=False, model_permutations=9,
        model_null_of="fit and classifier", **QUICK,
    ).dataset.sel(model="LabelModel")  # fmt: skip
    found = []
    splits = list(kfold_trials(windows, n_splits=2, stratify="odor", random_state=0))
    for permutation in range(9):
        tree = permuted(windows, permutation, splits)
        tree = with_coordinate(tree, "made", lambda _, d: d["paired_label"].values)
        folds = kfold_trials(tree, n_splits=2, stratify="odor", random_state=0)
        read = {name: [] for name in ("ada", "bob")}
        true = {name: [] for name in ("ada", "bob")}
        for train, test in folds:
            model = LabelModel().fit(train, label="made")
            one = decode_labels(
                model.transform(train), model.transform(test), label="made", classifier=BAYES,
                permutations=0, bootstraps=0,
            ).sel(train_subject="others")  # fmt: skip
            for name in read:
                mine = one["test_trial_subject"].values == name
                read[name] += one["predicted"].values[mine].tolist()
                true[name] += one["test_trial_label"].values[mine].tolist()
        found.append(np.mean([balanced_accuracy_score(true[n], read[n]) for n in read]))
    across = scores.sel(scope="across")
    np.testing.assert_allclose(across["model_null"].values, found)
    reached = (np.array(found) >= across["headline"].sel(level="trial").item() - 1e-9).sum()
    assert across["model_null_p"].item() == (1 + reached) / 10
    assert 0 < reached < 9


def test_the_null_of_fit_and_classifier_has_the_chance_of_the_label() -> None:
    windows = with_coordinate(
        one_tree(per_label=8), "side", lambda _, d: np.where(d["odor"].values < "C", "l", "r")
    )
    scores = evaluate(
        windows, CodeModel(), label="odor", fit_label="side", cv=2, model_permutations=8,
        model_null_of="fit and classifier", **QUICK,
    ).dataset  # fmt: skip
    # four odors: a mean over eight permutations of 64 trials each is within 0.1 of 1/4
    assert scores["model_null"].mean().item() == pytest.approx(0.25, abs=0.1)


def test_simultaneous_recordings_can_be_tuned_under_the_null() -> None:
    scores = evaluate(
        one_tree(per_label=12), CodeModel(), label="odor", cv=2, simultaneous=True, model_permutations=1,
        tune={"CodeModel": {"separation": [0.5, 1.0]}}, model_null_of="fit and classifier", **QUICK,
    ).dataset  # fmt: skip
    assert np.isfinite(scores["model_null"]).all()


class StrictModel(CodeModel):
    """Refuses a subject that lacks a label, as models do that pair by it."""

    def fit(self, windows: xr.DataTree, *, label: str) -> Self:
        super().fit(windows, label=label)
        sets = [set(labels.tolist()) for labels in self.fitted_["labels"].values()]
        if any(each != set.union(*sets) for each in sets):
            raise DataError("a subject lacks a label.")
        return self


def test_rare_labels_can_be_permuted() -> None:
    rare = only(one_tree(per_label=8), lambda d: (d["odor"].values != "D") | (d["trial"] < 12))
    assert [int((data["odor"] == "D").sum()) for _, data in iterate_subjects(rare)] == [3, 3]
    scores = evaluate(rare, StrictModel(), label="odor", cv=3, model_permutations=8, **QUICK)
    assert np.isfinite(scores.dataset["model_null"]).all()


class FailingUnderTheNull(CodeModel):
    """Is fitted to true labels, and fails at some of the fits to permuted ones."""

    def __init__(
        self,
        *,
        failing: tuple[int, ...] = (),
        error: type[Exception] = TrainingError,
        log: Log | None = None,
    ) -> None:
        super().__init__(log=log)
        del self.separation, self.fails_below
        self.failing = failing
        self.error = error

    def fit(self, windows: xr.DataTree, *, label: str) -> Self:
        self.separation, self.fails_below = 1.0, -1.0
        super().fit(windows, label=label)
        assert self.log is not None
        number = sum(record["label"] == "paired_label" for record in self.log) - 1
        if label == "paired_label" and number in self.failing:
            raise self.error(f"fit {number} is not finite.")
        return self


ASKED_NULL: dict[str, Any] = {
    "label": "odor", "cv": 2, "model_permutations": 4, "model_null_of": "fit and classifier",
} | QUICK  # fmt: skip


@pytest.mark.parametrize("error", [TrainingError, DataError, np.linalg.LinAlgError])
def test_a_permutation_that_cannot_be_fitted_counts_as_one_that_reaches(
    error: type[Exception],
) -> None:
    windows = one_tree(per_label=6)
    whole = evaluate(windows, {"m": FailingUnderTheNull(log=Log())}, **ASKED_NULL).dataset
    # fits 2 and 3 are the folds of permutation 1, and 7 is the second fold of permutation 3
    model = FailingUnderTheNull(failing=(2, 7), error=error, log=Log())
    said = (
        "^model null of 'm': 2 of 4 permutations could not be fitted and count as reaching the "
        r"accuracy seen, so that p is too large rather than too small; .*fit 2 is not finite\.$"
    )
    with pytest.warns(DataWarning, match=said):
        result = evaluate(windows, {"m": model}, **ASKED_NULL)
    scores, whole = result.dataset.sel(model="m"), whole.sel(model="m")
    null, complete = scores["model_null"], whole["model_null"]
    assert np.isnan(null.sel(permutation=[1, 3])).all()
    np.testing.assert_array_equal(
        null.sel(permutation=[0, 2]).values, complete.sel(permutation=[0, 2]).values
    )
    assert scores["model_null_failed"].item() == 2
    assert whole["model_null_failed"].item() == 0
    seen = whole["headline"].sel(level="trial")
    reached = (null >= seen - 1e-9).sum("permutation") + 2
    np.testing.assert_array_equal(scores["model_null_p"].values, ((1 + reached) / 5).values)
    assert (scores["model_null_p"] >= whole["model_null_p"]).all()
    assert result.to_frame("headline")["model_null_failed"].tolist() == [2] * 4


def test_a_null_of_which_nothing_can_be_fitted_names_the_cause() -> None:
    windows = one_tree(per_label=6)
    model = FailingUnderTheNull(failing=tuple(range(8)), log=Log())
    said = (
        r"^model null of 'm': none of 4 permutations could be fitted; the first failed with: "
        r"fit 0 is not finite\.$"
    )
    with pytest.raises(TrainingError, match=said):
        evaluate(windows, {"m": model}, **ASKED_NULL)


@pytest.mark.parametrize(
    ("waiting", "jobs", "expected"),
    [(8, 1, 4), (8, 2, 4), (6, 2, 3), (5, 2, 3), (4, 3, 2), (3, 3, 1), (1, 4, 1), (0, 2, 1)],
)
def test_no_process_is_left_without_fits(waiting: int, jobs: int, expected: int) -> None:
    model = SharedLatentModel(2, device="cpu")
    assert fits_at_once(model, waiting, jobs) == expected
    assert fits_at_once(CodeModel(), waiting, jobs) == 1


def test_the_null_hands_fits_out_to_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two permutations of two folds on four processes: a fit each, not four for one of them."""
    calls: list[int] = []
    windows = one_tree(per_label=6)
    folds = list(kfold_trials(windows, n_splits=2, stratify="odor", random_state=0))
    monkeypatch.setattr("joblib.effective_n_jobs", lambda jobs: jobs)

    def run(tasks: Any) -> Any:
        calls.extend(len(named["numbers"]) for _, (_, _, named) in tasks)
        return [[Failure(TrainingError("no"), fitting=True)] * size for size in calls]

    with pytest.raises(TrainingError, match="none of 2"):
        model_null(
            windows, folds, SharedLatentModel(2, device="cpu"), {},
            Plan("odor", "odor", False, BAYES, False, 0), permutations=2, permute_classifier=False,
            observed=xr.DataArray(np.ones((1, 1)), coords={"scope": ["within"], "level": ["trial"]}),
            run=run, n_jobs=4, name="m",
        )  # fmt: skip
    assert calls == [1, 1, 1, 1]
