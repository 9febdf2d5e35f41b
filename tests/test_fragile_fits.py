"""Fits that have little to go on end in numbers or in a message, never in not-a-number."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import neuroalign as na
from neuroalign import restarts, translation
from neuroalign.errors import DataError, NeuroAlignError, TrainingError
from neuroalign.nn.sharing import SHARING_RULES
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
Spoil = Callable[[str, xr.Dataset], xr.Dataset]


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let epochs of these small data have few steps: nothing here asks for a good fit."""

    def shortened(given: Mapping[str, Any]) -> TrainingConfig:
        return dataclasses.replace(training_config(given), least_steps=4)

    monkeypatch.setattr(restarts, "training_config", shortened)
    monkeypatch.setattr(translation, "STRENGTHS", (0.01,))  # one penalty, so none is searched for


@pytest.fixture(scope="module")
def three() -> xr.DataTree:
    recordings, _ = na.simulate_recordings(
        units={"ada": 6, "bob": 5, "eve": 4}, trials=24, mean_rate=10.0, random_state=2
    )
    binned = na.bin_spikes(na.keep_spec_trials(recordings), bin_width=0.025)
    others = ["onset", "start", "stop", "in_sequence", "correct", "arousal"]
    bare = map_subjects(binned, lambda _, d: d.drop_vars(others))
    return na.slide_windows(bare, length=0.1, step=0.05)


@pytest.fixture(scope="module")
def windows(three: xr.DataTree) -> xr.DataTree:
    return build_tree({name: three[name].to_dataset() for name in ("ada", "bob")})


def _fit(windows: xr.DataTree, **change: Any) -> na.SharedLatentModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        return na.SharedLatentModel(**TINY | change).fit(windows, label="odor")


def _assert_finite(model: na.SharedLatentModel, windows: xr.DataTree) -> None:
    """Ask whatever can be asked of a fit for numbers."""
    for _, data in iterate_subjects(model.transform(windows)):
        assert np.isfinite(data["mean"]).all()
        assert np.isfinite(data["scale"]).all()
    made = [model.reconstruct(windows)]
    if SHARING_RULES[model.sharing].joint is not None:
        made.append(model.reconstruct(windows, joint=True))
    if len(model.subjects_) > 1:
        first, *_, last = model.subjects_
        made.append(model.impute(windows, source=first, target=last))
    for tree in made:
        for _, data in iterate_subjects(tree):
            assert np.isfinite(data["expected"]).all()
            assert (data["expected"] > 0).all()
    assert np.isfinite(model.score(windows))
    assert np.isfinite(model.history_["objective"]).all()
    assert all(torch.isfinite(value).all() for value in model.fitted_.vae.state_dict().values())


def _keep(numbers: Mapping[str, int]) -> Spoil:
    """Keep the first few trials of each odor."""

    def keep(name: str, data: xr.Dataset) -> xr.Dataset:
        odor = data["odor"].to_numpy()
        kept = [np.flatnonzero(odor == value)[:most] for value, most in numbers.items()]
        return data.isel(trial=np.sort(np.concatenate(kept)))

    return keep


def _count(unit: int, value: int, only: str | None = None) -> Spoil:
    """Let a unit fire the same in every bin."""

    def fire(name: str, data: xr.Dataset) -> xr.Dataset:
        counts = data["counts"].copy()
        if only in {None, name}:
            counts[:, unit] = value
        return data.assign(counts=counts)

    return fire


def _silence(name: str, data: xr.Dataset) -> xr.Dataset:
    return data.assign(counts=data["counts"] * (name != "bob"))


SPOILT: dict[str, Spoil] = {
    "a label with one trial": _keep({"A": 9, "B": 9, "C": 9, "D": 1}),
    "ten trials": _keep({"A": 3, "B": 3, "C": 2, "D": 2}),
    "one trial of each label": _keep(dict.fromkeys("ABCD", 1)),
    "a silent unit": _count(0, 0),
    "a constant unit": _count(1, 3),
    "a silent subject": _silence,
    "one unit": lambda _, data: data.isel(unit=[0]),
    "one label with all trials but one": _keep({"A": 9, "B": 1}),
}


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("spoilt", SPOILT)
def test_little_data_end_in_numbers(windows: xr.DataTree, spoilt: str) -> None:
    data = map_subjects(windows, SPOILT[spoilt])
    for likelihood in ("poisson", "gaussian"):
        _assert_finite(_fit(data, likelihood=likelihood, max_epochs=1), data)


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("likelihood", ["negative-binomial", "laplace", "categorical"])
def test_constant_counts_end_in_numbers_for_every_likelihood(
    windows: xr.DataTree, likelihood: str
) -> None:
    data = map_subjects(map_subjects(windows, _count(0, 0)), _count(1, 3))
    model = _fit(data, likelihood=likelihood, max_epochs=5, learning_rate=0.1)
    _assert_finite(model, data)
    expected = dict(iterate_subjects(model.reconstruct(data)))["bob"]["expected"]
    assert float(expected.isel(unit=0).max()) < 0.05
    np.testing.assert_allclose(expected.isel(unit=1), 3.0, rtol=0.1)


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("sharing", [name for name in SHARING_RULES if name != "mm-vamp"])
def test_little_data_end_in_numbers_for_every_sharing_rule(
    windows: xr.DataTree, sharing: str
) -> None:
    data = map_subjects(map_subjects(windows, SPOILT["one trial of each label"]), _silence)
    _assert_finite(_fit(data, sharing=sharing), data)


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("sharing", SHARING_RULES)
def test_one_animal_alone_ends_in_numbers(windows: xr.DataTree, sharing: str) -> None:
    alone = build_tree({"ada": windows["ada"].to_dataset()})
    model = _fit(alone, sharing=sharing, max_epochs=1)
    _assert_finite(model, alone)
    assert np.isnan(model.alignment_)  # nobody to be aligned with
    assert np.isnan(model.saturation_)


@pytest.mark.usefixtures("few_steps")
def test_fifty_animals_of_three_units_fit(three: xr.DataTree) -> None:
    subjects = {}
    for k in range(50):
        data = list(dict(iterate_subjects(three)).values())[k % 3].isel(trial=slice(0, 12))
        units = [(k + i) % data.sizes["unit"] for i in range(3)]
        subjects[f"rat{k:02}"] = data.isel(unit=units)
    many = build_tree(subjects)
    model = _fit(many, max_epochs=1)
    assert len(model.subjects_) == 50
    assert np.isfinite(model.history_.to_numpy(dtype=float)).all()
    made = model.impute(many, source="rat00", target="rat49")["rat49"]["expected"]
    assert np.isfinite(made).all()
    assert made.sizes["unit"] == 3


@pytest.mark.usefixtures("few_steps")
def test_learned_scales_of_constant_features_stay_above_zero(windows: xr.DataTree) -> None:
    for scaling in ("sqrt-standard", "none"):
        data = map_subjects(windows, _count(1, 3))
        model = _fit(
            data,
            likelihood="gaussian",
            noise_scale="learned",
            scaling=scaling,
            max_epochs=10,
            learning_rate=0.3,
            patience=None,
            weight_averaging=0.0,
        )
        _assert_finite(model, data)
        raw = model.fitted_.vae.likelihoods[0].get_parameter("raw_scale")[0, 0].detach()
        # lag-major features: the second of six units is constant, the others are not
        constant, others = raw[1::6], torch.cat([raw[k::6] for k in (0, 2, 3, 4, 5)])
        assert (constant < others.min()).all()
        scale = torch.exp(4 * torch.tanh(raw / 4))
        assert float(scale.min()) > np.exp(-4)


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize(
    "change",
    [
        {"beta": 0.0},
        {"beta": 1e30},
        {"beta": 1e6, "divergence": "mixture", "mixture_samples": 3},
        {"likelihood": "gaussian", "noise_scale": 1e-6},
        {"encoder_hidden": (), "decoder_hidden": ()},
        {"n_latents": 1},
        {"n_latents": 40},
        {"batch_size": 1, "max_epochs": 1},
        {"batch_size": 10_000},
        {"validation_fraction": 0.5},
        {"mixing": 0.99, "dropout": 0.99},
        {"weight_decay": 1e3},
    ],
)
def test_extreme_settings_end_in_numbers(windows: xr.DataTree, change: dict[str, Any]) -> None:
    data = map_subjects(windows, SPOILT["ten trials"])
    _assert_finite(_fit(data, **change), data)


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"gradient_clip": None},
        {"patience": None, "weight_averaging": 0.0},
        {"validation_fraction": 0, "weight_averaging": 0.0, "likelihood": "gaussian"},
        {"sharing": "mopoe"},
        {"sharing": "moe"},
    ],
)
def test_huge_steps_end_in_numbers_or_in_a_message(
    windows: xr.DataTree, change: dict[str, Any]
) -> None:
    """Steps of 1 are bad, and numbers; steps of 10¹⁵ overflow at once."""
    settings = {"max_epochs": 1, **change}
    _assert_finite(_fit(windows, learning_rate=1.0, **settings), windows)
    with pytest.raises(TrainingError) as caught:
        _fit(windows, learning_rate=1e15, **settings)
    message = str(caught.value)
    assert "is not finite in epoch 1; lower the learning rate" in message
    assert any(repr(name) in message for name in ("ada", "bob")) or message.startswith(
        "the regularisation term"
    )


@pytest.mark.parametrize("change", [{}, {"validation_fraction": 0, "weight_averaging": 0.0}])
def test_a_last_step_that_breaks_is_no_result(
    windows: xr.DataTree, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """Weights grow with every step, so that some number of steps is one too many."""
    broken = set()
    for steps in range(4, 12):

        def shortened(given: Mapping[str, Any], steps: int = steps) -> TrainingConfig:
            return dataclasses.replace(training_config(given), least_steps=steps)

        monkeypatch.setattr(restarts, "training_config", shortened)
        try:
            model = _fit(windows, sharing="poe", learning_rate=1e8, max_epochs=1, **change)
        except TrainingError:
            broken.add(steps)
            continue
        for _, data in iterate_subjects(model.transform(windows)):
            assert np.isfinite(data["mean"]).all()
    assert broken


@pytest.mark.usefixtures("few_steps")
def test_labels_that_nobody_shares_are_named(three: xr.DataTree) -> None:
    def part(name: str, data: xr.Dataset) -> xr.Dataset:
        mine = {"ada": ["A", "B"], "bob": ["C", "D"], "eve": ["A", "C"]}[name]
        return data.isel(trial=np.isin(data["odor"], mine))

    data = map_subjects(three, part)
    model = _fit(data, allow_missing=True)
    made = model.impute(data, source="ada", target="eve")["eve"]["expected"]
    assert np.isfinite(made).all()
    with pytest.raises(DataError) as caught:
        model.impute(data, source="ada", target="bob")
    assert str(caught.value) == (
        "'ada' and 'bob' share no label in the fit, so nothing says how many spikes 'bob' fires in "
        "trials of 'ada'."
    )
    with pytest.raises(DataError) as unpaired:
        _fit(data, allow_missing=True, pairing="rank")
    assert str(unpaired.value) == (
        "no trial of one subject can stand beside a trial of another by 'odor' with "
        "pairing='rank'; look at the labels (or trial ids) of the subjects."
    )


@pytest.mark.usefixtures("few_steps")
def test_a_fit_without_training_trials_names_the_fraction(windows: xr.DataTree) -> None:
    data = map_subjects(windows, SPOILT["one trial of each label"])
    with pytest.raises(NeuroAlignError, match="validation_fraction"):
        _fit(data, validation_fraction=0.9)


@pytest.mark.usefixtures("few_steps")
def test_validation_trials_need_not_pair_by_rank(three: xr.DataTree) -> None:
    few = {"ada": "AB", "bob": "CD", "eve": ""}
    data = map_subjects(
        three, lambda n, d: _keep({c: 1 if c in few[n] else 9 for c in "ABCD"})(n, d)
    )
    _assert_finite(_fit(data, pairing="rank"), data)


@pytest.mark.usefixtures("few_steps")
def test_a_score_of_trials_that_do_not_pair_is_refused(windows: xr.DataTree) -> None:
    model = _fit(windows, pairing="rank")
    apart = map_subjects(
        windows, lambda n, d: d.isel(trial=(d["odor"].to_numpy() == "A") == (n == "ada"))
    )
    with pytest.raises(NeuroAlignError, match="can stand beside"):
        model.score(apart)
