"""What an evaluation is asked for: methods, grids, splits, labels and variables, all checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from neuroalign.analysis.aligners import BASELINES
from neuroalign.analysis.fitting_many import is_ours
from neuroalign.analysis.labels import Label, labels_as_text, ordered_labels
from neuroalign.analysis.tuning import Grid, grid_candidates
from neuroalign.data.splits import assert_disjoint, kfold_trials, split_trials
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import iterate_subjects

Fold = tuple[xr.DataTree, xr.DataTree]
Models = Any | Mapping[str, Any]


def chosen_methods(
    models: Models, baselines: Sequence[str] | Literal["all"] | None
) -> dict[str, Any]:
    """Return models and baselines by name; refuse what cannot be fitted, and names that clash."""
    given = dict(models) if isinstance(models, Mapping) else {type(models).__name__: models}
    for name, model in given.items():
        if not all(hasattr(model, part) for part in ("get_params", "fit", "transform")):
            raise ParameterError(
                f"model {name!r} must be an estimator with get_params, fit and transform, got "
                f"{type(model).__name__}; pass for example SharedLatentModel()."
            )
    names = list(BASELINES) if baselines == "all" else list(baselines or ())
    unknown = [name for name in names if name not in BASELINES]
    if unknown or (isinstance(baselines, str) and baselines != "all"):
        raise ParameterError(
            f"baselines must be 'all' or among {', '.join(map(repr, BASELINES))}, "
            f"got {baselines!r}."
        )
    clash = [name for name in names if name in given]
    if clash:
        raise ParameterError(f"{clash[0]!r} is a model and a baseline; rename the model.")
    found = {**given, **{name: BASELINES[name].make() for name in names}}
    if not found:
        raise ParameterError("expected at least one model or baseline, got none.")
    return found


def chosen_grids(
    methods: Mapping[str, Any], tune: Mapping[str, Grid] | Literal["baselines"] | None
) -> dict[str, Grid]:
    """Return the values to choose from for every method; refuse what makes no sense."""
    if isinstance(tune, str) and tune != "baselines":
        raise ParameterError(f"tune must be a mapping or 'baselines', got {tune!r}.")
    grids: dict[str, Grid] = {name: {} for name in methods}
    if tune == "baselines":
        grids |= {name: BASELINES[name].grid for name in methods if name in BASELINES}
    elif tune is not None:
        unknown = [name for name in tune if name not in methods]
        if unknown:
            raise ParameterError(
                f"tune names {unknown[0]!r}, which is no method here; there are "
                f"{', '.join(map(repr, methods))}."
            )
        grids |= dict(tune)
    for name, model in methods.items():  # what is wrong must not wait for the last fold
        for settings in grid_candidates(model, grids[name]):
            _check_ours(model, settings)
    return grids


def _check_ours(model: Any, settings: Mapping[str, Any]) -> None:
    if is_ours(model):
        from neuroalign.settings import check_settings

        check_settings({**model.get_params(deep=False), **settings})


def make_folds(
    windows: xr.DataTree,
    cv: int | float | Sequence[Fold],
    *,
    label: Label,
    simultaneous: bool,
    seed: int,
) -> list[Fold]:
    """Split whole trials into folds.

    Raises
    ------
    ParameterError
        If `cv` is neither a number of folds, a share, nor a list of splits.
    DataError
        If a split's sides share trials.
    """
    asked: dict[str, Any] = {
        "stratify": label,
        "simultaneous": simultaneous,
        "random_state": seed,
    }
    if isinstance(cv, float | np.floating):
        return [split_trials(windows, test_size=float(cv), **asked)]
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        return list(kfold_trials(windows, n_splits=int(cv), **asked))
    if not isinstance(cv, int | str) and isinstance(cv, Iterable):
        folds = list(cv)
        if folds and all(isinstance(fold, tuple) and len(fold) == 2 for fold in folds):
            for fold in folds:
                assert_disjoint(*fold)
            _check_tested_once(folds)
            return folds
    raise ParameterError(
        "cv must be a number of folds, a share of test trials between 0 and 1, or a list of "
        f"(train, test) trees, got {cv!r}."
    )


def _check_tested_once(folds: Sequence[Fold]) -> None:
    seen: set[tuple[str, Any]] = set()
    for _, test in folds:
        for name, data in iterate_subjects(test):
            trials = {(name, trial) for trial in data["trial"].values.tolist()}
            if seen & trials:
                _, trial = min(seen & trials, key=str)
                raise DataError(
                    "expected splits that test a trial at most once, since their trials are "
                    f"pooled, got trial {trial!r} of {name!r} twice; evaluate splits that overlap "
                    "one by one."
                )
            seen |= trials


def chosen_variables(windows: xr.DataTree, asked: str | Sequence[str]) -> list[str]:
    """Return the names of numbers to read; refuse names that no subject has."""
    names = [asked] if isinstance(asked, str) else list(asked)
    known = {str(name) for _, data in iterate_subjects(windows) for name in data.coords}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ParameterError(f"transfer names {unknown[0]!r}, which no subject has on its trials.")
    return names


def labels_left_out(
    windows: xr.DataTree, label: Label, asked: Sequence[str] | Literal["all"]
) -> list[str]:
    """Return the labels to leave out, as text; refuse those that some subject lacks."""
    found = [
        set(labels_as_text(data, label, subject=name).tolist())
        for name, data in iterate_subjects(windows)
    ]
    shared = ordered_labels(set.intersection(*found))
    if asked == "all":
        return shared
    wanted = [asked] if isinstance(asked, str) else list(asked)
    unknown = [value for value in wanted if value not in shared]
    if unknown:
        raise ParameterError(
            f"leave_label_out must be 'all' or among the labels that all subjects have "
            f"({', '.join(shared)}), got {unknown[0]!r}."
        )
    return wanted
