"""Recordings and models of an evaluation or a sweep, read and checked before anything is fitted."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from neuroalign.cli.fit_inputs import (
    as_argument,
    build_model,
    check_model_labels,
    check_names,
    read_windows,
)
from neuroalign.cli.tables import quality_table, text_table
from neuroalign.errors import ParameterError
from neuroalign.schema import iterate_subjects
from neuroalign.suggestions import close_match

if TYPE_CHECKING:
    import xarray as xr

    from neuroalign.cli.evaluation_request import StudyInputs
    from neuroalign.data.quality import QualityReport
    from neuroalign.data.specs import DataSpec
    from neuroalign.model import SharedLatentModel

MODEL_NAME: Final = "SharedLatentModel"  # of a model whose way of sharing is itself varied
ALL: Final = "all"
FEWEST_LABELS: Final = 3  # for one to be left out


@dataclass(frozen=True)
class Study:
    """What was read and cut, and the models that wait to be fitted."""

    spec: DataSpec
    windows: xr.DataTree
    report: QualityReport
    label: str | list[str]
    models: Mapping[str, SharedLatentModel]
    simultaneous: bool
    seconds: float

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


def prepare_study(
    inputs: StudyInputs,
    *,
    sharing: Sequence[str] = (),
    grid: Mapping[str, Sequence[Any]],
    option: str,
    n_jobs: int = 1,
) -> Study:
    """Build the models, then read, bin and window the recordings, and check their labels.

    Parameters
    ----------
    inputs : StudyInputs
        Recordings and model.
    sharing : sequence of str
        Ways of sharing, a model for each; the recipe's alone if empty.
    grid : mapping
        Values that the models will be fitted with.
    option : str
        The option that gave the grid, for messages.
    n_jobs : int
        Threads that unpack compressed NWB files.

    Raises
    ------
    NeuroAlignError
        If spec, files, label or model arguments are not what the fits need.
    """
    from neuroalign.data.quality import quality_report
    from neuroalign.data.specs import load_spec
    from neuroalign.preparation import resolve_label

    spec = load_spec(inputs.spec)
    models = _models(spec, inputs, sharing, grid, option)
    tried = [one for model in models.values() for one in _candidates(model, grid)]
    started = time.monotonic()
    windows = read_windows(spec, inputs, n_jobs=n_jobs)
    seconds = time.monotonic() - started
    label = resolve_label(dict(iterate_subjects(windows)), inputs.label)
    for model in tried:
        check_model_labels(windows, label, model)
    return Study(
        spec=spec,
        windows=windows,
        report=quality_report(windows, label),
        label=label,
        models=models,
        simultaneous=any(model.pairing == "trial" for model in tried),
        seconds=seconds,
    )


def grid_arguments(grid: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return a grid with its values as the model takes them."""
    return {name: [as_argument(name, value) for value in grid[name]] for name in grid}


def _models(
    spec: DataSpec,
    inputs: StudyInputs,
    sharing: Sequence[str],
    grid: Mapping[str, Sequence[Any]],
    option: str,
) -> dict[str, SharedLatentModel]:
    twice = next((name for name in grid if name in inputs.settings), None)
    if twice is not None:
        raise ParameterError(f"--set and {option} both give {twice!r}; give it to one of them.")
    for other, given in (("--set", inputs.settings), (option, grid)):
        if sharing and "sharing" in given:
            raise ParameterError(f"--sharing and {other} sharing exclude each other; give one.")
    check_names(grid, option)
    model = build_model(spec, inputs)
    if sharing:
        return {name: _with(model, {"sharing": name}) for name in sharing}
    return {MODEL_NAME if "sharing" in grid else model.sharing: model}


def _candidates(
    model: SharedLatentModel, grid: Mapping[str, Sequence[Any]]
) -> list[SharedLatentModel]:
    """Return a model with every combination of a grid, so that none fails only when its turn comes."""
    values = itertools.product(*grid_arguments(grid).values())
    return [_with(model, dict(zip(grid, each, strict=True))) for each in values]


def _with(model: SharedLatentModel, settings: Mapping[str, Any]) -> SharedLatentModel:
    from sklearn.base import clone

    from neuroalign.settings import check_settings

    changed: SharedLatentModel = clone(model).set_params(**settings)
    check_settings(changed.get_params(deep=False))
    return changed


def match_baselines(given: Sequence[str]) -> tuple[str, ...]:
    """Find baselines by name, whatever the case and spaces; "all" stands for each of them.

    Raises
    ------
    ParameterError
        If there is no such baseline; the message names those that are.

    Examples
    --------
    >>> match_baselines(["pca+procrustes", "SRM"])
    ('PCA + Procrustes', 'SRM')
    """
    from neuroalign.analysis.aligners import BASELINES

    known = {_plain(name): name for name in BASELINES}
    if [_plain(name) for name in given] == [ALL]:
        return tuple(BASELINES)
    unknown = next((name for name in given if _plain(name) not in known), None)
    if unknown is not None:
        raise ParameterError(
            f"--baselines must be all, or among {', '.join(BASELINES)}, got {unknown!r}."
            f"{close_match(unknown, BASELINES)}"
        )
    return tuple(dict.fromkeys(known[_plain(name)] for name in given))


def _plain(name: str) -> str:
    return "".join(name.casefold().split())


def labels_to_leave_out(study: Study, asked: Sequence[str]) -> list[str]:
    """Return the labels that are left out, as text.

    Raises
    ------
    ParameterError
        If a label is not one that all subjects have, or there are too few subjects or labels.
    """
    from neuroalign.analysis.labels import labels_as_text, ordered_labels

    if not asked:
        return []
    found = [
        set(labels_as_text(data, study.label, subject=name).tolist())
        for name, data in iterate_subjects(study.windows)
    ]
    shared = ordered_labels(set.intersection(*found))
    if len(shared) < FEWEST_LABELS:
        raise ParameterError(
            f"--leave-label-out needs at least {FEWEST_LABELS} labels that every subject has, so "
            f"that two are paired while one is not, got {', '.join(shared) or 'none'}; leave the "
            "option out."
        )
    if tuple(asked) == (ALL,) and ALL not in shared:
        return shared
    unknown = next((value for value in asked if value not in shared), None)
    if unknown is not None:
        raise ParameterError(
            f"--leave-label-out must be all, or among the labels that every subject has "
            f"({', '.join(shared)}), got {unknown!r}.{close_match(unknown, shared)}"
        )
    return list(asked)


def check_transfer(study: Study, variables: Sequence[str]) -> None:
    """Refuse variables that cannot be read, before the fits rather than after them.

    Raises
    ------
    ParameterError
        If no subject has such a number of every trial, or trials are paired by it.
    """
    paired = [study.label] if isinstance(study.label, str) else study.label
    numbers = dict.fromkeys(
        str(name)
        for _, data in iterate_subjects(study.windows)
        for name, values in data.coords.items()
        if values.dims == ("trial",) and values.dtype.kind in "iufb" and name != "trial"
    )
    for variable in variables:
        if variable in paired:
            raise ParameterError(
                f"--transfer must name what trials are not paired by, got {variable!r}; it is read "
                "anyway."
            )
        if variable not in numbers:
            raise ParameterError(
                "--transfer must name trial labels that are numbers "
                f"({', '.join(numbers) or 'there are none'}), got {variable!r}; add it to the "
                f"labels of the data spec.{close_match(variable, numbers)}"
            )


def check_folds(study: Study, cv: int | float, *, seed: int) -> None:
    """Refuse splits in which two subjects have no test trials of a common label.

    Nothing could be imputed between them, which would show only after many fits.

    Raises
    ------
    NeuroAlignError
        If there are such subjects, or the trials cannot be split.
    """
    from neuroalign.analysis.evaluation_setup import make_folds
    from neuroalign.analysis.labels import labels_as_text

    splits = make_folds(
        study.windows, cv, label=study.label, simultaneous=study.simultaneous, seed=seed
    )
    for number, (_, test) in enumerate(splits, start=1):
        labels = {
            name: set(labels_as_text(data, study.label, subject=name).tolist())
            for name, data in iterate_subjects(test)
        }
        for first, second in itertools.combinations(labels, 2):
            if not labels[first] & labels[second]:
                raise ParameterError(
                    f"in fold {number} of {len(splits)}, {first!r} and {second!r} have no test "
                    "trials of a common label, so nothing can be imputed between them; give fewer "
                    "--folds, or --no-imputation."
                )
