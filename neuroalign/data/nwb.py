"""Reading NWB files of one or several subjects into the recording stage."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from neuroalign.data import nwb_fallback, nwb_session
from neuroalign.data.checks import SpikeTrains
from neuroalign.data.columns import Table
from neuroalign.data.recordings import RawSession, build_recording
from neuroalign.data.specs import DataSpec, load_spec
from neuroalign.errors import DataError, NeuroAlignError, ParameterError
from neuroalign.schema import build_tree, check_subject_name
from neuroalign.suggestions import close_match

if TYPE_CHECKING:
    import xarray as xr

PathLike = str | Path
Paths = PathLike | Sequence[PathLike] | Mapping[str, PathLike | Sequence[PathLike]]
# clocks of two files of one session agree better than this (seconds)
CLOCK_TOLERANCE = 1e-3


def read_nwb(
    paths: Paths,
    spec: str | Path | Mapping[str, Any] | DataSpec,
    *,
    sessions: Literal["error", "concatenate"] = "error",
    progress: bool = False,
    n_jobs: int = 1,
) -> xr.DataTree:
    """Read NWB files into one recording per subject.

    Files are read one after the other, since HDF5 reads one at a time; sending spikes between
    processes takes longer than reading them. Where spike times are compressed (gzip), unpacking
    takes most of the time, and `n_jobs` threads share it; for other files they gain nothing.

    Parameters
    ----------
    paths : str, Path, list of these, or mapping
        A file, a folder, a pattern such as `"data/*.nwb"`, a list of them, or subject to file(s).
        Without a mapping, subjects are named by the file's `subject_id`, else by `sub-NAME` in
        its name, else by the name itself.
    spec : str, Path, mapping or DataSpec
        Where roles live in the files and what to keep; see `load_spec`.
    sessions : {"error", "concatenate"}, default="error"
        What to do about several files of one subject: refuse, or put their units side by side,
        which needs the same trials (number, labels, and times but for a constant shift) in each.
    progress : bool, default=False
        Show a progress bar over files.
    n_jobs : int, default=1
        Threads that unpack compressed spike times; −1 for one per core.

    Returns
    -------
    DataTree
        One child per subject: `spike_time(spike)` in seconds and `spike_unit(spike)`, with
        coordinates `unit`, `unit_number`, columns of the units, `trial`, `onset`, `start`, `stop`
        (seconds) and labels. Units are called `subject/unit_name` where the file has a column
        `unit_name` that tells them apart, else `subject/id`. The attribute `notes` lists what was dropped and why.

    Raises
    ------
    SpecError
        If the spec is malformed or asks for what the files do not hold.
    DataError
        If files are absent, damaged, lack units or trials, or hold times that make no sense.
    ParameterError
        If `sessions` has another value, or `n_jobs` is no such number.

    Warns
    -----
    DataWarning
        If something deserves a look, such as trials after the last spike.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from neuroalign.data.arrays import from_arrays
    >>> from neuroalign.data.nwb_writer import write_nwb
    >>> table = pd.DataFrame({"onset": [1.0, 2.0], "odor": ["A", "B"]})
    >>> tree = from_arrays({"mitt": [[0.9, 2.1]]}, {"mitt": table})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_nwb(tree, folder)
    ...     again = read_nwb(folder, {"name": "mine", "trials": {"onset": "onset"}})
    >>> again["mitt"]["odor"].values
    array(['A', 'B'], dtype='<U1')
    """
    if sessions not in {"error", "concatenate"}:
        raise ParameterError(f"sessions must be 'error' or 'concatenate', got {sessions!r}.")
    pool = _threads(n_jobs)
    loaded = load_spec(spec)
    files = find_files(paths)
    by_subject: dict[str, list[RawSession]] = {}
    with pool as threads:
        for path, subject in _with_progress(files, progress):
            session = _read_file(path, loaded, subject, threads)
            check_subject_name(session.subject)
            by_subject.setdefault(session.subject, []).append(session)
            if sessions == "error" and len(by_subject[session.subject]) > 1:
                _refuse_several(by_subject[session.subject])
    return build_tree(
        {
            subject: build_recording(_concatenated(parts, loaded), loaded)
            for subject, parts in by_subject.items()
        }
    )


def find_files(paths: Paths) -> list[tuple[Path, str | None]]:
    """Find the files that paths, folders, patterns or a mapping name.

    Parameters
    ----------
    paths : str, Path, list of these, or mapping
        As in `read_nwb`.

    Returns
    -------
    list of (Path, str or None)
        Files, each with the subject it was given for, if any.

    Raises
    ------
    DataError
        If a path does not exist, or a folder or pattern holds no NWB files.
    """
    if isinstance(paths, Mapping):
        found: list[tuple[Path, str | None]] = [
            (path, check_subject_name(subject))
            for subject, given in paths.items()
            for path in _expand(given)
        ]
        if not found:
            raise DataError("expected a mapping subject -> NWB file(s), got an empty one.")
        return found
    # a list may name one file twice, by itself and by its folder
    unique = {path.resolve(): path for path in _expand(paths)}
    return [(path, None) for path in unique.values()]


def _expand(given: PathLike | Sequence[PathLike]) -> list[Path]:
    if not isinstance(given, str | Path):
        found = [path for one in given for path in _expand(one)]
        if not found:
            raise DataError("expected paths of NWB files, got an empty list.")
        return found
    path = Path(given).expanduser()
    if path.is_dir():
        # hidden files are half-written ones, or what some systems keep beside copies
        visible = [p for p in sorted(path.rglob("*.nwb")) if not p.name.startswith(".")]
        found = [p for p in visible if p.parent == path] or visible
        if not found:
            raise DataError(f"the folder {path} holds no .nwb files; give the folder that does.")
        return found
    if path.exists():
        return [path]
    if glob.has_magic(str(path)):
        found = sorted(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207
        if not found:
            folder = next(p for p in path.parents if not glob.has_magic(str(p)))
            remedy = "check the pattern" if folder.is_dir() else f"there is no folder {folder}"
            raise DataError(f"no file matches {str(path)!r}; {remedy}.")
        return found
    beside = [p.name for p in path.parent.glob("*.nwb")] if path.parent.is_dir() else []
    raise DataError(
        f"there is no file or folder {path}; check the path.{close_match(path.name, beside)}"
    )


def _threads(n_jobs: int) -> AbstractContextManager[Executor | None]:
    whole = isinstance(n_jobs, int | np.integer) and not isinstance(n_jobs, bool)
    if not whole or (n_jobs != -1 and n_jobs < 1):
        raise ParameterError(
            f"n_jobs must be a positive whole number, or -1 for all cores, got {n_jobs!r}."
        )
    if n_jobs == 1:
        return nullcontext()
    from joblib import effective_n_jobs

    return ThreadPoolExecutor(int(effective_n_jobs(int(n_jobs))))


def _with_progress(
    files: list[tuple[Path, str | None]], progress: bool
) -> Iterable[tuple[Path, str | None]]:
    if not progress:
        return files
    from tqdm import tqdm

    return tqdm(files, desc="reading", unit="file")


def _read_file(
    path: Path, spec: DataSpec, subject: str | None, threads: Executor | None
) -> RawSession:
    try:
        return nwb_session.read_session(path, spec, subject=subject, threads=threads)
    except OSError as error:
        raise DataError(
            f"{path} opens but cannot be read to its end, it may be truncated; copy or download "
            f"it again ({' '.join(str(error).split())})."
        ) from error
    except NeuroAlignError:
        raise
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        # an unusual layout: the schema's own reader may know it
        return nwb_fallback.read_session(path, spec, subject=subject)


def _refuse_several(sessions: list[RawSession]) -> None:
    first, second = (session.where for session in sessions[:2])
    subject = sessions[0].subject
    raise DataError(
        f"two files are of subject {subject!r}: {first} and {second}. Give one of them, name them "
        f"as two subjects ({{'{subject}-1': ..., '{subject}-2': ...}}), or pass "
        "sessions='concatenate' if they hold other units of the same trials."
    )


def _concatenated(sessions: list[RawSession], spec: DataSpec) -> RawSession:
    """Put the units of several files of one subject side by side."""
    first = sessions[0]
    if len(sessions) == 1:
        return first
    times, counts, columns, ids = [], [], [], []
    for number, session in enumerate(sessions, start=1):
        shift = _agreeing_shift(first, session, spec)
        times.append(session.trains.times + shift)
        counts.append(session.trains.counts)
        ids.append(np.char.add(f"{number}.", session.unit_ids))
        columns.append(session.units.columns)
    shared = [name for name in columns[0] if all(name in other for other in columns)]
    merged = {name: _joined([other[name] for other in columns]) for name in shared}
    names = [Path(session.where).stem for session in sessions]
    merged["session"] = np.repeat(names, [session.unit_ids.size for session in sessions])
    n_units = merged["session"].size
    return RawSession(
        subject=first.subject,
        units=Table(np.arange(n_units, dtype=np.int64), merged, "units table"),
        unit_ids=np.concatenate(ids),
        trains=SpikeTrains(np.concatenate(times), np.cumsum(np.concatenate(counts))),
        trials=first.trials,
        where=" and ".join(session.where for session in sessions),
        sources=[source for session in sessions for source in session.sources],
        onset=first.onset,
    )


def _joined(parts: list[Any]) -> Any:
    kinds = {part.dtype.kind for part in parts}
    return np.concatenate([p.astype(str) for p in parts] if "U" in kinds else parts)


def _agreeing_shift(first: RawSession, other: RawSession, spec: DataSpec) -> float:
    """Return what to add to the other's clock, or say why its trials are not the same ones."""
    where = f"{first.where} and {other.where}"
    if first.trials.ids.size != other.trials.ids.size:
        raise DataError(
            f"units can be put side by side only for the same trials, got "
            f"{first.trials.ids.size} and {other.trials.ids.size} trials in {where}."
        )
    for label, label_spec in spec.trials.labels.items():
        role = f"label {label!r}"
        mine = first.trials.column(label_spec.column, role=role, where=first.where)
        theirs = other.trials.column(label_spec.column, role=role, where=other.where)
        if not np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f"):
            raise DataError(
                f"units can be put side by side only for the same trials, but label {label!r} "
                f"differs between {where}."
            )
    column = spec.trials.onset or first.onset
    shifts = first.trials.column(column, role="trials.onset", where=first.where).astype(float)
    shifts = shifts - other.trials.column(column, role="trials.onset", where=other.where)
    shift = float(np.nanmedian(shifts)) if np.isfinite(shifts).any() else 0.0
    if (np.abs(shifts - shift) > CLOCK_TOLERANCE).any():
        raise DataError(
            f"units can be put side by side only for the same trials, but the onsets of {where} "
            "differ by more than a constant."
        )
    return 0.0 if abs(shift) < CLOCK_TOLERANCE else shift
