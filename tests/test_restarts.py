"""Several random starts: the best one is kept, and an interrupted series goes on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from tiny_fits import TINY, tiny_windows

import neuroalign as na
from neuroalign import fitting, restarts
from neuroalign.errors import ModelFileError, TrainingError
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.restarts import Start, Training
from neuroalign.training import loop
from neuroalign.training.keeping import FitProgress

SETTINGS = TINY | {"max_epochs": 2, "random_state": 0}
pytestmark = pytest.mark.usefixtures("few_steps")


@pytest.fixture(scope="module")
def windows() -> xr.DataTree:
    return tiny_windows(trials=24)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Start]:
    """Collect every start of the fits that a test makes."""
    seen: list[Start] = []
    original = restarts.train_fit

    def watched(training: Training, **named: Any) -> list[Start]:
        made = original(training, **named)
        seen.extend(made)
        return made

    monkeypatch.setattr(fitting, "train_fit", watched)
    return seen


def _quiet_fit(
    windows: xr.DataTree, checkpoint: Path | None = None, **change: Any
) -> na.SharedLatentModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        model = na.SharedLatentModel(**SETTINGS | change)
        return model.fit(windows, label="odor", checkpoint=checkpoint)


def _assert_equal_weights(one: torch.nn.Module, two: torch.nn.Module) -> None:
    first, second = one.state_dict(), two.state_dict()
    assert set(first) == set(second)
    for name, value in first.items():
        assert torch.equal(value, second[name])


def test_the_start_with_the_lowest_objective_is_kept(
    windows: xr.DataTree, starts: list[Start]
) -> None:
    chosen = set()
    for seed in range(2):
        starts.clear()
        model = _quiet_fit(windows, n_init=3, random_state=seed)
        table = model.restarts_
        assert table.columns.tolist() == ["seed", "best_epoch", "objective"]
        assert table["seed"].is_unique
        assert table["seed"].iloc[0] == model.seed_ == seed
        assert table["objective"].tolist() == [start.objective for start in starts]
        best = int(table["objective"].to_numpy().argmin())
        chosen.add(best)
        _assert_equal_weights(model.fitted_.vae, starts[best].vae)
        pd.testing.assert_frame_equal(
            model.history_, pd.DataFrame(starts[best].progress.history[0])
        )
        assert model.best_epoch_ == table["best_epoch"].iloc[best]
    assert chosen != {0}  # or nothing would tell the best start from the first


def test_the_first_start_is_the_fit_with_one_start(
    windows: xr.DataTree, starts: list[Start]
) -> None:
    single = _quiet_fit(windows, precision="float64")
    series = _quiet_fit(windows, n_init=2, precision="float64")
    alone, first, second = starts
    assert len(single.restarts_) == 1
    assert np.isnan(single.restarts_["objective"].iloc[0])
    # side by side, sums of products may end in another last digit
    for name, value in alone.vae.state_dict().items():
        torch.testing.assert_close(first.vae.state_dict()[name], value, rtol=1e-9, atol=1e-10)
    for mine, theirs in zip(first.progress.history[0], alone.progress.history[0], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-9)
    assert first.progress.history != second.progress.history
    assert series.fitted_.validation_trials == single.fitted_.validation_trials


def test_equal_starts_are_judged_equal(
    windows: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and noise are the same for all, so that objectives tell starts apart by weights."""
    model = _quiet_fit(windows, n_init=2)
    assert model.restarts_["objective"].nunique() == 2
    monkeypatch.setattr(restarts, "_restart_seed", lambda seed, _: seed)
    copied = _quiet_fit(windows, n_init=2).restarts_["objective"].tolist()
    assert copied == pytest.approx([model.restarts_["objective"].iloc[0]] * 2, rel=1e-5)


def test_starts_that_break_are_passed_over(
    windows: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _quiet_fit(windows, n_init=3)
    broken = {int(whole.restarts_["seed"].iloc[0])}
    original = fitting.build_networks

    def fragile(subjects: Any, settings: Any, seed: int) -> MultimodalVAE:
        networks = original(subjects, settings, seed)
        if seed in broken:
            with torch.no_grad():
                next(networks.parameters()).fill_(float("nan"))
        return networks

    monkeypatch.setattr(fitting, "build_networks", fragile)
    model = _quiet_fit(windows, n_init=3)
    pd.testing.assert_frame_equal(
        model.restarts_, whole.restarts_.iloc[1:].reset_index(drop=True), rtol=1e-5
    )
    broken.update(whole.restarts_["seed"])
    with pytest.raises(TrainingError, match="of 'ada' is not finite in epoch 1"):
        _quiet_fit(windows, n_init=3)


def test_starts_without_validation_trials_are_judged_on_training_trials(
    windows: xr.DataTree,
) -> None:
    model = _quiet_fit(windows, n_init=2, validation_fraction=0)
    assert np.isfinite(model.restarts_["objective"]).all()
    assert model.restarts_["best_epoch"].tolist() == [2, 2]


def test_the_series_comes_back_from_a_file(windows: xr.DataTree, tmp_path: Path) -> None:
    for n_init in (1, 2):
        model = _quiet_fit(windows, n_init=n_init)
        loaded = na.SharedLatentModel.load(model.save(tmp_path / f"{n_init}"))
        pd.testing.assert_frame_equal(loaded.restarts_, model.restarts_, check_exact=True)


def _interrupting(after: int) -> Callable[..., None]:
    """Record epochs, and break off after so many, as Ctrl-C would."""
    original, done = loop._record, 0

    def record(progress: FitProgress, *rest: Any, **named: Any) -> None:
        nonlocal done
        original(progress, *rest, **named)
        done += 1
        if done == after:
            raise KeyboardInterrupt

    return record


@pytest.mark.parametrize(("after", "patience"), [(1, 10), (2, None), (3, 2)])
def test_an_interrupted_series_goes_on_to_the_same_result(
    windows: xr.DataTree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    patience: int | None,
) -> None:
    settings: dict[str, Any] = {"n_init": 3, "patience": patience, "max_epochs": 6}
    whole = _quiet_fit(windows, **settings)
    state = tmp_path / "state"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_record", _interrupting(after))
        with pytest.raises(KeyboardInterrupt):
            _quiet_fit(windows, state, **settings)
    # an epoch that was cut short leaves nothing
    assert len(list(tmp_path.iterdir())) == (after > 1)
    resumed = _quiet_fit(windows, state, **settings)
    assert list(tmp_path.iterdir()) == []
    _assert_equal_weights(whole.fitted_.vae, resumed.fitted_.vae)
    pd.testing.assert_frame_equal(whole.restarts_, resumed.restarts_, check_exact=True)
    pd.testing.assert_frame_equal(whole.history_, resumed.history_, check_exact=True)


@pytest.mark.parametrize(
    "change",
    [{"divergence": "mixture"}, {"standard_weight": 1.0}, {"divergence": [(0, 0), (1, 1)]}],
)
def test_starts_are_judged_by_the_same_divergence_after_an_interruption(
    windows: xr.DataTree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
) -> None:
    settings: dict[str, Any] = {"n_init": 2, "beta": 1.0, **change}
    whole = _quiet_fit(windows, **settings)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_record", _interrupting(2))
        with pytest.raises(KeyboardInterrupt):
            _quiet_fit(windows, tmp_path / "state", **settings)
    resumed = _quiet_fit(windows, tmp_path / "state", **settings)
    pd.testing.assert_frame_equal(whole.restarts_, resumed.restarts_, check_exact=True)


def test_checkpoints_of_another_series_are_refused(
    windows: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_record", _interrupting(2))
        with pytest.raises(KeyboardInterrupt):
            _quiet_fit(windows, state, n_init=2)
    with pytest.raises(ModelFileError, match="belongs to another fit"):
        _quiet_fit(windows, state, n_init=3)


def _sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many starts train side by side."""
    sizes: list[int] = []
    original = restarts.train

    def watched(vae: Any, data: Any, *asked: Any, **named: Any) -> Any:
        sizes.append(len(data))
        return original(vae, data, *asked, **named)

    monkeypatch.setattr(restarts, "train", watched)
    return sizes


def test_starts_train_in_pieces_that_fit_into_memory(
    windows: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _quiet_fit(windows, n_init=4, precision="float64")
    sizes = _sizes(monkeypatch)
    monkeypatch.setattr(restarts, "replicates_at_once", lambda *_: 3)
    pieces = _quiet_fit(windows, n_init=4, precision="float64")
    assert sizes == [3, 1]
    pd.testing.assert_frame_equal(pieces.restarts_, whole.restarts_, rtol=1e-8)


@pytest.mark.parametrize(("after", "left"), [(2, "0-2"), (4, "2-4")])
def test_an_interrupted_series_of_pieces_goes_on_to_the_same_result(
    windows: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, left: str
) -> None:
    """Interrupted in the first or the second piece, and with other memory when it goes on."""
    monkeypatch.setattr(restarts, "replicates_at_once", lambda *_: 2)
    whole = _quiet_fit(windows, n_init=5)
    state = tmp_path / "state"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_record", _interrupting(after))
        with pytest.raises(KeyboardInterrupt):
            _quiet_fit(windows, state, n_init=5)
    assert f"state.{left}" in {file.name for file in tmp_path.iterdir()}
    sizes = _sizes(monkeypatch)
    monkeypatch.setattr(restarts, "replicates_at_once", lambda *_: 4)
    resumed = _quiet_fit(windows, state, n_init=5)
    assert sizes == ([2, 3] if left == "0-2" else [2, 2, 1])
    assert list(tmp_path.iterdir()) == []
    pd.testing.assert_frame_equal(whole.restarts_, resumed.restarts_, rtol=1e-4, check_exact=False)


@pytest.mark.filterwarnings("ignore:the subjects did not meet")  # two epochs are too few
def test_starts_that_do_not_fit_into_memory_are_halved(
    windows: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _quiet_fit(windows, n_init=3, precision="float64")
    sizes = _sizes(monkeypatch)
    original = restarts.train

    def crowded(vae: Any, data: Any, *asked: Any, **named: Any) -> Any:
        progress = original(vae, data, *asked, **named)
        if len(data) > 1:  # only after it has left a checkpoint
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return progress

    monkeypatch.setattr(restarts, "train", crowded)
    with pytest.warns(na.DataWarning, match="^3 fits side by side .* going on with 1 at a time"):
        model = na.SharedLatentModel(**SETTINGS | {"n_init": 3, "precision": "float64"}).fit(
            windows, label="odor", checkpoint=tmp_path / "state"
        )
    assert sizes == [3, 1, 1, 1]
    assert list(tmp_path.iterdir()) == []
    pd.testing.assert_frame_equal(model.restarts_, whole.restarts_, rtol=1e-8)
