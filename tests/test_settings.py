"""Arguments that make no sense are refused with a message that says what would be right."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given
from hypothesis import settings as search
from hypothesis import strategies as st

import neuroalign as na
from neuroalign import restarts
from neuroalign.errors import DataError, NeuroAlignError, ParameterError
from neuroalign.preparation import check_labels
from neuroalign.schema import build_tree, map_subjects
from neuroalign.settings import (
    check_settings,
    objective_schedules,
    resolved_settings,
    schedule_of,
    training_config,
)
from neuroalign.training.config import TrainingConfig

TINY: dict[str, Any] = {
    "n_latents": 2,
    "encoder_hidden": (8,),
    "decoder_hidden": (8,),
    "max_epochs": 1,
    "validation_fraction": 0,
    "random_state": 0,
    "verbose": False,
}


def _message(error: type[NeuroAlignError], function: Callable[[], object]) -> str:
    with pytest.raises(error) as caught:
        function()
    return str(caught.value)


def _refusal(**change: Any) -> str:
    settings = na.SharedLatentModel(**change).get_params(deep=False)
    return _message(ParameterError, lambda: check_settings(settings))


def _quiet_fit(windows: xr.DataTree, **change: Any) -> na.SharedLatentModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        return na.SharedLatentModel(**TINY | change).fit(windows, label="odor")


@pytest.fixture(autouse=True)
def one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let epochs of these small data have one step: nothing here asks for a good fit."""

    def shortened(given: Mapping[str, Any]) -> TrainingConfig:
        return dataclasses.replace(training_config(given), least_steps=1)

    monkeypatch.setattr(restarts, "training_config", shortened)


@pytest.fixture(scope="module")
def windows() -> xr.DataTree:
    recordings, _ = na.simulate_recordings(
        units={"ada": 5, "bob": 4}, trials=16, mean_rate=10.0, random_state=1
    )
    binned = na.bin_spikes(na.keep_spec_trials(recordings), bin_width=0.025)
    return na.slide_windows(binned, length=0.1, step=0.05)


NUMBER = "a number from 0 to inf, or a list of (epochs, value) such as [(0, 0), (20, 0.3)]"
BETA = f'beta must be "auto", {NUMBER}'
WEIGHT = f"standard_weight must be {NUMBER}".replace("inf", "1")
SHARE = f"divergence must be {NUMBER}".replace("inf", "1")
POINTS = "the points' epochs must rise from 0 or later"
PAIR = "a point is a pair of epochs done and value"
FINITE = "epochs and values must be finite"
WEIGHTS = 'reconstruction_weights must be None, "size" or a positive number for each subject, got '


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # the scale of the noise
        (
            {"noise_scale": 0.5},
            (
                'noise_scale belongs to the likelihoods "gaussian" and "laplace", got 0.5 with '
                "'poisson'; leave it None."
            ),
        ),
        (
            {"noise_scale": "learned", "likelihood": "categorical"},
            (
                'noise_scale belongs to the likelihoods "gaussian" and "laplace", got \'learned\' with '
                "'categorical'; leave it None."
            ),
        ),
        (
            {"noise_scale": "learned", "likelihood": "laplace"},
            "noise_scale must be a positive number for 'laplace', got 'learned'.",
        ),
        (
            {"noise_scale": 0, "likelihood": "gaussian"},
            "noise_scale must be a positive number or \"learned\" for 'gaussian', got 0.",
        ),
        (
            {"noise_scale": True, "likelihood": "gaussian"},
            "noise_scale must be a positive number or \"learned\" for 'gaussian', got True.",
        ),
        # weights of the reconstruction terms
        ({"reconstruction_weights": "units"}, f"{WEIGHTS}'units'."),
        ({"reconstruction_weights": 2.0}, f"{WEIGHTS}2.0."),
        ({"reconstruction_weights": {"ada": 0}}, WEIGHTS + "{'ada': 0}."),
        ({"reconstruction_weights": {"ada": "1"}}, WEIGHTS + "{'ada': '1'}."),
        # schedules
        ({"beta": -1}, f"{BETA}; got -1."),
        ({"beta": float("nan")}, f"{BETA}; got nan."),
        ({"beta": "0.3"}, f"{BETA}; got '0.3'."),
        ({"beta": True}, f"{BETA}; got True."),
        ({"beta": None}, f"{BETA}; got None."),
        ({"beta": []}, f"{BETA}; got [] ({POINTS})."),
        ({"beta": [0, 1]}, f"{BETA}; got [0, 1] ({PAIR}, got 0)."),
        ({"beta": [(0, "1")]}, f"{BETA}; got [(0, '1')] ({PAIR}, got (0, '1'))."),
        ({"beta": [(0, None)]}, f"{BETA}; got [(0, None)] ({PAIR}, got (0, None))."),
        ({"beta": [(0, np.nan)]}, f"{BETA}; got [(0, nan)] ({FINITE})."),
        ({"beta": [(np.inf, 1.0)]}, f"{BETA}; got [(inf, 1.0)] ({FINITE})."),
        (
            {"beta": [(0, 1, 2)]},
            f"{BETA}; got [(0, 1, 2)] (a point is a pair of epochs done and value, got (0, 1, 2)).",
        ),
        ({"beta": [(0, 1), (20, -0.1)]}, f"{BETA}; got [(0, 1), (20, -0.1)]."),
        ({"beta": [(20, 0), (0, 1)]}, f"{BETA}; got [(20, 0), (0, 1)] ({POINTS})."),
        ({"beta": [(5, 0), (5, 1)]}, f"{BETA}; got [(5, 0), (5, 1)] ({POINTS})."),
        ({"beta": [(-1, 0), (5, 1)]}, f"{BETA}; got [(-1, 0), (5, 1)] ({POINTS})."),
        ({"standard_weight": 1.5}, f"{WEIGHT}; got 1.5."),
        ({"standard_weight": [(0, 1), (9, 2)]}, f"{WEIGHT}; got [(0, 1), (9, 2)]."),
        ({"divergence": [(0, 0), (9, 1.1)]}, f"{SHARE}; got [(0, 0), (9, 1.1)]."),
        (
            {"divergence": "mixed"},
            (
                'divergence must be "pairwise", "mixture", or a schedule of the mixture\'s share such '
                "as [(0, 0), (30, 1)]; got 'mixed'."
            ),
        ),
        # the rest of what came with them
        ({"weight_averaging": 1}, "weight_averaging must be at least 0 and below 1, got 1."),
        ({"weight_averaging": -0.1}, "weight_averaging must be at least 0 and below 1, got -0.1."),
        ({"n_init": 0}, "n_init must be a positive integer, got 0."),
        ({"n_init": 2.0}, "n_init must be a positive integer, got 2.0."),
        (
            {"sharing": "mvae"},
            (
                "sharing must be one of 'mm-vamp', 'independent', 'aggregated', 'poe', 'moe', "
                "'mopoe', 'autoencoder'; got 'mvae'."
            ),
        ),
        (
            {"likelihood": "binomial"},
            (
                "likelihood must be one of 'gaussian', 'laplace', 'poisson', 'negative-binomial', "
                "'bernoulli', 'categorical'; got 'binomial'."
            ),
        ),
    ],
)
def test_refusals_say_what_would_be_right(change: dict[str, Any], message: str) -> None:
    assert _refusal(**change) == message


def test_the_warm_up_of_beta_is_gone() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'beta_warmup'"):
        na.SharedLatentModel(beta_warmup=10)  # type: ignore[call-arg]


@given(
    epochs=st.lists(st.integers(0, 200), min_size=1, max_size=5, unique=True).map(sorted),
    values=st.lists(st.floats(0, 1), min_size=5, max_size=5),
    done=st.integers(0, 250),
)
@search(max_examples=60, deadline=None)
def test_schedules_are_linear_between_points_and_constant_outside(
    epochs: list[int], values: list[float], done: int
) -> None:
    plan = list(zip(epochs, values, strict=False))
    for name in ("beta", "standard_weight", "divergence"):
        schedule = schedule_of(name, plan)
        inside = [k for k in range(len(plan) - 1) if epochs[k] <= done <= epochs[k + 1]]
        if done <= epochs[0]:
            expected = values[0]
        elif not inside:
            expected = values[len(plan) - 1]
        else:
            k = inside[0]
            share = (done - epochs[k]) / (epochs[k + 1] - epochs[k])
            expected = values[k] + share * (values[k + 1] - values[k])
        assert schedule(done) == pytest.approx(expected, abs=1e-12)
        assert schedule.final == values[len(plan) - 1]
        assert schedule.settled_after == epochs[-1]


@given(epochs=st.lists(st.integers(-5, 20), min_size=2, max_size=4))
@search(max_examples=60, deadline=None)
def test_points_out_of_order_are_refused(epochs: list[int]) -> None:
    assume(epochs[0] < 0 or sorted(set(epochs)) != epochs)
    with pytest.raises(ParameterError, match=POINTS):
        schedule_of("beta", [(epoch, 0.5) for epoch in epochs])


def test_names_and_numbers_are_schedules_that_never_change() -> None:
    settings = na.SharedLatentModel(beta=0.7, divergence="mixture").get_params(deep=False)
    objective = objective_schedules(settings)
    for done in (0, 1, 500):
        assert objective.beta[0](done) == 0.7
        assert objective.mixture_share(done) == 1.0
        assert objective.standard_weight(done) == 0.0
    assert objective.settled_after == 0
    plans = {"divergence": [(0, 0), (30, 1)], "standard_weight": [(0, 1), (9, 0)]}
    changing = objective_schedules({**settings, **plans})
    assert changing.settled_after == 30
    assert changing.mixture_share(15) == 0.5
    assert changing.standard_weight(9) == 0.0


def test_schedules_reach_the_history_and_hold_back_early_stopping(windows: xr.DataTree) -> None:
    plan = [(0, 0.0), (4, 1.0)]
    model = _quiet_fit(
        windows,
        beta=plan,
        standard_weight=[(0, 1), (2, 0)],
        divergence=[(1, 0), (3, 1)],
        max_epochs=6,
        validation_fraction=0.2,
        patience=1,
    )
    # an epoch trains with the epochs done before it; nothing may stop while beta still rises
    done = model.history_["epoch"].to_numpy() - 1
    assert len(done) >= 5
    np.testing.assert_allclose(model.history_["beta"], np.interp(done, [0, 4], [0, 1]))
    assert model.best_epoch_ >= 5
    options = model.fitted_.vae.options
    assert (options.mixture_share, options.standard_weight) == (1.0, 0.0)
    assert "beta 0 at epoch 0 then 1 at epoch 4" in model.summary()


def test_a_schedule_comes_back_from_a_file(windows: xr.DataTree, tmp_path: Path) -> None:
    model = _quiet_fit(windows, beta=[(0, 0.0), (2, 1.0)], divergence=[(0, 0), (1, 1)])
    loaded = na.SharedLatentModel.load(model.save(tmp_path / "model"))
    assert loaded.beta == [[0, 0.0], [2, 1.0]]  # JSON has no tuples
    assert loaded.score(windows) == model.score(windows)
    assert loaded.summary() == model.summary()


def test_a_schedule_may_be_an_array(windows: xr.DataTree, tmp_path: Path) -> None:
    model = _quiet_fit(windows, beta=np.array([[0, 0.0], [2, 1.0]]))
    loaded = na.SharedLatentModel.load(model.save(tmp_path / "model"))
    assert loaded.score(windows) == model.score(windows)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_latents", np.int64(2)), ("beta", np.int64(1)), ("beta", np.float32(0.5))],
)
def test_numbers_may_be_numpys(windows: xr.DataTree, name: str, value: object) -> None:
    model = _quiet_fit(windows, **{name: value})
    assert np.isfinite(model.score(windows))
    assert "SharedLatentModel" in model.summary()


def test_weights_by_name_must_name_the_subjects(windows: xr.DataTree) -> None:
    expected = "reconstruction_weights must name the subjects 'ada', 'bob', got "
    for weights, got in (({"ada": 1.0}, "'ada'"), ({"ada": 1, "eve": 2}, "'ada', 'eve'")):
        fit = partial(_quiet_fit, windows, reconstruction_weights=weights)
        assert _message(ParameterError, fit) == f"{expected}{got}."


def test_bernoulli_takes_at_most_one_spike_per_bin(windows: xr.DataTree) -> None:
    def spikes(most: int) -> xr.DataTree:
        def cap(name: str, data: xr.Dataset) -> xr.Dataset:
            counts = data["counts"].clip(max=1)
            if name == "bob":
                counts[0, 0, 0] = most
            return data.assign(counts=counts)

        return map_subjects(windows, cap)

    assert _message(DataError, lambda: _quiet_fit(spikes(2), likelihood="bernoulli")) == (
        "the bernoulli likelihood cannot model the counts of subject 'bob': counts up to 2, not 0 "
        "or 1; choose another likelihood (poisson takes any counts) or shorter bins."
    )
    model = _quiet_fit(spikes(1), likelihood="bernoulli")
    assert _message(DataError, lambda: model.score(spikes(3))) == (
        "the bernoulli likelihood cannot model the counts of subject 'bob': counts up to 3, not 0 "
        "or 1; choose another likelihood (poisson takes any counts) or shorter bins."
    )


def test_categories_end_at_the_largest_count_of_the_fit(windows: xr.DataTree) -> None:
    most = int(windows["ada"]["counts"].max())
    model = _quiet_fit(windows, likelihood="categorical")
    assert model.fitted_.vae.likelihoods[0].parameters_per_feature == most + 1

    def burst(name: str, data: xr.Dataset) -> xr.Dataset:
        counts = data["counts"].copy()
        if name == "ada":
            counts[0, 0, 0] = most + 1
        return data.assign(counts=counts)

    assert _message(DataError, lambda: model.score(map_subjects(windows, burst))) == (
        "the categorical likelihood cannot model the counts of subject 'ada': values above "
        f"{most}; choose another likelihood (poisson takes any counts) or shorter bins."
    )


def test_subsets_of_more_than_ten_subjects_are_refused(windows: xr.DataTree) -> None:
    many = build_tree({f"rat{k:02}": windows["ada"].to_dataset() for k in range(11)})
    assert _message(ParameterError, lambda: _quiet_fit(many, sharing="mopoe")) == (
        'sharing="mopoe" enumerates every subset of subjects, 2047 for 11 subjects; it takes at '
        'most 10. Choose "moe", "poe" or "mm-vamp".'
    )
    ten = {f"rat{k}": np.array(["A", "B"]) for k in range(10)}
    check_labels(
        ten,
        np.array(["A", "B"]),
        "odor",
        na.SharedLatentModel(sharing="mopoe").get_params(deep=False),
    )


@pytest.mark.parametrize(
    ("given", "beta"),
    [
        ({}, 0.3),
        ({"likelihood": "negative-binomial", "scaling": "none"}, 0.3),
        ({"likelihood": "gaussian"}, 1.0),
        ({"likelihood": "gaussian", "scaling": "standard"}, 1.0),
        ({"likelihood": "gaussian", "scaling": "none"}, 0.1),
        ({"divergence": "mixture"}, 3.0),
        ({"divergence": "mixture", "sharing": "poe"}, 0.3),  # which has no mixture
        ({"beta": 0.7, "likelihood": "gaussian"}, 0.7),
        ({"beta": [(0, 0), (5, 2)]}, [(0, 0), (5, 2)]),
    ],
)
def test_the_automatic_beta_goes_with_likelihood_scaling_and_divergence(
    given: dict[str, Any], beta: object
) -> None:
    asked = na.SharedLatentModel(2, **given).get_params(deep=False)
    assert resolved_settings(asked)["beta"] == beta
    assert {k: v for k, v in resolved_settings(asked).items() if k != "beta"} == {
        k: v for k, v in asked.items() if k != "beta"
    }
