from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign.data.allocation import assign_folds, choose_test
from neuroalign.data.notes import read_notes
from neuroalign.data.simulate import simulate_recordings
from neuroalign.data.splits import (
    assert_disjoint,
    keep_labels,
    keep_spec_trials,
    kfold_trials,
    select_trials,
    split_trials,
)
from neuroalign.errors import DataError, DataWarning, ParameterError
from neuroalign.schema import build_tree, iterate_subjects


def subject(labels, *, name="mitt", first=0):
    """A binned subject whose counts say which trial they are from."""
    labels = np.asarray(labels)
    trial = np.arange(labels.size) * 3 + first
    counts = np.broadcast_to(trial[:, None, None], (trial.size, 2, 4)) % 250
    return xr.Dataset(
        {"counts": (("trial", "unit", "time"), counts.astype(np.uint8))},
        coords={
            "trial": trial,
            "unit": [f"{name}/{n}" for n in range(2)],
            "time": [0.005, 0.015, 0.025, 0.035],
            "odor": ("trial", labels),
            "correct": ("trial", np.arange(trial.size) // 4 % 2 == 0),
            "window": [0.0, 0.01],
        },
        attrs={
            "stage": "windowed",
            "subject": name,
            "bin_width": 0.01,
            "frame_start": 0.0,
            "frame_stop": 0.04,
            "window_length": 0.03,
            "window_step": 0.01,
        },
    )


@pytest.fixture
def tree():
    return build_tree(
        {
            "mitt": subject(list("ABCD") * 10),
            "stella": subject(list("AABBCD") * 5, name="stella"),
            "barat": subject(list("DCBA") * 8, name="barat", first=100),
        }
    )


def ids(tree, name):
    return set(tree[name]["trial"].values.tolist())


labels = st.lists(st.sampled_from("ABCDE"), min_size=2, max_size=40)


@settings(max_examples=150, deadline=None)
@given(labels, st.floats(0.05, 0.95), st.integers(0, 5))
def test_test_trials_are_divided_evenly(values, fraction, seed):
    values = np.array(values)
    size = max(1, round(fraction * values.size))
    test = choose_test(values, size, np.random.default_rng(seed))
    names, totals = np.unique(values, return_counts=True)
    if (totals == 1).all():
        assert test.sum() == min(size, values.size)
        return
    for name, total in zip(names, totals, strict=True):
        drawn = test[values == name].sum()
        if total == 1:
            assert drawn == 0
        else:
            assert 1 <= drawn <= total - 1
    low, high = (totals >= 2).sum(), (totals - 1)[totals >= 2].sum()
    assert test.sum() == np.clip(size, low, high)
    if (totals >= 2 / min(fraction, 1 - fraction)).all():
        # nothing was in the way: every share is the nearest whole number on either side
        shares = np.array([test[values == name].sum() for name in names])
        assert (np.abs(shares - size * totals / totals.sum()) < 1).all()


@settings(max_examples=80, deadline=None)
@given(labels, st.integers(2, 6), st.integers(0, 5))
def test_folds_and_their_values_differ_by_one_at_most(values, folds, seed):
    values = np.array(values)
    found = assign_folds(values, folds, np.random.default_rng(seed))
    assert np.ptp(np.bincount(found, minlength=folds)) <= 1
    for name in np.unique(values):
        assert np.ptp(np.bincount(found[values == name], minlength=folds)) <= 1


def test_both_sides_together_are_the_input(tree):
    train, test = split_trials(tree, stratify="odor", random_state=0)
    assert_disjoint(train, test)
    for name, data in iterate_subjects(tree):
        assert ids(train, name) | ids(test, name) == ids(tree, name)
        assert len(ids(test, name)) == round(0.25 * data.sizes["trial"])
        assert set(test[name]["odor"].values) == set("ABCD")
        for side in (train, test):
            part = side[name].to_dataset()
            assert part.attrs == data.attrs
            assert (np.diff(part["trial"]) > 0).all()
            xr.testing.assert_identical(part, data.sel(trial=part["trial"].values))


def test_splits_depend_on_seed_and_name_but_not_on_the_other_subjects(tree):
    reordered = build_tree({name: tree[name].to_dataset() for name in ("barat", "mitt")})
    first = split_trials(tree, stratify="odor", random_state=3)[1]
    again = split_trials(reordered, stratify="odor", random_state=3)[1]
    other = split_trials(tree, stratify="odor", random_state=4)[1]
    assert ids(first, "mitt") == ids(again, "mitt")
    assert ids(first, "barat") == ids(again, "barat")
    assert ids(first, "mitt") != ids(other, "mitt")
    same = build_tree({"a": subject(["A"] * 40), "b": subject(["A"] * 40)})
    test = split_trials(same, random_state=0)[1]
    assert ids(test, "a") != ids(test, "b")


def test_a_generator_moves_on_and_none_differs(tree):
    stream = np.random.default_rng(0)
    first, second = (split_trials(tree, random_state=stream)[1] for _ in range(2))
    assert ids(first, "mitt") != ids(second, "mitt")
    assert ids(split_trials(tree)[1], "mitt") != ids(split_trials(tree)[1], "mitt")


def test_sizes_may_be_numbers_fractions_or_one_per_subject(tree):
    test = split_trials(tree, test_size={"mitt": 0.5, "stella": 7, "barat": 4}, random_state=0)[1]
    assert [len(ids(test, name)) for name in ("mitt", "stella", "barat")] == [20, 7, 4]


def test_combined_labels_are_divided_together(tree):
    train, test = split_trials(tree, stratify=["odor", "correct"], random_state=0)
    for side in (train, test):
        data = side["mitt"].to_dataset()
        combined = {*zip(data["odor"].values, data["correct"].values, strict=True)}
        assert len(combined) == 8


def test_a_value_with_one_trial_goes_to_training_with_a_warning():
    lonely = build_tree({"mitt": subject([*"AAAABBBB", "E"])})
    with pytest.warns(DataWarning, match=r"'odor' with a single trial for 'mitt' \(E\): they go"):
        train, test = split_trials(lonely, stratify="odor", random_state=0)
    assert "E" in train["mitt"]["odor"].values
    assert "E" not in test["mitt"]["odor"].values
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split_trials(lonely, random_state=0)


def test_simultaneous_subjects_share_their_split(tree):
    together = build_tree(
        {name: subject(list("ABCD") * 10, name=name) for name in ("mitt", "stella")}
    )
    train, test = split_trials(together, stratify="odor", simultaneous=True, random_state=0)
    assert ids(test, "mitt") == ids(test, "stella")
    assert not ids(test, "mitt") & ids(train, "stella")
    for part in kfold_trials(together, n_splits=4, simultaneous=True, random_state=0):
        assert ids(part[1], "mitt") == ids(part[1], "stella")
    with pytest.raises(DataError, match="same trial ids in the same order for all subjects"):
        split_trials(tree, simultaneous=True)
    relabelled = build_tree({"mitt": subject(["A", "B"] * 4), "stella": subject(["B", "A"] * 4)})
    with pytest.raises(
        DataError, match=r"the same labels .* got others for 'stella' than for 'mit"
    ):
        split_trials(relabelled, stratify="odor", simultaneous=True)


def test_simultaneous_subjects_may_lack_trials_if_told():
    odors = list("ABCD") * 10
    complete = {name: subject(odors, name=name) for name in ("mitt", "stella", "barat")}
    some = build_tree(
        {
            "mitt": complete["mitt"].isel(trial=slice(0, 30)),
            "stella": complete["stella"].isel(trial=np.r_[39:7:-1]),
            "barat": complete["barat"].isel(trial=[0, 1, 2, 3, 35, 36, 37, 38]),
        }
    )
    with pytest.raises(DataError, match="pass allow_missing=True"):
        split_trials(some, simultaneous=True)
    asked = {"stratify": "odor", "simultaneous": True, "allow_missing": True}
    train, test = split_trials(some, **asked, random_state=0)
    tested = set().union(*(ids(test, name) for name in complete))
    for name in complete:
        own = set(some[name]["trial"].values.tolist())
        assert ids(test, name) == own & tested
        assert ids(train, name) == own - tested
    assert len(tested) == 10  # a quarter of the 40 trials that any of them has
    labels = dict(zip(complete["mitt"]["trial"].values.tolist(), odors, strict=True))
    assert {[labels[trial] for trial in tested].count(odor) for odor in "ABCD"} == {2, 3}
    seen = []
    for _, part in kfold_trials(some, n_splits=4, **asked, random_state=1):
        seen.append(set().union(*(ids(part, name) for name in complete)))
    assert set().union(*seen) == set(labels)
    assert sum(map(len, seen)) == 40
    # whoever lacks nothing is split as without the permission
    whole = build_tree(complete)
    told, untold = (
        split_trials(whole, simultaneous=True, allow_missing=allowed, random_state=3)[1]
        for allowed in (True, False)
    )
    assert ids(told, "mitt") == ids(untold, "mitt")


def test_simultaneous_subjects_with_gaps_must_agree_and_be_on_both_sides():
    relabelled = build_tree({"mitt": subject(["A", "B"] * 4), "stella": subject(["B", "A"] * 4)})
    asked = {"simultaneous": True, "allow_missing": True, "random_state": 0}
    with pytest.raises(DataError, match="trials of one id to have one label, got 'B' for trial"):
        split_trials(relabelled, stratify="odor", **asked)
    lone = build_tree(
        {"mitt": subject(list("AB") * 10), "stella": subject(["A"]).isel(trial=slice(0, 1))}
    )
    with pytest.raises(ParameterError, match=r"subject 'stella' has (only|no) test trials"):
        split_trials(lone, **asked)


def test_folds_test_every_trial_once(tree):
    folds = list(kfold_trials(tree, n_splits=5, stratify="odor", random_state=0))
    assert len(folds) == 5
    for name, data in iterate_subjects(tree):
        tested = [trial for _, test in folds for trial in test[name]["trial"].values.tolist()]
        assert sorted(tested) == sorted(data["trial"].values.tolist())
    for train, test in folds:
        assert_disjoint(train, test)
        assert ids(train, "mitt") | ids(test, "mitt") == ids(tree, "mitt")
        assert set(test["mitt"]["odor"].values) == set("ABCD")


def test_folds_check_their_arguments_at_the_call(tree):
    for wrong in (1, 2.5, True):
        with pytest.raises(ParameterError, match="n_splits must be a whole number of at least 2"):
            kfold_trials(tree, n_splits=wrong)
    with pytest.raises(ParameterError, match="expected at least n_splits = 31 trials, got 30"):
        kfold_trials(tree, n_splits=31)
    with pytest.raises(DataError, match="no trial label 'smell' for subject 'mitt'"):
        kfold_trials(tree, stratify="smell")
    lonely = build_tree({"mitt": subject([*"AAAABBBB", "E"])})
    with pytest.warns(DataWarning, match="cannot train on its value"):
        kfold_trials(lonely, n_splits=2, stratify="odor", random_state=0)


@pytest.mark.parametrize(
    ("test_size", "message"),
    [
        (1.5, "test_size as a fraction must lie between 0 and 1, got 1.5."),
        (0, "both sides need at least one trial, got test_size=0 for the 40 trials of"),
        (40, "both sides need at least one trial, got test_size=40 for the 40 trials of"),
        ("half", "test_size must be a fraction or a number of trials, got 'half'."),
        (True, "test_size must be a fraction or a number of trials, got True."),
        ({"mitt": 0.2}, "test_size has no entry for subject 'stella'; add one."),
    ],
)
def test_bad_sizes_say_what_to_do(tree, test_size, message):
    with pytest.raises(ParameterError) as caught:
        split_trials(tree, test_size=test_size)
    assert message in str(caught.value)


@pytest.mark.parametrize("random_state", [-1, 0.5, "seed", True])
def test_bad_seeds_are_refused(tree, random_state):
    with pytest.raises(ParameterError, match="random_state must"):
        split_trials(tree, random_state=random_state)


def test_selecting_by_mask_and_by_ids(tree):
    mask = tree["mitt"]["odor"].values == "A"
    chosen = select_trials(tree, {"mitt": mask, "stella": [6, 0]})
    assert set(chosen["mitt"]["odor"].values) == {"A"}
    assert chosen["stella"]["trial"].values.tolist() == [6, 0]
    assert chosen["stella"]["counts"].values[:, 0, 0].tolist() == [6, 0]
    assert ids(chosen, "barat") == ids(tree, "barat")
    assert select_trials(tree, {"mitt": []})["mitt"].sizes["trial"] == 0


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"mit": [0]}, "selection names 'mit', but the subjects are 'mitt', 'stella', 'barat'."),
        ({"mitt": [0, 1]}, "no trials with id 1 for subject 'mitt'."),
        ({"mitt": [0, 0]}, "expected a list of different trial ids for subject 'mitt'."),
        ({"mitt": [True]}, "expected a mask over the 40 trials of subject 'mitt', got shape (1,)."),
    ],
)
def test_bad_selections_say_what_is_there(tree, selection, message):
    with pytest.raises(DataError) as caught:
        select_trials(tree, selection)
    assert message in str(caught.value)


def test_keeping_labels(tree):
    kept = keep_labels(tree, "odor", ["A", "D"])
    assert set(kept["stella"]["odor"].values) == {"A", "D"}
    assert kept["stella"].sizes["trial"] == 15
    assert keep_labels(tree, "correct", True)["mitt"]["correct"].values.all()
    combined = keep_labels(tree, ["odor", "correct"], "A|True")
    assert set(combined["mitt"]["odor"].values) == {"A"}
    with pytest.raises(DataError) as caught:
        keep_labels(tree, "odor", ["A", "E"])
    assert str(caught.value) == (
        "no trials with odor 'E' for subject 'mitt'; it has: 'A', 'B', 'C', 'D'. "
        "Leave the value out or pass allow_missing=True."
    )
    assert keep_labels(tree, "odor", ["A", "E"], allow_missing=True)["mitt"].sizes["trial"] == 10
    with pytest.raises(DataError, match="no trials with odor 3 for subject 'mitt'"):
        keep_labels(tree, "odor", 3)
    with pytest.raises(ParameterError, match="at least one value"):
        keep_labels(tree, "odor", [])


def test_keeping_what_the_spec_asks_for():
    recordings, _ = simulate_recordings(units={"mitt": 3}, trials=30, random_state=0)
    kept = keep_spec_trials(recordings)["mitt"].to_dataset()
    assert kept.sizes["trial"] == 30
    assert set(kept["odor"].values) <= set("ABCD")
    assert kept["correct"].values.all()
    assert kept["in_sequence"].values.all()
    dropped = sum(note["count"] for note in read_notes(kept) if note["what"] == "trials")
    assert dropped == recordings["mitt"].sizes["trial"] - 30
    assert kept["spike_time"].size == recordings["mitt"]["spike_time"].size


def test_shared_trials_are_refused(tree):
    train, test = split_trials(tree, random_state=0)
    assert_disjoint(train, test)
    assert_disjoint(build_tree({"other": tree["mitt"].to_dataset()}), test)
    with pytest.raises(DataError) as caught:
        assert_disjoint(tree, test)
    assert "got 10 shared for subject 'mitt' (ids " in str(caught.value)
    assert "split with split_trials or kfold_trials" in str(caught.value)


def test_a_tree_of_no_known_stage_is_refused(tree):
    odd = build_tree({"mitt": tree["mitt"].to_dataset().assign_attrs(stage="cooked")})
    with pytest.raises(DataError, match=r"one of recording, .* got 'cooked'"):
        split_trials(odd)
    with pytest.raises(DataError, match=r"must be an xarray\.DataTree"):
        split_trials(tree["mitt"].to_dataset())
