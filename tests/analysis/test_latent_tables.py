"""Latents become tables and come back; embeddings from elsewhere get the trials they belong to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from analysis_examples import latent_subject, latent_trees, window_trees
from hypothesis import given, settings
from hypothesis import strategies as st

import neuroalign as na
from neuroalign.errors import DataError
from neuroalign.schema import build_tree, iterate_subjects, map_subjects, validate


@pytest.fixture(scope="module")
def windows() -> xr.DataTree:
    return window_trees(per_label=4)[0]


def random_latents(seed: int) -> xr.DataTree:
    """Latents of subjects with their own trials, windows, scales and labels of every type."""
    random = np.random.default_rng(seed)
    n_latents = int(random.integers(1, 12))
    names: Any = np.arange(n_latents) if seed % 2 else [f"PC{k}" for k in range(n_latents)]
    kind = np.float32 if seed % 3 else np.float64
    datasets = {}
    for subject in ("ada", "bob")[: int(random.integers(1, 3))]:
        n_trials, n_windows = (int(random.integers(1, 7)) for _ in range(2))
        shape = (n_trials, n_windows, n_latents)
        datasets[subject] = xr.Dataset(
            {
                "mean": (("trial", "window", "latent"), random.normal(size=shape).astype(kind)),
                "scale": (("trial", "window", "latent"), random.uniform(size=shape).astype(kind)),
            },
            coords={
                "trial": random.permutation(50)[:n_trials],
                "window": np.sort(np.round(random.uniform(size=n_windows), 6)),
                "latent": names,
                "odor": ("trial", random.choice(["A", "B"], size=n_trials)),
                "correct": ("trial", random.choice([True, False], size=n_trials)),
                "block": ("trial", random.integers(0, 3, size=n_trials)),
                "onset": ("trial", random.uniform(size=n_trials)),
            },
            attrs={"stage": "latents", "subject": subject},
        )
    return build_tree(datasets)


# --- Tables -------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), shuffled=st.booleans())
def test_latents_come_back_from_their_table(seed: int, shuffled: bool) -> None:
    latents = random_latents(seed)
    table = na.latents_to_frame(latents)
    if shuffled:
        table = table.sample(frac=1.0, random_state=seed % 1000)
    found = na.latents_from_frame(table)
    assert sorted(found.children) == sorted(latents.children)
    for name, data in iterate_subjects(latents):
        again = found[name].to_dataset().sel(trial=data["trial"].values)
        xr.testing.assert_identical(again, data)
        assert again["mean"].dtype == data["mean"].dtype


def test_a_table_has_a_row_per_window_and_a_column_per_latent() -> None:
    latents = build_tree(
        {
            "ada": latent_subject(["A", "B"], windows=3, latents=2),
            "bob": latent_subject(["B"], windows=2, latents=2, name="smell"),
        }
    )
    table = na.latents_to_frame(latents)
    assert table.columns.tolist() == [
        "subject", "trial", "window", "odor", "latent_0", "latent_1", "smell",
    ]  # fmt: skip
    assert table["subject"].tolist() == ["ada"] * 6 + ["bob"] * 2
    assert table["trial"].tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    assert table["odor"].isna().tolist() == [False] * 6 + [True] * 2
    row = table[(table["subject"] == "ada") & (table["trial"] == 1)].iloc[2]
    expected = latents["ada"]["mean"].to_numpy()[1, 2]
    assert [row["latent_0"], row["latent_1"]] == expected.tolist()
    back = na.latents_from_frame(table)
    assert set(back["bob"].coords) == {"trial", "window", "latent", "smell"}


def test_unshared_latents_stay_apart(windows: xr.DataTree) -> None:
    latents = na.PrincipalComponents(2).fit(windows, label="odor").transform(windows)
    table = na.latents_to_frame(latents)
    assert [name for name in map(str, table) if name.startswith("latent_ada")] == [
        "latent_ada PC1",
        "latent_ada PC2",
    ]
    back = na.latents_from_frame(table)
    for name, data in iterate_subjects(latents):
        assert back[name]["latent"].to_numpy().tolist() == [f"{name} PC1", f"{name} PC2"]
        np.testing.assert_array_equal(back[name]["mean"], data["mean"])


def test_any_tidy_table_can_hold_latents() -> None:
    table = pd.DataFrame(
        {
            "subject": ["ada"] * 4 + ["bob"] * 4,
            "trial": [3, 3, 8, 8] * 2,
            "window": [0.1, 0.0] * 4,
            "odor": pd.Categorical(["A", "A", "B", "B"] * 2),
            "umap1": np.arange(8.0),
            "umap2": -np.arange(8.0),
        }
    )
    before = table.copy()
    tree = validate(na.latents_from_frame(table, latents=["umap1", "umap2"]), "latents")
    data = tree["bob"].to_dataset()
    assert data["mean"].sel(latent="umap1").values.tolist() == [[5.0, 4.0], [7.0, 6.0]]
    assert data["trial"].values.tolist() == [3, 8]
    assert data["odor"].values.tolist() == ["A", "B"]
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="window"), r"no column 'window'; it has: 'subject', 'trial'"),
        (lambda t: t.drop(columns=["latent_0", "latent_1"]), "no column 'latent_...'; it has"),
        (lambda t: t.iloc[:0], "the table has no rows"),
        (lambda t: t.iloc[1:], r"every trial of subject 'ada' with each of 4 windows once, got"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "every trial of subject 'ada' .* got 49 rows"),
        (lambda t: t.assign(latent_0=np.nan, latent_1=[np.nan, *t["latent_1"][1:]]), "finite num"),
        (lambda t: t.assign(odor=range(len(t))), "column 'odor' has several values within a tri"),
        (lambda t: t.assign(latent_0="x"), "expected finite numbers as latents of subject 'ada'"),
        (lambda t: t.to_dict(), "must be a pandas DataFrame, got dict"),
    ],
)
def test_tables_that_hold_no_latents_are_refused(change: Any, message: str) -> None:
    latents = build_tree({"ada": latent_subject(["A", "B", "C"] * 4, latents=2)})
    with pytest.raises(DataError, match=message):
        na.latents_from_frame(change(na.latents_to_frame(latents)))


def test_coordinates_that_hide_columns_are_refused() -> None:
    data = latent_subject(["A", "B"]).assign_coords(subject=("trial", ["x", "y"]))
    with pytest.raises(DataError, match="subject 'ada' have a coordinate 'subject', which is"):
        na.latents_to_frame(build_tree({"ada": data}))


# --- Embeddings from elsewhere ------------------------------------------------------------------


@pytest.mark.parametrize("flat", [True, False])
def test_embeddings_get_their_trials_windows_and_labels(windows: xr.DataTree, flat: bool) -> None:
    made, expected = {}, {}
    for name, data in iterate_subjects(windows):
        view = na.window_view(data).sum(axis=3)[:, :, :2].astype(np.float32)
        expected[name] = view
        made[name] = view.reshape(-1, 2) if flat else view
    tree = validate(na.latents_from_arrays(made, windows), "latents")
    for name, data in iterate_subjects(tree):
        source = windows[name].to_dataset()
        np.testing.assert_array_equal(data["mean"], expected[name])
        assert data["mean"].dtype == np.float32
        for coordinate in ("trial", "window", "odor"):
            assert data[coordinate].equals(source[coordinate])
        assert data.attrs["frame_start"] == source.attrs["frame_start"]
        assert data["latent"].values.tolist() == [0, 1]
        made[name][...] = 0.0
        assert data["mean"].to_numpy().any()


def test_embeddings_are_decoded_and_drawn_like_latents() -> None:
    train, test = latent_trees(per_label=6)
    windows = [window_trees(per_label=6, lags=9)[side] for side in (0, 1)]
    made = [
        na.latents_from_arrays({n: d["mean"].values for n, d in iterate_subjects(side)}, counts)
        for side, counts in zip((train, test), windows, strict=True)
    ]
    quick: dict[str, Any] = {"label": "odor", "permutations": 0, "bootstraps": 0}
    mine, theirs = na.decode_labels(*made, **quick), na.decode_labels(train, test, **quick)
    xr.testing.assert_equal(mine["accuracy"], theirs["accuracy"])
    assert float(mine["accuracy"].sel(train_subject="others", level="trial").mean()) > 0.5
    assert na.plot_latents(made[0], color="odor") is not None


def test_separate_embeddings_are_read_within_subjects_only(windows: xr.DataTree) -> None:
    values = {
        name: np.random.default_rng(0).normal(size=(*na.window_view(data).shape[:2], 2 + number))
        for number, (name, data) in enumerate(iterate_subjects(windows))
    }
    with pytest.raises(DataError, match=r"as many latents, got \[2, 3, 4\]; pass shared=False"):
        na.latents_from_arrays(values, windows)
    latents = na.latents_from_arrays(values, windows, shared=False)
    assert latents["bob"]["latent"].to_numpy().tolist() == ["bob 0", "bob 1", "bob 2"]
    sides = na.split_trials(latents, stratify="odor", random_state=0)
    scores = na.decode_labels(*sides, label="odor", permutations=0, bootstraps=0)
    assert "others" not in scores["train_subject"].values
    alike = {name: array[..., :2] for name, array in values.items()}
    named = na.latents_from_arrays(alike, windows, names=["x", "y"], shared=False)
    assert named["ada"]["latent"].to_numpy().tolist() == ["ada x", "ada y"]


def test_scales_and_some_of_the_subjects(windows: xr.DataTree) -> None:
    shape = na.window_view(windows["bob"].to_dataset()).shape[:2]
    tree = na.latents_from_arrays(
        {"bob": np.zeros((*shape, 2))},
        windows,
        scale={"bob": np.ones((shape[0] * shape[1], 2))},
        names=["x", "y"],
    )
    assert list(tree.children) == ["bob"]
    assert tree["bob"]["scale"].shape == (*shape, 2)
    assert tree["bob"]["latent"].to_numpy().tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda n, w: {"ada": np.zeros((n + 1, w, 2))}, {}, r"of shape \(16, 9\) .* got \(17, 9"),
        (lambda n, w: {"ada": np.zeros((w, n, 2))}, {}, r"for subject 'ada', as many as windows"),
        (lambda n, w: {"ada": np.zeros(n * w)}, {}, r"got \(144,\)"),
        (lambda n, w: {"ada": np.full((n, w, 2), np.nan)}, {}, "expected finite numbers"),
        (lambda n, w: {"ada": np.full((n, w, 2), "x")}, {}, "must be numbers, got <U1"),
        (lambda n, w: {"zoe": np.zeros((n, w, 2))}, {}, r"subjects of windows \(ada, bob, cleo\)"),
        (lambda n, w: np.zeros((n, w, 2)), {}, "must be a mapping subject -> array, got ndarray"),
        (lambda n, w: {}, {}, "must be a mapping subject -> array"),
        (lambda n, w: {"ada": np.zeros((n, w, 2))}, {"names": ["x"]}, "2 latents and 1 names"),
        (
            lambda n, w: {"ada": np.zeros((n, w, 2))},
            {"scale": {"bob": np.zeros((16, 9, 2))}},
            "mean of ada and scale of bob",
        ),
        (
            lambda n, w: {"ada": np.zeros((n, w, 2))},
            {"scale": {"ada": np.zeros((16, 9, 3))}},
            "as many names and scales as latents",
        ),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(
    windows: xr.DataTree, make: Any, options: dict[str, Any], message: str
) -> None:
    shape = na.window_view(windows["ada"].to_dataset()).shape
    with pytest.raises(DataError, match=message):
        na.latents_from_arrays(make(shape[0], shape[1]), windows, **options)


def test_other_stages_are_refused(windows: xr.DataTree) -> None:
    with pytest.raises(DataError, match=r"expected latents data .* got windowed"):
        na.latents_to_frame(windows)
    latents = map_subjects(windows, lambda _, data: data.assign_attrs(stage="latents"))
    with pytest.raises(DataError, match="expected windowed data"):
        na.latents_from_arrays({"ada": np.zeros((1, 1, 1))}, latents)
