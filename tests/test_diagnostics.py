"""Alignment and collapse on latents whose geometry is known."""

import warnings

import numpy as np
import pytest

from neuroalign.diagnostics import (
    LabelledLatents,
    alignment,
    nearest_centre_hits,
    warn_about,
)
from neuroalign.errors import AlignmentWarning, CollapseWarning

CLASSES = np.array(["A", "B"])


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
    assert nearest_centre_hits(subject(0.0), subject(0.0, noise=0.1), CLASSES) == (20, 20)
    hits, trials = nearest_centre_hits(
        subject(0.0, noise=1.0), subject(0.0, 0.0, noise=1.0, seed=1), CLASSES
    )
    assert trials == 20
    assert 4 <= hits <= 16


def test_warnings_come_when_deserved_and_not_otherwise() -> None:
    with pytest.warns(CollapseWarning, match="27 of 100 validation trials .* 25 would by chance"):
        warn_about(0.1, 27, 100, 4)
    with pytest.warns(AlignmentWarning, match="lies 1.70 times as far apart"):
        warn_about(1.7, 90, 100, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_about(0.4, 90, 100, 4)
        warn_about(float("nan"), 0, 0, 4)
