"""Writing tables, arrays and figures so that a file of its name is always whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from neuroalign.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

RESOLUTION: Final = 150  # dots per inch


def write_aside(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a hidden file beside `path`, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".partial-{path.name}")
    try:
        write(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write text in UTF-8."""
    return write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a mapping as indented JSON."""
    return write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_table(path: Path, table: pd.DataFrame, *, index: bool = False) -> Path:
    """Write a table as CSV."""
    return write_aside(path, lambda aside: table.to_csv(aside, index=index))


def write_dataset(path: Path, dataset: xr.Dataset) -> Path:
    """Write scores as netCDF."""
    return write_aside(path, lambda aside: dataset.to_netcdf(aside, engine="h5netcdf"))


def read_dataset(path: Path) -> xr.Dataset:
    """Read scores that `write_dataset` wrote, into memory.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    """
    import xarray as xr

    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            dataset = opened.load()
    except (OSError, ValueError, KeyError) as problem:
        raise DataError(f"{path} is no readable netCDF file ({problem}).") from problem
    text = {n: c.astype(str) for n, c in dataset.variables.items() if c.dtype.kind in "OT"}
    coordinates = {n: c for n, c in text.items() if n in dataset.coords}
    variables = {n: c for n, c in text.items() if n not in dataset.coords}
    return dataset.assign(variables).assign_coords(coordinates)


def write_figure(path: Path, panels: Any) -> Path:
    """Write the figure that Axes (one, or an array of them) belong to as PNG, and close it."""
    import matplotlib.pyplot as plt
    import numpy as np

    figure = np.asarray(panels, dtype=object).ravel()[0].figure
    try:
        return write_aside(
            path,
            lambda aside: figure.savefig(
                aside, dpi=RESOLUTION, format="png", bbox_inches="tight", facecolor="white"
            ),
        )
    finally:
        plt.close(figure)


def draw_off_screen() -> None:
    """Choose the backend that needs no screen, before anything is drawn."""
    import matplotlib as mpl

    mpl.use("Agg")
