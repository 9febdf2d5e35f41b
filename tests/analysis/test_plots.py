"""Figures: what they draw is what the data say, and nothing else is touched."""

import sys
import types

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from analysis_examples import LabelModel, latent_trees, window_trees
from matplotlib.colors import to_rgba

from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import build_tree

mpl.use("Agg")

import matplotlib.pyplot as plt
from sklearn.decomposition import PCA

from neuroalign.analysis.decoding import decode_labels
from neuroalign.analysis.plot_latents import principal_components
from neuroalign.analysis.plot_style import label_colors
from neuroalign.analysis.plots import (
    plot_history,
    plot_imputation,
    plot_latents,
    plot_quality,
    plot_score_matrix,
    plot_trajectories,
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def trees():
    return window_trees(("ada", "bob"), per_label=6)


def drawn(ax):
    """Draw the figure, so that layout problems warn, and return it."""
    figure = np.asarray(ax).ravel()[0].figure
    figure.canvas.draw()
    return figure


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_two_latents_are_drawn_as_they_are():
    latents, _ = latent_trees(("ada", "bob"), latents=2)
    ax = plot_latents(latents, color="odor")
    drawn(ax)
    offsets = np.asarray(ax.collections[1].get_offsets())
    expected = latents["bob"]["mean"].values.reshape(-1, 2)
    order = np.lexsort(expected.T)
    assert offsets[np.lexsort(offsets.T)] == pytest.approx(expected[order])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("latent 1", "latent 2")
    assert legend_texts(ax) == ["A", "B", "C", "D", "subject", "ada", "bob"]


def test_points_have_the_colour_of_their_label():
    latents, _ = latent_trees(("ada",), latents=2, per_label=3)
    ax = plot_latents(latents, color="odor", per="trial")
    colors = label_colors(["A", "B", "C", "D"])
    means = latents["ada"]["mean"].mean("window").values
    points = {
        tuple(np.round(p, 9)): c[:3]
        for p, c in zip(
            np.asarray(ax.collections[0].get_offsets()),
            ax.collections[0].get_facecolors(),
            strict=True,
        )
    }
    for mean, odor in zip(means, latents["ada"]["odor"].values, strict=True):
        assert points[tuple(np.round(mean, 9))] == pytest.approx(colors[odor])


def test_more_latents_are_drawn_by_components_pooled_over_subjects():
    latents, _ = latent_trees(latents=5)
    ax = plot_latents(latents)
    drawn(ax)
    assert ax.get_xlabel().startswith("PC1 (")
    assert legend_texts(ax) == ["ada", "bob", "cleo"]
    rows = np.concatenate([latents[s]["mean"].values.reshape(-1, 5) for s in latents.children])
    reference = PCA(2).fit(rows)
    placed, names = principal_components(rows, 2)
    expected = reference.transform(rows)
    assert np.abs(placed) == pytest.approx(np.abs(expected))
    share = 100 * reference.explained_variance_ratio_[0]
    assert names[0] == f"PC1 ({share:.0f} %)"


def test_panels_per_subject_and_given_axes():
    latents, _ = latent_trees()
    panels = plot_latents(latents, color="odor", overlay=False)
    assert [panel.get_title() for panel in panels] == ["ada", "bob", "cleo"]
    _, mine = plt.subplots()
    assert plot_latents(latents, ax=mine) is mine
    with pytest.raises(ParameterError, match="expected 3 axes"):
        plot_latents(latents, overlay=False, ax=mine)


def test_one_latent_and_whole_number_labels():
    latents, _ = latent_trees(("ada",), latents=1, labels=np.array([10, 2]))
    ax = plot_latents(latents, color="odor")
    assert legend_texts(ax) == ["2", "10"]


def test_latents_refuse_what_makes_no_sense():
    latents, _ = latent_trees(("ada", "bob"))
    with pytest.raises(ParameterError, match="per must be 'window' or 'trial', got 'bin'"):
        plot_latents(latents, per="bin")
    with pytest.raises(ParameterError, match="projection must be one of 'auto', 'pca', 'umap'"):
        plot_latents(latents, projection="tsne")
    with pytest.raises(DataError, match="no trial label 'side'"):
        plot_latents(latents, color="side")
    other = build_tree(
        {"ada": latents["ada"].to_dataset(), "bob": latents["bob"].to_dataset().isel(latent=[0, 1])}
    )
    with pytest.raises(DataError, match="the same latents for all subjects, got others for 'bob'"):
        plot_latents(other)


def test_umap_is_asked_with_a_seed(monkeypatch):
    asked = {}

    class UMAP:  # the real one takes a quarter of a minute to load
        def __init__(self, **arguments):
            asked.update(arguments)

        def fit_transform(self, rows):
            return rows[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    latents, _ = latent_trees(("ada",), latents=5, per_label=5)
    ax = plot_latents(latents, projection="umap", random_state=7)
    assert asked == {"n_neighbors": 15, "random_state": 7}
    assert ax.get_xlabel() == "UMAP 1"


def test_trajectories_are_label_averages():
    latents, _ = latent_trees(("ada", "bob"), latents=2)
    panels = plot_trajectories(latents, label="odor")
    drawn(panels)
    assert len(panels) == 2
    lines = panels[1].get_lines()
    assert len(lines) == 2 * 4
    chosen = latents["bob"]["mean"].values[latents["bob"]["odor"].values == "C"]
    line = lines[4 + 2]
    assert line.get_ydata() == pytest.approx(chosen.mean(axis=0)[:, 1])
    assert line.get_xdata() == pytest.approx([0, 10, 20, 30])  # milliseconds
    band = panels[1].collections[4 + 2].get_paths()[0].vertices[:, 1]
    spread = chosen.std(axis=0)[:, 1] / np.sqrt(len(chosen))
    assert band.max() == pytest.approx((chosen.mean(axis=0)[:, 1] + spread).max())
    assert len(plot_trajectories(latent_trees(latents=6)[0], label="odor", n_components=3)) == 3
    with pytest.raises(ParameterError, match="spread must be"):
        plot_trajectories(latents, label="odor", spread="range")


def test_matrix_shows_every_score_and_stars():
    train, test = latent_trees(("ada", "bob"), separation=20)
    scores = decode_labels(train, test, label="odor", permutations=99, bootstraps=0)
    ax = plot_score_matrix(scores)
    figure = drawn(ax)
    assert [text.get_text() for text in ax.texts] == ["1.00*"] * 6
    assert ax.collections[0].get_clim() == (0.25, 1.0)
    assert "chance 0.25" in ax.get_title()
    assert [text.get_text() for text in ax.get_yticklabels()] == ["ada", "bob", "all others"]
    assert figure.axes[1].get_ylabel() == "balanced accuracy per trial"
    unstarred = plot_score_matrix(scores, significance=0.001, level="window")
    assert "*" not in "".join(text.get_text() for text in unstarred.texts)
    with pytest.raises(ParameterError, match="level must be 'trial' or 'window'"):
        plot_score_matrix(scores, level="bin")
    with pytest.raises(DataError, match="made by decode_labels"):
        plot_score_matrix(scores.drop_vars("accuracy"))


def test_imputed_lines_are_averages_in_hertz(trees):
    model = LabelModel().fit(trees[0], label="odor")
    imputed = model.impute(trees[1], source="ada", target="bob")
    panels = plot_imputation(trees[1], imputed, label="odor", units=["bob/3"], smoothing=0)
    figure = drawn(panels)
    assert figure.get_suptitle() == "bob, imputed from ada"
    real, guess = panels[0].get_lines()[2:4]  # label B
    counts = trees[1]["bob"]["counts"].values[trees[1]["bob"]["odor"].values == "B", 3]
    assert real.get_ydata() == pytest.approx(counts.mean(axis=0) / 0.01)
    rates = imputed["bob"]["expected"].values[imputed["bob"]["odor"].values == "B", 3]
    assert guess.get_ydata() == pytest.approx(rates.mean(axis=0) / 0.01)
    assert guess.get_linestyle() == "--"
    assert panels[0].get_title() == "bob/3"


def test_units_with_most_spikes_are_shown_and_smoothing_keeps_the_mean(trees):
    model = LabelModel().fit(trees[0], label="odor")
    imputed = model.impute(trees[1], source="ada", target="bob")
    panels = plot_imputation(trees[1], imputed, label="odor", units=2)
    spikes = trees[1]["bob"]["counts"].sum(("trial", "time")).values
    best = trees[1]["bob"]["unit"].values[np.argsort(-spikes)[:2]].tolist()
    assert [panel.get_title() for panel in panels] == best


def test_heat_maps_pair_real_and_imputed(trees):
    model = LabelModel().fit(trees[0], label="odor")
    imputed = model.impute(trees[1], source="ada", target="bob")
    panels = plot_imputation(trees[1], imputed, label="odor", kind="heatmap", smoothing=0)
    drawn(panels)
    assert panels.shape == (2, 4)
    shown = panels[0, 1].images[0].get_array()
    counts = trees[1]["bob"]["counts"].values[trees[1]["bob"]["odor"].values == "B"].mean(axis=0)
    assert sorted(shown.sum(axis=1)) == pytest.approx(sorted(counts.sum(axis=1) / 0.01))
    assert {panel.images[0].get_clim() for panel in panels.ravel()} == {
        panels[0, 0].images[0].get_clim()
    }


def test_bins_that_no_window_covers_stay_empty_and_spoil_no_others(trees):
    imputed = LabelModel().fit(trees[0], label="odor").impute(trees[1], source="ada", target="bob")
    short = imputed["bob"].to_dataset()
    gaps = short["expected"].where(short["time"] < short["time"][-2])
    partly = build_tree({"bob": short.assign(expected=gaps)})
    whole = plot_imputation(trees[1], imputed, label="odor", kind="heatmap")
    panels = plot_imputation(trees[1], partly, label="odor", kind="heatmap")
    for row, full in zip(panels.ravel(), whole.ravel(), strict=True):
        assert np.isfinite(row.images[0].get_clim()).all()
        shown, expected = np.asarray(row.images[0].get_array()), full.images[0].get_array()
        reach = shown.shape[1] - 2 - 8  # four standard deviations of 20 ms in bins of 10 ms
        assert np.asarray(shown[:, :reach]) == pytest.approx(np.asarray(expected[:, :reach]))
        assert np.isfinite(shown[:, :-2]).all()
    assert np.isnan(np.ma.filled(panels[1, 0].images[0].get_array(), np.nan)[:, -2:]).all()


def test_imputation_refuses_what_does_not_fit(trees):
    model = LabelModel().fit(trees[0], label="odor")
    imputed = model.impute(trees[1], source="ada", target="bob")
    with pytest.raises(ParameterError, match=r"units must be among .* 'bob/0'; got \['ada/1'\]"):
        plot_imputation(trees[1], imputed, label="odor", units=["ada/1"])
    with pytest.raises(ParameterError, match="imputed holds several subjects"):
        plot_imputation(trees[1], model.reconstruct(trees[1]), label="odor")
    with pytest.raises(DataError, match="subject 'bob' is not in real; it has: ada"):
        plot_imputation(build_tree({"ada": trees[1]["ada"].to_dataset()}), imputed, label="odor")
    with pytest.raises(ParameterError, match="smoothing must not be negative"):
        plot_imputation(trees[1], imputed, label="odor", smoothing=-1)


def history(epochs=5):
    steps = np.arange(1, epochs + 1)
    table = {"epoch": steps}
    for term in ("objective", "reconstruction", "regularisation"):
        table[term] = 10.0 / steps
        table[f"validation_{term}"] = (steps - 3.0) ** 2
    table["validation_score"] = [3.0, 1.0, 0.0, 2.0, 3.0][:epochs]
    return pd.DataFrame(table)


def test_history_marks_the_chosen_epoch():
    panels = plot_history(history())
    drawn(panels)
    assert [panel.get_title() for panel in panels] == [
        "objective",
        "reconstruction",
        "regularisation",
    ]
    training, validation, typical, kept = panels[0].get_lines()
    assert training.get_ydata() == pytest.approx(10 / np.arange(1, 6))
    assert validation.get_ydata() == pytest.approx([4, 1, 0, 1, 4])
    assert typical.get_ydata() == pytest.approx([3, 1, 0, 2, 3])
    assert kept.get_xdata()[0] == 3
    assert plot_history(history(), chosen_epoch=5)[0].get_lines()[3].get_xdata()[0] == 5

    class Fitted:
        history_ = history()
        best_epoch_ = 2

    assert plot_history(Fitted())[0].get_lines()[3].get_xdata()[0] == 2


def test_history_without_validation_or_fit():
    bare = history()[["epoch", "objective"]]
    panels = plot_history(bare)
    assert len(panels) == 1
    assert len(panels[0].get_lines()) == 1
    with pytest.raises(DataError, match="expected a fitted model or its history_, got LabelModel"):
        plot_history(LabelModel())
    with pytest.raises(DataError, match="expected a history with rows and columns"):
        plot_history(pd.DataFrame({"loss": [1.0]}))


def test_history_shows_the_alignment_where_it_was_measured() -> None:
    table = history().assign(validation_alignment=np.linspace(1.5, 0.4, len(history())))
    panels = plot_history(table)
    assert [panel.get_title() for panel in panels][-1] == "alignment (small: met)"
    np.testing.assert_allclose(panels[-1].get_lines()[0].get_ydata(), table["validation_alignment"])


def test_quality_shows_spikes_averages_and_rates(trees):
    panels = plot_quality(trees[0], label="odor", units={"ada": "ada/2"})
    drawn(panels)
    assert panels.shape == (2, 3)
    ada = trees[0]["ada"].to_dataset()
    marks = sum(len(group.get_offsets()) for group in panels[0, 0].collections)
    assert marks == (ada["counts"].values[:, 2] > 0).sum()
    line = panels[0, 1].get_lines()[0]
    chosen = ada["counts"].values[ada["odor"].values == "A"]
    assert line.get_ydata() == pytest.approx(chosen.mean(axis=(0, 1)) / 0.01)
    assert sum(bar.get_height() for bar in panels[0, 2].patches) == ada.sizes["unit"]
    assert panels[0, 0].get_title() == "unit ada/2"
    assert panels[1, 2].get_xlabel() == "rate (Hz)"
    assert plot_quality(trees[0], label="odor", subjects="bob").shape == (1, 3)
    with pytest.raises(ParameterError, match=r"subjects must be among ada, bob, got \['eve'\]"):
        plot_quality(trees[0], label="odor", subjects="eve")
    with pytest.raises(ParameterError, match="unit 'x' is none of subject 'ada'"):
        plot_quality(trees[0], label="odor", units={"ada": "x"})
    with pytest.raises(DataError, match="expected binned data"):
        plot_quality(latent_trees()[0], label="odor")


def test_many_labels_get_colours_of_their_own():
    colors = label_colors([str(number) for number in range(25)])
    assert len({to_rgba(color) for color in colors.values()}) == 25
