"""Reconstructing a subject from the joint posterior of all subjects that stand beside it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.distributions import Normal

from neuroalign.bridge import expected_dataset, experts, match_units, window_source
from neuroalign.data.windows import window_starts
from neuroalign.errors import DataError, ParameterError
from neuroalign.fitted import FittedModel, calibrate, check_geometry, decoded_rates
from neuroalign.nn.expectation import average_windows
from neuroalign.partners import partners


def reconstruct_jointly(
    fitted: FittedModel, datasets: Mapping[str, xr.Dataset], target: str, *, keep_windows: bool
) -> xr.Dataset:
    """Decode the joint posterior of a subject's trials and their partners into expected counts.

    Parameters
    ----------
    fitted : FittedModel
        The fit.
    datasets : mapping subject -> Dataset
        Windowed counts of the target and its partners.
    target : str
        Whose trials and units are reconstructed.
    keep_windows : bool
        Whether each window keeps its own expectation.

    Raises
    ------
    ParameterError
        If the model's way of sharing has no joint posterior.
    DataError
        If subjects differ in their windows.
    """
    rates = _joint_rates(fitted, datasets, target)
    offset, slope = fitted.joint_calibration[target]
    expected = offset.to(rates) + slope.to(rates) * rates
    own = datasets[target]
    if not keep_windows:
        starts = torch.from_numpy(window_starts(own))
        expected = average_windows(expected, starts, own.sizes["time"])
    return expected_dataset(
        own,
        fitted.subjects[target],
        expected.float().numpy(),
        source_names=list(datasets),
        windows=keep_windows,
    )


def calibrate_joint(fitted: FittedModel, datasets: Mapping[str, xr.Dataset]) -> None:
    """Calibrate every subject's joint reconstruction, while single trials' counts are at hand."""
    if fitted.vae.rule.joint is None:
        return
    for target, dataset in datasets.items():
        counts = dataset["counts"].transpose("trial", "time", "unit").values
        rates = _joint_rates(fitted, datasets, target)
        fitted.joint_calibration[target] = calibrate(rates, window_starts(dataset), counts)


@torch.no_grad()
def _joint_rates(fitted: FittedModel, datasets: Mapping[str, xr.Dataset], target: str) -> Tensor:
    """Return uncalibrated rates (trial, window, lag, unit) averaged over the joint posterior."""
    rule = fitted.vae.rule
    if rule.joint is None:
        raise ParameterError(
            f"sharing={fitted.settings['sharing']!r} has no joint posterior: every subject keeps "
            'its own; leave joint out (joint posteriors: "aggregated", "poe", "moe", "mopoe").'
        )
    _check_windows(datasets, target)
    positions = partners(fitted, datasets, target)
    means, scales, present = [], [], []
    for name, dataset in datasets.items():
        mean, scale = _expert(fitted, name, dataset)
        there = positions[name] >= 0
        chosen = np.maximum(positions[name], 0)
        means.append(mean[chosen])
        scales.append(scale[chosen])
        present.append(torch.from_numpy(there).unsqueeze(-1).expand(-1, mean.shape[1]))
    joint = rule.joint(
        Normal(torch.stack(means), torch.stack(scales), validate_args=False), torch.stack(present)
    )
    total: Tensor | float = 0.0
    for mean, weight in zip(joint.components.mean, joint.weights, strict=True):
        rates = decoded_rates(fitted, mean.numpy(), target)
        # the mean of rates, not the rates of a mean
        total = total + weight[..., None, None].to(rates) * rates
    return torch.as_tensor(total)


def _check_windows(datasets: Mapping[str, xr.Dataset], target: str) -> None:
    wanted = len(window_starts(datasets[target]))
    for name, dataset in datasets.items():
        if len(window_starts(dataset)) != wanted:
            raise DataError(
                f"joint posteriors need the same windows of all subjects, but {target!r} has "
                f"{wanted} and {name!r} has {len(window_starts(dataset))}; select windows of all alike."
            )


def _expert(fitted: FittedModel, name: str, dataset: xr.Dataset) -> tuple[Tensor, Tensor]:
    """Return what one encoder says about its windows, (trial, window, latent), on the CPU."""
    check_geometry(fitted, name, dataset)
    subject = fitted.subjects[name]
    source = window_source(
        match_units(dataset, subject),
        subject,
        device=fitted.device,
        dtype=fitted.dtype,
        target_counts=False,
    )
    expert = experts(fitted.vae, fitted.modality(name), source)
    shape = (dataset.sizes["trial"], dataset.sizes["window"], -1)
    return expert.mean.cpu().reshape(shape), expert.scale.cpu().reshape(shape)
