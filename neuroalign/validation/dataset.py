"""What a benchmark data set is: modalities, paired rows, labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from neuroalign.errors import DataError

Kind = Literal["image", "text"]


@dataclass(frozen=True)
class Modality:
    """One modality of a benchmark.

    Attributes
    ----------
    name : str
        For messages, tables and figures.
    kind : str
        "image" (values 0 to 255) or "text" (numbers of symbols).
    shape : tuple of int
        Of one observation: (channel, height, width) of an image, (position,) of a text.
    n_symbols : int
        Size of a text's alphabet; 0 for images.
    symbols : str
        The alphabet itself, in the order of its numbers; empty for images.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    n_symbols: int = 0
    symbols: str = ""


@dataclass(frozen=True)
class Rows:
    """Paired observations: row i holds one observation of every modality.

    Attributes
    ----------
    observations : mapping of str to ndarray of uint8
        By modality, (row, channel, height, width) or (row, position).
    labels : ndarray
        (row,) of int64, the class; or (row, attribute) of bool.
    """

    observations: Mapping[str, np.ndarray] = field(repr=False)
    labels: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, n_rows: int) -> Rows:
        """Return the first rows."""
        return self.take(np.arange(min(n_rows, len(self))))

    def take(self, index: np.ndarray) -> Rows:
        """Return these rows, in this order."""
        observations = {name: values[index] for name, values in self.observations.items()}
        return Rows(observations, self.labels[index])


@dataclass(frozen=True)
class Ingredients:
    """What images of one modality are composed of, so that they can be composed anew.

    Attributes
    ----------
    digits : ndarray of bool, (row, height, width)
        Where each row's digit is, smaller than an image.
    background : ndarray of uint8, (channel, height, width)
        Of which pieces are cut, larger than an image.
    """

    digits: np.ndarray = field(repr=False)
    background: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Words:
    """What texts of one modality are composed of, so that they can be composed anew.

    Attributes
    ----------
    symbols : ndarray of uint8, (attribute, position)
        Each attribute's words and what separates them from the next, then padding.
    lengths : ndarray of int64, (attribute,)
        Symbols of each, with the separator.
    separator : int
        Symbols of the separator, which the last words of a text leave out.
    """

    symbols: np.ndarray = field(repr=False)
    lengths: np.ndarray = field(repr=False)
    separator: int


@dataclass(frozen=True)
class Benchmark:
    """A benchmark data set, in memory.

    Attributes
    ----------
    name : str
        What it must be called in every table and figure, for instance "PolyMNIST-style".
    modalities : tuple of Modality
        In the order of the tables.
    label_names : tuple of str
        Names of the classes, or of the attributes.
    train, validation, test : Rows
        Disjoint: the judge and early stopping look at `validation`, scores are of `test`.
    about : str
        Where the data come from, in one or two sentences, for reports.
    ingredients : mapping of str to Ingredients or Words
        Of the training rows, by modality, where they were composed here.
    """

    name: str
    modalities: tuple[Modality, ...]
    label_names: tuple[str, ...]
    train: Rows
    validation: Rows
    test: Rows
    about: str
    ingredients: Mapping[str, Ingredients | Words] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part, rows in self.parts().items():
            self._check(part, rows)

    @property
    def multilabel(self) -> bool:
        """Whether a row has several attributes instead of one class."""
        return self.train.labels.ndim == 2

    def parts(self) -> dict[str, Rows]:
        """Return training, validation and test rows by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def _check(self, part: str, rows: Rows) -> None:
        names = [modality.name for modality in self.modalities]
        if sorted(rows.observations) != sorted(names):
            raise DataError(
                f"{part} rows must hold the modalities {names}, got {sorted(rows.observations)}."
            )
        for modality in self.modalities:
            values = rows.observations[modality.name]
            if values.dtype != np.uint8 or values.shape != (len(rows), *modality.shape):
                raise DataError(
                    f"{modality.name!r} of the {part} rows must be uint8 of shape "
                    f"{(len(rows), *modality.shape)}, got {values.dtype} of {values.shape}."
                )
            if modality.kind == "text" and values.size and values.max() >= modality.n_symbols:
                raise DataError(
                    f"{modality.name!r} of the {part} rows has symbol {values.max()}, but its "
                    f"alphabet has {modality.n_symbols}."
                )
