"""Results as NWB files: what a model says of every subject, beside what made it."""

from __future__ import annotations

import datetime
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from sklearn.utils.validation import check_is_fitted

from neuroalign.data.nwb_results import (
    SubjectResults,
    in_time_order,
    onsets,
    positions,
    write_results,
)
from neuroalign.data.nwb_results_checks import (
    PathLike,
    Sources,
    Trees,
    check_paths,
    check_scores,
    place_expected,
    source_files,
)
from neuroalign.data.nwb_results_session import (
    SessionMetadata,
    default_session,
    is_nwb_file,
    read_session_metadata,
)
from neuroalign.data.specs import DataSpec
from neuroalign.errors import DataError, DataWarning, ParameterError
from neuroalign.schema import iterate_subjects, validate
from neuroalign.version import __version__

if TYPE_CHECKING:
    from neuroalign.fitted import FittedModel
    from neuroalign.model import SharedLatentModel

__all__ = ["weights_hash", "write_nwb_results"]


def write_nwb_results(
    folder: PathLike,
    *,
    model: SharedLatentModel,
    windows: xr.DataTree | None = None,
    latents: xr.DataTree | None = None,
    imputed: Trees | None = None,
    scores: xr.Dataset | None = None,
    recordings: xr.DataTree | None = None,
    sources: Sources | None = None,
    script: PathLike | None = None,
    written: datetime.datetime | None = None,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write one new NWB file of results per subject, called `sub-<subject>_desc-neuroalign.nwb`.

    Everything after the folder goes by the name that it bears in a script that follows the
    usual steps (`model`, `windows`, `scores = decode_labels(...)`, `imputed = model.impute(...)`)
    and may be left out where that step was not taken. Only the model is always needed, because
    a file of results that does not say what made them cannot be checked.

    A file holds one session on its own clock. So expected counts stand in the file of the
    subject *whose trials they are*: what `impute(test, source="stella", target="mitt")` says of
    mitt's units is written into stella's file, beside a table of mitt's units. Timestamps are
    seconds on the clock of the source session; for units of several files put side by side
    (`read_nwb(..., sessions="concatenate")`) that is the clock of the first file. Data without
    onsets get a nominal clock, and the file says so.

    Parameters
    ----------
    folder : str or Path
        Made if it does not exist. Best one of its own: a pattern such as `data/*.nwb` would
        otherwise find the results among the recordings.
    model : SharedLatentModel
        The fitted model; its settings, units and the hash of its weights are kept.
    windows : DataTree, optional
        Windowed counts of the subjects and trials to write; they are encoded by the model.
    latents : DataTree, optional
        What `model.transform` returned, to be written as it is; `windows` then only tell the
        files that they were read from, and may be left out.
    imputed : DataTree or list of DataTree, optional
        From `model.impute` or `model.reconstruct` (averaged in time), of trials that are among
        those to write.
    scores : Dataset, optional
        From `decode_labels` or `cross_validate`; the trials read must be among those to write.
    recordings : DataTree, optional
        Recording stage: adds a units table with spike times.
    sources : mapping, optional
        Subject to the NWB file (or files, the first first) it was read from. Start of the
        session, subject, descriptions and publications come from there. By default the files
        that `windows` or `recordings` remember; without any, the session starts on 2000-01-01
        UTC, sex is "U", age "P0D/", and no species is given.
    script : str or Path, optional
        Text of the script that made the results, to be kept in the file: `script=__file__`.
    written : datetime, optional
        Date of writing, with its time zone; now by default. With a fixed one, equal input gives
        files of equal content (only the object ids, which pynwb draws, differ).
    overwrite : bool, default=False
        Replace files of results that are there. Other files are never replaced.

    Returns
    -------
    dict
        Subject to the path of its file.

    Raises
    ------
    DataError
        If a file exists and `overwrite` is not set, or is a source or no file of results; if
        trials, onsets, labels or units of the arguments do not belong together.
    ParameterError
        If neither `windows` nor `latents` are given, a subject is not known, or `written` has no
        time zone.

    Warns
    -----
    DataWarning
        If a file that the windows remember is not there any more.

    Examples
    --------
    >>> import tempfile
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> model = na.SharedLatentModel(2, likelihood="gaussian", max_epochs=1, validation_fraction=0,
    ...                              random_state=0, verbose=False).fit(train, label="odor")
    >>> imputed = model.impute(test, source="ada", target="bob")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = na.write_nwb_results(folder, model=model, windows=test, imputed=imputed)
    ...     results = na.read_nwb_results(paths["ada"])
    >>> list(results.imputed)
    ['imputed_bob_from_ada']
    >>> bool((results.latents["mean"] == model.transform(test)["ada"]["mean"]).all())
    True
    """
    check_is_fitted(model)
    moment = datetime.datetime.now(datetime.UTC) if written is None else written
    if moment.tzinfo is None:
        raise ParameterError("written must have a time zone, such as datetime.UTC.")
    encoded = _latents(model, windows, latents)
    files = source_files(encoded, [windows, recordings], sources)
    target = Path(folder).expanduser()
    paths = {name: target / f"sub-{name}_desc-neuroalign.nwb" for name in encoded}
    check_paths(paths, files, overwrite)
    placed = place_expected(encoded, imputed, model.unit_ids_)
    if scores is not None:
        check_scores(encoded, scores)
    results = [
        SubjectResults(
            subject=name,
            latents=data,
            units=_units(model, name, placed[name]),
            in_fit=np.isin(data["trial"].values, model.fitted_.latents[name].trials),
            session=_session(name, data, files[name], given=name in (sources or {})),
            provenance=_provenance(model),
            imputed=placed[name],
            scores=_scores_of(name, scores),
            recording=_recording(model, name, data, recordings),
        )
        for name, data in encoded.items()
    ]
    target.mkdir(parents=True, exist_ok=True)
    used = None if script is None else Path(script)
    for one in results:
        write_results(one, paths[one.subject], written=moment, script=used)
    return paths


def weights_hash(fitted: FittedModel) -> str:
    """Return the SHA-256 of all that a fit has learned to encode and decode by.

    Names, types, shapes and bytes of networks, scaling and mean counts, in the order of the
    names; a saved and loaded model has the same.

    Parameters
    ----------
    fitted : FittedModel
        The fit, `model.fitted_`.
    """
    tensors = {f"network/{name}": value for name, value in fitted.vae.state_dict().items()}
    for name, subject in fitted.subjects.items():
        tensors[f"scaling/{name}/shift"] = subject.scaling.shift
        tensors[f"scaling/{name}/gain"] = subject.scaling.gain
        if subject.totals is not None:
            tensors[f"totals/{name}/shift"] = subject.totals.shift
            tensors[f"totals/{name}/gain"] = subject.totals.gain
        tensors[f"mean_counts/{name}"] = subject.mean_counts
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _latents(
    model: SharedLatentModel, windows: xr.DataTree | None, latents: xr.DataTree | None
) -> dict[str, xr.Dataset]:
    tree = latents
    if tree is None:
        if windows is None:
            raise ParameterError("expected windows, or latents that the model made of them.")
        tree = model.transform(windows)
    encoded = dict(iterate_subjects(validate(tree, "latents", argument="latents")))
    for name, data in encoded.items():
        if name not in model.subjects_:
            raise DataError(
                f"subject {name!r} of latents was not in the fit, which knows: "
                f"{', '.join(model.subjects_)}."
            )
        if data.sizes["latent"] != model.n_latents:
            raise DataError(
                f"expected the {model.n_latents} latents of the model for subject {name!r}, got "
                f"{data.sizes['latent']}; give what this model's transform returned."
            )
        missing = [k for k in ("frame_start", "frame_stop", "window_length") if k not in data.attrs]
        if missing or not data.sizes["trial"]:
            what = f"no {' and '.join(missing)}" if missing else "no trials"
            raise DataError(
                f"latents of subject {name!r} have {what}; give what model.transform returned."
            )
    return encoded


def _session(name: str, data: xr.Dataset, files: Sequence[Path], *, given: bool) -> SessionMetadata:
    """Read what the files say of the session; remembered ones may be gone, or no NWB files."""
    text = data.attrs.get("spec")
    spec = DataSpec.from_json(text) if text else None
    if given or (files and all(path.exists() and is_nwb_file(path) for path in files)):
        return read_session_metadata(name, files, spec)
    missing = [path for path in files if not path.exists()]
    if missing:
        warnings.warn(
            f"{missing[0]}, which subject {name!r} was read from, is not there: its results say "
            "nothing of the session; name the file in sources.",
            DataWarning,
            stacklevel=4,
        )
    return default_session(name, spec, names=[path.name for path in files])


def _scores_of(name: str, scores: xr.Dataset | None) -> xr.Dataset | None:
    if scores is None or name not in scores["test_subject"].values.tolist():
        return None
    return scores


def _units(
    model: SharedLatentModel, name: str, imputed: Sequence[xr.Dataset]
) -> dict[str, list[str]]:
    named = [name, *(str(data.attrs["target"]) for data in imputed)]
    return {subject: model.unit_ids_[subject] for subject in dict.fromkeys(named)}


def _recording(
    model: SharedLatentModel, name: str, latents: xr.Dataset, recordings: xr.DataTree | None
) -> xr.Dataset | None:
    if recordings is None:
        return None
    validate(recordings, "recording", argument="recordings")
    if name not in recordings.children:
        return None
    data = recordings[name].to_dataset()
    missing = sorted(set(model.unit_ids_[name]) - set(data["unit"].values.astype(str).tolist()))
    if missing:
        raise DataError(
            f"recordings of {name!r} lack {len(missing)} units of the model (the first is "
            f"{missing[0]!r}); give the recordings that it was fitted on."
        )
    shared = np.isin(data["trial"].values, latents["trial"].values)
    own = in_time_order(data.isel(trial=shared), name)
    ordered = in_time_order(latents, name)
    clock, nominal = onsets(ordered)
    known = positions(ordered, own["trial"].values)
    if nominal or not np.array_equal(own["onset"].values, clock[known]):
        raise DataError(
            f"recordings of {name!r} are on another clock than the trials to write: their onsets "
            "differ; leave recordings out."
        )
    return data


def _provenance(model: SharedLatentModel) -> dict[str, Any]:
    fitted = model.fitted_
    parameters = {k: v for k, v in model.get_params(deep=False).items() if k != "verbose"}
    parameters |= {"beta": fitted.settings["beta"], "random_state": fitted.seed}
    return {
        "versions": {
            "neuroalign": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
        "model": {
            "class": type(model).__name__,
            "parameters": parameters,
            "label": model.label_,
            "classes": model.classes_.tolist(),
            "subjects": list(model.subjects_),
            "added": list(fitted.added),
            "unit_ids": model.unit_ids_,
            "seed": fitted.seed,
            "best_epoch": model.best_epoch_,
            "alignment": model.alignment_,
            "bin_width": fitted.geometry.bin_width,
            "bins_per_window": fitted.geometry.n_lags,
            "weights_sha256": weights_hash(fitted),
        },
    }
