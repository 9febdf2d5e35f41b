"""Writing one subject's results as an NWB file: plain arrays and tables, no model."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from neuroalign.data import nwb_results_tables as tables
from neuroalign.data.binning import DIGITS
from neuroalign.data.nwb_writer import NOMINAL_GAP
from neuroalign.errors import DataError
from neuroalign.version import __version__

if TYPE_CHECKING:
    import xarray as xr

    from neuroalign.data.nwb_results_session import SessionMetadata

MODULE: Final = "neuroalign"
PROVENANCE: Final = "neuroalign_provenance"
FORMAT: Final = "neuroalign results"
FORMAT_VERSION: Final = 1
NOMINAL: Final = "The clock is nominal: the time between trials means nothing."


@dataclass(frozen=True)
class SubjectResults:
    """What one results file will hold.

    Parameters
    ----------
    subject : str
        The subject.
    latents : Dataset
        `mean` and, if there is one, `scale` (trial, window, latent).
    units : dict
        Subjects whose units the file names, and their unit ids.
    in_fit : ndarray of shape (trial,)
        Which trials the model was fitted on.
    session : SessionMetadata
        Fields of the file and the subject.
    provenance : dict
        What made the results; JSON must be able to hold it.
    imputed : list of Dataset
        Expected counts (trial, unit, time) of trials of this subject.
    scores : Dataset, optional
        From `decode_labels`.
    recording : Dataset, optional
        Gives the units' spike times.
    """

    subject: str
    latents: xr.Dataset
    units: Mapping[str, Sequence[str]]
    in_fit: npt.NDArray[np.bool_]
    session: SessionMetadata
    provenance: Mapping[str, Any]
    imputed: Sequence[xr.Dataset] = field(default_factory=tuple)
    scores: xr.Dataset | None = None
    recording: xr.Dataset | None = None


def write_results(
    results: SubjectResults,
    path: Path,
    *,
    written: datetime.datetime,
    script: Path | None = None,
) -> Path:
    """Write the file aside and rename it, so that a file of that name is always whole.

    Parameters
    ----------
    results : SubjectResults
        What to write.
    path : Path
        Where; an existing file is replaced.
    written : datetime
        Date of writing, with its time zone.
    script : Path, optional
        Text file that is kept in the file as what made it.
    """
    from pynwb import NWBHDF5IO

    file = _file(results, written, script)
    aside = path.with_name(f".{path.stem}.{os.getpid()}.part.nwb")
    try:
        with NWBHDF5IO(aside, mode="w") as writer:
            writer.write(file)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def in_time_order(data: xr.Dataset, subject: str) -> xr.Dataset:
    """Return trials in the order of their onsets; without onsets, as they are.

    Raises
    ------
    DataError
        If an onset is not finite.
    """
    if "onset" not in data.coords:
        return data
    onset = data["onset"].values.astype(np.float64)
    if not np.isfinite(onset).all():
        raise DataError(
            f"expected an onset for every trial of subject {subject!r}, got "
            f"{int((~np.isfinite(onset)).sum())} without; leave those trials out."
        )
    order = np.argsort(onset, kind="stable")
    return data if (np.diff(order) == 1).all() else data.isel(trial=order)


def positions(data: xr.Dataset, trials: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return where trials stand among those of the data; -1 for those that do not."""
    import pandas as pd

    return data.indexes["trial"].get_indexer(pd.Index(trials))


def onsets(data: xr.Dataset) -> tuple[npt.NDArray[np.float64], bool]:
    """Return the onsets of trials (s), and whether they are nominal for want of real ones."""
    if "onset" in data.coords:
        return data["onset"].values.astype(np.float64), False
    first, last = _frame(data)
    period = np.ceil(last - first + NOMINAL_GAP)
    return np.arange(data.sizes["trial"]) * period + max(0.0, -first), True


def series_name(data: xr.Dataset, subject: str) -> str:
    """Name a series of expected counts.

    Parameters
    ----------
    data : Dataset
        Imputed stage.
    subject : str
        Whose trials these are.

    Examples
    --------
    >>> import xarray as xr
    >>> series_name(xr.Dataset(attrs={"source": "ada", "target": "bob"}), "ada")
    'imputed_bob_from_ada'
    """
    source, target = str(data.attrs["source"]), str(data.attrs["target"])
    if source == target == subject:
        return f"reconstructed_{tables.safe_name(target)}"
    origin = source.replace(", ", "_and_")
    return tables.safe_name(f"imputed_{target}_from_{origin}")


def _frame(data: xr.Dataset) -> tuple[float, float]:
    return float(data.attrs["frame_start"]), float(data.attrs["frame_stop"])


def _file(results: SubjectResults, written: datetime.datetime, script: Path | None) -> Any:
    from pynwb import NWBFile
    from pynwb.core import ScratchData
    from pynwb.file import Subject

    latents = in_time_order(results.latents, results.subject)
    onset, nominal = onsets(latents)
    columns = tables.label_columns(_labels(latents))
    provenance: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "subject": results.subject,
        "clock": "nominal" if nominal else "session",
        "written": written.isoformat(),
        **results.provenance,
        "sources": list(results.session.sources),
        "columns": columns,
        "latents": describe(latents),
    }
    file = NWBFile(
        **results.session.file,
        identifier=_identifier(results),
        file_create_date=written,
        notes=" ".join([_notes(results), NOMINAL if nominal else ""]).strip(),
        **_made_by(script),
        subject=Subject(**results.session.subject),
    )
    place = positions(results.latents, latents["trial"].values)
    file.trials = tables.trials_table(
        latents, columns, onset=onset, frame=_frame(latents), in_fit=results.in_fit[place]
    )
    module = file.create_processing_module(
        MODULE, "Shared latent space of several subjects: latents, expected counts, labels read."
    )
    if results.recording is not None:
        file.units = _spikes(results.recording, results.units[results.subject])
    for subject, units in results.units.items():
        own = file.units if subject == results.subject else None
        module.add(tables.units_table(subject, units, own))
    _add_latents(module, latents, onset)
    provenance["series"] = {}
    for data in results.imputed:
        name = series_name(data, results.subject)
        _add_expected(module, name, in_time_order(data, results.subject), latents, onset)
        provenance["series"][name] = describe(in_time_order(data, results.subject))
    if results.scores is not None:
        made, readers = tables.decoded_tables(results.scores, results.subject)
        for one in made:
            module.add(one)
        provenance["decoding"] = {"attributes": dict(results.scores.attrs), "readers": readers}
    file.add_scratch(
        ScratchData(
            name=PROVENANCE,
            data=as_json(provenance),
            description="What made these results, as JSON: model, settings, units, sources.",
        )
    )
    return file


def describe(data: xr.Dataset) -> dict[str, Any]:
    """Say what is needed beside arrays to build the Dataset again."""
    return {
        "attributes": dict(data.attrs),
        "coordinates": {str(name): dict(one.attrs) for name, one in data.coords.items()},
    }


def as_json(content: Mapping[str, Any]) -> str:
    """Write JSON that every reader takes: arrays as lists, numbers that are none as null."""
    return json.dumps(_plain(content), allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, str | int | bool) or value is None else str(value)


def _labels(data: xr.Dataset) -> list[str]:
    skip = {"trial", *tables.CLOCK}
    return [
        str(name)
        for name, one in data.coords.items()
        if one.dims == ("trial",) and name not in skip
    ]


def _identifier(results: SubjectResults) -> str:
    """Return an identifier that is the same for the same source, model and latents."""
    source = results.session.sources[0].get("identifier", "") if results.session.sources else ""
    latents = np.ascontiguousarray(results.latents["mean"].values)
    content = hashlib.sha256(latents.tobytes()).hexdigest()
    weights = results.provenance.get("model", {}).get("weights_sha256", "")
    return str(
        uuid.uuid5(uuid.NAMESPACE_URL, f"neuroalign/{source}/{results.subject}/{weights}/{content}")
    )


def _notes(results: SubjectResults) -> str:
    names = [str(source["file"]) for source in results.session.sources]
    made = f"Results of neuroalign {__version__} for subject {results.subject}"
    return f"{made}, from {' and '.join(names)}." if names else f"{made}."


def _made_by(script: Path | None) -> dict[str, Any]:
    from pynwb import NWBFile

    fields: dict[str, Any] = {}
    if hasattr(NWBFile, "was_generated_by"):  # from pynwb 3 on
        fields["was_generated_by"] = [["neuroalign", __version__]]
    if script is not None:
        fields["source_script"] = script.read_text(encoding="utf-8")
        fields["source_script_file_name"] = script.name
    return fields


def _rows(
    onset: npt.NDArray[np.float64], offset: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the times of trials × moments, ascending, and the order that makes them so.

    Trials follow each other, so the order changes something only where frames overlap.
    """
    times = np.round(onset[:, None] + np.round(offset, DIGITS), DIGITS).ravel()
    order = np.argsort(times, kind="stable")
    return times[order], order


def _add_latents(module: Any, latents: xr.Dataset, onset: npt.NDArray[np.float64]) -> None:
    from pynwb import TimeSeries

    windows = latents["window"].values.astype(np.float64)
    length = float(latents.attrs["window_length"])
    times, order = _rows(onset, _frame(latents)[0] + windows + length / 2)
    trial = np.repeat(latents["trial"].values, windows.size)[order]
    first: Any = None
    meaning = {
        "mean": "Means of the posteriors of the shared latents",
        "scale": "Standard deviations of the posteriors of the shared latents",
    }
    for variable, what in meaning.items():
        if variable not in latents:
            continue
        values = latents[variable].transpose("trial", "window", "latent").values
        series = TimeSeries(
            name=f"latent_{variable}",
            description=(
                f"{what}: one row per trial and window, one column per latent. Timestamps are "
                f"centres of windows of {length:g} s: onset + start of the frame + start of the "
                "window + half its length. The windows of a trial follow each other; "
                "latent_rows says which trial and window each row is."
            ),
            comments=(
                "Windows of a trial may overlap: its rows are not independent. "
                "Trials marked in_fit in the trials table are those the model was fitted on."
            ),
            data=_compressed(values.reshape(-1, values.shape[-1])[order]),
            unit="a.u.",
            timestamps=first if first is not None else times,
        )
        first = first if first is not None else series
        module.add(series)
    start = np.tile(windows, onset.size)[order]
    module.add(tables.rows_table("latent", trial, start, "window"))


def _add_expected(
    module: Any,
    name: str,
    data: xr.Dataset,
    latents: xr.Dataset,
    onset: npt.NDArray[np.float64],
) -> None:
    from pynwb import TimeSeries

    bins = data["time"].values.astype(np.float64)
    own = onset[positions(latents, data["trial"].values)]
    times, order = _rows(own, _frame(latents)[0] + bins)
    values = data["expected"].transpose("trial", "time", "unit").values
    width = float(data.attrs["bin_width"])
    source, target = data.attrs["source"], data.attrs["target"]
    module.add(
        TimeSeries(
            name=name,
            description=(
                f"Expected spike counts of units of {target}, decoded from {source}, in trials "
                f"of this file: one row per trial and bin, column k is row k of "
                f"{tables.units_name(str(target))}. Timestamps are centres of bins of {width:g} s; "
                f"{name}_rows says which trial and bin each row is."
            ),
            data=_compressed(values.reshape(-1, values.shape[-1])[order]),
            unit="spikes per bin",
            comments=(
                "Expectations, not recorded spikes. Trials marked in_fit in the trials table are "
                "those the model was fitted on."
            ),
            timestamps=times,
        )
    )
    trial = np.repeat(data["trial"].values, bins.size)[order]
    module.add(tables.rows_table(name, trial, np.tile(bins, own.size)[order], "time"))


def _compressed(values: npt.NDArray[Any]) -> Any:
    from hdmf.backends.hdf5 import H5DataIO

    return H5DataIO(values, compression="gzip", compression_opts=4, shuffle=True)


def _spikes(recording: xr.Dataset, units: Sequence[str]) -> Any:
    """Make the units table with spike times, in the order of the model's units."""
    from hdmf.common import VectorData, VectorIndex
    from pynwb.misc import Units

    ids = recording["unit"].values.astype(str).tolist()
    chosen = recording["unit_number"].values[[ids.index(unit) for unit in units]]
    by_number = np.argsort(chosen, kind="stable")
    place = np.searchsorted(chosen, recording["spike_unit"].values, sorter=by_number)
    place = by_number[np.minimum(place, chosen.size - 1)]
    known = chosen[place] == recording["spike_unit"].values
    times = recording["spike_time"].values.astype(np.float64)[known]
    place = place[known]
    grouped = np.argsort(place, kind="stable")
    spikes = VectorData(name="spike_times", description="Spike times (s).", data=times[grouped])
    stops = np.cumsum(np.bincount(place, minlength=chosen.size))
    index = VectorIndex(name="spike_times_index", target=spikes, data=stops)
    names = tables.column("unit", "Unit id in neuroalign.", np.array(list(units), dtype=str))
    return Units(
        name="units",
        description="Units that the model knows.",
        columns=[spikes, index, names],
        colnames=["spike_times", "unit"],
        resolution=1e-5,
    )
