"""Stage contracts: every refusal says expected, got, where, remedy."""

import numpy as np
import pytest
import xarray as xr

from neuroalign.errors import DataError
from neuroalign.schema import (
    build_tree,
    check_subject_name,
    iterate_subjects,
    label_values,
    map_subjects,
    subjects_of,
    trial_labels,
    validate,
)


def latents(trials: int = 3) -> xr.Dataset:
    return xr.Dataset(
        {"mean": (("trial", "window", "latent"), np.zeros((trials, 2, 1)))},
        coords={
            "trial": np.arange(trials),
            "window": [0.0, 0.1],
            "odor": ("trial", list("ABA")[:trials]),
            "correct": ("trial", [True, False, True][:trials]),
            "onset": ("trial", np.arange(trials) * 1.0),
        },
        attrs={"stage": "latents", "subject": "ada"},
    )


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", 7])
def test_subject_names_that_a_tree_would_misread_are_refused(name: object) -> None:
    with pytest.raises(DataError, match="non-empty text without slashes"):
        check_subject_name(name)


def test_trees_keep_their_order_and_stay_independent() -> None:
    tree = build_tree({"bob": latents(), "ada": latents()})
    assert subjects_of(tree) == ["bob", "ada"]
    doubled = map_subjects(tree, lambda _, data: data.assign(mean=data["mean"] + 1))
    assert float(doubled["bob"]["mean"].max()) == 1.0
    assert float(tree["bob"]["mean"].max()) == 0.0
    assert [name for name, _ in iterate_subjects(tree)] == ["bob", "ada"]
    with pytest.raises(DataError, match="at least one subject, got none"):
        build_tree({})


def test_validation_passes_what_is_right() -> None:
    tree = build_tree({"ada": latents()})
    assert validate(tree, "latents") is tree


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            None,
            "must be an xarray.DataTree with one child per subject .made by SharedLatentModel.transform., got NoneType",
        ),
        (xr.DataTree(), "has no subjects"),
        (
            build_tree({"ada": latents().assign_attrs(stage="binned")}),
            "expected latents data .*, got binned, at subject 'ada'",
        ),
        (
            build_tree({"ada": latents().rename(mean="average")}),
            "expected variable 'mean' in latents data, missing",
        ),
        (
            build_tree({"ada": latents().transpose("window", "trial", "latent")}),
            "expected 'mean' with dims",
        ),
        (build_tree({"ada": latents().drop_vars("window")}), "latents data lack 'window'"),
        (build_tree({"ada": latents().assign_coords(trial=[1, 1, 2])}), "trial ids must be unique"),
    ],
)
def test_validation_says_what_is_wrong(broken: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        validate(broken, "latents")


def test_data_on_the_root_are_refused() -> None:
    tree = xr.DataTree.from_dict({"/": xr.Dataset(coords={"session": 1}), "ada": latents()})
    with pytest.raises(DataError, match="nothing on its root"):
        validate(tree, "latents")


def test_labels_come_alone_or_combined() -> None:
    data = latents()
    assert label_values(data, "odor", subject="ada").tolist() == ["A", "B", "A"]
    assert label_values(data, ["odor", "correct"], subject="ada").tolist() == [
        "A|True",
        "B|False",
        "A|True",
    ]
    assert trial_labels(data) == ["odor", "correct"]
    with pytest.raises(
        DataError, match="no trial label 'smell' for subject 'ada'; it has: 'odor', 'correct'"
    ):
        label_values(data, "smell", subject="ada")
    with pytest.raises(DataError, match="empty list"):
        label_values(data, [], subject="ada")
