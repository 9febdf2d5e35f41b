"""Alignment and collapse on latents whose geometry is known."""

import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr

import neuroalign as na
from neuroalign.diagnostics import (
    Hits,
    LabelledLatents,
    alignment,
    nearest_centre_hits,
    resolution,
    shared_centre_hits,
    warn_about,
)
from neuroalign.errors import AlignmentWarning, CollapseWarning
from neuroalign.schema import map_subjects

CLASSES = np.array(["A", "B"])
FIT: dict[str, Any] = {
    "n_latents": 3,
    "encoder_hidden": (16,),
    "decoder_hidden": (16,),
    "max_epochs": 4,
    "learning_rate": 0.02,
    "validation_fraction": 0.3,
    "random_state": 0,
    "verbose": False,
}


def windows(**change: Any) -> xr.DataTree:
    settings: dict[str, Any] = {
        "units": {"ada": 14, "bob": 12, "eve": 12},
        "trials": 48,
        "mean_rate": 12.0,
        "random_state": 3,
    }
    recordings, _ = na.simulate_recordings(**settings | change)
    binned = na.bin_spikes(na.keep_spec_trials(recordings), bin_width=0.025)
    return na.slide_windows(binned, length=0.1, step=0.05)


@pytest.fixture(scope="module")
def recorded() -> xr.DataTree:
    """Three subjects, one of which fires ten spikes more in every bin."""
    return map_subjects(
        windows(), lambda n, d: d.assign(counts=d["counts"] + (10 if n == "bob" else 0))
    )


def subject(
    offset: float, separation: float = 2.0, noise: float = 0.0, seed: int = 0
) -> LabelledLatents:
    labels = np.array(["A", "B"] * 10)
    mean = np.zeros((20, 3, 2))
    mean[..., 0] = offset
    mean[..., 1] = np.where(labels == "B", separation, 0.0)[:, None]
    mean += noise * np.random.default_rng(seed).normal(size=mean.shape)
    return LabelledLatents(mean, labels)


def test_alignment_is_the_ratio_of_distances() -> None:
    subjects = {"ada": subject(0.0), "bob": subject(1.0)}
    assert alignment(subjects, CLASSES) == pytest.approx(0.5)
    assert alignment({"ada": subject(0.0), "bob": subject(0.0)}, CLASSES) == 0.0
    assert alignment({"ada": subject(0.0, 0.0), "bob": subject(1.0, 0.0)}, CLASSES) == np.inf
    assert np.isnan(alignment({"ada": subject(0.0)}, CLASSES))


def test_alignment_passes_over_labels_that_a_subject_lacks() -> None:
    partial = subject(1.0)
    only_a = LabelledLatents(
        partial.mean[partial.labels == "A"], partial.labels[partial.labels == "A"]
    )
    value = alignment({"ada": subject(0.0), "bob": only_a}, CLASSES)
    assert value == pytest.approx(0.5)


def test_hits_are_counted_against_the_reference() -> None:
    assert nearest_centre_hits(subject(0.0), subject(0.0, noise=0.1), CLASSES) == Hits(20, 20)
    found = nearest_centre_hits(
        subject(0.0, noise=1.0), subject(0.0, 0.0, noise=1.0, seed=1), CLASSES
    )
    assert found.trials == 20
    assert 4 <= found.hits <= 16
    only_a = subject(0.0).of(subject(0.0).labels == "A")
    assert nearest_centre_hits(only_a, subject(0.0, noise=0.1), CLASSES) == Hits(10, 10)
    assert nearest_centre_hits(only_a, only_a.of(np.zeros(10, bool)), CLASSES) == Hits()


def test_others_centres_hit_where_subjects_met_and_miss_where_labels_are_swapped() -> None:
    met = {"ada": subject(0.0), "bob": subject(0.3), "eve": subject(-0.3)}
    assert shared_centre_hits(met, met, CLASSES) == Hits(60, 60)
    plain = subject(0.0)
    swapped = LabelledLatents(plain.mean, np.where(plain.labels == "A", "B", "A"))
    assert shared_centre_hits(
        {"ada": plain, "bob": swapped}, {"ada": plain, "bob": swapped}, CLASSES
    ) == Hits(0, 40)
    assert shared_centre_hits({"ada": plain}, {"ada": plain}, CLASSES) == Hits()


def test_the_upper_bound_is_exact() -> None:
    # 3 of 10: the share at which 3 or fewer come up in 5 % of cases
    from scipy import stats

    assert stats.binom.cdf(3, 10, Hits(3, 10).upper()) == pytest.approx(0.05)
    assert Hits(10, 10).upper() == 1.0
    assert Hits(3, 10).share == 0.3
    assert np.isnan(Hits().share)


def test_warnings_come_when_deserved_and_not_otherwise() -> None:
    with pytest.warns(CollapseWarning, match="27 of 100 validation trials .* 25 would by chance"):
        warn_about(0.1, Hits(27, 100), 4)
    with pytest.warns(AlignmentWarning, match="lies 1.70 times as far apart"):
        warn_about(1.7, Hits(90, 100), 4)
    with pytest.warns(AlignmentWarning) as caught:
        warn_about(0.8, Hits(90, 100), 4, across=Hits(40, 100))
    assert str(caught[0].message) == (
        "the subjects did not meet in the latent space: 40 of 100 trials lie nearest to their own "
        "label's average of the other subjects, 90 of 100 to that of their own subject, 25 would "
        "by chance (validation trials). Raise beta, train longer, or use "
        'divergence="pairwise" if you chose "mixture".'
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_about(0.4, Hits(90, 100), 4)
        warn_about(0.4, Hits(90, 100), 4, across=Hits(70, 100))
        warn_about(0.8, Hits(9, 10), 4, across=Hits(4, 10))  # too few to be sure
        warn_about(0.8, Hits(90, 100), 4, across=Hits())
        warn_about(float("nan"), Hits(), 4)


def test_resolution_is_the_distance_of_labels_in_posterior_widths() -> None:
    latents = subject(5.0, separation=3.0)
    scale = np.full_like(latents.mean, 0.5)
    # labels are 3 apart in one of two latents, whose summed variance is 2 · 0.25
    expected = pytest.approx(3.0 / np.sqrt(0.5))
    assert resolution(latents.mean, scale, latents.labels) == expected
    # crushing latents and posteriors alike changes nothing, crushing latents alone does
    assert resolution(latents.mean / 9, scale / 9, latents.labels) == expected
    assert resolution(latents.mean / 9, scale, latents.labels) == pytest.approx(
        3.0 / 9 / np.sqrt(0.5)
    )
    assert resolution(latents.mean, 0 * scale, latents.labels) == np.inf
    assert np.isnan(resolution(latents.mean, scale, np.full(20, "A")))


def test_crushed_latents_are_told_to_lower_beta() -> None:
    for alignment_value in (0.2, 7.0):
        with pytest.warns(CollapseWarning) as caught:
            warn_about(alignment_value, Hits(60, 100), 4, resolved=0.034)
        assert str(caught[0].message) == (
            "the latents are crushed: labels lie 0.034 posterior widths apart, so that samples of "
            "the latents say next to nothing about the label. Lower beta."
        )
    with pytest.warns(AlignmentWarning):
        warn_about(7.0, Hits(60, 100), 4, resolved=0.5)


def test_a_subject_of_one_label_does_not_hide_the_others(recorded: xr.DataTree) -> None:
    lacking = map_subjects(
        recorded, lambda n, d: d.isel(trial=d["odor"].to_numpy() == "A") if n == "ada" else d
    )
    settings = FIT | {"max_epochs": 1, "allow_missing": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = na.SharedLatentModel(**settings).fit(lacking, label="odor")
    assert np.isfinite(model.fitted_.diagnosis.resolution)


def test_a_good_fit_gives_no_warning(recorded: xr.DataTree) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = na.SharedLatentModel(**FIT).fit(recorded, label="odor")
    assert model.alignment_ < 0.9
    assert model.fitted_.diagnosis.hits / model.fitted_.diagnosis.trials > 0.6


def test_subjects_that_do_not_meet_are_warned_about(recorded: xr.DataTree) -> None:
    """Nothing ties the subjects, whose raw counts begin at different levels."""
    loose = {"beta": 1e-6, "divergence": "mixture", "scaling": "none"}
    model = na.SharedLatentModel(**FIT | loose | {"max_epochs": 2, "learning_rate": 2e-3})
    with pytest.warns(AlignmentWarning, match="the subjects did not meet") as caught:
        model.fit(recorded, label="odor")
    assert f"lies {model.alignment_:.2f} times as far apart" in str(caught[0].message)
    diagnosis = model.fitted_.diagnosis
    assert diagnosis.hits / diagnosis.trials > 0.4  # within each animal labels are there


def test_subjects_that_are_not_tied_are_not_warned_about(recorded: xr.DataTree) -> None:
    for sharing in ("independent", "autoencoder"):
        loose = {"sharing": sharing, "scaling": "none", "max_epochs": 2, "learning_rate": 2e-3}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = na.SharedLatentModel(**FIT | loose).fit(recorded, label="odor")
        assert model.alignment_ > 1.0


def test_recordings_without_the_label_are_warned_about() -> None:
    deaf = windows(signal=0.0, trials=96)
    model = na.SharedLatentModel(**FIT | {"max_epochs": 1, "validation_fraction": 0.5})
    with pytest.warns(CollapseWarning, match="say next to nothing about the label"):
        model.fit(deaf, label="odor")


def test_latents_crushed_by_beta_are_warned_about(recorded: xr.DataTree) -> None:
    crushed = {"beta": 1e6, "learning_rate": 0.1, "max_epochs": 6}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = na.SharedLatentModel(**FIT | crushed).fit(recorded, label="odor")
    # posteriors of all subjects are one and the same, whatever the trial
    assert model.saturation_ == pytest.approx(0.0, abs=0.01)
    assert [warning.category for warning in caught] == [CollapseWarning]


def test_diagnosis_counts_the_validation_trials(recorded: xr.DataTree) -> None:
    model = na.SharedLatentModel(**FIT | {"max_epochs": 2}).fit(recorded, label="odor")
    latents = model.transform(recorded)
    hits = trials = 0
    for name, held in model.fitted_.validation_trials.items():
        data = latents[name].to_dataset()
        out = np.isin(data["trial"], held)
        mean, odor = data["mean"].to_numpy(), data["odor"].to_numpy()
        spread = mean[~out].std((0, 1))
        centres = {c: mean[~out & (odor == c)].mean(0) for c in model.classes_}
        for k in np.flatnonzero(out):
            distance = {c: (((mean[k] - m) / spread) ** 2).sum() for c, m in centres.items()}
            hits += min(distance, key=distance.__getitem__) == odor[k]
            trials += 1
    diagnosis = model.fitted_.diagnosis
    assert (diagnosis.hits, diagnosis.trials, diagnosis.held_out) == (hits, trials, True)
