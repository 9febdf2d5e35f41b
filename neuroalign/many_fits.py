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
from neuroalign.restarts import train_starts
from neuroalign.schema import iterate_subjects, validate
from neuroalign.settings import check_settings, objective_schedules
from neuroalign.training.sources import WindowSource

__all__ = ["fit_many"]

# what replicates of one network may differ in
OWN_SETTINGS: Final = ("beta", "n_init", "random_state", "verbose")
# On a CPU the gain is reached with a few replicates, and a piece that is done is done.
MOST_ON_CPU: Final = 4
MOST_ON_GPU: Final = 128
SHARE_OF_MEMORY: Final = 0.5
# weights, gradients, two moments, average, best
COPIES_OF_WEIGHTS: Final = 6
# tensors the size of a batch's features that a step holds at a time, for every subject
COPIES_OF_BATCH: Final = 8


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
    validation trials.

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
        one failure does not cost the others. No warnings are issued: see `alignment_`.

    Raises
    ------
    ParameterError
        If there are not as many trees as models.

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
    waiting: dict[Any, list[tuple[int, PreparedFit]]] = {}
    for place, (model, tree) in enumerate(zip(models, trees, strict=True)):
        try:
            prepared = _prepare(model, tree, label)
        except NeuroAlignError as problem:
            done[place] = problem
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


def _prepare(
    model: SharedLatentModel, windows: xr.DataTree, label: str | Sequence[str] | None
) -> PreparedFit:
    settings = model.get_params(deep=False)
    check_settings(settings)
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
            (name, len(s.unit_ids), len(s.scaling.shift), s.largest_count if categorical else 0)
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
    limit = replicates_at_once(group[0][1])
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


def replicates_at_once(prepared: PreparedFit) -> int:
    """Estimate how many replicates may train side by side on the fit's device."""
    device = prepared.training.device
    if device.type != "cuda":
        return MOST_ON_CPU
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, int(SHARE_OF_MEMORY * free / replicate_bytes(prepared)))


def batch_size_for(device: str) -> int:
    """Say how many fits are worth being handed to `fit_many` at a time on a device."""
    return MOST_ON_CPU if resolve_device(device).type == "cpu" else MOST_ON_GPU


def replicate_bytes(prepared: PreparedFit) -> int:
    """Estimate the memory that training one replicate takes, in bytes."""
    network = prepared.training.build(prepared.seed)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    size = next(network.parameters()).element_size()
    features = sum(len(s.scaling.shift) for s in prepared.subjects.values())
    batch = features * int(prepared.settings["batch_size"]) * size
    counts = sum(_bytes_of(source) for source in prepared.sources.values())
    return COPIES_OF_WEIGHTS * weights + COPIES_OF_BATCH * batch + counts


def _bytes_of(source: WindowSource) -> int:
    return source.counts.numel() * source.counts.element_size()
