"""Latents that any model has to beat: the scaled counts themselves and their principal components."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from neuroalign.analysis.scaling import Scaling, check_scaling, fit_scaling
from neuroalign.data.windows import window_view
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import LATENT_ATTRIBUTES, build_tree, iterate_subjects, validate

__all__ = ["pca_latents", "raw_features"]

Transform = Callable[[np.ndarray], np.ndarray]


def raw_features(
    train: xr.DataTree, test: xr.DataTree, *, scaling: Scaling = "sqrt-standard"
) -> tuple[xr.DataTree, xr.DataTree]:
    """Lay out every window's counts as if they were latents, scaled as the model's inputs are.

    Parameters
    ----------
    train, test : DataTree
        Windowed counts of the same subjects and units.
    scaling : str
        "sqrt-standard" (square root, then every feature with mean 0 and variance 1 over the
        training windows; constant features become 0), "standard", "sqrt" or "none".

    Returns
    -------
    tuple of DataTree
        Train and test latents, `mean(trial, window, latent)` with one latent per unit and lag,
        named after its unit: such latents belong to one subject, and `decode_labels` compares
        them within subjects only.

    Raises
    ------
    DataError
        If the trees are not windowed, or their subjects or units differ.
    ParameterError
        If the scaling has another name.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> features, held_out = na.raw_features(train, test)
    >>> features["ada"]["mean"].sizes["latent"]  # 8 units, 10 bins
    80
    """
    check_scaling(scaling)

    def prepare(subject: str, windows: np.ndarray) -> tuple[Transform, list[str]]:
        fitted = fit_scaling(windows, scaling)
        return fitted.of_counts, [f"{subject} feature {i}" for i in range(windows.shape[-1])]

    return _embed(train, test, prepare, method=f"counts, {scaling}")


def pca_latents(
    train: xr.DataTree,
    test: xr.DataTree,
    *,
    n_latents: int = 8,
    scaling: Scaling = "sqrt-standard",
) -> tuple[xr.DataTree, xr.DataTree]:
    """Project every subject's scaled windows on the principal components of its training windows.

    Parameters
    ----------
    train, test : DataTree
        Windowed counts of the same subjects and units.
    n_latents : int
        Number of components.
    scaling : str
        As in `raw_features`.

    Returns
    -------
    tuple of DataTree
        Train and test latents, `mean(trial, window, latent)`; the latents are named after
        their subject, since nothing ties the components of one subject to those of another.

    Raises
    ------
    DataError
        If the trees are not windowed, or their subjects or units differ.
    ParameterError
        If `n_latents` is not between 1 and the number of features and of training windows, or
        the scaling has another name.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> latents, held_out = na.pca_latents(train, test, n_latents=2)
    >>> held_out["bob"]["mean"].dims
    ('trial', 'window', 'latent')
    """
    check_scaling(scaling)

    def prepare(subject: str, windows: np.ndarray) -> tuple[Transform, list[str]]:
        fitted = fit_scaling(windows, scaling)
        rows = fitted.of_counts(windows).reshape(-1, windows.shape[-1])
        centre, axes = principal_axes(rows, n_latents, subject=subject)
        names = [f"{subject} PC{index + 1}" for index in range(n_latents)]
        return (lambda given: (fitted.of_counts(given) - centre) @ axes), names

    return _embed(train, test, prepare, method=f"PCA of counts, {scaling}")


def principal_axes(
    rows: np.ndarray, count: int, *, subject: str, argument: str = "n_latents"
) -> tuple[np.ndarray, np.ndarray]:
    """Find the mean of a subject's scaled windows and the first principal axes about it.

    Parameters
    ----------
    rows : ndarray of shape (row, feature)
        Scaled windows of training trials.
    count : int
        Number of axes.
    subject, argument : str
        Whose windows these are, and the argument that gave `count`, for the message.

    Returns
    -------
    centre : ndarray of shape (feature,)
        The mean.
    axes : ndarray of shape (feature, axis)
        Orthonormal columns; the largest entry of each is positive.

    Raises
    ------
    ParameterError
        If `count` is not between 1 and the number of features and of rows.
    """
    if not 1 <= count <= min(rows.shape):
        raise ParameterError(
            f"{argument} must lie between 1 and {min(rows.shape)} for subject {subject!r} "
            f"({rows.shape[1]} features, {rows.shape[0]} training windows), got {count!r}."
        )
    centre = rows.mean(axis=0)
    return centre, _signed_axes(rows - centre, count)


def _signed_axes(rows: np.ndarray, count: int) -> np.ndarray:
    """Return the first axes as columns (feature, axis), each with a fixed sign."""
    # The smaller of the two Gram matrices has the same axes and costs least.
    if rows.shape[1] <= rows.shape[0]:
        _, vectors = np.linalg.eigh(rows.T @ rows)
        axes = vectors[:, ::-1][:, :count]
    else:
        _, vectors = np.linalg.eigh(rows @ rows.T)
        axes = rows.T @ vectors[:, ::-1][:, :count]
        axes = axes / np.maximum(np.linalg.norm(axes, axis=0), 1e-12)
    # An eigenvector's sign is arbitrary; its largest entry is made positive.
    largest = np.abs(axes).argmax(axis=0)
    signs = np.sign(axes[largest, np.arange(axes.shape[1])])
    return np.asarray(axes * np.where(signs == 0, 1.0, signs))


def _embed(
    train: xr.DataTree,
    test: xr.DataTree,
    prepare: Callable[[str, np.ndarray], tuple[Transform, list[str]]],
    *,
    method: str,
) -> tuple[xr.DataTree, xr.DataTree]:
    check_same_units(train, test)
    embedded: tuple[dict[str, xr.Dataset], dict[str, xr.Dataset]] = ({}, {})
    for subject, dataset in iterate_subjects(train):
        transform, names = prepare(subject, flat_windows(dataset))
        for target, tree in zip(embedded, (train, test), strict=True):
            if subject in tree.children:
                given = tree.children[subject].to_dataset()
                target[subject] = as_latents(given, transform, names, method)
    return build_tree(embedded[0]), build_tree(embedded[1])


def check_same_units(train: xr.DataTree, test: xr.DataTree) -> None:
    """Refuse test subjects that the training lacks, or whose units differ.

    Raises
    ------
    DataError
        If the trees are not windowed, or their subjects or units differ.
    """
    validate(train, "windowed", argument="train")
    validate(test, "windowed", argument="test")
    for subject, dataset in iterate_subjects(test):
        if subject not in train.children:
            raise DataError(
                f"expected test subjects among those of train ({', '.join(train.children)}), "
                f"got {subject!r}; split one tree with split_trials."
            )
        fitted = train.children[subject].to_dataset()
        if not np.array_equal(fitted["unit"].values, dataset["unit"].values):
            raise DataError(
                f"expected the same units in train and test, got others for subject {subject!r}; "
                "split one tree with split_trials."
            )


def flat_windows(dataset: xr.Dataset) -> np.ndarray:
    """Return a subject's counts as (trial, window, feature), features unit by unit, then lag."""
    view = window_view(dataset)
    return view.reshape(*view.shape[:2], -1)


def as_latents(
    dataset: xr.Dataset, transform: Transform, names: list[str], method: str
) -> xr.Dataset:
    """Lay out what `transform` makes of a subject's windows as latents with its coordinates.

    Parameters
    ----------
    dataset : Dataset
        One subject's windowed counts.
    transform : callable
        Turns counts (trial, window, feature) into latents (trial, window, latent).
    names : list of str
        The latents' names; latents are compared between subjects whose names agree.
    method : str
        How they were made, kept in the attributes.

    Returns
    -------
    Dataset
        Latents stage: `mean(trial, window, latent)`, float32, with all coordinates on trials
        and on windows.
    """
    mean = transform(flat_windows(dataset)).astype(np.float32)
    kept = [
        name for name, coord in dataset.coords.items() if coord.dims in {("trial",), ("window",)}
    ]
    attrs = {name: value for name, value in dataset.attrs.items() if name in LATENT_ATTRIBUTES}
    return xr.Dataset(
        {"mean": (("trial", "window", "latent"), mean)},
        coords={**{name: dataset[name].variable for name in kept}, "latent": names},
        attrs={**attrs, "stage": "latents", "method": method},
    )
