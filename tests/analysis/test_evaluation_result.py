"""What an evaluation gives: tables, a file, a figure."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from analysis_examples import LabelModel
from evaluation_examples import QUICK, CodeModel, one_tree, with_coordinate
from matplotlib.collections import PolyCollection

from neuroalign.analysis.aligners import ProcrustesPCA
from neuroalign.analysis.evaluation import Evaluation, evaluate
from neuroalign.analysis.plot_evaluation import plot_evaluation
from neuroalign.errors import DataError, ParameterError

MODELS = ["label model", "aligned", "raw counts"]


@pytest.fixture(scope="module")
def full() -> Evaluation:
    windows = with_coordinate(
        one_tree(per_label=8, strength=0.6), "speed", lambda _, d: d["counts"].values.sum((1, 2))
    )
    return evaluate(
        windows,
        {"label model": LabelModel(), "aligned": ProcrustesPCA(2)},
        label="odor",
        cv=2,
        baselines=["raw counts"],
        tune={"aligned": {"n_latents": [2, 3]}},
        leave_label_out=["A"],
        transfer=["speed"],
        model_permutations=3,
        **QUICK,
    )


@pytest.fixture(scope="module")
def small() -> Evaluation:
    return evaluate(one_tree(), CodeModel(), label="odor", cv=0.3, **QUICK)


# --- Tables -------------------------------------------------------------------------------------

INTERVAL = ["low", "high"]
COLUMNS = {
    "headline": [
        "model", "scope", "level", "accuracy", *INTERVAL, "chance", "p_decoder_null",
        "p_model_null", "model_null_mean", "model_null_failed",
    ],
    "decoding": [
        "model", "level", "kind", "train_subject", "test_subject", "accuracy", *INTERVAL, "chance",
        "p_value", "p_corrected",
    ],
    "imputation": [
        "model", "kind", "source", "target", "bits_per_spike", *INTERVAL, "above_floor",
        "above_floor_low", "above_floor_high", "correlation", "correlation_unit",
        "coherence_window", "real_coherence_window", "coherence_trial", "real_coherence_trial",
    ],
    "reconstruction": ["model", "subject", "bits_per_spike", *INTERVAL],
    "left out": [
        "model", "left_out_label", "scope", "test_subject", "read_right", *INTERVAL, "false_alarms",
        "chance",
    ],
    "transfer": [
        "model", "variable", "train_subject", "test_subject", "correlation", *INTERVAL, "p_value",
    ],
    "fit": ["model", "fold", "settings", "alignment", "seconds", "candidates"],
}  # fmt: skip
# two subjects; raw counts are read within subjects only, and only the label model imputes
ROWS = {
    "headline": {"label model": 4, "aligned": 4, "raw counts": 2},
    "decoding": {"label model": 12, "aligned": 12, "raw counts": 4},
    "imputation": {"label model": 6},
    "reconstruction": {"label model": 2},
    "left out": {"label model": 4, "aligned": 4, "raw counts": 2},
    "transfer": {"label model": 6, "aligned": 6, "raw counts": 2},
    "fit": {"label model": 2, "aligned": 2, "raw counts": 2},
}


KEYS = {
    "headline": ["scope", "level"],
    "decoding": ["level", "train_subject", "test_subject"],
    "imputation": ["kind", "source", "target"],
    "reconstruction": ["subject"],
    "left out": ["left_out_label", "scope", "test_subject"],
    "transfer": ["variable", "train_subject", "test_subject"],
    "fit": ["fold"],
}


@pytest.mark.parametrize("part", list(COLUMNS))
def test_every_part_has_its_columns_and_a_row_per_number(part: Any, full: Evaluation) -> None:
    frame = full.to_frame(part)
    assert sorted(frame.columns) == sorted(COLUMNS[part])
    assert frame.groupby("model", sort=False).size().to_dict() == ROWS[part]
    assert not frame.duplicated(["model", *KEYS[part]]).any()


NUMBERS = [
    ("headline", "headline", "accuracy"),
    ("decoding", "accuracy", "accuracy"),
    ("imputation", "bits_per_spike", "bits_per_spike"),
    ("imputation", "coherence_trial", "coherence_trial"),
    ("reconstruction", "bits_reconstructed", "bits_per_spike"),
    ("left out", "left_out", "read_right"),
    ("transfer", "transfer", "correlation"),
    ("transfer", "transfer_p", "p_value"),
    ("fit", "seconds", "seconds"),
]
ENDS = {
    "headline": "headline_interval",
    "decoding": "interval",
    "imputation": "bits_interval",
    "reconstruction": "bits_reconstructed_interval",
    "left out": "left_out_interval",
    "transfer": "transfer_interval",
}


@pytest.mark.parametrize(("part", "name", "column"), NUMBERS)
def test_tables_hold_the_numbers_of_the_dataset(
    part: Any, name: str, column: str, full: Evaluation
) -> None:
    frame = full.to_frame(part)
    for row in frame.to_dict("records"):
        place = {dim: row[dim] for dim in ["model", *KEYS[part]]}
        assert row[column] == full.dataset[name].sel(place).item()
        if part in ENDS:
            ends = full.dataset[ENDS[part]].sel(place).values.tolist()
            assert [row["low"], row["high"]] == ends
    assert len(frame) == np.isfinite(full.dataset[name]).sum()


def test_p_values_stand_beside_accuracies_per_trial_only(full: Evaluation) -> None:
    headline = full.to_frame("headline").set_index(["model", "scope", "level"])
    for (model, scope, level), row in headline.iterrows():
        place = {"model": model, "scope": scope}
        expected = [full.dataset[n].sel(place).item() for n in ("headline_p", "model_null_p")]
        expected.append(full.dataset["model_null"].sel(place).mean().item())
        found = row[["p_decoder_null", "p_model_null", "model_null_mean"]].tolist()
        assert found == pytest.approx(expected if level == "trial" else [np.nan] * 3, nan_ok=True)
    decoding = full.to_frame("decoding")
    assert decoding["p_value"].notna().tolist() == (decoding["level"] == "trial").tolist()
    assert (decoding["p_corrected"] >= decoding["p_value"])[decoding["level"] == "trial"].all()


def test_the_table_of_fits_says_what_was_chosen_of_how_many(full: Evaluation) -> None:
    frame = full.to_frame("fit").set_index(["model", "fold"])
    assert frame["candidates"].groupby("model").first().to_dict() == {
        "label model": 1, "aligned": 2, "raw counts": 1,
    }  # fmt: skip
    for fold in (0, 1):
        settings = json.loads(frame.loc[("aligned", fold), "settings"])
        tried = json.loads(full.dataset["tuning"].sel(model="aligned", fold=fold).item())
        best = max(tried, key=lambda candidate: candidate["score"])
        assert settings == {"n_latents": best["n_latents"]}
        assert frame.loc[("raw counts", fold), "settings"] == "{}"
    assert (frame["seconds"] > 0).all()


def test_there_are_the_parts_that_were_asked_for(full: Evaluation, small: Evaluation) -> None:
    assert full.models == MODELS
    assert full.parts == list(COLUMNS)
    assert small.models == ["CodeModel"]
    assert small.parts == ["headline", "decoding", "fit"]
    assert "p_model_null" not in small.to_frame()
    message = r"^part must be one of 'headline', 'decoding', 'fit', got 'transfer'\.$"
    with pytest.raises(ParameterError, match=message):
        small.to_frame("transfer")


# --- The file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["full", "small"])
def test_a_saved_evaluation_is_loaded_as_it_was(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    evaluation: Evaluation = request.getfixturevalue(which)
    path = tmp_path / "new" / "scores.nc"
    assert evaluation.save(str(path)) == path
    loaded = Evaluation.load(path)
    xr.testing.assert_identical(loaded.dataset, evaluation.dataset)
    assert loaded.models == evaluation.models
    for part in evaluation.parts:
        assert loaded.to_frame(part).equals(evaluation.to_frame(part))
    assert [file.name for file in path.parent.iterdir()] == ["scores.nc"]


def test_printed_it_shows_the_headline_and_names_the_tables(full):
    lines = repr(full).splitlines()
    assert lines[0].startswith(f"Evaluation of {len(full.models)} method(s), label 'odor'")
    table = full.to_frame("headline")
    assert len(lines) == 1 + 1 + len(table) + 1
    for line, accuracy in zip(lines[2:-1], table["accuracy"], strict=True):
        assert f"{accuracy:.3f}" in line.split()
    assert all(repr(part) in lines[-1] for part in full.parts)


def test_saving_replaces_what_was_there(
    full: Evaluation, small: Evaluation, tmp_path: Path
) -> None:
    path = tmp_path / "scores.nc"
    full.save(path)
    small.save(path)
    loaded = Evaluation.load(path)  # and the file is closed again, or it could not be replaced
    full.save(path)
    xr.testing.assert_identical(loaded.dataset, small.dataset)


def test_other_files_are_refused(full: Evaluation, tmp_path: Path) -> None:
    missing = tmp_path / "missing.nc"
    with pytest.raises(DataError, match=f"Evaluation.save, found nothing at {missing}"):
        Evaluation.load(missing)
    text = tmp_path / "table.csv"
    text.write_text("model,accuracy\n", encoding="utf-8")
    with pytest.raises(DataError, match=f"^{text} is no readable netCDF file"):
        Evaluation.load(text)
    cut = full.save(tmp_path / "cut.nc")
    cut.write_bytes(cut.read_bytes()[:2000])
    with pytest.raises(DataError, match=f"^{cut} is no readable netCDF file"):
        Evaluation.load(cut)
    other = tmp_path / "other.nc"
    xr.Dataset({"headline": ("model", [1.0])}).to_netcdf(other, engine="h5netcdf")
    message = f"^{other} holds no evaluation; it was not written by Evaluation.save"
    with pytest.raises(DataError, match=message):
        Evaluation.load(other)
    with pytest.raises(DataError, match="is no readable netCDF file"):
        Evaluation.load(tmp_path)


# --- The figure ---------------------------------------------------------------------------------


def markers(ax: Any, kind: str) -> dict[float, float]:
    """What is drawn at which height with this marker."""
    return {
        float(line.get_ydata()[0]): float(line.get_xdata()[0])
        for line in ax.lines
        if line.get_marker() == kind and len(line.get_xdata()) == 1
    }


@pytest.mark.parametrize("level", ["trial", "window"])
def test_the_figure_has_a_row_per_model(level: Any, full: Evaluation) -> None:
    ax = full.plot(level=level)
    ax.figure.canvas.draw()
    assert [text.get_text() for text in ax.get_yticklabels()] == MODELS
    assert ax.get_xlabel() == f"balanced accuracy per {level}"
    headline = full.dataset["headline"].sel(level=level)
    for scope, marker, offset in (("within", "o", -0.15), ("across", "D", 0.15)):
        drawn = markers(ax, marker)
        values = headline.sel(scope=scope).values
        expected = {row + offset: v for row, v in enumerate(values.tolist()) if np.isfinite(v)}
        assert drawn == pytest.approx(expected)
        for row, model in enumerate(MODELS):
            place = {"model": model, "scope": scope, "level": level}
            ends = full.dataset["headline_interval"].sel(place).values.tolist()
            lines = [
                line.get_xdata() for line in ax.lines
                if list(line.get_ydata()) == [row + offset] * 2 and line.get_linestyle() == "-"
            ]  # fmt: skip
            assert [list(line) for line in lines] == ([ends] if np.isfinite(ends[0]) else [])
    (chance,) = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
    assert chance == 0.25
    bottom, top = ax.get_ylim()
    assert (bottom, top) == (2.5, -0.5)  # the first model is on top
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    bands = [item for item in ax.collections if isinstance(item, PolyCollection)]
    if level == "trial":
        assert legend == ["within", "across", "chance", "model null, 95 %"]
        null = full.dataset["model_null"].sel(model="label model", scope="within").values
        assert len(bands) == 5
        edges = bands[0].get_paths()[0].vertices[:, 0]
        expected = np.quantile(null, (0.025, 0.975))
        np.testing.assert_allclose([edges.min(), edges.max()], expected)
    else:
        assert legend == ["within", "across", "chance"]
        assert not bands


def test_small_points_are_the_subjects(full: Evaluation) -> None:
    ax = full.plot()
    found = [line for line in ax.lines if line.get_marker() == "."]
    accuracy = full.dataset["accuracy"].sel(level="trial", model="aligned")
    own = [accuracy.sel(train_subject=s, test_subject=s).item() for s in ("ada", "bob")]
    others = accuracy.sel(train_subject="others").values.tolist()
    at = {tuple(np.round(line.get_ydata(), 2)): sorted(line.get_xdata()) for line in found}
    assert at[0.85, 0.85] == sorted(own)
    assert at[1.15, 1.15] == sorted(others)


def test_the_figure_can_be_drawn_into_axes_of_ones_own(small: Evaluation) -> None:
    _, ax = plt.subplots()
    assert small.plot(ax=ax) is ax
    assert [text.get_text() for text in ax.get_yticklabels()] == ["CodeModel"]


def test_what_cannot_be_drawn_is_refused(small: Evaluation) -> None:
    with pytest.raises(ParameterError, match=r"^level must be 'trial' or 'window', got 'unit'\.$"):
        small.plot(level="unit")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"^expected the result of evaluate\.$"):
        plot_evaluation(SimpleNamespace(dataset=xr.Dataset()))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"^expected the result of evaluate\.$"):
        plot_evaluation(xr.Dataset())  # type: ignore[arg-type]
