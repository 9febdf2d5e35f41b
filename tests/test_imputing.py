"""Imputing from several sources against means of what each source says alone."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.linear_model import Ridge

import neuroalign as na
from neuroalign import restarts, translation
from neuroalign.errors import DataError, NeuroAlignError, ParameterError
from neuroalign.schema import build_tree, iterate_subjects, map_subjects
from neuroalign.settings import training_config
from neuroalign.training.config import TrainingConfig

TINY: dict[str, Any] = {
    "n_latents": 2,
    "encoder_hidden": (8,),
    "decoder_hidden": (8,),
    "max_epochs": 2,
    "learning_rate": 0.02,
    "random_state": 0,
    "verbose": False,
}
LOST = {"ada": [0, 3], "bob": [3, 7, 8], "eve": [1], "zoe": [3]}


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """Let epochs of these small data have few steps: nothing here asks for a good fit."""

    def shortened(given: Mapping[str, Any]) -> TrainingConfig:
        return dataclasses.replace(training_config(given), least_steps=4)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restarts, "training_config", shortened)
        patch.setattr(translation, "STRENGTHS", (0.01,))  # one penalty, so none is searched for
        yield


def _quiet_fit(windows: xr.DataTree, **change: Any) -> na.SharedLatentModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        return na.SharedLatentModel(**TINY | change).fit(windows, label="odor")


@pytest.fixture(scope="module")
def complete() -> xr.DataTree:
    """Recorded together, with all trials."""
    recordings, _ = na.simulate_recordings(
        units={"ada": 6, "bob": 5, "eve": 4, "zoe": 3},
        trials=24,
        mean_rate=10.0,
        simultaneous=True,
        random_state=2,
    )
    binned = na.bin_spikes(na.keep_spec_trials(recordings), bin_width=0.025)
    return na.slide_windows(binned, length=0.1, step=0.05)


@pytest.fixture(scope="module")
def together(complete: xr.DataTree) -> xr.DataTree:
    """Every subject lacks trials that others have; nobody but ada misses the first."""

    def lose(name: str, data: xr.Dataset) -> xr.Dataset:
        return data.isel(trial=np.setdiff1d(np.arange(data.sizes["trial"]), LOST[name]))

    return map_subjects(complete, lose)


@pytest.fixture(scope="module")
def model(together: xr.DataTree) -> na.SharedLatentModel:
    return _quiet_fit(together, pairing="trial", allow_missing=True)


@pytest.fixture(scope="module")
def apart() -> xr.DataTree:
    """Recorded apart; trial ids are equal, and mean nothing."""
    recordings, _ = na.simulate_recordings(
        units={"ada": 6, "bob": 5, "eve": 4}, trials=24, mean_rate=10.0, random_state=2
    )
    binned = na.bin_spikes(na.keep_spec_trials(recordings), bin_width=0.025)
    windows = na.slide_windows(binned, length=0.1, step=0.05)
    return map_subjects(windows, lambda _, d: d.assign_coords(trial=np.arange(24)))


@pytest.fixture(scope="module")
def apart_model(apart: xr.DataTree) -> na.SharedLatentModel:
    return _quiet_fit(apart)


def _expected(
    model: na.SharedLatentModel, data: xr.DataTree, target: str, **arguments: Any
) -> xr.DataArray:
    made = model.impute(data, target=target, **arguments)
    assert list(made.children) == [target]
    return dict(iterate_subjects(made))[target]["expected"]


def _precision(model: na.SharedLatentModel, data: xr.DataTree, name: str) -> xr.DataArray:
    """Return the mean over latents of the posteriors' precision, (trial, window)."""
    scale = dict(iterate_subjects(model.transform(data)))[name]["scale"]
    assert float(scale.std()) > 0
    return (scale**-2.0).mean("latent")


def _mean_of_those_there(
    parts: Mapping[str, xr.DataArray], weights: Mapping[str, xr.DataArray] | None, trial: int
) -> np.ndarray:
    """Average the sources that have a trial, (window, unit, lag)."""
    total, weight_sum = np.zeros(()), np.zeros(())
    for name, part in parts.items():
        if trial in part["trial"].values:
            weight = (
                np.ones((part.sizes["window"], 1, 1))
                if weights is None
                else weights[name].sel(trial=trial).to_numpy()[:, None, None]
            )
            total = total + weight * part.sel(trial=trial).to_numpy()
            weight_sum = weight_sum + weight
    return np.asarray(total / weight_sum)


def _met(data: xr.DataTree, first: str, other: str) -> list[int]:
    """Return which trial of `other` stands beside each of the first source's: the k-th of its label."""
    own, theirs = data[first].to_dataset(), data[other].to_dataset()
    chosen = []
    for trial, odor in zip(own["trial"].values, own["odor"].values, strict=True):
        rank = int(((own["odor"] == odor) & (own["trial"] < trial)).sum())
        alike = np.sort(theirs["trial"].values[theirs["odor"].values == odor])
        chosen.append(int(alike[rank % len(alike)]))
    return chosen


@pytest.mark.parametrize("combine", ["precision", "equal"])
def test_sources_recorded_apart_meet_by_label_and_are_averaged(
    apart_model: na.SharedLatentModel, apart: xr.DataTree, combine: str
) -> None:
    sources = ["bob", "ada"]
    parts = {n: _expected(apart_model, apart, "eve", source=n, windows=True) for n in sources}
    assert not np.allclose(parts["ada"], parts["bob"], rtol=1e-2)
    weights = None
    met = {n: _met(apart, "bob", n) for n in sources}
    assert met["bob"] == list(range(24)) != met["ada"]
    parts = {n: p.sel(trial=met[n]).assign_coords(trial=np.arange(24)) for n, p in parts.items()}
    if combine == "precision":
        weights = {
            n: _precision(apart_model, apart, n)
            .sel(trial=met[n])
            .assign_coords(trial=np.arange(24))
            for n in sources
        }
    both = _expected(apart_model, apart, "eve", source=sources, windows=True, combine=combine)
    assert both.dims == ("trial", "window", "unit", "lag")
    np.testing.assert_array_equal(both["odor"], apart["bob"]["odor"])
    by_hand = [_mean_of_those_there(parts, weights, trial) for trial in range(24)]
    np.testing.assert_allclose(both, np.stack(by_hand), rtol=1e-5)
    default = _expected(apart_model, apart, "eve", source=sources, windows=True)
    assert np.array_equal(default, both) == (combine == "precision")


def test_equal_weights_give_the_mean_of_single_sources(
    apart_model: na.SharedLatentModel, apart: xr.DataTree
) -> None:
    for windows in (True, False):
        parts = [
            _expected(apart_model, apart, "eve", source=n, windows=windows)
            .sel(trial=_met(apart, "ada", n))
            .to_numpy()
            for n in ("ada", "bob")
        ]
        both = _expected(
            apart_model, apart, "eve", source=["ada", "bob"], windows=windows, combine="equal"
        )
        np.testing.assert_allclose(both, np.mean(parts, axis=0), rtol=1e-5)


@pytest.mark.parametrize("combine", ["precision", "equal"])
def test_trials_that_a_source_lacks_come_from_the_others(
    model: na.SharedLatentModel, together: xr.DataTree, complete: xr.DataTree, combine: str
) -> None:
    sources = ["ada", "bob", "eve"]
    parts = {n: _expected(model, together, "zoe", source=n, windows=True) for n in sources}
    weights = None
    if combine == "precision":
        weights = {n: _precision(model, together, n) for n in sources}
    found = _expected(model, together, "zoe", source=sources, windows=True, combine=combine)
    own = {n: set(part["trial"].values.tolist()) for n, part in parts.items()}
    union = set.union(*own.values())
    assert len(union) == len(found["trial"]) == 24  # only ada and bob lack the fourth
    assert set(found["trial"].values.tolist()) == union
    assert {sum(t in ids for ids in own.values()) for t in union} == {1, 2, 3}
    truth = complete["zoe"].to_dataset()
    for trial in union:
        here = found.sel(trial=trial)
        np.testing.assert_allclose(here, _mean_of_those_there(parts, weights, trial), rtol=1e-5)
        for label in ("odor", "onset", "arousal"):  # labels stay with their trials
            assert here[label].item() == truth[label].sel(trial=trial).item()
    # the first source's trials in its order, then those that it lacks
    first = together["ada"]["trial"].to_numpy()
    np.testing.assert_array_equal(found["trial"][: len(first)], first)


def test_simultaneous_sources_say_label_and_deviation(
    model: na.SharedLatentModel, together: xr.DataTree
) -> None:
    """Rates of the labels that the source reads, at averages shifted as its own latents are."""
    found = _expected(model, together, "zoe", source="ada", windows=True)
    fitted = model.fitted_
    centres, deviations = {}, {}
    for name in ("ada", "zoe"):
        kept = fitted.latents[name]
        centres[name] = np.stack([kept.mean[kept.labels == c].mean(0) for c in model.classes_])
        own = centres[name][np.searchsorted(model.classes_, kept.labels)]
        deviations[name] = (kept.mean - own).reshape(len(kept.mean), -1)
    shared = np.intersect1d(fitted.latents["ada"].trials, fitted.latents["zoe"].trials)
    x, y = (
        deviations[name][np.searchsorted(fitted.latents[name].trials, shared)]
        for name in ("ada", "zoe")
    )
    unit = np.square(x - x.mean(0)).sum() / x.shape[1]
    ridge = Ridge(alpha=fitted.translation["ada", "zoe"].penalty * unit).fit(x, y)
    mean = dict(iterate_subjects(model.transform(together)))["ada"]["mean"].to_numpy()
    probability = fitted.readers["ada"](mean)
    own = np.einsum("tk,kwl->twl", probability, centres["ada"])
    shift = ridge.predict((mean - own).reshape(len(mean), -1)).reshape(mean.shape)
    assert np.abs(shift).max() > 1e-3 * np.abs(centres["zoe"]).max()
    rates = np.zeros((*mean.shape[:2], 4, 3))  # (trial, window, lag, unit)
    likelihood: Any = fitted.vae.likelihoods[3]
    for weight, centre in zip(probability.T, centres["zoe"], strict=True):
        latent = torch.from_numpy(centre + shift).float().flatten(0, 1)
        with torch.no_grad():
            rate = likelihood.mean(fitted.vae.decoders[3](latent[None])[0]).numpy()
        rates += weight[:, None, None, None] * rate.reshape(rates.shape)
    offset, slope = (line.numpy() for line in fitted.calibration["ada", "zoe"])
    expected = (offset + slope * rates).transpose(0, 1, 3, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_averages_in_time_are_those_of_the_windows(
    model: na.SharedLatentModel, together: xr.DataTree
) -> None:
    windows = _expected(model, together, "zoe", source=["eve", "ada"], windows=True)
    whole = _expected(model, together, "zoe", source=["eve", "ada"])
    np.testing.assert_array_equal(whole["trial"], windows["trial"])
    for time in range(10):  # windows of 4 bins begin every 2 bins
        parts = [
            windows.isel(window=w, lag=time - 2 * w) for w in range(4) if 0 <= time - 2 * w < 4
        ]
        np.testing.assert_allclose(whole.isel(time=time), np.mean(parts, axis=0), rtol=1e-5)


def test_without_a_source_all_others_are_taken(
    model: na.SharedLatentModel, together: xr.DataTree
) -> None:
    by_default = model.impute(together, target="zoe")["zoe"].to_dataset()
    named = model.impute(together, source=["ada", "bob", "eve"], target="zoe")["zoe"].to_dataset()
    assert by_default.identical(named)
    assert by_default.attrs["source"] == "ada, bob, eve"
    # subjects that are not in the data, or not in the fit, are no sources
    some = {name: together[name].to_dataset() for name in ("bob", "zoe")}
    stranger = together["ada"].to_dataset()
    alone = model.impute(build_tree({**some, "max": stranger}), target="zoe")["zoe"].to_dataset()
    assert alone.identical(model.impute(together, source="bob", target="zoe")["zoe"].to_dataset())
    with pytest.raises(ParameterError) as caught:
        model.impute(build_tree({"zoe": some["zoe"]}), target="zoe")
    assert str(caught.value) == "source must name at least one subject, got an empty list."


@pytest.mark.parametrize("combine", ["precision", "equal"])
def test_the_order_of_sources_does_not_matter(
    model: na.SharedLatentModel, together: xr.DataTree, combine: str
) -> None:
    reference = _expected(model, together, "zoe", combine=combine).sortby("trial")
    for order in itertools.permutations(["ada", "bob", "eve"]):
        found = _expected(model, together, "zoe", source=list(order), combine=combine)
        found = found.sortby("trial")
        np.testing.assert_array_equal(found["trial"], reference["trial"])
        np.testing.assert_allclose(found, reference, rtol=1e-4)


def test_the_order_of_trials_does_not_matter(
    model: na.SharedLatentModel,
    together: xr.DataTree,
    apart_model: na.SharedLatentModel,
    apart: xr.DataTree,
) -> None:
    for fitted, data, target in ((model, together, "zoe"), (apart_model, apart, "eve")):
        stirred = map_subjects(
            data,
            lambda n, d: d.isel(
                trial=np.random.default_rng(len(n) + d.sizes["unit"]).permutation(d.sizes["trial"])
            ),
        )
        sources = ["ada", "bob"]
        reference = _expected(fitted, data, target, source=sources).sortby("trial")
        found = _expected(fitted, stirred, target, source=sources)
        assert not np.array_equal(found["trial"], reference["trial"])
        found = found.sortby("trial")
        for coordinate in ("trial", "odor"):
            # recorded apart, the first source's are kept
            np.testing.assert_array_equal(found[coordinate], reference[coordinate])
        np.testing.assert_allclose(found, reference, rtol=1e-4)


def test_precise_sources_count_more(
    apart_model: na.SharedLatentModel, apart: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neuroalign import imputing

    original = imputing.encode_subject

    def sharpened(fitted: Any, name: str, dataset: xr.Dataset) -> xr.Dataset:
        latents = original(fitted, name, dataset)
        return latents.assign(scale=latents["scale"] * (1e-4 if name == "bob" else 1.0))

    monkeypatch.setattr(imputing, "encode_subject", sharpened)
    both = _expected(apart_model, apart, "eve", source=["ada", "bob"])
    alone = _expected(apart_model, apart, "eve", source="bob").sel(trial=_met(apart, "ada", "bob"))
    np.testing.assert_allclose(both, alone.to_numpy(), rtol=1e-4)


def test_subjects_recorded_apart_need_neither_equal_ids_nor_equally_many_trials(
    apart_model: na.SharedLatentModel, apart: xr.DataTree
) -> None:
    def change(name: str, data: xr.Dataset) -> xr.Dataset:
        return data.isel(trial=slice(9, None)).assign_coords(trial=np.arange(15) + 700)

    others = map_subjects(apart, lambda n, d: change(n, d) if n == "bob" else d)
    single = [
        _expected(apart_model, others, "eve", source=n).sel(trial=_met(others, "ada", n))
        for n in ("ada", "bob")
    ]
    found = _expected(apart_model, others, "eve", combine="equal")  # ada is the first source
    np.testing.assert_array_equal(found["trial"], apart["ada"]["trial"])
    np.testing.assert_allclose(found, np.mean(single, axis=0), rtol=1e-5)
    odor = str(apart["ada"]["odor"].values[0])
    lacking = map_subjects(
        apart, lambda n, d: d.isel(trial=d["odor"].values != odor) if n == "bob" else d
    )
    found = _expected(apart_model, lacking, "eve", combine="equal")
    alone = _expected(apart_model, lacking, "eve", source="ada")
    here = found["odor"].values == odor
    np.testing.assert_allclose(found[here], alone[here], rtol=1e-5)
    assert not np.allclose(found[~here], alone[~here], rtol=1e-2)


def test_subjects_recorded_apart_meet_by_their_labels_alone(
    apart_model: na.SharedLatentModel, apart: xr.DataTree
) -> None:
    bare = map_subjects(apart, lambda _, d: d.drop_vars("odor"))
    _expected(apart_model, bare, "eve", source="ada")
    with pytest.raises(DataError, match="odor"):
        apart_model.impute(bare, source=["ada", "bob"], target="eve")


def test_unknown_ways_to_combine_are_refused(
    apart_model: na.SharedLatentModel, apart: xr.DataTree
) -> None:
    with pytest.raises(ParameterError) as caught:
        apart_model.impute(apart, source=["ada", "bob"], target="eve", combine="mean")
    assert str(caught.value) == "combine must be one of 'precision', 'equal', got 'mean'."


def test_unknown_ways_to_combine_are_refused_for_one_source_too(
    apart_model: na.SharedLatentModel, apart: xr.DataTree
) -> None:
    with pytest.raises(ParameterError, match="combine must be one of"):
        apart_model.impute(apart, source="ada", target="eve", combine="mean")


def test_points_have_no_precision(apart: xr.DataTree) -> None:
    model = _quiet_fit(apart, sharing="autoencoder", max_epochs=1)
    with pytest.raises(ParameterError) as caught:
        model.impute(apart, source=["ada", "bob"], target="eve")
    assert str(caught.value) == (
        'latents of sharing="autoencoder" have no scale to weight sources by; pass combine="equal".'
    )
    single = [
        _expected(model, apart, "eve", source=n).sel(trial=_met(apart, "ada", n)).to_numpy()
        for n in ("ada", "bob")
    ]
    both = _expected(model, apart, "eve", source=["ada", "bob"], combine="equal")
    np.testing.assert_allclose(both, np.mean(single, axis=0), rtol=1e-5)


def test_names_that_are_no_subjects_are_refused(
    apart_model: na.SharedLatentModel, apart: xr.DataTree
) -> None:
    for role, arguments in (
        ("source", {"source": ["ada", "max"], "target": "eve"}),
        ("target", {"source": "ada", "target": "max"}),
    ):
        with pytest.raises(ParameterError) as caught:
            apart_model.impute(apart, **arguments)
        assert str(caught.value) == (
            f"{role} must be a subject of the fit (ada, bob, eve), got 'max'."
        )
    lone = build_tree({"ada": apart["ada"].to_dataset()})
    with pytest.raises(DataError) as missing:
        apart_model.impute(lone, source=["ada", "bob"], target="eve")
    assert str(missing.value) == "no subject 'bob' in the data; it holds: ada."


def test_whole_trials_are_needed(apart_model: na.SharedLatentModel, apart: xr.DataTree) -> None:
    cut = map_subjects(apart, lambda _, d: d.isel(window=slice(1, None)))
    with pytest.raises(DataError) as caught:
        apart_model.impute(cut, source="ada", target="eve")
    assert str(caught.value) == (
        "imputing reads whole trials, so it needs the 4 windows of the fit, got 3 other ones for "
        "subject 'ada'; do not select windows before impute."
    )


def test_what_is_no_tree_is_refused_without_a_source_too(
    apart_model: na.SharedLatentModel, apart: xr.DataTree
) -> None:
    with pytest.raises(NeuroAlignError, match="must be an xarray"):
        apart_model.impute(apart["ada"].to_dataset(), target="eve")  # type: ignore[arg-type]
