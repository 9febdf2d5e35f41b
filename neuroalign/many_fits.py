"""Many models fitted at once, as replicates of one network where their shapes allow it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
import xarray as xr
from sklearn.base import clone

from neuroalign.construction import resolve_device
from neuroalign.data.randomness import resolve_seed
from neuroalign.errors import NeuroAlignError, ParameterError
from neuroalign.fitting import PreparedFit, finish_fit, prepare_fit
from neuroalign.model import SharedLatentModel
from neuroalign.preparation import Label, resolve_label
from neuroalign.restarts import replicates_that_fit, too_large, train_starts
from neuroalign.schema import iterate_subjects, validate
from neuroalign.settings import objective_schedules, resolved_settings
from neuroalign.training.memory import MOST_ON_CPU, MOST_ON_GPU
from neuroalign.training.processes import Processes, active_processes, working_alone

__all__ = ["fit_many"]

# what replicates of one network may differ in
OWN_SETTINGS: Final = ("beta", "n_init", "random_state", "verbose")


def fit_many(
    models: Sequence[SharedLatentModel],
    windows: xr.DataTree | Sequence[xr.DataTree],
    *,
    label: str | Sequence[str] | None = None,
) -> list[SharedLatentModel | NeuroAlignError]:
    """Fit many models, side by side where they can be.

    Models whose settings differ in `beta`, `n_init` and `random_state` alone, on data of the
    same units, bins and numbers of rows, train together as replicates: on a GPU for little more
    than the price of one, on a CPU for some tenths less than one after the other (see
    `benchmarks/bench_replicates.py`). Every model ends as it would have alone, up to the
    rounding of sums; weights, pairs and noise depend on its own seed, and it stops by its own
    validation trials. Inside `distributed`, every process fits an equal part of the models and
    all of them get all.

    Parameters
    ----------
    models : sequence of SharedLatentModel
        Unfitted; cloned, never changed.
    windows : DataTree or sequence of DataTree
        Windowed training trials, the same for all models or one tree for each.
    label : str or list of str, optional
        As in `SharedLatentModel.fit`.

    Returns
    -------
    list of SharedLatentModel or NeuroAlignError
        For every model, in order, the fitted clone; or the error that fitting it raised, so that
        one failure does not cost the others. Whether subjects met is not warned of: see
        `alignment_`.

    Raises
    ------
    ParameterError
        If there are not as many trees as models.

    Warns
    -----
    DataWarning
        If fits did not fit into the memory of a GPU side by side and were cut into halves. A
        fit that does not fit alone is an error in its place.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(
    ...     units={"ada": 12, "bob": 10}, trials=60, mean_rate=9, random_state=0
    ... )
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> models = [
    ...     na.SharedLatentModel(2, beta=beta, max_epochs=3, random_state=0, verbose=False)
    ...     for beta in (0.1, 1.0)
    ... ]
    >>> fitted = na.fit_many(models, windows, label="odor")
    >>> [model.get_params()["beta"] for model in fitted]
    [0.1, 1.0]
    """
    trees = [windows] * len(models) if isinstance(windows, xr.DataTree) else list(windows)
    if len(trees) != len(models):
        raise ParameterError(
            f"expected one tree of windows, or one for each of {len(models)} models, "
            f"got {len(trees)}."
        )
    done: dict[int, SharedLatentModel | NeuroAlignError] = {}
    processes = active_processes()
    if processes.number > 1:
        return _spread(models, trees, label, processes)
    waiting: dict[Any, list[tuple[int, PreparedFit]]] = {}
    for place, (model, tree) in enumerate(zip(models, trees, strict=True)):
        try:
            prepared = _prepare(model, tree, label)
        except NeuroAlignError as problem:
            done[place] = problem
        except torch.cuda.OutOfMemoryError as full:
            done[place] = too_large(resolve_device(model.get_params(deep=False)["device"]), full)
        else:
            waiting.setdefault(_shape(prepared), []).append((place, prepared))
    for group in waiting.values():
        for piece in _pieces(group):
            starts = train_starts([prepared.training for _, prepared in piece])
            for (place, prepared), found in zip(piece, starts, strict=True):
                done[place] = (
                    found
                    if isinstance(found, NeuroAlignError)
                    else _finished(models[place], prepared, found)
                )
    return [done[place] for place in range(len(models))]


def _spread(
    models: Sequence[SharedLatentModel],
    trees: Sequence[xr.DataTree],
    label: str | Sequence[str] | None,
    processes: Processes,
) -> list[SharedLatentModel | NeuroAlignError]:
    """Fit an equal part of the models in each process, and give all of them to every one."""
    start, stop = processes.share(len(models))
    with working_alone():
        own = fit_many(models[start:stop], trees[start:stop], label=label)
    # a tensor remembers its device, which another process has no business with
    at_home = [_moved(model, torch.device("cpu")) for model in own]
    parts = processes.gather(at_home)
    everyone = [model for part in parts for model in part]
    return [
        _moved(model, resolve_device(given.get_params(deep=False)["device"]))
        for given, model in zip(models, everyone, strict=True)
    ]


def _moved(
    model: SharedLatentModel | NeuroAlignError, device: torch.device
) -> SharedLatentModel | NeuroAlignError:
    if not isinstance(model, NeuroAlignError):
        model.fitted_.vae.to(device)
        model.fitted_.device = device
    return model


def _prepare(
    model: SharedLatentModel, windows: xr.DataTree, label: str | Sequence[str] | None
) -> PreparedFit:
    settings = resolved_settings(model.get_params(deep=False))
    datasets = dict(iterate_subjects(validate(windows, "windowed", argument="windows")))
    used: Label = resolve_label(datasets, label)
    return prepare_fit(datasets, used, settings, seed=resolve_seed(settings["random_state"]))


def _finished(
    model: SharedLatentModel, prepared: PreparedFit, starts: Sequence[Any]
) -> SharedLatentModel | NeuroAlignError:
    try:
        fitted = finish_fit(prepared, starts)
    except NeuroAlignError as problem:
        return problem
    except torch.cuda.OutOfMemoryError as full:
        return too_large(prepared.training.device, full)
    result: SharedLatentModel = clone(model)
    result._accept(fitted)  # noqa: SLF001  (what its own `fit` does)
    return result


def _shape(prepared: PreparedFit) -> tuple[Any, ...]:
    """Return what replicates of one network must have in common."""
    data, settings = prepared.training.data, prepared.settings
    categorical = settings["likelihood"] == "categorical"  # its decoder has an output per count
    common = {name: repr(value) for name, value in settings.items() if name not in OWN_SETTINGS}
    return (
        tuple(sorted(common.items())),
        tuple(
            (name, len(s.unit_ids), s.n_inputs, s.largest_count if categorical else 0)
            for name, s in prepared.subjects.items()
        ),
        tuple((s.counts.shape[1:], tuple(s.starts.tolist())) for s in prepared.sources.values()),
        # a replicate may stop once its own objective has settled, and all must be told alike
        objective_schedules(settings).settled_after,
        data.training_rows.n_rows,
        None if data.validation_rows is None else data.validation_rows.n_rows,
    )


def _pieces(
    group: Sequence[tuple[int, PreparedFit]],
) -> Iterator[list[tuple[int, PreparedFit]]]:
    """Cut fits of one shape into pieces that fit into memory together."""
    limit = replicates_that_fit(group[0][1].training)
    piece: list[tuple[int, PreparedFit]] = []
    held = 0
    for one in group:
        starts = int(one[1].settings["n_init"])
        if piece and held + starts > limit:
            yield piece
            piece, held = [], 0
        piece.append(one)
        held += starts
    if piece:
        yield piece


def batch_size_for(device: str) -> int:
    """Say how many fits are worth being handed to `fit_many` at a time on a device."""
    return MOST_ON_CPU if resolve_device(device).type == "cpu" else MOST_ON_GPU
