"""Columns of tables: plain numpy values, labels by spec, and rules that keep rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroalign.data.spec_parts import LabelSpec, Scalar, canonical_text, close_match
from neuroalign.errors import DataError, SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Column = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass
class Table:
    """A table of plain columns.

    Parameters
    ----------
    ids : ndarray of shape (row,)
        Row ids, int64.
    columns : dict
        Column name to ndarray of shape (row,): text, int64, float64 or bool.
    name : str
        What to call it in messages, such as `trials table`.
    skipped : dict
        Column name to why it is not among `columns`.
    """

    ids: npt.NDArray[np.int64]
    columns: dict[str, Column]
    name: str
    skipped: dict[str, str] = field(default_factory=dict)

    def column(self, name: str, *, role: str, where: str) -> Column:
        """Return a column, or say which ones there are.

        Parameters
        ----------
        name : str
            The column.
        role : str
            What it is wanted for, for the message.
        where : str
            The file or subject, for the message.

        Raises
        ------
        SpecError
            If there is no such column, or it cannot be used.
        """
        if name in self.columns:
            return self.columns[name]
        if name in self.skipped:
            raise SpecError(
                f"column {name!r} of the {self.name} of {where} cannot be used for {role}: "
                f"{self.skipped[name]}."
            )
        raise SpecError(
            f"the {self.name} of {where} has no column {name!r} (for {role}); it has: "
            f"{', '.join(map(repr, self.columns)) or 'none'}.{close_match(name, self.columns)}"
        )

    def rows(self, keep: Mask) -> Table:
        """Return some rows only."""
        columns = {name: values[keep] for name, values in self.columns.items()}
        return Table(self.ids[keep], columns, self.name, dict(self.skipped))


def plain_column(values: Any) -> Column:
    """Turn a column of any origin into text, int64, float64 or bool values.

    Parameters
    ----------
    values : array-like of shape (row,)
        Numbers, text, bytes, booleans, pandas categoricals or a mixture.

    Returns
    -------
    ndarray of shape (row,)
        Missing text becomes `""`, missing numbers NaN.

    Raises
    ------
    TypeError
        If the values are neither numbers nor text, such as arrays or references.

    Examples
    --------
    >>> plain_column([b"left", "right", None])
    array(['left', 'right', ''], dtype='<U5')
    """
    array = np.asarray(values)
    kind = array.dtype.kind
    if array.ndim != 1:
        raise TypeError("it has more than one value per row")
    if kind == "b":
        return array.astype(bool)
    if kind in "iu":
        return array.astype(np.int64)
    if kind == "f":
        return array.astype(np.float64)
    if kind in "UT":
        return array.astype(str)
    if kind == "S":
        return np.char.decode(array, "utf-8")
    if kind != "O":
        raise TypeError(f"values of type {array.dtype} are neither numbers nor text")
    return _plain_objects(array.tolist())


def _plain_objects(values: list[Any]) -> Column:
    texts = [value.decode("utf-8") if isinstance(value, bytes) else value for value in values]
    missing = [_is_gone(value) for value in texts]
    present = [value for value, gone in zip(texts, missing, strict=True) if not gone]
    numbers = (int, float, np.integer, np.floating)
    booleans = (bool, np.bool_)
    if present and all(isinstance(value, booleans) for value in present) and not any(missing):
        return np.array(present, dtype=bool)
    if present and all(
        isinstance(value, numbers) and not isinstance(value, booleans) for value in present
    ):
        if any(missing):
            filled = [np.nan if m else v for v, m in zip(texts, missing, strict=True)]
            return np.array(filled, dtype=np.float64)
        return plain_column(np.array(present))
    if not all(isinstance(value, str | int | float | np.generic) for value in present):
        kind = next(type(v).__name__ for v in present if not isinstance(v, str | int | float))
        raise TypeError(f"values of type {kind} are neither numbers nor text")
    return np.array(
        ["" if m else canonical_text(v) for v, m in zip(texts, missing, strict=True)], dtype=str
    )


def _is_gone(value: object) -> bool:
    # pandas.NA refuses truth tests, hence by name
    gone = value is None or type(value).__name__ in {"NAType", "NaTType"}
    return gone or (isinstance(value, float) and value != value)  # noqa: PLR0124


def is_missing(values: Column) -> Mask:
    """Say which values are NaN or empty text.

    Parameters
    ----------
    values : ndarray of shape (row,)
        A plain column.
    """
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind == "U":
        return np.asarray(values == "")
    return np.zeros(values.size, dtype=bool)


def named_label(values: Column, spec: LabelSpec, *, label: str, where: str) -> Column:
    """Give a label's raw values the names that a spec lists.

    Parameters
    ----------
    values : ndarray of shape (trial,)
        The raw column.
    spec : LabelSpec
        With or without names.
    label, where : str
        For the message.

    Returns
    -------
    ndarray of shape (trial,)
        Text if the spec lists names, the raw values otherwise.

    Raises
    ------
    SpecError
        If a raw value has no name.
    """
    if spec.values is None:
        return values
    names = dict.fromkeys(spec.values.values(), "")
    missing = is_missing(values)
    texts = [canonical_text(value) for value in values]
    unknown = {
        text
        for text, gone in zip(texts, missing, strict=True)
        if not gone and text not in spec.values and text not in names
    }
    if unknown:
        raise SpecError(
            f"label {label!r} of {where} has values without a name: "
            f"{', '.join(map(repr, sorted(unknown)))}; add them to trials.labels.{label}.values, "
            f"which lists {', '.join(map(repr, spec.values))}."
        )
    named = [
        "" if gone else spec.values.get(text, text)
        for text, gone in zip(texts, missing, strict=True)
    ]
    return np.array(named, dtype=str)


def matches(values: Column, allowed: Sequence[Scalar]) -> Mask:
    """Say which values are among the allowed ones.

    Numbers and booleans compare by value (`true` is 1), text by its canonical form.

    Parameters
    ----------
    values : ndarray of shape (row,)
        A plain column.
    allowed : sequence of bool, int, float or str
        From a keep rule.

    Examples
    --------
    >>> matches(np.array([0, 1, 1]), [True])
    array([False,  True,  True])
    """
    if values.dtype.kind == "U":
        texts = {canonical_text(value) for value in allowed}
        booleans = {canonical_text(value) for value in allowed if isinstance(value, bool)}
        return np.array([v in texts or v.lower() in booleans for v in values.tolist()], dtype=bool)
    numbers = [value for value in map(_number, allowed) if value is not None]
    return np.isin(values.astype(np.float64), numbers)


def _number(value: Scalar) -> float | None:
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return float(value.lower() == "true")
    try:
        return float(value)
    except ValueError:
        return None


def apply_keep(
    columns: Mapping[str, Column],
    keep: Mapping[str, Sequence[Scalar]],
    *,
    n_rows: int,
    what: str,
    where: str,
    notes: list[dict[str, Any]],
) -> Mask:
    """Apply keep rules one after the other and note what each drops.

    Parameters
    ----------
    columns : mapping
        Column name to values; every rule's column must be among them.
    keep : mapping
        Column name to the values that stay.
    n_rows : int
        Length of the columns.
    what : str
        "trials" or "units".
    where : str
        The file or subject, for the message.
    notes : list
        Gains one entry per rule that drops something.

    Returns
    -------
    ndarray of shape (row,)
        True for rows that stay.

    Raises
    ------
    DataError
        If a rule leaves nothing.
    """
    kept = np.ones(n_rows, dtype=bool)
    for name, allowed in keep.items():
        passing = matches(columns[name], allowed)
        wanted = ", ".join(canonical_text(value) for value in allowed)
        dropped = int((kept & ~passing).sum())
        if not (kept & passing).any():
            found = sorted({canonical_text(value) for value in columns[name][kept]})
            raise DataError(
                f"no {what} of {where} are left by the rule '{name}: {wanted}'; the column holds: "
                f"{_few(found)}. Correct '{what}: keep' in the spec."
            )
        if dropped:
            notes.append({"what": what, "count": dropped, "why": f"{name} is not {wanted}"})
        kept &= passing
    return kept


def _few(values: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(values[:most])
    return f"{shown}, and {len(values) - most} more" if len(values) > most else shown
