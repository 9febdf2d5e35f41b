"""Balanced accuracy, intervals and p-values against scikit-learn, scipy and brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from neuroalign.analysis.statistics import (
    balanced_accuracy,
    bootstrap_balanced_accuracy,
    bootstrap_ratio,
    correct_p_values,
    permutation_p_value,
)
from neuroalign.errors import ParameterError


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("ABC")), min_size=1, max_size=30))
def test_balanced_accuracy_equals_sklearn(pairs):
    true, read = (np.array(column) for column in zip(*pairs, strict=True))
    expected = np.mean([np.mean(read[true == label] == label) for label in np.unique(true)])
    assert balanced_accuracy(true, true == read) == pytest.approx(expected)
    if set(read) <= set(true) and len(set(true)) > 1:  # sklearn warns of a single label
        assert balanced_accuracy(true, true == read) == pytest.approx(
            balanced_accuracy_score(true, read)
        )


def test_balanced_accuracy_without_trials_is_nan():
    assert np.isnan(balanced_accuracy(np.array([]), np.array([])))


def test_permutation_p_value_equals_the_exact_one():
    true = np.array(list("AAABBB"))
    read = np.array(list("AABBBB"))
    seen = balanced_accuracy(true, true == read)
    orders = list(itertools.permutations(range(6)))
    reached = [
        balanced_accuracy(true[list(o)], true[list(o)] == read) >= seen - 1e-9 for o in orders
    ]
    p = permutation_p_value(true, read, permutations=20000, random_state=0)
    assert p == pytest.approx(np.mean(reached), abs=0.01)


def test_permutation_p_value_agrees_with_scipy():
    random = np.random.default_rng(3)
    true = random.choice(list("ABC"), 40)
    read = np.where(random.random(40) < 0.35, true, random.choice(list("ABC"), 40))

    def statistic(codes):
        labels = np.array(list("ABC"))[codes.astype(int)]
        return balanced_accuracy(labels, labels == read)

    codes = np.array(["ABC".index(label) for label in true])
    reference = stats.permutation_test(
        (codes,),
        statistic,
        permutation_type="pairings",
        alternative="greater",
        n_resamples=3000,
        rng=np.random.default_rng(0),
    )
    p = permutation_p_value(true, read, permutations=3000, random_state=1)
    assert p == pytest.approx(reference.pvalue, abs=0.03)


def test_p_values_under_the_null_are_uniform():
    random = np.random.default_rng(0)
    p_values = [
        permutation_p_value(
            np.tile(list("ABCD"), 15),
            random.choice(list("ABCD"), 60),
            permutations=199,
            random_state=random,
        )
        for _ in range(400)
    ]
    # Uniform but for ties, which count as reached: 0.5 + P(tie) / 2, where the number of right
    # trials is near a normal of variance 60 · 3/16, so P(tie) is about 1 / (2 √π √11.25) = 0.084.
    assert np.mean(p_values) == pytest.approx(0.545, abs=0.055)
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_p_value_is_never_zero_and_smallest_when_all_is_right():
    true = np.tile(list("ABCD"), 10)
    assert permutation_p_value(true, true, permutations=99) == pytest.approx(0.01)
    assert np.isnan(permutation_p_value(true, true, permutations=0))


def test_labels_are_permuted_within_groups_only():
    # Each fold has one label only: exchanging within folds changes nothing, so p is 1.
    true, folds = np.array(list("AAABBB")), np.array([0, 0, 0, 1, 1, 1])
    assert permutation_p_value(true, true, groups=folds, permutations=50) == 1.0
    assert permutation_p_value(true, true, permutations=500, random_state=0) < 0.2


def test_bootstrap_interval_matches_the_binomial_of_one_label():
    correct = np.arange(100) < 70
    low, high = bootstrap_balanced_accuracy(np.full(100, "A"), correct, bootstraps=4000)
    expected = stats.binom(100, 0.7).ppf([0.025, 0.975]) / 100
    assert (low, high) == pytest.approx(tuple(expected), abs=0.011)


def test_bootstrap_keeps_rare_labels():
    true = np.array(["A"] * 50 + ["B"])
    low, high = bootstrap_balanced_accuracy(true, true == "B", bootstraps=200)
    assert (low, high) == (0.5, 0.5)  # B is in every resample


def test_bootstrap_covers_the_truth():
    random = np.random.default_rng(1)
    true = np.tile(list("AB"), 40)
    hits = 0
    for _ in range(200):
        correct = random.random(80) < np.where(true == "A", 0.8, 0.6)
        low, high = bootstrap_balanced_accuracy(true, correct, bootstraps=300, random_state=random)
        hits += low <= 0.7 <= high
    assert hits / 200 > 0.89


def test_bootstrap_ratio_matches_brute_force():
    random = np.random.default_rng(0)
    above, below = random.normal(1, 1, 30), random.uniform(1, 3, 30)
    draws = np.random.default_rng(9).integers(30, size=(500, 30))
    ratios = [above[rows].sum() / below[rows].sum() for rows in draws]
    found = bootstrap_ratio(above, below, bootstraps=500, random_state=9)
    assert found == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])))
    assert np.isnan(bootstrap_ratio(above, np.zeros(30))).all()


def test_correction_is_benjamini_hochberg():
    given_p = np.array([0.001, 0.02, 0.03, 0.5])
    # by hand: p · m / rank, then the running minimum from the largest
    assert correct_p_values(given_p) == pytest.approx([0.004, 0.04, 0.04, 0.5])
    assert np.isnan(correct_p_values([np.nan])).all()


@pytest.mark.parametrize("count", [-1, 2.5, True])
def test_numbers_of_repetitions_are_checked(count):
    with pytest.raises(ParameterError, match="permutations must be a whole number of at least 0"):
        permutation_p_value(np.array(["A"]), np.array(["A"]), permutations=count)
