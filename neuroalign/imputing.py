"""Imputing a subject's activity: from its own latents, or from one or several others'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from neuroalign.bridge import expected_dataset
from neuroalign.data.windows import window_starts
from neuroalign.errors import DataError, ParameterError
from neuroalign.fitted import FittedModel, encode_subject, pair_calibration, pair_rates
from neuroalign.nn.expectation import average_windows

Combine = Literal["precision", "equal"]
COMBINATIONS: Final[Sequence[str]] = ("precision", "equal")


def impute_subject(
    fitted: FittedModel,
    sources: Mapping[str, xr.Dataset],
    target: str,
    *,
    keep_windows: bool,
    combine: str = "precision",
) -> xr.Dataset:
    """Decode latents of the sources with the target's decoder into expected counts.

    Parameters
    ----------
    fitted : FittedModel
        The fit.
    sources : mapping subject -> Dataset
        Windowed counts. Recorded together, sources may have different trials; the result has
        all of them, each from the sources that have it.
    target : str
        Whose units are imputed.
    keep_windows : bool
        Whether each window keeps its own expectation.
    combine : str
        Weights of several sources: "precision" (of their posteriors) or "equal".

    Raises
    ------
    DataError
        If sources that were recorded apart do not have the same trials, or windows were left
        out.
    ParameterError
        If `combine` is unknown, or asks for precisions where posteriors have no scale.
    """
    if combine not in COMBINATIONS:
        raise ParameterError(
            f"combine must be one of {', '.join(map(repr, COMBINATIONS))}, got {combine!r}."
        )
    combine = "equal" if len(sources) == 1 else combine
    _check_precision(fitted, combine)
    names = list(sources)
    trials = _common_trials(fitted, sources)
    total: Tensor | None = None
    weight_sum: Tensor | None = None
    for name, dataset in sources.items():
        if name != target:
            _check_windows(fitted, name, window_starts(dataset))
        expected, weight = _from_source(fitted, name, dataset, target, combine)
        place = torch.from_numpy(np.searchsorted(trials, dataset["trial"].values))
        if total is None or weight_sum is None:
            total = expected.new_zeros(len(trials), *expected.shape[1:])
            weight_sum = expected.new_zeros(len(trials), expected.shape[1], 1, 1)
        total.index_add_(0, place, weight * expected)
        weight_sum.index_add_(0, place, weight)
    assert total is not None
    assert weight_sum is not None
    expected = total / weight_sum
    layout = _layout(sources, trials)
    order = np.searchsorted(trials, layout["trial"].values)
    expected = expected[torch.from_numpy(order)]
    if not keep_windows:
        starts = torch.from_numpy(window_starts(layout))
        expected = average_windows(expected, starts, layout.sizes["time"])
    return expected_dataset(
        layout,
        fitted.subjects[target],
        expected.float().numpy(),
        source_names=names,
        windows=keep_windows,
    )


def _from_source(
    fitted: FittedModel, name: str, dataset: xr.Dataset, target: str, combine: str
) -> tuple[Tensor, Tensor]:
    """Return one source's expectation (trial, window, lag, unit) and its weight, (trial, window, 1, 1)."""
    latents = encode_subject(fitted, name, dataset)
    rates = pair_rates(fitted, name, target, latents["mean"].values)
    offset, slope = pair_calibration(fitted, name, target)
    expected = offset.to(rates) + slope.to(rates) * rates
    if combine == "equal":
        weight = np.ones(latents["scale"].shape[:2])
    else:
        weight = (1.0 / np.square(latents["scale"].values)).mean(-1)
    return expected, torch.from_numpy(weight).to(rates)[..., None, None]


def _check_precision(fitted: FittedModel, combine: str) -> None:
    if combine == "precision" and fitted.settings["sharing"] == "autoencoder":
        raise ParameterError(
            'latents of sharing="autoencoder" have no scale to weight sources by; pass combine="equal".'
        )


def _common_trials(fitted: FittedModel, sources: Mapping[str, xr.Dataset]) -> np.ndarray:
    """Return the sorted ids of all trials that are imputed."""
    trials = [dataset["trial"].values for dataset in sources.values()]
    if fitted.settings["pairing"] == "trial":
        return np.unique(np.concatenate(trials))
    names = list(sources)
    for name, own in zip(names[1:], trials[1:], strict=True):
        if not np.array_equal(np.sort(own), np.sort(trials[0])):
            raise DataError(
                f"several sources need the same trials, but {names[0]!r} and {name!r} differ in "
                "their trial ids; impute from one source at a time, or select trials first "
                '(for subjects recorded together, fit with pairing="trial").'
            )
    return np.unique(trials[0])


def _layout(sources: Mapping[str, xr.Dataset], trials: np.ndarray) -> xr.Dataset:
    """Return coordinates of all trials: the first source's in its order, then the others'."""
    pieces, seen = [], np.array([], dtype=trials.dtype)
    for dataset in sources.values():
        fresh = ~np.isin(dataset["trial"].values, seen)
        if fresh.any():
            pieces.append(dataset.drop_dims("unit").isel(trial=fresh))
            seen = np.concatenate([seen, dataset["trial"].values[fresh]])
    if len(pieces) == 1:
        return pieces[0]
    shared = set.intersection(*(set(map(str, piece.coords)) for piece in pieces))
    pieces = [
        piece.drop_vars([c for c in piece.coords if str(c) not in shared]) for piece in pieces
    ]
    return xr.concat(pieces, "trial", combine_attrs="override", coords="minimal", compat="override")


def _check_windows(fitted: FittedModel, name: str, starts: np.ndarray) -> None:
    if not np.array_equal(starts, fitted.latents[name].starts):
        raise DataError(
            f"imputing reads whole trials, so it needs the {len(fitted.latents[name].starts)} "
            f"windows of the fit, got {len(starts)} other ones for subject {name!r}; do not "
            "select windows before impute."
        )
