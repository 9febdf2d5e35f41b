"""How many trials a new animal needs."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import neuroalign as na
from neuroalign.schema import build_tree, map_subjects

QUICK = {"max_epochs": 10, "batch_size": 64, "learning_rate": 5e-3, "verbose": False}


@pytest.fixture(scope="module")
def recorded() -> tuple[xr.DataTree, xr.DataTree]:
    recordings, _ = na.simulate_recordings(
        units={"ada": 24, "bob": 20, "cyd": 18}, trials=60, mean_rate=12, random_state=0
    )
    windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    return na.split_trials(windows, stratify="odor", random_state=0)


@pytest.fixture(scope="module")
def fitted(recorded: tuple[xr.DataTree, xr.DataTree]) -> na.SharedLatentModel:
    model = na.SharedLatentModel(3, random_state=0, **QUICK)  # type: ignore[arg-type]
    return model.fit(only(recorded[0], "ada", "bob"), label="odor")


def only(tree: xr.DataTree, *names: str) -> xr.DataTree:
    return build_tree({name: tree.children[name].to_dataset() for name in names})


@pytest.mark.slow
def test_a_new_animal_is_decoded_from_the_others_and_more_trials_are_not_fewer(
    recorded: tuple[xr.DataTree, xr.DataTree], fitted: na.SharedLatentModel
) -> None:
    train, test = recorded
    reference = fitted.transform(only(train, "ada", "bob"))
    table = na.score_joining(
        fitted,
        reference,
        only(train, "cyd"),
        only(test, "cyd"),
        label="odor",
        trials_per_label=(3, None),
        bootstraps=20,
        **QUICK,
    )
    assert sorted(table["trials"].unique()) == [12, train["cyd"].sizes["trial"]]
    assert set(table["kind"]) == {"across", "within"}
    np.testing.assert_allclose(table["chance"], 0.25)
    last = table.query("level == 'trial' and kind == 'across'").iloc[-1]
    assert last["low"] <= last["accuracy"] <= last["high"]
    assert last["accuracy"] > 0.5

    # the largest set is what adding the animal by hand gives
    grown = fitted.add_subject(only(train, "cyd"), random_state=0, **QUICK)
    scores = na.decode_labels(
        grown.transform(train),
        grown.transform(only(test, "cyd")),
        label="odor",
        permutations=0,
        bootstraps=0,
    )
    by_hand = scores["accuracy"].sel(level="trial", train_subject="others", test_subject="cyd")
    assert last["accuracy"] == pytest.approx(float(by_hand))


@pytest.mark.slow
def test_an_animal_whose_labels_are_permuted_does_not_join(
    recorded: tuple[xr.DataTree, xr.DataTree], fitted: na.SharedLatentModel
) -> None:
    train, test = recorded

    def shuffle(_: str, data: xr.Dataset) -> xr.Dataset:
        order = np.random.default_rng(3).permutation(data.sizes["trial"])
        return data.assign_coords(odor=("trial", data["odor"].values[order]))

    reference = fitted.transform(only(train, "ada", "bob"))
    scores = []
    for given in (only(train, "cyd"), map_subjects(only(train, "cyd"), shuffle)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("neuroalign.fitted.FittedModel.warn", lambda _: None)
            table = na.score_joining(
                fitted,
                reference,
                given,
                only(test, "cyd"),
                label="odor",
                trials_per_label=(None,),
                bootstraps=0,
                **QUICK,
            )
        scores.append(table.query("level == 'trial' and kind == 'across'")["accuracy"].item())
    assert scores[0] - scores[1] > 0.2


def test_more_than_one_new_animal_is_refused(
    recorded: tuple[xr.DataTree, xr.DataTree], fitted: na.SharedLatentModel
) -> None:
    train, test = recorded
    reference = fitted.transform(only(train, "ada", "bob"))
    with pytest.raises(
        na.ParameterError,
        match="one new subject, the same in train and test, got bob, cyd in train, bob, cyd in "
        "test and ada, bob in the reference",
    ):
        na.score_joining(
            fitted, reference, only(train, "bob", "cyd"), only(test, "bob", "cyd"), label="odor"
        )
