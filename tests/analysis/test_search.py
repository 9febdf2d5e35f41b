"""A search scores every combination on trials that were held out, and keeps the best."""

from __future__ import annotations

import warnings
from typing import Any

import joblib
import numpy as np
import pytest
import xarray as xr
from evaluation_examples import BAYES, QUICK, CodeModel, Log, one_tree, with_coordinate
from sklearn.exceptions import NotFittedError

import neuroalign as na
from neuroalign.analysis.aligners import PrincipalComponents, ProcrustesPCA
from neuroalign.analysis.decoding import decode_labels
from neuroalign.analysis.evaluation import evaluate
from neuroalign.analysis.search import TrialSearch
from neuroalign.analysis.tuning import choose_settings
from neuroalign.data.splits import kfold_trials, split_trials
from neuroalign.errors import DataError, DataWarning, ParameterError, TrainingError
from neuroalign.schema import iterate_subjects

GRID: dict[str, list[Any]] = {"n_latents": [1, 3], "scaling": ["sqrt", "none"]}
SMALL: dict[str, Any] = {
    "n_latents": 2,
    "decoder_hidden": (8,),
    "max_epochs": 1,
    "random_state": 0,
    "verbose": False,
}


@pytest.fixture(scope="module")
def windows() -> xr.DataTree:
    return one_tree(per_label=10, strength=0.3, bins=6)


def accuracies_by_hand(model: Any, train: xr.DataTree, test: xr.DataTree) -> dict[str, float]:
    fitted = model.fit(train, label="odor")
    scores = decode_labels(
        fitted.transform(train), fitted.transform(test), label="odor", classifier=BAYES,
        permutations=0, bootstraps=0,
    )["accuracy"].sel(level="window")  # fmt: skip
    names = scores["test_subject"].values.tolist()
    within = [scores.sel(train_subject=name, test_subject=name).item() for name in names]
    found = {"within": float(np.mean(within))}
    if "others" in scores["train_subject"].values:
        found["across"] = float(scores.sel(train_subject="others").mean())
    return found | {"within and across": float(np.mean(list(found.values())))}


# --- Scores -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scoring", ["within", "across", "within and across"])
def test_scores_are_those_of_every_fold_by_hand(windows: xr.DataTree, scoring: str) -> None:
    search = TrialSearch(
        ProcrustesPCA(), GRID, cv=3, scoring=scoring, classifier=BAYES, random_state=5
    ).fit(windows, label="odor")
    folds = list(kfold_trials(windows, n_splits=3, stratify="odor", random_state=5))
    rows: list[tuple[int, Any]] = [
        (size, scaling) for size in (1, 3) for scaling in ("sqrt", "none")
    ]
    expected = np.array(
        [
            [accuracies_by_hand(ProcrustesPCA(n, scaling=s), *fold)[scoring] for fold in folds]
            for n, s in rows
        ]
    )
    table = search.results_
    assert list(zip(table["n_latents"], table["scaling"], strict=True)) == rows
    found = table[["score_0", "score_1", "score_2"]].to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(table["score"], expected.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(table["spread"], expected.std(axis=1), atol=1e-12)
    best = int(expected.mean(axis=1).argmax())
    assert search.best_params_ == dict(zip(("n_latents", "scaling"), rows[best], strict=True))
    assert search.best_score_ == pytest.approx(expected.mean(axis=1).max())
    assert table["rank"].iloc[best] == 1
    assert (table["error"] == "").all()
    assert len(set(table["score"])) > 1


def test_a_single_split_chooses_as_evaluate_does(windows: xr.DataTree) -> None:
    search = TrialSearch(
        ProcrustesPCA(), GRID, cv=0.25, classifier=BAYES, random_state=7, refit=False
    ).fit(windows, label="odor")
    choice = choose_settings(
        ProcrustesPCA(), GRID, windows, label="odor", classifier=BAYES, random_state=7
    )
    assert search.best_params_ == choice.settings
    assert search.results_["score"].tolist() == [row["score"] for row in choice.scores]


def test_the_best_is_fitted_to_all_trials_and_the_first_of_equals_is_best(
    windows: xr.DataTree,
) -> None:
    log = Log()
    search = TrialSearch(
        CodeModel(log=log), {"separation": [2.0, 1.0]}, cv=2, classifier=BAYES, random_state=0
    )
    assert search.fit(windows, label="odor") is search
    assert search.results_["score"].tolist() == [1.0, 1.0]
    assert search.results_["rank"].tolist() == [1, 1]
    assert search.best_params_ == {"separation": 2.0}
    assert search.label_ == "odor"
    assert len(log) == 5
    for subject, data in iterate_subjects(windows):
        for record in log[:4]:
            assert len(record["trials"][subject]) == data.sizes["trial"] / 2
        np.testing.assert_array_equal(log[4]["trials"][subject], data["trial"])
    latents = search.transform(windows)
    assert (
        latents["ada"].to_dataset().identical(CodeModel(2.0).transform(windows)["ada"].to_dataset())
    )


def test_another_label_may_be_decoded_than_paired(windows: xr.DataTree) -> None:
    tree = with_coordinate(windows, "side", lambda _, d: np.where(d["odor"] < "C", "l", "r"))
    log = Log()
    search = TrialSearch(
        CodeModel(log=log), {"separation": [1.0]}, cv=2, score_label="odor", classifier=BAYES,
        random_state=0,
    ).fit(tree, label="side")  # fmt: skip
    assert {record["label"] for record in log} == {"side"}
    assert search.best_score_ == 1.0  # of four odors, which the two sides could not tell
    fold, _ = next(kfold_trials(tree, n_splits=2, stratify="odor", random_state=0))
    np.testing.assert_array_equal(log[0]["trials"]["ada"], fold["ada"]["trial"])


def test_several_grids_are_searched_one_after_the_other(windows: xr.DataTree) -> None:
    grids: list[dict[str, list[Any]]] = [{"n_latents": [1, 2]}, {"scaling": ["none"]}]
    search = TrialSearch(ProcrustesPCA(), grids, cv=2, classifier=BAYES, random_state=0)
    table = search.fit(windows, label="odor").results_
    assert table["n_latents"].tolist()[:2] == [1, 2]
    assert table["n_latents"].isna().tolist() == [False, False, True]
    assert table["scaling"].isna().tolist() == [True, True, False]


def test_any_number_can_be_the_score(windows: xr.DataTree) -> None:
    seen = []

    def fewest(fitted: Any, train: xr.DataTree, test: xr.DataTree) -> float:
        seen.append((train["ada"].sizes["trial"], test["ada"].sizes["trial"]))
        return -float(fitted.n_latents)

    search = TrialSearch(ProcrustesPCA(), {"n_latents": [3, 1, 2]}, cv=4, scoring=fewest)
    assert search.fit(windows, label="odor").best_params_ == {"n_latents": 1}
    assert search.results_["rank"].tolist() == [3, 1, 2]
    assert seen == [(30, 10)] * 12


# --- Our own model ------------------------------------------------------------------------------


def test_models_train_side_by_side_as_they_would_alone() -> None:
    recordings, _ = na.simulate_recordings(
        units={"ada": 8, "bob": 6}, trials=24, mean_rate=9, random_state=0
    )
    tree = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    search = TrialSearch(
        na.SharedLatentModel(**SMALL), {"beta": [0.1, 1.0]}, cv=2, classifier=BAYES,
        scoring=lambda fitted, train, test: fitted.score(test), random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        search.fit(tree, label="odor")
        folds = list(kfold_trials(tree, n_splits=2, stratify="odor", random_state=0))
        expected = [
            [
                na.SharedLatentModel(**SMALL, beta=beta).fit(train, label="odor").score(test)
                for train, test in folds
            ]
            for beta in (0.1, 1.0)
        ]
        objective = TrialSearch(
            na.SharedLatentModel(**SMALL), {"learning_rate": [1e-4, 1e-2]}, cv=folds[:1],
            scoring="objective",
        ).fit(tree, label="odor")  # fmt: skip
    found = search.results_[["score_0", "score_1"]].to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert objective.results_["score"].iloc[0] < objective.results_["score"].iloc[1]
    assert search.score(tree) == search.best_estimator_.score(tree)
    imputed = search.impute(tree, source="ada", target="bob")
    assert imputed["bob"].sizes["unit"] == 6
    assert set(search.reconstruct(tree).children) == {"ada", "bob"}
    assert not hasattr(TrialSearch(ProcrustesPCA(), {}), "impute")


def test_the_objective_does_not_compare_what_it_is_made_of(windows: xr.DataTree) -> None:
    model = na.SharedLatentModel(**SMALL)
    grids: list[Any] = [
        {"beta": [0.1, 1.0]},
        [{"n_latents": [2]}, {"beta": [1.0], "sharing": ["poe"]}],
    ]
    for grid in grids:
        with pytest.raises(ParameterError, match=r"cannot compare models that differ in beta"):
            TrialSearch(model, grid, scoring="objective").fit(windows, label="odor")
    with pytest.raises(ParameterError, match="needs an estimator with score, which ProcrustesPCA"):
        TrialSearch(ProcrustesPCA(), GRID, scoring="objective").fit(windows, label="odor")


# --- Inside an evaluation -----------------------------------------------------------------------


def test_inside_an_evaluation_a_search_never_sees_test_trials(windows: xr.DataTree) -> None:
    log = Log()
    search = TrialSearch(
        CodeModel(log=log), {"separation": [0.5, 1.0]}, cv=2, classifier=BAYES, random_state=0
    )
    folds = [split_trials(windows, test_size=0.4, stratify="odor", random_state=1)]
    result = evaluate(windows, {"searched": search}, label="odor", cv=folds, **QUICK)
    assert len(log) == 5
    for record in log:
        for subject, trials in record["trials"].items():
            assert not set(trials) & set(folds[0][1][subject]["trial"].to_numpy().tolist())
    assert result.models == ["searched"]


# --- What goes wrong ----------------------------------------------------------------------------


def test_settings_that_fail_have_no_score_and_say_why(windows: xr.DataTree) -> None:
    search = TrialSearch(
        CodeModel(fails_below=1.0), {"separation": [0.5, 1.0]}, cv=2, classifier=BAYES
    )
    with pytest.warns(DataWarning, match="1 of 2 settings could not be fitted; results_ says why"):
        search.fit(windows, label="odor")
    table = search.results_
    assert table["score"].isna().tolist() == [True, False]
    assert table["error"].tolist() == ["DataError: separation 0.5 is too small.", ""]
    assert search.best_params_ == {"separation": 1.0}
    with pytest.raises(TrainingError, match=r"no setting .* the last failed: DataError: separa"):
        TrialSearch(CodeModel(fails_below=9.0), {"separation": [1.0]}, cv=2).fit(
            windows, label="odor"
        )


def test_a_method_without_a_shared_space_is_scored_within(windows: xr.DataTree) -> None:
    grid: dict[str, list[Any]] = {"n_latents": [1, 2]}
    both, within = (
        TrialSearch(
            PrincipalComponents(), grid, cv=2, scoring=scoring, classifier=BAYES, random_state=0
        ).fit(windows, label="odor")
        for scoring in ("within and across", "within")
    )
    assert both.results_["score"].tolist() == within.results_["score"].tolist()
    with pytest.raises(TrainingError, match="no other subject shares; score 'within'"):
        TrialSearch(PrincipalComponents(), grid, cv=2, scoring="across", classifier=BAYES).fit(
            windows, label="odor"
        )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scoring": "accuracy"}, ParameterError, "scoring must be one of 'within and across', "),
        ({"grid": {"size": [1]}}, ParameterError, "'size', which ProcrustesPCA does not have"),
        ({"grid": {"n_latents": 3}}, ParameterError, "expects a list of values for 'n_latents'"),
        ({"cv": 1.5}, ParameterError, "test_size"),
        ({"cv": "all"}, ParameterError, "cv must be a number of folds"),
    ],
)
def test_searches_that_make_no_sense_are_refused(
    windows: xr.DataTree, change: dict[str, Any], error: Any, message: str
) -> None:
    search = TrialSearch(ProcrustesPCA(), GRID).set_params(**change)
    with pytest.raises(error, match=message):
        search.fit(windows, label="odor")
    with pytest.raises(NotFittedError):
        search.transform(windows)


def test_without_a_refit_there_is_nothing_to_transform_with(windows: xr.DataTree) -> None:
    search = TrialSearch(ProcrustesPCA(), GRID, cv=2, classifier=BAYES, random_state=0)
    search.fit(windows, label="odor")
    assert hasattr(search, "best_estimator_")
    search.set_params(refit=False).fit(windows, label="odor")
    assert not hasattr(search, "best_estimator_")
    with pytest.raises(ParameterError, match="refit=False fits no best estimator"):
        search.transform(windows)
    with pytest.raises(DataError, match="expected windowed data"):
        search.fit(CodeModel().transform(windows), label="odor")


def test_processes_share_the_work_and_change_nothing(windows: xr.DataTree) -> None:
    search = TrialSearch(ProcrustesPCA(), GRID, cv=2, classifier=BAYES, random_state=0)
    expected = search.fit(windows, label="odor").results_.drop(columns="seconds")
    with joblib.parallel_config(backend="threading"):
        shared = search.set_params(n_jobs=2).fit(windows, label="odor").results_
    assert shared.drop(columns="seconds").equals(expected)
