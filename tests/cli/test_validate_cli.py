"""`neuroalign validate` from its words to its report, on a few small digits."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from neuroalign.cli import app
from neuroalign.cli.validate import _jobs
from neuroalign.validation.drawn_faces import MARKER, draw_faces

TINY = [
    *("--methods", "independent,mm-vamp", "--betas", "0.5", "--epochs", "1", "--latents", "2"),
    *("--train-rows", "60", "--test-rows", "40", "--judge-images", "60", "--jobs", "1"),
]


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, ["validate", *map(str, words)])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("validate") / "digits"
    return out, invoke("polymnist", "--views", 2, "--out", out, *TINY)


def test_it_ends_in_a_report_with_tables_and_figures(report: tuple[Path, Result]) -> None:
    out, said = report
    assert said.exit_code == 0, said.output
    assert "PolyMNIST-style (small digits)" in said.stdout
    page = (out / "report.md").read_text(encoding="utf-8")
    assert "small digits" in page
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores["method"]) == {"independent", "mm-vamp"}
    assert set(scores["beta"]) == {0.5}
    shown = {line.split("](")[1].rstrip(")") for line in page.splitlines() if line[:2] == "!["}
    assert shown
    assert all((out / name).stat().st_size > 1000 for name in shown)


def test_judges_that_read_too_little_judge_nothing(report: tuple[Path, Result]) -> None:
    out, said = report
    assert "less than 0.85: coherence of generated china is not judged" in said.stdout
    assert "coherence" not in set(pd.read_csv(out / "scores.csv")["measure"])


@pytest.mark.slow
def test_the_same_words_fit_nothing_anew_and_more_methods_are_added(
    report: tuple[Path, Result],
) -> None:
    out, _ = report
    before = pd.read_csv(out / "scores.csv")
    again = invoke("polymnist", "--views", 2, "--out", out, *TINY)
    assert "0 of 2 fits to do" in again.stdout
    more = [word.replace("independent,", "independent,poe,") for word in TINY]
    added = invoke("polymnist", "--views", 2, "--out", out, *more)
    assert "1 of 3 fits to do" in added.stdout
    after = pd.read_csv(out / "scores.csv")
    kept = after[after["method"] != "poe"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before)


def test_a_folder_of_other_settings_is_refused(report: tuple[Path, Result]) -> None:
    out, _ = report
    other = [word if word != "60" else "61" for word in TINY]
    said = invoke("polymnist", "--views", 2, "--out", out, *other)
    assert said.exit_code == 2
    assert "holds a study of PolyMNIST-style (small digits) with other settings" in said.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mnist-dir", "a"], "--mnist-dir needs --backgrounds"),
        (["--mnist-dir", "a", "--backgrounds", "b", "--polymnist-dir", "c"], "not both"),
        (["--methods", "vampire"], "unknown method 'vampire'; choose from "),
        (["--betas", "much"], "--betas expects numbers such as 0.5,1,2, got 'much'"),
        (["--divergence", "much"], 'divergence must be "pairwise" or "mixture", got '),
        (["--jobs", "0", "--epochs", "1"], "--jobs must be a number of processes"),
    ],
)
def test_wrong_words_end_in_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    said = invoke("polymnist", "--out", tmp_path / "out", *words)
    assert said.exit_code == 2
    assert message in said.stderr
    assert not (tmp_path / "out").exists()


TINY_FACES = [
    *("--methods", "mm-vamp", "--betas", "0.5", "--epochs", "1", "--latents", "2", "--jobs", "1"),
    *("--train-rows", "40", "--judge-images", "40"),
]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as CelebA is distributed, which its marker would say it is not."""
    folder = tmp_path_factory.mktemp("celeba") / "faces"
    drawn = draw_faces(folder, n_train=40, n_validation=30, n_test=30, n_jobs=1)
    (drawn / MARKER).unlink()
    return drawn


@pytest.mark.slow
def test_a_folder_laid_out_as_celeba_ends_in_a_report(faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = invoke("celeba", "--celeba-dir", faces, "--out", out, *TINY_FACES)
    assert said.exit_code == 0, said.output
    assert said.stdout.startswith("CelebA: ")
    assert set(pd.read_csv(out / "scores.csv")["measure"]) >= {"latent", "latent attribute"}
    sheets = {path.stem for path in out.glob("*_to_*.png")}
    assert sheets == {"image_to_text", "text_to_image", "image_to_image"}


@pytest.mark.slow
def test_the_scripts_take_the_presets_of_the_paper(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "paper"
    script = Path(__file__).parents[2] / "benchmarks" / "reproduce_celeba.py"
    words = ["--celeba-dir", faces, "--out", out, "--preset", "quick", "--seeds", 1, *TINY_FACES]
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    assert set(pd.read_csv(out / "scores.csv")["seed"]) == {1}


@pytest.mark.slow
def test_the_divergence_and_the_annealed_weight_can_be_chosen(tmp_path: Path) -> None:
    out = tmp_path / "annealed"
    chosen = ["--divergence", "mixture", "--standard-weight-epochs", 1]
    alone = [word.replace("independent,", "") for word in TINY]
    assert invoke("polymnist", "--views", 2, "--out", out, *alone, *chosen).exit_code == 0
    page = (out / "report.md").read_text(encoding="utf-8")
    assert "divergence mixture" in page
    assert "standard_weight_epochs 1" in page


def test_fits_run_side_by_side_on_cpus_unless_told_otherwise() -> None:
    from joblib import cpu_count

    assert _jobs(None, "cpu") == min(8, cpu_count())
    assert _jobs(3, "cpu") == 3
    assert _jobs(-1, "cpu") == -1


@pytest.mark.slow
def test_scores_of_one_seed_are_the_same_in_another_folder(
    report: tuple[Path, Result], tmp_path: Path
) -> None:
    alone = [word.replace("independent,", "") for word in TINY]
    assert invoke("polymnist", "--views", 2, "--out", tmp_path / "new", *alone).exit_code == 0
    fresh = pd.read_csv(tmp_path / "new" / "scores.csv")
    kept = pd.read_csv(report[0] / "scores.csv").query("method == 'mm-vamp'")
    np.testing.assert_array_equal(fresh["value"], kept["value"])
