"""`neuroalign evaluate` and `neuroalign sweep`: what they write, say, refuse and go on with."""

from __future__ import annotations

import json
import re
import shlex
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from typer.testing import CliRunner

import neuroalign as na
from neuroalign.analysis.aligners import BASELINES
from neuroalign.cli import app
from neuroalign.cli.evaluation_figures import plot_imputed_bits, plot_model_null, plot_sweep
from neuroalign.cli.evaluation_inputs import match_baselines, prepare_study
from neuroalign.cli.evaluation_report import (
    _decoder_null,
    _failed_permutations,
    _model_null,
    _without_scores,
)
from neuroalign.cli.evaluation_request import EvaluationRequest, StudyInputs, SweepRequest
from neuroalign.cli.evaluation_sweep_report import sweep_table
from neuroalign.cli.evaluation_tables import (
    fit_table,
    headline_table,
    imputed_table,
    left_out_table,
    spread_text,
    subjects_table,
)
from neuroalign.cli.options import as_yaml, parse_grid, parse_jobs, parse_names, parse_seeds

TINY = [
    *("--set", "max_epochs=1"),
    *("--set", "batch_size=512"),
    *("--set", "n_latents=2"),
    *("--set", "encoder_hidden=[8]"),
    *("--set", "decoder_hidden=8"),
]
SETTINGS = {
    "max_epochs": 1,
    "batch_size": 512,
    "n_latents": 2,
    "encoder_hidden": [8],
    "decoder_hidden": [8],
}
GRID = {"likelihood": ["gaussian", "bernoulli"], "beta": [0.1, 1]}
SWEPT = [
    *("--grid", "likelihood=gaussian,bernoulli"),
    *("--grid", "beta=0.1,1"),
    *("--seeds", "0,4", "--no-imputation"),
]


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def succeed(*words):
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    return result


def refuse(*words) -> str:
    """Run a command that must end with exit code 2 and one line of error; return that line."""
    result = invoke(*words)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    assert result.exit_code == 2, result.output
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    return lines[0].removeprefix("error: ")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two rats with three odors and four windows, as NWB files beside their spec."""
    folder = tmp_path_factory.mktemp("study")
    recordings, _ = na.simulate_recordings(
        units={"mitt": 6, "stella": 5}, trials=40, mean_rate=20, random_state=1
    )
    na.write_nwb(recordings, folder / "nwb")
    spec = yaml.safe_load(na.data.specs.shipped_specs()["simulated"].read_text())
    spec["trials"]["keep"]["odor"] = ["A", "B", "C"]
    spec["window"]["step"] = 0.05
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    return folder


@pytest.fixture(scope="module")
def inputs(data):
    return (data / "spec.yaml", data / "nwb")


@pytest.fixture(scope="module")
def windows(data):
    return na.slide_windows(na.bin_spikes(na.read_nwb(data / "nwb", data / "spec.yaml")))


@pytest.fixture(scope="module")
def evaluated(data, inputs):
    """The folder of a finished evaluation with every part; tests must not change it."""
    out = data / "scores"
    succeed(
        *("evaluate", *inputs, "--out", out, *TINY, "--seed", 3, "--test-size", 0.3),
        *("--sharing", "independent", "--baselines", "pca"),
        *("--set", "allow_missing=true", "--transfer", "arousal", "--leave-label-out", "A"),
        *("--permutations", 50, "--model-permutations", 1),
    )
    return out


@pytest.fixture(scope="module")
def evaluation(evaluated):
    return na.Evaluation.load(evaluated / "evaluation.nc")


@pytest.fixture(scope="module")
def swept(data, inputs):
    """The folder of a finished sweep, half of whose fits fail; tests must not change it."""
    out = data / "sweep"
    succeed("sweep", *inputs, "--out", out, *TINY, *SWEPT)
    return out


def model(**settings):
    given = {**SETTINGS, "random_state": 3, "verbose": False, **settings}
    return na.SharedLatentModel(**given)


# --- evaluate ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["evaluate", "sweep"])
def test_help_shows_an_example(command):
    assert f"\n    neuroalign {command}" in succeed(command, "--help").output


def test_evaluation_equals_the_same_in_python(evaluation, windows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = na.evaluate(
            windows,
            {"independent": model(sharing="independent", allow_missing=True)},
            label="odor",
            cv=0.3,
            baselines=["PCA"],
            leave_label_out=["A"],
            transfer=["arousal"],
            permutations=50,
            model_permutations=1,
            random_state=3,
        )
    ours, theirs = (one.dataset.drop_vars("seconds") for one in (evaluation, expected))
    xr.testing.assert_allclose(ours, theirs)
    assert ours.attrs == theirs.attrs


def test_every_part_is_a_table_and_every_figure_is_drawn(evaluated, evaluation):
    from matplotlib.image import imread

    parts = (
        "headline",
        "decoding",
        "imputation",
        "reconstruction",
        "left out",
        "transfer",
        "fit",
    )
    assert tuple(evaluation.parts) == parts
    for part in parts:
        table = pd.read_csv(evaluated / f"{part.replace(' ', '_')}.csv")
        pd.testing.assert_frame_equal(table, evaluation.to_frame(part), check_dtype=False)
    for name in ("evaluation", "imputation", "model_null"):
        image = imread(evaluated / "figures" / f"{name}.png")
        assert min(image.shape[:2]) > 150
        assert image[..., :3].std() > 0.01
    assert not [path for path in evaluated.rglob("*") if "partial" in path.name]


def test_report_links_only_what_is_there_and_has_all_sections(evaluated):
    text = (evaluated / "report.md").read_text()
    for part in text.split("](")[1:]:
        assert (evaluated / part.partition(")")[0]).exists()
    headings = [
        "The data",
        "What was asked",
        "Decoding odor",
        "Imputation",
        "Labels left out of the pairing",
        "Variables that trials were not paired by",
        "Chosen settings and fits",
        "Warnings",
        "Files",
        "Provenance",
    ]
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == headings


def test_report_says_what_the_numbers_can_tell(evaluated, evaluation):
    from neuroalign.cli.tables import markdown_table

    text = (evaluated / "report.md").read_text()
    for table in (headline_table, subjects_table, imputed_table, left_out_table):
        assert markdown_table(table(evaluation)) in text
    assert "pairing by odor gives odor away" in text
    assert 'also reached by "logit latents", the log-odds' in text
    assert "Only a model null whose classifiers see the true labels takes that in" in text
    assert "*Decoder null* (50 permutations, smallest possible p 0.02)" in text
    assert "*Model null* (1 permutations, smallest possible p 0.5)" in text
    assert "| mitt | 6 | 0 |" in text
    assert "one split, 30 % of the trials for testing" in text
    assert "Nothing was chosen for the models here." in text
    assert "Seed 3 for splits" in text
    assert f"neuroalign {na.__version__}, python" in text


def test_command_of_the_report_asks_for_the_same(evaluated, monkeypatch):
    text = (evaluated / "report.md").read_text()
    command = re.search(r"```sh\n(.*)\n```", text)
    assert command is not None
    asked: list[EvaluationRequest] = []
    monkeypatch.setattr("neuroalign.cli.evaluate.run_evaluate", asked.append)
    succeed(*shlex.split(command.group(1))[1:])
    (request,) = asked
    assert request.sharing == ("independent",)
    assert request.baselines == ("PCA",)
    assert request.inputs.settings == {
        **SETTINGS,
        "decoder_hidden": 8,
        "allow_missing": True,
    }
    assert (request.cv, request.inputs.seed, request.permutations) == (0.3, 3, 50)
    assert request.command() == command.group(1)


@pytest.mark.slow
def test_settings_are_chosen_inside_folds_and_baselines_choose_too(data, inputs):
    out = data / "tuned"
    said = succeed(
        *("evaluate", *inputs, "--out", out, *TINY[:4], *TINY[6:], "--folds", 2),
        *("--tune", "n_latents=1,2", "--baselines", "Raw Counts"),
        *("--no-imputation", "--permutations", 0),
    )
    lines = [line for line in said.stderr.splitlines() if line.startswith("[")]
    assert [line.split("] ")[1] for line in lines] == [
        "1/4 mm-vamp",
        "2/4 mm-vamp",
        "3/4 raw counts",
        "4/4 raw counts",
    ]
    fits = pd.read_csv(out / "fit.csv")
    assert fits["candidates"].tolist() == [2] * 4
    assert fits["settings"].str.contains("n_latents").tolist() == [True, True, False, False]
    text = (out / "report.md").read_text()
    assert "inside the training trials of each fold: n_latents = 1, 2." in text
    assert "p, decoder null" not in text
    assert "## Imputation" not in text
    assert "2 folds: every trial was tested once" in text
    assert not (out / "imputation.csv").exists()


def test_report_says_what_each_null_can_tell():
    one = {"folds": 1, "permutations": 99, "model_permutations": 19, "model_null": "fit"}
    assert "(99 permutations, smallest possible p 0.01)" in _decoder_null(one, "odor")
    assert "approximate" not in _decoder_null(one, "odor")
    assert "With folds it is approximate" in _decoder_null({**one, "folds": 5}, "odor")
    assert "a large p there is no failure" in _model_null(one, "odor")
    both = _model_null({**one, "model_null": "fit and classifier"}, "odor")
    assert "classifiers and scores see the permuted labels too" in both
    assert "no failure" not in both


def test_report_names_methods_and_permutations_that_failed(evaluation):
    assert _without_scores(evaluation) == ""
    assert _failed_permutations(evaluation) == ""
    failed = evaluation.dataset.assign(model_null_failed=("model", [2, 0])).assign_attrs(
        left_out_methods=json.dumps({"SRM": "too few trials.", "poe": "not finite."})
    )
    assert _without_scores(na.Evaluation(failed)) == (
        "**Left out, since they could not be fitted or read:**\n\n"
        "- SRM: too few trials.\n- poe: not finite."
    )
    assert _failed_permutations(na.Evaluation(failed)) == (
        " Permutations that could not be fitted: 2 of independent. They count as reaching the "
        "accuracy, so that p is too large rather than too small."
    )


def test_interrupted_evaluation_leaves_the_old_one_alone(data, inputs, evaluated, monkeypatch):
    from neuroalign.analysis import evaluation

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "evaluate", stop)
    before = (evaluated / "report.md").read_text()
    result = invoke("evaluate", *inputs, "--out", evaluated, *TINY, "--overwrite")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "interrupted: run the same command again."
    assert (evaluated / "report.md").read_text() == before


def test_evaluation_is_replaced_only_when_asked(data, inputs, monkeypatch, evaluation):
    out = data / "again"
    monkeypatch.setattr("neuroalign.cli.evaluate._evaluate", lambda *_: evaluation)
    monkeypatch.setattr("neuroalign.cli.evaluation_figures.draw_evaluation", lambda *_: [])
    words = ("evaluate", *inputs, "--out", out, *TINY)
    succeed(*words)
    assert refuse(*words) == (
        f"{out} holds an evaluation already and is not overwritten; give another --out, or "
        "--overwrite to replace it."
    )
    (out / "my.csv").write_text("mine")
    (out / "figures").mkdir()
    (out / "figures" / "model_null.png").write_text("old")
    monkeypatch.setattr(
        "neuroalign.cli.evaluate._evaluate",
        lambda *_: na.Evaluation(evaluation.dataset.drop_vars(["model_null", "model_null_p"])),
    )
    succeed(*words, "--overwrite")
    assert (out / "my.csv").read_text() == "mine"
    assert not (out / "figures" / "model_null.png").exists()
    assert "The model null was not asked for" not in (out / "report.md").read_text()


def test_each_way_of_sharing_is_a_model_with_the_same_other_settings(inputs):
    asked = StudyInputs(str(inputs[0]), (str(inputs[1]),), settings={"n_latents": 3}, seed=7)
    study = prepare_study(asked, sharing=("mm-vamp", "moe"), grid={"beta": [0.1]}, option="--tune")
    found = {
        name: (model.sharing, model.n_latents, model.random_state, model.verbose)
        for name, model in study.models.items()
    }
    assert found == {"mm-vamp": ("mm-vamp", 3, 7, False), "moe": ("moe", 3, 7, False)}
    assert not study.simultaneous
    varied = prepare_study(asked, grid={"sharing": ["moe", "poe"]}, option="--grid")
    assert list(varied.models) == ["SharedLatentModel"]


# --- bad arguments ----------------------------------------------------------------------------


def test_arguments_are_checked_before_anything_is_read(tmp_path):
    words = ("evaluate", "simulated", "nowhere", "--out", tmp_path / "scores")
    assert refuse(*words, "--folds", 3, "--test-size", 0.3) == (
        "--folds and --test-size exclude each other; give one."
    )
    assert "share of trials between 0 and 1, got 40" in refuse(*words, "--test-size", 40)
    assert refuse(*words, "--baselines", "PCA,SMR") == (
        f"--baselines must be all, or among {', '.join(BASELINES)}, got 'SMR'. Did you mean 'SRM'?"
    )
    assert "--tune expects NAME=VALUE,VALUE" in refuse(*words, "--tune", "beta")
    assert "Did you mean 'n_latents'?" in refuse(*words, "--tune", "n_latent=2,3")
    assert refuse(*words, "--tune", "random_state=1,2") == (
        "--tune does not take 'random_state'; use --seed."
    )
    assert refuse(*words, "--tune", "beta=0.1,-1") == (
        'beta must be "auto", a number from 0 to inf, or a list of (epochs, value) such as [(0, 0), '
        "(20, 0.3)]; got -1."
    )
    assert refuse(*words, "--tune", "beta=0.1,1", "--set", "beta=0.3") == (
        "--set and --tune both give 'beta'; give it to one of them."
    )
    assert "exclude each other" in refuse(*words, "--sharing", "moe", "--set", "sharing=poe")
    assert refuse(*words, "--sharing", "vamp").startswith("sharing must be one of 'mm-vamp'")
    assert "--jobs must be" in refuse(*words, "--jobs", 0)
    assert "there is no file or folder nowhere" in refuse(*words)
    assert not (tmp_path / "scores").exists()


def test_labels_and_variables_are_checked_before_the_fits(inputs, tmp_path):
    words = ("evaluate", *inputs, "--out", tmp_path / "scores", *TINY)
    assert refuse(*words, "--leave-label-out", "A,D") == (
        "--leave-label-out must be all, or among the labels that every subject has (A, B, C), got "
        "'D'."
    )
    assert "got 'arousl'; add it to the labels of the data spec. Did you mean 'arousal'?" in (
        refuse(*words, "--transfer", "arousl")
    )
    assert "is read anyway" in refuse(*words, "--transfer", "odor")
    assert "have no test trials of a common label" in refuse(*words, "--folds", 28)
    assert not (tmp_path / "scores").exists()


def test_of_two_labels_none_is_left_out(data, inputs, tmp_path):
    spec = yaml.safe_load(inputs[0].read_text())
    spec["trials"]["keep"]["odor"] = ["A", "B"]
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    words = ("evaluate", tmp_path / "spec.yaml", inputs[1], "--out", tmp_path / "scores", *TINY)
    assert refuse(*words, "--leave-label-out", "all") == (
        "--leave-label-out needs at least 3 labels that every subject has, so that two are paired "
        "while one is not, got A, B; leave the option out."
    )


@pytest.mark.parametrize("command", ["evaluate", "sweep"])
def test_folder_of_something_else_is_never_written_to(command, inputs, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    more = ("--grid", "beta=1") if command == "sweep" else ()
    kind = "evaluation" if command == "evaluate" else "sweep"
    assert refuse(command, *inputs, "--out", tmp_path, "--overwrite", *more) == (
        f"{tmp_path} holds files but no {kind}, so nothing is written there; give another --out."
    )
    below = tmp_path / "thesis.txt" / "scores"
    assert "thesis.txt is a file; give another --out." in (
        refuse(command, *inputs, "--out", below, *more)
    )


def test_bad_grids_and_seeds(tmp_path):
    words = ("sweep", "simulated", "nowhere", "--out", tmp_path / "sweep")
    assert "--grid gives 'beta' twice" in refuse(*words, "--grid", "beta=1", "--grid", "beta=2")
    assert refuse(*words, "--grid", "beta=1,1") == "--grid beta has 1 twice; give it once."
    assert "whole numbers such as 0,1,2 or 0-4" in (
        refuse(*words, "--grid", "beta=1", "--seeds", "0,x")
    )
    assert "sharing must be one of" in refuse(*words, "--grid", "sharing=vamp")
    assert "share of trials between" in refuse(*words, "--grid", "beta=1", "--test-size", 20)
    assert invoke(*words).exit_code == 2  # --grid is required


# --- sweep ------------------------------------------------------------------------------------


def without_seconds(table):
    return table.drop(columns=["seconds", "seconds_scoring"], errors="ignore")


def test_sweep_equals_the_same_in_python(swept, windows, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = na.sweep(
            windows,
            {"mm-vamp": model()},
            {"likelihood": ["gaussian"], "beta": [1]},
            label="odor",
            out=tmp_path / "sweep",
            seeds=[0, 4],
            imputation=False,
        )
    table = pd.read_csv(swept / "table.csv").fillna({"error": ""})
    ours = table.query("likelihood == 'gaussian' and beta == 1").reset_index(drop=True)
    pd.testing.assert_frame_equal(
        without_seconds(ours), without_seconds(expected), check_dtype=False
    )


def test_sweep_lists_failed_fits_and_shows_the_others(swept):
    from matplotlib.image import imread

    text = (swept / "report.md").read_text()
    failed = text.partition("## Failed fits")[2]
    assert "fits (likelihood = bernoulli" in failed
    assert "gaussian" not in failed.partition("The same command")[0]
    assert ": DataError: the bernoulli likelihood cannot model the counts" in failed
    assert "8 fits, 4 failed." in text
    assert "| bernoulli | 1 | 0 of 2 | - |" in text
    assert "to tune on test trials" in text
    for part in text.split("](")[1:]:
        assert (swept / part.partition(")")[0]).exists()
    assert imread(swept / "figures" / "sweep.png")[..., :3].std() > 0.01


def test_interrupted_sweep_goes_on_where_it_was(swept, inputs, tmp_path, monkeypatch):
    from neuroalign.analysis import sweep

    original, fitted = sweep.run_tasks, []

    def run_tasks(tasks, *arguments):
        fitted.append(len(tasks))
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return original(tasks, *arguments)

    monkeypatch.setattr(sweep, "run_tasks", run_tasks)
    words = ("sweep", *inputs, "--out", tmp_path / "sweep", *TINY, *SWEPT)
    stopped = invoke(*words)
    assert stopped.exit_code == 130
    said = stopped.stderr.splitlines()[-1]
    assert said.startswith("interrupted: go on with: neuroalign sweep ")
    assert len(list((tmp_path / "sweep" / "fits" / "rows").iterdir())) == 4
    output = succeed(*shlex.split(said.partition("go on with: ")[2])[1:]).output
    assert "8 fits, of which up to 4 are done" in output
    assert fitted == [4, 4, 4]
    tables = [pd.read_csv(folder / "table.csv") for folder in (tmp_path / "sweep", swept)]
    pd.testing.assert_frame_equal(*map(without_seconds, tables))


def test_sweep_does_not_mix_fits_that_differ_in_what_it_does_not_vary(swept, inputs):
    before = (swept / "request.json").read_text()
    words = ("sweep", *inputs, "--out", swept)
    assert refuse(*words, *TINY, *SWEPT, "--set", "dropout=0.1", "--test-size", 0.5) == (
        f"{swept} holds a sweep with other dropout, test_size; give the same command to go on, "
        "another --out, or --overwrite to start anew."
    )
    one = (inputs[0], inputs[1] / "sub-mitt.nwb", "--out", swept)
    assert "with other recordings;" in refuse("sweep", *one, *TINY, *SWEPT)
    assert (swept / "request.json").read_text() == before


def test_sweep_takes_more_values_and_starts_anew_when_asked(data, inputs, monkeypatch):
    from neuroalign.analysis import sweep

    fitted = []

    def run_tasks(tasks, *_):
        fitted.extend(tasks)
        scores = {"within_trial": 0.9, "across_trial": 0.8, "chance": 0.5, "error": ""}
        return [{"model": t.model, **t.settings, "seed": t.seed, **scores} for t in tasks]

    monkeypatch.setattr(sweep, "run_tasks", run_tasks)
    words = ("sweep", *inputs, "--out", data / "more", *TINY)
    succeed(*words, "--grid", "beta=0.1,1", "--seeds", "0-1")
    succeed(*words, "--grid", "beta=0.1,1,10", "--seeds", "0-2")
    assert len(fitted) == 4 + 5
    assert len(pd.read_csv(data / "more" / "table.csv")) == 9
    succeed(*words, "--grid", "beta=0.1", "--seeds", "0", "--overwrite")
    assert len(fitted) == 4 + 5 + 1


# --- tables and figures -----------------------------------------------------------------------


def imputed_scores(imputed, floor, ends, above_ends):
    """An evaluation of one method that imputes between two subjects."""
    kinds, pair = ["imputed", "floor", "ceiling"], ("source", "target")
    shape, nan = (1, 3, 2, 2), np.nan
    off = np.array([[nan, 1.0], [1.0, nan]])
    bits = np.stack([imputed * off, floor * off, 0.5 * off])[None]
    whole = {"model": ["ours"], "kind": kinds, "source": ["a", "b"], "target": ["a", "b"]}
    measures = ("correlation", "correlation_unit", "coherence_window", "coherence_trial")
    return na.Evaluation(
        xr.Dataset(
            {
                "headline": (("model", "scope", "level"), np.full((1, 2, 2), 0.5)),
                "chance": (("model", "test_subject"), np.full((1, 2), 0.5)),
                "bits_per_spike": (("model", "kind", *pair), bits),
                "bits_interval": (
                    ("model", "kind", *pair, "bound"),
                    np.broadcast_to(ends, (*shape, 2)),
                ),
                "above_floor": (("model", *pair), ((imputed - floor) * off)[None]),
                "above_floor_interval": (
                    ("model", *pair, "bound"),
                    np.broadcast_to(above_ends, (1, 2, 2, 2)),
                ),
                "real_coherence": (("model", "level", "target"), np.ones((1, 2, 2))),
                **{name: (("model", "kind", *pair), np.zeros(shape)) for name in measures},
            },
            coords={
                **whole,
                "test_subject": ["a", "b"],
                "level": ["window", "trial"],
                "bound": ["low", "high"],
            },
        )
    )


def test_to_beat_a_floor_below_the_mean_rate_is_not_counted():
    nothing_known = imputed_scores(-0.05, -0.6, ends=(-0.1, 0.01), above_ends=(0.3, 0.8))
    assert imputed_table(nothing_known)["above floor (clear pairs)"].tolist() == [
        "+0.550 (0 of 1)",
        "+0.550 (0 of 1)",
    ]
    much_known = imputed_scores(0.4, 0.1, ends=(0.2, 0.6), above_ends=(0.1, 0.5))
    assert imputed_table(much_known)["above floor (clear pairs)"].tolist()[0] == "+0.300 (1 of 1)"


def test_imputed_bits_stand_between_floor_and_ceiling():
    panel = plot_imputed_bits(imputed_scores(0.4, 0.1, (0, 1), (0, 1)).dataset)
    means = {
        line.get_marker(): float(np.asarray(line.get_xdata()).item())
        for line in panel.lines
        if line.get_markersize() == 7
    }
    assert means == pytest.approx({"v": 0.1, "o": 0.4, "^": 0.5})
    with pytest.raises(na.DataError, match="imputation=True"):
        plot_imputed_bits(xr.Dataset())


def test_model_null_is_drawn_once_per_method_and_scope():
    null = np.full((2, 2, 4), 0.5)
    null[1, 1] = np.nan
    headline = np.full((2, 2, 2), 0.8)
    headline[1, 1] = np.nan
    scores = xr.Dataset(
        {
            "model_null": (("model", "scope", "permutation"), null),
            "headline": (("model", "scope", "level"), headline),
            "chance": (("model", "test_subject"), np.full((2, 1), 0.5)),
        },
        coords={
            "model": ["ours", "raw"],
            "scope": ["within", "across"],
            "level": ["window", "trial"],
        },
    )
    panels = plot_model_null(scores)
    counts = [sum(bar.get_height() for bar in panel.patches) for panel in panels.ravel()]
    assert counts == [4, 4, 4, 0]  # raw counts are not shared: there is nothing across
    assert panels[0, 0].lines[1].get_xdata()[0] == 0.8
    with pytest.raises(na.DataError, match="model_permutations"):
        plot_model_null(xr.Dataset())


def sweep_rows(values, *, name="beta"):
    rows = [
        {"model": "m", name: value, "sharing": sharing, "seed": seed, "error": ""}
        | {"within_trial": 0.1 * place + 0.02 * seed, "across_trial": 0.5, "chance": 0.25}
        for place, value in enumerate(values)
        for sharing in ("mm-vamp", "independent")
        for seed in (0, 1)
    ]
    rows.append({**rows[0], "seed": 2, "error": "TrainingError: no", "within_trial": np.nan})
    return pd.DataFrame(rows)


def test_sweep_figure_has_a_line_per_setting_through_the_means_of_seeds():
    panels = plot_sweep(sweep_rows([0.01, 0.1, 1.0]), ["sharing", "beta"])
    assert panels[0].get_xlabel() == "beta"
    assert panels[0].get_xscale() == "log"
    lines = [line for line in panels[0].lines if line.get_marker() == "_"]
    assert len(lines) == 2
    assert np.allclose(lines[0].get_xdata(), [0.01, 0.1, 1])
    assert np.allclose(lines[0].get_ydata(), [0.01, 0.11, 0.21])
    points = next(line for line in panels[0].lines if line.get_marker() == "o")
    assert len(points.get_xdata()) == 6
    legend = [text.get_text() for text in panels[-1].get_legend().get_texts()]
    assert legend == ["mm-vamp", "independent", "chance"]


@pytest.mark.parametrize(
    ("values", "scale"),
    [([4, 8], "linear"), ([0.0, 0.1, 1.0], "symlog"), ([1, 16], "log"), (["pcs", "raw"], "linear")],
)
def test_sweep_figure_scales_its_axis_where_it_helps(values, scale):
    panels = plot_sweep(sweep_rows(values, name="size"), ["size", "sharing"])
    assert panels[1].get_xscale() == scale
    shown = [text.get_text() for text in panels[1].get_xticklabels()]
    assert [f"{v:g}" if isinstance(v, float) else str(v) for v in values] == shown


def test_sweep_table_counts_failed_fits_and_averages_the_others():
    table = sweep_table(sweep_rows([0.1, 1.0]), ["beta", "sharing"])
    assert table["fits"].tolist() == ["2 of 3", "2", "2", "2"]
    assert table["beta"].tolist() == ["0.1", "0.1", "1", "1"]
    assert table["within"].tolist()[:2] == ["0.01 (0.00 to 0.02)", "0.01 (0.00 to 0.02)"]


def test_headline_shows_the_numbers_of_the_evaluation(evaluation):
    table = headline_table(evaluation)
    assert list(zip(table["method"], table["scope"], strict=True)) == [
        ("independent", "within"),
        ("independent", "across"),
        ("PCA", "within"),
    ]
    scores = evaluation.dataset.sel(model="independent", scope="across", level="trial")
    row = table.iloc[1]
    low, high = scores["headline_interval"].values
    assert row["per trial"] == f"{scores['headline'].item():.2f} [{low:.2f}, {high:.2f}]"
    assert row["p, model null"] == f"{scores['model_null_p'].item():.3f}"
    across = subjects_table(evaluation).set_index(["method", "subject"])["across"]
    assert across["PCA", "mitt"] == "-"
    assert fit_table(evaluation)["in folds"].unique().tolist() == ["1 of 1"]


# --- options ----------------------------------------------------------------------------------


def test_grids_read_what_set_reads():
    assert parse_grid(["beta=1e-3, 0.1", "patience=null,5", "sharing=mm-vamp"], "--grid") == {
        "beta": [0.001, 0.1],
        "patience": [None, 5],
        "sharing": ["mm-vamp"],
    }
    schedule = parse_grid(["beta=[[0, 0], [20, 0.3]],0.3"], "--grid")
    assert schedule == {"beta": [[[0, 0], [20, 0.3]], 0.3]}
    for wrong in ("beta", "=3", "beta=", "beta=,", "be ta=3", "beta=[1"):
        with pytest.raises(na.ParameterError, match=r"^--grid"):
            parse_grid([wrong], "--grid")


def test_seeds_names_and_jobs():
    assert parse_seeds(" 3, 5-6") == (3, 5, 6)
    for wrong in ("", "1,,2", "-1", "3-1", "1.5", "0,0-1"):
        with pytest.raises(na.ParameterError, match="--seeds"):
            parse_seeds(wrong)
    assert parse_names(None) == ()
    assert parse_jobs(-1) == -1
    for number in (0, -2):
        with pytest.raises(na.ParameterError, match="--jobs"):
            parse_jobs(number)


def test_baselines_are_found_by_name():
    assert match_baselines(["all"]) == tuple(BASELINES)
    assert match_baselines(["Multi-Set CCA", "multi-setcca"]) == ("multi-set CCA",)
    assert match_baselines([]) == ()


def test_commands_are_what_a_shell_would_run(monkeypatch):
    inputs = StudyInputs(
        spec="mine.yaml",
        paths=("my data/*.nwb",),
        recipe="paper",
        label=["odor", "correct"],
        sessions="concatenate",
        settings={"encoder_hidden": list(range(100, 140))},
        seed=2,
    )
    evaluate = EvaluationRequest(
        inputs=inputs,
        out="scores",
        cv=3,
        baselines=("PCA + Procrustes",),
        tune={"beta": [0.001, [[0, 0], [5, 1]]], "patience": [None, 3]},
        tune_baselines=False,
        leave_label_out=("A|True",),
        model_null="fit-and-classifier",
        imputation=False,
        jobs=-1,
    )
    sweep = SweepRequest(inputs=StudyInputs("m", ("d",)), out="s", grid=GRID, seeds=(0, 4))
    asked = []
    monkeypatch.setattr("neuroalign.cli.evaluate.run_evaluate", asked.append)
    monkeypatch.setattr("neuroalign.cli.sweep.run_sweep", asked.append)
    for request in (evaluate, sweep):
        succeed(*shlex.split(request.command())[1:])
        assert asked[-1].command() == request.command()
    assert asked[0].tune == evaluate.tune
    assert asked[0].inputs == inputs
    assert (asked[0].model_null, asked[0].tune_baselines) == ("fit-and-classifier", False)
    assert (asked[1].grid, asked[1].seeds) == (GRID, (0, 4))
    assert as_yaml("mm-vamp") == "mm-vamp"


def test_spread_leaves_out_what_is_not_known():
    assert spread_text([np.nan, 0.25, 0.5], 1) == "0.4 (0.2 to 0.5)"
    assert spread_text([np.nan]) == "-"
