"""Evaluate: the numbers of the single functions, on the same trials, whoever stands beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import xarray as xr
from analysis_examples import LabelModel
from evaluation_examples import BAYES, QUICK, CodeModel, Log, one_tree, only, with_coordinate

from neuroalign.analysis.aligners import ProcrustesPCA, RawCounts
from neuroalign.analysis.crossvalidation import cross_validate
from neuroalign.analysis.decoding import decode_labels
from neuroalign.analysis.evaluation import Evaluation, evaluate
from neuroalign.analysis.imputation import reconstruction_scores, score_imputation
from neuroalign.data.splits import kfold_trials, split_trials
from neuroalign.errors import DataError, DataWarning, ParameterError, TrainingError
from neuroalign.model import SharedLatentModel
from neuroalign.schema import build_tree, iterate_subjects, map_subjects

DECODED = ("accuracy", "interval", "chance", "p_value", "confusion", "predicted")
READ_TRIALS = ("test_trial_subject", "test_trial_id", "test_trial_label", "test_trial_fold")
IMPUTED = (
    "bits_per_spike",
    "correlation",
    "correlation_unit",
    "coherence_window",
    "coherence_trial",
    "real_coherence",
)
SHARED = SharedLatentModel(
    2,
    likelihood="gaussian",
    max_epochs=2,
    validation_fraction=0,
    encoder_hidden=(8,),
    decoder_hidden=(8,),
    random_state=0,
    verbose=False,
)


@pytest.fixture(scope="module")
def windows() -> xr.DataTree:
    return one_tree(per_label=8, strength=0.6)


def assert_same(found: xr.Dataset, expected: xr.Dataset, names: tuple[str, ...]) -> None:
    """The same numbers, by the names of the coordinates; sums may differ in their last digit."""
    for name in names:
        wanted = expected[name]
        given = found[name].sel({dim: wanted[dim] for dim in wanted.dims if dim in wanted.indexes})
        values = given.transpose(*wanted.dims).values
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(values, wanted.values, rtol=1e-12, err_msg=name)
        else:
            np.testing.assert_array_equal(values, wanted.values, name)


def decoded_alike(first: xr.Dataset, second: xr.Dataset) -> None:
    """All but the seconds is the same, up to the last digits of sums in another order."""
    second = second.sel({dim: first[dim] for dim in first.dims if dim in first.indexes})
    for name in set(first.data_vars) - {"seconds"}:
        if first[name].dtype.kind == "f":
            np.testing.assert_allclose(first[name].values, second[name].values, atol=1e-9)


# --- The same numbers as the single functions ---------------------------------------------------


@pytest.mark.parametrize("model", [LabelModel(), SHARED], ids=["label model", "shared latents"])
def test_one_split_gives_what_the_single_functions_give(model: Any, windows: xr.DataTree) -> None:
    asked: dict[str, Any] = {"label": "odor", "classifier": BAYES, "random_state": 4}
    repeats = {"permutations": 99, "bootstraps": 50}
    result = evaluate(windows, {"model": model}, cv=0.3, **asked, **repeats).dataset
    found = result.sel(model="model")
    train, test = split_trials(windows, test_size=0.3, stratify="odor", random_state=4)
    fitted = type(model)(**model.get_params()).fit(train, label="odor")
    scores = decode_labels(fitted.transform(train), fitted.transform(test), **asked, **repeats)
    assert_same(found, scores, (*DECODED, *READ_TRIALS))
    imputed = score_imputation(fitted, train, test, bootstraps=50, **asked)
    assert_same(found, imputed, IMPUTED)
    bits = imputed["bits_per_spike"]
    above = (bits.sel(kind="imputed") - bits.sel(kind="floor")).values
    np.testing.assert_allclose(found["above_floor"].values, above, atol=1e-12)
    own = reconstruction_scores(fitted, train, test, bootstraps=50, random_state=4)
    own = own.rename(bits_per_spike="bits_reconstructed", interval="bits_reconstructed_interval")
    assert_same(found, own, ("bits_reconstructed", "bits_reconstructed_interval"))
    assert result.attrs["folds"] == 1
    assert result.attrs["protocol"] == "held-out trials"


def test_folds_give_what_cross_validate_gives(windows: xr.DataTree) -> None:
    asked: dict[str, Any] = {"label": "odor", "random_state": 3} | QUICK
    models = {"label": LabelModel(), "raw": RawCounts(), "PCA + Procrustes": ProcrustesPCA(3)}
    result = evaluate(windows, models, cv=4, imputation=False, **asked).dataset
    for name, model in models.items():
        scores = cross_validate(model, windows, n_splits=4, **asked)
        assert_same(result.sel(model=name), scores, (*DECODED, *READ_TRIALS))
    assert result["train_subject"].size == 3
    assert np.isnan(result["accuracy"].sel(model="raw", train_subject="others")).all()


def test_simultaneous_trials_are_split_together_and_imputed_one_by_one(
    windows: xr.DataTree,
) -> None:
    asked: dict[str, Any] = {"label": "odor", "classifier": BAYES, "random_state": 1}
    found = evaluate(
        windows, LabelModel(), cv=0.3, simultaneous=True, permutations=0, bootstraps=0, **asked
    ).dataset.sel(model="LabelModel")
    train, test = split_trials(
        windows, test_size=0.3, stratify="odor", simultaneous=True, random_state=1
    )
    model = LabelModel().fit(train, label="odor")
    imputed = score_imputation(model, train, test, match="trial", bootstraps=0, **asked)
    assert_same(found, imputed, IMPUTED)
    by_label = score_imputation(model, train, test, bootstraps=0, **asked)
    assert not np.allclose(by_label["bits_per_spike"], imputed["bits_per_spike"], equal_nan=True)


def test_baselines_are_those_of_the_list_with_their_defaults(windows: xr.DataTree) -> None:
    asked: dict[str, Any] = {"label": "odor", "cv": 0.3, "imputation": False} | QUICK
    named = evaluate(windows, {}, baselines=["PCA + Procrustes", "raw counts"], **asked)
    assert named.models == ["PCA + Procrustes", "raw counts"]
    models = {"PCA + Procrustes": ProcrustesPCA(), "raw counts": RawCounts()}
    given = evaluate(windows, models, **asked)
    decoded_alike(named.dataset, given.dataset)
    assert evaluate(windows, models, baselines=None, **asked).models == given.models
    assert not {"bits_per_spike", "bits_reconstructed"} & set(named.dataset)


# --- Trials, seeds, processes, order ------------------------------------------------------------


def test_every_trial_is_tested_once_and_all_models_see_the_same_folds(
    windows: xr.DataTree,
) -> None:
    logs = {"first": Log(), "second": Log()}
    models = {name: CodeModel(log=log) for name, log in logs.items()}
    result = evaluate(windows, models, label="odor", cv=3, **QUICK).dataset
    folds = list(kfold_trials(windows, n_splits=3, stratify="odor", random_state=0))
    for log in logs.values():
        assert len(log) == 3
        for record, (train, _) in zip(log, folds, strict=True):
            for subject, trials in record["trials"].items():
                assert trials.tolist() == train[subject]["trial"].values.tolist()
    for subject, data in iterate_subjects(windows):
        mine = result["test_trial_subject"].values == subject
        ids, number = (result[n].values[mine] for n in ("test_trial_id", "test_trial_fold"))
        assert sorted(ids) == data["trial"].values.tolist()
        for fold, (_, test) in enumerate(folds):
            assert sorted(ids[number == fold]) == test[subject]["trial"].values.tolist()
        labels = data["odor"].to_series()
        assert result["test_trial_label"].values[mine].tolist() == labels[ids].tolist()


@pytest.mark.slow
def test_numbers_do_not_depend_on_the_number_of_processes(windows: xr.DataTree) -> None:
    asked: dict[str, Any] = {
        "label": "odor",
        "cv": 2,
        "tune": {"aligned": {"n_latents": [2, 3]}},
        "leave_label_out": ["A"],
        "model_permutations": 1,
    } | QUICK
    models = {"aligned": ProcrustesPCA(), "raw": RawCounts()}
    one, two = (evaluate(windows, models, n_jobs=n, **asked).dataset for n in (1, 2))
    xr.testing.assert_identical(one.drop_vars("seconds"), two.drop_vars("seconds"))


def test_numbers_do_not_depend_on_the_order_of_subjects(windows: xr.DataTree) -> None:
    asked: dict[str, Any] = {"label": "odor", "cv": 2, "leave_label_out": ["B"]} | QUICK
    turned = build_tree(dict(reversed(list(iterate_subjects(windows)))))
    models = {"model": LabelModel(), "aligned": ProcrustesPCA(2)}
    first, second = (evaluate(tree, models, **asked).dataset for tree in (windows, turned))
    decoded_alike(first, second)


def test_seeds_decide_and_nothing_else_is_touched(windows: xr.DataTree) -> None:
    asked: dict[str, Any] = {"label": "odor", "cv": 0.3, "imputation": False} | QUICK
    before, state = windows.copy(deep=True), np.random.get_state()[1].copy()  # noqa: NPY002
    model = LabelModel()
    one = evaluate(windows, model, random_state=1, **asked).dataset
    again = evaluate(windows, model, random_state=1, **asked).dataset
    other = evaluate(windows, model, random_state=2, **asked).dataset
    xr.testing.assert_identical(one.drop_vars("seconds"), again.drop_vars("seconds"))
    assert set(one["test_trial_id"].values) != set(other["test_trial_id"].values)
    xr.testing.assert_identical(windows, before)
    assert not [name for name in vars(model) if name.endswith("_")]
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_each_fit_is_reported(windows: xr.DataTree) -> None:
    lines: list[str] = []
    evaluate(
        windows, {"a": CodeModel(), "b": CodeModel()}, label="odor", cv=2, leave_label_out=["A"],
        model_permutations=1, progress=lines.append, **QUICK,
    )  # fmt: skip
    fits = ["1/4 a", "2/4 a", "3/4 b", "4/4 b"]
    null = [f"{n}/2 {name}, permutation 0" for name in "ab" for n in (1, 2)]
    assert lines == fits + fits + null


def test_own_splits_are_taken_as_they_are(windows: xr.DataTree) -> None:
    folds = list(kfold_trials(windows, n_splits=2, stratify="odor", random_state=7))
    asked: dict[str, Any] = {"label": "odor"} | QUICK
    given = evaluate(windows, LabelModel(), cv=folds, random_state=7, **asked).dataset
    made = evaluate(windows, LabelModel(), cv=2, random_state=7, **asked).dataset
    xr.testing.assert_identical(given.drop_vars("seconds"), made.drop_vars("seconds"))


def test_own_splits_can_be_tested_against_the_model_null(windows: xr.DataTree) -> None:
    folds = list(kfold_trials(windows, n_splits=2, stratify="odor", random_state=0))
    asked: dict[str, Any] = {"label": "odor", "model_permutations": 1} | QUICK
    given = evaluate(windows, CodeModel(), cv=folds, **asked).dataset
    made = evaluate(windows, CodeModel(), cv=2, **asked).dataset
    np.testing.assert_array_equal(given["model_null"].values, made["model_null"].values)


def test_splits_that_test_a_trial_twice_are_refused(windows: xr.DataTree) -> None:
    splits = [split_trials(windows, stratify="odor", random_state=seed) for seed in (0, 1)]
    with pytest.raises(DataError, match="once"):
        evaluate(windows, CodeModel(), label="odor", cv=splits, **QUICK)


# --- A label left out ---------------------------------------------------------------------------


class CautiousModel(CodeModel):
    """Has the setting that lets a subject lack a label."""

    def __init__(self, *, allow_missing: bool = False, log: Log | None = None) -> None:
        self.separation, self.fails_below = 1.0, -1.0
        self.allow_missing = allow_missing
        self.log = log


class ScatteringModel(CodeModel):
    """Puts a label that is paired with nobody where no other subject has it."""

    def fit(self, windows: xr.DataTree, *, label: str) -> Self:
        super().fit(windows, label=label)
        self.alone_ = {
            subject: labels[values == f"{value} of {subject}"]
            for subject, labels in self.fitted_["odor"].items()
            for values in [self.fitted_["labels"][subject]]
            for value in "ABCD"
            if (values == f"{value} of {subject}").any()
        }
        return self

    def _latents(self, subject: str, data: xr.Dataset) -> xr.Dataset:
        latents = super()._latents(subject, data)
        away = np.isin(data["odor"].values, self.alone_.get(subject, []))
        # beyond B for ada, beyond C for bob: each reads the other's A as one of these
        elsewhere = 2.0 * np.eye(4)[1 if subject == "ada" else 2] - np.eye(4)[0]
        mean = latents["mean"].values + away[:, None, None] * elsewhere
        return latents.assign(mean=(latents["mean"].dims, mean))


def test_a_label_that_is_left_out_is_paired_with_nobody(windows: xr.DataTree) -> None:
    log = Log()
    evaluate(windows, CautiousModel(log=log), label="odor", cv=2, leave_label_out="all", **QUICK)
    folds = list(kfold_trials(windows, n_splits=2, stratify="odor", random_state=0))
    assert [record["label"] for record in log] == ["odor"] * 2 + ["paired_label"] * 8
    assert [record["params"]["allow_missing"] for record in log] == [False] * 2 + [True] * 8
    asked = [(value, train) for value in "ABCD" for train, _ in folds]
    for record, (value, train) in zip(log[2:], asked, strict=True):
        for subject, data in iterate_subjects(train):
            assert record["trials"][subject].tolist() == data["trial"].values.tolist()
            odor = data["odor"].values
            expected = np.where(odor == value, f"{value} of {subject}", odor)
            assert record["labels"][subject].tolist() == expected.tolist()
        mine, theirs = (set(labels.tolist()) for labels in record["labels"].values())
        assert mine & theirs == set("ABCD") - {value}


def test_a_shared_code_is_read_and_a_scattered_one_is_not(windows: xr.DataTree) -> None:
    models = {"shared": CodeModel(), "scattered": ScatteringModel()}
    result = evaluate(windows, models, label="odor", cv=2, leave_label_out=["A"], **QUICK)
    read = result.dataset["left_out"].sel(left_out_label="A")
    assert (read.sel(model="shared") == 1).all()
    assert (read.sel(model="scattered", scope="within") == 1).all()
    assert (read.sel(model="scattered", scope="across") == 0).all()
    alarms = result.dataset["left_out_false_alarms"].sel(left_out_label="A")
    assert (alarms.sel(model="shared") == 0).all()
    headline = result.dataset["headline"].sel(level="trial")
    assert (headline == 1).all()  # with all labels paired, both are read


def test_labels_of_test_trials_have_no_say_in_what_is_read(windows: xr.DataTree) -> None:
    ((train, test),) = [split_trials(windows, test_size=0.4, stratify="odor", random_state=0)]

    def relabelled(_: str, data: xr.Dataset) -> xr.Dataset:
        odor = data["odor"].values.copy()
        rest = np.flatnonzero(odor != "A")
        odor[rest] = odor[rest[::-1]]
        return data.assign_coords(odor=("trial", odor))

    asked: dict[str, Any] = {"label": "odor", "leave_label_out": ["A"]} | QUICK
    found = []
    for held_out in (test, map_subjects(test, relabelled)):
        log = Log()
        model = {"real": LabelModel(), "recorded": CodeModel(log=log)}
        scores = evaluate(windows, model, cv=[(train, held_out)], **asked).dataset
        found.append((scores["left_out"].sel(model="real"), log))
    np.testing.assert_array_equal(found[0][0].values, found[1][0].values)
    for first, second in zip(found[0][1], found[1][1], strict=True):
        for subject in ("ada", "bob"):
            assert first["labels"][subject].tolist() == second["labels"][subject].tolist()


@pytest.mark.parametrize(
    "folds",
    [4, 5],
)
def test_a_rare_label_can_be_left_out(folds: int, windows: xr.DataTree) -> None:
    rare = only(windows, lambda d: (d["odor"].values != "D") | (d["trial"].values < 16))
    assert [int((data["odor"] == "D").sum()) for _, data in iterate_subjects(rare)] == [4, 4]
    result = evaluate(rare, CodeModel(), label="odor", cv=folds, leave_label_out=["D"], **QUICK)
    assert (result.dataset["left_out"] == 1).all()


# --- What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": "model"}, r"model 'str' must be an estimator with get_params, fit and transf"),
        ({"models": {}}, "expected at least one model or baseline, got none"),
        ({"baselines": "PCA"}, r"^baselines must be 'all' or among '.*', got 'PCA'\.$"),
        ({"baselines": ["UMAP"]}, r"'logit latents', got \['UMAP'\]\.$"),
        (
            {"models": {"PCA": CodeModel()}, "baselines": ["PCA"]},
            r"^'PCA' is a model and a baseline; rename the model\.$",
        ),
        ({"tune": "all"}, r"^tune must be a mapping or 'baselines', got 'all'\.$"),
        (
            {"tune": {"Code": {}}},
            r"^tune names 'Code', which is no method here; there are 'CodeModel'\.$",
        ),
        (
            {"tune": {"CodeModel": {"width": [1]}}},
            r"^tune names 'width', which CodeModel does not have; it has fails_below, log, separ",
        ),
        ({"leave_label_out": ["Z"]}, r"that all subjects have \(A, B, C, D\), got 'Z'\.$"),
        (
            {"model_null_of": "classifier"},
            r"^model_null_of must be one of 'fit', 'fit and classifier', got 'classifier'\.$",
        ),
        ({"permutations": -1}, "permutations must be a whole number of at least 0, got -1"),
        ({"model_permutations": 1.5}, "model_permutations must be a whole number .* got 1.5"),
        ({"bootstraps": True}, "bootstraps must be a whole number of at least 0, got True"),
        ({"cv": True}, r"^cv must be a number of folds, a share of test trials .* got True\.$"),
        ({"cv": []}, r"a list of \(train, test\) trees, got \[\]\.$"),
        ({"cv": "5"}, "cv must be a number of folds"),
        ({"cv": 1.0}, "test_size as a fraction must lie between 0 and 1, got 1.0"),
        ({"cv": 1}, "n_splits must be a whole number of at least 2, got 1"),
        ({"random_state": -1}, "random_state must not be negative"),
    ],
)
def test_bad_arguments_are_refused(
    changes: dict[str, Any], message: str, windows: xr.DataTree
) -> None:
    arguments: dict[str, Any] = {"models": CodeModel(), "label": "odor"} | changes
    with pytest.raises(ParameterError, match=message):
        evaluate(windows, **arguments)


def test_data_that_cannot_be_judged_are_refused(windows: xr.DataTree) -> None:
    with pytest.raises(DataError, match="got 32 shared for subject 'ada'"):
        evaluate(windows, CodeModel(), label="odor", cv=[(windows, windows)])
    with pytest.raises(DataError, match="no trial label 'side' for subject 'ada'"):
        evaluate(windows, CodeModel(), label="side")
    with pytest.raises(DataError, match=r"windows must be an xarray\.DataTree"):
        evaluate({"ada": 1}, CodeModel(), label="odor")  # type: ignore[arg-type]


def test_fit_and_decoding_can_have_labels_of_their_own(windows: xr.DataTree) -> None:
    sided = with_coordinate(
        windows, "side", lambda _, d: np.where(np.isin(d["odor"].values, ["A", "B"]), "l", "r")
    )
    log = Log()
    result = evaluate(sided, CodeModel(log=log), label="odor", fit_label="side", cv=0.3, **QUICK)
    assert [record["label"] for record in log] == ["side"]
    assert set(result.dataset["true_label"].values) == set("ABCD")
    assert (result.dataset.attrs["label"], result.dataset.attrs["fit_label"]) == ("odor", "side")


class WholeModel(CodeModel):
    """Refuses trials that have no partner."""

    def fit(self, windows: xr.DataTree, *, label: str) -> Self:
        if label == "paired_label":
            raise DataError("a label is missing.")
        return super().fit(windows, label=label)


def test_a_method_that_cannot_do_without_a_label_costs_the_others_nothing(
    windows: xr.DataTree,
) -> None:
    models = {"code": CodeModel(), "whole": WholeModel()}
    said = r"^WholeModel cannot be fitted without label 'A': a label is missing\.$"
    with pytest.warns(DataWarning, match=said):
        result = evaluate(windows, models, label="odor", leave_label_out=["A"], **QUICK)
    left_out = result.dataset["left_out"]
    assert np.isfinite(left_out.sel(model="code")).all()
    assert np.isnan(left_out.sel(model="whole")).all()
    assert np.isfinite(result.dataset["headline"].sel(model="whole")).all()


class BrokenModel(CodeModel):
    """Can never be fitted."""

    def fit(self, windows: xr.DataTree, *, label: str) -> Self:
        raise TrainingError("the loss is not finite.")


def test_a_method_that_fails_is_left_out_and_the_others_stay(
    windows: xr.DataTree, tmp_path: Path
) -> None:
    whole = evaluate(windows, {"code": CodeModel()}, label="odor", **QUICK)
    assert whole.left_out_methods == {}
    said = r"^left out, since they could not be fitted: 'broken' \(the loss is not finite\.\)$"
    with pytest.warns(DataWarning, match=said):
        result = evaluate(
            windows, {"broken": BrokenModel(), "code": CodeModel()}, label="odor", **QUICK
        )
    assert result.models == ["code"]
    assert result.left_out_methods == {"broken": "the loss is not finite."}
    loaded = Evaluation.load(result.save(tmp_path / "scores.nc"))
    assert loaded.left_out_methods == result.left_out_methods
    for one in (result, whole):
        del one.dataset.attrs["left_out_methods"]
    xr.testing.assert_identical(
        result.dataset.drop_vars("seconds"), whole.dataset.drop_vars("seconds")
    )
    assert result.left_out_methods == {}  # as in files of earlier versions


class MissetModel(CodeModel):
    """Cannot be fitted as it is set."""

    def __init__(self, error: type[Exception] = ParameterError, *, log: Log | None = None) -> None:
        super().__init__(log=log)
        del self.separation, self.fails_below
        self.error = error

    def fit(self, windows: xr.DataTree, *, label: str) -> Self:
        raise self.error("it is set wrongly.")


@pytest.mark.parametrize("error", [ParameterError, DataError])
def test_what_a_user_has_to_mend_ends_the_evaluation(
    error: type[Exception], windows: xr.DataTree
) -> None:
    models = {"code": CodeModel(), "misset": MissetModel(error)}
    with pytest.raises(error, match=r"^method 'misset': it is set wrongly\.$"):
        evaluate(windows, models, label="odor", **QUICK)


def test_parameters_of_shared_latent_models_are_checked_before_any_fit(
    windows: xr.DataTree,
) -> None:
    log = Log()
    models = {"code": CodeModel(log=log), "ours": SharedLatentModel(2, beta=-1.0)}
    with pytest.raises(ParameterError, match=r"^beta must be .* got -1\.0\.$"):
        evaluate(windows, models, label="odor", **QUICK)
    models["ours"] = SharedLatentModel(2)
    with pytest.raises(ParameterError, match=r"^dropout must be at least 0 and below 1, got 2\.$"):
        evaluate(windows, models, label="odor", tune={"ours": {"dropout": [0.1, 2]}}, **QUICK)
    assert not log


def test_a_classifier_that_is_none_ends_the_evaluation(windows: xr.DataTree) -> None:
    asked = QUICK | {"classifier": "bayes"}
    with pytest.raises(ParameterError, match=r"^method 'CodeModel': classifier must be"):
        evaluate(windows, CodeModel(), label="odor", **asked)


def test_a_baseline_that_the_data_do_not_allow_is_left_out(windows: xr.DataTree) -> None:
    """Nobody chose its eight components, so that there is nothing for a user to mend."""
    few = map_subjects(windows, lambda _, d: d.isel(unit=slice(0, 1)))  # 4 features each
    said = r"^left out, .*: 'PCA' \(n_latents must lie between 1 and 4 for subject 'ada'"
    with pytest.warns(DataWarning, match=said):
        result = evaluate(
            few, {}, label="odor", baselines=["PCA", "raw counts"], imputation=False, **QUICK
        )
    assert result.models == ["raw counts"]
    assert list(result.left_out_methods) == ["PCA"]


class BlindModel(CodeModel):
    """Its latents are no numbers."""

    def _latents(self, subject: str, data: xr.Dataset) -> xr.Dataset:
        return super()._latents(subject, data) * np.nan


def test_latents_that_are_no_numbers_leave_a_method_out(windows: xr.DataTree) -> None:
    models = {"code": CodeModel(), "blind": BlindModel()}
    with pytest.warns(DataWarning, match=r"'blind' \(expected finite latents"):
        result = evaluate(windows, models, label="odor", **QUICK)
    assert result.models == ["code"]


def test_when_every_method_fails_the_error_names_all(windows: xr.DataTree) -> None:
    models = {"one": BrokenModel(), "two": BrokenModel()}
    said = (
        r"^no method could be fitted: 'one' \(the loss is not finite\.\); "
        r"'two' \(the loss is not finite\.\)$"
    )
    with pytest.raises(TrainingError, match=said):
        evaluate(windows, models, label="odor", **QUICK)
