"""A benchmark small enough for tests: a bright bar whose place is the class, and its name."""

from __future__ import annotations

import numpy as np

from neuroalign.validation.dataset import Benchmark, Modality, Rows

SIDE = 8
N_CLASSES = 3
LETTERS = "*abc"


def bars(n_rows: int, seed: int, *, text: bool = False, multilabel: bool = False) -> Rows:
    """Draw rows: two views of a bar at the class's height, in other columns and on noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(n_rows) % N_CLASSES
    observations = {}
    for view in ("left", "right"):
        images = random.integers(0, 60, size=(n_rows, 3, SIDE, SIDE))
        for row, label in enumerate(labels):
            column = random.integers(0, SIDE - 3)
            images[row, :, 2 * label : 2 * label + 2, column : column + 4] = 230
        observations[view] = images.astype(np.uint8)
    if text:
        texts = np.zeros((n_rows, SIDE), dtype=np.uint8)
        start = random.integers(0, SIDE - 2, size=n_rows)
        for row, label in enumerate(labels):
            texts[row, start[row] : start[row] + 2] = label + 1
        observations = {"left": observations["left"], "text": texts}
    if multilabel:
        return Rows(observations, np.stack([labels == 0, labels != 1], axis=1))
    return Rows(observations, labels.astype(np.int64))


def bar_benchmark(n_train: int = 96, *, text: bool = False, multilabel: bool = False) -> Benchmark:
    """Return training, validation and test rows of bars."""
    image = (3, SIDE, SIDE)
    second = (
        Modality("text", "text", (SIDE,), len(LETTERS), LETTERS)
        if text
        else Modality("right", "image", image)
    )
    train, validation, test = (
        bars(n, seed, text=text, multilabel=multilabel) for seed, n in enumerate((n_train, 30, 60))
    )
    names = ("top", "not middle") if multilabel else ("top", "middle", "bottom")
    views = (Modality("left", "image", image), second)
    return Benchmark("bars", views, names, train, validation, test, "drawn for tests")
