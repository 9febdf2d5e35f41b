"""Many fits with other settings and seeds, one tidy table on disk, resumable after a kill."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from neuroalign.analysis.evaluation_scores import SCOPES, score_method
from neuroalign.analysis.evaluation_tasks import Plan, judge_fold
from neuroalign.analysis.fitting_many import fit_each, fits_at_once, share_of_each
from neuroalign.analysis.labels import Label, label_name
from neuroalign.analysis.predictions import LEVELS
from neuroalign.analysis.statistics import check_count
from neuroalign.analysis.sweep_folder import (
    TABLE,
    Task,
    data_fingerprint,
    open_folder,
    read_rows,
    row_path,
    write_text,
)
from neuroalign.analysis.tuning import Grid, grid_candidates
from neuroalign.data.randomness import resolve_seed
from neuroalign.data.splits import split_trials
from neuroalign.errors import NeuroAlignError, ParameterError
from neuroalign.schema import iterate_subjects, validate

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["sweep"]

DO_NOT_MATTER: Final = ("random_state", "verbose")  # the sweep sets the one, nobody sees the other
Progress = Callable[[str], None]


def sweep(
    windows: xr.DataTree,
    models: Any | Mapping[str, Any],
    grid: Grid | Mapping[str, Grid],
    *,
    label: Label,
    out: str | Path,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    test_size: float = 0.25,
    simultaneous: bool = False,
    classifier: Any = None,
    imputation: bool = True,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Fit every model with every combination of settings and every seed, and keep all scores.

    A seed decides the split of whole trials and, where a model has `random_state`, its fit: all
    models and settings see the same trials under one seed. A fit writes its
    row to `out` when it, and those that train beside it, have ended, so a sweep that was killed
    goes on where it was; a fit that fails is a row with its error. Fits of `SharedLatentModel`
    train side by side, four at a time on a CPU and more on a GPU (see `fit_many`), but never so
    many that one of `n_jobs` processes has nothing to do: what a sweep fits together, and with
    it the rounding of sums, depends on that number, and with several processes on how much was
    done before a kill. Rows are
    held-out scores of single settings: to choose settings by them and report the best is tuning
    on test trials; `evaluate` with `tune` chooses inside training trials.

    Parameters
    ----------
    windows : DataTree
        Windowed counts of all trials.
    models : estimator or mapping of names to estimators
        Cloned, never changed.
    grid : mapping
        Values of each parameter, all combinations of them; or, for several models, a mapping
        of their names to such grids.
    label : str or list of str
        Trial coordinate to fit with and to decode.
    out : str or Path
        A folder; made if it is not there. One that holds another sweep is refused.
    seeds : sequence of int
        Seeds.
    test_size : float
        Share of test trials.
    simultaneous, classifier, imputation
        As in `evaluate`.
    n_jobs : int
        Processes, through joblib: any of its backends can be chosen around the call, such as
        `joblib.parallel_config(backend="dask")` for several machines. Inside `distributed`
        each of its processes fits a part of the sweep with so many; they need one `out`.
    progress : callable, optional
        Called with a line of text for each fit that is done.

    Returns
    -------
    DataFrame
        A row per fit: `model`, the grid's parameters, `seed`, accuracy `within_window`,
        `within_trial`, `across_window`, `across_trial` averaged over subjects, `chance`,
        `bits_imputed`, `bits_floor`, `bits_ceiling`, `above_floor`, `bits_reconstructed` (bits
        per spike, averaged), `coherence_window`, `coherence_trial`, `alignment`, `seconds` (of
        the fit; fits that trained side by side share the time they took equally, which says
        little about a single one), `seconds_scoring` (of this row: latents, decoding,
        imputation) and `error` (empty if the fit went well). The same as `table.csv` in the
        folder.

    Raises
    ------
    ParameterError
        If the grid does not fit the models, or a number makes no sense.
    DataError
        If the folder holds a sweep of other data, or of a version that stopped or scored fits
        by other rules.

    Examples
    --------
    >>> import tempfile
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(
    ...     units={"ada": 12, "bob": 10}, trials=60, mean_rate=9, random_state=0
    ... )
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = na.sweep(
    ...         windows, na.ProcrustesPCA(), {"n_latents": [2, 4]}, label="odor", out=folder,
    ...         seeds=[0, 1],
    ...     )
    >>> table[["n_latents", "seed"]].values.tolist()
    [[2, 0], [2, 1], [4, 0], [4, 1]]
    """
    validate(windows, "windowed", argument="windows")
    check_count("number of seeds", len(seeds), least=1)
    given = dict(models) if isinstance(models, Mapping) else {type(models).__name__: models}
    tasks = list(_tasks(given, grid, seeds))
    folder = Path(out)
    check_test_size(test_size)
    asked = {
        "label": label_name(label),
        "test_size": test_size,
        "simultaneous": simultaneous,
        "imputation": imputation,
        "classifier": "default" if classifier is None else repr(classifier),
        "data": data_fingerprint(windows, label),
    }
    from neuroalign.training.processes import active_processes

    processes = active_processes()
    if processes.is_first:
        open_folder(folder, asked)
    processes.wait()  # a new folder is there for all
    batches = _batches(tasks, given, folder, _workers(n_jobs, processes.number))
    processes.wait()  # before the first of them writes what others take for done
    _run(
        batches[processes.rank :: processes.number],
        given,
        windows,
        asked,
        label,
        classifier,
        folder,
        n_jobs,
        progress,
    )
    processes.wait()
    table = read_rows(folder, tasks)
    if processes.is_first:
        write_text(folder / TABLE, table.to_csv(index=False))
    return table


def _tasks(
    models: Mapping[str, Any], grid: Grid | Mapping[str, Grid], seeds: Sequence[int]
) -> Iterator[Task]:
    by_model = _grids(models, grid)
    for name, model in models.items():
        if "random_state" in by_model[name]:
            raise ParameterError(
                "a sweep sets random_state by its seeds; leave it out of the grid."
            )
        other = _other_settings(model, by_model[name])
        for settings in grid_candidates(model, by_model[name]):
            for seed in seeds:
                yield Task(name, settings, resolve_seed(seed), other)


def _other_settings(model: Any, grid: Grid) -> str:
    """Write down the settings that the grid leaves alone, as far as text can tell them apart."""
    plain = (type(None), bool, int, float, str, tuple, list, dict)
    kept = {
        name: value
        for name, value in sorted(model.get_params(deep=False).items())
        if name not in {*grid, *DO_NOT_MATTER}
        and (type(value) in plain or hasattr(value, "get_params"))
    }
    return f"{type(model).__qualname__} {kept!r}"


def _grids(
    models: Mapping[str, Any], grid: Grid | Mapping[str, Grid]
) -> dict[str, Mapping[str, Sequence[Any]]]:
    nested = {name: part for name, part in grid.items() if isinstance(part, Mapping)}
    if nested and len(nested) < len(grid):
        raise ParameterError(
            "grid must hold values of parameters, or a grid for each model, not both."
        )
    if not nested:
        plain = {name: part for name, part in grid.items() if not isinstance(part, Mapping)}
        return dict.fromkeys(models, plain)
    unknown = [name for name in nested if name not in models]
    if unknown:
        raise ParameterError(
            f"grid names {unknown[0]!r}, which is no model here; there are "
            f"{', '.join(map(repr, models))}."
        )
    return {name: nested.get(name, {}) for name in models}


def check_test_size(test_size: object) -> None:
    """Refuse a share of test trials that is none.

    Raises
    ------
    ParameterError
        If it is no number between 0 and 1.
    """
    if not isinstance(test_size, float | np.floating) or not 0 < test_size < 1:
        raise ParameterError(
            f"test_size must be a share of trials between 0 and 1, got {test_size!r}."
        )


def _workers(n_jobs: int, processes: int) -> int:
    """Return how many work on the sweep, over all processes."""
    from joblib import effective_n_jobs

    return n_jobs if processes == 1 else int(effective_n_jobs(n_jobs)) * processes


def _run(
    batches: Sequence[Sequence[Task]],
    models: Mapping[str, Any],
    windows: xr.DataTree,
    asked: Mapping[str, Any],
    label: Label,
    classifier: Any,
    folder: Path,
    n_jobs: int,
    progress: Progress | None,
) -> None:
    from joblib import Parallel, delayed

    # children are sent one by one: pickling a child of a tree would send the whole tree
    data = dict(iterate_subjects(windows))
    waiting = sum(map(len, batches))
    calls = (
        delayed(run_tasks)(batch, models[batch[0].model], data, dict(asked), label, classifier)
        for batch in batches
    )
    number = 0
    for batch, rows in zip(
        batches, Parallel(n_jobs=n_jobs, return_as="generator")(calls), strict=True
    ):
        for task, row in zip(batch, rows, strict=True):
            number += 1
            write_text(row_path(folder, task), json.dumps(row, default=str))
            if progress is not None:
                said = row["error"] or f"across {row.get('across_trial', float('nan')):.2f}"
                what = f"{task.model} {dict(task.settings)} seed {task.seed}"
                progress(f"{number}/{waiting} {what}: {said}")


def _batches(
    tasks: Sequence[Task], models: Mapping[str, Any], folder: Path, n_jobs: int
) -> list[list[Task]]:
    """Return tasks that wait, in pieces that are worth fitting together.

    All tasks are cut, not those that wait: in one process, a sweep that goes on after a kill
    fits the same ones together as it would have, so that not even rounding differs. With
    several, what waits is cut again where a process would have nothing to do.
    """
    waiting = {task.key for task in tasks if not row_path(folder, task).exists()}
    most = max(1, share_of_each(len(waiting), n_jobs))
    batches = []
    for name, model in models.items():
        mine = [task for task in tasks if task.model == name]
        size = fits_at_once(model, len(tasks), n_jobs)
        for start in range(0, len(mine), size):
            part = [task for task in mine[start : start + size] if task.key in waiting]
            batches += [part[at : at + most] for at in range(0, len(part), most)]
    return batches


def run_tasks(
    tasks: Sequence[Task],
    model: Any,
    data: Mapping[str, xr.Dataset],
    asked: Mapping[str, Any],
    label: Label,
    classifier: Any,
) -> list[dict[str, Any]]:
    """Fit each task's settings and return the rows of the table; an error of ours is a row too."""
    from neuroalign.schema import build_tree

    rows: list[dict[str, Any]] = [
        {"model": task.model, **task.settings, "seed": task.seed} for task in tasks
    ]
    models, folds, places = [], [], []
    for place, task in enumerate(tasks):
        try:
            unfitted = _unfitted(model, task)
            fold = split_trials(
                build_tree(data),
                test_size=asked["test_size"],
                stratify=label,
                simultaneous=asked["simultaneous"],
                random_state=task.seed,
            )
        except NeuroAlignError as error:
            rows[place]["error"] = _said(error)
        else:
            models.append(unfitted)
            folds.append(fold)
            places.append(place)
    started = time.perf_counter()
    from neuroalign.training.processes import working_alone

    with working_alone():  # other processes have tasks of their own
        fitted = fit_each(models, [train for train, _ in folds], label=label)
    seconds = (time.perf_counter() - started) / max(1, len(folds))
    for place, one, fold in zip(places, fitted, folds, strict=True):
        seed = tasks[place].seed
        plan = Plan(label, label, asked["simultaneous"], classifier, asked["imputation"], seed)
        try:
            rows[place] |= _scores_of(one, fold, plan, seconds) | {"error": ""}
        except NeuroAlignError as error:
            rows[place]["error"] = _said(error)
    return rows


def _unfitted(model: Any, task: Task) -> Any:
    from sklearn.base import clone

    unfitted = clone(model).set_params(**task.settings)
    if "random_state" in unfitted.get_params(deep=False):
        unfitted.set_params(random_state=task.seed)
    return unfitted


def _said(error: NeuroAlignError) -> str:
    return f"{type(error).__name__}: {error}"


def _scores_of(
    fitted: Any, fold: tuple[xr.DataTree, xr.DataTree], plan: Plan, seconds: float
) -> dict[str, float]:
    if isinstance(fitted, NeuroAlignError):
        raise fitted
    begun = time.perf_counter()
    latents = fitted.transform(fold[0]), fitted.transform(fold[1])
    result = replace(judge_fold(fitted, latents, fold, plan, number=0), seconds=seconds)
    row = summary_row(score_method([result], permutations=0, bootstraps=0, seed=plan.seed))
    return row | {"seconds_scoring": time.perf_counter() - begun}


def summary_row(scores: xr.Dataset) -> dict[str, float]:
    """Average the scores of one method over subjects and pairs."""
    row = {
        f"{scope}_{level}": float(scores["headline"].sel(scope=scope, level=level))
        for scope in SCOPES
        for level in LEVELS
    }
    row["chance"] = float(scores["chance"].mean())
    if "bits_per_spike" in scores:
        for kind in scores["kind"].values.tolist():
            row[f"bits_{kind}"] = float(scores["bits_per_spike"].sel(kind=kind).mean())
        row["above_floor"] = float(scores["above_floor"].mean())
        for level in LEVELS:
            row[f"coherence_{level}"] = float(
                scores[f"coherence_{level}"].sel(kind="imputed").mean()
            )
    if "bits_reconstructed" in scores:
        row["bits_reconstructed"] = float(scores["bits_reconstructed"].mean())
    row["alignment"] = float(scores["alignment"].mean())
    row["seconds"] = float(scores["seconds"].sum())
    return row
