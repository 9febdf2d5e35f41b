"""What every baseline estimator does alike: scale, check, average over labels, name its latents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from neuroalign.analysis.alignment import Alignment
from neuroalign.analysis.baselines import Transform, as_latents, flat_windows
from neuroalign.analysis.labels import (
    Label,
    check_training_labels,
    label_name,
    labels_as_text,
    ordered_labels,
)
from neuroalign.analysis.scaling import FeatureScaling, Scaling, check_scaling, fit_scaling
from neuroalign.analysis.statistics import check_count
from neuroalign.data.binning import spec_value
from neuroalign.data.windows import lags_per_window
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import build_tree, iterate_subjects, validate

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class SubjectInputs:
    """What a fit keeps of one subject's inputs: its units, its bins, and their scaling."""

    subject: str
    units: tuple[str, ...]
    bin_width: float
    lags: int
    scaling: FeatureScaling

    def match(self, dataset: xr.Dataset) -> xr.Dataset:
        """Return the data with units in the order of the fit.

        Raises
        ------
        DataError
            If units, bins or windows are not those of the fit, or there are no trials.
        """
        width, lags = float(dataset.attrs["bin_width"]), lags_per_window(dataset)
        if abs(width - self.bin_width) > 1e-9 or lags != self.lags:
            raise DataError(
                f"expected windows of {self.lags} bins of {self.bin_width:g} s as in the fit, got "
                f"{lags} bins of {width:g} s for subject {self.subject!r}; bin and window alike."
            )
        check_sizes(self.subject, dataset)
        found = tuple(map(str, dataset["unit"].values))
        if found == self.units:
            return dataset
        missing = sorted(set(self.units) - set(found))
        unknown = sorted(set(found) - set(self.units))
        if missing or unknown or len(found) != len(self.units):
            parts = [f"missing: {_some(missing)}"] if missing else []
            parts += [f"not in the fit: {_some(unknown)}"] if unknown else []
            raise DataError(
                f"expected the {len(self.units)} units of the fit for subject {self.subject!r}, "
                f"got {len(found)}; {'; '.join(parts) or 'some are there twice'}; split one tree "
                "with split_trials."
            )
        order = [found.index(unit) for unit in self.units]
        return dataset.isel(unit=order)


def _some(names: list[str], most: int = 5) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def check_sizes(subject: str, dataset: xr.Dataset) -> None:
    """Refuse a subject without trials, units or windows.

    Raises
    ------
    DataError
        If one of these sizes is 0.
    """
    empty = [name for name in ("trial", "unit", "window") if dataset.sizes[name] == 0]
    if empty:
        raise DataError(
            f"expected trials, units and windows for subject {subject!r}, got no {empty[0]}s; "
            "leave the subject out."
        )


@dataclass(frozen=True)
class SubjectWindows:
    """One subject's windows, with units in the order of the fit, and how they are scaled."""

    dataset: xr.Dataset
    inputs: SubjectInputs

    def features(self) -> np.ndarray:
        """Return the scaled windows, (trial, window, feature)."""
        return self.inputs.scaling.of_counts(flat_windows(self.dataset))


@dataclass(frozen=True)
class Training:
    """What a fit is given: every subject's training windows, by name, and a label if any."""

    subjects: Mapping[str, SubjectWindows]
    label: Label | None

    def resolve_label(self) -> Label:
        """Return the label that was given, or else the one that the data's spec names.

        Raises
        ------
        ParameterError
            If neither says.
        """
        if self.label is not None:
            return self.label
        for windows in self.subjects.values():
            named = spec_value(windows.dataset, ("label",))
            if named:
                return named if isinstance(named, str) else list(named)
        raise ParameterError(
            "fit needs a label, and the data's spec names none; "
            'pass label="odor" (any trial coordinate).'
        )

    def labels(self) -> dict[str, np.ndarray]:
        """Return every training trial's label as text.

        Raises
        ------
        DataError
            If a subject or trials lack the label, or a subject has only one value of it.
        """
        label, found = self.resolve_label(), {}
        for name, windows in self.subjects.items():
            found[name] = labels_as_text(windows.dataset, label, subject=name)
            check_training_labels(found[name], where=f"subject {name!r}")
        return found


@dataclass(frozen=True)
class LinearMap:
    """Latents of scaled windows: their deviation from a centre, times weights."""

    centre: np.ndarray  # (feature,)
    weights: np.ndarray  # (feature, latent)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Map scaled windows (..., feature) to latents (..., latent)."""
        return np.asarray((features - self.centre) @ self.weights)


class WindowBaseline(BaseEstimator, ABC):
    """An estimator that turns windowed counts into latents; what differs is in `_learn`.

    Attributes
    ----------
    subjects_ : list of str
        Subjects of the fit.
    unit_ids_ : dict
        Unit ids of each subject.
    """

    scaling: Scaling
    method: ClassVar[str]

    def fit(self, windows: xr.DataTree, *, label: Label | None = None) -> Self:
        """Learn from training trials how every subject's windows become latents.

        Parameters
        ----------
        windows : DataTree
            Windowed counts, one child per subject; give training trials only.
        label : str or list of str, optional
            Trial coordinate whose averages, or whose classifier, the method uses; by default
            the spec's label. Methods that do not know labels leave it alone.

        Returns
        -------
        self
            Fitted.

        Raises
        ------
        DataError
            If the windows are not what the method needs: the message says what is missing where.
        ParameterError
            If an argument makes no sense, or no label is named.
        """
        check_scaling(self.scaling)
        datasets = dict(iterate_subjects(validate(windows, "windowed", argument="windows")))
        # Sums run over subjects by name, so that their order in the tree cannot change a digit.
        inputs = {
            name: _fit_inputs(name, datasets[name], self.scaling) for name in sorted(datasets)
        }
        subjects = {name: SubjectWindows(datasets[name], each) for name, each in inputs.items()}
        self._learn(Training(subjects, label))
        self.inputs_ = inputs
        self.subjects_ = list(datasets)
        self.unit_ids_ = {name: list(inputs[name].units) for name in datasets}
        return self

    def transform(self, windows: xr.DataTree) -> xr.DataTree:
        """Turn every window of every subject into latents.

        Parameters
        ----------
        windows : DataTree
            Windowed counts of some or all subjects of the fit, any trials.

        Returns
        -------
        DataTree
            Latents `mean(trial, window, latent)` with the coordinates of trials and windows.
            Latents that are comparable between subjects have the same names for all.

        Raises
        ------
        DataError
            If a subject, its units, bins or windows are not those of the fit.
        """
        check_is_fitted(self, "subjects_")
        latents: dict[str, xr.Dataset] = {}
        for name, dataset in iterate_subjects(validate(windows, "windowed", argument="windows")):
            if name not in self.subjects_:
                raise DataError(
                    f"expected subjects of the fit ({', '.join(self.subjects_)}), got {name!r}; "
                    "split one tree with split_trials."
                )
            inputs = self.inputs_[name]
            matched = inputs.match(dataset)
            transform, names = self._reader(SubjectWindows(matched, inputs))
            method = f"{self.method}, {inputs.scaling.scaling}"
            latents[name] = as_latents(matched, transform, names, method)
        return build_tree(latents)

    def fit_transform(self, windows: xr.DataTree, *, label: Label | None = None) -> xr.DataTree:
        """Fit, then transform the same windows; see `fit` and `transform`."""
        return self.fit(windows, label=label).transform(windows)

    @abstractmethod
    def _learn(self, training: Training) -> None:
        """Learn from the training trials of every subject."""

    @abstractmethod
    def _reader(self, given: SubjectWindows) -> tuple[Transform, list[str]]:
        """Return what turns these windows' counts into latents, and the names of these."""


def _fit_inputs(subject: str, dataset: xr.Dataset, scaling: Scaling) -> SubjectInputs:
    lags = lags_per_window(dataset)
    check_sizes(subject, dataset)
    return SubjectInputs(
        subject=subject,
        units=tuple(map(str, dataset["unit"].values)),
        bin_width=float(dataset.attrs["bin_width"]),
        lags=lags,
        scaling=fit_scaling(flat_windows(dataset), scaling),
    )


def common_labels(labels: Mapping[str, np.ndarray], label: Label) -> list[str]:
    """List the labels of which every subject has trials.

    Raises
    ------
    DataError
        If there are fewer than two.
    """
    common = set.intersection(*(set(values.tolist()) for values in labels.values()))
    if len(common) < 2:
        held = "; ".join(
            f"{name!r} has {', '.join(ordered_labels(values))}" for name, values in labels.items()
        )
        raise DataError(
            f"expected at least two values of {label_name(label)!r} of which every subject has "
            f"training trials, got {len(common)}: {held}; choose another label or other subjects."
        )
    return ordered_labels(common)


def label_averages(features: np.ndarray, labels: np.ndarray, wanted: list[str]) -> np.ndarray:
    """Average a subject's windows over the trials of every label.

    Parameters
    ----------
    features : ndarray of shape (trial, window, feature)
        Scaled windows.
    labels : ndarray of shape (trial,)
        Text.
    wanted : list of str
        Labels to average, in this order.

    Returns
    -------
    ndarray of shape (label, window, feature)
        Every label counts alike, however many trials it has.
    """
    return np.stack([features[labels == value].mean(axis=0) for value in wanted])


class AveragesBaseline(WindowBaseline):
    """A baseline that aligns subjects by the averages of a label at every window position.

    Attributes
    ----------
    label_ : str or list of str
        The label of the averages.
    classes_ : list of str
        Its values of which every subject has training trials: those that were averaged.
    shared_ : ndarray of shape (label, window, latent)
        What the aligned averages have in common.
    objective_ : ndarray
        What the method minimises, by iteration, or maximises, by latent.
    maps_ : dict
        Every subject's linear map from scaled windows to latents.
    """

    n_latents: int

    def _learn(self, training: Training) -> None:
        check_count("n_latents", self.n_latents, least=1)
        label, labels = training.resolve_label(), training.labels()
        wanted = common_labels(labels, label)
        windows = _common_windows(training.subjects)
        determined = len(wanted) * windows - 1
        if self.n_latents > determined:
            raise ParameterError(
                f"n_latents must be at most {determined}, as many as the centred averages of "
                f"{len(wanted)} labels at {windows} windows can tell apart, got {self.n_latents}."
            )
        centres, rows = {}, {}
        axes: dict[str, np.ndarray | None] = {}
        for name, given in training.subjects.items():
            features = given.features()
            averages = label_averages(features, labels[name], wanted)
            averages = averages.reshape(-1, features.shape[-1])
            centres[name] = averages.mean(axis=0)
            axes[name] = self._axes(name, features.reshape(-1, features.shape[-1]))
            rows[name] = _reduce(averages - centres[name], axes[name])
        aligned = self._align(rows)
        self.maps_ = {}
        for (name, reduced), to in zip(axes.items(), aligned.maps, strict=True):
            self.maps_[name] = LinearMap(centres[name], to if reduced is None else reduced @ to)
        self.label_ = label
        self.classes_ = wanted
        self.shared_ = aligned.shared.reshape(len(wanted), windows, -1)
        self.objective_ = aligned.objective

    @abstractmethod
    def _axes(self, subject: str, features: np.ndarray) -> np.ndarray | None:
        """Return axes (feature, axis) to which windows (row, feature) are reduced first, or None."""

    @abstractmethod
    def _align(self, rows: Mapping[str, np.ndarray]) -> Alignment:
        """Align the centred averages (row, axis) of all subjects."""

    def _reader(self, given: SubjectWindows) -> tuple[Transform, list[str]]:
        scaling, to = given.inputs.scaling, self.maps_[given.inputs.subject]
        names = [f"shared {index + 1}" for index in range(to.weights.shape[1])]
        return (lambda counts: to(scaling.of_counts(counts))), names


def _reduce(rows: np.ndarray, axes: np.ndarray | None) -> np.ndarray:
    return rows if axes is None else rows @ axes


def _common_windows(subjects: Mapping[str, SubjectWindows]) -> int:
    found = {
        name: (given.dataset.sizes["window"], given.inputs.lags, given.inputs.bin_width)
        for name, given in subjects.items()
    }
    first, (windows, lags, width) = next(iter(found.items()))
    for name, (other_windows, other_lags, other_width) in found.items():
        if (other_windows, other_lags) != (windows, lags) or abs(other_width - width) > 1e-9:
            raise DataError(
                f"expected the same bins and windows for all subjects, got {windows} windows of "
                f"{lags} bins of {width:g} s for {first!r} and {other_windows} of {other_lags} bins "
                f"of {other_width:g} s for {name!r}; bin and window them alike."
            )
    return windows
