"""Fabricated latents and counts, and a small linear model, for the tests of the analysis."""

from __future__ import annotations

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator

from neuroalign.data.windows import lags_per_window, window_starts, window_view
from neuroalign.schema import build_tree, iterate_subjects

LABELS = ("A", "B", "C", "D")


def latent_subject(
    labels, *, separation=1.0, first_trial=0, windows=4, latents=3, seed=0, name="odor"
) -> xr.Dataset:
    """Latents of one subject: a centre per label (the same for all), and noise per window."""
    labels = np.asarray(labels)
    distinct, codes = np.unique(labels, return_inverse=True)
    centres = np.random.default_rng(42).normal(size=(max(8, distinct.size), latents))
    random = np.random.default_rng(seed)
    noise = random.normal(size=(labels.size, windows, latents))
    mean = separation * centres[codes][:, None] + noise
    return xr.Dataset(
        {"mean": (("trial", "window", "latent"), mean)},
        coords={
            "trial": np.arange(first_trial, first_trial + labels.size),
            "window": 0.01 * np.arange(windows),
            name: ("trial", labels),
        },
        attrs={"stage": "latents"},
    )


def latent_trees(
    subjects=("ada", "bob", "cleo"),
    *,
    per_label=8,
    separation=1.0,
    seed=0,
    labels=LABELS,
    **options,
) -> tuple[xr.DataTree, xr.DataTree]:
    """Train and test latents with the same number of trials of every label."""
    train, test = {}, {}
    for number, subject in enumerate(subjects):
        column = np.tile(labels, per_label)
        for side, tree in enumerate((train, test)):
            tree[subject] = latent_subject(
                column,
                separation=separation,
                first_trial=1000 * side,
                seed=(seed, number, side),
                **options,
            )
    return build_tree(train), build_tree(test)


def window_subject(
    subject, labels, *, units=6, bins=12, lags=4, first_trial=0, seed=0, width=0.01, strength=1.0
) -> xr.Dataset:
    """Windowed Poisson counts of one subject; every label has rates of its own, by unit and time."""
    labels = np.asarray(labels)
    rates = true_rates(subject, units=units, bins=bins, strength=strength)
    codes = [LABELS.index(label) for label in labels.tolist()]
    counts = np.random.default_rng(seed).poisson(rates[codes]).astype(np.uint8)
    return xr.Dataset(
        {"counts": (("trial", "unit", "time"), counts)},
        coords={
            "trial": np.arange(first_trial, first_trial + labels.size),
            "unit": [f"{subject}/{number}" for number in range(units)],
            "time": np.round((np.arange(bins) + 0.5) * width, 9),
            "window": np.round(np.arange(bins - lags + 1) * width, 9),
            "odor": ("trial", labels),
        },
        attrs={
            "stage": "windowed",
            "subject": subject,
            "bin_width": width,
            "frame_start": 0.0,
            "frame_stop": width * bins,
            "window_length": width * lags,
            "window_step": width,
        },
    )


def true_rates(subject, *, units=6, bins=12, strength=1.0) -> np.ndarray:
    """Expected counts (label, unit, time) from which `window_subject` draws."""
    random = np.random.default_rng([len(subject), *subject.encode()])
    gain = random.normal(size=(len(LABELS), units, 1)) + 0.5 * random.normal(
        size=(len(LABELS), units, bins)
    )
    return 0.3 * np.exp(strength * gain)


def window_trees(
    subjects=("ada", "bob", "cleo"), *, per_label=10, seed=0, **options
) -> tuple[xr.DataTree, xr.DataTree]:
    """Train and test counts of several subjects, each with units of its own number."""
    train, test = {}, {}
    for number, subject in enumerate(subjects):
        for side, tree in enumerate((train, test)):
            tree[subject] = window_subject(
                subject,
                np.tile(LABELS, per_label),
                units=6 + number,
                first_trial=1000 * side,
                seed=(seed, number, side),
                **options,
            )
    return build_tree(train), build_tree(test)


class LabelModel(BaseEstimator):
    """Latents are a ridge regression's scores for the labels; imputation mixes label averages."""

    def __init__(self, ridge=10.0, sharpness=4.0):
        self.ridge = ridge
        self.sharpness = sharpness

    def fit(self, windows, *, label):
        self.label_ = label
        self.weights_, self.averages_, self.starts_, self.lags_ = {}, {}, {}, {}
        self.units_, self.time_ = {}, {}
        for subject, data in iterate_subjects(windows):
            labels = data[label].values
            self.classes_ = np.unique(labels)
            rows = self._rows(data)
            flat = rows.reshape(-1, rows.shape[2])
            wanted = np.repeat(labels[:, None] == self.classes_, rows.shape[1], axis=0) - 0.25
            gram = flat.T @ flat + self.ridge * np.eye(flat.shape[1])
            self.weights_[subject] = np.linalg.solve(gram, flat.T @ wanted)
            counts = data["counts"].values
            self.averages_[subject] = np.stack(
                [counts[labels == value].mean(axis=0) for value in self.classes_]
            )
            self.starts_[subject], self.lags_[subject] = window_starts(data), lags_per_window(data)
            self.units_[subject] = data["unit"].values
            self.time_[subject] = data["time"].values
        return self

    @staticmethod
    def _rows(data):
        view = np.sqrt(window_view(data).astype(float))
        rows = view.reshape(*view.shape[:2], -1)
        return np.concatenate([rows, np.ones((*rows.shape[:2], 1))], axis=2)

    def transform(self, windows):
        latents = {}
        for subject, data in iterate_subjects(windows):
            kept = {
                n: c.variable for n, c in data.coords.items() if c.dims in {("trial",), ("window",)}
            }
            mean = self._rows(data) @ self.weights_[subject]
            latents[subject] = xr.Dataset(
                {"mean": (("trial", "window", "latent"), mean)},
                coords=kept,
                attrs={"stage": "latents", "subject": subject},
            )
        return build_tree(latents)

    def reconstruct(self, windows):
        return build_tree(
            {n: self.impute(windows, source=n, target=n)[n].to_dataset() for n in windows.children}
        )

    def impute(self, data, *, source, target, windows=False):
        given = data[source].to_dataset()
        scores = self._rows(given) @ self.weights_[source]
        share = np.exp(self.sharpness * scores)
        share /= share.sum(axis=2, keepdims=True)
        starts, lags = self.starts_[target], self.lags_[target]
        pieces = self.averages_[target][:, :, starts[:, None] + np.arange(lags)]
        expected = np.einsum("iwc,cuwl->iwul", share, pieces)
        dims = ("trial", "window", "unit", "lag")
        kept = {n: c.variable for n, c in given.coords.items() if c.dims == ("trial",)}
        kept["unit"] = self.units_[target]
        if windows:
            kept["window"] = given["window"].variable
        else:
            bins = self.time_[target].size
            total, count = np.zeros((*expected.shape[:1], expected.shape[2], bins)), np.zeros(bins)
            for index, start in enumerate(starts):
                total[:, :, start : start + lags] += expected[:, index]
                count[start : start + lags] += 1
            expected, dims = total / np.maximum(count, 1), ("trial", "unit", "time")
            kept["time"] = self.time_[target]
        return build_tree(
            {
                target: xr.Dataset(
                    {"expected": (dims, expected)},
                    coords=kept,
                    attrs={"stage": "imputed", "source": source, "target": target},
                )
            }
        )
