"""Checks of what is to be fitted, and which trials are held out to decide when to stop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from neuroalign.data.allocation import choose_test
from neuroalign.data.randomness import named_generator
from neuroalign.data.windows import lags_per_window, window_starts
from neuroalign.errors import DataError, ParameterError
from neuroalign.fitted import Geometry
from neuroalign.nn.joint import MOST_SUBSET_MODALITIES

Label = str | list[str]


def resolve_label(datasets: Mapping[str, xr.Dataset], label: str | Sequence[str] | None) -> Label:
    """Return the label to pair by: the argument, or what the data's spec names.

    Raises
    ------
    ParameterError
        If neither says.
    """
    if label is not None:
        return label if isinstance(label, str) else list(label)
    for dataset in datasets.values():
        named = json.loads(dataset.attrs.get("spec", "{}")).get("label")
        if named:
            return named if isinstance(named, str) else list(named)
    raise ParameterError(
        "fit needs a label to pair trials by, and the data's spec names none; "
        'pass label="odor" (any trial coordinate).'
    )


def fingerprint(
    datasets: Mapping[str, xr.Dataset],
    labels: Mapping[str, np.ndarray],
    settings: Mapping[str, Any],
    seed: int,
) -> str:
    """Return a hash of the data and of what decides a fit, to recognise its checkpoint."""
    digest = hashlib.sha256()
    decisive = {k: v for k, v in settings.items() if k not in {"verbose", "random_state"}}
    digest.update(json.dumps([decisive, seed], sort_keys=True, default=plain).encode())
    for name, dataset in datasets.items():
        digest.update(f"{name}|{dataset['counts'].shape}|{list(labels[name])}".encode())
        digest.update(np.ascontiguousarray(dataset["counts"].values).tobytes())
        digest.update(window_starts(dataset).tobytes())
    return digest.hexdigest()


def plain(value: object) -> object:
    """Return what JSON can write of a setting."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, np.random.Generator):
        return None
    return list(value) if isinstance(value, tuple) else str(value)


def common_geometry(datasets: Mapping[str, xr.Dataset]) -> Geometry:
    """Return the bins and windows that all subjects have.

    Raises
    ------
    DataError
        If they differ between subjects, or a subject has no units.
    """
    found = {
        name: (float(d.attrs["bin_width"]), lags_per_window(d), d.sizes["window"])
        for name, d in datasets.items()
    }
    first = next(iter(found))
    for name, (width, lags, n_windows) in found.items():
        if (abs(width - found[first][0]) > 1e-9) or (lags, n_windows) != found[first][1:]:
            raise DataError(
                f"subjects need the same bins and windows, but {first!r} has "
                f"{found[first][2]} windows of {found[first][1]} bins of {found[first][0]:g} s and "
                f"{name!r} has {n_windows} of {lags} bins of {width:g} s."
            )
        if datasets[name].sizes["unit"] == 0:
            raise DataError(f"subject {name!r} has no units left; loosen the spec's unit rules.")
    return Geometry(*found[first][:2])


def check_labels(
    labels: Mapping[str, np.ndarray],
    classes: np.ndarray,
    label: Label,
    settings: Mapping[str, Any],
) -> None:
    """Refuse labels by which nothing can be paired.

    Raises
    ------
    DataError
        If a subject has no trials, there is only one label, or a subject lacks one and
        missing labels are not allowed.
    ParameterError
        If there are more subjects than the way of sharing can take.
    """
    empty = [name for name, values in labels.items() if len(values) == 0]
    if empty:
        raise DataError(f"no trials for subject {empty[0]!r}; loosen the spec's trial rules.")
    if settings["sharing"] == "mopoe" and len(labels) > MOST_SUBSET_MODALITIES:
        raise ParameterError(
            f'sharing="mopoe" enumerates every subset of subjects, {2 ** len(labels) - 1} for '
            f"{len(labels)} subjects; it takes at most {MOST_SUBSET_MODALITIES}. Choose "
            '"moe", "poe" or "mm-vamp".'
        )
    if len(classes) < 2 and settings["pairing"] != "trial":
        raise DataError(
            f"pairing needs at least two values of {label!r}, got only {classes[0]!r} in "
            f"{', '.join(map(repr, labels))}; choose another label."
        )
    if settings["allow_missing"] or settings["pairing"] == "trial":
        return
    for name, values in labels.items():
        for value in classes[~np.isin(classes, values)]:
            raise DataError(
                f"no trials with {label} {str(value)!r} for subject {name!r}; "
                "drop the label everywhere (keep_labels), or pass allow_missing=True."
            )


def check_trials(datasets: Mapping[str, xr.Dataset], settings: Mapping[str, Any]) -> None:
    """Refuse subjects recorded together that lack trials of others, unless that is allowed.

    Raises
    ------
    DataError
        If a subject lacks a trial; the message names the first ones.
    """
    if settings["pairing"] != "trial" or settings["allow_missing"]:
        return
    anywhere = np.unique(np.concatenate([d["trial"].values for d in datasets.values()]))
    for name, dataset in datasets.items():
        missing = np.setdiff1d(anywhere, dataset["trial"].values)
        if missing.size:
            shown = ", ".join(map(str, missing[:5].tolist())) + (
                ", ..." if missing.size > 5 else ""
            )
            raise DataError(
                f'pairing="trial" pairs equal trial ids, but {name!r} lacks {missing.size} that '
                f"other subjects have (ids {shown}); keep the trials that all have "
                "(select_trials), or pass allow_missing=True."
            )


def hold_out(
    datasets: Mapping[str, xr.Dataset],
    labels: Mapping[str, np.ndarray],
    settings: Mapping[str, Any],
    seed: int,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Hold out whole trials for validation; return positions of both parts."""
    everything = {name: np.arange(d.sizes["trial"]) for name, d in datasets.items()}
    fraction = settings["validation_fraction"]
    if fraction == 0.0:
        return everything, {name: positions[:0] for name, positions in everything.items()}
    if settings["pairing"] == "trial":  # partners must end up on the same side
        ids = np.unique(np.concatenate([d["trial"].values for d in datasets.values()]))
        order = np.random.default_rng([seed, 1]).permutation(ids)
        held = order[: round(fraction * len(ids))]
        outside = {n: np.isin(d["trial"].values, held) for n, d in datasets.items()}
    else:
        outside = {}
        for name, values in labels.items():
            stream = named_generator(seed, "validation", name)
            outside[name] = choose_test(values, round(fraction * len(values)), stream)
    return (
        {name: everything[name][~out] for name, out in outside.items()},
        {name: everything[name][out] for name, out in outside.items()},
    )
