"""Everything a fit needs, read and checked before anything is written."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, cast

import neuroalign
from neuroalign.cli.options import differing_keys, parse_paths
from neuroalign.cli.tables import quality_table, text_table
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import iterate_subjects, subjects_of
from neuroalign.suggestions import close_match

if TYPE_CHECKING:
    import xarray as xr

    from neuroalign.cli.fit_request import FitRequest
    from neuroalign.cli.run_folder import RunFolder
    from neuroalign.data.quality import QualityReport
    from neuroalign.data.specs import DataSpec
    from neuroalign.model import SharedLatentModel

LIBRARIES: Final = ("torch", "numpy", "xarray", "pandas", "scikit-learn", "h5py", "pynwb")
# these have options of their own
OPTIONS: Final = {"random_state": "--seed", "device": "--device", "verbose": "no option"}


class Sources(Protocol):
    """What is to be read, as far as reading must know it."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Files, folders or patterns, or `SUBJECT=FILE`."""

    @property
    def sessions(self) -> str:
        """What to do about several files of one subject: "error" or "concatenate"."""


class ModelChoice(Protocol):
    """Which model is wanted, as far as building it must know it."""

    @property
    def recipe(self) -> str:
        """Which of the spec's recipes."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Model arguments that take precedence over the recipe's."""

    @property
    def seed(self) -> int:
        """Of the fit."""

    @property
    def device(self) -> str:
        """Where to fit."""


@dataclass(frozen=True)
class FitInputs:
    """What was read, cut and split, and the model that waits to be fitted."""

    spec: DataSpec
    windows: xr.DataTree
    train: xr.DataTree
    test: xr.DataTree
    report: QualityReport
    label: str | list[str]
    model: SharedLatentModel
    seconds: float

    def split_ids(self, request: FitRequest) -> dict[str, Any]:
        """Return the trial ids of both sides of the split, and how it was made."""
        sides = {"train": self.train, "test": self.test}
        return {
            "seed": request.seed,
            "test_size": request.test_size,
            "stratified_by": self.label,
            "subjects": {
                name: {
                    side: tree.children[name].to_dataset()["trial"].values.tolist()
                    for side, tree in sides.items()
                }
                for name in subjects_of(self.windows)
            },
        }

    def describe(self) -> str:
        """Say what was read."""
        lines = [
            (
                f"read {len(self.windows.children)} subjects in {self.seconds:.1f} s, "
                f"label {self.report.label}"
            ),
            text_table(quality_table(self.report.to_frame().reset_index())),
        ]
        return "\n".join([*lines, *self.report.remarks]) + "\n"


def check_request(run: RunFolder, request: FitRequest) -> Literal["start", "finished"]:
    """Refuse a folder that is taken; tell whether a fit that is to be resumed is finished.

    Raises
    ------
    DataError
        If the folder holds something, and neither --overwrite nor --resume applies to it.
    """
    if not run.path.exists():
        return "start"
    if not run.path.is_dir():
        raise DataError(f"{run.path} is a file; give another --out.")
    if not any(run.path.iterdir()):
        return "start"
    if not run.exists():
        raise DataError(
            f"{run.path} holds files but is no run folder, so nothing is written there; give "
            "another --out."
        )
    if request.resume:
        return _is_finished(run, request)
    if not request.overwrite:
        raise DataError(
            f"{run.path} holds a run already and is not overwritten; give another --out, "
            "--overwrite to replace it, or --resume to go on with an interrupted fit."
        )
    return "start"


def _is_finished(run: RunFolder, request: FitRequest) -> Literal["start", "finished"]:
    manifest = run.manifest
    if manifest.get("status") != "fitted":
        return "start"
    if manifest.get("command") != request.command():
        raise ParameterError(
            f"{run.path} holds the finished fit of another command ({manifest.get('command')}); "
            "give another --out, or --overwrite instead of --resume."
        )
    return "finished"


def check_resumed(run: RunFolder, asked: Mapping[str, Any]) -> None:
    """Refuse to resume a fit with other inputs or settings.

    Raises
    ------
    ParameterError
        If the interrupted fit was asked for something else.
    """
    plain = json.loads(json.dumps(asked))
    changed = differing_keys(run.manifest["request"], plain)
    if changed:
        raise ParameterError(
            f"the interrupted fit in {run.path} was asked for other {', '.join(changed)}; give "
            "the same command with --resume, or --overwrite to start anew."
        )


def prepare_inputs(request: FitRequest) -> FitInputs:
    """Read, bin, window and split the recordings, and build the model.

    Raises
    ------
    NeuroAlignError
        If spec, files, label or model arguments are not what a fit needs.
    """
    from neuroalign.cli.console import is_watched
    from neuroalign.data.quality import quality_report
    from neuroalign.data.specs import load_spec
    from neuroalign.data.splits import split_trials
    from neuroalign.preparation import resolve_label

    spec = load_spec(request.spec)
    model = build_model(spec, request, verbose=is_watched())
    started = time.monotonic()
    windows = read_windows(spec, request)
    seconds = time.monotonic() - started
    label = resolve_label(dict(iterate_subjects(windows)), request.label)
    check_model_labels(windows, label, model)
    report = quality_report(windows, label)
    train, test = split_trials(
        windows,
        test_size=request.test_size,
        stratify=label,
        simultaneous=model.pairing == "trial",
        allow_missing=model.allow_missing,
        random_state=request.seed,
    )
    return FitInputs(spec, windows, train, test, report, label, model, seconds)


def build_model(spec: DataSpec, choice: ModelChoice, *, verbose: bool = False) -> SharedLatentModel:
    """Build the model of a recipe with the arguments that were set.

    Raises
    ------
    NeuroAlignError
        If there is no such recipe or argument, or a value makes no sense.
    """
    from neuroalign.construction import resolve_device
    from neuroalign.model import SharedLatentModel
    from neuroalign.settings import check_settings

    check_names(choice.settings, "--set")
    model = SharedLatentModel.from_recipe(spec, choice.recipe)
    model.set_params(
        **{name: as_argument(name, value) for name, value in choice.settings.items()},
        random_state=choice.seed,
        device=choice.device,
        verbose=verbose,
    )
    check_settings(model.get_params(deep=False))
    resolve_device(choice.device)
    return model


def check_names(names: Iterable[str], option: str) -> None:
    """Refuse what is no argument of the model, and what has an option of its own.

    Raises
    ------
    ParameterError
        The message begins with the option.
    """
    from neuroalign.model import SharedLatentModel

    known = SharedLatentModel().get_params()
    for name in names:
        if name in OPTIONS:
            raise ParameterError(f"{option} does not take {name!r}; use {OPTIONS[name]}.")
        if name not in known:
            raise ParameterError(
                f"{option} {name}: the model has no argument {name!r}.{close_match(name, known)} "
                f"It has: {', '.join(sorted(set(known) - set(OPTIONS)))}."
            )


def as_argument(name: str, value: Any) -> Any:
    """Let `encoder_hidden=64` mean one hidden layer."""
    listed = name.endswith("_hidden") and not isinstance(value, str | list)
    return [value] if listed else value


def read_windows(spec: DataSpec, sources: Sources, *, n_jobs: int = 1) -> xr.DataTree:
    """Read NWB files, or the published arrays of the odor-sequence task, into windowed bins.

    Parameters
    ----------
    spec : DataSpec
        Where roles live.
    sources : Sources
        What to read.
    n_jobs : int
        Threads that unpack compressed NWB files.

    Raises
    ------
    NeuroAlignError
        If the files are not what the spec says.
    """
    from neuroalign.cli.console import is_watched
    from neuroalign.data.binning import bin_spikes
    from neuroalign.data.nwb import read_nwb
    from neuroalign.data.odor_sequence import read_odor_sequence
    from neuroalign.data.windows import slide_windows

    paths = parse_paths(sources.paths)
    if isinstance(paths, list) and len(paths) == 1 and _holds_arrays(Path(paths[0])):
        return slide_windows(read_odor_sequence(paths[0], spec))
    sessions = cast(Literal["error", "concatenate"], sources.sessions)
    recordings = read_nwb(paths, spec, sessions=sessions, progress=is_watched(), n_jobs=n_jobs)
    return slide_windows(bin_spikes(recordings))


def _holds_arrays(path: Path) -> bool:
    from neuroalign.data.odor_sequence import INFO_SUFFIX

    return path.is_dir() and any(path.glob(f"*/*{INFO_SUFFIX}"))


def check_model_labels(
    windows: xr.DataTree, label: str | list[str], model: SharedLatentModel
) -> None:
    """Refuse labels by which the model cannot pair trials, and subjects cut differently.

    Raises
    ------
    NeuroAlignError
        The message says what is missing where.
    """
    from neuroalign.bridge import labels_of
    from neuroalign.preparation import check_labels, common_geometry

    datasets = dict(iterate_subjects(windows))
    common_geometry(datasets)
    labels, classes = labels_of(datasets, label)
    check_labels(labels, classes, label, model.get_params(deep=False))


def manifest_of(request: FitRequest, inputs: FitInputs) -> dict[str, Any]:
    """Return what the run's manifest says before the fit."""
    return {
        "status": "fitting",
        "command": request.command(),
        "request": {
            "spec": json.loads(inputs.spec.to_json()),
            "paths": list(request.paths),
            "recipe": request.recipe,
            "label": request.label,
            "test_size": request.test_size,
            "seed": request.seed,
            "sessions": request.sessions,
            "settings": dict(request.settings),
        },
        "label": inputs.label,
        "remarks": inputs.report.remarks,
        **describe_windows(inputs.windows),
        "versions": versions(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "seconds": {"read": round(inputs.seconds, 1)},
    }


def describe_windows(windows: xr.DataTree) -> dict[str, Any]:
    """Say what was read from where, and how it was cut, as a manifest holds it."""
    datasets = dict(iterate_subjects(windows))
    first = next(iter(datasets.values()))
    return {
        "subjects": list(datasets),
        "sources": {name: _sources(data) for name, data in datasets.items()},
        "frames": {name: float(data.attrs["frame_start"]) for name, data in datasets.items()},
        "bins": {
            "bin_width": float(first.attrs["bin_width"]),
            "bins": first.sizes["time"],
            "window_length": float(first.attrs["window_length"]),
            "window_step": float(first.attrs["window_step"]),
            "windows": first.sizes["window"],
        },
    }


def _sources(data: xr.Dataset) -> list[dict[str, Any]]:
    """Describe the files of a subject as they were when they were read."""
    files = json.loads(data.attrs.get("source_files", "[]"))
    described = []
    for name in files:
        path = Path(name)
        size = path.stat().st_size if path.exists() else None
        described.append({"file": str(name), "bytes": size})
    return described


def versions() -> dict[str, str]:
    """Return the versions of what results depend on."""
    found = {"neuroalign": neuroalign.__version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # pragma: no cover
            found[name] = "unknown"
    return found


def spec_as_yaml(spec: DataSpec) -> str:
    """Write the spec that was used, whatever file it came from."""
    import yaml

    return str(
        yaml.safe_dump(json.loads(spec.to_json()), sort_keys=False, allow_unicode=True, width=100)
    )
