"""Columns of tables: plain numpy values, labels by spec, and rules that keep rows."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroalign.data.spec_parts import (
    LabelSpec,
    RangeSpec,
    Scalar,
    canonical_text,
)
from neuroalign.errors import DataError, SpecError
from neuroalign.suggestions import close_match

Column = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Rule = Sequence[Scalar] | RangeSpec


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
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    kind = array.dtype.kind
    if array.ndim != 1:
        raise TypeError("it has more than one value per row")
    if kind == "b":
        return array.astype(bool)
    if kind in "iu":
        return array.astype(np.int64)
    if kind == "f":
        # a contrast of 0.1 stored in 32 bits is meant as 0.1, not as 0.10000000149
        return (array.astype(str) if array.itemsize < 8 else array).astype(np.float64)
    if kind in "UT":
        return array.astype(str)
    if kind == "S":
        return np.char.decode(array, "utf-8", "replace")
    if kind != "O":
        raise TypeError(f"values of type {array.dtype} are neither numbers nor text")
    return _plain_objects(array.tolist())


def _plain_objects(values: list[Any]) -> Column:
    texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]
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


def spelt_out(codes: Column, names: Column) -> Column:
    """Return the names that codes stand for; a code that stands for none becomes missing.

    Parameters
    ----------
    codes : ndarray of shape (row,)
        Positions among the names, counted from 0.
    names : ndarray of shape (name,)
        A plain column.

    Examples
    --------
    >>> spelt_out(np.array([1, 0, 255]), np.array(["left", "right"]))
    array(['right', 'left', ''], dtype='<U5')
    """
    missing = np.nan if names.dtype.kind in "if" else ""
    known = np.append(names.astype(np.float64 if names.dtype.kind in "if" else str), missing)
    positions = np.nan_to_num(codes.astype(np.float64), nan=-1.0).astype(np.int64)
    within = (positions >= 0) & (positions < names.size)
    if within.all():
        return names[positions]
    return known[np.where(within, positions, names.size)]


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


def named_label(
    values: Column, spec: LabelSpec, *, label: str, where: str, among: Mask | None = None
) -> Column:
    """Give a label's raw values the names that a spec lists.

    Parameters
    ----------
    values : ndarray of shape (trial,)
        The raw column.
    spec : LabelSpec
        With or without names.
    label, where : str
        For the message.
    among : ndarray of shape (trial,), optional
        Trials that are still in question; the values of others need no name.

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
    names = set(spec.values.values())
    missing = is_missing(values)
    known = names | set(spec.values)
    texts = [_as_listed(canonical_text(value), known) for value in values]
    asked = ~missing if among is None else among & ~missing
    unknown = {
        text
        for text, wanted in zip(texts, asked, strict=True)
        if wanted and text not in spec.values and text not in names
    }
    if unknown:
        raise SpecError(
            f"label {label!r} of {where} has values without a name: "
            f"{_few([repr(text) for text in sorted(unknown)])}; add them to "
            f"trials.labels.{label}.values, "
            f"which lists {', '.join(map(repr, spec.values))}."
        )
    named = [
        "" if gone else spec.values.get(text, text)
        for text, gone in zip(texts, missing, strict=True)
    ]
    return np.array(named, dtype=str)


def _as_listed(text: str, known: Container[str]) -> str:
    """Return whole numbers that were written as text, such as `31.0`, the way specs list them."""
    if text not in known and text.endswith(".0") and text[:-2].lstrip("-").isdecimal():
        return text[:-2]
    return text


def as_rule(given: Sequence[Scalar] | Mapping[str, Any] | RangeSpec) -> Rule:
    """Return a keep rule as it stands in a spec or in the JSON that a spec travels as."""
    return RangeSpec.model_validate(given) if isinstance(given, Mapping) else given


def rule_text(rule: Rule) -> str:
    """Write what a keep rule allows.

    Examples
    --------
    >>> rule_text(["A", True]), rule_text(RangeSpec(max=0.5)), rule_text(RangeSpec(min=0, max=1))
    ('A, true', 'at most 0.5', 'from 0 to 1')
    """
    if not isinstance(rule, RangeSpec):
        return ", ".join(canonical_text(value) for value in rule)
    if rule.min is None:
        return f"at most {rule.max:g}"
    return f"at least {rule.min:g}" if rule.max is None else f"from {rule.min:g} to {rule.max:g}"


def matches(values: Column, rule: Rule) -> Mask:
    """Say which values a rule allows.

    Numbers and booleans compare by value (`true` is 1), text by its canonical form. Missing
    values are in no range.

    Parameters
    ----------
    values : ndarray of shape (row,)
        A plain column.
    rule : sequence of bool, int, float or str, or RangeSpec
        From a keep rule.

    Examples
    --------
    >>> matches(np.array([0, 1, 1]), [True])
    array([False,  True,  True])
    >>> matches(np.array([0.2, 0.5, np.nan]), RangeSpec(max=0.5))
    array([ True,  True, False])
    """
    if isinstance(rule, RangeSpec):
        if values.dtype.kind == "U":
            return np.zeros(values.size, dtype=bool)
        numbers = values.astype(np.float64)
        lowest = -np.inf if rule.min is None else rule.min
        highest = np.inf if rule.max is None else rule.max
        return np.asarray((numbers >= lowest) & (numbers <= highest))
    if values.dtype.kind == "U":
        texts = {canonical_text(value) for value in rule}
        booleans = {canonical_text(value) for value in rule if isinstance(value, bool)}
        listed = [_as_listed(value, texts) for value in values.tolist()]
        return np.array([v in texts or v.lower() in booleans for v in listed], dtype=bool)
    known = [value for value in map(_number, rule) if value is not None]
    return np.isin(values.astype(np.float64), known)


def _number(value: Scalar) -> float | None:
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return float(value.lower() == "true")
    try:
        return float(value)
    except ValueError:
        return None


def apply_keep(
    columns: Mapping[str, Column],
    keep: Mapping[str, Rule | Mapping[str, Any]],
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
        Column name to the values, or the range of numbers, that stay.
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
    SpecError
        If a range is asked of a column of text.
    DataError
        If a rule leaves nothing.
    """
    kept = np.ones(n_rows, dtype=bool)
    for name, given in keep.items():
        rule = as_rule(given)
        values, wanted = columns[name], rule_text(rule)
        if isinstance(rule, RangeSpec) and values.dtype.kind == "U":
            raise SpecError(
                f"the rule '{name}: {wanted}' of '{what}: keep' is a range of numbers, but that "
                f"column of {where} holds text ({_few(np.unique(values).tolist(), most=3)}); "
                "list the values to keep instead."
            )
        passing = matches(values, rule)
        dropped = int((kept & ~passing).sum())
        if not (kept & passing).any():
            raise DataError(
                f"no {what} of {where} are left by the rule '{name}: {wanted}'; the column holds: "
                f"{_contents(values[kept], rule)}. Correct '{what}: keep' in the spec."
            )
        if dropped:
            notes.append({"what": what, "count": dropped, "why": f"{name} is not {wanted}"})
        kept &= passing
    return kept


def _contents(values: Column, rule: Rule) -> str:
    """Write what a column holds, in the terms of the rule that it does not meet."""
    present = values[~is_missing(values)]
    if isinstance(rule, RangeSpec) and present.size:
        return f"{float(present.min()):g} to {float(present.max()):g}"
    return _few(sorted({canonical_text(value) for value in values})) or "nothing"


def _few(values: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(values[:most])
    return f"{shown}, and {len(values) - most} more" if len(values) > most else shown
