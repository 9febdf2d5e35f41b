"""The parts of a data spec: where trials and labels live, which units, which frame and windows."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from neuroalign.errors import SpecError

Scalar = bool | int | float | str
DEFAULT_SUBJECT: Final = "default"


def canonical_text(value: object) -> str:
    """Write a table's value the way specs are matched: `true`, `1`, `0.5` or the text itself.

    Parameters
    ----------
    value : bool, int, float or str
        A raw value, as it stands in YAML, JSON or a table.

    Returns
    -------
    str
        Text that is equal for equal values: whole floats lose their `.0`.

    Examples
    --------
    >>> canonical_text(1.0), canonical_text(True), canonical_text("A")
    ('1', 'true', 'A')
    """
    if hasattr(value, "item"):
        value = value.item()  # numpy scalars
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return str(int(value))
    return str(value)


def close_match(name: object, known: Iterable[object]) -> str:
    """Write ` Did you mean 'x'?` when a known name is close, and nothing otherwise."""
    by_lower = {str(k).lower(): str(k) for k in known}
    found = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean {by_lower[found[0]]!r}?" if found else ""


def _listed(value: object) -> object:
    return list(value) if isinstance(value, list | tuple | set) else [value]


class SpecPart(BaseModel):
    """Base of every part: unknown keys are refused, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LabelSpec(SpecPart):
    """One trial label: the column that holds it and, if wanted, names for its values.

    Parameters
    ----------
    column : str
        The column in the trials table.
    values : dict, optional
        Raw value to name, such as `{1: A, 2: B}`. Values that already are such names pass.
    """

    column: str
    values: dict[str, str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_column(cls, given: object) -> object:
        return {"column": given} if isinstance(given, str) else given

    @field_validator("values", mode="before")
    @classmethod
    def _textual(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        return {canonical_text(raw): canonical_text(name) for raw, name in given.items()}


class TrialsSpec(SpecPart):
    """Where trials, their times and their labels live, and which trials to keep.

    Parameters
    ----------
    table : str, default="trials"
        Name of the intervals table.
    events : str, optional
        Path or name of event times to use instead of a table. Onsets are its timestamps; the
        labels' column is `data` for a time series, or the name of a column of an events table.
    onset, start, stop : str, optional
        Columns with the time that frames refer to, the trial's start and its end (seconds).
        By default `start_time`, `start_time`, `stop_time`.
    labels : dict
        Label name to its column. Without any, every plain column becomes a label.
    keep : dict
        Column or label name to the value, or values, that a trial must have.
    """

    table: str = "trials"
    events: str | None = None
    onset: str | None = None
    start: str | None = None
    stop: str | None = None
    labels: dict[str, LabelSpec] = Field(default_factory=dict)
    keep: dict[str, list[Scalar]] = Field(default_factory=dict)

    @field_validator("keep", mode="before")
    @classmethod
    def _keep_lists(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        return {key: _listed(value) for key, value in given.items()}

    @model_validator(mode="after")
    def _consistent(self) -> TrialsSpec:
        if self.events is not None and "table" in self.model_fields_set:
            raise ValueError("give either 'table' or 'events', not both")
        taken = {"trial", "onset", "start", "stop", "unit", "unit_number", "time", "window"}
        clash = sorted(taken & set(self.labels))
        if clash:
            raise ValueError(f"labels may not be called {clash[0]!r}; choose another name")
        empty = [key for key, values in self.keep.items() if not values]
        if empty:
            raise ValueError(f"keep rule {empty[0]!r} allows no value; list at least one")
        return self


class UnitsSpec(SpecPart):
    """Which units to keep.

    Parameters
    ----------
    keep : dict
        Column of the units table to the value, or values, that a unit must have.
    min_rate : float, default=0
        Lowest mean firing rate over the recorded span, in Hz.
    min_spikes : int, default=0
        Lowest number of spikes in the whole recording.
    """

    keep: dict[str, list[Scalar]] = Field(default_factory=dict)
    min_rate: float = Field(default=0.0, ge=0)
    min_spikes: int = Field(default=0, ge=0)

    @field_validator("keep", mode="before")
    @classmethod
    def _keep_lists(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        return {key: _listed(value) for key, value in given.items()}


class TimesSpec(SpecPart):
    """What to do about clocks that are not ascending seconds.

    Parameters
    ----------
    spikes, trials : {"seconds", "milliseconds"}
        What the file's spike times and trial times are in.
    sort : bool, default=False
        Sort each unit's spike times instead of refusing unsorted ones.
    """

    spikes: Literal["seconds", "milliseconds"] = "seconds"
    trials: Literal["seconds", "milliseconds"] = "seconds"
    sort: bool = False


class FrameSpec(SpecPart):
    """The analysed part of a trial.

    Parameters
    ----------
    start : float or dict
        Seconds after onset, for all subjects or as subject to seconds with a `default`.
    length : float
        Seconds.
    """

    start: dict[str, float]
    length: float = Field(gt=0)

    @field_validator("start", mode="before")
    @classmethod
    def _per_subject(cls, given: object) -> object:
        return given if isinstance(given, Mapping) else {DEFAULT_SUBJECT: given}

    def start_of(self, subject: str) -> float:
        """Return where the frame of a subject starts.

        Parameters
        ----------
        subject : str
            The subject's name.

        Returns
        -------
        float
            Seconds after onset.

        Raises
        ------
        SpecError
            If neither the subject nor a default is given.
        """
        if subject in self.start:
            return self.start[subject]
        if DEFAULT_SUBJECT in self.start:
            return self.start[DEFAULT_SUBJECT]
        raise SpecError(
            f"frame.start has no entry for subject {subject!r} and no 'default'; it has: "
            f"{', '.join(map(repr, self.start))}. Add one of the two."
        )


class WindowSpec(SpecPart):
    """Length and step of the windows within a frame, in seconds."""

    length: float = Field(gt=0)
    step: float = Field(gt=0)
