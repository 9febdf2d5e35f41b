"""The one place where labelled data become tensors and tensors become labelled data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.distributions import Normal

from neuroalign.data.windows import lags_per_window, window_starts
from neuroalign.errors import DataError, ParameterError
from neuroalign.nn.multimodal_vae import MultimodalVAE
from neuroalign.schema import LATENT_ATTRIBUTES, label_values
from neuroalign.training.pairing import FixedRows, ResampledRows, RowPlan
from neuroalign.training.sources import FeatureScaling, WindowSource

PAIRINGS = ("resample", "rank", "trial")
SCALINGS = ("sqrt-standard", "standard", "sqrt", "none")
ENCODING_ROWS = 4096  # windows encoded or decoded at once, which bounds memory


@dataclass(frozen=True)
class FittedSubject:
    """What the model must remember of a subject to read its recordings again.

    Attributes
    ----------
    name : str
        The subject.
    unit_ids : tuple of str
        Units in the order of the features.
    scaling : FeatureScaling
        Statistics of the training trials, features in the order (lag, unit).
    totals : FeatureScaling or None
        The same of each unit's spikes in a whole window, if the encoder is shown these too.
    mean_counts : Tensor of shape (unit,)
        Training trials' mean count per bin.
    largest_count : int
        Most spikes in a bin of any trial given to the fit.
    """

    name: str
    unit_ids: tuple[str, ...]
    scaling: FeatureScaling
    mean_counts: Tensor
    largest_count: int
    totals: FeatureScaling | None = None

    @property
    def n_features(self) -> int:
        """How many counts a window has: bins times units."""
        return len(self.scaling.shift)

    @property
    def n_inputs(self) -> int:
        """How many numbers the encoder sees of a window."""
        return self.n_features + (0 if self.totals is None else len(self.totals.shift))


def check_counts(dataset: xr.Dataset, name: str) -> None:
    """Refuse what are no spike counts, whatever the likelihood: they are kept as integers.

    Raises
    ------
    DataError
        If a count is not finite, negative or a fraction; the message names the first one.
    """
    counts = dataset["counts"]
    values = counts.values
    if values.dtype.kind in "ub":
        return
    for what, wrong in (
        ("values that are not finite", ~np.isfinite(values)),
        ("negative values", values < 0),
        ("fractions", values != np.round(values)),
    ):
        if not wrong.any():
            continue
        place = np.unravel_index(int(wrong.argmax()), values.shape)
        where = dict(zip(counts.dims, place, strict=True))
        trial = counts["trial"].values[where["trial"]]
        unit = str(counts["unit"].values[where["unit"]])
        raise DataError(
            f"counts must be whole numbers of spikes, but those of subject {name!r} hold {what}: "
            f"{values[place]:g} in trial {trial} of unit {unit!r}. Count spikes with bin_spikes and "
            "leave out trials with gaps; rates and calcium signals are no counts."
        )


def counts_tensor(dataset: xr.Dataset, device: torch.device) -> Tensor:
    """Copy counts to the device, time-major: (trial, time, unit), in a small integer type."""
    values = np.asarray(dataset["counts"].transpose("trial", "time", "unit").values)
    # torch lacks most operations for unsigned 16-bit integers
    kind = np.uint8 if values.dtype == np.uint8 else np.int32
    return torch.from_numpy(np.array(values, dtype=kind, order="C", copy=True)).to(device)


def fit_scaling(dataset: xr.Dataset, kind: str) -> FeatureScaling:
    """Compute the scaling of a subject's windows from its training trials.

    Parameters
    ----------
    dataset : Dataset
        Windowed data of one subject.
    kind : str
        "sqrt-standard", "standard", "sqrt" or "none".
    """
    if kind not in SCALINGS:
        raise ParameterError(f"scaling must be one of {', '.join(SCALINGS)}; got {kind!r}.")
    counts = dataset["counts"].transpose("trial", "time", "unit").values
    starts, n_lags = window_starts(dataset), lags_per_window(dataset)
    n_features = n_lags * counts.shape[2]
    # one lag at a time: windows are never written out
    return _scaling((counts[:, starts + lag] for lag in range(n_lags)), kind, n_features)


def fit_totals_scaling(dataset: xr.Dataset, kind: str) -> FeatureScaling:
    """Compute the scaling of each unit's spikes in a whole window; see `fit_scaling`."""
    counts = dataset["counts"].transpose("trial", "time", "unit").values
    starts, n_lags = window_starts(dataset), lags_per_window(dataset)
    until = np.cumsum(counts, axis=1, dtype=np.int64)
    until = np.concatenate([np.zeros_like(until[:, :1]), until], axis=1)
    return _scaling([until[:, starts + n_lags] - until[:, starts]], kind, counts.shape[2])


def _scaling(pieces: Iterable[np.ndarray], kind: str, n_features: int) -> FeatureScaling:
    """Scale features that come in pieces of shape (trial, window, feature)."""
    square_root = kind.startswith("sqrt")
    if not kind.endswith("standard"):
        zeros, ones = torch.zeros(n_features), torch.ones(n_features)
        return FeatureScaling(square_root, zeros, ones, moved=False)
    shift, gain = [], []
    for piece in pieces:
        values = piece.astype(np.float64)
        values = np.sqrt(values) if square_root else values
        shift.append(values.mean((0, 1)))
        spread = values.std((0, 1))
        constant = spread < 1e-12
        gain.append(np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, spread)))
    return FeatureScaling(
        square_root,
        torch.from_numpy(np.concatenate(shift)).float(),
        torch.from_numpy(np.concatenate(gain)).float(),
    )


def fit_subject(
    name: str, dataset: xr.Dataset, settings: Mapping[str, Any], *, largest_count: int
) -> FittedSubject:
    """Learn from training trials what the model must remember of a subject."""
    kind = settings["scaling"]
    counts = dataset["counts"]
    mean = counts.mean(("trial", "time"), dtype=np.float64).values
    return FittedSubject(
        name,
        tuple(map(str, dataset["unit"].values)),
        fit_scaling(dataset, kind),
        torch.from_numpy(mean).float(),
        largest_count,
        fit_totals_scaling(dataset, kind) if settings["window_totals"] else None,
    )


def match_units(dataset: xr.Dataset, subject: FittedSubject) -> xr.Dataset:
    """Return the data with units in the model's order.

    Raises
    ------
    DataError
        If units are missing or unknown; the message names them.
    """
    found = [str(unit) for unit in dataset["unit"].values]
    if tuple(found) == subject.unit_ids:
        return dataset
    missing = sorted(set(subject.unit_ids) - set(found))
    unknown = sorted(set(found) - set(subject.unit_ids))
    if missing or unknown:
        parts = [f"missing: {_some(missing)}"] if missing else []
        parts += [f"not in the fit: {_some(unknown)}"] if unknown else []
        raise DataError(
            f"{subject.name!r} has {len(found)} units but the model was fitted on "
            f"{len(subject.unit_ids)}; {'; '.join(parts)}."
        )
    return dataset.sel(unit=list(subject.unit_ids))


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def window_source(
    dataset: xr.Dataset,
    subject: FittedSubject,
    *,
    device: torch.device,
    dtype: torch.dtype,
    target_counts: bool,
) -> WindowSource:
    """Put one subject's counts on the device, ready to have windows gathered."""
    check_counts(dataset, subject.name)
    return WindowSource(
        counts_tensor(dataset, device),
        torch.from_numpy(window_starts(dataset).astype(np.int64)).to(device),
        lags_per_window(dataset),
        subject.scaling.to(device, dtype),
        target_counts=target_counts,
        totals=None if subject.totals is None else subject.totals.to(device, dtype),
    )


def plan_rows(
    datasets: Mapping[str, xr.Dataset],
    labels: Mapping[str, np.ndarray],
    positions: Mapping[str, np.ndarray],
    *,
    pairing: str,
    classes: np.ndarray,
    device: torch.device,
    donors: bool = False,
) -> RowPlan:
    """Plan which trials stand beside which.

    Parameters
    ----------
    datasets : mapping subject -> Dataset
        Windowed data whose trials the rows refer to by position.
    labels : mapping subject -> ndarray of shape (trial,)
        Every trial's label.
    positions : mapping subject -> ndarray of int
        The trials that take part, by position.
    pairing : str
        "resample", "rank" or "trial".
    classes : ndarray
        All labels.
    device : torch.device
        Where rows are drawn.
    """
    n_windows = next(iter(datasets.values())).sizes["window"]
    if pairing == "trial":
        return _rows_by_trial(datasets, positions, n_windows, device)
    members = [
        [positions[name][labels[name][positions[name]] == value] for value in classes]
        for name in datasets
    ]
    if pairing == "resample":
        tensors = [[torch.from_numpy(t).to(device) for t in subject] for subject in members]
        return ResampledRows(tensors, n_windows, donors=donors)
    blocks = []
    for trials in zip(*members, strict=True):  # one label: the k-th trial with the k-th trial
        shortest = min(map(len, trials))
        blocks.append(np.stack([t[:shortest] for t in trials], axis=1))
    return FixedRows(torch.from_numpy(np.concatenate(blocks)).to(device), n_windows)


def _rows_by_trial(
    datasets: Mapping[str, xr.Dataset],
    positions: Mapping[str, np.ndarray],
    n_windows: int,
    device: torch.device,
) -> RowPlan:
    where = {
        name: {int(data["trial"].values[p]): int(p) for p in positions[name]}
        for name, data in datasets.items()
    }
    trials = sorted(set().union(*where.values()))
    table = np.array([[w.get(t, -1) for w in where.values()] for t in trials], dtype=np.int64)
    table = table.reshape(len(trials), len(where))
    present = None if (table >= 0).all() else torch.from_numpy(table >= 0).to(device)
    index = torch.from_numpy(np.maximum(table, 0)).to(device)
    return FixedRows(index, n_windows, present)


def labels_of(
    datasets: Mapping[str, xr.Dataset], label: str | Sequence[str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return every subject's trial labels and the sorted values that occur anywhere.

    Raises
    ------
    DataError
        If a label is missing or holds values that are not finite.
    """
    names = label if isinstance(label, str) else list(label)
    labels = {n: label_values(data, names, subject=n) for n, data in datasets.items()}
    for name, values in labels.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DataError(
                f"expected a label for every trial, got {int((~np.isfinite(values)).sum())} "
                f"trials without {label!r} for subject {name!r}; drop them first."
            )
    return labels, np.unique(np.concatenate(list(labels.values())))


def encode(vae: MultimodalVAE, modality: int, source: WindowSource) -> Normal:
    """Return the posteriors of all windows given this subject alone, each (example, latent)."""
    return vae.rule.unimodal(experts(vae, modality, source))


@torch.no_grad()
def experts(vae: MultimodalVAE, modality: int, source: WindowSource) -> Normal:
    """Return what a subject's encoder says about all its windows, each (example, latent)."""
    device = source.counts.device
    means, scales = [], []
    for start in range(0, source.n_examples, ENCODING_ROWS):
        stop = min(start + ENCODING_ROWS, source.n_examples)
        index = torch.arange(start, stop, device=device).unsqueeze(0)
        posterior = vae.encoders[modality](source.gather(index)[0])
        means.append(posterior.mean[0])
        scales.append(posterior.scale[0])
    return Normal(torch.cat(means), torch.cat(scales), validate_args=False)


def latents_dataset(
    dataset: xr.Dataset, mean: np.ndarray, scale: np.ndarray, *, subject: str
) -> xr.Dataset:
    """Put labels back on latents of shape (trial · window, latent)."""
    shape = (dataset.sizes["trial"], dataset.sizes["window"], mean.shape[-1])
    dims = ("trial", "window", "latent")
    result = xr.Dataset(
        {"mean": (dims, mean.reshape(shape)), "scale": (dims, scale.reshape(shape))},
        coords=trial_coordinates(dataset, extra=("window",))
        | {"latent": np.arange(mean.shape[-1])},
    )
    attributes = {k: dataset.attrs[k] for k in LATENT_ATTRIBUTES if k in dataset.attrs}
    result.attrs = attributes | {"stage": "latents", "subject": subject}
    return result


def expected_dataset(
    source: xr.Dataset,
    target: FittedSubject,
    values: np.ndarray,
    *,
    source_names: Sequence[str],
    windows: bool,
) -> xr.Dataset:
    """Put labels on expected counts: the source's trials, the target's units.

    Parameters
    ----------
    source : Dataset
        Windowed data of the (first) source, whose trials these are.
    target : FittedSubject
        Whose units these are.
    values : ndarray
        (trial, time, unit), or (trial, window, lag, unit) if `windows`.
    source_names : sequence of str
        Where the latents came from.
    windows : bool
        Whether windows were kept apart.
    """
    coordinates: dict[str, xr.DataArray | np.ndarray] = {"unit": np.array(target.unit_ids)}
    if windows:
        data = xr.DataArray(values, dims=("trial", "window", "lag", "unit"))
        data = data.transpose("trial", "window", "unit", "lag")
        width = float(source.attrs["bin_width"])
        lags = np.round((np.arange(values.shape[2]) + 0.5) * width, 9)
        coordinates |= trial_coordinates(source, extra=("window",)) | {"lag": lags}
    else:
        data = xr.DataArray(values, dims=("trial", "time", "unit"))
        data = data.transpose("trial", "unit", "time")
        coordinates |= trial_coordinates(source, extra=("time",))
    result = xr.Dataset({"expected": data}, coords=coordinates)
    kept = ("spec", "bin_width", "window_length", "window_step")
    attributes = {key: source.attrs[key] for key in kept if key in source.attrs}
    result.attrs = {
        "stage": "imputed",
        "subject": target.name,
        "source": ", ".join(source_names),
        "target": target.name,
    } | attributes
    result["expected"].attrs["units"] = "expected spikes per bin"
    return result


def trial_coordinates(dataset: xr.Dataset, extra: Sequence[str]) -> dict[str, xr.DataArray]:
    """Copy the coordinates of trials, and those named, without their companions."""
    wanted = [n for n, c in dataset.coords.items() if c.dims == ("trial",) or n in extra]
    return {str(name): dataset.coords[name].reset_coords(drop=True).copy() for name in wanted}
