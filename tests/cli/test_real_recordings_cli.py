"""The main job on four real files, from the command line to figures."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from neuroalign.cli import app

DATA = Path(os.environ.get("NEUROALIGN_DATA", Path(__file__).parents[3] / "shared" / "data"))
STEINMETZ = DATA / "steinmetz_visual"
MICE = ["Cori", "Forssmann", "Hench", "Lederberg"]
FIGURES = {"quality", "history", "latents_by_label", "latents_by_subject", "trajectories"}


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not STEINMETZ.is_dir(), reason=f"no recordings in {STEINMETZ}")
def test_four_mice_are_fitted_decoded_imputed_and_drawn(tmp_path: Path) -> None:
    run = tmp_path / "run"
    files = [str(path) for path in sorted(STEINMETZ.glob("*.nwb"))]
    commands = [
        ["fit", "steinmetz_visual", *files, "--out", str(run), "--seed", "30"],
        ["decode", str(run)],
        ["impute", str(run)],
        ["plot", str(run)],
    ]
    for command in commands:
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    scores = pd.read_csv(run / "scores.csv").query(
        "level == 'trial' and method == 'shared latents'"
    )
    assert sorted(set(scores["test_subject"])) == MICE
    chance = 1 / 3
    for kind in ("within", "others"):
        of_kind = scores[scores["kind"] == kind]
        assert of_kind["accuracy"].mean() > chance + 0.1, kind
        assert (of_kind["p_corrected"] < 0.05).mean() >= 0.75, kind
    own = pd.read_csv(run / "reconstruction.csv").set_index("subject")
    assert own.index.tolist() == MICE
    assert (own["bits_per_spike"] > 0).all()
    imputed = pd.read_csv(run / "imputation.csv").groupby("kind")["bits_per_spike"].mean()
    assert imputed["imputed"] > imputed["floor"]
    drawn = {path.stem for path in (run / "figures").glob("*.png")}
    assert drawn >= FIGURES | {"score_matrix"}
    assert any(name.startswith("imputation_") for name in drawn)
