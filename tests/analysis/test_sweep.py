"""Sweeps: the numbers of evaluate, one table, the same after a kill, and no other sweep's."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from analysis_examples import LabelModel
from evaluation_examples import BAYES, CodeModel, Log, one_tree, with_coordinate
from sklearn.naive_bayes import GaussianNB

from neuroalign.analysis.aligners import LogitLatents, ProcrustesPCA, RawCounts, SharedResponse
from neuroalign.analysis.evaluation import evaluate
from neuroalign.analysis.sweep import _batches, run_tasks, sweep
from neuroalign.analysis.sweep_folder import Task, data_fingerprint, row_path, write_text
from neuroalign.errors import DataError, ParameterError
from neuroalign.model import SharedLatentModel
from neuroalign.schema import build_tree, iterate_subjects, map_subjects

GRID = {"ridge": [1.0, 100.0], "sharpness": [4.0]}
SCORES = [
    "within_window", "within_trial", "across_window", "across_trial", "chance", "bits_imputed",
    "bits_floor", "bits_ceiling", "above_floor", "coherence_window", "coherence_trial",
    "bits_reconstructed", "alignment",
]  # fmt: skip
SECONDS = ["seconds", "seconds_scoring"]
ASKED: dict[str, Any] = {"label": "odor", "classifier": BAYES}


@pytest.fixture(scope="module")
def windows() -> xr.DataTree:
    return one_tree(per_label=6, strength=0.6)


@pytest.fixture(scope="module")
def whole(windows: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("sweep") / "new" / "folder"
    return folder, sweep(windows, LabelModel(), GRID, out=folder, seeds=[3, 4], **ASKED)


def assert_same_tables(first: pd.DataFrame, second: pd.DataFrame) -> None:
    """All but the seconds are the same in every digit."""
    pd.testing.assert_frame_equal(
        first.drop(columns=SECONDS), second.drop(columns=SECONDS), check_exact=True
    )


def rows_on_disk(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text("utf-8") for file in (folder / "rows").iterdir()}


class Fragile(LabelModel):
    """Is killed at its n-th fit, counted over all of a test."""

    def __init__(
        self, ridge: float = 10.0, *, log: Log | None = None, killed_at: Log | None = None
    ) -> None:
        super().__init__(ridge=ridge)
        del self.sharpness
        self.log = log
        self.killed_at = killed_at

    def fit(self, windows: xr.DataTree, *, label: str) -> Self:
        assert self.log is not None
        self.log.append(self.ridge)
        if len(self.log) in (self.killed_at or []):
            raise KeyboardInterrupt
        self.sharpness = 4.0
        super().fit(windows, label=label)
        return self


# --- The table ----------------------------------------------------------------------------------


def test_the_table_has_a_row_per_fit_and_says_what_it_is(whole: Any) -> None:
    _, table = whole
    assert table.columns.tolist() == [
        "model",
        "ridge",
        "sharpness",
        "seed",
        *SCORES,
        "seconds",
        "seconds_scoring",
        "error",
    ]
    assert table[["ridge", "seed"]].values.tolist() == [[1, 3], [1, 4], [100, 3], [100, 4]]
    assert (table["model"] == "LabelModel").all()
    assert (table["error"] == "").all()
    assert (table["chance"] == 0.25).all()
    assert table["alignment"].isna().all()  # this model measures none
    assert (table[SECONDS] > 0).all().all()
    np.testing.assert_allclose(
        table["above_floor"], table["bits_imputed"] - table["bits_floor"], atol=1e-12
    )
    assert not table[SCORES[:-1]].isna().any().any()


def test_the_file_is_the_table(whole: Any) -> None:
    folder, table = whole
    read = pd.read_csv(folder / "table.csv")
    assert read.pop("error").isna().all()  # empty text
    expected = table.drop(columns="error")
    pd.testing.assert_frame_equal(read, expected, check_dtype=False, check_exact=True)
    assert sorted(file.name for file in folder.iterdir()) == ["rows", "sweep.json", "table.csv"]
    assert len(rows_on_disk(folder)) == 4


def test_a_row_is_what_evaluate_says_of_one_split(whole: Any, windows: xr.DataTree) -> None:
    for _, row in whole[1].iterrows():
        model = LabelModel(ridge=row["ridge"])
        scores = evaluate(
            windows, model, cv=0.25, random_state=int(row["seed"]), permutations=0, bootstraps=0,
            **ASKED,
        ).dataset.sel(model="LabelModel")  # fmt: skip
        for scope in ("within", "across"):
            for level in ("window", "trial"):
                expected = scores["headline"].sel(scope=scope, level=level).item()
                assert row[f"{scope}_{level}"] == expected
        bits = scores["bits_per_spike"].mean(("source", "target"))
        for kind in ("imputed", "floor", "ceiling"):
            assert row[f"bits_{kind}"] == bits.sel(kind=kind).item()
        assert row["above_floor"] == scores["above_floor"].mean().item()
        assert row["bits_reconstructed"] == scores["bits_reconstructed"].mean().item()
        for level in ("window", "trial"):
            coherence = scores[f"coherence_{level}"].sel(kind="imputed").mean().item()
            assert row[f"coherence_{level}"] == coherence


def test_the_seed_is_that_of_split_and_fit(windows: xr.DataTree, tmp_path: Path) -> None:
    model = SharedResponse(2, n_init=1, random_state=99)
    table = sweep(
        windows, model, {"scaling": ["sqrt"]}, out=tmp_path, seeds=[5], test_size=0.4, **ASKED
    )
    scores = evaluate(
        windows, SharedResponse(2, n_init=1, scaling="sqrt", random_state=5), cv=0.4,
        random_state=5, permutations=0, bootstraps=0, **ASKED,
    ).dataset  # fmt: skip
    found = table[["within_window", "within_trial", "across_window", "across_trial"]].values
    assert found.ravel().tolist() == scores["headline"].values.ravel().tolist()
    assert model.random_state == 99


def test_all_models_and_settings_see_the_same_trials(windows: xr.DataTree, tmp_path: Path) -> None:
    logs = {"first": Log(), "second": Log()}
    models = {name: CodeModel(log=log) for name, log in logs.items()}
    table = sweep(
        windows, models, {"first": {"separation": [1.0, 2.0]}}, out=tmp_path, seeds=[0, 1], **ASKED
    )
    assert table["model"].tolist() == ["first"] * 4 + ["second"] * 2
    assert table["separation"].tolist()[:4] == [1.0, 1.0, 2.0, 2.0]
    assert table["separation"].isna().tolist() == [False] * 4 + [True] * 2
    first, second = (
        [{name: set(t.tolist()) for name, t in record["trials"].items()} for record in log]
        for log in logs.values()
    )
    assert first[0] == first[2] == second[0]
    assert first[1] == first[3] == second[1]
    assert first[0] != first[1]
    assert "bits_imputed" not in table  # no model imputes


@pytest.mark.slow
def test_several_processes_make_the_same_table(
    whole: Any, windows: xr.DataTree, tmp_path: Path
) -> None:
    lines: list[str] = []
    table = sweep(
        windows, LabelModel(), GRID, out=tmp_path, seeds=[3, 4], n_jobs=2, progress=lines.append,
        **ASKED,
    )  # fmt: skip
    assert_same_tables(table, whole[1])
    across = [f"{value:.2f}" for value in table["across_trial"]]
    assert lines == [
        f"{number}/4 LabelModel {{'ridge': {ridge}, 'sharpness': 4.0}} seed {seed}: across {value}"
        for number, (ridge, seed, value) in enumerate(
            zip(table["ridge"], table["seed"], across, strict=True), start=1
        )
    ]


# --- Going on -----------------------------------------------------------------------------------


def test_a_killed_sweep_goes_on_where_it_was(
    whole: Any, windows: xr.DataTree, tmp_path: Path
) -> None:
    log = Log()
    asked: dict[str, Any] = {"grid": {"ridge": [1.0, 100.0]}, "seeds": [3, 4], "out": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        sweep(windows, Fragile(log=log, killed_at=Log([3])), **asked, **ASKED)
    assert log == [1.0, 1.0, 100.0]
    kept = rows_on_disk(tmp_path)
    assert len(kept) == 2
    assert not (tmp_path / "table.csv").exists()
    table = sweep(windows, Fragile(log=log, killed_at=Log()), **asked, **ASKED)
    assert log[3:] == [100.0, 100.0]  # only what was missing
    now = rows_on_disk(tmp_path)
    assert {name: now[name] for name in kept} == kept
    assert len(now) == 4
    uninterrupted = sweep(
        windows, Fragile(log=Log()), **(asked | {"out": tmp_path / "other"}), **ASKED
    )
    assert_same_tables(table, uninterrupted)
    _, same_model = whole
    columns = ["ridge", "seed", *SCORES]
    pd.testing.assert_frame_equal(table[columns], same_model[columns], check_exact=True)


def test_a_finished_sweep_fits_nothing(whole: Any, windows: xr.DataTree) -> None:
    folder, table = whole
    before, lines = rows_on_disk(folder), []
    again = sweep(
        windows, LabelModel(), GRID, out=str(folder), seeds=[3, 4], progress=lines.append, **ASKED
    )
    pd.testing.assert_frame_equal(again, table, check_exact=True)  # the seconds too
    assert rows_on_disk(folder) == before
    assert not lines


def test_a_sweep_can_be_made_larger(windows: xr.DataTree, tmp_path: Path) -> None:
    log = Log()
    asked: dict[str, Any] = {"out": tmp_path} | ASKED
    small = sweep(windows, Fragile(log=log), {"ridge": [1.0]}, seeds=[0], **asked)
    large = sweep(windows, Fragile(log=log), {"ridge": [5.0, 1.0]}, seeds=[1, 0], **asked)
    assert log == [1.0, 5.0, 5.0, 1.0]
    assert large[["ridge", "seed"]].values.tolist() == [[5, 1], [5, 0], [1, 1], [1, 0]]
    assert_same_tables(large.tail(1).reset_index(drop=True), small)


def test_a_fit_that_fails_is_a_row_with_its_error(windows: xr.DataTree, tmp_path: Path) -> None:
    log, lines = Log(), []
    asked: dict[str, Any] = {"out": tmp_path, "seeds": [0], "progress": lines.append} | ASKED
    model = CodeModel(fails_below=1.0, log=log)
    table = sweep(windows, model, {"separation": [0.5, 2.0]}, **asked)
    error = "DataError: separation 0.5 is too small."
    assert table["error"].tolist() == [error, ""]
    assert np.isnan(table["across_trial"][0])
    assert table["across_trial"][1] == 1
    assert table["separation"].tolist() == [0.5, 2.0]
    assert lines == [
        f"1/2 CodeModel {{'separation': 0.5}} seed 0: {error}",
        "2/2 CodeModel {'separation': 2.0} seed 0: across 1.00",
    ]
    sweep(windows, model, {"separation": [0.5, 2.0]}, **asked)
    assert len(log) == 2  # a failure is a result
    read = pd.read_csv(tmp_path / "table.csv")
    assert read["error"][0] == error


def test_a_sweep_of_failures_is_a_table_too(windows: xr.DataTree, tmp_path: Path) -> None:
    table = sweep(
        windows, CodeModel(fails_below=9.0), {"separation": [1.0]}, out=tmp_path, seeds=[0], **ASKED
    )
    assert table.columns.tolist() == ["model", "separation", "seed", "error"]
    assert table["error"].tolist() == ["DataError: separation 1.0 is too small."]


def test_errors_that_are_not_ours_end_the_sweep(windows: xr.DataTree, tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        sweep(windows, CodeModel(), {"separation": ["x"]}, out=tmp_path, seeds=[0], **ASKED)
    assert not (tmp_path / "rows").exists()


# --- Another sweep's folder ---------------------------------------------------------------------


def louder(windows: xr.DataTree) -> xr.DataTree:
    def change(_: str, data: xr.Dataset) -> xr.Dataset:
        counts = data["counts"].values.copy()
        counts[-1, -1, -1] += 1
        return data.assign(counts=(data["counts"].dims, counts))

    return map_subjects(windows, change)


def relabelled(windows: xr.DataTree) -> xr.DataTree:
    return with_coordinate(windows, "odor", lambda _, d: d["odor"].values[::-1])


def with_other_ids(name: str) -> Any:
    return lambda tree: map_subjects(
        tree, lambda _, d: d.assign_coords({name: d[name].values[::-1]})
    )


def fewer_windows(windows: xr.DataTree) -> xr.DataTree:
    return map_subjects(windows, lambda _, d: d.isel(window=slice(1, None)))


def renamed(windows: xr.DataTree) -> xr.DataTree:
    return build_tree({n.replace("ada", "eve"): d for n, d in iterate_subjects(windows)})


def longer_windows(windows: xr.DataTree) -> xr.DataTree:
    """The same starts, and another length."""
    return map_subjects(
        windows,
        lambda _, d: d.isel(window=slice(0, 8)).assign_attrs(window_length=0.05),
    )


CHANGES = {
    "counts": louder,
    "labels": relabelled,
    "trials": with_other_ids("trial"),
    "units": with_other_ids("unit"),
    "windows": fewer_windows,
    "subjects": renamed,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_data_are_refused(change: Any, whole: Any, windows: xr.DataTree) -> None:
    folder, _ = whole
    other = change(windows)
    assert data_fingerprint(other, "odor") != data_fingerprint(windows, "odor")
    with pytest.raises(DataError) as error:
        sweep(other, LabelModel(), GRID, out=folder, seeds=[3, 4], **ASKED)
    assert str(error.value) == f"{folder} holds a sweep with other data; name a new folder."


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"test_size": 0.3}, "test_size"),
        ({"simultaneous": True}, "simultaneous"),
        ({"imputation": False}, "imputation"),
        ({"test_size": 0.5, "imputation": False}, "test_size, imputation"),
        ({"label": "side"}, "label, data"),
    ],
)
def test_other_questions_are_refused(
    changes: dict[str, Any], what: str, whole: Any, windows: xr.DataTree
) -> None:
    folder, _ = whole
    sided = with_coordinate(windows, "side", lambda _, d: np.where(d["odor"] < "C", "l", "r"))
    with pytest.raises(DataError) as error:
        sweep(sided, LabelModel(), GRID, out=folder, seeds=[3, 4], **(ASKED | changes))
    assert str(error.value) == f"{folder} holds a sweep with other {what}; name a new folder."


def test_coordinates_that_are_not_used_may_change(whole: Any, windows: xr.DataTree) -> None:
    folder, table = whole
    sided = with_coordinate(windows, "side", lambda _, d: np.zeros(d.sizes["trial"]))
    again = sweep(sided, LabelModel(), GRID, out=folder, seeds=[3, 4], **ASKED)
    pd.testing.assert_frame_equal(again, table)


def test_folders_with_other_things_are_refused(windows: xr.DataTree, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"grid": {"separation": [1.0]}, "out": tmp_path, "seeds": [0]} | ASKED
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError) as error:
        sweep(windows, CodeModel(), **asked)
    assert str(error.value) == f"{tmp_path} holds other files than a sweep; name a new folder."
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    manifest = tmp_path / "sweep.json"
    manifest.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=rf"^{manifest} cannot be read \(.*\); name a new folder"):
        sweep(windows, CodeModel(), **asked)
    made = tmp_path / "other"
    sweep(windows, CodeModel(), **(asked | {"out": made}))
    content = json.loads((made / "sweep.json").read_text("utf-8"))
    assert content.pop("format") == "neuroalign sweep"
    assert content["version"] == 2
    manifest.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError) as error:
        sweep(windows, CodeModel(), **asked)
    assert str(error.value) == f"{tmp_path} holds a sweep with other contents; name a new folder."


def test_a_folder_of_an_older_format_is_refused(windows: xr.DataTree, tmp_path: Path) -> None:
    """A manifest without a version is of format 1, whose fits stopped by another rule."""
    asked: dict[str, Any] = {"grid": {"separation": [1.0]}, "out": tmp_path, "seeds": [0]} | ASKED
    sweep(windows, CodeModel(), **asked)
    manifest = tmp_path / "sweep.json"
    content = json.loads(manifest.read_text("utf-8"))
    for version in (None, 3):
        content.pop("version", None)
        if version is not None:
            content["version"] = version
        manifest.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(DataError) as error:
            sweep(windows, CodeModel(), **asked)
        assert str(error.value) == (
            f"expected a sweep of format 2, got {version or 1}, in {tmp_path}: its fits were "
            "stopped or scored by other rules than those to come; name a new folder."
        )


def test_a_file_instead_of_a_folder_is_refused(windows: xr.DataTree, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="name a new folder"):
        sweep(windows, CodeModel(), {"separation": [1.0]}, out=file, **ASKED)


def test_another_model_of_the_same_name_is_not_taken_for_this_one(
    windows: xr.DataTree, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"grid": {"scaling": ["sqrt"]}, "seeds": [0]} | ASKED
    sweep(windows, ProcrustesPCA(1), out=tmp_path / "one", **asked)
    expected = sweep(windows, ProcrustesPCA(4), out=tmp_path / "two", **asked)
    try:
        found = sweep(windows, ProcrustesPCA(4), out=tmp_path / "one", **asked)
    except DataError:
        return  # refused: just as good
    assert_same_tables(found, expected)


def test_another_estimator_within_the_model_is_not_taken_for_this_one(
    windows: xr.DataTree, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"grid": {"n_folds": [2]}, "seeds": [0]} | ASKED
    sharp, blunt = (LogitLatents(classifier=GaussianNB(var_smoothing=v)) for v in (1e-9, 1e3))
    sweep(windows, blunt, out=tmp_path / "one", **asked)
    expected = sweep(windows, sharp, out=tmp_path / "two", **asked)
    try:
        found = sweep(windows, sharp, out=tmp_path / "one", **asked)
    except DataError:
        return  # refused: just as good
    assert_same_tables(found, expected)


def test_another_classifier_is_refused(windows: xr.DataTree, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"label": "odor", "out": tmp_path, "seeds": [0]}
    sweep(windows, RawCounts(), {"scaling": ["sqrt"]}, classifier=BAYES, **asked)
    with pytest.raises(DataError, match="other classifier"):
        sweep(windows, RawCounts(), {"scaling": ["sqrt"]}, **asked)


def test_windows_of_another_length_are_other_data(windows: xr.DataTree) -> None:
    other = longer_windows(windows)
    cut = map_subjects(windows, lambda _, d: d.isel(window=slice(0, 8)))
    assert data_fingerprint(other, "odor") != data_fingerprint(cut, "odor")


# --- What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"width": [1]}}, r"^tune names 'width', which CodeModel does not have"),
        ({"grid": {"separation": "wide"}}, r"^tune expects a list of values for 'separation'\.$"),
        (
            {"grid": {"separation": [1.0], "CodeModel": {"separation": [1.0]}}},
            r"^grid must hold values of parameters, or a grid for each model, not both\.$",
        ),
        (
            {"grid": {"Code": {"separation": [1.0]}}},
            r"^grid names 'Code', which is no model here; there are 'CodeModel'\.$",
        ),
        ({"seeds": []}, r"^number of seeds must be a whole number of at least 1, got 0\.$"),
        ({"seeds": [-1]}, "random_state must not be negative, got -1"),
    ],
)
def test_bad_arguments_are_refused_before_the_folder_is_made(
    changes: dict[str, Any], message: str, windows: xr.DataTree, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    arguments: dict[str, Any] = {"grid": {"separation": [1.0]}, "out": folder} | ASKED | changes
    with pytest.raises(ParameterError, match=message):
        sweep(windows, CodeModel(), **arguments)
    assert not folder.exists()


@pytest.mark.parametrize("test_size", [0.0, 1.5, "many"])
def test_a_test_size_that_makes_no_sense_is_refused(
    test_size: Any, windows: xr.DataTree, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    with pytest.raises(ParameterError, match="test_size"):
        sweep(
            windows, CodeModel(), {"separation": [1.0]}, out=folder, seeds=[0],
            test_size=test_size, **ASKED,
        )  # fmt: skip


def test_seeds_that_are_no_whole_numbers_are_refused(windows: xr.DataTree, tmp_path: Path) -> None:
    with pytest.raises(ParameterError):
        sweep(windows, CodeModel(), {"separation": [1.0]}, out=tmp_path, seeds=[0.7], **ASKED)  # type: ignore[list-item]


def test_settings_of_the_table_are_numbers(windows: xr.DataTree, tmp_path: Path) -> None:
    table = sweep(
        windows, ProcrustesPCA(), {"n_latents": np.arange(2, 4)}, out=tmp_path, seeds=[0], **ASKED
    )
    assert table["n_latents"].tolist() == [2, 3]


def test_data_of_another_stage_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"windows must be an xarray\.DataTree"):
        sweep("data", CodeModel(), {}, out=tmp_path, **ASKED)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no trial label 'side' for subject 'ada'"):
        sweep(one_tree(), CodeModel(), {}, label="side", out=tmp_path)
    assert not list(tmp_path.iterdir())


# --- Side by side -------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_steps")
def test_fits_of_ours_train_side_by_side_and_score_as_alone(
    windows: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of a sweep is that of single fits, and says what failed among them."""
    from neuroalign import many_fits

    sizes = []
    original = many_fits.train_starts

    def watched(trainings: Any, **named: Any) -> Any:
        sizes.append(len(trainings))
        return original(trainings, **named)

    monkeypatch.setattr(many_fits, "train_starts", watched)
    model = SharedLatentModel(
        2, likelihood="gaussian", max_epochs=2, encoder_hidden=(8,), decoder_hidden=(8,),
        precision="float64", validation_fraction=0, verbose=False,
    )  # fmt: skip
    grid = {"beta": [0.1, 1.0], "likelihood": ["gaussian", "bernoulli"]}
    asked: dict[str, Any] = {"seeds": [0, 1], "test_size": 0.5, **ASKED}
    table = sweep(windows, model, grid, out=tmp_path / "whole", **asked)
    assert sizes == [2, 2]  # the seeds of either beta; what fails has nothing to train
    broken = table["likelihood"] == "bernoulli"
    assert table["error"][broken].str.startswith("DataError: the bernoulli likelihood").all()
    assert (table["error"][~broken] == "").all()
    monkeypatch.setattr("neuroalign.analysis.sweep.fits_at_once", lambda *_: 1)
    single = sweep(windows, model, grid, out=tmp_path / "single", **asked)
    numbers = [c for c in table if c not in {*SECONDS, "error", "model", "likelihood"}]
    pd.testing.assert_frame_equal(table[numbers], single[numbers], rtol=1e-6)


@pytest.mark.parametrize(
    ("jobs", "done", "expected"),
    [
        (1, 0, [4, 4]),
        (1, 3, [1, 4]),  # the same fits together as without the kill
        (2, 0, [4, 4]),
        (3, 0, [3, 3, 2]),
        (8, 0, [1] * 8),
        (2, 4, [2, 2]),  # what waits is cut again, or one process would have nothing to do
        (2, 8, []),
    ],
)
def test_pieces_are_small_enough_for_all_processes(
    jobs: int, done: int, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("joblib.effective_n_jobs", lambda jobs: jobs)
    tasks = [Task("ours", {"beta": 1.0}, seed) for seed in range(8)]
    for task in tasks[:done]:
        write_text(row_path(tmp_path, task), "{}")
    models = {"ours": SharedLatentModel(2, device="cpu")}
    batches = _batches(tasks, models, tmp_path, jobs)
    assert [len(batch) for batch in batches] == expected
    assert [task.seed for batch in batches for task in batch] == list(range(done, 8))
    assert all(len(batch) <= math.ceil((8 - done) / jobs) for batch in batches)


def test_seconds_of_a_piece_are_shared_and_those_of_scoring_are_each_rows_own(
    windows: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"now": 0.0}
    monkeypatch.setattr("neuroalign.analysis.sweep.time.perf_counter", lambda: clock["now"])

    class Slow(CodeModel):
        def fit(self, given: xr.DataTree, *, label: str) -> Self:
            clock["now"] += 3.0
            return super().fit(given, label=label)

        def transform(self, given: xr.DataTree) -> xr.DataTree:
            clock["now"] += self.separation
            return super().transform(given)

    asked = {"test_size": 0.25, "simultaneous": False, "imputation": False}
    rows = run_tasks(
        [Task("slow", {"separation": value}, 0) for value in (1.0, 2.0)],
        Slow(), dict(iterate_subjects(windows)), asked, "odor", BAYES,
    )  # fmt: skip
    assert [row["seconds"] for row in rows] == [3.0, 3.0]
    assert [row["seconds_scoring"] for row in rows] == [2.0, 4.0]  # training and test trials


@pytest.mark.usefixtures("few_steps")
def test_fits_that_break_together_are_rows_with_their_own_errors(
    windows: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neuroalign import fitting

    original = fitting.build_networks

    def fragile(subjects: Any, settings: Any, seed: int) -> Any:
        networks = original(subjects, settings, seed)
        with torch.no_grad():
            next(networks.decoders[seed].parameters()).fill_(float("nan"))
        return networks

    monkeypatch.setattr(fitting, "build_networks", fragile)
    model = SharedLatentModel(
        2, max_epochs=1, encoder_hidden=(8,), decoder_hidden=(8,), verbose=False
    )
    table = sweep(windows, model, {"beta": [1.0]}, out=tmp_path, seeds=[0, 1], **ASKED)
    for error, subject in zip(table["error"], ("ada", "bob"), strict=True):
        assert error.startswith(f"TrainingError: the reconstruction term of {subject!r} is not")
