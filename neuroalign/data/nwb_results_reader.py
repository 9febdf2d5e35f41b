"""Reading results files: the Datasets and tables that they were made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuroalign.data.columns import Table
from neuroalign.data.nwb_results import FORMAT, FORMAT_VERSION, MODULE, PROVENANCE
from neuroalign.data.nwb_results_tables import SCORE_COLUMNS, units_name
from neuroalign.data.nwb_tables import open_file, read_table, scalar_text
from neuroalign.errors import DataError

if TYPE_CHECKING:
    import h5py
    import pandas as pd

TABLE_TIMES = {"onset": "onset", "start": "start_time", "stop": "stop_time"}


@dataclass(frozen=True)
class NwbResults:
    """What a results file holds.

    Attributes
    ----------
    subject : str
        The subject.
    latents : Dataset
        `mean` and `scale` (trial, window, latent), trials in the order of their onsets.
    imputed : dict
        Name of the series to its Dataset, `expected(trial, unit, time)` in spikes per bin, as
        `SharedLatentModel.impute` or `.reconstruct` returned it.
    decoded : DataFrame or None
        One row per classifier and trial: `train_subject` ("others" is the pooled rest),
        `trial`, `label`, `predicted`, `scored`, `fold`, and `p(...)` of each label.
    scores : DataFrame or None
        One row per level and classifier: `level`, `train_subject`, `accuracy`, `low`, `high`,
        `chance`, `p_value`.
    trials : DataFrame
        The trials table, by trial id.
    units : dict
        Subject to its unit ids, of those that the file names.
    provenance : dict
        What made the results: model, settings, hash of its weights, sources.
    """

    subject: str
    latents: xr.Dataset
    imputed: Mapping[str, xr.Dataset]
    decoded: pd.DataFrame | None
    scores: pd.DataFrame | None
    trials: pd.DataFrame
    units: Mapping[str, list[str]]
    provenance: Mapping[str, Any]


def read_nwb_results(path: str | Path) -> NwbResults:
    """Read a file that `write_nwb_results` wrote.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    NwbResults
        With attributes `subject`, `latents`, `imputed`, `decoded`, `scores`, `trials`, `units`
        and `provenance`. Latents and expected counts are those that were written, bit for bit,
        with trials in the order of their onsets.

    Raises
    ------
    DataError
        If the file is absent, not readable, of something else, or of a newer format.

    Examples
    --------
    See `write_nwb_results`.
    """
    path = Path(path).expanduser()
    with open_file(path) as file:
        provenance = read_provenance(file, path)
        try:
            return _results(file, provenance)
        except (AttributeError, IndexError, KeyError, OSError, TypeError, ValueError) as problem:
            raise DataError(
                f"the results in {path} are damaged ({problem}); write them anew."
            ) from problem


def read_provenance(file: h5py.File, path: Path) -> dict[str, Any]:
    """Read what made a file's results.

    Raises
    ------
    DataError
        If the file does not hold results of neuroalign, or of a newer format.
    """
    node = file.get(f"scratch/{PROVENANCE}")
    content: Any = None
    if node is not None:
        try:
            content = json.loads(scalar_text(node))
        except (TypeError, ValueError) as problem:
            raise DataError(
                f"the results in {path} are damaged ({problem}); write them anew."
            ) from problem
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(
            f"expected a file written by write_nwb_results, got another NWB file: {path}."
        )
    if content["format_version"] > FORMAT_VERSION:
        raise DataError(
            f"{path} was written in format {content['format_version']}, this neuroalign reads up "
            f"to {FORMAT_VERSION}; update neuroalign."
        )
    return content


def is_results_file(path: Path) -> bool:
    """Tell whether a file holds results of neuroalign."""
    try:
        with open_file(path) as file:
            return bool(read_provenance(file, path))
    except DataError:
        return False


def _results(file: h5py.File, provenance: Mapping[str, Any]) -> NwbResults:
    import pandas as pd

    module = file[f"processing/{MODULE}"]
    table = read_table(file["intervals/trials"], "trials table")
    table.ids = table.columns.pop("trial").astype(np.int64)
    named = [provenance["subject"], *_targets(provenance)]
    units = {
        name: read_table(module[units_name(name)], "units").columns["unit"].tolist()
        for name in dict.fromkeys(named)
    }
    return NwbResults(
        subject=provenance["subject"],
        latents=_latents(module, table, provenance),
        imputed={
            name: _expected(module, name, table, provenance, units) for name in provenance["series"]
        },
        decoded=_decoded(module, provenance) if "decoding" in provenance else None,
        scores=_scores(module) if "decoding" in provenance else None,
        trials=pd.DataFrame(table.columns, index=pd.Index(table.ids, name="trial")),
        units=units,
        provenance=provenance,
    )


def _targets(provenance: Mapping[str, Any]) -> list[str]:
    return [entry["attributes"]["target"] for entry in provenance["series"].values()]


def _latents(module: h5py.Group, table: Table, provenance: Mapping[str, Any]) -> xr.Dataset:
    trial, window = _rows(module, "latent", "window")
    dims = ("trial", "window", "latent")
    arrays = {
        name: (dims, _cube(module[f"latent_{name}"], trial, window, table.ids))
        for name in ("mean", "scale")
        if f"latent_{name}" in module
    }
    data = xr.Dataset(arrays, coords={"trial": table.ids, "window": np.unique(window)})
    data = data.assign_coords(latent=np.arange(data.sizes["latent"]))
    return _labelled(data, table, provenance, provenance["latents"])


def _expected(
    module: h5py.Group,
    name: str,
    table: Table,
    provenance: Mapping[str, Any],
    units: Mapping[str, list[str]],
) -> xr.Dataset:
    trial, time = _rows(module, name, "time")
    entry = provenance["series"][name]
    ids = table.ids[np.isin(table.ids, trial)]
    cube = _cube(module[name], trial, time, ids).transpose(0, 2, 1)
    data = xr.Dataset(
        {"expected": (("trial", "unit", "time"), cube, {"units": "expected spikes per bin"})},
        coords={
            "unit": np.array(units[entry["attributes"]["target"]], dtype=str),
            "trial": ids,
            "time": np.unique(time),
        },
    )
    return _labelled(data, table, provenance, entry)


def _rows(module: h5py.Group, series: str, what: str) -> tuple[np.ndarray, np.ndarray]:
    rows = read_table(module[f"{series}_rows"], "rows")
    return np.asarray(rows.columns["trial"]), np.asarray(rows.columns[what])


def _cube(series: h5py.Group, trial: np.ndarray, moment: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Put rows back where their trial and moment say: (trial, moment, column)."""
    values = series["data"][:]
    moments = np.unique(moment)
    order = np.argsort(ids, kind="stable")
    row = order[np.searchsorted(ids, trial, sorter=order)]
    place = row * moments.size + np.searchsorted(moments, moment)
    if not np.array_equal(np.sort(place), np.arange(ids.size * moments.size)):
        raise ValueError("rows do not cover every trial and moment once")
    cube = np.empty_like(values)
    cube[place] = values
    return np.asarray(cube.reshape(ids.size, moments.size, -1))


def _labelled(
    data: xr.Dataset, table: Table, provenance: Mapping[str, Any], entry: Mapping[str, Any]
) -> xr.Dataset:
    """Put back the coordinates of trials, and attributes."""
    kept = np.flatnonzero(np.isin(table.ids, data["trial"].values))
    columns = {**TABLE_TIMES, **provenance["columns"]}
    known = table.columns.get("stop_known")
    for name, attributes in entry["coordinates"].items():
        if name in data.coords:
            data[name].attrs.update(attributes)
            continue
        values = np.asarray(table.columns[columns[name]])[kept]
        if name == "stop" and known is not None:
            values = np.where(np.asarray(known)[kept], values, np.nan)
        data = data.assign_coords({name: ("trial", values, attributes)})
    return data.assign_attrs(entry["attributes"])


def _decoded(module: h5py.Group, provenance: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    group = module["decoded"]
    table = read_table(group, "decoded")
    labels = read_table(module["decoded_labels"], "labels").columns["label"].tolist()
    parts = []
    for subject, shown in provenance["decoding"]["readers"].items():
        probability = group[f"probability_{shown}"][:]
        part = pd.DataFrame(
            {
                "train_subject": subject,
                "trial": table.columns["trial"],
                "label": table.columns["true_label"],
                "predicted": table.columns[f"predicted_{shown}"],
                "scored": table.columns["scored"],
                "fold": table.columns["fold"],
                **{f"p({name})": probability[:, k] for k, name in enumerate(labels)},
            }
        )
        parts.append(part)
    decoded: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return decoded


def _scores(module: h5py.Group) -> pd.DataFrame:
    import pandas as pd

    columns = read_table(module["decoding_scores"], "scores").columns
    return pd.DataFrame({name: columns[name] for name in SCORE_COLUMNS})
