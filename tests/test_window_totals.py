"""Encoders that also see each unit's spikes in the whole window."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_fits import TINY, tiny_windows

import neuroalign as na
from neuroalign.bridge import fit_totals_scaling, window_source
from neuroalign.exporting import weights_hash
from neuroalign.nn.random import RandomStreams
from neuroalign.training.sources import Mixing

SETTINGS = TINY | {"window_totals": True, "max_epochs": 2, "precision": "float64"}
pytestmark = pytest.mark.usefixtures("few_steps")


@pytest.fixture(scope="module")
def windows() -> xr.DataTree:
    return tiny_windows(trials=40)


def quiet_fit(windows: xr.DataTree, **change: Any) -> na.SharedLatentModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        model = na.SharedLatentModel(**SETTINGS | {"random_state": 0} | change)
        return model.fit(windows, label="odor")


@pytest.fixture
def fitted(windows: xr.DataTree) -> na.SharedLatentModel:
    return quiet_fit(windows)


def summed(data: xr.Dataset) -> np.ndarray:
    """Sum each unit's spikes over every window, by brute force: (trial, window, unit)."""
    return na.window_view(data).astype(float).sum(axis=-1)


@pytest.mark.parametrize(("kind", "root"), [("sqrt-standard", True), ("standard", False)])
def test_totals_are_standardised_by_all_windows(
    windows: xr.DataTree, kind: str, root: bool
) -> None:
    data = windows["ada"].to_dataset()
    scaling = fit_totals_scaling(data, kind)
    expected = np.sqrt(summed(data)) if root else summed(data)
    np.testing.assert_allclose(scaling.shift, expected.mean((0, 1)), rtol=1e-6)
    np.testing.assert_allclose(1 / scaling.gain, expected.std((0, 1)), rtol=1e-6)
    assert scaling.square_root is root


def test_raw_totals_stay_as_they_are(windows: xr.DataTree) -> None:
    scaling = fit_totals_scaling(windows["ada"].to_dataset(), "none")
    totals = torch.arange(6.0)
    assert torch.equal(scaling(totals), totals)


def test_encoders_see_totals_of_what_they_see_and_decoders_model_bins_alone(
    windows: xr.DataTree, fitted: na.SharedLatentModel
) -> None:
    subject, data = fitted.fitted_.subjects["ada"], windows["ada"].to_dataset()
    assert subject.totals is not None
    source = window_source(
        data, subject, device=torch.device("cpu"), dtype=torch.float64, target_counts=True
    )
    index = torch.arange(source.n_examples).reshape(1, -1)
    streams = RandomStreams([3])
    for mixed in (None, Mixing(index.flip(-1), 0.5, streams)):
        seen, counts = source.gather(index, mixed)
        units, lags = data.sizes["unit"], seen.shape[-1] // data.sizes["unit"] - 1
        assert counts.shape[-1] == lags * units == subject.n_features
        by_lag = counts.reshape(-1, lags, units)
        expected = (by_lag.sum(1).sqrt() - subject.totals.shift) * subject.totals.gain
        torch.testing.assert_close(seen[0, :, lags * units :], expected)
        torch.testing.assert_close(seen[..., : lags * units], subject.scaling(counts))
    assert seen.shape[-1] == subject.n_inputs
    encoders, decoders = fitted.fitted_.vae.encoders, fitted.fitted_.vae.decoders
    sizes = {tuple(p.shape)[-2:] for p in encoders[0].parameters()}
    assert any(subject.n_inputs in size for size in sizes)
    latent = torch.zeros(1, 1, 2, dtype=torch.float64)
    assert decoders[0](latent).shape[-1] == subject.n_features


def test_a_scaled_target_is_that_of_the_bins(windows: xr.DataTree) -> None:
    model = quiet_fit(windows, likelihood="gaussian")
    imputed = model.impute(windows, source="ada", target="bob")["bob"]["expected"]
    assert imputed.sizes == windows["bob"]["counts"].sizes
    assert imputed.notnull().all()


def test_a_model_with_totals_comes_back_from_a_file(
    windows: xr.DataTree, fitted: na.SharedLatentModel, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model")
    loaded = na.SharedLatentModel.load(tmp_path / "model")
    assert loaded.window_totals is True
    assert weights_hash(loaded.fitted_) == weights_hash(fitted.fitted_)
    mine, theirs = loaded.transform(windows), fitted.transform(windows)
    for name in ("ada", "bob"):
        xr.testing.assert_identical(mine[name].to_dataset(), theirs[name].to_dataset())
    totals = loaded.fitted_.subjects["ada"].totals
    assert totals is not None
    totals.gain[0] += 1
    assert weights_hash(loaded.fitted_) != weights_hash(fitted.fitted_)


def test_models_of_before_had_none(windows: xr.DataTree, tmp_path: Path) -> None:
    model = quiet_fit(windows, window_totals=False)
    model.save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "model.json").read_text())
    for kept in ("settings", "fit_settings"):
        del manifest[kept]["window_totals"]
    shutil.copytree(tmp_path / "model", tmp_path / "old")
    (tmp_path / "old" / "model.json").write_text(json.dumps(manifest))
    loaded = na.SharedLatentModel.load(tmp_path / "old")
    assert loaded.window_totals is False
    mine, theirs = loaded.transform(windows), model.transform(windows)
    xr.testing.assert_identical(mine["ada"].to_dataset(), theirs["ada"].to_dataset())


def test_fits_side_by_side_end_as_alone(windows: xr.DataTree) -> None:
    with_totals, without = (
        [na.SharedLatentModel(**SETTINGS | {"random_state": s, "window_totals": t}) for s in (0, 1)]
        for t in (True, False)
    )
    together = na.fit_many([*with_totals, *without], windows, label="odor")
    for found, seed, totals in zip(together, (0, 1, 0, 1), (True, True, False, False), strict=True):
        assert isinstance(found, na.SharedLatentModel)
        alone = quiet_fit(windows, random_state=seed, window_totals=totals)
        np.testing.assert_allclose(
            found.transform(windows)["ada"]["mean"],
            alone.transform(windows)["ada"]["mean"],
            rtol=1e-5,
            atol=1e-6,
        )


def test_a_subject_that_joins_is_shown_its_totals_too(windows: xr.DataTree) -> None:
    def only(*names: str) -> xr.DataTree:
        return xr.DataTree.from_dict({name: windows[name].to_dataset() for name in names})

    model = quiet_fit(only("ada"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        grown = model.add_subject(only("bob"), max_epochs=2, random_state=0)
    totals = grown.fitted_.subjects["bob"].totals
    assert totals is not None
    assert len(totals.shift) == windows["bob"].sizes["unit"]
    assert grown.transform(windows)["bob"]["mean"].notnull().all()


def test_it_is_one_or_the_other(windows: xr.DataTree) -> None:
    with pytest.raises(na.ParameterError, match="window_totals must be True or False, got 'yes'"):
        na.SharedLatentModel(**SETTINGS | {"window_totals": "yes"}).fit(windows, label="odor")
