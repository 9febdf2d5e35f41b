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
from neuroalign.partners import partners, trial_positions

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
        all of them, each from the sources that have it. Recorded apart, the result has the
        first source's trials; each meets one trial of its label in every other source.
    target : str
        Whose units are imputed.
    keep_windows : bool
        Whether each window keeps its own expectation.
    combine : str
        Weights of several sources: "precision" (of their posteriors) or "equal".

    Raises
    ------
    DataError
        If several sources were recorded apart and carry no labels to meet by, or windows were
        left out.
    ParameterError
        If `combine` is unknown, or asks for precisions where posteriors have no scale.
    """
    if combine not in COMBINATIONS:
        raise ParameterError(
            f"combine must be one of {', '.join(map(repr, COMBINATIONS))}, got {combine!r}."
        )
    combine = "equal" if len(sources) == 1 else combine
    _check_precision(fitted, combine)
    for name, dataset in sources.items():
        if name != target:
            _check_windows(fitted, name, window_starts(dataset))
    layout, positions = _meetings(fitted, sources)
    total: Tensor | float = 0.0
    weight_sum: Tensor | float = 0.0
    for name, dataset in sources.items():
        expected, weight = _from_source(fitted, name, dataset, target, combine)
        chosen = torch.from_numpy(np.maximum(positions[name], 0))
        there = torch.from_numpy(positions[name] >= 0).to(weight)[:, None, None, None]
        total = total + there * weight[chosen] * expected[chosen]
        weight_sum = weight_sum + there * weight[chosen]
    expected = torch.as_tensor(total / weight_sum)
    if not keep_windows:
        starts = torch.from_numpy(window_starts(layout))
        expected = average_windows(expected, starts, layout.sizes["time"])
    return expected_dataset(
        layout,
        fitted.subjects[target],
        expected.float().numpy(),
        source_names=list(sources),
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


def _meetings(
    fitted: FittedModel, sources: Mapping[str, xr.Dataset]
) -> tuple[xr.Dataset, dict[str, np.ndarray]]:
    """Return the trials that are imputed, and for each its position in every source, −1 for none."""
    first, own = next(iter(sources.items()))
    if len(sources) == 1:
        return own, {first: np.arange(own.sizes["trial"])}
    if fitted.settings["pairing"] != "trial":  # equal ids of trials recorded apart mean nothing
        return own, partners(fitted, sources, first)
    layout = _layout(sources)
    wanted = layout["trial"].values
    return layout, {name: trial_positions(d, wanted) for name, d in sources.items()}


def _layout(sources: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Return coordinates of all trials: the first source's in its order, then the others'."""
    pieces, seen = [], np.array([], dtype=np.int64)
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
