"""Writing recordings as NWB files, one per subject, in bulk columns."""

from __future__ import annotations

import datetime
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from neuroalign.data.specs import DataSpec, TrialsSpec
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import iterate_subjects, stage_of, trial_labels, validate

if TYPE_CHECKING:
    import xarray as xr

# any fixed moment will do: times in the file count from it
SESSION_START: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
NOMINAL_GAP: Final = 1.0  # seconds between frames of data that have no session clock


@dataclass
class _Content:
    """What one file will hold: unit columns, spikes, trial columns, and a remark."""

    times: npt.NDArray[np.float64]
    stops: npt.NDArray[np.int64]
    onset: npt.NDArray[np.float64]
    start: npt.NDArray[np.float64]
    stop: npt.NDArray[np.float64]
    resolution: float
    remark: str = ""


def write_nwb(
    tree: xr.DataTree,
    folder: str | Path,
    *,
    overwrite: bool = False,
    session_start_time: datetime.datetime = SESSION_START,
    species: str = "Rattus norvegicus",
    sex: str = "U",
    age: str = "P0D/",
    resolution: float = 1e-5,
) -> dict[str, Path]:
    """Write one NWB file per subject, called `sub-<subject>.nwb`.

    Table and columns are named as the data's spec names them, so that reading the files with that
    spec gives back the same spike times, units and labels. Trials that the spec takes from event
    times are written as a trials table with a column `onset`.

    Parameters
    ----------
    tree : DataTree
        Recordings, or binned counts; of counts, spikes are spread evenly within their bins.
    folder : str or Path
        Made if it does not exist.
    overwrite : bool, default=False
        Replace files that are there.
    session_start_time : datetime, default=2000-01-01 UTC
        The moment that times count from, with its time zone.
    species : str, default="Rattus norvegicus"
        Latin name.
    sex : {"U", "F", "M", "O"}, default="U"
        Of the subjects.
    age : str, default="P0D/"
        ISO 8601 duration, such as `"P90D"`; the default says "of any age".
    resolution : float, default=1e-5
        Smallest difference between spike times, in seconds.

    Returns
    -------
    dict
        Subject to the path of its file.

    Raises
    ------
    DataError
        If the tree is of another stage, or a file exists and `overwrite` is False.
    ParameterError
        If `session_start_time` has no time zone.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from neuroalign.data.arrays import from_arrays
    >>> table = pd.DataFrame({"onset": [1.0, 2.0], "odor": ["A", "B"]})
    >>> tree = from_arrays({"mitt": [[0.9, 2.1]]}, {"mitt": table})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_nwb(tree, folder)["mitt"].name
    'sub-mitt.nwb'
    """
    binned = isinstance(tree, _tree_type()) and _is_binned(tree)
    validate(tree, "binned" if binned else "recording", argument="tree")
    if session_start_time.tzinfo is None:
        raise ParameterError("session_start_time must have a time zone, such as datetime.UTC.")
    target = Path(folder).expanduser()
    paths = {name: target / f"sub-{name}.nwb" for name in tree.children}
    existing = [str(path) for path in paths.values() if path.exists()]
    if existing and not overwrite:
        raise DataError(
            f"{existing[0]} exists; pass overwrite=True to replace it, or give another folder."
        )
    target.mkdir(parents=True, exist_ok=True)
    about = {"species": species, "sex": sex, "age": age}
    for subject, dataset in iterate_subjects(tree):
        content = (_from_counts if binned else _from_spikes)(dataset, resolution)
        file = _file(subject, dataset, content, session_start_time, about)
        _write_aside(file, paths[subject])
    return paths


def _tree_type() -> type[Any]:
    from xarray import DataTree

    return DataTree


def _is_binned(tree: xr.DataTree) -> bool:
    return any(stage_of(data) in {"binned", "windowed"} for _, data in iterate_subjects(tree))


def _write_aside(file: Any, path: Path) -> None:
    from pynwb import NWBHDF5IO

    aside = path.with_name(f".{path.stem}.{os.getpid()}.part.nwb")
    try:
        with NWBHDF5IO(aside, mode="w") as writer:
            writer.write(file)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _from_spikes(data: xr.Dataset, resolution: float) -> _Content:
    """Take spikes of a recording in the order of its units."""
    numbers = data["unit_number"].values
    order = np.argsort(numbers, kind="stable")
    position = order[np.searchsorted(numbers, data["spike_unit"].values, sorter=order)]
    # already grouped as a rule; after a selection of units perhaps in another order
    by_unit = np.argsort(position, kind="stable")
    counts = np.bincount(position, minlength=numbers.size)
    onset = data["onset"].values.astype(np.float64)
    stop = data["stop"].values.astype(np.float64)
    return _Content(
        times=data["spike_time"].values.astype(np.float64)[by_unit],
        stops=np.cumsum(counts),
        onset=onset,
        start=data["start"].values.astype(np.float64),
        # NWB wants an end; where none is known, the trial ends at its onset
        stop=np.where(np.isfinite(stop), stop, onset),
        resolution=resolution,
    )


def _from_counts(data: xr.Dataset, resolution: float) -> _Content:
    """Spread the spikes of every bin evenly within it."""
    counts = data["counts"].values.astype(np.int64)
    width = float(data.attrs["bin_width"])
    first, last = float(data.attrs["frame_start"]), float(data.attrs["frame_stop"])
    onset, remark = _clock(data, first, last)
    trial, unit, time_bin = np.nonzero(counts)
    number = counts[trial, unit, time_bin]
    bin_of = np.repeat(np.arange(number.size), number)
    rank = np.arange(bin_of.size) - np.repeat(np.cumsum(number) - number, number)
    offset = (time_bin[bin_of] + (rank + 0.5) / number[bin_of]) * width
    times = onset[trial[bin_of]] + first + offset
    unit = unit[bin_of]
    order = np.lexsort((times, unit))
    return _Content(
        times=times[order],
        stops=np.cumsum(np.bincount(unit, minlength=counts.shape[1])),
        onset=onset,
        start=onset + first,
        stop=onset + last,
        resolution=resolution,
        remark=f"Spikes are spread evenly within bins of {width:g} s. {remark}".strip(),
    )


def _clock(data: xr.Dataset, first: float, last: float) -> tuple[npt.NDArray[np.float64], str]:
    """Return onsets; nominal ones if there are none, or frames overlap."""
    if "onset" in data.coords:
        onset = data["onset"].values.astype(np.float64)
        gaps = np.diff(np.sort(onset))
        if np.isfinite(onset).all() and (gaps >= last - first).all():
            return onset, ""
    period = np.ceil(last - first + NOMINAL_GAP)
    onset = np.arange(data.sizes["trial"]) * period + max(0.0, -first)
    return onset, "The clock is nominal: the time between trials means nothing."


def _file(
    subject: str,
    data: xr.Dataset,
    content: _Content,
    session_start_time: datetime.datetime,
    about: dict[str, str],
) -> Any:
    from pynwb import NWBFile
    from pynwb.file import Subject

    spec = DataSpec.from_json(data.attrs["spec"]) if "spec" in data.attrs else None
    name = spec.name if spec is not None else "neuroalign"
    remarks = [content.remark, _notes(data)]
    file = NWBFile(
        session_description=(spec.description.strip() if spec else "")
        or "Sorted units and trials.",
        identifier=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name}/{subject}")),
        session_start_time=session_start_time,
        session_id=name.replace("_", "-"),
        notes=" ".join(remark for remark in remarks if remark) or None,
        subject=Subject(subject_id=subject, description=f"Subject {subject}.", **about),
    )
    file.units = _units(data, content)
    # all tables are written to intervals, wherever the spec found its own
    table = spec.trials.table.rpartition("/")[2] if spec is not None else "trials"
    trials = _trials(data, content, spec, table)
    if table == "trials":
        file.trials = trials
    else:
        file.add_time_intervals(trials)
    return file


def _notes(data: xr.Dataset) -> str:
    notes = json.loads(data.attrs.get("notes", "[]"))
    return "; ".join(f"{note['count']} {note['what']}: {note['why']}" for note in notes)


def _units(data: xr.Dataset, content: _Content) -> Any:
    from hdmf.common import VectorData, VectorIndex
    from pynwb.misc import Units

    spikes = VectorData(name="spike_times", description="Spike times (s).", data=content.times)
    index = VectorIndex(name="spike_times_index", target=spikes, data=content.stops)
    columns: list[Any] = [spikes, index]
    names = [str(unit).partition("/")[2] or str(unit) for unit in data["unit"].values]
    whole = all(name.isascii() and name.isdigit() and str(int(name)) == name for name in names)
    if not whole:
        columns.append(VectorData(name="unit_name", description="Name of the unit.", data=names))
    for key, coordinate in data.coords.items():
        if coordinate.dims == ("unit",) and key not in {"unit", "unit_number", "unit_name"}:
            columns.append(_column(str(key), f"{key} of the unit.", coordinate.values))
    return Units(
        name="units",
        description="Sorted units.",
        id=[int(name) for name in names] if whole else list(range(len(names))),
        columns=columns,
        colnames=[column.name for column in columns if not isinstance(column, VectorIndex)],
        resolution=content.resolution,
    )


def _trials(data: xr.Dataset, content: _Content, spec: DataSpec | None, table: str) -> Any:
    from pynwb.epoch import TimeIntervals

    values: dict[str, npt.NDArray[Any]] = {"start_time": content.start, "stop_time": content.stop}
    roles = spec.trials if spec is not None else TrialsSpec()
    values |= {name: values["start_time"] for name in [roles.start] if name}
    values |= {name: values["stop_time"] for name in [roles.stop] if name}
    onset_column = roles.onset or ("onset" if roles.events or spec is None else "start_time")
    # where the spec takes onsets from the start, frames come out right only if it holds them
    values[onset_column] = content.onset
    values["stop_time"] = np.maximum(values["stop_time"], values["start_time"])
    for label in trial_labels(data):
        label_spec = roles.labels.get(label)
        values[label_spec.column if label_spec is not None else label] = data[label].values
    described = {"start_time": "Start of the trial (s).", "stop_time": "End of the trial (s)."}
    described[onset_column] = "What the analysed frame refers to (s)."
    columns = [
        _column(name, described.get(name, f"{name} of the trial."), column)
        for name, column in values.items()
    ]
    return TimeIntervals(
        name=table,
        description="Trials of the task.",
        id=data["trial"].values.astype(np.int64).tolist(),
        columns=columns,
        colnames=[column.name for column in columns],
    )


def _column(name: str, description: str, values: npt.NDArray[Any]) -> Any:
    from hdmf.common import VectorData

    # fixed-width text is written as variable-length text
    plain = values.tolist() if values.dtype.kind in "UO" else values
    return VectorData(name=name, description=description, data=plain)
