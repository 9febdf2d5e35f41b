"""Figures of individual differences draw what was found."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from analysis_examples import LabelModel, window_trees

from neuroalign.analysis.individuality import individual_differences
from neuroalign.analysis.plot_individuality import (
    plot_deviation,
    plot_geometry,
    plot_shared_bits,
    plot_unit_importance,
)
from neuroalign.errors import DataError, ParameterError


@pytest.fixture(scope="module")
def found():
    trees = window_trees(per_label=6)
    model = LabelModel().fit(trees[0], label="odor")
    return individual_differences(
        model, *trees, label="odor", bootstraps=50, permutations=20, repeats=2
    )


def drawn(ax):
    """Draw the figure, so that layout problems warn."""
    np.asarray(ax).ravel()[0].figure.canvas.draw()


def test_bars_are_the_bits_of_every_subject(found):
    ax = plot_shared_bits(found)
    drawn(ax)
    heights = [bar.get_height() for bar in ax.patches]
    expected = np.r_[found["bits_own"].values, found["bits_from_others"].values]
    assert heights == pytest.approx(expected)
    bars = [line.get_segments() for line in ax.collections[:2]]
    ends = np.array(bars)[..., 1].reshape(6, 2)
    intervals = [found[f"bits_{kind}_interval"].values for kind in ("own", "from_others")]
    assert ends == pytest.approx(np.concatenate(intervals))
    shares = [f"share {share:.2f}" for share in found["shared_share"].values]
    assert [text.get_text() for text in ax.texts] == shares
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["ada", "bob", "cleo"]
    _, mine = plt.subplots()
    assert plot_shared_bits(found, ax=mine) is mine


def test_a_panel_per_label_and_a_line_per_subject(found):
    panels = plot_deviation(found)
    drawn(panels)
    assert [panel.get_title() for panel in panels] == [f"odor {label}" for label in "ABCD"]
    line = panels[2].get_lines()[1 + 1]  # after the line at zero
    one = found.sel(subject="bob", label="C")
    assert line.get_ydata() == pytest.approx(one["deviation_norm"].values)
    assert line.get_xdata() == pytest.approx(1000 * found["window"].values)
    band = panels[2].collections[1].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(one["deviation_norm_interval"].values.max())
    text = panels[-1].get_legend().get_texts()[0].get_text()
    total = found["deviation_total"].sel(subject="ada").item()
    assert text.startswith(f"ada: {total:.2f}, p = ")
    bare = found.assign(deviation_p_corrected=found["deviation_p_corrected"] * np.nan)
    assert "p =" not in plot_deviation(bare)[-1].get_legend().get_texts()[0].get_text()
    with pytest.raises(ParameterError, match="expected 4 axes"):
        plot_deviation(found, axes=plt.subplots()[1])


@pytest.mark.parametrize(
    "which",
    [
        "representational_similarity",
        "similarity_corrected",
        "procrustes_distance",
        "unrotated_distance",
        "identification_confusion",
    ],
)
def test_matrices_show_every_number(found, which):
    ax = plot_geometry(found, which=which)
    drawn(ax)
    shown = [f"{value:.2f}" for value in found[which].values.ravel()]
    assert [text.get_text() for text in ax.texts] == shown
    assert [text.get_text() for text in ax.get_yticklabels()] == ["ada", "bob", "cleo"]
    assert ("chance 0.33" in ax.get_title()) == (which == "identification_confusion")
    with pytest.raises(ParameterError, match=r"which must be one of .*, got 'shape'"):
        plot_geometry(found, which="shape")


def test_numbers_that_do_not_exist_are_left_blank(found):
    bare = found.assign(similarity_corrected=found["similarity_corrected"] * np.nan)
    ax = plot_geometry(bare, which="similarity_corrected")
    assert not any(text.get_text() for text in ax.texts)


@pytest.mark.parametrize("measure", ["displacement", "label_drop"])
def test_units_are_sorted_within_their_subject(found, measure):
    panels = plot_unit_importance(found, measure=measure)
    drawn(panels)
    assert [panel.get_title() for panel in panels] == ["ada", "bob", "cleo"]
    mine = found.isel(unit=found["unit_subject"].values == "bob")
    values = mine[f"unit_{measure}"].values
    heights = panels[1].get_lines()[1].get_ydata()
    assert heights == pytest.approx(np.sort(values)[::-1])
    first = panels[1].get_xticklabels()[0].get_text()
    assert f"bob/{first}" == mine["unit"].values[values.argmax()]


def test_figures_refuse_what_they_cannot_draw(found):
    with pytest.raises(ParameterError, match="measure must be 'displacement' or 'label_drop'"):
        plot_unit_importance(found, measure="rank")
    with pytest.raises(DataError, match="call individual_differences with units=True"):
        plot_unit_importance(found.drop_dims("unit"))
    for draw in (plot_shared_bits, plot_deviation, plot_geometry, plot_unit_importance):
        with pytest.raises(DataError, match="made by individual_differences, got int"):
            draw(3)
