"""What was dropped from a subject's data and why, kept as one JSON string in its attributes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import xarray as xr


class Note(TypedDict):
    """One remark: what it is about, how many of them, and why."""

    what: str
    count: int
    why: str


def read_notes(data: xr.Dataset) -> list[Note]:
    """Return the notes that a subject's Dataset carries, oldest first.

    Parameters
    ----------
    data : Dataset
        One subject's data, at any stage.
    """
    text = data.attrs.get("notes", "")
    return list(json.loads(text)) if text else []


def add_note(data: xr.Dataset, *, what: str, count: int, why: str) -> xr.Dataset:
    """Return the Dataset with one more note; the given one stays as it is.

    Parameters
    ----------
    data : Dataset
        One subject's data, at any stage.
    what : str
        For example "trials".
    count : int
        How many.
    why : str
        The reason, for a person to read.

    Examples
    --------
    >>> import xarray as xr
    >>> noted = add_note(xr.Dataset(), what="trials", count=2, why="odor E")
    >>> read_notes(noted)
    [{'what': 'trials', 'count': 2, 'why': 'odor E'}]
    """
    notes = [*read_notes(data), Note(what=what, count=int(count), why=why)]
    return data.assign_attrs(notes=json.dumps(notes))
