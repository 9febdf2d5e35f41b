"""Individual differences: bits, identification, units, and how the parts come together."""

import warnings

import numpy as np
import pytest
import xarray as xr
from analysis_examples import LABELS, LabelModel, latent_trees, window_trees
from sklearn.linear_model import LogisticRegression

import neuroalign as na
from neuroalign.analysis.decoding import decode_labels
from neuroalign.analysis.imputation import reconstruction_scores, score_imputation
from neuroalign.analysis.individuality import (
    individual_differences,
    individual_differences_to_frames,
)
from neuroalign.analysis.individuality_bits import PairedGains, shared_bits
from neuroalign.analysis.individuality_identification import _balanced_training, identify_subjects
from neuroalign.analysis.individuality_trials import (
    compared_trials,
    percentile_interval,
    resampling_weights,
)
from neuroalign.analysis.individuality_units import exchange
from neuroalign.errors import DataError, DataWarning, ParameterError
from neuroalign.schema import build_tree, iterate_subjects, map_subjects

QUICK = {"bootstraps": 100, "permutations": 99, "repeats": 2}
PLAIN = LogisticRegression(C=1.0, max_iter=300)


class LinearModel(LabelModel):
    """Latents are summed counts of the window times known weights of every unit."""

    def __init__(self, weights=None):
        super().__init__()
        self.weights = weights

    def transform(self, windows):
        latents = {}
        for subject, data in iterate_subjects(super().transform(windows)):
            counts = windows[subject]["counts"].values.astype(float)
            starts, lags = self.starts_[subject], self.lags_[subject]
            summed = counts[:, :, starts[:, None] + np.arange(lags)].sum(axis=-1)
            mean = np.einsum("iuw,ul->iwl", summed, self.weights[subject])
            latents[subject] = data.assign(mean=(("trial", "window", "latent"), mean))
        return build_tree(latents)


@pytest.fixture(scope="module")
def trees():
    return window_trees(per_label=8)


@pytest.fixture(scope="module")
def found(trees):
    model = LabelModel().fit(trees[0], label="odor")
    return individual_differences(model, *trees, label="odor", **QUICK)


def without(tree, subject, *labels):
    """Leave out a subject's trials of some labels."""
    return map_subjects(
        tree,
        lambda name, data: (
            data.isel(trial=~np.isin(data["odor"].values, labels)) if name == subject else data
        ),
    )


def test_bits_are_those_of_reconstruction_and_imputation(trees, found):
    model = LabelModel().fit(trees[0], label="odor")
    own = reconstruction_scores(model, *trees, bootstraps=0)["bits_per_spike"]
    pairs = score_imputation(model, *trees, label="odor", bootstraps=0)["bits_per_spike"]
    others = pairs.sel(kind="imputed").mean("source").values
    assert found["bits_own"].values == pytest.approx(own.values)
    assert found["bits_from_others"].values == pytest.approx(others)
    assert found["own_bits"].values == pytest.approx(own.values - others)
    assert found["shared_share"].values == pytest.approx(others / own.values)
    ceiling = pairs.sel(kind="ceiling").mean("source").values
    assert found["bits_label_average"].values == pytest.approx(ceiling)
    for measure in ("bits_own", "bits_from_others", "own_bits", "shared_share"):
        low, high = found[f"{measure}_interval"].values.T
        assert (low < found[measure].values).all()
        assert (found[measure].values < high).all()


def test_bits_are_matched_by_label_when_counts_of_labels_differ(trees):
    test = without(trees[1], "bob", "D")
    test = map_subjects(
        test,
        lambda name, data: data.isel(trial=slice(0, -5)) if name == "ada" else data,
    )
    model = LabelModel().fit(trees[0], label="odor")
    made = shared_bits(model, trees[0], test, label="odor", bootstraps=10, seed=0)
    pairs = score_imputation(model, trees[0], test, label="odor", bootstraps=0)["bits_per_spike"]
    for kind, measure in (("imputed", "bits_from_others"), ("ceiling", "bits_label_average")):
        expected = pairs.sel(kind=kind).mean("source").values
        assert made[measure].values == pytest.approx(expected)


def test_the_bootstrap_of_pairs_resamples_both_sides():
    random = np.random.default_rng(0)
    gains, spikes = random.normal(size=(4, 6)), random.uniform(1, 2, size=(4, 6))
    pair = PairedGains(rows=np.array([0, 1, 3, 4]), gains=gains, spikes=spikes)
    source, target = random.integers(0, 3, size=(5, 5)), random.integers(0, 3, size=(5, 6))
    ratios = pair.ratio(source, target)
    for drawn, mine, theirs in zip(ratios, source, target, strict=True):
        rows = np.repeat(np.arange(4), mine[pair.rows])
        columns = np.repeat(np.arange(6), theirs)
        chosen = np.ix_(rows, columns)
        assert drawn == pytest.approx(gains[chosen].sum() / spikes[chosen].sum())


def test_resamples_keep_the_number_of_trials_of_each_label():
    labels = np.array(list("AAABBBBBC"))
    random = np.random.default_rng(0)
    weights = resampling_weights(labels, bootstraps=3000, random=random)
    for label, count in zip("ABC", (3, 5, 1), strict=True):
        assert (weights[:, labels == label].sum(axis=1) == count).all()
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.1)
    assert weights[:, 4].var() == pytest.approx(1 - 1 / 5, abs=0.1)  # multinomial
    ends = percentile_interval(np.arange(1001.0)[:, None] * [1, 2])
    assert ends == pytest.approx(np.array([[25, 975], [50, 1950]]))


def test_nothing_explained_has_no_share(trees):
    class Lost(LabelModel):  # reconstructs at thrice the rate: worse than the mean
        def reconstruct(self, windows):
            made = super().reconstruct(windows)
            return map_subjects(made, lambda _, data: data.assign(expected=3 * data["expected"]))

    model = Lost().fit(trees[0], label="odor")
    made = shared_bits(model, *trees, label="odor", bootstraps=20, seed=0)
    assert (made["bits_own"] < 0).all()
    assert np.isnan(made["shared_share"]).all()
    assert np.isnan(made["shared_share_interval"]).all()
    assert np.isfinite(made["own_bits_interval"]).all()


def test_imputation_needs_a_label_in_common(trees):
    test = without(trees[1], "bob", "A", "B")
    train = without(trees[0], "ada", "C", "D")
    model = LabelModel().fit(trees[0], label="odor")
    with pytest.raises(
        DataError, match="expected held-out trials of 'bob' with a label that 'ada' has in training"
    ):
        shared_bits(model, train, test, label="odor", bootstraps=0, seed=0)


def identify(latents, **options):
    trials = compared_trials(*latents, "odor")
    numbers = {"bootstraps": 50, "permutations": 99, "seed": 0} | options
    return identify_subjects(trials, classifier=PLAIN, **numbers)


def shifted(latents, subject, shift):
    return [
        map_subjects(
            tree, lambda n, data: data.assign(mean=data["mean"] + (shift if n == subject else 0))
        )
        for tree in latents
    ]


def test_separated_subjects_are_always_identified():
    latents = latent_trees()
    for subject, shift in (("ada", 30.0), ("bob", -30.0)):
        latents = shifted(latents, subject, shift)
    made = identify(latents)
    assert (made["identification"] == 1).all()
    assert made["identification_chance"].item() == pytest.approx(1 / 3)
    assert made["identification_p_value"].item() == pytest.approx(0.01)
    assert made["identification_confusion"].values == pytest.approx(np.eye(3))


def test_one_animal_apart_is_told_from_two_that_are_not():
    made = identify(shifted(latent_trees(per_label=10), "ada", 30.0))
    confusion = made["identification_confusion"].to_pandas()
    assert confusion.loc["ada", "ada"] == 1
    assert confusion.loc[["bob", "cleo"], "ada"].sum() == 0
    assert confusion.sum(axis=1).values == pytest.approx(1)
    trial = made["identification"].sel(level="trial").item()
    assert trial == pytest.approx(np.trace(confusion.values) / 3)
    low, high = made["identification_interval"].sel(level="trial").values
    assert low < trial < high


def test_exchangeable_subjects_are_identified_at_chance():
    accuracy, p_values = [], []
    for seed in range(20):
        made = identify(latent_trees(per_label=5, seed=seed), bootstraps=0)
        accuracy.append(made["identification"].sel(level="trial").item())
        p_values.append(made["identification_p_value"].item())
        assert np.isnan(made["identification_interval"]).all()
    assert np.mean(accuracy) == pytest.approx(1 / 3, abs=0.04)
    assert np.mean(np.array(p_values) <= 0.05) <= 0.15
    assert np.mean(p_values) > 0.35


def test_how_often_an_animal_met_a_label_does_not_identify_it():
    # Labels lie far apart and ada has A and B twelve times as often: no clue if labels are balanced.
    train, test = latent_trees(("ada", "bob"), separation=20, per_label=24)
    rare = {"ada": ("C", "D"), "bob": ("A", "B")}

    def thin(subject, data):
        few = np.isin(data["odor"].values, rare[subject]) & (np.arange(data.sizes["trial"]) >= 8)
        return data.isel(trial=~few)

    made = identify([map_subjects(tree, thin) for tree in (train, test)])
    assert made["identification"].sel(level="trial").item() == pytest.approx(0.5, abs=0.2)
    assert made["identification_p_value"].item() > 0.05
    trials = compared_trials(*[map_subjects(tree, thin) for tree in (train, test)], "odor")
    for name, table in zip(
        ("ada", "bob"), _balanced_training(trials, ["ada", "bob"], 0), strict=True
    ):
        assert (table.labels == name).all()
        given = train[name].to_dataset().sel(trial=table.trials)["odor"].values
        assert [(given == label).sum() for label in LABELS] == [2, 2, 2, 2]  # the rarest


def test_every_trial_gets_the_counts_of_another():
    random = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        partner = exchange(4, random)
        assert sorted(partner) == [0, 1, 2, 3]
        assert (partner != np.arange(4)).all()
        seen.add(tuple(partner))
    assert len(seen) == 6  # all rings of four


@pytest.fixture(scope="module")
def weighted(trees):
    """Weights that grow with the unit's number, and none for the first two units."""
    weights = {}
    for name, data in iterate_subjects(trees[0]):
        size = np.r_[0.0, 0.0, 2.0 ** np.arange(data.sizes["unit"] - 2)]
        size /= np.sqrt(data["counts"].sum("time").var("trial").values)
        weights[name] = np.stack([size, np.zeros_like(size)], axis=1)
    model = LinearModel(weights).fit(trees[0], label="odor")
    with warnings.catch_warnings():  # labels need not differ along weights without meaning
        warnings.simplefilter("ignore", DataWarning)
        made = individual_differences(
            model, *trees, label="odor", classifier=PLAIN, bootstraps=0, permutations=0, repeats=10
        )
    return model, made


def test_units_without_weight_do_not_matter_and_others_in_the_order_of_weights(weighted):
    _, made = weighted
    for name in made["subject"].values:
        one = made.isel(unit=made["unit_subject"].values == name)
        assert (one["unit_displacement"].values[:2] == 0).all()
        assert (one["unit_label_drop"].values[:2] == 0).all()
        assert (np.diff(one["unit_displacement"].values[1:]) > 0).all()
        assert one["unit_displacement"].values[-1] > 10 * one["unit_displacement_error"].values[-1]


def test_displacement_of_a_linear_encoder_is_known(trees, weighted):
    model, made = weighted
    data = trees[1]["bob"].to_dataset()
    starts, lags = model.starts_["bob"], model.lags_["bob"]
    places = starts[:, None] + np.arange(lags)
    summed = data["counts"].values.astype(float)[:, :, places].sum(axis=-1)[:, 5]  # (trial, window)
    # Another trial drawn at random differs by twice the sample variance on average.
    moved = 2 * summed.var(axis=0, ddof=1).mean() * (model.weights["bob"][5] ** 2).sum()
    spread = model.transform(trees[1])["bob"]["mean"].values.var(axis=(0, 1)).sum()
    one = made.sel(unit="bob/5")
    error = one["unit_displacement_error"].item()
    assert one["unit_displacement"].item() == pytest.approx(moved / spread, abs=4 * error)
    assert 0 < error < 0.2 * moved / spread


def test_label_drop_shows_the_unit_that_carries_the_label(trees):
    def signal(subject, data):
        counts = np.ones_like(data["counts"].values)
        counts[:, 1] = 1 + np.searchsorted(LABELS, data["odor"].values)[:, None]
        return data.assign(counts=(data["counts"].dims, counts))

    clear = [map_subjects(tree, signal) for tree in trees]
    # The first six units count alike, so that sums are those of the same label in every subject.
    weights = {
        name: (np.arange(data.sizes["unit"]) < 6)[:, None].astype(float)
        for name, data in iterate_subjects(clear[0])
    }
    model = LinearModel(weights).fit(clear[0], label="odor")
    made = individual_differences(
        model,
        *clear,
        label="odor",
        classifier=LogisticRegression(C=100, max_iter=2000),
        bootstraps=0,
        permutations=0,
        repeats=3,
    )
    drop = made["unit_label_drop"]
    for name in made["subject"].values:
        mine = drop.isel(unit=made["unit_subject"].values == name)
        assert mine["unit"].values[mine.values.argmax()] == f"{name}/1"
        others = mine.values[np.arange(mine.size) != 1]
        assert others == pytest.approx(0, abs=1e-12)
        assert made["label_probability"].sel(subject=name).item() > 0.9
        # With another trial's label the true one is rarely the one that is read.
        assert mine.sel(unit=f"{name}/1").item() > 0.5


def test_labels_of_intact_trials_are_read_by_the_classifier_of_the_others(trees, found):
    model = LabelModel().fit(trees[0], label="odor")
    latents = [model.transform(tree) for tree in trees]
    scores = decode_labels(*latents, label="odor", permutations=0, bootstraps=0)
    read = scores["probability"].sel(train_subject="others")
    true = scores["test_trial_label"].values
    given = read.values[np.arange(true.size), [LABELS.index(label) for label in true]]
    for name in found["subject"].values:  # all labels have as many trials
        expected = given[scores["test_trial_subject"].values == name].mean()
        assert found["label_probability"].sel(subject=name).item() == pytest.approx(expected)


def test_all_parts_are_there_with_their_dims(trees, found):
    subject, window = ("subject",), ("subject", "label", "window")
    pair = ("subject", "other")
    dims = {
        "bits_own": subject,
        "bits_from_others_interval": (*subject, "bound"),
        "deviation": (*window, "latent"),
        "deviation_norm": window,
        "deviation_norm_interval": (*window, "bound"),
        "deviation_total": subject,
        "deviation_p_corrected": subject,
        "label_distance": (),
        "representational_similarity": pair,
        "procrustes_distance": pair,
        "identification": ("level",),
        "identification_confusion": (*subject, "predicted_subject"),
        "unit_displacement": ("unit",),
        "unit_label_drop_error": ("unit",),
        "label_probability": subject,
    }
    assert {name: found[name].dims for name in dims} == dims
    assert found["subject"].values.tolist() == ["ada", "bob", "cleo"]
    assert found["label"].values.tolist() == list(LABELS)
    units = [unit for _, data in iterate_subjects(trees[1]) for unit in data["unit"].values]
    assert found["unit"].values.tolist() == units
    assert found["unit_subject"].values.tolist() == [unit.split("/")[0] for unit in units]
    assert found.attrs["label"] == "odor"
    assert found.attrs["repeats"] == 2
    assert found.attrs["random_state"] == 0
    means = [
        LabelModel().fit(trees[0], label="odor").transform(trees[1])[n]["mean"].values
        for n in ("ada", "bob", "cleo")
    ]
    chosen = trees[1]["ada"]["odor"].values == "B"
    expected = means[0][chosen].mean(0) - (means[1][chosen].mean(0) + means[2][chosen].mean(0)) / 2
    assert found["deviation"].sel(subject="ada", label="B").values == pytest.approx(expected)


def test_seeds_repeat_the_order_of_subjects_does_not_matter_and_units_can_be_left_out(trees, found):
    names = ["cleo", "ada", "bob"]
    turned = [build_tree({n: tree[n].to_dataset() for n in names}) for tree in trees]
    model = LabelModel().fit(trees[0], label="odor")
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    again = individual_differences(model, *turned, label="odor", units=False, **QUICK)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
    assert again["subject"].values.tolist() == names
    assert not {"unit", "unit_displacement", "label_probability"} & set(again.variables)
    order = found["subject"].values
    again = again.sel(subject=order, other=order, predicted_subject=order)
    xr.testing.assert_allclose(again, found[list(again.data_vars)], rtol=1e-6)


def test_labels_that_not_all_have_are_left_out_with_a_warning(trees):
    model = LabelModel().fit(trees[0], label="odor")
    test = without(trees[1], "bob", "D")
    with pytest.warns(DataWarning, match="left out of the comparison of subjects: 'D'; not every"):
        made = individual_differences(model, trees[0], test, label="odor", units=False, **QUICK)
    assert made["label"].values.tolist() == ["A", "B", "C"]
    with pytest.raises(
        DataError, match=r"at least two labels .* got C of A, B, C, D; hold out more"
    ):
        individual_differences(
            model,
            trees[0],
            without(without(trees[1], "bob", "D"), "ada", "A", "B"),
            label="odor",
        )


def test_tables_hold_what_was_found(found):
    frames = individual_differences_to_frames(found)
    assert {name: len(frame) for name, frame in frames.items()} == {
        "bits": 5 * 3,
        "subjects": 3,
        "deviation": found["deviation_norm"].size,
        "geometry": 9,
        "identification": 2,
        "confusion": 9,
        "units": 6 + 7 + 8,
    }
    bits = frames["bits"].set_index(["subject", "measure"])
    one = bits.loc[("bob", "shared_share")]
    assert one["value"] == found["shared_share"].sel(subject="bob").item()
    assert one["high"] == found["shared_share_interval"].sel(subject="bob", bound="high").item()
    deviation = frames["deviation"].set_index(["subject", "label", "window"])
    place = {"subject": "cleo", "label": "C", "window": found["window"].values[1]}
    assert deviation.loc[tuple(place.values()), "norm"] == found["deviation_norm"].sel(place).item()
    low = found["deviation_norm_interval"].sel(place).sel(bound="low").item()
    assert deviation.loc[tuple(place.values()), "low"] == low
    geometry = frames["geometry"].set_index(["subject", "other"])
    distance = found["procrustes_distance"].sel(subject="ada", other="cleo").item()
    assert geometry.loc[("ada", "cleo"), "procrustes_distance"] == distance
    assert np.isnan(frames["identification"].query("level == 'window'")["p_value"].item())
    units = frames["units"].set_index("unit")
    assert units.loc["bob/3", "subject"] == "bob"
    assert units.loc["bob/3", "label_drop"] == found["unit_label_drop"].sel(unit="bob/3").item()
    assert "units" not in individual_differences_to_frames(
        found.drop_dims("unit").drop_vars("label_probability")
    )
    with pytest.raises(DataError, match="made by individual_differences, got dict"):
        individual_differences_to_frames({})


def test_what_makes_no_sense_is_refused(trees):
    model = LabelModel().fit(trees[0], label="odor")
    with pytest.raises(DataError, match="must not share trials"):
        individual_differences(model, trees[0], trees[0], label="odor")
    with pytest.raises(ParameterError, match="repeats must be a whole number of at least 1, got 0"):
        individual_differences(model, *trees, label="odor", repeats=0)
    with pytest.raises(ParameterError, match="permutations must be a whole number"):
        individual_differences(model, *trees, label="odor", permutations=2.5)
    alone = [build_tree({"ada": tree["ada"].to_dataset()}) for tree in trees]
    with pytest.raises(DataError, match="at least two of them, got ada in train and ada in test"):
        individual_differences(model, *alone, label="odor")
    with pytest.raises(DataError, match="no trial label 'side'"):
        individual_differences(model, *trees, label="side")

    class Turned(LabelModel):
        def transform(self, windows):
            return map_subjects(
                super().transform(windows), lambda _, data: data.isel(trial=slice(None, None, -1))
            )

    with pytest.raises(DataError, match="that were given, in their order, got others"):
        individual_differences(Turned().fit(trees[0], label="odor"), *trees, label="odor", **QUICK)


def test_latents_must_be_of_one_space_and_windows_the_same():
    train, test = latent_trees(("ada", "bob"))

    def name_latents(subject, data):
        return data.assign_coords(latent=[f"{subject} {k}" for k in range(3)])

    with pytest.raises(DataError, match="latents that all subjects share, got others for 'bob'"):
        compared_trials(map_subjects(train, name_latents), map_subjects(test, name_latents), "odor")
    moved = map_subjects(
        test,
        lambda n, d: d.assign_coords(window=d["window"] + 0.005) if n == "bob" else d,
    )
    with pytest.raises(DataError, match="the same windows for all subjects, got others for 'bob'"):
        compared_trials(train, moved, "odor")


def test_a_real_model_is_measured():
    recordings, _ = na.simulate_recordings(
        units={"ada": 16, "bob": 12, "cyd": 14}, trials=60, mean_rate=12, random_state=0
    )
    windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    train, test = na.split_trials(windows, test_size=0.4, stratify="odor", random_state=0)
    model = na.SharedLatentModel(3, max_epochs=6, batch_size=64, random_state=0, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)  # six epochs need not suffice
        model.fit(train, label="odor")
    made = individual_differences(
        model, train, test, label="odor", bootstraps=50, permutations=50, repeats=1
    )
    for name in ("bits_own", "deviation_norm", "procrustes_distance", "unit_displacement"):
        assert np.isfinite(made[name]).all(), name
    assert made.sizes["unit"] == 42
    assert (made["unit_displacement"] > 0).all()
    assert np.isnan(made["unit_displacement_error"]).all()  # one repeat has no spread
    own = reconstruction_scores(model, train, test, bootstraps=0)["bits_per_spike"]
    assert made["bits_own"].values == pytest.approx(own.values)
