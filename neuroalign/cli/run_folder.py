"""The folder of a run: its files, its manifest, and what later commands read from it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from neuroalign.cli.files import write_json
from neuroalign.errors import DataError, ParameterError

if TYPE_CHECKING:
    import xarray as xr

    from neuroalign.model import SharedLatentModel

FORMAT: Final = "neuroalign run"
FORMAT_VERSION: Final = 1
MANIFEST: Final = "run.json"
# all that commands write, and so all that --overwrite may remove
CONTENTS: Final = (
    *(f"quality{part}.csv" for part in ("", "_units", "_dropped")),
    *(f"{name}.csv" for name in ("history", "reconstruction")),
    *(f"{name}*.csv" for name in ("scores", "predictions", "confusion")),
    *(f"{name}*.nc" for name in ("scores", "imputation", "imputed_")),
    "imputation*.csv",
    "windows.nc",
    "latents.nc",
    "split.json",
    "spec.yaml",
    "summary.md",
    "checkpoint.safetensors*",
    "figures/*.png",
    "nwb_results/sub-*_desc-neuroalign.nwb",
    ".partial-*",
    "figures/.partial-*",
)


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps what.

    Parameters
    ----------
    path : Path
        The folder.
    """

    path: Path

    @property
    def windows(self) -> Path:
        """Windowed counts of all trials."""
        return self.path / "windows.nc"

    @property
    def latents(self) -> Path:
        """Latents of all trials, with the coordinate `held_out(trial)`."""
        return self.path / "latents.nc"

    @property
    def split(self) -> Path:
        """Ids of training and test trials."""
        return self.path / "split.json"

    @property
    def model(self) -> Path:
        """The saved model."""
        return self.path / "model"

    @property
    def checkpoint(self) -> Path:
        """State of a fit that is not finished."""
        return self.path / "checkpoint.safetensors"

    @property
    def summary(self) -> Path:
        """The summary for people."""
        return self.path / "summary.md"

    def table(self, name: str) -> Path:
        """Return the path of a table."""
        return self.path / f"{name}.csv"

    def array(self, name: str) -> Path:
        """Return the path of a netCDF file."""
        return self.path / f"{name}.nc"

    def figure(self, name: str) -> Path:
        """Return the path of a figure."""
        return self.path / "figures" / f"{name}.png"

    @property
    def manifest(self) -> dict[str, Any]:
        """What the run was asked for and how it went.

        Raises
        ------
        DataError
            If the folder is no run.
        """
        where = self.path / MANIFEST
        problem = "it has no run.json"
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            try:
                content = json.loads(where.read_text(encoding="utf-8"))
                if isinstance(content, dict) and content.get("format") == FORMAT:
                    version = content.get("format_version", 0)
                    if version <= FORMAT_VERSION:
                        return content
                    problem = f"its format {version} is newer than this neuroalign; update it"
                else:
                    problem = "its run.json is of something else"
            except ValueError:
                problem = "its run.json is damaged"
        if not self.path.exists():
            problem = "it does not exist"
        raise DataError(
            f"{self.path} is no run folder: {problem}; give the folder that "
            "`neuroalign fit ... --out` wrote."
        )

    def exists(self) -> bool:
        """Tell whether the folder is a run."""
        try:
            return bool(self.manifest)
        except DataError:
            return False

    def update(self, **changes: Any) -> None:
        """Change entries of the manifest."""
        write_json(self.path / MANIFEST, {**self.manifest, **changes})

    def start(self, content: Mapping[str, Any]) -> None:
        """Write a new manifest."""
        self.path.mkdir(parents=True, exist_ok=True)
        head = {"format": FORMAT, "format_version": FORMAT_VERSION}
        write_json(self.path / MANIFEST, {**head, **content})

    def clear(self) -> None:
        """Remove what commands wrote; other files stay."""
        for pattern in CONTENTS:
            for path in self.path.glob(pattern):
                path.unlink()
        if (self.model / "model.json").exists():
            shutil.rmtree(self.model)

    def load_windows(self) -> tuple[xr.DataTree, xr.DataTree]:
        """Return the windowed counts of training and of held-out trials."""
        from neuroalign.data.storage import load_tree
        from neuroalign.data.trial_selection import select_trials

        windows = load_tree(self.windows)
        subjects = self._split_subjects()
        return (
            select_trials(windows, {name: ids["train"] for name, ids in subjects.items()}),
            select_trials(windows, {name: ids["test"] for name, ids in subjects.items()}),
        )

    def load_latents(self) -> tuple[xr.DataTree, xr.DataTree]:
        """Return the latents of training and of held-out trials."""
        from neuroalign.data.storage import load_tree
        from neuroalign.schema import map_subjects

        latents = load_tree(self.latents)
        return (
            map_subjects(latents, lambda _, data: data.isel(trial=~_held_out(data))),
            map_subjects(latents, lambda _, data: data.isel(trial=_held_out(data))),
        )

    def load_model(self) -> SharedLatentModel:
        """Return the fitted model."""
        from neuroalign.cli.console import is_watched
        from neuroalign.model import SharedLatentModel

        model = SharedLatentModel.load(self.model)
        model.verbose = is_watched()
        return model

    def _split_subjects(self) -> dict[str, dict[str, list[int]]]:
        try:
            content = json.loads(self.split.read_text(encoding="utf-8"))
            return dict(content["subjects"])
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise DataError(f"{self.split} is missing or damaged; fit again.") from problem


def _held_out(data: xr.Dataset) -> Any:
    return data["held_out"].values.astype(bool)


def open_run(path: Path) -> RunFolder:
    """Return a run whose fit is finished.

    Raises
    ------
    DataError
        If the folder is no run, or its fit was not finished.
    """
    run = RunFolder(path)
    if run.manifest.get("status") != "fitted":
        raise DataError(
            f"the fit in {path} was not finished; give its `neuroalign fit` command again "
            "with --resume."
        )
    return run


def run_label(run: RunFolder) -> str | list[str]:
    """Return the label by which the run's trials were paired."""
    label: str | list[str] = run.manifest["label"]
    return label


def check_subject(run: RunFolder, name: str, role: str) -> str:
    """Return the name if it is a subject of the run.

    Raises
    ------
    ParameterError
        If it is not; the message names those that are.
    """
    from neuroalign.suggestions import close_match

    subjects = run.manifest["subjects"]
    if name not in subjects:
        raise ParameterError(
            f"--{role} must be a subject of the run ({', '.join(subjects)}), got {name!r}."
            f"{close_match(name, subjects)}"
        )
    return name
