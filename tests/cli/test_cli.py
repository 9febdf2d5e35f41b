"""The commands: what they write, what they say, and how they end on bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import neuroalign as na
from neuroalign.cli import app
from neuroalign.cli.console import collected_warnings, in_shell_words
from neuroalign.cli.files import read_dataset
from neuroalign.cli.fit_request import FitRequest
from neuroalign.cli.options import parse_label, parse_paths, parse_settings, parse_test_size
from neuroalign.cli.run_folder import RunFolder
from neuroalign.cli.summary import write_summary
from neuroalign.cli.summary_sections import read_table
from neuroalign.cli.tables import decoding_table, markdown_table, text_table

START = [sys.executable, "-c", "from neuroalign.cli import main; main()"]
TINY = [
    *("--set", "max_epochs=3"),
    *("--set", "n_latents=2"),
    *("--set", "encoder_hidden=[8]"),
    *("--set", "decoder_hidden=8"),
    *("--seed", "3"),
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
    assert lines[0].startswith("error: ")
    assert "Traceback" not in result.output
    return lines[0].removeprefix("error: ")


@pytest.fixture(scope="module")
def recordings_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "nwb"
    recordings, _ = na.simulate_recordings(
        units={"mitt": 9, "stella": 7, "barat": 8}, trials=32, random_state=1
    )
    na.write_nwb(recordings, folder)
    return folder


@pytest.fixture(scope="module")
def fitted(recordings_folder):
    """A finished run, decoded and imputed; tests must not change it."""
    out = recordings_folder.parent / "run"
    succeed("fit", "simulated", recordings_folder, "--out", out, *TINY)
    succeed("decode", out, "--permutations", "50", "--seed", "5")
    succeed("impute", out, "--seed", "5")
    return RunFolder(out)


@pytest.fixture
def run(fitted, tmp_path):
    """A copy of the finished run."""
    shutil.copytree(fitted.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.fixture
def without_figures(monkeypatch):
    """Draw nothing: figures take most of the time of a tiny fit, and other tests look at them."""
    from neuroalign.cli import figures

    for name in [name for name in vars(figures) if name.startswith("draw_")]:
        if name != "draw_off_screen":
            monkeypatch.setattr(figures, name, lambda *_, **__: None)


def model_and_sides(fitted):
    model = na.SharedLatentModel.load(fitted.model)
    return model, *fitted.load_windows()


# --- the front door ---------------------------------------------------------------------------


def test_help_loads_no_heavy_library():
    code = (
        "import sys, neuroalign.cli\n"
        "heavy = {'torch', 'pynwb', 'h5py', 'matplotlib', 'xarray', 'pandas', 'sklearn', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["inspect", "fit", "decode", "impute", "plot", "demo"])
def test_every_help_shows_an_example(command):
    assert f"\n    neuroalign {command}" in succeed(command, "--help").output


def test_version():
    assert succeed("--version").output.strip() == f"neuroalign {na.__version__}"


@pytest.mark.parametrize("start", [START, [sys.executable, "-m", "neuroalign"]])
def test_the_command_of_a_shell_answers(start):
    said = subprocess.run(
        [*start, "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.strip() == f"neuroalign {na.__version__}"


# --- inspect ----------------------------------------------------------------------------------


def test_inspect_prints_what_python_finds(recordings_folder):
    path = recordings_folder / "sub-mitt.nwb"
    assert succeed("inspect", path).output.strip() == str(na.inspect_nwb(path)).strip()


def test_inspect_several_files_by_pattern(recordings_folder):
    output = succeed("inspect", recordings_folder / "*.nwb").output
    assert [name in output for name in ("mitt", "stella", "barat")] == [True] * 3


def test_inspect_spec_is_one_that_loads(recordings_folder, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(succeed("inspect", recordings_folder / "sub-mitt.nwb", "--spec").output)
    assert na.load_spec(path).label == "odor"


# --- fit --------------------------------------------------------------------------------------


def test_fit_writes_what_it_promises(fitted):
    tables = ("quality", "quality_units", "quality_dropped", "history")
    assert all(len(pd.read_csv(fitted.table(name))) for name in tables)
    figures = ("quality", "history", "latents_by_label", "latents_by_subject", "trajectories")
    assert all(fitted.figure(name).exists() for name in figures)
    assert not fitted.checkpoint.exists()
    assert not [path for path in fitted.path.rglob("*") if "partial" in path.name]
    assert fitted.manifest["status"] == "fitted"


def test_fit_equals_the_same_steps_in_python(fitted, recordings_folder):
    windows = na.slide_windows(na.bin_spikes(na.read_nwb(recordings_folder, "simulated")))
    train, test = na.split_trials(windows, stratify="odor", random_state=3)
    ours_train, ours_test = fitted.load_windows()
    for name in windows.children:
        assert np.array_equal(ours_train[name]["counts"], train[name]["counts"])
        assert np.array_equal(ours_test[name]["trial"], test[name]["trial"])
    model = na.SharedLatentModel(
        n_latents=2,
        max_epochs=3,
        encoder_hidden=(8,),
        decoder_hidden=(8,),
        random_state=3,
        verbose=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(train, label="odor")
    assert np.allclose(
        pd.read_csv(fitted.table("history"))["objective"], model.history_["objective"]
    )
    latents = na.load_tree(fitted.latents)["mitt"].to_dataset()
    expected = model.transform(test)["mitt"].to_dataset()
    assert np.allclose(latents["mean"][latents["held_out"].values], expected["mean"])
    assert np.array_equal(latents["trial"][latents["held_out"].values], expected["trial"])


def test_split_file_holds_the_trials_of_both_sides(fitted):
    split = json.loads(fitted.split.read_text())
    train, test = fitted.load_windows()
    assert split["seed"] == 3
    for name, ids in split["subjects"].items():
        assert ids["train"] == train[name]["trial"].values.tolist()
        assert ids["test"] == test[name]["trial"].values.tolist()
        assert not set(ids["train"]) & set(ids["test"])


def test_quality_table_counts_trials(fitted):
    quality = pd.read_csv(fitted.table("quality"), index_col="subject")
    assert quality.loc["mitt", "units"] == 9
    per_label = quality.filter(like="trials odor=").sum(axis=1)
    assert (per_label == quality["trials"]).all()
    assert (quality["trials"] == 32).all()


def test_warnings_are_one_line_each_and_kept(fitted):
    for text in fitted.manifest["warnings"]["fit"]:
        assert "\n" not in text
        assert text in fitted.summary.read_text()


def test_saved_spec_is_the_one_used(fitted):
    assert na.load_spec(fitted.path / "spec.yaml") == na.load_spec("simulated")


def test_label_may_be_a_combination(recordings_folder, tmp_path, without_figures):
    spec = yaml.safe_load((na.data.specs.shipped_specs()["simulated"]).read_text())
    spec["trials"]["keep"] = {"odor": ["A", "B"]}
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    out = tmp_path / "run"
    labels = ("--label", "odor", "--label", "in_sequence", "--set", "allow_missing=true")
    files = [recordings_folder / f"sub-{name}.nwb" for name in ("mitt", "stella")]
    succeed("fit", path, *files, "--out", out, *TINY, *labels)
    assert RunFolder(out).manifest["label"] == ["odor", "in_sequence"]


def test_run_is_not_overwritten_unless_asked(run, recordings_folder, without_figures):
    before = run.summary.read_text()
    message = refuse("fit", "simulated", recordings_folder, "--out", run.path, *TINY)
    assert message.startswith(f"{run.path} holds a run already and is not overwritten;")
    assert run.summary.read_text() == before
    (run.path / "notes.txt").write_text("mine")
    (run.path / "my.csv").write_text("mine")
    succeed("fit", "simulated", recordings_folder, "--out", run.path, *TINY, "--overwrite")
    assert not run.table("scores").exists()
    assert not run.figure("score_matrix").exists()
    assert (run.path / "notes.txt").read_text() == (run.path / "my.csv").read_text() == "mine"


def test_bad_input_leaves_the_old_run_alone(run, recordings_folder):
    before = sorted(path for path in run.path.rglob("*"))
    refuse("fit", "simulated", recordings_folder / "no.nwb", "--out", run.path, "--overwrite")
    refuse(
        *("fit", "simulated", recordings_folder, "--out", run.path, "--overwrite"),
        *("--set", "beta=-1"),
    )
    assert sorted(path for path in run.path.rglob("*")) == before
    assert run.manifest["status"] == "fitted"


def test_folder_of_something_else_is_never_written_to(tmp_path, recordings_folder):
    (tmp_path / "thesis.txt").write_text("mine")
    message = refuse("fit", "simulated", recordings_folder, "--out", tmp_path, "--overwrite")
    assert message == (
        f"{tmp_path} holds files but is no run folder, so nothing is written there; give "
        "another --out."
    )


def interrupt_epoch(monkeypatch, number):
    """Make the given epoch (counted from 1) end as with Ctrl-C."""
    from neuroalign.training import loop

    original, calls = loop._train_epoch, []

    def train_epoch(*arguments):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(loop, "_train_epoch", train_epoch)


def test_interrupted_fit_resumes_to_the_same_result(
    fitted, recordings_folder, tmp_path, monkeypatch, without_figures
):
    out = tmp_path / "run"
    words = ("fit", "simulated", recordings_folder, "--out", out, *TINY)
    with monkeypatch.context() as patch:
        interrupt_epoch(patch, 3)
        stopped = invoke(*words)
    assert stopped.exit_code == 130
    said = stopped.stderr.splitlines()[-1]
    assert said.startswith("interrupted: go on with: neuroalign fit simulated ")
    assert said.endswith(" --resume")
    assert "not finished" in refuse("decode", out)
    assert "asked for other settings" in refuse(*words, "--set", "beta=0.7", "--resume")
    succeed(*words, "--resume")
    resumed = pd.read_csv(RunFolder(out).table("history"))
    pd.testing.assert_frame_equal(resumed, pd.read_csv(fitted.table("history")))
    assert not RunFolder(out).checkpoint.exists()
    assert "is finished already" in succeed(*words, "--resume").output


# --- decode -----------------------------------------------------------------------------------


def test_scores_equal_python(fitted):
    model, train, test = model_and_sides(fitted)
    scores = na.decode_labels(
        model.transform(train), model.transform(test), label="odor", permutations=50, random_state=5
    )
    raw = na.decode_labels(
        *na.raw_features(train, test), label="odor", permutations=50, random_state=5
    )
    table = pd.read_csv(fitted.table("scores"))
    for method, expected in (("shared latents", scores), ("raw counts", raw)):
        ours = table[table["method"] == method].drop(columns="method").reset_index(drop=True)
        pd.testing.assert_frame_equal(ours, na.scores_to_frame(expected), check_dtype=False)


def test_predictions_name_every_held_out_trial(fitted):
    predictions = pd.read_csv(fitted.table("predictions"))
    _, test = fitted.load_windows()
    within = predictions[predictions["train_subject"] == predictions["test_subject"]]
    for name, part in within.groupby("test_subject"):
        assert part["trial"].tolist() == test[name]["trial"].values.tolist()
        assert part["label"].tolist() == test[name]["odor"].values.tolist()
    probabilities = predictions.filter(regex=r"^p\(")
    assert probabilities.columns.tolist() == ["p(A)", "p(B)", "p(C)", "p(D)"]
    assert np.allclose(probabilities.sum(axis=1), 1)
    best = probabilities.idxmax(axis=1).str.slice(2, -1)
    assert (best == predictions["predicted"]).all()
    scores = pd.read_csv(fitted.table("scores"))
    mitt = scores.query(
        "method == 'shared latents' and level == 'trial' and train_subject == 'others' "
        "and test_subject == 'mitt'"
    )["accuracy"].item()
    read = predictions.query("train_subject == 'others' and test_subject == 'mitt'")
    right = (read["label"] == read["predicted"]).groupby(read["label"]).mean().mean()
    assert right == pytest.approx(mitt)


def test_confusion_counts_every_trial(fitted):
    confusion = pd.read_csv(fitted.table("confusion"))
    _, test = fitted.load_windows()
    totals = confusion.groupby(["train_subject", "test_subject"])["trials"].sum()
    assert len(totals) == 3 * 4
    assert set(totals) == {test["mitt"].sizes["trial"]}


def test_score_arrays_survive_the_disk(fitted):
    scores = read_dataset(fitted.array("scores"))
    assert scores["test_trial_label"].dtype.kind == "U"
    assert scores["scored"].values.astype(bool).all()
    table = pd.read_csv(fitted.table("scores"))
    table = table[table["method"] == "shared latents"].drop(columns="method")
    pd.testing.assert_frame_equal(na.scores_to_frame(scores), table, check_dtype=False)


def test_classifiers_may_be_told_the_position(run, without_figures):
    succeed("decode", run.path, "--permutations", "0", "--position")
    model, train, test = model_and_sides(run)
    scores = na.decode_labels(
        model.transform(train),
        model.transform(test),
        label="odor",
        position=True,
        permutations=0,
        random_state=0,
    )
    table = pd.read_csv(run.table("scores"))
    table = table[table["method"] == "shared latents"].drop(columns="method")
    pd.testing.assert_frame_equal(table, na.scores_to_frame(scores), check_dtype=False)
    assert run.manifest["decode"]["position"] is True
    assert "Classifiers are told where in the trial" in run.summary.read_text()


@pytest.mark.slow
def test_folds_fit_anew_and_read_every_trial_once(run, without_figures):
    succeed("decode", run.path, "--folds", "2", "--permutations", "20")
    predictions = pd.read_csv(run.table("predictions_folds"))
    within = predictions[predictions["train_subject"] == predictions["test_subject"]]
    assert (within.groupby("test_subject").size() == 32).all()
    assert not within.duplicated(["test_subject", "trial"]).any()
    assert set(within["fold"]) == {0, 1}
    methods = set(pd.read_csv(run.table("scores_folds"))["method"])
    assert methods == {"shared latents", "raw counts"}
    assert "## Cross-validated decoding" in run.summary.read_text()


# --- impute -----------------------------------------------------------------------------------


def test_imputation_scores_equal_python(fitted):
    model, train, test = model_and_sides(fitted)
    expected = na.imputation_to_frame(
        na.score_imputation(
            model, train, test, label="odor", sources="mitt", targets="barat", random_state=5
        )
    )
    table = pd.read_csv(fitted.table("imputation"))
    assert len(table) == 3 * 3 * 2
    ours = table.query("source == 'mitt' and target == 'barat'").reset_index(drop=True)
    pd.testing.assert_frame_equal(ours, expected, check_dtype=False)


def test_one_pair_writes_its_activity_and_keeps_the_others(run):
    before = pd.read_csv(run.table("imputation"))
    succeed("impute", run.path, "--source", "stella", "--target", "barat", "--seed", "5")
    imputed = na.load_tree(run.array("imputed_stella_to_barat"))
    model, _, test = model_and_sides(run)
    expected = model.impute(test, source="stella", target="barat")
    assert np.allclose(imputed["barat"]["expected"], expected["barat"]["expected"])
    assert run.figure("imputation_stella_to_barat").exists()
    after = pd.read_csv(run.table("imputation"))
    keys = ["kind", "source", "target"]
    pd.testing.assert_frame_equal(
        after.sort_values(keys, ignore_index=True), before.sort_values(keys, ignore_index=True)
    )


def test_imputation_names_subjects(fitted):
    assert refuse("impute", fitted.path, "--source", "stela") == (
        "--source must be a subject of the run (barat, mitt, stella), got 'stela'. "
        "Did you mean 'stella'?"
    )
    assert refuse("impute", fitted.path, "--source", "mitt", "--target", "mitt") == (
        "--source and --target must be two subjects, got 'mitt' for both."
    )


# --- plot, summary ----------------------------------------------------------------------------


@pytest.mark.slow
def test_plot_draws_all_figures_again(run):
    figures = sorted(path.name for path in (run.path / "figures").iterdir())
    shutil.rmtree(run.path / "figures")
    succeed("plot", run.path)
    assert sorted(path.name for path in (run.path / "figures").iterdir()) == figures


def test_plot_by_another_label(run):
    output = succeed("plot", run.path, "--color", "held_out", "--projection", "pca").output
    path = run.figure("latents_by_held_out_pca")
    assert output.strip() == f"wrote {path}"
    assert "latents_by_held_out_pca.png" in run.summary.read_text()
    assert "no trial label 'taste'" in refuse("plot", run.path, "--color", "taste")


def test_figures_show_something(fitted):
    from matplotlib.image import imread

    paths = sorted((fitted.path / "figures").glob("*.png"))
    assert len(paths) == 7
    for path in paths:
        image = imread(path)
        assert min(image.shape[:2]) > 200
        assert image[..., :3].std() > 0.01


def test_summary_links_only_what_is_there(fitted):
    text = fitted.summary.read_text()
    for part in text.split("](")[1:]:
        assert (fitted.path / part.partition(")")[0]).exists()
    for heading in ("What was read", "The model", "Decoding odor", "Imputation", "Provenance"):
        assert f"\n## {heading}\n" in text
    assert "odor is not A, B, C, D" in text
    assert f"torch {fitted.manifest['versions']['torch']}" in text


def test_summary_tells_the_same_numbers_as_the_tables(fitted):
    scores = pd.read_csv(fitted.table("scores"))
    across = scores.query("method == 'shared latents' and kind == 'others' and level == 'trial'")
    text = fitted.summary.read_text()
    assert f"**{across['accuracy'].mean():.2f}** across subjects" in text
    assert markdown_table(decoding_table(scores)) in text


def test_summary_begins_with_what_the_fit_warned_about(fitted, tmp_path):
    copy = RunFolder(tmp_path / "run")
    shutil.copytree(fitted.path, copy.path)
    copy.update(warnings={"fit": ["the subjects did not meet in the latent space"]})
    text = write_summary(copy).read_text()
    warned = text.index("**Warning:** the subjects did not meet")
    assert warned < text.index("## What was read")


# --- bad input --------------------------------------------------------------------------------


def broken_copy(recordings_folder, tmp_path, change):
    path = tmp_path / "sub-mitt.nwb"
    shutil.copy(recordings_folder / "sub-mitt.nwb", path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def drop_units(file):
    del file["units"]


def drop_trials(file):
    del file["intervals/trials"]


def drop_odor(file):
    trials = file["intervals/trials"]
    del trials["odor"]
    trials.attrs["colnames"] = [n for n in trials.attrs["colnames"] if n != "odor"]


@pytest.mark.parametrize(
    ("change", "said"),
    [(drop_units, "units"), (drop_trials, "trials"), (drop_odor, "has no column 'odor'")],
)
def test_files_that_lack_something(recordings_folder, tmp_path, change, said):
    path = broken_copy(recordings_folder, tmp_path, change)
    message = refuse("fit", "simulated", path, "--out", tmp_path / "run")
    assert said in message
    assert "sub-mitt.nwb" in message
    assert not (tmp_path / "run").exists()


def test_paths_that_hold_nothing(tmp_path):
    out = ("--out", tmp_path / "run")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refuse("fit", "simulated", tmp_path / "no.nwb", *out) == (
        f"there is no file or folder {tmp_path / 'no.nwb'}; check the path."
    )
    assert refuse("fit", "simulated", empty, *out) == (
        f"the folder {empty} holds no .nwb files; give the folder that does."
    )
    assert refuse("inspect", tmp_path / "no.nwb").startswith("there is no file or folder")
    assert not (tmp_path / "run").exists()


def test_truncated_file(recordings_folder, tmp_path):
    path = tmp_path / "cut.nwb"
    path.write_bytes((recordings_folder / "sub-mitt.nwb").read_bytes()[:40_000])
    assert "may be truncated" in refuse("fit", "simulated", path, "--out", tmp_path / "run")
    assert "may be truncated" in refuse("inspect", path)


def test_one_label_only(recordings_folder, tmp_path):
    spec = yaml.safe_load((na.data.specs.shipped_specs()["simulated"]).read_text())
    spec["trials"]["keep"]["odor"] = ["B"]
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    message = refuse("fit", path, recordings_folder, "--out", tmp_path / "run")
    assert "one label (odor = B), expected at least two values" in message
    assert not (tmp_path / "run").exists()


def test_misspelt_spec(recordings_folder, tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text("name: mine\ntrails: {onset: onset}\n")
    message = refuse("fit", path, recordings_folder, "--out", tmp_path / "run")
    assert f"{path}: unknown key 'trails'. Did you mean 'trials'?" in message
    assert "Did you mean 'simulated'?" in refuse(
        "fit", "simulatd", recordings_folder, "--out", tmp_path / "run"
    )


def test_two_files_of_one_subject(recordings_folder, tmp_path):
    copy = tmp_path / "again.nwb"
    shutil.copy(recordings_folder / "sub-mitt.nwb", copy)
    message = refuse("fit", "simulated", recordings_folder, copy, "--out", tmp_path / "run")
    assert "two files are of subject 'mitt'" in message
    assert message.endswith(
        "name them as two subjects (NAME=FILE), or pass --sessions concatenate if they hold other "
        "units of the same trials."
    )


def test_model_arguments_are_checked_before_anything_is_read(tmp_path):
    words = ("fit", "simulated", "nowhere", "--out", tmp_path / "run")
    assert "Did you mean 'n_latents'?" in refuse(*words, "--set", "n_latent=3")
    assert refuse(*words, "--set", "random_state=3") == (
        "--set does not take 'random_state'; use --seed."
    )
    assert "has no recipe 'papr'" in refuse(*words, "--recipe", "papr")
    assert refuse(*words, "--device", "tpu9").startswith("device must be")
    assert refuse(*words, "--test-size", "1.5") == (
        "--test-size must be a share between 0 and 1 or a number of trials, got 1.5."
    )


@pytest.mark.parametrize("command", ["decode", "impute", "plot"])
def test_folder_that_is_no_run(command, tmp_path):
    assert refuse(command, tmp_path) == (
        f"{tmp_path} is no run folder: it has no run.json; give the folder that "
        "`neuroalign fit ... --out` wrote."
    )
    assert "it does not exist" in refuse(command, tmp_path / "no")
    (tmp_path / "run.json").write_text("{")
    assert "its run.json is damaged" in refuse(command, tmp_path)
    (tmp_path / "run.json").write_text('{"format": "neuroalign run", "format_version": 99}')
    assert "newer than this neuroalign" in refuse(command, tmp_path)


def test_damaged_run_says_what_is_damaged(run):
    run.latents.write_bytes(run.latents.read_bytes()[:1000])
    assert "latents.nc is no readable netCDF file" in refuse("decode", run.path)
    run.split.write_text("[]")
    assert "split.json is missing or damaged; fit again." in refuse("impute", run.path)


def test_interrupted_decoding_ends_with_130(fitted, monkeypatch):
    from neuroalign.analysis import decoding

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(decoding, "decode_labels", stop)
    result = invoke("decode", fitted.path)
    assert result.exit_code == 130
    assert result.stderr == "interrupted: run the same command again.\n"


def test_unwritable_folder_is_one_message(tmp_path, recordings_folder):
    (tmp_path / "file").write_text("mine")
    message = refuse("fit", "simulated", recordings_folder, "--out", tmp_path / "file" / "run")
    assert "check the path and its permissions" in message


# --- demo -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_demo_runs_the_whole_chain(tmp_path, monkeypatch):
    """The quick one, with a third of its epochs: enough to read more than chance."""
    from neuroalign.cli import demo

    monkeypatch.setattr(demo, "QUICK_SETTINGS", demo.QUICK_SETTINGS | {"max_epochs": 13})
    out = tmp_path / "demo"
    succeed("demo", "--quick", "--out", out)
    run = RunFolder(out / "run")
    scores = read_table(run, "scores").query("kind == 'within' and level == 'trial'")
    assert scores.groupby("method")["accuracy"].mean().min() > 0.4  # chance is 0.25
    assert len(list((run.path / "figures").glob("*.png"))) == 7
    assert "## Imputation" in run.summary.read_text()
    assert "holds a demo already" in refuse("demo", "--out", out, "--quick")


def test_demo_refuses_a_folder_of_something_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    message = refuse("demo", "--out", tmp_path, "--overwrite")
    assert message == f"{tmp_path} is there and is no demo; give another --out."


# --- parts ------------------------------------------------------------------------------------


def test_settings_read_yaml():
    assert parse_settings(["beta=1e-3", "patience=null", "encoder_hidden=input"]) == {
        "beta": 0.001,
        "patience": None,
        "encoder_hidden": "input",
    }
    for wrong in ("beta", "=3", "beta=", "be ta=3", "beta=[1"):
        with pytest.raises(na.ParameterError, match=r"--set"):
            parse_settings([wrong])
    with pytest.raises(na.ParameterError, match="twice"):
        parse_settings(["beta=1", "beta=2"])


def test_paths_may_name_their_subject(tmp_path):
    odd = tmp_path / "a=b.nwb"
    odd.write_text("")
    assert parse_paths([str(odd)]) == [str(odd)]
    assert parse_paths(["mitt=x.nwb", "mitt=y.nwb"]) == {"mitt": ["x.nwb", "y.nwb"]}
    with pytest.raises(na.ParameterError, match="without a subject"):
        parse_paths(["mitt=x.nwb", "y.nwb"])


def test_small_options():
    assert parse_label(None) is None
    assert parse_label(["odor"]) == "odor"
    assert parse_label(["odor", "correct"]) == ["odor", "correct"]
    assert parse_test_size(12.0) == 12
    for wrong in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(na.ParameterError):
            parse_test_size(wrong)


def test_command_is_what_a_shell_would_run():
    request = FitRequest(
        spec="mine.yaml",
        paths=("my data/*.nwb",),
        out="run",
        label=["odor", "correct"],
        test_size=40,
        sessions="concatenate",
        settings={"beta": 0.001, "patience": None, "encoder_hidden": [8, 8]},
    )
    assert request.command() == (
        "neuroalign fit mine.yaml 'my data/*.nwb' --out run --test-size 40 --sessions concatenate "
        "--label odor --label correct --set beta=0.001 --set patience=null "
        "--set 'encoder_hidden=[8, 8]'"
    )
    words = [word.removeprefix("--set ") for word in ("beta=0.001", "patience=null")]
    assert parse_settings(words) == {"beta": 0.001, "patience": None}


def test_remedies_are_in_shell_words():
    said = "subject 'a' carries no data spec with bin_width; pass bin_width=..."
    assert (
        in_shell_words(said) == "subject 'a' has none in its data spec; add bin_width to the spec."
    )
    assert in_shell_words("exists; pass overwrite=True to") == "exists; pass --overwrite to"


def test_tables_line_up():
    table = pd.DataFrame({"subject": ["a", "long|er"], "x": ["1.00", "10.00"]})
    assert text_table(table).splitlines() == [
        "subject      x",
        "a         1.00",
        "long|er  10.00",
    ]
    assert markdown_table(table).splitlines()[-1] == "| long\\|er | 10.00 |"


def test_warnings_are_collected_once_and_by_all_who_ask(capsys):
    with collected_warnings(echo=True) as outer:
        with collected_warnings() as inner:
            for _ in range(2):
                warnings.warn("two\nlines", na.DataWarning, stacklevel=1)
            warnings.warn("old way", DeprecationWarning, stacklevel=1)
        warnings.warn("later", UserWarning, stacklevel=1)
    assert inner == ["two lines"]
    assert outer == ["two lines", "later"]
    assert capsys.readouterr().err == "warning: two lines\nwarning: later\n"
