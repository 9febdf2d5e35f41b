"""Estimators with known answers, and records of what they were given, for the evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
from analysis_examples import LABELS, window_trees
from sklearn.base import BaseEstimator
from sklearn.naive_bayes import GaussianNB

from neuroalign.errors import DataError
from neuroalign.schema import build_tree, iterate_subjects, map_subjects

BAYES = GaussianNB()  # the cheapest classifier with probabilities
QUICK: dict[str, Any] = {"classifier": BAYES, "permutations": 99, "bootstraps": 50}


class Log(list[Any]):
    """A list that stays the same object when an estimator is cloned or copied."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class CodeModel(BaseEstimator):
    """Latents carry every trial's label as a code, with a little noise; what is fitted is recorded.

    Parameters
    ----------
    separation : float
        Length of a label's code; 0 leaves noise alone.
    fails_below : float
        Below this separation, a fit ends in an error.
    log : Log, optional
        Takes, for every fit, the label's name, the labels and the trials of each subject.
    """

    noise: ClassVar[float] = 0.05

    def __init__(
        self, separation: float = 1.0, *, fails_below: float = -1.0, log: Log | None = None
    ) -> None:
        self.separation = separation
        self.fails_below = fails_below
        self.log = log

    def fit(self, windows: xr.DataTree, *, label: str) -> Self:
        record = {
            "label": label,
            "model": type(self).__name__,
            "params": {n: v for n, v in self.get_params().items() if n != "log"},
            "labels": {n: d[label].values.copy() for n, d in iterate_subjects(windows)},
            "odor": {n: d["odor"].values.copy() for n, d in iterate_subjects(windows)},
            "trials": {n: d["trial"].values.copy() for n, d in iterate_subjects(windows)},
        }
        if self.log is not None:
            self.log.append(record)
        if self.separation < self.fails_below:
            raise DataError(f"separation {self.separation} is too small.")
        self.fitted_ = record
        return self

    def transform(self, windows: xr.DataTree) -> xr.DataTree:
        return build_tree({n: self._latents(n, d) for n, d in iterate_subjects(windows)})

    def _latents(self, subject: str, data: xr.Dataset) -> xr.Dataset:
        kept = {
            n: c.variable for n, c in data.coords.items() if c.dims in {("trial",), ("window",)}
        }
        codes = self.separation * np.eye(len(LABELS))
        mean = codes[[LABELS.index(label) for label in data["odor"].values.tolist()]]
        rows = [
            # by trial id, so that a trial's latents do not depend on what stands beside it
            np.random.default_rng([len(subject), *subject.encode(), int(trial)]).normal(
                scale=self.noise, size=(data.sizes["window"], len(LABELS))
            )
            for trial in data["trial"].values.tolist()
        ]
        return xr.Dataset(
            {"mean": (("trial", "window", "latent"), mean[:, None] + np.stack(rows))},
            coords=kept,
            attrs={"stage": "latents", "subject": subject},
        )


class RecordingBayes(GaussianNB):  # type: ignore[misc]
    """Remembers the labels that it was trained with."""

    def __init__(self, log: Log | None = None) -> None:
        super().__init__()
        self.log = log

    def fit(self, features: np.ndarray, labels: np.ndarray, **options: Any) -> Self:
        if self.log is not None:
            self.log.append(np.asarray(labels).copy())
        super().fit(features, labels, **options)
        return self


def one_tree(subjects: tuple[str, ...] = ("ada", "bob"), **options: Any) -> xr.DataTree:
    """Windowed counts of all trials, to be split by what is tested."""
    return window_trees(subjects, **({"per_label": 6} | options))[0]


def with_coordinate(
    tree: xr.DataTree, name: str, values: Callable[[str, xr.Dataset], Any]
) -> xr.DataTree:
    """Add a trial coordinate."""
    return map_subjects(tree, lambda n, d: d.assign_coords({name: ("trial", values(n, d))}))


def only(tree: xr.DataTree, kept: Callable[[xr.Dataset], np.ndarray]) -> xr.DataTree:
    """Keep some trials of every subject."""
    return map_subjects(tree, lambda _, data: data.isel(trial=kept(data)))
