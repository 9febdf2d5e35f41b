"""Many fits at once end as they would alone, whatever else is fitted beside them."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_fits import TINY, tiny_windows

import neuroalign as na
from neuroalign import many_fits, restarts
from neuroalign.schema import map_subjects

SETTINGS = TINY | {"max_epochs": 6, "patience": 2, "precision": "float64"}
pytestmark = pytest.mark.usefixtures("few_steps")


@pytest.fixture(scope="module")
def windows() -> xr.DataTree:
    return tiny_windows(trials=40)


def model(**change: Any) -> na.SharedLatentModel:
    return na.SharedLatentModel(**SETTINGS | change)


def alone(given: na.SharedLatentModel, windows: xr.DataTree) -> na.SharedLatentModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        return na.SharedLatentModel(**given.get_params()).fit(windows, label="odor")


def assert_same_fit(found: Any, expected: na.SharedLatentModel, windows: xr.DataTree) -> None:
    assert isinstance(found, na.SharedLatentModel)
    assert found.get_params() == expected.get_params()
    assert found.best_epoch_ == expected.best_epoch_
    assert found.fitted_.validation_trials == expected.fitted_.validation_trials
    # unlike the objective, its parts may pass through zero
    np.testing.assert_allclose(
        found.history_["objective"], expected.history_["objective"], rtol=1e-8
    )
    assert found.alignment_ == pytest.approx(expected.alignment_, rel=1e-6)
    assert found.restarts_["seed"].tolist() == expected.restarts_["seed"].tolist()
    mine, theirs = found.transform(windows), expected.transform(windows)
    for name in ("ada", "bob"):
        for part in ("mean", "scale"):
            np.testing.assert_allclose(mine[name][part], theirs[name][part], rtol=1e-5, atol=1e-6)
    imputed = [m.impute(windows, source="ada", target="bob") for m in (found, expected)]
    np.testing.assert_allclose(*(tree["bob"]["expected"] for tree in imputed), rtol=1e-4)


def test_seeds_betas_and_starts_end_as_alone(windows: xr.DataTree) -> None:
    models = [
        model(random_state=0),
        model(random_state=1, beta=1.0),
        model(random_state=2, n_init=2),
        model(random_state=3, n_latents=3),  # of another shape, so fitted apart
        model(random_state=4, beta=[(0, 0.0), (3, 0.5)]),
    ]
    given = [m.get_params() for m in models]
    for found, one in zip(na.fit_many(models, windows, label="odor"), models, strict=True):
        assert_same_fit(found, alone(one, windows), windows)
    assert [m.get_params() for m in models] == given
    assert not any(hasattr(m, "fitted_") for m in models)


def test_each_model_may_have_data_of_its_own(windows: xr.DataTree) -> None:
    """As a null has it: the same trials, other labels; or a sweep: other training trials."""
    permuted = na.permute_labels(windows, "odor", random_state=3)
    halves = [
        na.split_trials(windows, test_size=0.5, stratify="odor", random_state=seed)[0]
        for seed in (0, 1)
    ]
    trees = [windows, permuted, *halves]
    models = [model(random_state=5) for _ in trees]
    for found, tree in zip(na.fit_many(models, trees, label="odor"), trees, strict=True):
        assert_same_fit(found, alone(models[0], tree), tree)


def test_what_can_train_together_does(
    windows: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    original = many_fits.train_starts

    def watched(trainings: Any, **named: Any) -> Any:
        sizes.append([len(t.seeds) for t in trainings])
        return original(trainings, **named)

    monkeypatch.setattr(many_fits, "train_starts", watched)
    brief = {"max_epochs": 1}
    slow = [model(beta=[(0, 0.0), (20, 0.3)], **brief)]  # it would keep the others from stopping
    models = [model(random_state=seed, **brief) for seed in range(6)]
    models += [
        model(random_state=9, n_init=3, **brief),
        model(likelihood="gaussian", **brief),
        *slow,
    ]
    na.fit_many(models, windows, label="odor")
    assert sizes == [[1, 1, 1, 1], [1, 1], [3], [1], [1]]


def test_one_that_cannot_be_fitted_does_not_cost_the_others(
    windows: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = many_fits.prepare_fit

    def fragile(*asked: Any, seed: int) -> Any:
        prepared = original(*asked, seed=seed)
        if seed != 1:
            return prepared

        def build(own_seed: int) -> Any:
            networks = prepared.training.build(own_seed)
            with torch.no_grad():
                next(networks.parameters()).fill_(float("nan"))
            return networks

        training = dataclasses.replace(prepared.training, build=build)
        return dataclasses.replace(prepared, training=training)

    monkeypatch.setattr(many_fits, "prepare_fit", fragile)
    models = [model(random_state=0), model(random_state=1), model(beta=-1.0)]
    good, broken, refused = na.fit_many(models, windows, label="odor")
    assert_same_fit(good, alone(models[0], windows), windows)
    assert isinstance(broken, na.TrainingError)
    assert "reconstruction term of 'ada' is not finite in epoch 1" in str(broken)
    assert isinstance(refused, na.ParameterError)
    assert "beta must be" in str(refused)


def test_as_many_trees_as_models_are_needed(windows: xr.DataTree) -> None:
    with pytest.raises(na.ParameterError, match="one for each of 2 models, got 3"):
        na.fit_many([model(), model()], [windows] * 3, label="odor")


def test_nothing_to_fit_is_nothing_done(windows: xr.DataTree) -> None:
    assert na.fit_many([], windows, label="odor") == []


def test_bounds_of_counts_stay_each_models_own_when_others_stop_first(windows: xr.DataTree) -> None:
    """Largest counts differ between the trees, and every model stops at an epoch of its own."""

    def louder(spikes: int) -> xr.DataTree:
        def add(_: str, data: xr.Dataset) -> xr.Dataset:
            counts = data["counts"].copy()
            counts[0, 0, 0] = spikes
            return data.assign(counts=counts)

        return map_subjects(windows, add)

    trees = [louder(spikes) for spikes in (20, 40, 60)]
    models = [model(random_state=seed, patience=1, max_epochs=12) for seed in (0, 1, 2)]
    found = na.fit_many(models, trees, label="odor")
    lengths = set()
    for one, given, tree, spikes in zip(found, models, trees, (20, 40, 60), strict=True):
        assert isinstance(one, na.SharedLatentModel)
        lengths.add(len(one.history_))
        for likelihood in one.fitted_.vae.likelihoods:
            assert likelihood.bound == math.log(2.0 * (spikes + 1))
        assert_same_fit(one, alone(given, tree), tree)
    assert len(lengths) > 1  # or nobody would have left before the others


# --- Memory -----------------------------------------------------------------------------------


def out_of_memory_beyond(
    most: int, monkeypatch: pytest.MonkeyPatch, tried: list[int] | None = None
) -> None:
    """Let training raise what torch raises on a full GPU if there are more replicates."""
    original = restarts.train

    def crowded(vae: Any, data: Any, *asked: Any, **named: Any) -> Any:
        if tried is not None:
            tried.append(len(data))
        if len(data) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore")
        return original(vae, data, *asked, **named)

    monkeypatch.setattr(restarts, "train", crowded)


def test_pieces_that_do_not_fit_into_memory_are_halved(
    windows: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_fits, "replicates_that_fit", lambda _: 5)
    monkeypatch.setattr(restarts, "replicates_that_fit", lambda _: 5)
    models = [model(random_state=seed, max_epochs=1) for seed in range(5)]
    expected = na.fit_many(models, windows, label="odor")
    tried: list[int] = []
    out_of_memory_beyond(1, monkeypatch, tried)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = na.fit_many(models, windows, label="odor")
        said = [str(w.message) for w in caught if issubclass(w.category, na.DataWarning)]
    assert tried == [5, 2, 1, 1, 1, 1, 1]
    assert said == [
        "5 fits side by side did not fit into the memory of cpu; going on with 2 at a time.",
        "2 fits side by side did not fit into the memory of cpu; going on with 1 at a time.",
    ]
    for one, other in zip(found, expected, strict=True):
        assert isinstance(other, na.SharedLatentModel)
        assert_same_fit(one, other, windows)


def test_a_fit_that_does_not_fit_into_memory_alone_is_an_error_in_its_place(
    windows: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    out_of_memory_beyond(0, monkeypatch)
    models = [model(max_epochs=1), model(max_epochs=1, n_init=2)]
    with pytest.warns(na.DataWarning, match="going on with 1 at a time"):
        found = na.fit_many(models, windows, label="odor")
    for one in found:
        assert isinstance(one, na.TrainingError)
        assert str(one) == (
            "one fit alone does not fit into the memory of cpu (CUDA out of memory. Tried to "
            "allocate 2 GiB.); lower batch_size or the widths of hidden layers, or pass "
            'device="cpu".'
        )


def test_memory_that_runs_out_beside_training_costs_that_fit_alone(
    windows: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crowded(name: str, full: int) -> None:
        original, calls = getattr(many_fits, name), []

        def fill(*asked: Any, **named: Any) -> Any:
            calls.append(name)
            if len(calls) == full:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            return original(*asked, **named)

        monkeypatch.setattr(many_fits, name, fill)

    crowded("prepare_fit", 1)
    crowded("finish_fit", 2)
    models = [model(max_epochs=1, random_state=seed) for seed in range(3)]
    first, second, third = na.fit_many(models, windows, label="odor")
    assert isinstance(first, na.TrainingError)
    assert isinstance(second, na.SharedLatentModel)
    assert isinstance(third, na.TrainingError)


def test_every_fit_of_a_piece_that_breaks_gives_its_own_error(
    windows: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One breaks in ada's term, one in bob's, and none is left to go on."""
    original = many_fits.prepare_fit

    def fragile(*asked: Any, seed: int) -> Any:
        prepared = original(*asked, seed=seed)

        def build(own_seed: int) -> Any:
            networks = prepared.training.build(own_seed)
            with torch.no_grad():
                next(networks.decoders[seed].parameters()).fill_(float("nan"))
            return networks

        training = dataclasses.replace(prepared.training, build=build)
        return dataclasses.replace(prepared, training=training)

    monkeypatch.setattr(many_fits, "prepare_fit", fragile)
    models = [model(random_state=seed) for seed in (0, 1)]
    errors = [str(error) for error in na.fit_many(models, windows, label="odor")]
    for error, subject in zip(errors, ("ada", "bob"), strict=True):
        assert error.startswith(f"the reconstruction term of {subject!r} is not finite in epoch 1")
