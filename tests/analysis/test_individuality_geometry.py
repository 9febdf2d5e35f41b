"""Deviation and geometry of latents: closed forms against brute force, known truths, and nulls."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import procrustes as scipy_procrustes
from scipy.spatial.distance import pdist

from neuroalign.analysis.individuality_geometry import (
    compare_geometry,
    disattenuate,
    dissimilarities,
    procrustes,
    split_half,
    standard_places,
)
from neuroalign.analysis.individuality_trajectories import (
    _exchanged,
    averages,
    deviations,
    exchange_p_values,
    signed_root,
)
from neuroalign.analysis.individuality_trials import ComparedTrials
from neuroalign.analysis.labels import LabelledTrials
from neuroalign.analysis.statistics import correct_p_values
from neuroalign.errors import DataWarning

LABELS = ("A", "B", "C", "D")
CENTRES = 2 * np.random.default_rng(5).normal(size=(4, 3))


def animals(seed=0, *, count=3, trials=8, windows=4, noise=1.0, change=None) -> ComparedTrials:
    """Subjects with the same centres of labels; `change(number, features)` alters them."""
    random = np.random.default_rng([3, seed])
    drift = np.linspace(0, 1, windows)[:, None] * np.array([1.0, -0.5, 0.3])
    tables = {}
    for number in range(count):
        labels = np.repeat(LABELS, trials)
        features = CENTRES[np.repeat(np.arange(4), trials)][:, None] + drift
        # Windows of a trial overlap, so they share noise.
        features = features + 0.7 * noise * random.normal(size=(labels.size, 1, 3))
        features = features + 0.7 * noise * random.normal(size=features.shape)
        if change is not None:
            features = change(number, features)
        tables[f"s{number}"] = LabelledTrials(features, labels, np.arange(labels.size), None)
    return ComparedTrials(LABELS, 0.01 * np.arange(windows), tables, tables)


def measure(trials, *, bootstraps=0, permutations=0, seed=0):
    return deviations(trials, bootstraps=bootstraps, permutations=permutations, seed=seed)


def shift_first(vector):
    return lambda number, features: features + (np.asarray(vector) if number == 0 else 0.0)


def test_the_square_is_the_mean_over_all_ways_to_halve_the_trials():
    trials = animals(trials=4, windows=1, count=2)
    once = {name: np.ones((1, table.labels.size)) for name, table in trials.test.items()}
    point = averages(trials, once)
    square = np.square(point.deviation()).sum(-1) - point.deviation_noise()
    rows = [table.features[table.labels == "B", 0] for table in trials.test.values()]
    products = []
    halves = [list(half) for half in itertools.combinations(range(4), 2)]
    for first, second in itertools.product(halves, halves):
        rest = [[k for k in range(4) if k not in half] for half in (first, second)]
        one = rows[0][first].mean(0) - rows[1][second].mean(0)
        other = rows[0][rest[0]].mean(0) - rows[1][rest[1]].mean(0)
        products.append(one @ other)
    assert square[0, 0, 1, 0] == pytest.approx(np.mean(products))
    assert square[0, 1, 1, 0] == pytest.approx(np.mean(products))  # of two, each mirrors the other


def test_squares_of_identical_animals_average_to_zero_and_of_a_shift_to_its_square():
    shift = np.array([0.6, 0.0, 0.8])
    for change, truth in ((None, np.zeros(3)), (shift_first(shift), np.array([1, 0.25, 0.25]))):
        squares = []
        for seed in range(150):
            made = measure(animals(seed, change=change))
            norm = made["deviation_norm"].values * made["label_distance"].item()
            squares.append((np.sign(norm) * norm**2).mean(axis=(1, 2)))
        error = np.std(squares, axis=0) / np.sqrt(len(squares))
        assert np.abs(np.mean(squares, axis=0) - truth).max() < 4 * error.max()
        assert error.max() < 0.06


def test_without_noise_a_shift_is_found_as_it_is():
    made = measure(animals(noise=0.0, change=shift_first([3.0, 0, 4.0])))
    distance = np.sqrt(np.mean(pdist(CENTRES) ** 2))
    assert made["label_distance"].item() == pytest.approx(distance)
    assert made["deviation"].values[0] == pytest.approx(np.broadcast_to([3.0, 0, 4.0], (4, 4, 3)))
    assert made["deviation_norm"].values[0] == pytest.approx(5 / distance)
    assert made["deviation_norm"].values[1:] == pytest.approx(2.5 / distance)  # M - 1 = 2
    assert made["deviation_total"].values == pytest.approx(np.array([5, 2.5, 2.5]) / distance)


def test_a_shifted_animal_is_found():
    made = measure(animals(change=shift_first([1.5, 0, 0])), permutations=199, bootstraps=200)
    assert made["deviation_p_value"].values[0] == pytest.approx(1 / 200)
    assert made["deviation_p_corrected"].values[0] <= 3 / 200
    assert (made["deviation_p_corrected"] >= made["deviation_p_value"]).all()
    assert made["deviation_total"].values.argmax() == 0
    low, high = made["deviation_total_interval"].values[0] * made["label_distance"].item()
    assert 0 < low < 1.5 < high
    bare = measure(animals())
    assert np.isnan(bare["deviation_p_value"]).all()
    assert np.isnan(bare["deviation_norm_interval"]).all()


def test_copies_of_one_animal_do_not_deviate():
    one = animals(count=1).test["s0"]
    tables = dict.fromkeys(("s0", "s1", "s2"), one)
    made = measure(replace(animals(), train=tables, test=tables), permutations=99)
    assert made["deviation"].values == pytest.approx(0, abs=1e-12)
    assert (made["deviation_norm"] < 0).all()  # closer than chance: the noise is taken off
    assert (made["deviation_p_corrected"] == 1).all()


def test_p_values_of_identical_animals_are_uniform():
    p_values = np.array(
        [
            exchange_p_values(animals(seed, trials=5, windows=2), permutations=199, seed=seed)
            for seed in range(150)
        ]
    )
    for column in p_values.T:
        assert stats.kstest(column, "uniform").pvalue > 0.01
    # corrected, some animal is called in at most 5 % of the data sets, and three standard errors
    called = [(correct_p_values(row) <= 0.05).any() for row in p_values]
    assert np.mean(called) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)


def test_noise_alone_is_no_deviation():
    # An animal twice as noisy, with the means of the others: dividing by the noise keeps the level.
    def noisier(number, features):
        means = CENTRES[np.repeat(np.arange(4), 6)][:, None]
        return means + (features - means) * (2.0 if number == 0 else 1.0)

    centred = [animals(s, trials=6, windows=1, change=noisier) for s in range(200)]
    p_values = np.array([exchange_p_values(t, permutations=99, seed=0) for t in centred])
    # 0.05 and three standard errors
    assert ((p_values <= 0.05).mean(axis=0) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)).all()


def test_inner_products_say_what_averages_say():
    trials = animals(count=4, trials=5)
    rows = np.concatenate(
        [table.features[table.labels == "C"].reshape(5, -1) for table in trials.test.values()]
    )
    owner = np.repeat(np.arange(4), 5)
    other = np.random.default_rng(0).permutation(owner)
    square, noise = _exchanged(rows, np.vstack([owner, other]))
    for row, dealt in enumerate((owner, other)):
        means = np.array([rows[dealt == k].mean(0) for k in range(4)])
        spread = np.array([rows[dealt == k].var(axis=0, ddof=1).sum() / 5 for k in range(4)])
        for k in range(4):
            rest = [j for j in range(4) if j != k]
            assert square[row, k] == pytest.approx(
                np.square(means[k] - means[rest].mean(0)).sum(), abs=1e-9
            )
            assert noise[row, k] == pytest.approx(spread[k] + spread[rest].sum() / 9)


@pytest.mark.parametrize("length", [0.0, 1.5])
def test_intervals_cover_the_truth(length):
    hits, cells = [], []
    for seed in range(120):
        made = measure(animals(seed, change=shift_first([length, 0, 0])), bootstraps=150, seed=seed)
        scale = made["label_distance"].item()
        ends = made["deviation_total_interval"].values[0] * scale
        hits.append(ends[0] <= length <= ends[1])
        low, high = np.moveaxis(made["deviation_norm_interval"].values[0] * scale, -1, 0)
        cells.append(((low <= length) & (length <= high)).mean())
    assert np.mean(hits) > 0.88  # 0.95 less three standard errors
    assert np.mean(cells) > 0.88


def test_intervals_lie_about_the_unbiased_square():
    made = measure(animals(3, trials=4), bootstraps=4000)
    square = np.sign(made["deviation_total"]) * made["deviation_total"] ** 2
    low, high = made["deviation_total_interval"].values.T
    middle = (np.sign(low) * low**2 + np.sign(high) * high**2) / 2
    width = np.sign(high) * high**2 - np.sign(low) * low**2
    assert (np.abs(middle - square.values) < 0.3 * width).all()


def test_labels_that_do_not_differ_give_no_unit_of_distance():
    def mix(number, features):
        features = features.copy()  # every label gets the same centre, so that only noise is left
        return features - CENTRES[np.repeat(np.arange(4), 8)][:, None]

    for seed in range(20):
        trials = animals(seed, change=mix)
        point = averages(trials, {n: np.ones((1, t.labels.size)) for n, t in trials.test.items()})
        if point.label_square() <= 0:
            break
    with pytest.warns(DataWarning, match="do not differ between labels"):
        made = measure(trials, permutations=50)
    assert np.isnan(made["deviation_norm"]).all()
    assert np.isfinite(made["deviation"]).all()
    assert np.isfinite(made["deviation_p_value"]).all()


def test_roots_keep_the_sign():
    assert signed_root(np.array([4.0, -9.0, 0.0])) == pytest.approx([2, -3, 0])


def test_dissimilarities_are_inner_products_of_different_trials():
    table = animals(trials=3, windows=2).test["s0"]
    found = dissimilarities(table, LABELS)
    cells = [(label, window) for label in LABELS for window in range(2)]
    for value, (one, other) in zip(found, itertools.combinations(cells, 2), strict=True):
        first = table.features[table.labels == one[0], one[1]]
        second = table.features[table.labels == other[0], other[1]]
        # gap of one trial times gap of another; windows of one label share their trials
        pairs = list(itertools.permutations(range(3), 2))
        if one[0] == other[0]:
            gaps = first - second
            expected = np.mean([gaps[i] @ gaps[j] for i, j in pairs])
        else:
            expected = np.mean(
                [
                    (first[i] - second[k]) @ (first[j] - second[m])
                    for (i, j), (k, m) in itertools.product(pairs, pairs)
                ]
            )
        assert value == pytest.approx(expected, abs=1e-9)
    single = replace(table, features=table.features[:1], labels=table.labels[:1])
    assert np.isnan(dissimilarities(single, ("A",))).all()


def test_without_noise_dissimilarities_are_squared_distances():
    table = animals(noise=0.0).test["s0"]
    means = np.concatenate([table.features[table.labels == label].mean(0) for label in LABELS])
    assert dissimilarities(table, LABELS) == pytest.approx(pdist(means) ** 2, abs=1e-9)


def test_procrustes_is_scipys():
    tables = [animals(seed).test["s0"] for seed in (0, 1)]
    places = [standard_places(table, LABELS) for table in tables]
    raw = [
        np.concatenate([t.features[t.labels == label].mean(0) for label in LABELS]) for t in tables
    ]
    *_, disparity = scipy_procrustes(*raw)
    turned, plain = procrustes(*places)
    assert turned == pytest.approx(disparity)
    assert plain == pytest.approx(1 - np.sum(places[0] * places[1]) ** 2)
    assert 0 <= turned <= plain <= 1
    assert procrustes(places[0], -places[0]) == (pytest.approx(0), 1.0)


def test_a_rotated_animal_has_the_same_shape_elsewhere():
    turn = stats.special_ortho_group(3, seed=1).rvs()

    def rotate(number, features):
        return 2.5 * features @ turn + 7.0 if number == 1 else features

    made = compare_geometry(animals(noise=0.0, change=rotate), seed=0)
    assert made["procrustes_distance"].values == pytest.approx(0, abs=1e-9)
    assert made["representational_similarity"].values == pytest.approx(1)
    plain = made["unrotated_distance"].to_pandas()
    assert plain.loc["s0", "s1"] > 0.1
    assert plain.loc["s0", "s2"] == pytest.approx(0, abs=1e-9)
    assert np.allclose(plain, plain.T)


def test_the_diagonal_is_what_noise_leaves_of_agreement():
    def scramble(number, features):
        if number < 2:
            return features
        # other centres for the labels of the third animal
        labels = np.repeat(np.arange(4), 12)
        other = 2 * np.random.default_rng(11).normal(size=(4, 3))
        return features - CENTRES[labels][:, None] + other[labels][:, None]

    made = compare_geometry(animals(trials=12, noise=1.5, change=scramble), seed=0)
    similarity = made["representational_similarity"].to_pandas()
    assert (np.diagonal(similarity) < 0.999).all()
    assert similarity.loc["s0", "s1"] == pytest.approx(np.diagonal(similarity)[:2].mean(), abs=0.05)
    assert similarity.loc["s0", "s2"] < similarity.loc["s0", "s0"] - 0.2
    corrected = made["similarity_corrected"].to_pandas()
    assert corrected.loc["s0", "s1"] == pytest.approx(1, abs=0.06)
    assert np.diagonal(corrected) == pytest.approx(1)
    distance = made["procrustes_distance"].to_pandas()
    assert distance.loc["s0", "s1"] == pytest.approx(np.diagonal(distance)[:2].mean(), abs=0.02)
    assert distance.loc["s0", "s2"] > distance.loc["s0", "s0"] + 0.05
    assert np.allclose(similarity, similarity.T)


def test_few_trials_have_no_dissimilarities_of_halves_and_no_agreement_no_correction():
    made = compare_geometry(animals(trials=3), seed=0)
    assert np.isnan(made["representational_similarity"]).all()
    assert np.isfinite(made["procrustes_distance"]).all()
    corrected = disattenuate(np.array([[0.5, 0.4], [0.4, -0.1]]))
    assert corrected[0, 0] == pytest.approx(1)
    assert np.isnan(corrected[:, 1]).all()
    still = animals(noise=0.0, change=lambda _, features: np.ones_like(features))
    made = compare_geometry(still, seed=0)
    assert np.isnan(made["procrustes_distance"]).all()
    assert np.isnan(made["representational_similarity"]).all()


def test_halves_are_disjoint_and_of_every_label():
    table = animals(trials=5).test["s0"]
    sizes = []
    for seed in range(30):
        first, second = split_half(table, np.random.default_rng(seed))
        both = np.concatenate([first.trials, second.trials])
        assert sorted(both) == sorted(table.trials)
        for label in LABELS:
            assert {(first.labels == label).sum(), (second.labels == label).sum()} == {2, 3}
        sizes.append(first.labels.size)
    assert len(set(sizes)) > 1  # the odd trial goes to either half
