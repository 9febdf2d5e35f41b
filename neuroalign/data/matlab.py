"""Recordings from MATLAB files, in the two layouts that laboratories use most.

Session layout: a cell array with the spike times of every unit, on the session clock, and trials
as vectors. Aligned layout: a struct array with an element per trial, which holds a cell array of
every unit's spike times relative to an event of that trial.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroalign.data.arrays import plain_recording, plain_session, spec_with
from neuroalign.data.matlab_files import open_matlab
from neuroalign.data.matlab_layouts import Layout, read_aligned, read_session
from neuroalign.data.notes import add_note
from neuroalign.data.specs import DataSpec, load_spec
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import build_tree

if TYPE_CHECKING:
    import xarray as xr

PathLike = str | Path


def read_matlab(
    paths: PathLike | Sequence[PathLike] | Mapping[str, PathLike],
    *,
    spikes: str = "spikes",
    trials: str | None = "trials",
    unit_ids: str | None = None,
    aligned: tuple[float, float] | None = None,
    consecutive: bool = False,
    spec: str | Path | Mapping[str, Any] | DataSpec | None = None,
    onset: str | None = None,
    start: str | None = None,
    stop: str | None = None,
    labels: Sequence[str] | None = None,
) -> xr.DataTree:
    """Read MATLAB files (v5 to v7, and v7.3) into one recording per subject.

    Two layouts are read. *Session*: `spikes` is a cell array with the spike times of each unit, in
    seconds on the session clock, and `trials` a struct of vectors (or a struct array) with a value
    per trial. *Aligned* (`aligned` is given): `trials` is a struct array with an element per
    trial, whose field `spikes` is a cell array with the spike times of each unit, in seconds
    relative to an event of that trial. Fields of structs are named with dots, as in MATLAB.

    Numbers, logicals, text, cell arrays and structs are read. Tables, strings and categoricals
    are not: save `table2struct(t, 'ToScalar', true)` and `cellstr(s)`. Nothing in a file is
    executed. Whole numbers become integers.

    Parameters
    ----------
    paths : str, Path, list of these, or mapping
        A file, a folder, a pattern such as `"data/*.mat"`, a list of them, or subject to file.
        Without a mapping, subjects are named by their file's name.
    spikes : str, default="spikes"
        Cell array of spike times; in the aligned layout the field of `trials` that holds it.
        `"spikes.times"` is the field `times` of the struct, or struct array, `spikes`.
    trials : str or None, default="trials"
        Struct with the trials' columns. None (session layout): the columns that arguments and
        spec name are variables of their own.
    unit_ids : str, optional
        Vector or cell array with a name or number per unit; by default units are numbered from
        1, as MATLAB does. Trials always are.
    aligned : (float, float), optional
        The aligned layout, and the seconds around the event for which its spikes were saved,
        such as `(-1.0, 2.0)`. Trials then start and stop there.
    consecutive : bool, default=False
        Aligned layout without the event's time on the session clock, or with overlapping trials:
        lay the trials one after another, a second apart. The times between trials then mean
        nothing.
    spec : str, Path, mapping or DataSpec, optional
        Keep rules, names of label values, milliseconds, frame and bins; see `load_spec`.
    onset : str, optional
        Column with onsets (the event's time on the session clock); by default the spec's, else
        `"onset"`.
    start, stop : str, optional
        Session layout: columns with starts and ends of trials; by default the spec's, else
        `"start_time"` and `"stop_time"` where they exist, or else `"start"` and `"stop"`.
    labels : list of str, optional
        Columns to carry as labels; by default the spec's, else all others with a value per trial.

    Returns
    -------
    DataTree
        Recording stage, as `read_nwb` gives.

    Raises
    ------
    DataError
        If a file is absent or none of MATLAB's, a variable is not there or not what is expected
        (the message lists what was found), spikes lie outside `aligned`, aligned trials overlap,
        or times make no sense.
    SpecError
        If a column is absent or cannot be used, or the spec is malformed.
    ParameterError
        If arguments contradict each other.

    Warns
    -----
    DataWarning
        If something deserves a look, such as trials without onset.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from scipy.io import savemat
    >>> spikes = np.empty((1, 2), dtype=object)  # spikes = {t1, t2}
    >>> spikes[0, :] = [np.array([1.1, 2.5]), np.array([0.9, 2.2, 3.1])]
    >>> trials = {"onset": [1.0, 2.0, 3.0], "odor": np.array(["A", "B", "A"], dtype=object)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     savemat(f"{folder}/mitt.mat", {"spikes": spikes, "trials": trials})
    ...     recordings = read_matlab(f"{folder}/mitt.mat")
    >>> recordings["mitt"]["unit"].values.tolist(), recordings["mitt"]["odor"].values.tolist()
    (['mitt/1', 'mitt/2'], ['A', 'B', 'A'])
    """
    layout = Layout(spikes, trials, unit_ids, aligned, consecutive)
    _check_arguments(layout, start, stop)
    given = load_spec(spec) if spec is not None else None
    effective = spec_with(given, onset=onset, start=start, stop=stop, labels=labels)
    datasets = {}
    for subject, path in _files(paths).items():
        with open_matlab(path) as file:
            read = read_session if aligned is None else read_aligned
            found = read(file, layout, effective)
        session = plain_session(subject, found.unit_ids, found.trains, found.trials, str(path))
        session.sources.append(str(path))
        dataset = plain_recording(session, found.spec, carry_spec=given is not None)
        if consecutive:
            dataset = add_note(
                dataset,
                what="trials",
                count=dataset.sizes["trial"],
                why="kept, laid one after another: times between trials mean nothing",
            )
        datasets[subject] = dataset
    return build_tree(datasets)


def _check_arguments(layout: Layout, start: str | None, stop: str | None) -> None:
    if layout.aligned is None:
        if layout.consecutive:
            raise ParameterError("consecutive=True belongs to the aligned layout; pass aligned=.")
        return
    first, last = layout.aligned
    if not (np.isfinite([first, last]).all() and first < last):
        raise ParameterError(
            "aligned must be the seconds before (negative) and after the event for which spikes "
            f"were saved, such as (-1.0, 2.0), got {layout.aligned!r}."
        )
    if layout.trials is None:
        raise ParameterError("the aligned layout needs the name of the struct array in trials.")
    if start or stop:
        raise ParameterError("aligned says when trials start and stop; leave out start and stop.")


def _files(paths: PathLike | Sequence[PathLike] | Mapping[str, PathLike]) -> dict[str, Path]:
    if isinstance(paths, Mapping):
        named = {subject: Path(path) for subject, path in paths.items()}
    else:
        listed = [paths] if isinstance(paths, str | Path) else list(paths)
        found = [path for one in listed for path in _expand(one)]
        named = {path.stem: path for path in found}
        if len(named) < len(set(found)):
            raise DataError(
                "two files have the same name, and subjects would be named by it; give a mapping "
                "subject -> file."
            )
    if not named:
        raise DataError("expected at least one MATLAB file, got none.")
    return named


def _expand(given: PathLike) -> list[Path]:
    path = Path(given).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.glob("*.mat") if not p.name.startswith("."))
        if not found:
            raise DataError(f"the folder {path} holds no .mat files; give the folder that does.")
        return found
    if not path.exists() and glob.has_magic(str(path)):
        found = sorted(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207
        if not found:
            raise DataError(f"no file matches {str(path)!r}; check the pattern.")
        return found
    return [path]
