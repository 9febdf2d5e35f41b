"""`neuroalign export`: what it writes of a run, what it leaves out, and how it refuses."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

import neuroalign as na
from neuroalign.cli import app
from neuroalign.cli.export import parse_files
from neuroalign.cli.run_folder import RunFolder

TINY = [
    *("--set", "max_epochs=1"),
    *("--set", "n_latents=2"),
    *("--set", "decoder_hidden=[8]"),
    *("--seed", "3"),
]


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def succeed(*words: object) -> str:
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    return result.output


def refuse(*words: object) -> str:
    """Run a command that must end with exit code 2 and one line of error; return that line."""
    result = invoke(*words)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    assert result.exit_code == 2, result.output
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    return lines[0].removeprefix("error: ")


@pytest.fixture(scope="module")
def recordings_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "nwb"
    recordings, _ = na.simulate_recordings(
        units={"mitt": 9, "stella": 7}, trials=32, random_state=1
    )
    na.write_nwb(recordings, folder)
    return folder


@pytest.fixture(scope="module")
def fitted(recordings_folder: Path) -> RunFolder:
    """A finished run and nothing else; tests must not change it."""
    out = recordings_folder.parent / "run"
    succeed("fit", "simulated", recordings_folder, "--out", out, *TINY)
    return RunFolder(out)


@pytest.fixture
def run(fitted: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the finished run."""
    shutil.copytree(fitted.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.nwb")
    }


def read(folder: Path, subject: str) -> Any:
    return na.read_nwb_results(folder / f"sub-{subject}_desc-neuroalign.nwb")


def test_help_shows_an_example() -> None:
    assert "\n    neuroalign export run" in succeed("export", "--help")


def test_a_bare_run_gives_latents_of_all_trials(
    fitted: RunFolder, recordings_folder: Path, tmp_path: Path
) -> None:
    before = hashes(recordings_folder)
    output = succeed("export", fitted.path, "--out", tmp_path)
    assert "run `neuroalign decode" in output
    assert "no file holds imputed activity; name a --source or a --target" in output
    latents = na.load_tree(fitted.latents)
    for subject in ("mitt", "stella"):
        results = read(tmp_path, subject)
        xr.testing.assert_identical(results.latents, latents[subject].to_dataset())
        assert results.trials["held_out"].tolist() == (~results.trials["in_fit"]).tolist()
        assert (results.decoded, results.imputed) == (None, {})
        assert [s["file"] for s in results.provenance["sources"]] == [f"sub-{subject}.nwb"]
    assert hashes(recordings_folder) == before
    assert str(tmp_path / "sub-mitt_desc-neuroalign.nwb") in output


@pytest.mark.slow
def test_a_run_that_was_decoded_and_imputed_gives_all_of_it(run: RunFolder) -> None:
    succeed("decode", run.path, "--permutations", "9")
    succeed("impute", run.path, "--source", "stella", "--target", "mitt")
    output = succeed("export", run.path)
    assert "decoded labels of held-out trials" in output
    assert "imputed from: mitt's in the file of stella" in output
    results = read(run.path / "nwb_results", "stella")
    held_out = na.load_tree(run.array("imputed_stella_to_mitt"))["mitt"].to_dataset()
    found = results.imputed["imputed_mitt_from_stella"]
    np.testing.assert_array_equal(
        found["expected"].sel(trial=held_out["trial"].values), held_out["expected"]
    )
    assert found.sizes["trial"] == results.latents.sizes["trial"]
    assert results.decoded is not None
    table = results.scores.set_index(["level", "train_subject"])["accuracy"]
    written = pd.read_csv(run.table("scores"))
    written = written[
        (written["method"] == "shared latents") & (written["test_subject"] == "stella")
    ]
    for row in written.itertuples():
        assert table[row.level, row.train_subject] == pytest.approx(row.accuracy)


def test_a_source_is_imputed_to_all_others(fitted: RunFolder, tmp_path: Path) -> None:
    succeed("export", fitted.path, "--out", tmp_path, "--source", "mitt")
    assert list(read(tmp_path, "mitt").imputed) == ["imputed_stella_from_mitt"]
    assert read(tmp_path, "stella").imputed == {}


def test_results_are_replaced_only_when_told(fitted: RunFolder, tmp_path: Path) -> None:
    succeed("export", fitted.path, "--out", tmp_path)
    before = hashes(tmp_path)
    assert refuse("export", fitted.path, "--out", tmp_path) == (
        f"{tmp_path}/sub-mitt_desc-neuroalign.nwb exists; pass --overwrite to replace it, or give "
        "another folder."
    )
    assert hashes(tmp_path) == before
    succeed("export", fitted.path, "--out", tmp_path, "--overwrite")
    assert set(hashes(tmp_path)) == set(before)


def test_a_recording_that_was_moved_can_be_named(run: RunFolder, tmp_path: Path) -> None:
    windows = na.load_tree(run.windows)
    gone = {
        name: child.to_dataset().assign_attrs(source_files=f'["gone/{name}.nwb"]')
        for name, child in windows.children.items()
    }
    na.save_tree(xr.DataTree.from_dict(gone), run.windows)
    moved = tmp_path / "moved.nwb"
    original, _ = na.simulate_recordings(units={"mitt": 2}, trials=20, random_state=0)
    na.write_nwb(original, tmp_path / "one", species="Mus musculus")
    shutil.move(tmp_path / "one" / "sub-mitt.nwb", moved)
    result = invoke("export", run.path, "--nwb", f"mitt={moved}")
    assert result.exit_code == 0
    assert result.stderr.count("warning: ") == 1
    assert "gone/stella.nwb, which subject 'stella' was read from, is not there" in result.stderr
    assert read(run.path / "nwb_results", "mitt").provenance["sources"][0]["file"] == "moved.nwb"


def test_what_makes_no_sense_ends_with_one_message(fitted: RunFolder, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "none")
    assert "must be a subject of the run (mitt, stella), got 'sela'" in refuse(
        "export", fitted.path, *out, "--source", "sela"
    )
    assert "must be two subjects, got 'mitt' for both" in refuse(
        "export", fitted.path, *out, "--source", "mitt", "--target", "mitt"
    )
    assert refuse("export", fitted.path, *out, "--nwb", "a.nwb") == (
        "--nwb expects SUBJECT=FILE, got 'a.nwb'."
    )
    assert "there is no file a.nwb" in refuse("export", fitted.path, *out, "--nwb", "mitt=a.nwb")
    assert "is no run folder: it does not exist" in refuse("export", tmp_path / "no", *out)
    assert not (tmp_path / "none").exists()


def test_parse_files() -> None:
    assert parse_files([]) == {}
    assert parse_files(["a=1.nwb", "a=2.nwb"]) == {"a": ["1.nwb", "2.nwb"]}
