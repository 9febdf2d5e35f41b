"""Reading the published recordings of five rats in the odor-sequence task, already binned.

Layout: one folder per rat with `<rat>_trial_info.npy` (trial, column), whose columns 0, 1 and 3
are correct, in sequence, and the odor 1 to 5, and `<rat>_spike_data_binned.npy` (trial, unit,
bin of 10 ms), whose bin 200 begins at port entry.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from neuroalign.data.columns import Table
from neuroalign.data.recordings import stage_attributes, unit_coordinates
from neuroalign.data.selection import Notes, SelectedTrials, select_trials, select_units
from neuroalign.data.specs import DataSpec, load_spec
from neuroalign.errors import DataError, SpecError
from neuroalign.schema import build_tree, check_subject_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SOURCE_BIN: Final = 0.01  # seconds
PORT_ENTRY_BIN: Final = 200
INFO_COLUMNS: Final = {"correct": 0, "in_sequence": 1, "odor": 3}
ODORS: Final = ("A", "B", "C", "D", "E")
INFO_SUFFIX: Final = "_trial_info.npy"
COUNTS_SUFFIX: Final = "_spike_data_binned.npy"


def read_odor_sequence(
    folder: str | Path,
    spec: str | Path | Mapping[str, Any] | DataSpec = "odor_sequence",
    subjects: Sequence[str] | None = None,
) -> xr.DataTree:
    """Read the published odor-sequence arrays into the binned stage.

    Parameters
    ----------
    folder : str or Path
        Holds one folder per rat.
    spec : str, Path, mapping or DataSpec, default="odor_sequence"
        Frames per rat, bins, and which trials and units to keep.
    subjects : list of str, optional
        Rats to read; by default all that are there.

    Returns
    -------
    DataTree
        One child per rat: `counts(trial, unit, time)` with `time` in seconds from the frame's
        start (bin centres) and the trial labels that the spec lists (odor A to E as text).

    Raises
    ------
    DataError
        If folders or files are absent or damaged, counts are not whole and non-negative, or the
        frame does not fit into the stored bins.
    SpecError
        If the spec is malformed, has no frame, or its bins are no multiple of 10 ms.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rat = Path(folder) / "mitt"
    ...     rat.mkdir()
    ...     np.save(rat / "mitt_trial_info.npy", [[1, 1, 0, 1], [1, 1, 0, 2]])
    ...     np.save(rat / "mitt_spike_data_binned.npy", np.ones((2, 3, 300), dtype=np.uint8))
    ...     binned = read_odor_sequence(folder)
    >>> dict(binned["mitt"].sizes)
    {'trial': 2, 'unit': 3, 'time': 25}
    """
    loaded = load_spec(spec)
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give the one that holds a folder per rat.")
    found = sorted(path.parent.name for path in root.glob(f"*/*{INFO_SUFFIX}"))
    names = list(subjects) if subjects is not None else found
    absent = [name for name in names if name not in found]
    if not names or absent:
        what = f"{absent[0]}/{absent[0]}{INFO_SUFFIX}" if absent else f"<rat>/<rat>{INFO_SUFFIX}"
        raise DataError(
            f"{root} has no {what}; it has rats: {', '.join(map(repr, found)) or 'none'}."
        )
    return build_tree({check_subject_name(name): _read_rat(root, name, loaded) for name in names})


def _read_rat(root: Path, subject: str, spec: DataSpec) -> xr.Dataset:
    info_path = root / subject / f"{subject}{INFO_SUFFIX}"
    counts_path = root / subject / f"{subject}{COUNTS_SUFFIX}"
    info = _load(info_path, 2)
    stored = _load(counts_path, 3)
    if info.shape[0] != stored.shape[0]:
        raise DataError(
            f"{info_path} has {info.shape[0]} trials but {counts_path} has {stored.shape[0]}; "
            "the two files must be of one session."
        )
    table = _trial_table(info, info_path)
    where = str(counts_path.parent)
    notes: Notes = []
    trials = select_trials(table, spec, where=where, notes=notes)
    _check_counts(stored, counts_path)
    unit_table = Table(np.arange(stored.shape[1], dtype=np.int64), {}, "units table")
    spikes = stored.sum(axis=(0, 2)).astype(np.int64)
    span = stored.shape[0] * stored.shape[2] * SOURCE_BIN
    units = select_units(unit_table, spikes, span, spec, where=where, notes=notes)
    frame_start, counts = _frame(stored[trials.keep][:, units], subject, spec, counts_path)
    dataset = _dataset(subject, counts, trials, unit_table, units, spec)
    dataset.attrs = {
        **stage_attributes("binned", subject, spec, notes, [str(info_path), str(counts_path)]),
        "bin_width": spec.bin_width or SOURCE_BIN,
        "frame_start": frame_start,
        "frame_stop": round(frame_start + counts.shape[2] * (spec.bin_width or SOURCE_BIN), 9),
    }
    return dataset


def _load(path: Path, ndim: int) -> npt.NDArray[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; each rat needs its two arrays.") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} is not a readable array file (.npy without pickled objects), it may be "
            f"truncated: {' '.join(str(error).split())}."
        ) from error
    if not isinstance(array, np.ndarray) or array.ndim != ndim or array.dtype.kind not in "biuf":
        shape = getattr(array, "shape", "several arrays")
        raise DataError(f"{path} must hold numbers in {ndim} dimensions, got {shape}.")
    return array


def _trial_table(info: npt.NDArray[Any], path: Path) -> Table:
    if info.shape[1] <= max(INFO_COLUMNS.values()):
        raise DataError(
            f"{path} has {info.shape[1]} columns, expected at least 4: correct, in sequence, "
            "another, odor."
        )
    odor = info[:, INFO_COLUMNS["odor"]]
    if not np.isin(odor, np.arange(1, len(ODORS) + 1)).all():
        raise DataError(
            f"column {INFO_COLUMNS['odor']} of {path} must hold odors 1 to {len(ODORS)}, got "
            f"{', '.join(f'{value:g}' for value in np.unique(odor.astype(float))[:8])}."
        )
    columns: dict[str, npt.NDArray[Any]] = {"odor": np.array(ODORS)[odor.astype(np.int64) - 1]}
    for name in ("in_sequence", "correct"):
        values = info[:, INFO_COLUMNS[name]]
        if not np.isin(values, (0, 1)).all():
            raise DataError(
                f"column {INFO_COLUMNS[name]} of {path} ({name}) must hold 0 and 1 only."
            )
        columns[name] = values.astype(bool)
    return Table(np.arange(info.shape[0], dtype=np.int64), columns, "trial information")


def _check_counts(counts: npt.NDArray[Any], path: Path) -> None:
    if counts.dtype.kind == "f" and not np.isfinite(counts).all():
        raise DataError(f"{path} holds values that are not finite, expected spike counts.")
    if counts.size and (counts.min() < 0 or (counts.dtype.kind == "f" and (counts % 1).any())):
        raise DataError(f"{path} must hold spike counts: whole numbers that are not negative.")


def _frame(
    counts: npt.NDArray[Any], subject: str, spec: DataSpec, path: Path
) -> tuple[float, npt.NDArray[np.unsignedinteger[Any]]]:
    """Cut a rat's frame out of the stored bins and sum them to the spec's bins."""
    if spec.frame is None:
        raise SpecError(f"spec {spec.name!r} has no 'frame'; add its start and length in seconds.")
    start = spec.frame.start_of(subject)
    length = spec.frame.length
    width = spec.bin_width or SOURCE_BIN
    bins = {"bin_width": width, "frame.start": start, "frame.length": length}
    for what, seconds in bins.items():
        if abs(seconds / SOURCE_BIN - round(seconds / SOURCE_BIN)) > 1e-6:
            raise SpecError(
                f"{what} must be a multiple of {SOURCE_BIN} s, the bins of the stored counts, got "
                f"{seconds} s."
            )
    first = PORT_ENTRY_BIN + round(start / SOURCE_BIN)
    last = first + round(length / SOURCE_BIN)
    if first < 0 or last > counts.shape[2]:
        raise DataError(
            f"the frame of {subject!r} needs bins {first} to {last} but {path} has "
            f"{counts.shape[2]}; change 'frame' in the spec."
        )
    fold = round(width / SOURCE_BIN)
    framed = counts[:, :, first:last].astype(np.int64)
    folded = framed.reshape(*framed.shape[:2], -1, fold).sum(axis=-1)
    largest = int(folded.max(initial=0))
    if largest > np.iinfo(np.uint16).max:
        raise DataError(f"{path} holds {largest} spikes in one bin; these are no spike counts.")
    return start, folded.astype(np.uint8 if largest <= np.iinfo(np.uint8).max else np.uint16)


def _dataset(
    subject: str,
    counts: npt.NDArray[Any],
    trials: SelectedTrials,
    unit_table: Table,
    units: npt.NDArray[np.bool_],
    spec: DataSpec,
) -> xr.Dataset:
    width = spec.bin_width or SOURCE_BIN
    time = np.round((np.arange(counts.shape[2]) + 0.5) * width, 9)
    unit_ids = unit_table.ids.astype(str)
    labels = {name: ("trial", values) for name, values in trials.labels.items()}
    return xr.Dataset(
        {"counts": (("trial", "unit", "time"), counts)},
        coords={
            **unit_coordinates(subject, unit_ids, unit_table, units, set(labels)),
            "trial": ("trial", trials.ids),
            "time": ("time", time, {"units": "s"}),
            **labels,
        },
    )
