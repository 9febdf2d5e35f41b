"""The parts of a data spec: where trials and labels live, which units, which frame and windows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from neuroalign.errors import SpecError

Scalar = bool | int | float | str
DEFAULT_SUBJECT: Final = "default"
# what the recording's own coordinates are called
RESERVED_LABELS: Final = frozenset(
    {"trial", "onset", "start", "stop", "unit", "unit_number", "time", "window"}
)


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


def _listed(value: object) -> object:
    if isinstance(value, Mapping | RangeSpec):
        return value
    return list(value) if isinstance(value, list | tuple | set) else [value]


class SpecPart(BaseModel):
    """Base of every part: unknown keys are refused, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RangeSpec(SpecPart):
    """The numbers that a keep rule allows, such as `{min: 0.95}`; missing values are not among them.

    Parameters
    ----------
    min : float, optional
        Lowest number that stays.
    max : float, optional
        Highest number that stays.
    """

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> RangeSpec:
        if self.min is None and self.max is None:
            raise ValueError("a range needs 'min', 'max' or both, such as {max: 0.5}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"'min' ({self.min:g}) must not exceed 'max' ({self.max:g})")
        return self


VALUES_RULE: Final = "values rule"
RANGE_RULE: Final = "range rule"


def _kind_of_rule(rule: Any) -> str:
    return RANGE_RULE if isinstance(rule, Mapping | RangeSpec) else VALUES_RULE


KeepRule = Annotated[
    Annotated[list[Scalar], Tag(VALUES_RULE)] | Annotated[RangeSpec, Tag(RANGE_RULE)],
    Discriminator(_kind_of_rule),
]


class LabelSpec(SpecPart):
    """One trial label: the column that holds it and, if wanted, names for its values.

    Parameters
    ----------
    column : str
        The column in the table of trials or events.
    values : dict, optional
        Raw value to name, such as `{1: A, 2: B}`. Values that already are such names pass; every
        value of a trial that the rules on columns keep needs a name.
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
        The table with one row per trial: the name of one in `intervals`, such as
        `drifting_gratings_presentations`, or the whole path of one elsewhere in the file.
    events : str or list of str, optional
        Event times to use instead of a table, each event a trial: the path or name of a time
        series, of an events table, of a group of series (such as `BehavioralEvents`), or a list of
        these. Columns are `timestamps` (the onsets), `data` (codes or text) and, from several
        series, `series` (the name of the one that the event is from).
    onset : str, optional
        Column with the time that frames refer to (seconds). By default `start_time`, or the
        timestamps of events.
    start : str, optional
        Column with the trial's start (seconds). By default `start_time`, else the onset.
    stop : str, optional
        Column with the trial's end (seconds). By default `stop_time`, else unknown.
    labels : dict, optional
        Label name to its column, or to `column` and `values`. Without any, every plain column
        becomes a label.
    keep : dict, optional
        Column or label name to what a trial must have: a value, a list of values, or a range of
        numbers (`min`, `max`). Trials without a value of `label` are left out in any case.
    """

    table: str = "trials"
    events: str | list[str] | None = None
    onset: str | None = None
    start: str | None = None
    stop: str | None = None
    labels: dict[str, LabelSpec] = Field(default_factory=dict)
    keep: dict[str, KeepRule] = Field(default_factory=dict)

    @field_validator("table", mode="after")
    @classmethod
    def _bare_name(cls, given: str) -> str:
        return _as_path(given).removeprefix("intervals/")

    @field_validator("events", mode="after")
    @classmethod
    def _paths(cls, given: str | list[str] | None) -> str | list[str] | None:
        if isinstance(given, list):
            if not given or len(set(map(_as_path, given))) < len(given):
                raise ValueError("list at least one path, and each only once")
            return [_as_path(path) for path in given]
        return given if given is None else _as_path(given)

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
        taken = RESERVED_LABELS & set(self.labels)
        if taken:
            raise ValueError(f"labels may not be called {min(taken)!r}; choose another name")
        empty = [key for key, rule in self.keep.items() if isinstance(rule, list) and not rule]
        if empty:
            raise ValueError(f"keep rule {empty[0]!r} allows no value; list at least one")
        return self

    @property
    def event_paths(self) -> list[str]:
        """The paths or names under `events`, as a list (empty if trials come from a table)."""
        if self.events is None:
            return []
        return [self.events] if isinstance(self.events, str) else list(self.events)


def _as_path(given: str) -> str:
    """Return a path in a file without slashes around it."""
    path = given.strip().strip("/")
    if not path:
        raise ValueError("expected the name or path of something in the file, got nothing")
    return path


class UnitsSpec(SpecPart):
    """Which units to keep.

    Parameters
    ----------
    keep : dict, optional
        Column of the units table to what a unit must have: a value, a list of values, or a range
        of numbers (`min`, `max`). `location` is where the unit's electrode lies.
    min_rate : float, default=0
        Lowest mean firing rate over the recorded span (Hz).
    min_spikes : int, default=0
        Lowest number of spikes in the whole recording.
    """

    keep: dict[str, KeepRule] = Field(default_factory=dict)
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
    spikes : {"seconds", "milliseconds"}
        What the file's spike times are in. Giving it, also `seconds`, ends the guess that they
        look like something else.
    trials : {"seconds", "milliseconds"}
        What the file's trial times are in, likewise.
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
        Where the frame starts (seconds after onset): one number, or one per subject, with
        `default` for those that are not named. May be negative.
    length : float
        How long it lasts (seconds).
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
    """The windows within a frame.

    Parameters
    ----------
    length : float
        Length of a window (seconds).
    step : float
        From the start of a window to the start of the next (seconds).
    """

    length: float = Field(gt=0)
    step: float = Field(gt=0)
