"""Joint reconstruction against a computation trial by trial from the raw networks."""

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

import neuroalign as na
from neuroalign import restarts, translation
from neuroalign.errors import NeuroAlignError, ParameterError
from neuroalign.fitted import FittedModel
from neuroalign.joint_reconstruction import partners
from neuroalign.schema import build_tree, iterate_subjects, map_subjects
from neuroalign.settings import training_config
from neuroalign.training.config import TrainingConfig

JOINT = ("aggregated", "poe", "moe", "mopoe")
TINY: dict[str, Any] = {
    "n_latents": 2,
    "encoder_hidden": (8,),
    "decoder_hidden": (8,),
    "max_epochs": 2,
    "learning_rate": 0.02,
    "allow_missing": True,
    "random_state": 0,
    "verbose": False,
}


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """Let epochs of these small data have few steps: nothing here asks for a good fit."""

    def shortened(given: Mapping[str, Any]) -> TrainingConfig:
        return dataclasses.replace(training_config(given), least_steps=4)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restarts, "training_config", shortened)
        patch.setattr(translation, "STRENGTHS", (0.01,))  # one penalty, so none is searched for
        yield


def _windows(*, simultaneous: bool) -> xr.DataTree:
    recordings, _ = na.simulate_recordings(
        units={"ada": 6, "bob": 5, "eve": 4},
        trials=24,
        mean_rate=10.0,
        simultaneous=simultaneous,
        random_state=2,
    )
    binned = na.bin_spikes(na.keep_spec_trials(recordings), bin_width=0.025)
    return na.slide_windows(binned, length=0.1, step=0.05)


def _without(data: xr.Dataset, positions: list[int]) -> xr.Dataset:
    return data.isel(trial=np.setdiff1d(np.arange(data.sizes["trial"]), positions))


def _quiet_fit(windows: xr.DataTree, **change: Any) -> na.SharedLatentModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        return na.SharedLatentModel(**TINY | change).fit(windows, label="odor")


@pytest.fixture(scope="module")
def together() -> xr.DataTree:
    """Recorded together; every subject lacks trials that the others have."""
    lost = {"ada": [0, 3], "bob": [3, 7, 8], "eve": [1]}
    return map_subjects(_windows(simultaneous=True), lambda n, d: _without(d, lost[n]))


@pytest.fixture(scope="module")
def apart() -> xr.DataTree:
    """Recorded apart; bob lacks an odor."""
    return map_subjects(
        _windows(simultaneous=False),
        lambda n, d: d.isel(trial=d["odor"].values != "C") if n == "bob" else d,
    )


@pytest.fixture(scope="module", params=JOINT)
def joint_model(request: pytest.FixtureRequest, together: xr.DataTree) -> na.SharedLatentModel:
    return _quiet_fit(together, sharing=request.param, pairing="trial")


@pytest.fixture(scope="module")
def apart_model(apart: xr.DataTree) -> na.SharedLatentModel:
    return _quiet_fit(apart, sharing="aggregated")


def _experts(fitted: FittedModel, windows: xr.DataTree) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Encode square roots of written-out windows: mean and scale, (trial, window, latent)."""
    found = {}
    for m, name in enumerate(fitted.subjects):
        data = windows[name].to_dataset()
        view = na.window_view(data).transpose(0, 1, 3, 2)  # (trial, window, lag, unit)
        scaling = fitted.subjects[name].scaling
        features = np.sqrt(view.astype(np.float32)).reshape(*view.shape[:2], -1)
        features = (features - scaling.shift.numpy()) * scaling.gain.numpy()
        with torch.no_grad():
            posterior = fitted.vae.encoders[m](torch.from_numpy(features).flatten(0, 1)[None])
        shape = (*view.shape[:2], -1)
        found[name] = (
            posterior.mean.numpy().reshape(shape).astype(np.float64),
            posterior.scale.numpy().reshape(shape).astype(np.float64),
        )
    return found


def _components(
    sharing: str, experts: list[tuple[np.ndarray, np.ndarray]]
) -> list[tuple[float, np.ndarray]]:
    """Return weight and mean of each part of the joint posterior of those who are there."""

    def product(members: tuple[tuple[np.ndarray, np.ndarray], ...], prior: float) -> np.ndarray:
        precision = [1.0 / scale**2 for _, scale in members]
        weighted = [p * mean for p, (mean, _) in zip(precision, members, strict=True)]
        return np.asarray(np.sum(weighted, axis=0) / (prior + np.sum(precision, axis=0)))

    if sharing == "aggregated":
        return [(1.0, np.mean([mean for mean, _ in experts], axis=0))]
    if sharing == "poe":
        return [(1.0, product(tuple(experts), 1.0))]
    if sharing == "moe":
        return [(1.0 / len(experts), mean) for mean, _ in experts]
    subsets = [
        members
        for size in range(1, len(experts) + 1)
        for members in itertools.combinations(experts, size)
    ]
    return [(1.0 / len(subsets), product(members, 0.0)) for members in subsets]


def _expected_by_hand(
    fitted: FittedModel, windows: xr.DataTree, target: str, met: Mapping[str, list[int]]
) -> np.ndarray:
    """Decode the joint posterior trial by trial into (trial, window, unit, lag)."""
    experts = _experts(fitted, windows)
    m = list(fitted.subjects).index(target)
    likelihood: Any = fitted.vae.likelihoods[m]
    offset, slope = (line.numpy() for line in fitted.joint_calibration[target])
    trials = []
    for k in range(windows[target].sizes["trial"]):
        there = [
            (mean[met[name][k]], scale[met[name][k]])
            for name, (mean, scale) in experts.items()
            if met[name][k] >= 0
        ]
        rate: Any = 0.0
        for weight, mean in _components(fitted.settings["sharing"], there):
            with torch.no_grad():
                parameters = fitted.vae.decoders[m](torch.from_numpy(mean).float()[None])[0]
                rate = rate + weight * likelihood.mean(parameters).double().numpy()
        rate = rate.reshape(len(rate), -1, len(offset))  # (window, lag, unit)
        trials.append((offset + slope * rate).transpose(0, 2, 1))
    return np.stack(trials)


def _equal_trials(windows: xr.DataTree, target: str) -> dict[str, list[int]]:
    ids = {name: data["trial"].values.tolist() for name, data in iterate_subjects(windows)}
    return {
        name: [own.index(trial) if trial in own else -1 for trial in ids[target]]
        for name, own in ids.items()
    }


def _equal_places(windows: xr.DataTree, target: str) -> dict[str, list[int]]:
    """Let the k-th trial of a label meet the k-th, the first again after the last."""
    labels = {name: data["odor"].values.tolist() for name, data in iterate_subjects(windows)}
    found: dict[str, list[int]] = {name: [] for name in labels}
    for k, value in enumerate(labels[target]):
        rank = labels[target][:k].count(value)
        for name, theirs in labels.items():
            places = [i for i, other in enumerate(theirs) if other == value]
            found[name].append(places[rank % len(places)] if places else -1)
    return found


@pytest.mark.parametrize("target", ["ada", "eve"])
def test_joint_reconstruction_equals_one_by_hand(
    joint_model: na.SharedLatentModel, together: xr.DataTree, target: str
) -> None:
    met = _equal_trials(together, target)
    assert any(-1 in places for places in met.values())
    expected = _expected_by_hand(joint_model.fitted_, together, target, met)
    found = joint_model.reconstruct(together, joint=True, windows=True)[target]["expected"]
    assert found.dims == ("trial", "window", "unit", "lag")
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_joint_reconstruction_of_subjects_recorded_apart_equals_one_by_hand(
    apart_model: na.SharedLatentModel, apart: xr.DataTree
) -> None:
    for target in ("ada", "bob"):
        met = _equal_places(apart, target)
        assert (-1 in met["bob"]) == (target == "ada")
        expected = _expected_by_hand(apart_model.fitted_, apart, target, met)
        found = apart_model.reconstruct(apart, joint=True, windows=True)[target]["expected"]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_partners_have_the_same_trial_id_or_the_same_place_within_the_label(
    apart_model: na.SharedLatentModel, apart: xr.DataTree, together: xr.DataTree
) -> None:
    fitted = apart_model.fitted_
    by_trial = dataclasses.replace(fitted, settings={**fitted.settings, "pairing": "trial"})
    for target in apart.children:
        for found, expected in (
            (
                partners(fitted, dict(iterate_subjects(apart)), target),
                _equal_places(apart, target),
            ),
            (
                partners(by_trial, dict(iterate_subjects(together)), target),
                _equal_trials(together, target),
            ),
        ):
            assert {name: places.tolist() for name, places in found.items()} == expected
            assert expected[target] == list(range(len(expected[target])))


def test_windows_of_the_joint_reconstruction_are_averaged_in_time(
    joint_model: na.SharedLatentModel, together: xr.DataTree
) -> None:
    averaged = joint_model.reconstruct(together, joint=True)
    for name, data in iterate_subjects(joint_model.reconstruct(together, joint=True, windows=True)):
        assert data.attrs["source"] == "ada, bob, eve"
        whole = averaged[name]["expected"]
        assert whole.dims == ("trial", "unit", "time")
        np.testing.assert_array_equal(whole["odor"], together[name]["odor"])
        for time in range(10):  # windows of 4 bins begin every 2 bins
            parts = [
                data["expected"].isel(window=w, lag=time - 2 * w)
                for w in range(4)
                if 0 <= time - 2 * w < 4
            ]
            np.testing.assert_allclose(whole.isel(time=time), np.mean(parts, axis=0), rtol=1e-5)


def test_joint_expectations_are_positive_and_sum_to_the_counts(
    joint_model: na.SharedLatentModel, together: xr.DataTree
) -> None:
    for name, data in iterate_subjects(joint_model.reconstruct(together, joint=True)):
        assert (data["expected"] > 0).all()
        total = together[name]["counts"].sum(("trial", "time"))
        np.testing.assert_allclose(data["expected"].sum(("trial", "time")), total, rtol=0.05)


def test_absent_partners_add_nothing(
    joint_model: na.SharedLatentModel, together: xr.DataTree
) -> None:
    everyone = joint_model.reconstruct(together, joint=True)["ada"]["expected"].to_numpy()
    pair = build_tree({name: together[name].to_dataset() for name in ("ada", "bob")})
    without_eve = joint_model.reconstruct(pair, joint=True)["ada"]["expected"].to_numpy()
    absent = np.array(_equal_trials(together, "ada")["eve"]) < 0
    assert absent.sum() == 1
    np.testing.assert_allclose(without_eve[absent], everyone[absent], rtol=1e-5)
    assert not np.allclose(without_eve[~absent], everyone[~absent], rtol=1e-3)


def test_partners_change_the_reconstruction_and_their_order_does_not(
    joint_model: na.SharedLatentModel, together: xr.DataTree
) -> None:
    joint = joint_model.reconstruct(together, joint=True)
    alone = joint_model.reconstruct(together)
    turned = build_tree({n: together[n].to_dataset() for n in ("eve", "ada", "bob")})
    found = joint_model.reconstruct(turned, joint=True)
    assert list(found.children) == ["eve", "ada", "bob"]
    for name in together.children:
        assert not np.allclose(joint[name]["expected"], alone[name]["expected"], rtol=1e-3)
        np.testing.assert_allclose(found[name]["expected"], joint[name]["expected"], rtol=1e-4)


@pytest.mark.parametrize("sharing", ["mm-vamp", "independent", "autoencoder"])
def test_ways_of_sharing_without_a_joint_posterior_say_so(
    together: xr.DataTree, sharing: str
) -> None:
    model = _quiet_fit(
        together, sharing=sharing, pairing="trial", max_epochs=1, validation_fraction=0
    )
    with pytest.raises(ParameterError) as caught:
        model.reconstruct(together, joint=True)
    assert str(caught.value) == (
        f"sharing={sharing!r} has no joint posterior: every subject keeps its own; leave joint "
        'out (joint posteriors: "aggregated", "poe", "moe", "mopoe").'
    )


def test_partners_with_other_windows_are_refused(
    apart_model: na.SharedLatentModel, apart: xr.DataTree
) -> None:
    cut = map_subjects(apart, lambda n, d: d.isel(window=slice(0, 2)) if n == "bob" else d)
    with pytest.raises(NeuroAlignError, match="bob"):
        apart_model.reconstruct(cut, joint=True)
