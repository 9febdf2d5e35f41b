"""How tables of results are laid out in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def shown(values: Sequence[float], percent: bool = False) -> str:
    """Lay out median, lowest and highest value."""
    if not values:
        return ""
    few = {_number(value, percent=percent) for value in (min(values), max(values))}
    middle = _number(statistics.median(values), percent=percent)
    if len(few) == 1:
        return middle
    low, high = _number(min(values), percent=percent), _number(max(values), percent=percent)
    return f"{middle} ({low}–{high})"


def _number(value: float, *, percent: bool) -> str:
    if percent:
        return f"{100 * value:.0f} %".replace("-", "−")
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def row_of(*cells: str) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def table_of(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [row_of(*heads), "|" + "---|" * len(heads), *(row_of(*row) for row in rows)]
