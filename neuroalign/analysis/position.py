"""Tell a classifier where in the trial a window lies, as whoever cut the windows knows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import numpy as np

from neuroalign.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from neuroalign.analysis.labels import LabelledTrials

TERMS: Final = 3  # the constant, half a period and a whole period over the trial


def tell_positions(
    train: Mapping[str, LabelledTrials], test: Mapping[str, LabelledTrials]
) -> tuple[dict[str, LabelledTrials], dict[str, LabelledTrials]]:
    """Put products of every latent with smooth functions of the window's position beside it.

    What a latent means for a linear classifier may then change slowly over the trial. All trials
    have all windows, so the position alone says nothing of the label.

    Parameters
    ----------
    train, test : mapping subject -> LabelledTrials
        Latents and labels.

    Returns
    -------
    tuple of dict
        The same trials with more latents.

    Raises
    ------
    DataError
        If not all subjects have the same number of windows, or a subject's windows differ
        between training and test.
    """
    for name, table in test.items():
        if name in train and not np.array_equal(train[name].windows, table.windows):
            raise DataError(
                f"expected the same windows in training and test, to tell the classifier where "
                f"they lie, got others for subject {name!r}; cut both alike or leave out "
                "position."
            )
    numbers = {
        name: table.features.shape[1] for tables in (train, test) for name, table in tables.items()
    }
    if len(set(numbers.values())) > 1:
        shown = ", ".join(f"{number} for {name!r}" for name, number in numbers.items())
        raise DataError(
            f"expected as many windows for every subject, to tell the classifier where they lie, "
            f"got {shown}; cut frames of one length or leave out position."
        )
    return (
        {name: _with_products(table) for name, table in train.items()},
        {name: _with_products(table) for name, table in test.items()},
    )


def smooth_positions(n_windows: int) -> np.ndarray:
    """Return the first cosines over the windows, shape (window, term); the first is constant."""
    terms = np.arange(min(TERMS, n_windows))
    return np.asarray(np.cos(np.pi * np.outer(np.arange(n_windows) + 0.5, terms) / n_windows))


def _with_products(table: LabelledTrials) -> LabelledTrials:
    positions = smooth_positions(table.features.shape[1])
    products = [table.features * shape[None, :, None] for shape in positions.T]
    alone = np.broadcast_to(positions[:, 1:], (*table.features.shape[:2], positions.shape[1] - 1))
    names = table.latent_names
    if names is not None:
        own = [f"{name} × cosine {k}" for k in range(positions.shape[1]) for name in names]
        names = (*own, *(f"cosine {k}" for k in range(1, positions.shape[1])))
    features = np.concatenate([*products, alone], axis=-1)
    return dataclasses.replace(table, features=features, latent_names=names)
