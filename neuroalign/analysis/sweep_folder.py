"""The folder of a sweep: what was asked, a file for every row, the table."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from neuroalign.analysis.labels import Label, labels_as_text
from neuroalign.data.windows import lags_per_window
from neuroalign.errors import DataError
from neuroalign.schema import iterate_subjects

if TYPE_CHECKING:
    import pandas as pd

FORMAT: Final = "neuroalign sweep"
# Raised whenever a fit would stop, or a row be scored, by another rule than before, so that no
# table mixes rules. 2: subjects that rows lack weigh less when training stops; seconds of
# scoring are a column of their own. (1 is a manifest without a version.)
FORMAT_VERSION: Final = 2
MANIFEST: Final = "sweep.json"
TABLE: Final = "table.csv"


@dataclass(frozen=True)
class Task:
    """One fit: a model, its settings, and the seed of split and fit."""

    model: str
    settings: Mapping[str, Any]
    seed: int
    other: str = ""  # the model's other settings

    @property
    def key(self) -> str:
        """A name that depends on what is fitted and on nothing else."""
        said = json.dumps(
            [self.model, dict(self.settings), self.seed, self.other], sort_keys=True, default=str
        )
        return hashlib.sha256(said.encode("utf-8")).hexdigest()[:16]


def data_fingerprint(windows: xr.DataTree, label: Label) -> str:
    """Return a text that changes with subjects, units, trials, labels, windows and counts."""
    digest = hashlib.sha256()
    for name, data in iterate_subjects(windows):
        parts = (name, data["unit"].values, data["trial"].values)
        for part in (*parts, labels_as_text(data, label, subject=name), data["window"].values):
            digest.update(repr(np.asarray(part).tolist()).encode("utf-8"))
        digest.update(f"{lags_per_window(data)}".encode())
        digest.update(np.ascontiguousarray(data["counts"].values).tobytes())
    return digest.hexdigest()[:16]


def open_folder(folder: Path, asked: Mapping[str, Any]) -> None:
    """Make a folder for a sweep, or go on in one that holds the same.

    Raises
    ------
    DataError
        If it holds anything else, or a sweep of another format.
    """
    manifest = folder / MANIFEST
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; name a new folder.")
    if not manifest.exists():
        if folder.exists() and any(folder.iterdir()):
            raise DataError(f"{folder} holds other files than a sweep; name a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
        about = {"format": FORMAT, "version": FORMAT_VERSION}
        write_text(manifest, json.dumps({**about, **asked}, indent=1))
        return
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise DataError(f"{manifest} cannot be read ({problem}); name a new folder.") from problem
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DataError(f"{folder} holds a sweep with other contents; name a new folder.")
    if found.get("version", 1) != FORMAT_VERSION:
        raise DataError(
            f"expected a sweep of format {FORMAT_VERSION}, got {found.get('version', 1)}, in "
            f"{folder}: its fits were stopped or scored by other rules than those to come; name a "
            "new folder."
        )
    other = [name for name, value in asked.items() if found.get(name) != value]
    if other:
        raise DataError(f"{folder} holds a sweep with other {', '.join(other)}; name a new folder.")


def row_path(folder: Path, task: Task) -> Path:
    """Return where a task's row is kept."""
    return folder / "rows" / f"{task.key}.json"


def write_text(path: Path, text: str) -> None:
    """Write a file that is at any time whole: the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)


def read_rows(folder: Path, tasks: Sequence[Task]) -> pd.DataFrame:
    """Return the table of the rows of these tasks, which must all be there."""
    import pandas as pd

    rows = [json.loads(row_path(folder, task).read_text(encoding="utf-8")) for task in tasks]
    table = pd.DataFrame(rows)
    settings = dict.fromkeys(name for task in tasks for name in task.settings)
    first = ["model", *settings, "seed"]
    rest = [name for name in table if name not in {*first, "error"}]
    return table[[*first, *rest, "error"]]
