"""A subject that joins later: it meets the others, and nothing of theirs moves."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from sklearn.linear_model import LogisticRegression

import neuroalign as na
from neuroalign import restarts, translation
from neuroalign.errors import DataError, NeuroAlignError, ParameterError
from neuroalign.schema import build_tree, iterate_subjects, map_subjects
from neuroalign.settings import training_config
from neuroalign.training.config import TrainingConfig

SETTINGS: dict[str, Any] = {
    "n_latents": 3,
    "beta": 1.0,
    "encoder_hidden": (16,),
    "decoder_hidden": (16,),
    "max_epochs": 6,
    "learning_rate": 0.02,
    "random_state": 0,
    "verbose": False,
}
TINY = SETTINGS | {"max_epochs": 1, "validation_fraction": 0}
NEXT = {"A": "B", "B": "C", "C": "D", "D": "A"}


def _quiet_fit(windows: xr.DataTree, **change: Any) -> na.SharedLatentModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        return na.SharedLatentModel(**SETTINGS | change).fit(windows, label="odor")


def _join(model: na.SharedLatentModel, windows: xr.DataTree, **change: Any) -> na.SharedLatentModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        return model.add_subject(windows, **change)


def _only(tree: xr.DataTree, *names: str) -> xr.DataTree:
    return build_tree({name: tree[name].to_dataset() for name in names})


def _windows(*, simultaneous: bool) -> xr.DataTree:
    recordings, _ = na.simulate_recordings(
        units={"ada": 14, "bob": 12, "eve": 12, "zoe": 5},
        trials=48,
        mean_rate=12.0,
        simultaneous=simultaneous,
        random_state=3,
    )
    binned = na.bin_spikes(na.keep_spec_trials(recordings), bin_width=0.025)
    return na.slide_windows(binned, length=0.1, step=0.05)


@pytest.fixture(scope="module", autouse=True)
def one_penalty() -> Iterator[None]:
    """Let readers of labels search for no penalty, which takes longer than these fits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translation, "STRENGTHS", (0.01,))
        yield


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let epochs have few steps where nothing asks for a good fit."""

    def shortened(given: Mapping[str, Any]) -> TrainingConfig:
        return dataclasses.replace(training_config(given), least_steps=2)

    monkeypatch.setattr(restarts, "training_config", shortened)


@pytest.fixture(scope="module")
def halves() -> tuple[xr.DataTree, xr.DataTree]:
    return na.split_trials(
        _windows(simultaneous=False), test_size=0.4, stratify="odor", random_state=0
    )


@pytest.fixture(scope="module")
def train(halves: tuple[xr.DataTree, xr.DataTree]) -> xr.DataTree:
    return halves[0]


@pytest.fixture(scope="module")
def test(halves: tuple[xr.DataTree, xr.DataTree]) -> xr.DataTree:
    return halves[1]


@pytest.fixture(scope="module")
def model(train: xr.DataTree) -> na.SharedLatentModel:
    return _quiet_fit(_only(train, "ada", "bob"))


@pytest.fixture(scope="module")
def grown(model: na.SharedLatentModel, train: xr.DataTree) -> na.SharedLatentModel:
    return _join(model, _only(train, "eve"))


def _weights(model: na.SharedLatentModel, m: int) -> dict[str, torch.Tensor]:
    vae = model.fitted_.vae
    return {
        f"{part}.{name}": value
        for part, modules in (
            ("encoder", vae.encoders),
            ("decoder", vae.decoders),
            ("likelihood", vae.likelihoods),
        )
        for name, value in modules[m].state_dict().items()
    }


def _assert_equal_weights(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert set(one) == set(two)
    for name, value in one.items():
        assert torch.equal(value, two[name])


def _assert_equal_trees(one: xr.DataTree, two: xr.DataTree) -> None:
    assert list(one.children) == list(two.children)
    for (_, a), (_, b) in zip(iterate_subjects(one), iterate_subjects(two), strict=True):
        assert a.identical(b)


def _guesses(
    model: na.SharedLatentModel, train: xr.DataTree, test: xr.DataTree, name: str
) -> np.ndarray:
    """Read a subject's test trials with a classifier of the old subjects' training latents."""
    features, labels = [], []
    for _, data in iterate_subjects(model.transform(_only(train, "ada", "bob"))):
        features.append(data["mean"].to_numpy().reshape(data.sizes["trial"], -1))
        labels.append(data["odor"].to_numpy())
    reader = LogisticRegression(C=0.1, max_iter=1000)
    reader.fit(np.concatenate(features), np.concatenate(labels))
    latents = model.transform(_only(test, name))[name]["mean"].to_numpy()
    return np.asarray(reader.predict(latents.reshape(len(latents), -1)))


def test_a_new_subject_is_read_by_classifiers_of_the_others(
    grown: na.SharedLatentModel, train: xr.DataTree, test: xr.DataTree
) -> None:
    right = _guesses(grown, train, test, "eve") == test["eve"]["odor"].to_numpy()
    assert right.mean() > 0.6  # chance is 0.25
    assert grown.alignment_ < 1.0
    hits, trials = grown.fitted_.diagnosis.hits, grown.fitted_.diagnosis.trials
    assert hits / trials > 0.4


def test_a_new_subject_goes_where_its_labels_say(
    model: na.SharedLatentModel, train: xr.DataTree, test: xr.DataTree
) -> None:
    """Labels that are exchanged in the new subject alone are exchanged in what is read."""
    data = train["eve"].to_dataset()
    wrong = np.array([NEXT[odor] for odor in data["odor"].values])
    exchanged = build_tree({"eve": data.assign_coords(odor=("trial", wrong))})
    guesses = _guesses(_join(model, exchanged), train, test, "eve")
    truth = test["eve"]["odor"].to_numpy()
    assert (guesses == truth).mean() < 0.25
    assert (guesses == np.array([NEXT[odor] for odor in truth])).mean() > 0.6


def test_permuted_labels_leave_a_new_subject_unread(
    model: na.SharedLatentModel,
    grown: na.SharedLatentModel,
    train: xr.DataTree,
    test: xr.DataTree,
) -> None:
    permuted = na.permute_labels(_only(train, "eve"), "odor", random_state=1)
    truth = test["eve"]["odor"].to_numpy()
    null = (_guesses(_join(model, permuted), train, test, "eve") == truth).mean()
    assert null < 0.45
    assert null < (_guesses(grown, train, test, "eve") == truth).mean() - 0.25


@pytest.mark.usefixtures("few_steps")
def test_nothing_of_the_old_subjects_moves(
    model: na.SharedLatentModel, train: xr.DataTree, test: xr.DataTree
) -> None:
    before = {m: {k: v.clone() for k, v in _weights(model, m).items()} for m in range(2)}
    calibration = {key: value[0].clone() for key, value in model.fitted_.calibration.items()}
    kept = (model.get_params(), model.subjects_, model.history_.copy(), model.summary())
    old = _only(test, "ada", "bob")
    latents = model.transform(old)
    imputed = model.impute(old, source="ada", target="bob")
    reconstructed = model.reconstruct(old)
    joined = _join(model, _only(train, "eve"), max_epochs=1)
    for m in range(2):
        _assert_equal_weights(before[m], _weights(model, m))
        _assert_equal_weights(before[m], _weights(joined, m))
        assert joined.fitted_.vae.encoders[m] is not model.fitted_.vae.encoders[m]
    for key, offset in calibration.items():
        assert torch.equal(offset, model.fitted_.calibration[key][0])
        assert torch.equal(offset, joined.fitted_.calibration[key][0])
    assert not any("eve" in key for key in model.fitted_.calibration)
    assert (model.get_params(), model.subjects_) == kept[:2]
    assert (model.summary(), list(model.fitted_.latents)) == (kept[3], ["ada", "bob"])
    pd.testing.assert_frame_equal(model.history_, kept[2])
    for fitted in (model, joined):
        _assert_equal_trees(fitted.transform(old), latents)
        _assert_equal_trees(fitted.impute(old, source="ada", target="bob"), imputed)
        _assert_equal_trees(fitted.reconstruct(old), reconstructed)


def test_the_grown_model_knows_who_joined(
    model: na.SharedLatentModel, grown: na.SharedLatentModel, train: xr.DataTree
) -> None:
    assert grown.subjects_ == ["ada", "bob", "eve"]
    assert list(grown.unit_ids_) == grown.subjects_
    assert len(grown.unit_ids_["eve"]) == 12
    assert grown.get_params() == model.get_params()
    assert "added after the fit: eve" in grown.summary()
    assert "added" not in model.summary()
    held = grown.fitted_.validation_trials
    assert held["ada"] == model.fitted_.validation_trials["ada"]
    assert set(held["eve"]) < set(train["eve"]["trial"].to_numpy().tolist())
    assert np.isfinite(grown.score(_only(train, "eve", "ada", "bob")))


def test_the_history_is_that_of_the_joining(grown: na.SharedLatentModel) -> None:
    parts = {c.partition("[")[2].rstrip("]") for c in grown.history_.columns if "[" in c}
    assert parts == {"eve"}
    for prefix in ("", "validation_"):
        # nobody but the new subject is reconstructed
        np.testing.assert_array_equal(
            grown.history_[f"{prefix}reconstruction"],
            grown.history_[f"{prefix}reconstruction[eve]"],
        )
    objective = grown.history_["objective"]
    assert objective.iloc[-1] < objective.iloc[0]
    assert grown.best_epoch_ <= len(grown.history_) <= SETTINGS["max_epochs"]


@pytest.mark.usefixtures("few_steps")
def test_the_old_recordings_are_not_needed(
    model: na.SharedLatentModel, train: xr.DataTree, test: xr.DataTree, tmp_path: Path
) -> None:
    new = _only(train, "eve")
    loaded = na.SharedLatentModel.load(model.save(tmp_path / "model"))
    grown, from_file, beside_others = (
        _join(model, new, max_epochs=2),
        _join(loaded, new, max_epochs=2),
        _join(model, _only(train, "bob", "eve", "ada"), max_epochs=2),  # the others are ignored
    )
    for joined in (from_file, beside_others):
        for m in range(3):
            _assert_equal_weights(_weights(joined, m), _weights(grown, m))
        everyone = _only(test, "ada", "bob", "eve")
        _assert_equal_trees(joined.transform(everyone), grown.transform(everyone))
        pd.testing.assert_frame_equal(joined.history_, grown.history_, check_exact=True)
        assert joined.alignment_ == grown.alignment_


def test_a_grown_model_imputes_both_ways_and_comes_back_from_a_file(
    grown: na.SharedLatentModel, train: xr.DataTree, test: xr.DataTree, tmp_path: Path
) -> None:
    everyone = _only(test, "ada", "bob", "eve")
    loaded = na.SharedLatentModel.load(grown.save(tmp_path / "model"))
    for source, target in (("ada", "eve"), ("eve", "bob"), ("ada", "bob")):
        made = grown.impute(everyone, source=source, target=target)
        expected = made[target]["expected"]
        assert (expected > 0).all()
        assert np.isfinite(expected).all()
        np.testing.assert_array_equal(expected["trial"], test[source]["trial"])
        assert expected["unit"].to_numpy().tolist() == grown.unit_ids_[target]
        _assert_equal_trees(made, loaded.impute(everyone, source=source, target=target))
    for method in ("transform", "reconstruct"):
        _assert_equal_trees(getattr(grown, method)(everyone), getattr(loaded, method)(everyone))
    assert loaded.summary() == grown.summary()
    assert loaded.score(everyone) == grown.score(everyone)
    np.testing.assert_array_equal(loaded.history_, grown.history_)
    reconstructed = grown.reconstruct(_only(train, "eve"))["eve"]
    total = train["eve"]["counts"].sum(("trial", "time"))
    np.testing.assert_allclose(reconstructed["expected"].sum(("trial", "time")), total, rtol=0.05)


def test_what_is_imputed_meets_the_label_averages_of_the_new_subject(
    grown: na.SharedLatentModel, train: xr.DataTree
) -> None:
    data = train["eve"].to_dataset()
    made = grown.impute(_only(train, "ada"), source="ada", target="eve")["eve"].to_dataset()
    means = data["counts"].groupby("odor").mean("trial")
    met = means.sel(odor=train["ada"]["odor"].values).sum("time").mean("odor")
    np.testing.assert_allclose(made["expected"].sum("time").mean("trial"), met, rtol=0.05)
    # units of the new subject follow the odor that ada smelled
    found = made["expected"].groupby("odor").mean("trial")
    real, said = (
        (m - m.mean("odor")).transpose("odor", "unit", "time").to_numpy().ravel()
        for m in (means, found)
    )
    assert np.corrcoef(real, said)[0, 1] > 0.3


@pytest.mark.usefixtures("few_steps")
def test_one_after_another_may_join(
    grown: na.SharedLatentModel, train: xr.DataTree, test: xr.DataTree, tmp_path: Path
) -> None:
    whole = _join(grown, _only(train, "zoe"), max_epochs=2)
    assert whole.subjects_ == ["ada", "bob", "eve", "zoe"]
    assert "added after the fit: eve, zoe" in whole.summary()
    for m in range(3):
        _assert_equal_weights(_weights(whole, m), _weights(grown, m))
    assert {c.partition("[")[2] for c in whole.history_.columns if "[" in c} == {"zoe]"}
    loaded = na.SharedLatentModel.load(whole.save(tmp_path / "model"))
    assert loaded.summary() == whole.summary()
    for source, target in (("zoe", "eve"), ("eve", "zoe")):
        made = whole.impute(test, source=source, target=target)
        assert np.isfinite(made[target]["expected"]).all()
        # what reads labels is fitted anew after loading: the same to rounding, not to the bit
        again = loaded.impute(test, source=source, target=target)
        xr.testing.assert_allclose(made[target].to_dataset(), again[target].to_dataset(), rtol=1e-4)
    _assert_equal_trees(whole.transform(_only(test, "eve")), grown.transform(_only(test, "eve")))


@pytest.mark.usefixtures("few_steps")
def test_a_subject_may_join_a_single_one(train: xr.DataTree, test: xr.DataTree) -> None:
    alone = _quiet_fit(_only(train, "ada"), max_epochs=1)
    pair = _join(alone, _only(train, "bob"))
    assert np.isnan(alone.alignment_)
    assert np.isfinite(pair.alignment_)
    assert np.isfinite(pair.impute(test, source="bob", target="ada")["ada"]["expected"]).all()


@pytest.mark.usefixtures("few_steps")
def test_a_seed_gives_one_joining(model: na.SharedLatentModel, train: xr.DataTree) -> None:
    new = _only(train, "eve")
    by_default, same, again, other = (
        _weights(_join(model, new, max_epochs=1, **change), 2)
        for change in ({}, {"random_state": 0}, {"random_state": 5}, {"random_state": 6})
    )
    _assert_equal_weights(by_default, same)  # the fit's own seed
    _assert_equal_weights(again, _weights(_join(model, new, max_epochs=1, random_state=5), 2))
    assert not any(torch.equal(again[name], other[name]) for name in again)


@pytest.mark.usefixtures("few_steps")
def test_the_label_of_the_fit_may_be_said_again(
    model: na.SharedLatentModel, train: xr.DataTree
) -> None:
    windows = _only(train, "eve")
    said, unsaid = (_join(model, windows, max_epochs=1, **k) for k in ({"label": "odor"}, {}))
    _assert_equal_trees(said.transform(windows), unsaid.transform(windows))


def test_settings_of_the_joining_stay_with_the_joining(
    model: na.SharedLatentModel, train: xr.DataTree
) -> None:
    joined = _join(
        model,
        _only(train, "eve"),
        max_epochs=2,
        beta=[(0, 0.0), (1, 2.0)],
        n_init=2,
        validation_fraction=0.3,
        patience=None,
    )
    assert joined.history_["beta"].tolist() == [0.0, 2.0]
    assert joined.best_epoch_ == 2
    assert len(joined.restarts_) == 2
    assert len(joined.fitted_.validation_trials["eve"]) == round(0.3 * train["eve"].sizes["trial"])
    assert joined.get_params() == model.get_params()
    assert joined.fitted_.settings == model.fitted_.settings


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("weights", ["size", {"ada": 2.0, "bob": 1.0}])
def test_weights_of_the_old_subjects_stay(train: xr.DataTree, weights: Any, tmp_path: Path) -> None:
    model = _quiet_fit(_only(train, "ada", "bob"), **TINY | {"reconstruction_weights": weights})
    joined = _join(model, _only(train, "zoe"), max_epochs=1)
    kept = (1.0, 14 / 12) if weights == "size" else (2.0, 1.0)
    assert joined.fitted_.vae.weights == pytest.approx((*kept, 1.0))
    assert joined.reconstruction_weights == pytest.approx(
        {"ada": kept[0], "bob": kept[1], "zoe": 1.0}
    )
    loaded = na.SharedLatentModel.load(joined.save(tmp_path / "model"))
    assert loaded.fitted_.vae.weights == joined.fitted_.vae.weights


@pytest.mark.usefixtures("few_steps")
def test_a_new_subject_may_know_some_labels_only(
    model: na.SharedLatentModel, train: xr.DataTree, test: xr.DataTree
) -> None:
    some = na.keep_labels(_only(train, "eve"), "odor", ["A", "C"])
    joined = _join(model, some, max_epochs=2)
    assert joined.classes_.tolist() == ["A", "B", "C", "D"]
    assert np.isfinite(joined.history_.to_numpy(dtype=float)).all()
    made = joined.impute(test, source="ada", target="eve")["eve"]["expected"]
    assert np.isfinite(made).all()


@pytest.mark.usefixtures("few_steps")
def test_a_subject_recorded_together_with_the_others_joins_by_trial(tmp_path: Path) -> None:
    together = _windows(simultaneous=True)
    gone = {"ada": slice(2, None), "bob": slice(0, -2), "eve": slice(1, -1)}
    train = map_subjects(_only(together, *gone), lambda n, d: d.isel(trial=gone[n]))
    model = _quiet_fit(
        _only(train, "ada", "bob"), max_epochs=2, pairing="trial", allow_missing=True
    )
    grown = _join(model, _only(train, "eve"))
    _assert_equal_weights(_weights(grown, 1), _weights(model, 1))
    assert {(a, b) for a, b in grown.fitted_.calibration if "eve" in (a, b)} == {
        ("ada", "eve"),
        ("bob", "eve"),
        ("eve", "eve"),
    }
    loaded = na.SharedLatentModel.load(grown.save(tmp_path / "model"))
    for target, sources in (("eve", ["ada", "bob"]), ("ada", ["bob", "eve"])):
        made = grown.impute(train, target=target)
        assert made[target].attrs["source"] == ", ".join(sources)
        found = made[target]["expected"]
        assert found.sizes["trial"] == 48 if target == "eve" else 47
        assert (found > 0).all()
        _assert_equal_trees(made, loaded.impute(train, target=target))
    # expectations over trials that both have sum to what the new subject fired there
    shared = np.intersect1d(train["ada"]["trial"], train["eve"]["trial"])
    made = grown.impute(_only(train, "ada"), source="ada", target="eve")
    np.testing.assert_allclose(
        made["eve"]["expected"].sel(trial=shared).sum(("trial", "time")),
        train["eve"]["counts"].sel(trial=shared).sum(("trial", "time")),
        rtol=0.05,
    )
    strangers = map_subjects(
        _only(train, "eve"), lambda _, d: d.assign_coords(trial=d["trial"] + 999)
    )
    with pytest.raises(DataError) as caught:
        _join(model, strangers)
    assert str(caught.value) == (
        "no trial of 'eve' can stand beside a trial of the fit's subjects by 'odor'; look at its "
        "labels (or trial ids)."
    )


CHANGEABLE = (
    "beta, dropout, mixing, max_epochs, batch_size, weight_averaging, n_init, learning_rate, "
    "weight_decay, gradient_clip, validation_fraction, patience, verbose"
)


@pytest.mark.parametrize(
    ("names", "change", "message"),
    [
        (
            ("eve", "zoe"),
            {},
            (
                "add_subject takes one new subject at a time, got 'eve', 'zoe' beside those of the "
                "fit (ada, bob)."
            ),
        ),
        (
            ("ada", "bob"),
            {},
            (
                "add_subject takes one new subject at a time, got none beside those of the fit "
                "(ada, bob)."
            ),
        ),
        (
            ("eve",),
            {"n_latents": 4, "likelihood": "gaussian"},
            (
                "add_subject cannot change 'likelihood', 'n_latents': a joining subject takes the "
                f"model as it is; it may change {CHANGEABLE}."
            ),
        ),
        (
            ("eve",),
            {"max_epoch": 4},
            (
                "add_subject cannot change 'max_epoch': a joining subject takes the model as it is; "
                f"it may change {CHANGEABLE}."
            ),
        ),
        (("eve",), {"max_epochs": 0}, "max_epochs must be a positive integer, got 0."),
        (
            ("eve",),
            {"label": "correct"},
            (
                "the trials of this fit were paired by 'odor', so a new subject's are too; got "
                "label='correct'."
            ),
        ),
    ],
)
def test_refusals_say_what_would_be_right(
    model: na.SharedLatentModel,
    train: xr.DataTree,
    names: tuple[str, ...],
    change: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(NeuroAlignError) as caught:
        model.add_subject(_only(train, *names), **change)
    assert str(caught.value) == message


def test_recordings_that_do_not_fit_are_refused(
    model: na.SharedLatentModel, train: xr.DataTree
) -> None:
    data = train["eve"].to_dataset()
    odd = data.assign_coords(odor=("trial", np.where(data["odor"] == "D", "E", data["odor"])))
    cut = data.isel(window=slice(0, 3))
    wide = na.slide_windows(_only(train, "eve"), length=0.125, step=0.125)["eve"].to_dataset()
    for spoilt, message in (
        (
            odd,
            (
                "subject 'eve' has odor 'E', which the fit does not know (it knows A, B, C, D); leave "
                "those trials out (keep_labels)."
            ),
        ),
        (
            cut,
            (
                "expected 4 windows per trial as in the fit, got 3 for subject 'eve'; cut frame and "
                "windows alike."
            ),
        ),
        (
            wide,
            (
                "expected windows of 4 bins of 0.025 s as in the fit, got 5 bins of 0.025 s for "
                "subject 'eve'; bin and window alike."
            ),
        ),
        (
            data.isel(unit=slice(0, 0)),
            "subject 'eve' has no units left; loosen the spec's unit rules.",
        ),
        (
            data.drop_vars("odor"),
            "no trial label 'odor' for subject 'eve'; it has: 'in_sequence', 'correct', 'arousal'.",
        ),
    ):
        with pytest.raises(DataError) as caught:
            model.add_subject(build_tree({"eve": spoilt}))
        assert str(caught.value) == message


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("sharing", ["independent", "poe"])
def test_other_ways_of_sharing_cannot_be_joined(train: xr.DataTree, sharing: str) -> None:
    model = _quiet_fit(_only(train, "ada", "bob"), **TINY | {"sharing": sharing})
    with pytest.raises(ParameterError) as caught:
        model.add_subject(_only(train, "eve"))
    assert str(caught.value) == (
        'add_subject needs sharing="mm-vamp", whose prior ties a new subject to the stored '
        f"posteriors of the others; this model was fitted with sharing={sharing!r}."
    )


def test_a_subject_without_trials_is_refused(
    model: na.SharedLatentModel, train: xr.DataTree
) -> None:
    empty = map_subjects(_only(train, "eve"), lambda _, d: d.isel(trial=slice(0, 0)))
    with pytest.raises(NeuroAlignError, match="no trials for subject 'eve'"):
        model.add_subject(empty)


@pytest.mark.usefixtures("few_steps")
def test_counts_that_the_likelihood_cannot_model_are_refused(train: xr.DataTree) -> None:
    binary = map_subjects(train, lambda _, d: d.assign(counts=d["counts"].clip(max=1)))
    model = _quiet_fit(_only(binary, "ada", "bob"), **TINY | {"likelihood": "bernoulli"})
    assert int(train["eve"]["counts"].max()) > 1
    with pytest.raises(DataError, match="bernoulli likelihood cannot model the counts of subject"):
        _join(model, _only(train, "eve"), max_epochs=1)


@pytest.mark.usefixtures("few_steps")
def test_a_new_subject_without_training_trials_is_refused(
    model: na.SharedLatentModel, train: xr.DataTree
) -> None:
    odor = train["eve"]["odor"].to_numpy()
    first = [np.flatnonzero(odor == value)[0] for value in model.classes_]
    single = map_subjects(_only(train, "eve"), lambda _, d: d.isel(trial=first))
    with pytest.raises(NeuroAlignError, match="validation_fraction"):
        model.add_subject(single, validation_fraction=0.9)
