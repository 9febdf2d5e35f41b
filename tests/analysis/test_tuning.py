"""Settings are chosen inside training trials: by the best score, whatever the test trials say."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
import xarray as xr
from analysis_examples import LabelModel
from evaluation_examples import BAYES, QUICK, CodeModel, Log, one_tree, with_coordinate
from sklearn.metrics import balanced_accuracy_score

from neuroalign.analysis.aligners import BASELINES, PrincipalComponents, ProcrustesPCA, RawCounts
from neuroalign.analysis.decoding import decode_labels
from neuroalign.analysis.evaluation import evaluate
from neuroalign.analysis.predictions import predict_labels
from neuroalign.analysis.tuning import choose_settings, grid_candidates, mean_accuracy
from neuroalign.data.splits import split_trials
from neuroalign.errors import ParameterError, TrainingError
from neuroalign.schema import iterate_subjects, map_subjects

Trees = tuple[xr.DataTree, xr.DataTree]
GRID = {"n_latents": [1, 3], "scaling": ["sqrt", "none"]}


@pytest.fixture(scope="module")
def trees() -> Trees:
    windows = one_tree(per_label=12, strength=0.3)
    return split_trials(windows, test_size=0.4, stratify="odor", random_state=0)


def accuracy_by_hand(model: Any, train: xr.DataTree, test: xr.DataTree) -> float:
    """Average over within and across of the average over subjects, per window."""
    fitted = model.fit(train, label="odor")
    scores = decode_labels(
        fitted.transform(train), fitted.transform(test), label="odor", classifier=BAYES,
        permutations=0, bootstraps=0,
    )["accuracy"].sel(level="window")  # fmt: skip
    names = scores["test_subject"].values.tolist()
    kinds = [[scores.sel(train_subject=n, test_subject=n).item() for n in names]]
    if "others" in scores["train_subject"].values:
        kinds.append(scores.sel(train_subject="others").values.tolist())
    return float(np.mean([np.mean(values) for values in kinds]))


# --- The choice ---------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [ProcrustesPCA, PrincipalComponents])
def test_the_best_of_all_combinations_on_held_out_training_trials_is_chosen(
    made: Any, trees: Trees
) -> None:
    train = trees[0]
    parts = split_trials(train, test_size=0.25, stratify="odor", random_state=7)
    expected = [
        {"n_latents": size, "scaling": scaling}
        | {"score": accuracy_by_hand(made(size, scaling=scaling), *parts)}
        for size, scaling in itertools.product([1, 3], ["sqrt", "none"])
    ]
    choice = choose_settings(made(), GRID, train, label="odor", classifier=BAYES, random_state=7)
    assert [dict(row, score=0) for row in choice.scores] == [dict(row, score=0) for row in expected]
    found = [row["score"] for row in choice.scores]
    assert found == pytest.approx([row["score"] for row in expected], abs=1e-12)
    assert len(set(found)) > 1
    best = dict(choice.scores[int(np.argmax(found))])
    del best["score"]
    assert choice.settings == best


def test_the_first_of_equals_is_chosen(trees: Trees) -> None:
    grid = {"separation": [2.0, 1.0, 3.0]}
    choice = choose_settings(CodeModel(), grid, trees[0], label="odor", classifier=BAYES)
    assert [row["score"] for row in choice.scores] == [1.0, 1.0, 1.0]
    assert choice.settings == {"separation": 2.0}


def test_a_grid_of_one_is_taken_without_a_fit(trees: Trees) -> None:
    log = Log()
    for grid, expected in (({}, {}), ({"separation": [0.3]}, {"separation": 0.3})):
        choice = choose_settings(CodeModel(log=log), grid, trees[0], label="odor")
        assert (choice.settings, choice.scores) == (expected, [])
    assert not log


def test_candidates_see_part_of_the_training_trials_and_their_own_label(trees: Trees) -> None:
    log = Log()
    train = with_coordinate(trees[0], "side", lambda _, d: np.where(d["odor"] < "C", "l", "r"))
    choose_settings(
        CodeModel(log=log), {"separation": [1.0, 2.0]}, train, label="odor", fit_label="side",
        validation_size=0.5, classifier=BAYES, random_state=3,
    )  # fmt: skip
    expected, _ = split_trials(train, test_size=0.5, stratify="odor", random_state=3)
    assert [record["label"] for record in log] == ["side", "side"]
    assert [record["params"]["separation"] for record in log] == [1.0, 2.0]
    for record in log:
        for subject, data in iterate_subjects(expected):
            assert record["trials"][subject].tolist() == data["trial"].values.tolist()


def test_subjects_recorded_together_share_the_split(trees: Trees) -> None:
    train, _ = split_trials(one_tree(per_label=10), stratify="odor", simultaneous=True)
    seen = {}
    for simultaneous in (True, False):
        log = Log()
        choose_settings(
            CodeModel(log=log), {"separation": [1.0, 2.0]}, train, label="odor",
            simultaneous=simultaneous, classifier=BAYES,
        )  # fmt: skip
        ada, bob = (set(trials.tolist()) for trials in log[0]["trials"].values())
        seen[simultaneous] = ada == bob
    assert seen == {True: True, False: False}


def test_mean_accuracy_weighs_within_and_across_alike(trees: Trees) -> None:
    train, test = trees
    for model in (LabelModel(), RawCounts()):
        fitted = model.fit(train, label="odor")
        read = predict_labels(
            fitted.transform(train), fitted.transform(test), label="odor", classifier=BAYES
        )
        classes = np.array(read.classes)
        kinds: dict[str, list[float]] = {"within": [], "across": []}
        for (source, subject), probability in read.probability.items():
            kind = {subject: "within", "others": "across"}.get(source)
            if kind is not None:
                flat = classes[probability.argmax(axis=2)].ravel()
                true = np.repeat(read.trials[subject].labels, probability.shape[1])
                kinds[kind].append(balanced_accuracy_score(true, flat))
        assert all(len(found) == 2 for found in kinds.values()) == isinstance(model, LabelModel)
        expected = np.mean([np.mean(found) for found in kinds.values() if found])
        assert mean_accuracy(read) == pytest.approx(expected)


# --- What tuning may not see --------------------------------------------------------------------


def scrambled_labels(_: str, data: xr.Dataset) -> xr.Dataset:
    order = np.random.default_rng(0).permutation(data.sizes["trial"])
    return data.assign_coords(odor=("trial", data["odor"].values[order]))


def scrambled_counts(_: str, data: xr.Dataset) -> xr.Dataset:
    counts = np.random.default_rng(0).permutation(data["counts"].values)
    return data.assign(counts=(data["counts"].dims, counts))


@pytest.mark.parametrize("scramble", [scrambled_labels, scrambled_counts])
def test_test_trials_have_no_say_in_the_choice(scramble: Any, trees: Trees) -> None:
    train, test = trees
    asked: dict[str, Any] = {"label": "odor", "tune": {"aligned": GRID}} | QUICK
    found = [
        evaluate(windows, {"aligned": ProcrustesPCA()}, cv=[(train, held_out)], **asked).dataset
        for windows, held_out in ((train, test), (train, map_subjects(test, scramble)))
    ]
    for name in ("settings", "tuning"):
        assert found[0][name].values.tolist() == found[1][name].values.tolist()
    assert not np.allclose(found[0]["headline"], found[1]["headline"])  # the scores did change
    scores = json.loads(found[0]["tuning"].item())
    choice = choose_settings(ProcrustesPCA(), GRID, train, label="odor", classifier=BAYES)
    assert scores == choice.scores
    assert json.loads(found[0]["settings"].item()) == choice.settings


def test_the_chosen_settings_are_those_that_are_fitted_and_judged(trees: Trees) -> None:
    log = Log()
    scores = evaluate(
        trees[0], {"code": CodeModel(log=log), "plain": CodeModel(0.0)}, label="odor", cv=2,
        tune={"code": {"separation": [0.0, 1.0]}}, **QUICK,
    ).dataset  # fmt: skip
    assert [record["params"]["separation"] for record in log] == [0.0, 1.0, 1.0] * 2
    assert scores["settings"].sel(model="code").values.tolist() == ['{"separation": 1.0}'] * 2
    assert scores["settings"].sel(model="plain").values.tolist() == ["{}"] * 2
    assert scores["headline"].sel(model="code").values.tolist() == [[1, 1], [1, 1]]


def test_baselines_come_with_grids_of_their_own(trees: Trees) -> None:
    scores = evaluate(
        trees[0], {}, label="odor", cv=0.3, baselines=["raw counts"], tune="baselines", **QUICK
    ).dataset
    tried = json.loads(scores["tuning"].item())
    assert [{"scaling": row["scaling"]} for row in tried] == grid_candidates(
        RawCounts(), BASELINES["raw counts"].grid
    )


def test_settings_are_written_as_the_numbers_they_are(trees: Trees) -> None:
    scores = evaluate(
        trees[0], {"aligned": ProcrustesPCA()}, label="odor", cv=0.3,
        tune={"aligned": {"n_latents": np.arange(2, 4)}}, **QUICK,
    ).dataset  # fmt: skip
    assert json.loads(scores["settings"].item())["n_latents"] in {2, 3}


# --- What fails ---------------------------------------------------------------------------------


def test_candidates_that_fail_are_passed_over(trees: Trees) -> None:
    model = CodeModel(fails_below=1.5)
    grid = {"separation": [0.5, 1.5, 1.0]}
    choice = choose_settings(model, grid, trees[0], label="odor", classifier=BAYES)
    assert choice.settings == {"separation": 1.5}
    scores = [row["score"] for row in choice.scores]
    assert np.isnan(scores).tolist() == [True, False, True]
    assert scores[1] == 1.0


def test_if_all_candidates_fail_the_last_message_is_told(trees: Trees) -> None:
    model = CodeModel(fails_below=5.0)
    said = (
        r"no setting of the grid could be fitted; the last failed: separation 2\.0 is too small\."
    )
    with pytest.raises(TrainingError, match=f"^{said}$"):
        choose_settings(model, {"separation": [1.0, 2.0]}, trees[0], label="odor")
    whole = rf"^no method could be fitted: 'CodeModel' \({said}\)$"
    with pytest.raises(TrainingError, match=whole):
        evaluate(
            trees[0], model, label="odor", cv=2, tune={"CodeModel": {"separation": [1.0, 2.0]}},
            **QUICK,
        )  # fmt: skip


def test_errors_that_are_not_ours_are_not_hidden(trees: Trees) -> None:
    with pytest.raises(TypeError):
        choose_settings(CodeModel(), {"separation": ["wide", 1.0]}, trees[0], label="odor")


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (
            {"width": [1], "depth": [2]},
            r"^tune names 'depth', 'width', which CodeModel does not have; it has fails_below, log, separation\.$",
        ),
        ({"separation": "wide"}, r"^tune expects a list of values for 'separation'\.$"),
        ({"separation": []}, r"^tune expects a list of values for 'separation'\.$"),
        (
            {"separation": [1.0], "fails_below": "low", "log": []},
            r"^tune expects a list of values for 'fails_below', 'log'\.$",
        ),
    ],
)
def test_grids_that_do_not_fit_are_refused(
    grid: dict[str, Any], message: str, trees: Trees
) -> None:
    with pytest.raises(ParameterError, match=message):
        grid_candidates(CodeModel(), grid)
    with pytest.raises(ParameterError, match=message):
        choose_settings(CodeModel(), grid, trees[0], label="odor")


def test_a_number_instead_of_a_list_is_refused() -> None:
    with pytest.raises(ParameterError, match="tune expects a list of values for 'separation'"):
        grid_candidates(CodeModel(), {"separation": 1.0})  # type: ignore[dict-item]


def test_candidates_are_in_the_order_of_the_grid() -> None:
    found = grid_candidates(CodeModel(), {"separation": [2, 1], "fails_below": (0, 9)})
    assert [tuple(row.values()) for row in found] == [(2, 0), (2, 9), (1, 0), (1, 9)]
    assert grid_candidates(CodeModel(), {}) == [{}]
