"""Baseline estimators: known spaces, labels of the training only, order, names, messages."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import xarray as xr
from analysis_examples import LABELS, window_trees
from scipy.linalg import orthogonal_procrustes
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

import neuroalign as na
from neuroalign.analysis.aligner_base import WindowBaseline
from neuroalign.analysis.aligners import (
    BASELINES,
    LogitLatents,
    MultisetCCA,
    PrincipalComponents,
    ProcrustesPCA,
    RawCounts,
    SharedResponse,
)
from neuroalign.analysis.scaling import fit_scaling
from neuroalign.data.windows import window_view
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import build_tree, map_subjects, validate

Trees = tuple[xr.DataTree, xr.DataTree]

OWN = [RawCounts(), PrincipalComponents(3)]
ALIGNED: list[WindowBaseline] = [
    ProcrustesPCA(3),
    MultisetCCA(3, n_components=6),
    SharedResponse(3, n_init=1),
]
LOGIT = LogitLatents(n_folds=3, classifier=LogisticRegression(C=0.01))
EVERY = [*OWN, *ALIGNED, LOGIT]


def name_of(method: Any) -> str:
    return repr(method)


def latents_of(method: WindowBaseline, train: xr.DataTree, given: xr.DataTree) -> xr.DataTree:
    return clone(method).fit(train, label="odor").transform(given)


def changed(tree: xr.DataTree, subject: str, change: Any) -> xr.DataTree:
    return map_subjects(tree, lambda name, data: change(data) if name == subject else data)


def lacking(tree: xr.DataTree, subject: str, *labels: str) -> xr.DataTree:
    return changed(tree, subject, lambda d: d.isel(trial=~np.isin(d["odor"].values, labels)))


@pytest.fixture(scope="module")
def trees() -> Trees:
    return window_trees(("ada", "bob", "cleo"), per_label=6)


@pytest.fixture(scope="module")
def rats() -> Trees:
    recordings, _ = na.simulate_recordings(
        units={"ada": 24, "bob": 20, "cyd": 18}, trials=60, mean_rate=12, random_state=0
    )
    windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.03)
    return na.split_trials(windows, stratify="odor", random_state=0)


# --- What every estimator promises --------------------------------------------------------------


@pytest.mark.parametrize("method", EVERY, ids=name_of)
def test_scikit_learn_contract(method: WindowBaseline, trees: Trees) -> None:
    train, test = trees
    copy = clone(method)
    assert repr(copy) == repr(method)
    assert set(copy.get_params(deep=False)) == set(inspect.signature(type(method)).parameters)
    assert not [name for name in vars(copy) if name.endswith("_")]
    with pytest.raises(NotFittedError):
        copy.transform(train)
    before = train.copy(deep=True)
    assert copy.fit(train, label="odor") is copy
    xr.testing.assert_identical(train, before)
    assert copy.subjects_ == ["ada", "bob", "cleo"]
    assert copy.unit_ids_["ada"] == train["ada"]["unit"].values.tolist()
    again = clone(method).fit(lacking(train, "bob", "D"), label="odor").fit(train, label="odor")
    xr.testing.assert_identical(copy.transform(test), again.transform(test))
    xr.testing.assert_identical(
        clone(method).fit_transform(train, label="odor"), copy.transform(train)
    )


@pytest.mark.parametrize("method", EVERY, ids=name_of)
def test_latents_keep_trials_and_windows(method: WindowBaseline, trees: Trees) -> None:
    train, test = trees
    latents = validate(latents_of(method, train, test), "latents")
    assert list(latents.children) == ["ada", "bob", "cleo"]
    for name in latents.children:
        made, given = latents[name].to_dataset(), test[name].to_dataset()
        assert made["mean"].dtype == np.float32
        assert made["mean"].shape[:2] == (given.sizes["trial"], given.sizes["window"])
        for coordinate in ("trial", "window", "odor"):
            assert (made[coordinate].values == given[coordinate].values).all()
        assert made.attrs["subject"] == name
        assert made.sizes["latent"] == made["latent"].size
    names = [tuple(latents[name]["latent"].values) for name in latents.children]
    assert len(set(names)) == (3 if type(method) in map(type, OWN) else 1)


@pytest.mark.parametrize("method", EVERY, ids=name_of)
def test_labels_of_new_trials_are_not_looked_at(method: WindowBaseline, trees: Trees) -> None:
    train, test = trees
    fitted = clone(method).fit(train, label="odor")
    for given in (test, train):
        hidden = map_subjects(
            given, lambda _, d: d.assign_coords(odor=("trial", d["odor"].values[::-1]))
        )
        for name in given.children:
            first, second = fitted.transform(given)[name], fitted.transform(hidden)[name]
            assert (first["mean"].values == second["mean"].values).all()


@pytest.mark.parametrize("method", EVERY, ids=name_of)
def test_one_trial_at_a_time_is_read_as_all_at_once(method: WindowBaseline, trees: Trees) -> None:
    train, test = trees
    fitted = clone(method).fit(train, label="odor")
    whole = fitted.transform(test)["bob"]["mean"].values
    bob = test["bob"].to_dataset()
    for trial in (0, 7):
        alone = fitted.transform(build_tree({"bob": bob.isel(trial=[trial])}))["bob"]["mean"]
        assert alone.values[0] == pytest.approx(whole[trial], abs=1e-5)


@pytest.mark.parametrize("method", EVERY, ids=name_of)
def test_order_and_names_of_subjects_do_not_matter(method: WindowBaseline, trees: Trees) -> None:
    train, test = trees
    new = {"cleo": "alf", "ada": "zoe", "bob": "mia"}

    def renamed(tree: xr.DataTree) -> xr.DataTree:
        return build_tree({new[name]: tree[name].to_dataset() for name in new})

    def turned(tree: xr.DataTree) -> xr.DataTree:
        return build_tree({name: tree[name].to_dataset() for name in new})

    plain = latents_of(method, train, test)
    other_order = latents_of(method, turned(train), turned(test))
    other_names = latents_of(method, renamed(train), renamed(test))
    assert list(other_order.children) == list(new)
    for old, name in new.items():
        xr.testing.assert_identical(plain[old].to_dataset(), other_order[old].to_dataset())
        expected = plain[old]["mean"].values
        assert other_names[name]["mean"].values == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("method", EVERY, ids=name_of)
def test_units_are_matched_by_id_and_others_refused(method: WindowBaseline, trees: Trees) -> None:
    train, test = trees
    fitted = clone(method).fit(train, label="odor")
    shuffled = changed(test, "ada", lambda d: d.isel(unit=[3, 1, 0, 5, 4, 2]))
    xr.testing.assert_identical(fitted.transform(test), fitted.transform(shuffled))
    with pytest.raises(DataError, match=r"the 6 units of the fit for subject 'ada', got 5; missi"):
        fitted.transform(changed(test, "ada", lambda d: d.isel(unit=slice(1, 6))))
    strange = changed(test, "ada", lambda d: d.assign_coords(unit=[f"x{i}" for i in range(6)]))
    with pytest.raises(DataError, match=r"not in the fit: 'x0', 'x1', 'x2', 'x3', 'x4' and 1 more"):
        fitted.transform(strange)
    with pytest.raises(DataError, match="got 7; some are there twice"):
        fitted.transform(changed(test, "ada", lambda d: d.isel(unit=[0, 0, 1, 2, 3, 4, 5])))
    with pytest.raises(DataError, match=r"subjects of the fit \(ada, bob, cleo\), got 'eve'"):
        fitted.transform(build_tree({"eve": test["ada"].to_dataset()}))
    with pytest.raises(DataError, match=r"4 bins of 0\.01 s as in the fit, got 3 bins"):
        fitted.transform(window_trees(("ada",), lags=3)[1])
    with pytest.raises(DataError, match="for subject 'ada', got no trials; leave the subject out"):
        fitted.transform(changed(test, "ada", lambda d: d.isel(trial=slice(0, 0))))
    with pytest.raises(DataError, match="expected windowed data"):
        fitted.transform(fitted.transform(test))


# --- Within subjects ----------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["sqrt-standard", "none"])
def test_own_spaces_are_those_of_the_functions(scaling: Any, trees: Trees) -> None:
    train, test = trees
    expected = na.raw_features(train, test, scaling=scaling)[1]
    xr.testing.assert_identical(RawCounts(scaling=scaling).fit(train).transform(test), expected)
    expected = na.pca_latents(train, test, n_latents=4, scaling=scaling)[1]
    made = PrincipalComponents(4, scaling=scaling).fit(train).transform(test)
    xr.testing.assert_identical(made, expected)


# --- Across subjects ----------------------------------------------------------------------------


def test_a_reference_is_met_by_the_rotation_of_scipy(trees: Trees) -> None:
    train, test = trees
    reference = ProcrustesPCA(3, reference="ada").fit(train, label="odor").transform(test)
    pieces = dict(zip(("train", "test"), na.pca_latents(train, test, n_latents=3), strict=True))

    def averages(name: str) -> tuple[np.ndarray, np.ndarray]:
        latents = pieces["train"][name].to_dataset()
        mean = [latents["mean"].values[latents["odor"] == label].mean(axis=0) for label in LABELS]
        rows = np.concatenate(mean).astype(float)
        return rows - rows.mean(axis=0), rows.mean(axis=0)

    template, own_centre = averages("ada")
    expected = pieces["test"]["ada"]["mean"].values - own_centre
    assert reference["ada"]["mean"].values == pytest.approx(expected, abs=1e-4)
    rows, centre = averages("bob")
    turn, _ = orthogonal_procrustes(rows, template)
    expected = (pieces["test"]["bob"]["mean"].values - centre) @ turn
    assert reference["bob"]["mean"].values == pytest.approx(expected, abs=1e-4)


def twins(trees: Trees) -> Trees:
    """Give ada a twin whose units are hers, each there twice, in another order."""
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(6), 2))

    def twin(data: xr.Dataset) -> xr.Dataset:
        units = [f"eve/{number}" for number in range(12)]
        shuffled = np.random.default_rng(1).permutation(data.sizes["trial"])
        return data.isel(unit=order, trial=shuffled).assign_coords(unit=units)

    ada, other = (tree["ada"].to_dataset() for tree in trees)
    return build_tree({"ada": ada, "eve": twin(ada)}), build_tree(
        {"ada": other, "eve": twin(other)}
    )


@pytest.mark.parametrize(
    "method",
    [
        ProcrustesPCA(4, scale=True),
        MultisetCCA(4, n_components=6),
        SharedResponse(4, scale=True),
        SharedResponse(4, scale=True, scaling="none"),
    ],
    ids=name_of,
)
def test_a_twin_with_other_units_comes_to_the_same_place(
    method: WindowBaseline, trees: Trees
) -> None:
    train, test = twins(trees)
    latents = latents_of(method, train, test)
    twin = latents["eve"].to_dataset().sortby("trial")
    ada = latents["ada"]["mean"].values
    assert twin["mean"].values == pytest.approx(ada, abs=1e-3 * float(np.abs(ada).max()))


def test_srm_projects_by_orthonormal_maps_what_deviates_from_the_averages(trees: Trees) -> None:
    train, test = trees
    fitted = SharedResponse(3).fit(train, label="odor")

    def rows(tree: xr.DataTree) -> np.ndarray:
        view = window_view(tree["bob"].to_dataset())
        return view.reshape(*view.shape[:2], -1)

    scaling = fit_scaling(rows(train), "sqrt-standard")
    labels, scaled = train["bob"]["odor"].values, scaling.of_counts(rows(train))
    centre = np.mean([scaled[labels == label].mean(axis=(0, 1)) for label in LABELS], axis=0)
    weights = fitted.maps_["bob"].weights
    assert weights.T @ weights == pytest.approx(np.eye(3), abs=1e-10)
    expected = (scaling.of_counts(rows(test)) - centre) @ weights
    assert fitted.transform(test)["bob"]["mean"].values == pytest.approx(expected, abs=1e-5)
    assert fitted.shared_.shape == (4, 9, 3)


def test_seeds_of_srm_are_kept(trees: Trees) -> None:
    train, test = trees
    fresh = SharedResponse(2, n_init=1, random_state=None).fit(train, label="odor")
    again = SharedResponse(2, n_init=1, random_state=fresh.seed_).fit(train, label="odor")
    xr.testing.assert_identical(fresh.transform(test), again.transform(test))


@pytest.mark.parametrize("method", ALIGNED, ids=name_of)
def test_labels_that_a_subject_lacks_are_not_averaged(method: WindowBaseline, trees: Trees) -> None:
    fitted: Any = clone(method).fit(lacking(trees[0], "cleo", "D"), label="odor")
    assert fitted.classes_ == ["A", "B", "C"]


def test_what_a_subject_did_with_a_label_that_others_lack_aligns_nothing(trees: Trees) -> None:
    train, test = lacking(trees[0], "cleo", "D"), trees[1]
    # unscaled, so that not even a scaling could know of it
    louder = changed(
        train, "ada", lambda d: d.assign(counts=d["counts"] * (1 + (d["odor"] == "D")))
    )
    method = SharedResponse(3, n_init=1, scaling="none")
    first, second = (latents_of(method, tree, test) for tree in (train, louder))
    xr.testing.assert_identical(first, second)


@pytest.mark.parametrize("method", [*ALIGNED, LOGIT], ids=name_of)
def test_simulated_rats_are_decoded_across(method: WindowBaseline, rats: Trees) -> None:
    train, test = rats
    fitted = clone(method).fit(train, label="odor")
    scores = na.decode_labels(
        fitted.transform(train),
        fitted.transform(test),
        label="odor",
        classifier=GaussianNB(),
        permutations=200,
        bootstraps=0,
    )
    across = scores["accuracy"].sel(level="trial", train_subject="others")
    assert (across > 0.45).all()
    assert (scores["p_value"].sel(train_subject="others") < 0.01).all()


@pytest.mark.parametrize("method", ALIGNED, ids=name_of)
def test_permuted_labels_align_nothing(method: WindowBaseline, rats: Trees) -> None:
    train, test = rats
    found = []
    for seed in range(5):
        fitted = clone(method).fit(na.permute_labels(train, "odor", random_state=seed))
        scores = na.decode_labels(
            fitted.transform(train),
            fitted.transform(test),
            label="odor",
            classifier=GaussianNB(),
            permutations=0,
            bootstraps=0,
        )
        found.append(scores["accuracy"].sel(level="trial", train_subject="others").mean().item())
    # one fit may lay a subject's whole odor on another odor of another's, so fits vary widely
    assert np.mean(found) == pytest.approx(0.25, abs=0.15)


# --- What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (RawCounts(scaling="log"), "scaling must be one of 'sqrt-standard'"),  # type: ignore[arg-type]
        (PrincipalComponents(0), "n_latents must be a whole number of at least 1, got 0"),
        (PrincipalComponents(25), "between 1 and 24 for subject 'ada' .* got 25"),
        (ProcrustesPCA(True), "n_latents must be a whole number"),
        (ProcrustesPCA(36), "n_latents must be at most 35, .* 4 labels at 9 windows .* got 36"),
        (ProcrustesPCA(3, reference="eve"), r"\(ada, bob, cleo\) or None, got 'eve'"),
        (MultisetCCA(3, n_components=2), "n_components must be a whole number of at least 3"),
        (MultisetCCA(3, n_components=25), "n_components must lie between 1 and 24 .* 'ada'"),
        (MultisetCCA(3, regularisation=-1.0), "regularisation must not be negative .* got -1.0"),
        (MultisetCCA(3, n_components=18, regularisation=0), "must be positive .* 36 averages"),
        (SharedResponse(25), "at most 24, the number of features of subject 'ada', got 25"),
        (SharedResponse(2, n_init=0), "n_init must be a whole number of at least 1, got 0"),
        (SharedResponse(2, random_state=-1), "random_state must not be negative"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    method: WindowBaseline, message: str, trees: Trees
) -> None:
    with pytest.raises(ParameterError, match=message):
        method.fit(trees[0], label="odor")


def test_labels_that_cannot_be_averaged_are_refused(trees: Trees) -> None:
    train = trees[0]
    method = ProcrustesPCA(2)
    with pytest.raises(ParameterError, match="fit needs a label, and the data's spec names none"):
        method.fit(train)
    with pytest.raises(DataError, match="no trial label 'side' for subject 'ada'"):
        method.fit(train, label="side")
    few = lacking(lacking(train, "ada", "A", "B"), "cleo", "C", "D")
    message = (
        "training trials, got 0: 'ada' has C, D; 'bob' has A, B, C, D; 'cleo' has A, B; choose"
    )
    with pytest.raises(DataError, match=message):
        method.fit(few, label="odor")
    with pytest.raises(
        DataError, match=r"at least two different labels .* \['D'\] at subject 'bob'"
    ):
        method.fit(lacking(train, "bob", "A", "B", "C"), label="odor")
    blank = changed(train, "bob", lambda d: d.assign_coords(odor=("trial", [""] * 24)))
    with pytest.raises(DataError, match="got 24 without one at subject 'bob'"):
        method.fit(blank, label="odor")
    fewer = changed(train, "bob", lambda d: d.isel(window=slice(0, 8)))
    with pytest.raises(DataError, match=r"got 9 windows .* for 'ada' and 8 of 4 bins .* for 'bob'"):
        method.fit(fewer, label="odor")
    with pytest.raises(DataError, match="for subject 'bob', got no units"):
        method.fit(changed(train, "bob", lambda d: d.isel(unit=[])), label="odor")


def test_the_label_comes_from_the_spec_or_is_a_combination(rats: Trees) -> None:
    train, test = rats
    given = ProcrustesPCA(3).fit(train, label="odor")
    by_spec = ProcrustesPCA(3).fit(train)
    assert by_spec.label_ == "odor"
    xr.testing.assert_identical(given.transform(test), by_spec.transform(test))
    late = map_subjects(
        train, lambda _, d: d.assign_coords(late=("trial", np.isin(d["odor"].values, ["C", "D"])))
    )
    both = ProcrustesPCA(3).fit(late, label=["odor", "late"])
    assert both.classes_ == ["A|False", "B|False", "C|True", "D|True"]
    xr.testing.assert_identical(given.transform(test), both.transform(test))


def test_every_candidate_is_an_estimator_that_can_be_made(rats: Trees) -> None:
    assert list(BASELINES) == [
        "spike counts",
        "raw counts",
        "PCA",
        "PCA + Procrustes",
        "multi-set CCA",
        "SRM",
        "logit latents",
    ]
    for baseline in BASELINES.values():
        method = baseline.make()
        assert method is not baseline.make()
        assert set(baseline.grid) <= set(method.get_params())
        assert all(len(set(values)) == len(values) > 1 for values in baseline.grid.values())
        for end in (0, -1):
            method.set_params(**{name: values[end] for name, values in baseline.grid.items()})
            if isinstance(method, SharedResponse):
                method.set_params(n_init=1)
            if not isinstance(method, LogitLatents):
                method.fit(rats[0], label="odor")
