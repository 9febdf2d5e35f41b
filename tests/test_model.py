"""SharedLatentModel on small simulations: the estimator's contract and its promises."""

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import neuroalign as na
from neuroalign import restarts, translation
from neuroalign.construction import build_networks
from neuroalign.diagnostics import LabelledLatents, alignment
from neuroalign.errors import DataError, ModelFileError, ParameterError
from neuroalign.fitted import FittedModel
from neuroalign.nn.likelihoods import LIKELIHOODS
from neuroalign.nn.random import RandomStreams
from neuroalign.nn.sharing import SHARING_RULES, SharingOptions
from neuroalign.schema import build_tree, iterate_subjects, map_subjects
from neuroalign.settings import training_config
from neuroalign.training.config import TrainingConfig

UNITS = {"ada": 14, "bob": 11, "eve": 9}
SMALL: dict[str, Any] = {
    "n_latents": 3,
    "encoder_hidden": (16,),
    "decoder_hidden": (16,),
    "max_epochs": 5,
    "learning_rate": 5e-3,
    "random_state": 0,
    "verbose": False,
}


def quiet_fit(
    model: na.SharedLatentModel, windows: xr.DataTree, **arguments: object
) -> na.SharedLatentModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        return model.fit(windows, **arguments)  # type: ignore[arg-type]


def assert_all_numbers_equal(
    first: na.SharedLatentModel, second: na.SharedLatentModel, windows: xr.DataTree
) -> None:
    for method in ("transform", "reconstruct"):
        for (_, a), (_, b) in zip(
            iterate_subjects(getattr(first, method)(windows)),
            iterate_subjects(getattr(second, method)(windows)),
            strict=True,
        ):
            assert a.identical(b)
    one, two = (m.impute(windows, source="ada", target="eve") for m in (first, second))
    assert one["eve"].to_dataset().identical(two["eve"].to_dataset())
    assert first.score(windows) == second.score(windows)
    assert first.summary() == second.summary()
    np.testing.assert_array_equal(first.history_, second.history_)
    np.testing.assert_array_equal(first.restarts_, second.restarts_)


def assert_training_has_helped(model: na.SharedLatentModel, windows: xr.DataTree) -> None:
    """Compare objectives of the same rows before and after; the model is of no use thereafter."""
    fitted, trained = model.fitted_, model.score(windows)
    untrained = build_networks(fitted.subjects, fitted.settings, fitted.seed)
    fitted.vae.load_state_dict(untrained.state_dict())
    assert model.score(windows) < trained


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """Let epochs of these small data have few steps: nothing here asks for a good fit."""

    def shortened(given: Mapping[str, Any]) -> TrainingConfig:
        return dataclasses.replace(training_config(given), least_steps=4)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restarts, "training_config", shortened)
        patch.setattr(translation, "STRENGTHS", (0.01,))  # one penalty, so none is searched for
        yield


@pytest.fixture(scope="module")
def windows() -> xr.DataTree:
    recordings, _ = na.simulate_recordings(
        units=UNITS, trials={"ada": 40, "bob": 48, "eve": 44}, mean_rate=8.0, random_state=1
    )
    return na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)


@pytest.fixture(scope="module")
def few(windows: xr.DataTree) -> xr.DataTree:
    """Two odors, 16 trials a subject and no other coordinate: as fast as a fit can be."""

    def cut(name: str, data: xr.Dataset) -> xr.Dataset:
        others = ["onset", "start", "stop", "in_sequence", "correct", "arousal"]
        return data.isel(trial=slice(0, 16)).drop_vars(others)

    return map_subjects(na.keep_labels(windows, "odor", ["A", "B"]), cut)


@pytest.fixture(scope="module")
def model(windows: xr.DataTree) -> na.SharedLatentModel:
    return quiet_fit(na.SharedLatentModel(**SMALL), windows, label="odor")


def test_scikit_learn_contract(windows: xr.DataTree) -> None:
    model = na.SharedLatentModel(**SMALL)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert copy.set_params(beta=0.5).beta == 0.5
    assert "n_latents=3" in repr(model)
    assert not [name for name in vars(model) if name.endswith("_")]
    for method in ("transform", "reconstruct", "score"):
        with pytest.raises(NotFittedError):
            getattr(model, method)(windows)
    with pytest.raises(NotFittedError):
        model.impute(windows, source="ada", target="bob")
    with pytest.raises(NotFittedError):
        model.save("nowhere")


def test_latents_carry_names_and_labels(model: na.SharedLatentModel, windows: xr.DataTree) -> None:
    latents = model.transform(windows)
    assert list(latents.children) == list(UNITS)
    for name, data in iterate_subjects(latents):
        source = windows[name]
        assert data["mean"].dims == ("trial", "window", "latent")
        assert (data["scale"] > 0).all()
        for coordinate in ("trial", "window", "odor", "onset"):
            xr.testing.assert_equal(data[coordinate].variable, source[coordinate].variable)
        assert data.attrs["stage"] == "latents"
    assert model.classes_.tolist() == ["A", "B", "C", "D"]
    assert model.subjects_ == list(UNITS)
    assert {name: len(ids) for name, ids in model.unit_ids_.items()} == UNITS


def test_encoding_equals_encoding_written_out_windows(
    model: na.SharedLatentModel, windows: xr.DataTree
) -> None:
    data = windows["bob"].to_dataset()
    view = na.window_view(data)  # (trial, window, unit, lag)
    counts = torch.from_numpy(np.ascontiguousarray(view.transpose(0, 1, 3, 2))).float()
    fitted = model.fitted_
    scaled = fitted.subjects["bob"].scaling(counts.flatten(2).flatten(0, 1))
    with torch.no_grad():
        expected = fitted.vae.encoders[1](scaled.unsqueeze(0)).mean[0]
    found = model.transform(build_tree({"bob": data}))["bob"]["mean"].to_numpy().reshape(-1, 3)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def legacy_state() -> np.ndarray:
    """Copy the state of numpy's global generator."""
    state: Any = np.random.get_state()  # noqa: NPY002
    return np.array(state[1])


def test_a_seed_gives_one_fit_and_leaves_global_state_alone(windows: xr.DataTree) -> None:
    settings = SMALL | {"max_epochs": 2, "dropout": 0.2}
    before, legacy = torch.get_rng_state(), legacy_state()
    first = quiet_fit(na.SharedLatentModel(**settings), windows, label="odor")
    second = quiet_fit(clone(first), windows, label="odor")
    third = quiet_fit(clone(first).set_params(random_state=1), windows, label="odor")
    a, b, c = (m.transform(windows)["eve"]["mean"].to_numpy() for m in (first, second, third))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(legacy, legacy_state())
    refitted = quiet_fit(first, windows, label="odor")
    np.testing.assert_array_equal(refitted.transform(windows)["eve"]["mean"].values, b)


def test_inputs_are_left_alone(windows: xr.DataTree) -> None:
    before = {name: data.copy(deep=True) for name, data in iterate_subjects(windows)}
    model = quiet_fit(na.SharedLatentModel(**SMALL | {"max_epochs": 1}), windows, label="odor")
    model.transform(windows)
    model.impute(windows, source="ada", target="eve")
    for name, data in iterate_subjects(windows):
        assert before[name].identical(data)


def test_validation_trials_are_whole_trials_apart_from_training(
    model: na.SharedLatentModel, windows: xr.DataTree
) -> None:
    for name, held in model.fitted_.validation_trials.items():
        odors = windows[name]["odor"].sel(trial=held).to_numpy()
        assert set(odors) == set("ABCD")
        share = len(held) / windows[name].sizes["trial"]
        assert share == pytest.approx(model.validation_fraction, abs=0.06)


def test_scaling_comes_from_training_trials_alone(
    model: na.SharedLatentModel, windows: xr.DataTree
) -> None:
    held = model.fitted_.validation_trials["ada"]
    data = windows["ada"].to_dataset()
    kept = data.isel(trial=~np.isin(data["trial"].values, held))
    view = np.sqrt(na.window_view(kept).astype(float)).transpose(0, 1, 3, 2)
    features = view.reshape(-1, view.shape[2] * view.shape[3])
    np.testing.assert_allclose(
        model.fitted_.subjects["ada"].scaling.shift, features.mean(0), rtol=1e-5
    )
    spread = features.std(0)
    gain = model.fitted_.subjects["ada"].scaling.gain.numpy()
    np.testing.assert_allclose(gain[spread > 0], 1 / spread[spread > 0], rtol=1e-4)


def test_reconstructed_counts_are_positive_and_sum_to_the_counts(
    model: na.SharedLatentModel, windows: xr.DataTree
) -> None:
    for name, data in iterate_subjects(model.reconstruct(windows)):
        expected = data["expected"]
        assert expected.dims == ("trial", "unit", "time")
        assert (expected > 0).all()
        real = windows[name]["counts"].sum(("trial", "time"))
        xr.testing.assert_allclose(
            expected.sum(("trial", "time")),
            real.astype(float).drop_vars([c for c in real.coords if c != "unit"]),
            rtol=0.02,
        )


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace", "poisson"])
@pytest.mark.parametrize("scaling", ["sqrt-standard", "none"])
def test_imputed_counts_are_positive_and_sum_to_the_counts(
    few: xr.DataTree, likelihood: str, scaling: str
) -> None:
    model = na.SharedLatentModel(
        **SMALL | {"max_epochs": 1, "likelihood": likelihood, "scaling": scaling}
    )
    quiet_fit(model, few, label="odor")
    imputed = model.impute(few, source="bob", target="ada")
    assert list(imputed.children) == ["ada"]
    data = imputed["ada"].to_dataset()
    assert (data["expected"] > 0).all()
    np.testing.assert_array_equal(data["trial"], few["bob"]["trial"])
    assert data["unit"].values.tolist() == model.unit_ids_["ada"]
    # what is to be met: the target's averages of the labels that the source's trials have
    counts = few["ada"]["counts"].groupby("odor").mean("trial")
    met = counts.sel(odor=few["bob"]["odor"].values).sum("time").mean("odor")
    total = data["expected"].sum("time").mean("trial")
    np.testing.assert_allclose(total, met, rtol=0.05)


def test_windows_are_averaged_back_onto_time(
    model: na.SharedLatentModel, windows: xr.DataTree
) -> None:
    apart = model.impute(windows, source="ada", target="bob", windows=True)["bob"].to_dataset()
    together = model.impute(windows, source="ada", target="bob")["bob"].to_dataset()
    assert apart["expected"].dims == ("trial", "window", "unit", "lag")
    width = windows["ada"].attrs["bin_width"]
    starts = np.round(apart["window"].values / width).astype(int)
    for time in (0, 7, 24):
        parts = [
            apart["expected"].isel(window=w, lag=time - s)
            for w, s in enumerate(starts)
            if s <= time < s + apart.sizes["lag"]
        ]
        np.testing.assert_allclose(
            np.mean(parts, axis=0), together["expected"].isel(time=time), rtol=1e-4
        )


@pytest.mark.parametrize("likelihood", ["poisson", "gaussian", "categorical"])
@pytest.mark.parametrize(
    ("value", "what"),
    [
        (0.5, "fractions: 0.5"),
        (-2.0, "negative values: -2"),
        (np.nan, "values that are not finite: nan"),
    ],
)
def test_what_are_no_counts_is_refused_and_not_rounded(
    windows: xr.DataTree, model: na.SharedLatentModel, likelihood: str, value: float, what: str
) -> None:
    def spoil(name: str, data: xr.Dataset) -> xr.Dataset:
        counts = data["counts"].astype(float).copy()
        if name == "bob":
            counts[3, 1, 2] = value
        return data.assign(counts=counts)

    spoilt = map_subjects(windows, spoil)
    trial, unit = (windows["bob"][axis].values[i] for axis, i in (("trial", 3), ("unit", 1)))
    expected = (
        f"counts must be whole numbers of spikes, but those of subject 'bob' hold {what} in "
        f"trial {trial} of unit {str(unit)!r}. "
    )
    fresh = na.SharedLatentModel(2, likelihood=likelihood, random_state=0, verbose=False)
    for use in (lambda: fresh.fit(spoilt, label="odor"), lambda: model.transform(spoilt)):
        with pytest.raises(DataError) as caught:
            use()
        assert str(caught.value).startswith(expected)


def test_whole_numbers_are_counts_whatever_their_type(
    windows: xr.DataTree, model: na.SharedLatentModel
) -> None:
    real = map_subjects(windows, lambda _, d: d.assign(counts=d["counts"].astype(float)))
    np.testing.assert_array_equal(
        model.transform(real)["bob"]["mean"], model.transform(windows)["bob"]["mean"]
    )


def test_trials_that_a_subject_recorded_together_lacks_must_be_allowed(
    windows: xr.DataTree,
) -> None:
    same = map_subjects(
        windows, lambda _, d: d.isel(trial=slice(0, 20)).assign_coords(trial=np.arange(20))
    )
    gaps = map_subjects(same, lambda n, d: d.isel(trial=slice(3, None)) if n == "bob" else d)
    settings: dict[str, Any] = {"pairing": "trial", "random_state": 0, "verbose": False}
    with pytest.raises(DataError) as caught:
        na.SharedLatentModel(2, **settings).fit(gaps, label="odor")
    assert str(caught.value) == (
        "pairing=\"trial\" pairs equal trial ids, but 'bob' lacks 3 that other subjects have "
        "(ids 0, 1, 2); keep the trials that all have (select_trials), or pass allow_missing=True."
    )
    allowed = na.SharedLatentModel(2, **settings, allow_missing=True, max_epochs=1)
    assert quiet_fit(allowed, gaps, label="odor").subjects_ == list(gaps.children)


def test_several_sources_are_averaged_over_trials_of_a_label(
    windows: xr.DataTree, model: na.SharedLatentModel
) -> None:
    one = map_subjects(windows, lambda _, d: d.isel(trial=d["odor"].values == "B"))
    shortest = min(d.sizes["trial"] for _, d in iterate_subjects(one))
    one = map_subjects(one, lambda _, d: d.isel(trial=slice(0, shortest)))
    both = model.impute(one, source=["ada", "bob"], target="eve", combine="equal")
    single = [
        model.impute(one, source=s, target="eve")["eve"]["expected"].to_numpy()
        for s in ("ada", "bob")
    ]
    np.testing.assert_allclose(both["eve"]["expected"], np.mean(single, axis=0), rtol=1e-5)


def test_units_are_matched_by_id(model: na.SharedLatentModel, windows: xr.DataTree) -> None:
    data = windows["ada"].to_dataset()
    turned = build_tree({"ada": data.isel(unit=slice(None, None, -1))})
    xr.testing.assert_allclose(
        model.transform(turned)["ada"]["mean"], model.transform(windows)["ada"]["mean"]
    )
    fewer = build_tree({"ada": data.isel(unit=slice(1, None))})
    with pytest.raises(
        DataError, match="'ada' has 13 units but the model was fitted on 14; missing: 'ada/0'"
    ):
        model.transform(fewer)
    other = build_tree({"zoe": data})
    with pytest.raises(DataError, match="'zoe' was not in the fit, which knows: ada, bob, eve"):
        model.transform(other)


def test_other_bins_are_refused(model: na.SharedLatentModel, windows: xr.DataTree) -> None:
    longer = na.slide_windows(windows, length=0.15, step=0.05)
    with pytest.raises(
        DataError, match=r"expected windows of 10 bins of 0.01 s as in the fit, got 15 bins"
    ):
        model.transform(longer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_latents": 0}, "n_latents must be a positive integer, got 0"),
        ({"sharing": "none"}, "sharing must be one of 'mm-vamp', .*; got 'none'"),
        ({"beta": -1}, 'beta must be "auto", a number from 0 to inf, or a list .*; got -1'),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"encoder_hidden": (0,)}, 'encoder_hidden must be "input" or a list of positive widths'),
        ({"decoder_hidden": 5}, 'decoder_hidden must be "input" or a list .*, got 5'),
        ({"patience": 0}, "patience must be a positive integer or None"),
        ({"device": "abacus"}, 'device must be "auto"'),
        ({"random_state": -3}, "random_state must not be negative"),
        ({"learning_rate": 0}, "learning_rate must be positive"),
        ({"weight_averaging": 1.0}, "weight_averaging must be at least 0 and below 1, got 1.0"),
        ({"n_init": 0}, "n_init must be a positive integer, got 0"),
        ({"gradient_clip": 0}, "gradient_clip must be positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    windows: xr.DataTree, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        na.SharedLatentModel(**SMALL | change).fit(windows, label="odor")


def test_labels_that_cannot_pair_are_refused(windows: xr.DataTree) -> None:
    model = na.SharedLatentModel(**SMALL)
    with pytest.raises(DataError, match="no trial label 'smell' for subject 'ada'"):
        model.fit(windows, label="smell")
    one = na.keep_labels(windows, "odor", ["A"])
    with pytest.raises(DataError, match="at least two values of 'odor', got only"):
        model.fit(one, label="odor")
    lacking = map_subjects(
        windows, lambda n, d: d.isel(trial=d["odor"].values != "B") if n == "bob" else d
    )
    with pytest.raises(
        DataError, match=r"no trials with odor 'B' for subject 'bob'; .*allow_missing=True"
    ):
        model.fit(lacking, label="odor")
    bare = map_subjects(windows, lambda _, d: d.assign_attrs(spec="{}"))
    with pytest.raises(ParameterError, match='pass label="odor"'):
        model.fit(bare)


def test_a_subject_may_lack_a_label_when_allowed(windows: xr.DataTree) -> None:
    lacking = map_subjects(
        windows, lambda n, d: d.isel(trial=d["odor"].values != "B") if n == "bob" else d
    )
    model = quiet_fit(
        na.SharedLatentModel(**SMALL | {"max_epochs": 2, "allow_missing": True}),
        lacking,
        label="odor",
    )
    assert model.classes_.tolist() == ["A", "B", "C", "D"]
    assert np.isfinite(model.history_["validation_objective"]).all()
    filled = model.impute(lacking, source="ada", target="bob")["bob"]["expected"]
    assert np.isfinite(filled).all()
    assert filled.sizes["trial"] == windows["ada"].sizes["trial"]


def test_the_label_comes_from_the_spec_or_is_a_combination(windows: xr.DataTree) -> None:
    settings = SMALL | {"max_epochs": 1}
    assert quiet_fit(na.SharedLatentModel(**settings), windows).label_ == "odor"
    combined = map_subjects(
        windows, lambda _, d: d.assign_coords(half=("trial", np.arange(d.sizes["trial"]) % 2))
    )
    model = quiet_fit(na.SharedLatentModel(**settings), combined, label=["odor", "half"])
    assert model.classes_.tolist() == [f"{o}|{h}" for o in "ABCD" for h in (0, 1)]


@pytest.mark.parametrize("sharing", SHARING_RULES)
def test_every_sharing_rule_does_everything_and_its_seed_does_it_again(
    few: xr.DataTree, sharing: str, tmp_path: Path
) -> None:
    settings = SMALL | {"sharing": sharing, "max_epochs": 2, "learning_rate": 0.02}
    model = quiet_fit(na.SharedLatentModel(**settings), few, label="odor")
    for _, data in iterate_subjects(model.transform(few)):
        assert np.isfinite(data["mean"]).all()
        # an autoencoder's latents are points
        assert (data["scale"] == 0 if sharing == "autoencoder" else data["scale"] > 0).all()
    for made in (
        model.reconstruct(few)["bob"],
        model.impute(few, source="ada", target="eve")["eve"],
    ):
        assert (made["expected"] > 0).all()
        assert np.isfinite(made["expected"]).all()
    loaded = na.SharedLatentModel.load(model.save(tmp_path / "model"))
    assert_all_numbers_equal(model, loaded, few)
    again = quiet_fit(clone(model), few, label="odor")
    for name, value in model.fitted_.vae.state_dict().items():
        assert torch.equal(value, again.fitted_.vae.state_dict()[name])
    pd.testing.assert_frame_equal(model.history_, again.history_, check_exact=True)
    assert_training_has_helped(model, few)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_does_everything(
    few: xr.DataTree, likelihood: str, tmp_path: Path
) -> None:
    if likelihood == "bernoulli":  # bins with a spike or without
        few = map_subjects(few, lambda _, d: d.assign(counts=d["counts"].clip(max=1)))
    settings = SMALL | {"likelihood": likelihood, "max_epochs": 2, "learning_rate": 0.02}
    model = quiet_fit(na.SharedLatentModel(**settings), few, label="odor")
    for name, data in iterate_subjects(model.reconstruct(few)):
        assert (data["expected"] > 0).all()
        total = few[name]["counts"].sum(("trial", "time"))
        np.testing.assert_allclose(data["expected"].sum(("trial", "time")), total, rtol=0.02)
    loaded = na.SharedLatentModel.load(model.save(tmp_path / "model"))
    assert_all_numbers_equal(model, loaded, few)
    assert_training_has_helped(model, few)


@pytest.mark.parametrize("scale", [0.3, "learned"])
def test_noise_scales_reach_the_likelihood_and_come_back(
    few: xr.DataTree, scale: float | str, tmp_path: Path
) -> None:
    settings = SMALL | {"likelihood": "gaussian", "noise_scale": scale, "max_epochs": 2}
    model = quiet_fit(na.SharedLatentModel(**settings), few, label="odor")
    likelihood = model.fitted_.vae.likelihoods[0]
    if scale == "learned":
        raw = likelihood.get_parameter("raw_scale")
        assert raw.shape == (1, 1, 140)
        # each feature's scale is leaving the 1/√2 that it began at, 4·tanh(raw/4) in logarithms
        moved = (raw - 4 * np.arctanh(np.log(0.5) / 8)).abs()
        assert 0.0 < float(moved.min().detach()) < float(moved.max().detach()) < 0.1
    else:
        assert likelihood.scale == 0.3
    loaded = na.SharedLatentModel.load(model.save(tmp_path / "model"))
    assert loaded.noise_scale == scale
    assert_all_numbers_equal(model, loaded, few)


@pytest.mark.parametrize("sharing", ["mm-vamp", "moe"])
def test_trials_pair_by_rank(few: xr.DataTree, sharing: str) -> None:
    settings = SMALL | {"sharing": sharing, "pairing": "rank", "max_epochs": 2}
    model = quiet_fit(na.SharedLatentModel(**settings), few, label="odor")
    assert model.history_["objective"].iloc[-1] < model.history_["objective"].iloc[0]
    assert np.isfinite(model.score(few))


def test_reconstruction_weights_multiply_each_subjects_term(few: xr.DataTree) -> None:
    settings = SMALL | {"max_epochs": 1}
    plain = quiet_fit(na.SharedLatentModel(**settings), few, label="odor")
    by_name = {"eve": 2.0, "ada": 0.5, "bob": 1.0}  # not in the order of the data
    named = quiet_fit(
        na.SharedLatentModel(**settings | {"reconstruction_weights": by_name}),
        few,
        label="odor",
    )
    assert named.fitted_.vae.weights == (0.5, 1.0, 2.0)
    sized = quiet_fit(
        na.SharedLatentModel(**settings | {"reconstruction_weights": "size"}),
        few,
        label="odor",
    )
    largest = max(UNITS.values())
    assert sized.fitted_.vae.weights == pytest.approx([largest / n for n in UNITS.values()])
    # the same networks under other weights: each term counts as often as its weight says
    sized.fitted_.vae.load_state_dict(plain.fitted_.vae.state_dict())
    streams = RandomStreams([0])
    inputs = [torch.ones(1, 4, n * 10) for n in UNITS.values()]
    terms = []
    for fitted in (plain.fitted_, sized.fitted_):
        streams.reseed(1)
        terms.append(fitted.vae(inputs, inputs, streams, training=False).reconstruction)
    weights = torch.tensor(sized.fitted_.vae.weights).unsqueeze(-1)
    torch.testing.assert_close(terms[1], weights * terms[0])


@pytest.mark.parametrize("samples", [1, 4])
def test_the_mixture_divergence_fits(few: xr.DataTree, samples: int) -> None:
    settings = SMALL | {"divergence": "mixture", "mixture_samples": samples, "learning_rate": 0.02}
    model = quiet_fit(na.SharedLatentModel(**settings), few, label="odor")
    assert model.history_["objective"].iloc[-1] < model.history_["objective"].iloc[0]
    assert (model.history_["regularisation"] <= 3 * np.log(3) + 1e-6).all()  # M log M


def test_simultaneous_recordings_pair_by_trial() -> None:
    recordings, _ = na.simulate_recordings(
        units={"ada": 8, "bob": 6}, trials=30, simultaneous=True, random_state=0
    )
    windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    model = quiet_fit(
        na.SharedLatentModel(**SMALL | {"max_epochs": 2, "pairing": "trial"}), windows, label="odor"
    )
    held = model.fitted_.validation_trials
    assert held["ada"] == held["bob"]
    assert set(model.fitted_.calibration) == {
        (a, b) for a in ("ada", "bob") for b in ("ada", "bob")
    }


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_other_precisions_fit(few: xr.DataTree, precision: str) -> None:
    model = quiet_fit(
        na.SharedLatentModel(**SMALL | {"max_epochs": 2, "precision": precision}),
        few,
        label="odor",
    )
    latents = model.transform(few)["ada"]["mean"]
    assert np.isfinite(latents).all()
    assert latents.dtype == (np.float64 if precision == "float64" else np.float32)


def test_one_animal_and_paper_widths_fit(windows: xr.DataTree) -> None:
    alone = build_tree({"ada": windows["ada"].to_dataset()})
    model = quiet_fit(
        na.SharedLatentModel(
            **SMALL
            | {
                "max_epochs": 2,
                "encoder_hidden": "input",
                "decoder_hidden": "input",
                "validation_fraction": 0,
            }
        ),
        alone,
        label="odor",
    )
    assert np.isnan(model.alignment_)
    assert model.fitted_.validation_trials == {"ada": []}
    weights = dict(model.fitted_.vae.encoders[0].named_parameters())
    shapes = [tuple(w.shape[1:]) for name, w in weights.items() if name.endswith("weight")]
    assert shapes == [(140, 140), (140, 140), (140, 6)]


def test_silent_units_and_rare_labels_end_in_a_result(windows: xr.DataTree) -> None:
    def spoil(name: str, data: xr.Dataset) -> xr.Dataset:
        counts = data["counts"].copy()
        counts[:, 0, :] = 0
        data = data.assign(counts=counts)
        rare = np.flatnonzero(data["odor"].values == "D")[1:]
        return data.isel(trial=np.setdiff1d(np.arange(data.sizes["trial"]), rare))

    spoilt = map_subjects(windows, spoil)
    model = quiet_fit(na.SharedLatentModel(**SMALL | {"max_epochs": 2}), spoilt, label="odor")
    for _, data in iterate_subjects(model.reconstruct(spoilt)):
        assert np.isfinite(data["expected"]).all()
        assert float(data["expected"].isel(unit=0).sum()) < 0.5


def test_saved_models_come_back_whole(
    model: na.SharedLatentModel, windows: xr.DataTree, tmp_path: Path
) -> None:
    path = model.save(tmp_path / "run" / "model")
    assert sorted(p.name for p in path.iterdir()) == [
        "history.csv",
        "model.json",
        "posteriors.safetensors",
        "restarts.csv",
        "weights.safetensors",
    ]
    loaded = na.SharedLatentModel.load(path)
    assert loaded.get_params() == clone(loaded).get_params()
    assert_all_numbers_equal(model, loaded, windows)
    again = quiet_fit(clone(loaded), windows, label="odor")
    np.testing.assert_array_equal(
        again.transform(windows)["bob"]["mean"], model.transform(windows)["bob"]["mean"]
    )


def test_saving_never_overwrites_unasked(model: na.SharedLatentModel, tmp_path: Path) -> None:
    path = model.save(tmp_path / "model")
    with pytest.raises(ModelFileError, match="exists already and is not overwritten"):
        model.save(path)
    model.save(path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    (tmp_path / "precious").mkdir()
    with pytest.raises(ModelFileError, match="is not a saved model, so it is not replaced"):
        model.save(tmp_path / "precious", overwrite=True)


def test_damaged_models_are_refused(model: na.SharedLatentModel, tmp_path: Path) -> None:
    with pytest.raises(
        ModelFileError, match=r"but model.json, weights.safetensors, .* are not there"
    ):
        na.SharedLatentModel.load(tmp_path)
    path = model.save(tmp_path / "model")
    manifest = (path / "model.json").read_text()
    (path / "model.json").write_text(
        manifest.replace('"format_version": 1', '"format_version": 99')
    )
    with pytest.raises(ModelFileError, match="format 99, this neuroalign reads up to 1; update"):
        na.SharedLatentModel.load(path)
    (path / "model.json").write_text(manifest)
    (path / "weights.safetensors").write_bytes((path / "weights.safetensors").read_bytes()[:100])
    with pytest.raises(ModelFileError, match="is damaged"):
        na.SharedLatentModel.load(path)


def test_an_interrupted_fit_goes_on_to_the_same_result(
    few: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SMALL | {"max_epochs": 5}
    whole = quiet_fit(na.SharedLatentModel(**settings), few, label="odor")
    state = tmp_path / "state.safetensors"
    from neuroalign.training import keeping, loop

    original = loop._record

    def interrupt(progress: keeping.FitProgress, *rest: object, **named: object) -> None:
        original(progress, *rest, **named)  # type: ignore[arg-type]
        if progress.epoch == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_record", interrupt)
        with pytest.raises(KeyboardInterrupt):
            na.SharedLatentModel(**settings).fit(few, label="odor", checkpoint=state)
    assert state.exists()
    resumed = quiet_fit(na.SharedLatentModel(**settings), few, label="odor", checkpoint=state)
    assert not state.exists()
    np.testing.assert_array_equal(
        whole.transform(few)["ada"]["mean"], resumed.transform(few)["ada"]["mean"]
    )


def test_without_patience_the_last_weights_are_kept(few: xr.DataTree) -> None:
    settings = SMALL | {"max_epochs": 4, "learning_rate": 0.05}
    model = quiet_fit(na.SharedLatentModel(**settings | {"patience": None}), few, label="odor")
    assert model.best_epoch_ == len(model.history_) == 4
    stopped = quiet_fit(na.SharedLatentModel(**settings | {"patience": 1}), few, label="odor")
    best = stopped.history_["validation_score"].to_numpy().argmin() + 1
    assert stopped.best_epoch_ == best


def test_recipes_build_models_and_unknown_arguments_are_named() -> None:
    paper = na.SharedLatentModel.from_recipe("odor_sequence", "paper", random_state=4)
    assert (paper.n_latents, paper.beta, paper.pairing, paper.encoder_hidden) == (
        2,
        1e-3,
        "rank",
        "input",
    )
    assert paper.random_state == 4
    with pytest.raises(ParameterError, match="arguments the model does not have: 'bet'"):
        na.SharedLatentModel.from_recipe("simulated", bet=1)


@pytest.mark.parametrize("sharing", SHARING_RULES)
def test_regularisation_does_not_depend_on_the_order_of_subjects(sharing: str) -> None:
    draw = torch.Generator().manual_seed(0)
    mean = torch.randn(3, 1, 5, 2, generator=draw)
    scale = torch.rand(3, 1, 5, 2, generator=draw) + 0.1
    one, two = (
        SHARING_RULES[sharing].terms(q, RandomStreams([0]), SharingOptions(), None)
        for q in (
            torch.distributions.Normal(mean, scale),
            torch.distributions.Normal(mean.flip(0), scale.flip(0)),
        )
    )
    torch.testing.assert_close(one.regularisation, two.regularisation)


def renamed(fitted: FittedModel, names: dict[str, str]) -> FittedModel:
    """Build the fit anew with other names in another order, and copy every weight."""
    order = list(fitted.subjects)
    subjects = {
        new: dataclasses.replace(fitted.subjects[old], name=new) for old, new in names.items()
    }
    vae = build_networks(subjects, fitted.settings, seed=99)
    kept = fitted.vae.state_dict()
    copied = {}
    for key in vae.state_dict():
        part, place, rest = key.split(".", 2)
        old = list(names)[int(place)]
        copied[key] = kept[f"{part}.{order.index(old)}.{rest}"]
    vae.load_state_dict(copied)
    by_subject: dict[str, Any] = {
        field.name: {names[old]: value for old, value in mapping.items()}
        for field in dataclasses.fields(fitted)
        if isinstance(mapping := getattr(fitted, field.name), dict) and set(mapping) == set(names)
    }
    by_subject |= {"calibration": {}, "translation": {}, "readers": {}}  # made when asked for
    return dataclasses.replace(fitted, **by_subject | {"vae": vae, "subjects": subjects})


@pytest.mark.parametrize("sharing", ["mm-vamp", "aggregated"])
def test_names_and_order_of_subjects_do_not_matter_to_copied_weights(
    few: xr.DataTree, sharing: str
) -> None:
    settings = SMALL | {"sharing": sharing, "max_epochs": 1}
    model = quiet_fit(na.SharedLatentModel(**settings), few, label="odor")
    names = {"eve": "anna", "ada": "zoe", "bob": "carl"}
    other = clone(model)
    other._accept(renamed(model.fitted_, names))
    assert other.subjects_ == ["anna", "zoe", "carl"]
    turned = build_tree({new: few[old].to_dataset() for old, new in names.items()})
    latents, found = model.transform(few), other.transform(turned)
    for old, new in names.items():
        assert not np.array_equal(latents[old]["mean"], 0 * latents[old]["mean"])
        np.testing.assert_array_equal(found[new]["mean"], latents[old]["mean"])
        np.testing.assert_array_equal(found[new]["scale"], latents[old]["scale"])
    one = model.impute(few, source="ada", target="eve")["eve"]
    two = other.impute(turned, source="zoe", target="anna")["anna"]
    np.testing.assert_allclose(two["expected"], one["expected"], rtol=1e-6)
    if sharing != "mm-vamp":
        one = model.reconstruct(few, joint=True)["bob"]
        two = other.reconstruct(turned, joint=True)["carl"]
        np.testing.assert_allclose(two["expected"], one["expected"], rtol=1e-5)


@pytest.mark.parametrize("sharing", SHARING_RULES)
def test_absent_subjects_get_exactly_no_gradient(model: na.SharedLatentModel, sharing: str) -> None:
    fitted = model.fitted_
    vae = build_networks(fitted.subjects, fitted.settings | {"sharing": sharing}, seed=1)
    vae.set_options(SharingOptions(mixture_share=0.5, standard_weight=0.3))
    draw = torch.Generator().manual_seed(1)
    features = [torch.randn(1, 6, n * 10, generator=draw) for n in UNITS.values()]
    counts = [torch.poisson(torch.ones(1, 6, n * 10), generator=draw) for n in UNITS.values()]
    # what stands in for an absent subject is arbitrary, so nothing of it may reach the others
    counts[1] = torch.full_like(counts[1], 1e6)
    present = torch.ones(3, 1, 6, dtype=torch.bool)
    present[1] = False
    terms = vae(features, counts, RandomStreams([0]), training=True, present=present)
    terms.total(0.3).sum().backward()
    assert float(terms.reconstruction[1].detach()) == 0.0
    for m in range(3):
        parts = (vae.encoders[m], vae.decoders[m])
        gradients = [p.grad for part in parts for p in part.parameters()]
        largest = max(float(g.abs().max()) for g in gradients if g is not None)
        assert (largest == 0.0) == (m == 1)


def test_rows_without_a_subject_do_not_depend_on_what_stands_in_for_it(
    model: na.SharedLatentModel,
) -> None:
    draw = torch.Generator().manual_seed(1)
    present = torch.ones(3, 1, 6, dtype=torch.bool)
    present[1, 0, ::2] = False
    features = [torch.rand(1, 6, n * 10, generator=draw) for n in UNITS.values()]
    counts = [features[m].round() for m in range(3)]
    found = []
    for stand_in in (0.0, 7.0):
        for tensor in (features[1], counts[1]):
            tensor[:, ::2] = stand_in
        terms = model.fitted_.vae(
            features, counts, RandomStreams([0]), training=False, present=present
        )
        found.append(terms.total(1.0))
    assert torch.equal(*found)


def test_alignment_in_the_history_is_that_of_the_validation_trials(
    model: na.SharedLatentModel, windows: xr.DataTree
) -> None:
    held = model.fitted_.validation_trials
    latents = {}
    for name, data in iterate_subjects(model.transform(windows)):
        judged = data.sel(trial=held[name])
        latents[name] = LabelledLatents(judged["mean"].values, judged["odor"].values)
    expected = alignment(latents, model.classes_)
    column = model.history_["validation_alignment"]
    assert np.isfinite(column).all()
    kept = column[model.history_["epoch"] == model.best_epoch_].item()
    assert kept == pytest.approx(expected, rel=1e-4)
    assert model.alignment_ == pytest.approx(expected, rel=1e-4)
    saturations = model.history_["validation_saturation"]
    assert saturations.between(0, 1.05).all()
    last = saturations[model.history_["epoch"] == model.best_epoch_].item()
    # fewer rows than the diagnosis takes
    assert last == pytest.approx(model.saturation_, abs=0.05)
    unjudged = quiet_fit(
        na.SharedLatentModel(**SMALL | {"max_epochs": 1, "validation_fraction": 0}),
        windows,
        label="odor",
    )
    assert "validation_alignment" not in unjudged.history_
    assert "validation_saturation" not in unjudged.history_
