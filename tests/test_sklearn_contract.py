"""What scikit-learn asks of an estimator, check by check; the list stands in docs/with_other_tools.md.

`sklearn.utils.estimator_checks` feeds arrays to estimators, so that none of its checks can run on
trees of windows. These are those of its checks that have a meaning here.
"""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sklearn
import torch
import xarray as xr
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB
from sklearn.utils import get_tags

import neuroalign as na
from neuroalign.errors import NeuroAlignError, ParameterError
from neuroalign.schema import iterate_subjects, map_subjects

SMALL: dict[str, Any] = {
    "n_latents": 2,
    "decoder_hidden": (8,),
    "max_epochs": 1,
    "random_state": 0,
    "verbose": False,
}
ESTIMATORS: dict[str, Callable[[], Any]] = {
    "SharedLatentModel": lambda: na.SharedLatentModel(**SMALL),
    "SharedResponse": lambda: na.SharedResponse(2),
    "MultisetCCA": lambda: na.MultisetCCA(2),
    "ProcrustesPCA": lambda: na.ProcrustesPCA(2),
    "PrincipalComponents": lambda: na.PrincipalComponents(2),
    "LogitLatents": lambda: na.LogitLatents(classifier=GaussianNB()),
    "RawCounts": na.RawCounts,
    "SpikeCounts": na.SpikeCounts,
    "TrialSearch": lambda: na.TrialSearch(
        na.ProcrustesPCA(), {"n_latents": [1, 2]}, cv=0.3, classifier=GaussianNB(), random_state=0
    ),
}
every = pytest.mark.parametrize("name", ESTIMATORS)


@pytest.fixture(scope="module")
def windows() -> xr.DataTree:
    recordings, _ = na.simulate_recordings(
        units={"ada": 8, "bob": 6}, trials=24, mean_rate=9, random_state=0
    )
    return na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Fits this short may rightly warn that they aligned nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        yield


@pytest.fixture(scope="module")
def fitted(windows: xr.DataTree) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        return {name: make().fit(windows, label="odor") for name, make in ESTIMATORS.items()}


def halves(windows: xr.DataTree) -> tuple[xr.DataTree, xr.DataTree]:
    return na.split_trials(windows, test_size=0.5, stratify="odor", random_state=0)


def assert_trees_equal(one: xr.DataTree, other: xr.DataTree) -> None:
    assert list(one.children) == list(other.children)
    for name, data in iterate_subjects(one):
        assert data.identical(other[name].to_dataset())


# --- Parameters ---------------------------------------------------------------------------------


@every
def test_parameters_are_stored_as_given_and_nothing_else_is(name: str) -> None:
    made = ESTIMATORS[name]()
    parameters = inspect.signature(type(made)).parameters
    assert not [p for p in parameters.values() if p.kind in {p.VAR_KEYWORD, p.VAR_POSITIONAL}]
    assert sorted(vars(made)) == sorted(parameters)
    given = {key: object() for key in vars(made)}  # no check, no copy, no conversion
    stored = vars(type(made)(**given))
    assert all(stored[key] is value for key, value in given.items())


@every
def test_clones_are_equal_and_independent(name: str, fitted: dict[str, Any]) -> None:
    copied = clone(fitted[name])
    assert type(copied) is type(fitted[name])
    assert repr(copied.get_params()) == repr(fitted[name].get_params())
    assert not [key for key in vars(copied) if key.endswith("_")]


@every
def test_set_params_changes_what_get_params_gives_and_refuses_other_names(name: str) -> None:
    made = ESTIMATORS[name]()
    for key in made.get_params(deep=False):
        marker = object()
        assert made.set_params(**{key: marker}) is made
        assert made.get_params(deep=False)[key] is marker
    with pytest.raises(ValueError, match="Invalid parameter 'nonsense'"):
        made.set_params(nonsense=1)


@every
def test_repr_shows_what_was_changed(name: str) -> None:
    kind = type(ESTIMATORS[name]())
    if name != "TrialSearch":  # which has no defaults for what it searches
        assert repr(kind()) == f"{name}()"
    if name == "SharedLatentModel":
        assert repr(kind(5, beta=1.0)) == "SharedLatentModel(beta=1.0, n_latents=5)"
    assert ESTIMATORS[name]()._repr_html_()


@every
def test_fit_leaves_parameters_alone(name: str, windows: xr.DataTree) -> None:
    made = ESTIMATORS[name]()
    before = copy.deepcopy(made.get_params(deep=False))
    kept = {key: value for key, value in vars(made).items() if not key.endswith("_")}
    made.fit(windows, label="odor")
    assert repr(made.get_params(deep=False)) == repr(before)
    assert all(vars(made)[key] is value for key, value in kept.items())


# --- Fitting ------------------------------------------------------------------------------------


@every
def test_fit_returns_the_estimator(name: str, windows: xr.DataTree) -> None:
    made = ESTIMATORS[name]()
    assert made.fit(windows, label="odor") is made


@every
def test_what_fit_learns_ends_in_an_underscore(name: str, fitted: dict[str, Any]) -> None:
    before = set(vars(ESTIMATORS[name]()))
    learned = set(vars(fitted[name])) - before
    assert learned or name in {"RawCounts", "SpikeCounts"}
    assert [key for key in learned if not key.endswith("_") and not key.startswith("_")] == []
    assert not [key for key in before if key.endswith("_")]


@every
def test_methods_of_an_estimator_that_is_not_fitted_say_so(name: str, windows: xr.DataTree) -> None:
    with pytest.raises(NotFittedError):
        ESTIMATORS[name]().transform(windows)


def test_every_method_of_the_model_that_needs_a_fit_says_so(windows: xr.DataTree) -> None:
    model = na.SharedLatentModel(**SMALL)
    calls: dict[str, Callable[[], Any]] = {
        "transform": lambda: model.transform(windows),
        "reconstruct": lambda: model.reconstruct(windows),
        "impute": lambda: model.impute(windows, source="ada", target="bob"),
        "score": lambda: model.score(windows),
        "add_subject": lambda: model.add_subject(windows),
        "save": lambda: model.save("nowhere"),
        "summary": model.summary,
    }
    ready = {"fit", "fit_transform", "from_recipe", "get_metadata_routing", "get_params", "load"}
    public = {
        key
        for key, value in inspect.getmembers(type(model), callable)
        if not key.startswith("_") and not key.endswith("_request") and key != "set_params"
    }
    assert public - ready == set(calls)
    for call in calls.values():
        with pytest.raises(NotFittedError):
            call()


@every
def test_fitting_again_starts_afresh(name: str, windows: xr.DataTree) -> None:
    first, second = halves(windows)
    again = ESTIMATORS[name]().fit(first, label="odor").fit(second, label="odor")
    afresh = ESTIMATORS[name]().fit(second, label="odor")
    assert_trees_equal(again.transform(first), afresh.transform(first))
    assert set(vars(again)) == set(vars(afresh))


@every
def test_a_seed_decides_everything_and_nothing_else_does(name: str, windows: xr.DataTree) -> None:
    state: Any = np.random.get_state()  # noqa: NPY002
    torch_state = torch.get_rng_state()
    one = ESTIMATORS[name]().fit(windows, label="odor").transform(windows)
    np.random.default_rng().normal(size=3)
    other = clone(ESTIMATORS[name]()).fit(windows, label="odor").transform(windows)
    assert_trees_equal(one, other)
    after: Any = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(state[1], after[1])
    assert torch.equal(torch_state, torch.get_rng_state())


def test_seeds_differ(windows: xr.DataTree) -> None:
    one, other = (
        na.SharedLatentModel(**SMALL | {"random_state": seed}).fit(windows, label="odor")
        for seed in (0, 1)
    )
    latents = [model.transform(windows)["ada"].to_dataset() for model in (one, other)]
    assert not latents[0].equals(latents[1])


@every
def test_fit_and_transform_leave_their_input_alone(name: str, windows: xr.DataTree) -> None:
    before = {subject: data.copy(deep=True) for subject, data in iterate_subjects(windows)}
    latents = ESTIMATORS[name]().fit(windows, label="odor").transform(windows)
    for _, data in iterate_subjects(latents):
        data["mean"].values[...] = 0.0  # nor is the result a view of the input
    for subject, data in iterate_subjects(windows):
        assert data.identical(before[subject])


@every
def test_a_fit_that_fails_leaves_no_half_fitted_estimator(name: str, windows: xr.DataTree) -> None:
    made = ESTIMATORS[name]()
    with pytest.raises(NeuroAlignError):
        made.fit(windows["ada"], label="odor")
    with pytest.raises(NotFittedError):
        made.transform(windows)


def test_parameters_are_checked_by_fit_and_not_before(windows: xr.DataTree) -> None:
    model = na.SharedLatentModel(**SMALL | {"dropout": 2.0})
    with pytest.raises(ParameterError, match="dropout must be"):
        model.fit(windows, label="odor")
    assert issubclass(ParameterError, ValueError)


# --- Transforming -------------------------------------------------------------------------------


def test_fit_transform_is_fit_and_transform(windows: xr.DataTree) -> None:
    one = na.SharedLatentModel(**SMALL).fit_transform(windows, label="odor")
    other = na.SharedLatentModel(**SMALL).fit(windows, label="odor").transform(windows)
    assert_trees_equal(one, other)


@every
def test_transform_changes_nothing_in_the_estimator(
    name: str, windows: xr.DataTree, fitted: dict[str, Any]
) -> None:
    before = {key: id(value) for key, value in vars(fitted[name]).items()}
    first = fitted[name].transform(windows)
    assert {key: id(value) for key, value in vars(fitted[name]).items()} == before
    assert_trees_equal(first, fitted[name].transform(windows))


@every
def test_trials_are_transformed_each_by_itself(
    name: str, windows: xr.DataTree, fitted: dict[str, Any]
) -> None:
    whole = fitted[name].transform(windows)
    part = fitted[name].transform(halves(windows)[1])
    turned = fitted[name].transform(
        map_subjects(windows, lambda _, data: data.isel(trial=slice(None, None, -1)))
    )
    for subject, data in iterate_subjects(whole):
        for other in (part[subject].to_dataset(), turned[subject].to_dataset()):
            mine = data.sel(trial=other["trial"].values)
            np.testing.assert_allclose(other["mean"], mine["mean"], rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(other["odor"], mine["odor"])


@every
def test_output_settings_of_scikit_learn_do_not_matter(
    name: str, windows: xr.DataTree, fitted: dict[str, Any]
) -> None:
    assert not hasattr(fitted[name], "set_output")
    with sklearn.config_context(transform_output="pandas"):
        latents = clone(fitted[name]).fit(windows, label="odor").transform(windows)
    assert_trees_equal(latents, fitted[name].transform(windows))


def test_output_settings_do_not_reach_the_classifiers(
    windows: xr.DataTree, fitted: dict[str, Any]
) -> None:
    latents = [fitted["ProcrustesPCA"].transform(part) for part in halves(windows)]
    quick: dict[str, Any] = {"label": "odor", "permutations": 0, "bootstraps": 0}
    expected = na.decode_labels(*latents, **quick)
    with sklearn.config_context(transform_output="pandas"):
        assert na.decode_labels(*latents, **quick).identical(expected)


# --- Living with other tools --------------------------------------------------------------------


@every
def test_copies_and_pickles_work_as_the_estimator_does(
    name: str, windows: xr.DataTree, fitted: dict[str, Any]
) -> None:
    # pickles carry estimators between processes of one program; files are for save and load
    expected = fitted[name].transform(windows)
    for copied in (copy.deepcopy(fitted[name]), pickle.loads(pickle.dumps(fitted[name]))):
        assert_trees_equal(copied.transform(windows), expected)


@every
def test_scikit_learn_knows_what_it_is(name: str) -> None:
    made = ESTIMATORS[name]()
    assert isinstance(made, BaseEstimator)
    assert get_tags(made) is not None
    assert "sklearn_version" not in vars(made)
