"""Decoding over time: where a label is found, what generalises, the correction, the figures."""

import itertools

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from analysis_examples import LABELS, latent_trees
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neuroalign.analysis.classifiers import PENALTIES
from neuroalign.analysis.decoding_time import decode_over_time, time_scores_to_frame
from neuroalign.analysis.statistics import balanced_accuracy, bootstrap_balanced_accuracy
from neuroalign.analysis.window_statistics import score_windows
from neuroalign.errors import DataError, DataWarning, ParameterError
from neuroalign.schema import build_tree

mpl.use("Agg")

from neuroalign.analysis.plot_time import plot_decoding_over_time, plot_temporal_generalisation

FEW = {"permutations": 20, "bootstraps": 20}
QUICK = GaussianNB()


def coded_trees(code, *, subjects=("ada", "bob"), per_label=10, noise=1.0, seed=0):
    """Latents whose mean is `code` (window, label, latent) in every subject, and noise."""
    windows, labels, latents = code.shape
    trees = ({}, {})
    for number, subject in enumerate(subjects):
        for side, tree in enumerate(trees):
            random = np.random.default_rng([seed, number, side])
            codes = np.tile(np.arange(labels), per_label)
            mean = code[:, codes].transpose(1, 0, 2)
            mean = mean + noise * random.normal(size=(codes.size, windows, latents))
            tree[subject] = xr.Dataset(
                {"mean": (("trial", "window", "latent"), mean)},
                coords={
                    "trial": np.arange(codes.size) + 1000 * side,
                    "window": np.round(0.01 * np.arange(windows), 9),
                    "odor": ("trial", np.array(LABELS)[codes]),
                },
                attrs={"stage": "latents", "window_length": 0.1},
            )
    return build_tree(trees[0]), build_tree(trees[1])


def code_in_windows(inside, *, windows=8, strength=4.0):
    """Every label has a latent of its own, in some windows only."""
    code = np.zeros((windows, 4, 4))
    code[list(inside)] = strength * np.eye(4)
    return code


def rows(tree, subjects, window):
    features = np.concatenate([tree[s]["mean"].values[:, window] for s in subjects])
    return features, np.concatenate([tree[s]["odor"].values for s in subjects])


def test_a_label_in_windows_three_to_five_is_found_there_and_nowhere_else():
    train, test = coded_trees(code_in_windows((3, 4, 5)), seed=3)
    scores = decode_over_time(train, test, label="odor")
    expected = np.isin(np.arange(8), (3, 4, 5))
    for kind, subject in itertools.product(("within", "across"), ("ada", "bob")):
        one = scores.sel(kind=kind, subject=subject)
        assert ((one["p_corrected"].values <= 0.05) == expected).all()
        assert (one["accuracy"].values[expected] > 0.85).all()
        low, high = one["interval"].values.T
        assert (low[expected] > 0.7).all()
        assert (low[~expected] < 0.3).all()
        assert (high[~expected] < 0.6).all()
    assert (scores["chance"] == 0.25).all()
    assert dict(scores["interval"].sizes) == {"kind": 2, "subject": 2, "window": 8, "bound": 2}


def test_a_code_that_stays_is_read_by_the_classifiers_of_all_its_windows():
    train, test = coded_trees(code_in_windows(range(2, 6)))
    scores = decode_over_time(train, test, label="odor", generalise=True)
    inside = np.isin(np.arange(8), range(2, 6))
    square = inside[:, None] & inside
    for kind, subject in itertools.product(("within", "across"), ("ada", "bob")):
        one = scores.sel(kind=kind, subject=subject)
        accuracy = one["accuracy"].values
        assert (accuracy[square] > 0.85).all()
        assert (one["p_corrected"].values[square] <= 0.05).all()
        assert accuracy[~square].mean() == pytest.approx(0.25, abs=0.06)
        assert accuracy[~square].max() < 0.6


def test_a_code_that_moves_on_is_read_only_by_the_classifier_of_its_own_window():
    code = np.zeros((6, 4, 24))  # every window and label has a latent of its own
    for window in range(6):
        code[window, :, 4 * window : 4 * window + 4] = 5 * np.eye(4)
    train, test = coded_trees(code, per_label=12)
    scores = decode_over_time(train, test, label="odor", generalise=True)
    diagonal = np.eye(6, dtype=bool)
    for kind, subject in itertools.product(("within", "across"), ("ada", "bob")):
        one = scores.sel(kind=kind, subject=subject)
        # The search for C is not misled by a code that, over all windows pooled, is noise.
        assert (one["accuracy"].values[diagonal] > 0.9).all()
        assert (one["p_corrected"].values[diagonal] <= 0.05).all()
        assert one["accuracy"].values[~diagonal].mean() == pytest.approx(0.25, abs=0.06)
        assert one["accuracy"].values[~diagonal].max() < 0.6


def test_generalisation_equals_brute_force_with_sklearn():
    train, test = latent_trees(separation=0.6, per_label=7, seed=4)
    reader = LogisticRegression(C=0.3)
    scores = decode_over_time(train, test, label="odor", generalise=True, classifier=reader, **FEW)
    assert not hasattr(reader, "classes_")  # cloned, not fitted
    assert np.isnan(scores["penalty"]).all()
    for kind, subject in itertools.product(("within", "across"), ("ada", "bob", "cleo")):
        sources = [s for s in ("ada", "bob", "cleo") if (s == subject) == (kind == "within")]
        for i, j in itertools.product(range(4), range(4)):
            fitted = LogisticRegression(C=0.3).fit(*rows(train, sources, i))
            features, labels = rows(test, [subject], j)
            expected = balanced_accuracy_score(labels, fitted.predict(features))
            mine = scores["accuracy"].sel(kind=kind, subject=subject).values[i, j]
            assert mine == pytest.approx(expected), (kind, subject, i, j)


def test_the_diagonal_of_a_generalisation_is_decoding_over_time():
    train, test = latent_trees(("ada", "bob"), separation=0.6, per_label=7, seed=4)
    options = {"label": "odor", "classifier": QUICK, "random_state": 7}
    every = decode_over_time(train, test, generalise=True, **options)
    single = decode_over_time(train, test, **options)
    for name in ("accuracy", "p_value", "interval"):
        values = every[name].values
        diagonal = np.moveaxis(np.diagonal(values, axis1=2, axis2=3), -1, 2)
        assert diagonal == pytest.approx(single[name].values), name
    # The maximum over more places is larger, so correction over pairs costs more.
    pairs = np.diagonal(every["p_corrected"].values, axis1=2, axis2=3)
    assert (pairs >= single["p_corrected"].values).all()
    assert (pairs > single["p_corrected"].values).any()


def test_the_default_classifier_has_one_penalty_for_all_windows():
    train, test = latent_trees(("ada", "bob"), separation=0.6, per_label=9, seed=6)
    scores = decode_over_time(train, test, label="odor", **FEW)
    for kind, subject, source in (("within", "ada", "ada"), ("across", "ada", "bob")):
        one = scores.sel(kind=kind, subject=subject)
        assert one["penalty"].item() in PENALTIES
        regression = LogisticRegression(C=one["penalty"].item(), class_weight="balanced")
        for window in range(4):
            fitted = make_pipeline(StandardScaler(), regression).fit(*rows(train, [source], window))
            features, labels = rows(test, [subject], window)
            expected = balanced_accuracy_score(labels, fitted.predict(features))
            assert one["accuracy"].values[window] == pytest.approx(expected)
    # A subject's own classifier and the others' classifier of it are the same pool's here.
    own = scores["penalty"].sel(kind="within", subject="bob").item()
    assert own == scores["penalty"].sel(kind="across", subject="ada").item()


def test_corrected_p_values_equal_exact_enumeration():
    true = np.array(list("AAABBB"))
    random = np.random.default_rng(1)
    read = random.choice(["A", "B"], (6, 3))
    read[:, 1] = ["A", "A", "B", "B", "B", "B"]

    def accuracy(labels):
        return np.array([balanced_accuracy(labels, labels == read[:, w]) for w in range(3)])

    seen = accuracy(true)
    orders = itertools.permutations(range(6))
    null = np.array([accuracy(true[list(order)]) for order in orders])
    found = score_windows(
        true,
        read,
        permutations=20000,
        bootstraps=0,
        permuting=np.random.default_rng(0),
        resampling=np.random.default_rng(0),
    )
    assert found.accuracy == pytest.approx(seen)
    assert found.p_value == pytest.approx((null >= seen - 1e-9).mean(axis=0), abs=0.012)
    largest = null.max(axis=1)[:, None]
    assert found.p_corrected == pytest.approx((largest >= seen - 1e-9).mean(axis=0), abs=0.012)
    assert np.isnan(found.interval).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(4, 20))
def test_correction_never_helps_and_does_nothing_to_a_single_window(seed, windows, trials):
    random = np.random.default_rng(seed)
    true = np.concatenate([["A", "B"], random.choice(["A", "B", "C"], trials)])
    read = random.choice(["A", "B", "C", "D"], (true.size, windows))
    found = score_windows(
        true, read, permutations=50, bootstraps=20, permuting=random, resampling=random
    )
    assert (found.p_corrected >= found.p_value).all()
    assert (found.p_value >= 1 / 51).all()
    best = found.accuracy.argmax()
    assert found.p_corrected[best] == found.p_corrected.min()
    if windows == 1:
        assert found.p_corrected == found.p_value
    # A place's score is a place's score, whatever stands beside it.
    expected = [
        np.mean([(read[true == label, w] == label).mean() for label in np.unique(true)])
        for w in range(windows)
    ]
    assert found.accuracy == pytest.approx(expected)
    low, high = found.interval.T
    assert (low <= high).all()


def test_intervals_agree_with_those_of_one_score():
    random = np.random.default_rng(2)
    true = np.repeat(list("ABC"), (12, 20, 30))
    read = np.where(random.random((62, 2)) < [0.5, 0.8], true[:, None], "A")
    found = score_windows(
        true,
        read,
        permutations=0,
        bootstraps=20000,
        permuting=random,
        resampling=random,
    )
    for place in range(2):
        expected = bootstrap_balanced_accuracy(true, read[:, place] == true, bootstraps=20000)
        assert found.interval[place] == pytest.approx(expected, abs=0.02)
    assert np.isnan(found.p_value).all()
    assert np.isnan(found.p_corrected).all()


def test_noise_gives_a_small_corrected_p_value_somewhere_in_one_set_of_twenty():
    """Smooth noise in six windows; the smallest p-value of a set is what would be called."""
    smallest = {"p_value": [], "p_corrected": []}
    sets = 200
    for seed in range(sets):
        random = np.random.default_rng([11, seed])
        drift = random.normal(size=(48, 8, 2))
        mean = drift[:, 2:] + drift[:, 1:-1] + drift[:, :-2]  # windows depend on their neighbours
        data = xr.Dataset(
            {"mean": (("trial", "window", "latent"), mean)},
            coords={
                "trial": np.arange(48),
                "window": np.arange(6) / 100,
                "odor": ("trial", np.tile(["A", "B"], 24)),
            },
            attrs={"stage": "latents"},
        )
        train, test = (
            build_tree({"ada": data.isel(trial=half)}) for half in (slice(0, 20), slice(20, 48))
        )
        scores = decode_over_time(
            train,
            test,
            label="odor",
            classifier=QUICK,
            permutations=99,
            bootstraps=0,
            random_state=seed,
        )
        for name, values in smallest.items():
            values.append(scores[name].sel(kind="within", subject="ada").values.min())
    called = {name: int((np.array(values) <= 0.05).sum()) for name, values in smallest.items()}
    # Ties count as reached, so the level is held from below: 28 trials give coarse accuracies.
    assert called["p_corrected"] <= stats.binom.ppf(0.999, sets, 0.05)
    assert called["p_corrected"] >= stats.binom.ppf(0.001, sets, 0.02)
    assert called["p_value"] > stats.binom.ppf(0.999, sets, 0.05)  # what the correction is for


@settings(max_examples=3, deadline=None)
@given(st.permutations(["ada", "bob", "cleo"]))
def test_the_order_of_subjects_changes_nothing(order):
    train, test = latent_trees(separation=0.6, seed=3, per_label=5)
    turned = [build_tree({n: tree[n].to_dataset() for n in order}) for tree in (train, test)]
    first = decode_over_time(train, test, label="odor", classifier=QUICK, **FEW)
    second = decode_over_time(*turned, label="odor", classifier=QUICK, **FEW)
    xr.testing.assert_equal(first, second.sel(subject=first["subject"].values))


def test_the_same_seed_gives_the_same_scores():
    train, test = latent_trees(("ada",), separation=0.5, per_label=5)
    first = decode_over_time(train, test, label="odor", random_state=4, **FEW)
    second = decode_over_time(train, test, label="odor", random_state=4, **FEW)
    xr.testing.assert_identical(first, second)
    assert first.attrs["random_state"] == 4
    assert first.attrs["correction"] == "maximum over windows"
    assert first.attrs["null"] == "decoder"


def test_subjects_in_spaces_of_their_own_are_read_within_only():
    trees = [
        build_tree(
            {
                name: child.to_dataset().assign_coords(latent=[f"{name} {i}" for i in range(3)])
                for name, child in tree.children.items()
            }
        )
        for tree in latent_trees(("ada", "bob"), separation=3)
    ]
    scores = decode_over_time(*trees, label="odor", **FEW)
    assert (scores["accuracy"].sel(kind="within") > 0.8).all()
    for name in ("accuracy", "interval", "p_value", "p_corrected", "penalty"):
        assert scores[name].sel(kind="across").isnull().all(), name
    frame = time_scores_to_frame(scores)
    assert set(frame["kind"]) == {"within"}
    with pytest.raises(DataError, match="expected across scores of at least one subject, got none"):
        plot_decoding_over_time(scores, kind="across")


def test_test_trials_of_a_label_that_training_lacks_do_not_count():
    train, test = latent_trees(("ada",), separation=20)
    odor = test["ada"]["odor"].values.copy()
    odor[:3] = "Z"
    strange = build_tree({"ada": test["ada"].to_dataset().assign_coords(odor=("trial", odor))})
    scores = decode_over_time(train, strange, label="odor", **FEW)
    assert (scores["accuracy"].sel(kind="within") == 1).all()
    assert scores["chance"].item() == 0.25


def test_the_table_says_what_the_scores_say():
    train, test = latent_trees(("ada", "bob"), separation=0.6)
    for generalise, places in ((False, ["window"]), (True, ["train_window", "test_window"])):
        scores = decode_over_time(
            train, test, label="odor", generalise=generalise, classifier=QUICK, **FEW
        )
        frame = time_scores_to_frame(scores)
        assert list(frame.columns) == [
            *("kind", "subject", *places, "accuracy", "low", "high"),
            *("chance", "p_value", "p_corrected"),
        ]
        assert len(frame) == 2 * 2 * 4 ** len(places)
        row = frame.iloc[7]
        one = scores.sel({name: row[name] for name in ("kind", "subject", *places)})
        for name in ("accuracy", "p_value", "p_corrected", "chance"):
            assert row[name] == one[name].item()
        assert [row["low"], row["high"]] == one["interval"].values.tolist()


def test_what_makes_no_sense_is_refused():
    train, test = latent_trees(("ada", "bob"))
    late = test["bob"].to_dataset()
    shifted = build_tree(
        {"ada": test["ada"].to_dataset(), "bob": late.assign_coords(window=late["window"] + 0.005)}
    )
    with pytest.raises(
        DataError,
        match=r"expected the same windows everywhere, got 4 from 0 to 0.03 s for subject 'ada' and "
        r"4 from 0.005 to 0.035 s for subject 'bob'; make them with one length and step",
    ):
        decode_over_time(train, shifted, label="odor", **FEW)
    fewer = build_tree({n: c.to_dataset().isel(window=[0, 1]) for n, c in test.children.items()})
    with pytest.raises(DataError, match=r"4 from 0 to 0.03 s .* and 2 from 0 to 0.01 s"):
        decode_over_time(train, fewer, label="odor", **FEW)
    with pytest.raises(DataError, match="must not share trials"):
        decode_over_time(train, train, label="odor", **FEW)
    with pytest.raises(ParameterError, match="permutations must be a whole number of at least 0"):
        decode_over_time(train, test, label="odor", permutations=-1)
    with pytest.raises(ParameterError, match="bootstraps must be a whole number of at least 0"):
        decode_over_time(train, test, label="odor", bootstraps=0.5)
    with pytest.raises(ParameterError, match="must be a scikit-learn classifier"):
        decode_over_time(train, test, label="odor", classifier=StandardScaler())
    with pytest.raises(DataError, match="expected scores made by decode_over_time, got DataTree"):
        time_scores_to_frame(train)
    lacking = train["bob"].to_dataset()
    lacking = lacking.isel(trial=lacking["odor"].values != "D")
    partly = build_tree({"ada": train["ada"].to_dataset(), "bob": lacking})
    with pytest.warns(DataWarning, match="no training trials with 'D' for subject 'bob'") as seen:
        decode_over_time(partly, test, label="odor", classifier=QUICK, **FEW)
    assert seen[0].filename == __file__


def test_curves_are_drawn_as_they_are_and_marked_where_they_are_significant():
    train, test = coded_trees(code_in_windows((3, 4, 5)), seed=3)
    scores = decode_over_time(train, test, label="odor", classifier=QUICK)
    axis = plot_decoding_over_time(scores)
    axis.figure.canvas.draw()
    lines = {tuple(line.get_ydata()): line for line in axis.get_lines()}
    curve = scores["accuracy"].sel(kind="within", subject="bob").values
    assert lines[tuple(curve)].get_xdata() == pytest.approx(10.0 * np.arange(8))
    marks = [line for line in axis.get_lines() if line.get_marker() == "o"]
    assert [mark.get_xdata().tolist() for mark in marks] == [[30, 40, 50], [30, 40, 50]]
    assert axis.get_xlabel() == "window start (ms after the frame's start)"
    texts = [text.get_text() for text in axis.get_legend().get_texts()]
    assert texts == ["ada", "bob", "chance", "corrected p ≤ 0.05"]
    centred = plot_decoding_over_time(scores, kind="across", time="centre")
    assert centred.get_lines()[0].get_xdata()[0] == pytest.approx(50.0)
    assert centred.get_xlabel() == "window centre (ms after the frame's start)"


def test_maps_have_training_windows_upwards_and_chance_in_the_middle():
    code = code_in_windows(range(2, 6))
    train, test = coded_trees(code)
    scores = decode_over_time(train, test, label="odor", generalise=True, classifier=QUICK)
    axis = plot_temporal_generalisation(scores)
    axis.figure.canvas.draw()
    mesh = axis.collections[0]
    accuracy = scores["accuracy"].sel(kind="within").mean("subject").values
    assert np.asarray(mesh.get_array()).reshape(8, 8) == pytest.approx(accuracy)
    assert np.mean(mesh.get_clim()) == pytest.approx(0.25)
    assert axis.get_ylabel().startswith("training window")
    assert axis.get_title() == "odor, within subjects: mean of 2 subjects"
    one = plot_temporal_generalisation(scores, subject="bob", kind="across")
    # The dotted diagonal, and sixteen borders around a square of four by four.
    assert len(one.get_lines()) == 1 + 16
    corners = np.array([line.get_xydata() for line in one.get_lines()[1:]]).reshape(-1, 2)
    assert corners.min(axis=0) == pytest.approx([15, 15])
    assert corners.max(axis=0) == pytest.approx([55, 55])
    assert one.get_title().endswith("outlined: corrected p ≤ 0.05")


def test_one_window_is_drawn_too():
    trees = [
        build_tree({"ada": tree["ada"].to_dataset().isel(window=[0])})
        for tree in latent_trees(("ada",), separation=3)
    ]
    for generalise, plot in (
        (False, plot_decoding_over_time),
        (True, plot_temporal_generalisation),
    ):
        scores = decode_over_time(*trees, label="odor", generalise=generalise, **FEW)
        plot(scores).figure.canvas.draw()


def test_figures_refuse_what_makes_no_sense():
    train, test = latent_trees(("ada",))
    curves = decode_over_time(train, test, label="odor", classifier=QUICK, **FEW)
    maps = decode_over_time(train, test, label="odor", generalise=True, classifier=QUICK, **FEW)
    with pytest.raises(DataError, match="expected scores of windows, got scores of pairs"):
        plot_decoding_over_time(maps)
    with pytest.raises(DataError, match=r"expected scores of pairs of windows.*generalise=True"):
        plot_temporal_generalisation(curves)
    with pytest.raises(DataError, match="expected one of the subjects ada, got 'eve'"):
        plot_temporal_generalisation(maps, subject="eve")
    with pytest.raises(ParameterError, match="kind must be 'within' or 'across', got 'pair'"):
        plot_decoding_over_time(curves, kind="pair")
    with pytest.raises(ParameterError, match="time must be 'start' or 'centre', got 'end'"):
        plot_decoding_over_time(curves, time="end")
    with pytest.raises(DataError, match="did not carry window_length; pass time='start'"):
        plot_decoding_over_time(curves, time="centre")
