"""Numbers that trials were not paired by: planted ones are read, labels cannot help."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from analysis_examples import LabelModel, latent_subject, latent_trees
from evaluation_examples import BAYES, QUICK, one_tree, with_coordinate
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, pearsonr
from sklearn.linear_model import RidgeCV

from neuroalign.analysis.aligners import RawCounts
from neuroalign.analysis.evaluation import evaluate
from neuroalign.analysis.transfer import (
    ReadVariable,
    correlate,
    pool_variables,
    read_variable,
    regress_variable,
    score_variable,
)
from neuroalign.data.splits import kfold_trials, split_trials
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import build_tree, iterate_subjects, map_subjects

Trees = tuple[xr.DataTree, xr.DataTree]
NONE = {"permutations": 0, "bootstraps": 0}


def noise_trees(seed: int = 0, *, per_label: int = 8, latents: int = 3, **options: Any) -> Trees:
    """Latents and a speed that have nothing to do with each other."""
    trees = latent_trees(("ada", "bob"), per_label=per_label, latents=latents, seed=seed, **options)
    streams = {
        (side, name): np.random.default_rng([7, seed, side, number])
        for side in (0, 1)
        for number, name in enumerate(("ada", "bob"))
    }
    first, second = (
        with_coordinate(tree, "speed", lambda n, d, s=side: streams[s, n].normal(size=d.trial.size))
        for side, tree in enumerate(trees)
    )
    return first, second


def planted(tree: xr.DataTree, strength: float = 3.0) -> xr.DataTree:
    """Let the speed move the latents of every subject in one direction."""

    def plant(_: str, data: xr.Dataset) -> xr.Dataset:
        move = strength * data["speed"].values[:, None, None] * np.array([0.6, 0.0, -0.8])
        return data.assign(mean=(data["mean"].dims, data["mean"].values + move))

    return map_subjects(tree, plant)


@pytest.fixture(scope="module")
def trees() -> Trees:
    train, test = noise_trees(1)
    return planted(train), planted(test)


def with_speed(trees: Trees, change: Any) -> Trees:
    first, second = (
        with_coordinate(tree, "speed", lambda n, d: change(n, d["speed"].values, d))
        for tree in trees
    )
    return first, second


# --- What is read -------------------------------------------------------------------------------


def test_a_planted_variable_is_read_within_and_across(trees: Trees) -> None:
    scores = read_variable(*trees, "speed", label="odor", permutations=99, bootstraps=200)
    assert scores["train_subject"].values.tolist() == ["ada", "bob", "others"]
    assert scores["test_subject"].values.tolist() == ["ada", "bob"]
    assert (scores["correlation"] > 0.9).all()
    assert (scores["p_value"] == 1 / 100).all()
    low, high = scores["interval"].sel(bound="low"), scores["interval"].sel(bound="high")
    assert ((low < scores["correlation"]) & (scores["correlation"] < high)).all()
    assert scores.attrs["label"] == "odor"
    assert scores.attrs["variable"] == "speed"
    mirrored = with_speed(trees, lambda n, v, _: -v if n == "bob" else v)
    found = read_variable(*mirrored, "speed", label="odor", **NONE)["correlation"]
    assert (found.sel(train_subject="others") < -0.9).all()
    assert found.sel(train_subject="bob", test_subject="bob") > 0.9


@pytest.mark.parametrize("plant", [0.0, 0.3])
def test_correlations_are_those_of_scipy_on_residuals(plant: float) -> None:
    trees = tuple(planted(tree, plant) for tree in noise_trees(2))
    scores = read_variable(trees[0], trees[1], "speed", label="odor", **NONE)["correlation"]
    residuals = {}
    for name in ("ada", "bob"):
        train, test = (tree[name].to_dataset() for tree in trees)
        for side, data in (("train", train), ("test", test)):
            features, values = [], []
            for trial in range(data.sizes["trial"]):
                same = train["odor"].values == data["odor"].values[trial]
                own = data["mean"].values[trial].mean(axis=0)
                features.append(own - train["mean"].values[same].mean(axis=(0, 1)))
                values.append(data["speed"].values[trial] - train["speed"].values[same].mean())
            residuals[name, side] = np.array(features), np.array(values)
    for source, subject in (("ada", "ada"), ("bob", "ada"), ("others", "ada"), ("others", "bob")):
        reader = source if source != "others" else "bob" if subject == "ada" else "ada"
        rows, numbers = residuals[reader, "train"]
        centre, scale = rows.mean(axis=0), rows.std(axis=0)
        ridge = RidgeCV(alphas=[10.0**k for k in range(-2, 5)])
        ridge.fit((rows - centre) / scale, numbers)
        asked, true = residuals[subject, "test"]
        expected = pearsonr(ridge.predict((asked - centre) / scale), true).statistic
        found = scores.sel(train_subject=source, test_subject=subject).item()
        assert found == pytest.approx(expected)


def test_the_others_are_pooled() -> None:
    train, test = latent_trees(("ada", "bob", "cleo"), per_label=6, seed=3)
    parts = [
        with_coordinate(tree, "speed", lambda _, d: d["mean"].values[:, :, 0].sum(axis=1) ** 2)
        for tree in (train, test)
    ]
    found = regress_variable(parts[0], parts[1], "speed", label="odor")
    assert set(found["ada"].read) == {"ada", "bob", "cleo", "others"}
    without_ada = build_tree({n: d for n, d in iterate_subjects(parts[0]) if n != "ada"})
    # cleo's others are bob alone, once ada is gone
    alone = regress_variable(without_ada, parts[1], "speed", label="odor")
    np.testing.assert_array_equal(alone["cleo"].read["others"], found["cleo"].read["bob"])
    assert not np.allclose(found["cleo"].read["others"], found["cleo"].read["bob"])
    # nor do a subject's own training trials have a say in what the others read of it
    flipped = with_coordinate(
        parts[0], "speed", lambda n, d: d["speed"].values * (-1 if n == "ada" else 1)
    )
    turned = regress_variable(flipped, parts[1], "speed", label="odor")
    np.testing.assert_array_equal(turned["ada"].read["others"], found["ada"].read["others"])
    np.testing.assert_allclose(turned["ada"].read["ada"], -found["ada"].read["ada"])
    assert "ada" not in alone  # without training trials of its own it has no averages


# --- What labels cannot give --------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-9, 0.1, 1.0, 1e6])
def test_a_function_of_the_label_is_not_read(scale: float) -> None:
    # averages of seven equal numbers differ from them in the last digit
    trees = noise_trees(1, per_label=7)
    numbers = {"A": 0.1, "B": 1 / 3, "C": 12.7, "D": 1.9}
    by_label = with_speed(
        trees, lambda _n, _v, d: scale * np.vectorize(numbers.get)(d["odor"].values)
    )
    scores = read_variable(*by_label, "speed", label="odor", permutations=19, bootstraps=20)
    assert (scores["correlation"] == 0).all()
    assert (scores["p_value"] == 1).all()
    assert (scores["interval"] == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_latents_carry_do_not_help(seed: int) -> None:
    trees = noise_trees(seed, per_label=15, separation=20.0)  # of the label, next to everything
    offsets = {"A": -50.0, "B": 3.0, "C": 20.0, "D": 90.0}
    shifted = with_speed(trees, lambda _, v, d: v + np.vectorize(offsets.get)(d["odor"].values))
    plain, found = (
        read_variable(*pair, "speed", label="odor", permutations=99, bootstraps=50)
        for pair in (trees, shifted)
    )
    for name in ("correlation", "p_value", "interval"):
        np.testing.assert_allclose(plain[name].values, found[name].values, atol=1e-6)
    assert (np.abs(found["correlation"]) < 0.4).all()
    # a naive correlation would be carried by the label
    for _, data in iterate_subjects(shifted[1]):
        means = data["mean"].values.mean(axis=1)
        assert max(abs(pearsonr(column, data["speed"]).statistic) for column in means.T) > 0.5


def test_label_averages_are_each_subjects_own(trees: Trees) -> None:
    def moved(name: str, data: xr.Dataset) -> xr.Dataset:
        far = (100.0 if name == "bob" else -7.0) * (data["odor"].values == "C")
        mean = data["mean"].values + far[:, None, None]
        return data.assign(mean=(data["mean"].dims, mean)).assign_coords(
            speed=("trial", data["speed"].values + (30 if name == "bob" else 0))
        )

    other = tuple(map_subjects(tree, moved) for tree in trees)
    plain = read_variable(*trees, "speed", label="odor", permutations=19, bootstraps=19)
    found = read_variable(other[0], other[1], "speed", label="odor", permutations=19, bootstraps=19)
    xr.testing.assert_allclose(plain, found)


# --- P-values and intervals ---------------------------------------------------------------------


def test_p_values_are_uniform_on_noise() -> None:
    found = []
    for seed in range(100):
        trees = noise_trees(seed, per_label=5, latents=2, windows=1)
        scores = read_variable(
            *trees, "speed", label="odor", permutations=199, bootstraps=0, random_state=seed
        )["p_value"]
        found.append(
            [scores.sel(train_subject=s, test_subject="ada").item() for s in ("ada", "others")]
        )
    for p_values in np.transpose(found):
        assert kstest(p_values, "uniform").pvalue > 0.01


def test_p_values_count_permutations_within_labels() -> None:
    random = np.random.default_rng(0)
    labels = np.array(["A", "A", "A", "B", "B"])
    true, read = random.normal(size=5), random.normal(size=5)
    part = ReadVariable(true=true, labels=labels, read={"ada": read})
    scores = score_variable(
        {"ada": part}, variable="speed", permutations=20_000, bootstraps=0, seed=0
    )
    orders = [
        [*first, *second]
        for first in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0])
        for second in ([3, 4], [4, 3])
    ]
    null = [pearsonr(read, true[order]).statistic for order in orders]
    exact = np.mean(np.array(null) >= pearsonr(read, true).statistic - 1e-9)
    assert 0.1 < exact < 0.9
    assert scores["p_value"].item() == pytest.approx(exact, abs=0.015)


def test_intervals_have_the_width_of_fishers() -> None:
    random = np.random.default_rng(1)
    true = random.normal(size=400)
    read = 0.6 * true + 0.8 * random.normal(size=400)
    part = ReadVariable(true=true, labels=np.full(400, "A"), read={"ada": read})
    scores = score_variable(
        {"ada": part}, variable="speed", permutations=0, bootstraps=2000, seed=0
    )
    expected = pearsonr(read, true).confidence_interval(0.95)
    np.testing.assert_allclose(scores["interval"].values[0, 0], expected, atol=0.02)
    assert np.isnan(scores["p_value"].item())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 30), st.sampled_from([1e-2, 1.0, 1e5]))
def test_correlate_is_pearsons(seed: int, size: int, scale: float) -> None:
    first, second = np.random.default_rng(seed).normal(size=(2, size))
    expected = pearsonr(first, second).statistic
    assert float(correlate(scale * first + 5, second)) == pytest.approx(expected, abs=1e-6)
    assert float(correlate(np.full(size, 3.7), second)) == 0
    rows = np.stack([first, -first, np.zeros(size)])
    np.testing.assert_allclose(correlate(rows, second), [expected, -expected, 0], atol=1e-9)


@pytest.mark.parametrize(
    "unit",
    [
        1e-5,
        1e5,
        pytest.param(
            2.0**-27,
        ),
    ],
)
def test_the_unit_of_the_variable_does_not_matter(unit: float, trees: Trees) -> None:
    scaled = with_speed(trees, lambda _n, v, _d: unit * v)
    plain, found = (
        read_variable(*pair, "speed", label="odor", permutations=19, bootstraps=19)
        for pair in (trees, scaled)
    )
    xr.testing.assert_allclose(plain, found)


# --- Which trials count -------------------------------------------------------------------------


def test_missing_values_are_left_out(trees: Trees) -> None:
    gone = {"ada": slice(0, 5), "bob": slice(3, 9)}

    def broken(name: str, values: np.ndarray, _: xr.Dataset) -> np.ndarray:
        values = values.copy()
        values[gone[name]] = [np.nan, np.inf, -np.inf, np.nan, np.nan, np.nan][
            : 5 + (name == "bob")
        ]
        return values

    def shortened(name: str, data: xr.Dataset) -> xr.Dataset:
        return data.isel(trial=np.delete(np.arange(data.sizes["trial"]), gone[name]))

    holed = with_speed(trees, broken)
    short = [map_subjects(tree, shortened) for tree in trees]
    asked: dict[str, Any] = {"label": "odor", "permutations": 49, "bootstraps": 49}
    found = read_variable(*holed, "speed", **asked)
    xr.testing.assert_identical(found, read_variable(short[0], short[1], "speed", **asked))
    read = regress_variable(*holed, "speed", label="odor")
    assert [part.true.size for part in read.values()] == [27, 26]


def test_subjects_and_labels_that_cannot_be_read_are_left_out(trees: Trees) -> None:
    train, test = trees
    without = map_subjects(train, lambda n, d: d.drop_vars("speed") if n == "bob" else d)
    scores = read_variable(without, test, "speed", label="odor", **NONE)
    assert scores["test_subject"].values.tolist() == ["ada"]
    assert scores["train_subject"].values.tolist() == ["ada"]  # there are no others
    text = map_subjects(
        train, lambda n, d: d.assign_coords(speed=d["speed"].astype(str)) if n == "bob" else d
    )
    xr.testing.assert_identical(read_variable(text, test, "speed", label="odor", **NONE), scores)
    new_label = map_subjects(train, lambda _, d: d.isel(trial=d["odor"].values != "D"))
    read = regress_variable(new_label, test, "speed", label="odor")
    assert set(read["ada"].labels) == {"A", "B", "C"}
    named = map_subjects(
        train, lambda n, d: d.assign_coords(latent=[f"{n} {index}" for index in range(3)])
    )
    own = read_variable(named, test, "speed", label="odor", **NONE)["correlation"]
    assert own["train_subject"].values.tolist() == ["ada", "bob", "others"]  # test has no names
    named_test = map_subjects(
        test, lambda n, d: d.assign_coords(latent=[f"{n} {index}" for index in range(3)])
    )
    own = read_variable(named, named_test, "speed", label="odor", **NONE)["correlation"]
    assert own["train_subject"].values.tolist() == ["ada", "bob"]
    assert np.isnan(own.sel(train_subject="ada", test_subject="bob"))


def test_what_cannot_be_read_is_refused(trees: Trees) -> None:
    train, test = trees
    message = (
        r"^expected numbers as trial coordinate 'weight', with at least 3 training and test trials "
        r"of a subject, got none; labels are read by decode_labels\.$"
    )
    with pytest.raises(DataError, match=message):
        read_variable(train, test, "weight", label="odor")
    with pytest.raises(DataError, match="expected numbers as trial coordinate 'odor'"):
        read_variable(train, test, "odor", label="odor")
    few = map_subjects(test, lambda _, d: d.isel(trial=slice(0, 2)))
    with pytest.raises(DataError, match="at least 3 training and test trials"):
        read_variable(train, few, "speed", label="odor")
    with pytest.raises(DataError, match="must not share trials"):
        read_variable(train, train, "speed", label="odor")
    with pytest.raises(ParameterError, match="permutations must be a whole number"):
        read_variable(train, test, "speed", label="odor", permutations=-1)
    with pytest.raises(ParameterError, match="bootstraps must be a whole number"):
        read_variable(train, test, "speed", label="odor", bootstraps=0.5)  # type: ignore[arg-type]


def test_seeds_and_the_order_of_subjects(trees: Trees) -> None:
    asked: dict[str, Any] = {"label": "odor", "permutations": 49, "bootstraps": 49}
    noise = noise_trees(4)
    one, again, other = (read_variable(*noise, "speed", random_state=s, **asked) for s in (1, 1, 2))
    xr.testing.assert_identical(one, again)
    assert not one["p_value"].equals(other["p_value"])
    turned = [build_tree({n: tree[n].to_dataset() for n in ("bob", "ada")}) for tree in noise]
    found = read_variable(turned[0], turned[1], "speed", random_state=1, **asked)
    assert found["test_subject"].values.tolist() == ["bob", "ada"]
    for name in ("correlation", "p_value", "interval"):
        np.testing.assert_allclose(found[name].sel(one[name].indexes), one[name])


# --- In an evaluation ---------------------------------------------------------------------------


def loud(windows: xr.DataTree) -> xr.DataTree:
    return with_coordinate(
        windows, "speed", lambda _, d: d["counts"].values.sum(axis=(1, 2)).astype(float)
    )


def test_an_evaluation_of_one_split_gives_the_same() -> None:
    windows = loud(one_tree(per_label=8))
    asked: dict[str, Any] = {"permutations": 49, "bootstraps": 49, "random_state": 5}
    found = evaluate(
        windows, {"label model": LabelModel(), "raw": RawCounts()}, label="odor", cv=0.4,
        classifier=BAYES, transfer=["speed"], **asked,
    ).dataset.sel(variable="speed")  # fmt: skip
    train, test = split_trials(windows, test_size=0.4, stratify="odor", random_state=5)
    for name, model in (("label model", LabelModel()), ("raw", RawCounts())):
        fitted = model.fit(train, label="odor")
        latents = fitted.transform(train), fitted.transform(test)
        expected = read_variable(*latents, "speed", label="odor", **asked)
        for mine, theirs in (("transfer", "correlation"), ("transfer_p", "p_value")):
            given = found[mine].sel(model=name).sel(expected.drop_dims("bound").indexes)
            np.testing.assert_array_equal(given.values, expected[theirs].values)
    raw = found["transfer"].sel(model="raw")
    assert np.isnan(raw.sel(train_subject="others")).all()
    assert raw.sel(train_subject="ada", test_subject="ada") > 0.5  # counts tell how many they are


def test_an_evaluation_pools_the_test_trials_of_folds() -> None:
    windows = loud(one_tree(per_label=6))
    found = evaluate(
        windows, LabelModel(), label="odor", cv=3, transfer=["speed"], imputation=False, **QUICK
    ).dataset["transfer"]
    read, true = [], []
    for train, test in kfold_trials(windows, n_splits=3, stratify="odor", random_state=0):
        model = LabelModel().fit(train, label="odor")
        latents = model.transform(train), model.transform(test)
        part = regress_variable(*latents, "speed", label="odor")["bob"]
        read.append(part.read["others"])
        true.append(part.true)
    expected = pearsonr(np.concatenate(read), np.concatenate(true)).statistic
    place = {"variable": "speed", "train_subject": "others", "test_subject": "bob"}
    assert found.sel(place).item() == pytest.approx(expected)
    assert sum(map(len, true)) == 24


def test_pooling_keeps_readers_that_every_fold_has() -> None:
    def part(*readers: str) -> ReadVariable:
        return ReadVariable(
            np.arange(2.0), np.array(["A", "B"]), dict.fromkeys(readers, np.ones(2))
        )

    pooled = pool_variables(
        [{"ada": part("ada", "others")}, {"ada": part("ada"), "bob": part("bob")}]
    )
    assert list(pooled) == ["ada", "bob"]
    assert set(pooled["ada"].read) == {"ada"}
    assert pooled["ada"].true.tolist() == [0, 1, 0, 1]
    assert pooled["bob"].labels.tolist() == ["A", "B"]


def test_what_trials_were_paired_by_is_not_read() -> None:
    windows = one_tree(per_label=10)
    windows = with_coordinate(windows, "side", lambda _, d: np.where(d["odor"] < "C", "l", "r"))
    windows = with_coordinate(windows, "number", lambda _, d: (d["odor"].values == "A") * 1.0)
    scores = evaluate(
        windows, LabelModel(), label="side", fit_label="odor", cv=0.4, transfer=["number"],
        imputation=False, **QUICK,
    ).dataset  # fmt: skip
    assert (scores["transfer"] == 0).all()  # the number is a function of what was paired


def test_one_variable_can_be_named_without_a_list() -> None:
    scores = evaluate(
        loud(one_tree()), LabelModel(), label="odor", cv=0.4, transfer="speed", imputation=False,
        **QUICK,
    ).dataset  # fmt: skip
    assert scores["variable"].values.tolist() == ["speed"]


def test_latents_of_one_trial_are_averaged_over_windows(trees: Trees) -> None:
    flat = [
        map_subjects(
            tree,
            lambda _, d: d.isel(window=[0]).assign(
                mean=(("trial", "window", "latent"), d["mean"].values.mean(axis=1, keepdims=True))
            ),
        )
        for tree in trees
    ]
    one, many = (
        read_variable(pair[0], pair[1], "speed", label="odor", **NONE) for pair in (flat, trees)
    )
    xr.testing.assert_allclose(one, many)


def test_subjects_that_only_train_are_read_by_the_others() -> None:
    train, test = noise_trees(5)
    only_ada = build_tree({"ada": test["ada"].to_dataset()})
    extra = latent_subject(np.tile(["A", "B"], 4), seed=9)
    train = build_tree({**dict(iterate_subjects(train)), "cleo": extra})  # cleo has no speed
    scores = read_variable(train, only_ada, "speed", label="odor", **NONE)
    assert scores["test_subject"].values.tolist() == ["ada"]
    assert scores["train_subject"].values.tolist() == ["ada", "bob", "others"]
