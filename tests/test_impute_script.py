"""The script that imputes one rat from the others runs as users would run it."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

import neuroalign as na

SCRIPT = Path(__file__).resolve().parents[1] / "tutorials" / "impute_across_rats.py"
UNITS = {"ada": 7, "bob": 9, "cleo": 6}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    described = importlib.util.spec_from_file_location("impute_across_rats", SCRIPT)
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


def simulated() -> xr.DataTree:
    return na.simulate_recordings(units=UNITS, trials=32, mean_rate=9, random_state=0)[0]


@pytest.mark.usefixtures("few_steps")
@pytest.mark.slow
def test_files_go_in_and_imputed_activity_comes_out(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = list(na.write_nwb(simulated(), tmp_path / "data").values())
    before = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    out = tmp_path / "out"
    words = [*map(str, files), "--target", "ada", "--epochs", "1", "--out", str(out)]
    script.main(words)
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in files] == before

    table = pd.read_csv(out / "scores.csv")
    assert set(table["target"]) == {"ada"}
    assert set(table["source"]) == {"bob", "cleo"}
    assert sorted(table["kind"].unique()) == ["ceiling", "floor", "imputed"]
    assert np.isfinite(table["bits_per_spike"]).all()
    assert "imputed    bob    ada" in capsys.readouterr().out

    results = na.read_nwb_results(out / "nwb" / "sub-bob_desc-neuroalign.nwb")
    expected = results.imputed["imputed_ada_from_bob"]
    assert expected["expected"].sizes["unit"] == UNITS["ada"]
    assert not results.trials["in_fit"].any()  # held-out trials only
    assert np.asarray(Image.open(out / "imputed.png").convert("L")).std() > 5  # not blank
    with pytest.raises(SystemExit, match="holds results; give another --out, or --overwrite"):
        script.main(words)


@pytest.mark.usefixtures("few_steps")
def test_without_files_it_simulates_and_imputes_the_rat_with_most_units(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings = simulated()
    monkeypatch.setattr(na, "simulate_recordings", lambda **_: (recordings, None))
    script.main(["--epochs", "1", "--out", str(tmp_path)])
    assert len(list((tmp_path / "simulated").glob("*.nwb"))) == len(UNITS)
    assert set(pd.read_csv(tmp_path / "scores.csv")["target"]) == {"bob"}
    written = na.read_nwb_results(tmp_path / "nwb" / "sub-cleo_desc-neuroalign.nwb")
    assert list(written.imputed) == ["imputed_bob_from_cleo"]
