"""Baseline latents: training statistics only, the same features as window_view, PCA as sklearn's."""

import numpy as np
import pytest
import xarray as xr
from analysis_examples import window_trees
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

import neuroalign as na
from neuroalign.analysis.baselines import pca_latents, raw_features
from neuroalign.analysis.decoding import decode_labels
from neuroalign.analysis.scaling import fit_scaling
from neuroalign.data.windows import window_view
from neuroalign.errors import DataError, ParameterError
from neuroalign.poisson_root import expected_root
from neuroalign.schema import build_tree, validate


def flat(tree, subject):
    view = window_view(tree[subject].to_dataset()).astype(float)
    return view.reshape(*view.shape[:2], -1)


def test_features_are_the_scaled_windows():
    train, test = window_trees()
    made_train, made_test = raw_features(train, test)
    validate(made_train, "latents")
    rows = np.sqrt(flat(train, "bob")).reshape(-1, 7 * 4)
    scaler = StandardScaler().fit(rows)
    for given, made in ((train, made_train), (test, made_test)):
        expected = scaler.transform(np.sqrt(flat(given, "bob")).reshape(-1, 28))
        assert made["bob"]["mean"].values.reshape(-1, 28) == pytest.approx(expected, abs=1e-5)
    assert (made_test["bob"]["odor"].values == test["bob"]["odor"].values).all()
    assert (made_test["bob"]["window"].values == test["bob"]["window"].values).all()


@pytest.mark.parametrize(("scaling", "function"), [("none", np.asarray), ("sqrt", np.sqrt)])
def test_scalings_without_statistics(scaling, function):
    train, test = window_trees(("ada",))
    _, made = raw_features(train, test, scaling=scaling)
    assert made["ada"]["mean"].values == pytest.approx(function(flat(test, "ada")), abs=1e-6)


def test_test_trials_never_touch_the_statistics():
    train, test = window_trees(("ada",))
    other = build_tree({"ada": test["ada"].to_dataset().assign(counts=test["ada"]["counts"] * 3)})
    for method in (raw_features, lambda a, b: pca_latents(a, b, n_latents=3)):
        first, second = method(train, test)[0], method(train, other)[0]
        xr.testing.assert_identical(first, second)


def test_constant_features_become_zero():
    train, test = window_trees(("ada",))
    silent = train["ada"].to_dataset().copy(deep=True)
    silent["counts"][:, 2] = 0
    made_train, made_test = raw_features(build_tree({"ada": silent}), test)
    unit = slice(2 * 4, 3 * 4)
    assert (made_train["ada"]["mean"].values[:, :, unit] == 0).all()
    assert (made_test["ada"]["mean"].values[:, :, unit] == 0).all()


@pytest.mark.parametrize("per_label", [1, 10])  # fewer and more rows than features
def test_components_are_those_of_sklearn(per_label):
    train, test = window_trees(("ada",), per_label=per_label, bins=6)
    made_train, made_test = pca_latents(train, test, n_latents=4)
    standard = [tree["ada"]["mean"].values.reshape(-1, 24) for tree in raw_features(train, test)]
    reference = PCA(4, svd_solver="full").fit(standard[0])
    for rows, made in zip(standard, (made_train, made_test), strict=True):
        expected = reference.transform(rows)
        found = made["ada"]["mean"].values.reshape(-1, 4)
        signs = np.sign((expected * found).sum(axis=0))
        assert found == pytest.approx(expected * signs, abs=1e-3)


def test_baselines_are_decoded_within_subjects_only():
    train, test = window_trees(("ada", "bob"), per_label=8)
    scores = decode_labels(*raw_features(train, test), label="odor", permutations=99, bootstraps=0)
    accuracy = scores["accuracy"].sel(level="trial")
    assert (np.diag(accuracy) > 0.9).all()
    assert np.isnan(accuracy.sel(train_subject="ada", test_subject="bob").item())


def test_what_does_not_fit_is_refused():
    train, test = window_trees(("ada", "bob"))
    with pytest.raises(ParameterError, match="scaling must be one of 'sqrt-standard'"):
        raw_features(train, test, scaling="log")
    with pytest.raises(
        ParameterError, match="n_latents must lie between 1 and 24 for subject 'ada'"
    ):
        pca_latents(train, test, n_latents=25)
    ada = test["ada"].to_dataset()
    with pytest.raises(DataError, match=r"same units in train and test, got others .* 'ada'"):
        raw_features(train, build_tree({"ada": ada.isel(unit=[1, 0, 2, 3, 4, 5])}))
    with pytest.raises(DataError, match=r"among those of train \(ada, bob\), got 'eve'"):
        raw_features(train, build_tree({"eve": ada}))


def test_expected_root_is_the_mean_root_of_poisson_counts():
    rates = np.array([0.0, 0.003, 0.05, 0.7, 3.3, 41.0])
    counts = np.arange(400)
    exact = [np.sum(np.sqrt(counts) * stats.poisson(rate).pmf(counts)) for rate in rates]
    assert expected_root(rates) == pytest.approx(np.array(exact), abs=2e-4)


def test_expected_counts_scale_to_the_mean_of_scaled_counts():
    random = np.random.default_rng(0)
    rates = np.array([0.02, 0.3, 2.0])
    scaling = fit_scaling(random.poisson(rates, size=(500, 3)), "sqrt-standard")
    drawn = scaling.of_counts(random.poisson(rates, size=(200_000, 3))).mean(axis=0)
    assert scaling.of_expected(rates) == pytest.approx(drawn, abs=0.01)


@pytest.mark.parametrize("embed", [raw_features, pca_latents])
def test_latents_still_say_where_their_windows_lie(embed):
    recordings, _ = na.simulate_recordings(units={"ada": 12, "bob": 14}, trials=24, mean_rate=9.0)
    windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    made, _ = embed(*na.split_trials(windows, stratify="odor", random_state=0))
    for name in ("ada", "bob"):
        given = windows[name].attrs
        for key in ("frame_start", "frame_stop", "bin_width", "window_length", "window_step"):
            assert made[name].attrs[key] == given[key]
        assert made[name].attrs["stage"] == "latents"
        assert made[name].attrs["subject"] == name
