"""Labels as text in one order, and latents laid out as arrays with their labels beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from neuroalign.errors import DataError
from neuroalign.schema import iterate_subjects, label_values, validate

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr

Label = str | list[str] | tuple[str, ...]


@dataclass(frozen=True)
class LabelledTrials:
    """One subject's latents as an array, with the label (as text) and the id of every trial."""

    features: np.ndarray  # (trial, window, latent)
    labels: np.ndarray  # (trial,) text
    trials: np.ndarray  # (trial,) ids
    latent_names: tuple[str, ...] | None
    # (window,) times; empty where they have none
    windows: np.ndarray = field(default_factory=lambda: np.empty(0))

    def shares_space_with(self, other: LabelledTrials) -> bool:
        """Tell whether both have the same latents: by name where named, else by number."""
        if self.features.shape[2] != other.features.shape[2]:
            return False
        if self.latent_names is None or other.latent_names is None:
            return True
        return self.latent_names == other.latent_names


def label_name(label: Label) -> str:
    """Name a label or a combination of labels, as in `"odor|correct"`."""
    return label if isinstance(label, str) else "|".join(label)


def labels_as_text(dataset: xr.Dataset, label: Label, *, subject: str) -> np.ndarray:
    """Return every trial's label as text, equal for equal values whatever their number type.

    Parameters
    ----------
    dataset : Dataset
        One subject, with the label as a coordinate on its trials.
    label : str or list of str
        One trial coordinate, or several whose combination is meant.
    subject : str
        For messages.

    Returns
    -------
    ndarray of str, shape (trial,)
        `1` and `1.0` both read `"1"`, a missing number reads `"nan"`.

    Raises
    ------
    DataError
        If a label is no coordinate of the trials.
    """
    names: Label = label if isinstance(label, str) or len(label) != 1 else label[0]
    values = label_values(dataset, names, subject=subject)
    if np.issubdtype(values.dtype, np.floating):
        # A column of whole numbers becomes float as soon as one subject misses a value.
        return np.array([format(value, ".12g") for value in values.tolist()], dtype=str)
    return values.astype(str)


def ordered_labels(labels: Iterable[str]) -> list[str]:
    """Sort the distinct labels: by value if all are numbers, as text otherwise.

    Examples
    --------
    >>> ordered_labels(["10", "2", "2"]), ordered_labels(["B", "A"])
    (['2', '10'], ['A', 'B'])
    """
    distinct = sorted({str(label) for label in labels})
    number = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
    if distinct and all(number.fullmatch(label) for label in distinct):
        return sorted(distinct, key=float)
    return distinct


def labelled_trials(
    tree: xr.DataTree, label: Label | None, *, argument: str
) -> dict[str, LabelledTrials]:
    """Lay out every subject's latents as an array beside its labels.

    Parameters
    ----------
    tree : DataTree
        Latents: `mean(trial, window, latent)` for every subject.
    label : str, list of str or None
        Trial coordinate, or several whose combination is meant; None leaves labels empty.
    argument : str
        The argument's name, for messages.

    Raises
    ------
    DataError
        If the tree holds no latents, a subject has no trials or no such label, or a latent is
        not finite.
    """
    validate(tree, "latents", argument=argument)
    tables: dict[str, LabelledTrials] = {}
    for subject, dataset in iterate_subjects(tree):
        features = np.asarray(dataset["mean"].values, dtype=np.float64)
        if features.size == 0:
            raise DataError(
                f"expected trials with windows and latents for subject {subject!r} of {argument}, "
                f"got shape {features.shape}; leave the subject out."
            )
        if not np.isfinite(features).all():
            broken = int((~np.isfinite(features)).any(axis=(1, 2)).sum())
            raise DataError(
                f"expected finite latents, got NaN or infinity in {broken} trials of subject "
                f"{subject!r} of {argument}; leave those trials out."
            )
        named = "latent" in dataset.coords
        empty = np.full(dataset.sizes["trial"], "")
        tables[subject] = LabelledTrials(
            features=features,
            labels=empty if label is None else labels_as_text(dataset, label, subject=subject),
            trials=np.asarray(dataset["trial"].values),
            latent_names=tuple(map(str, dataset["latent"].values)) if named else None,
            windows=np.asarray(dataset["window"].values if "window" in dataset.coords else ()),
        )
    return tables


def check_training_labels(labels: np.ndarray, *, where: str) -> None:
    """Refuse training labels that are missing, or all the same.

    Raises
    ------
    DataError
        If a label is missing or fewer than two different labels are left.
    """
    missing = int(np.isin(labels, ("nan", "")).sum())
    if missing:
        raise DataError(
            f"expected a label for every training trial, got {missing} without one at {where}; "
            "choose the trials with keep_labels."
        )
    distinct = np.unique(labels)
    if distinct.size < 2:
        raise DataError(
            f"expected at least two different labels among the training trials, got only "
            f"{distinct.tolist()} at {where}; decode a label that varies or add trials."
        )
