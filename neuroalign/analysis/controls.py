"""Controls for what was decoded: the number of spikes alone, and rates that are made equal.

Neurons that fire more for one label let a reader of nothing but the total number of spikes tell
the labels apart. `SpikeCounts` says how far that goes, and `match_rates` takes it away.
"""

from __future__ import annotations

from typing import Any, Final, Self

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from neuroalign.analysis.labels import (
    Label,
    check_training_labels,
    label_name,
    labels_as_text,
    ordered_labels,
)
from neuroalign.analysis.scaling import fit_scaling
from neuroalign.data.notes import add_note
from neuroalign.data.randomness import RandomState, named_generator, resolve_seed
from neuroalign.data.windows import window_view
from neuroalign.errors import DataError
from neuroalign.schema import iterate_subjects, map_subjects, validate

__all__ = ["SpikeCounts", "fit_rates", "match_rates", "thin_spikes"]

CARRIED: Final = ("subject", "spec", "bin_width", "window_length", "window_step")


class SpikeCounts(BaseEstimator):
    """One latent: how many spikes all units of a subject fire together in a window.

    What `decode_labels` reads from it is what the overall rate tells of the label, and the floor
    above which anything about patterns of activity starts. The latent has the same name in all
    subjects, so it is also read across subjects: "more than usual" means the same everywhere.

    Attributes
    ----------
    subjects_ : list of str
        Subjects of the fit.
    unit_ids_ : dict
        Subject to the units that are counted.
    scaling_ : dict
        Subject to mean and spread of the counts of its training windows.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> SpikeCounts().fit(train).transform(test)["bob"]["mean"].sizes["latent"]
    1
    """

    def fit(self, windows: xr.DataTree, *, label: Any = None) -> Self:
        """Find the mean and the spread of every subject's counts.

        Parameters
        ----------
        windows : DataTree
            Windowed counts of training trials.
        label : ignored
            Accepted so that it is fitted like a model.

        Returns
        -------
        SpikeCounts
            Itself.

        Raises
        ------
        DataError
            If the tree is not windowed.
        """
        del label  # counts are standardised alike whatever the trials were
        validate(windows, "windowed", argument="windows")
        self.subjects_ = list(windows.children)
        self.unit_ids_ = {name: data["unit"].values for name, data in iterate_subjects(windows)}
        self.scaling_ = {
            name: fit_scaling(_total_counts(data), "standard")
            for name, data in iterate_subjects(windows)
        }
        return self

    def transform(self, windows: xr.DataTree) -> xr.DataTree:
        """Return every window's number of spikes, standardised as the training windows are.

        Parameters
        ----------
        windows : DataTree
            Windowed counts of subjects and units of the fit.

        Returns
        -------
        DataTree
            Latents stage: `mean(trial, window, latent)` with one latent, "spike count", of mean 0
            and variance 1 over a subject's training windows (0 if the count never varied).

        Raises
        ------
        DataError
            If the tree is not windowed, or a subject or its units were not in the fit.
        """
        check_is_fitted(self)
        validate(windows, "windowed", argument="windows")
        return map_subjects(windows, self._count)

    def _count(self, subject: str, data: xr.Dataset) -> xr.Dataset:
        if subject not in self.scaling_:
            raise DataError(
                f"expected subjects of the fit ({', '.join(self.subjects_)}), got {subject!r}; "
                "fit SpikeCounts to its training trials too."
            )
        if not np.array_equal(self.unit_ids_[subject], data["unit"].values):
            raise DataError(
                f"expected the units of the fit, got others for subject {subject!r}; "
                "split one tree with split_trials."
            )
        mean = self.scaling_[subject].of_counts(_total_counts(data)).astype(np.float32)
        kept = {
            name: coord.variable
            for name, coord in data.coords.items()
            if coord.dims in {("trial",), ("window",)}
        }
        return xr.Dataset(
            {"mean": (("trial", "window", "latent"), mean)},
            coords={**kept, "latent": ["spike count"]},
            attrs={
                **{name: data.attrs[name] for name in CARRIED if name in data.attrs},
                "stage": "latents",
                "method": "spike counts",
            },
        )


def _total_counts(data: xr.Dataset) -> np.ndarray:
    """Return the number of spikes of all units, (trial, window, 1)."""
    return np.asarray(window_view(data).sum(axis=(2, 3), dtype=np.float64)[:, :, None])


def fit_rates(train: xr.DataTree, *, label: Label) -> xr.Dataset:
    """Learn from training trials which share of the spikes of each label to keep.

    Parameters
    ----------
    train : DataTree
        Binned or windowed counts.
    label : str or list of str
        Trial coordinate over which rates are to be equal, or several whose combination is meant.

    Returns
    -------
    Dataset
        `mean_count(subject, label)`: spikes of all units in a trial's frame, averaged over the
        trials of the label. `share(subject, label)`: the lowest of a subject's mean counts
        divided by this one, between 0 and 1. Both are NaN for labels that a subject lacks.

    Raises
    ------
    DataError
        If trials lack the label or have only one, or the trials of a label hold no spikes at all.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> rates = fit_rates(windows, label="odor")
    >>> rates["share"].max().item()  # the label with the fewest spikes keeps all
    1.0
    """
    validate(train, "binned", argument="train")
    means: dict[str, dict[str, float]] = {}
    for subject, data in iterate_subjects(train):
        labels = labels_as_text(data, label, subject=subject)
        check_training_labels(labels, where=f"subject {subject!r} of train")
        totals = data["counts"].values.sum(axis=(1, 2), dtype=np.float64)
        means[subject] = {
            name: float(totals[labels == name].mean()) for name in np.unique(labels).tolist()
        }
        silent = [name for name, mean in means[subject].items() if mean == 0]
        if silent:
            raise DataError(
                f"expected spikes in the trials of every label, got none with "
                f"{', '.join(map(repr, silent))} for subject {subject!r}: equal rates would leave "
                "no spikes at all; leave those labels out with keep_labels."
            )
    names = ordered_labels(name for found in means.values() for name in found)
    table = np.array([[means[s].get(name, np.nan) for name in names] for s in means])
    return xr.Dataset(
        {
            "mean_count": (("subject", "label"), table, {"units": "spikes"}),
            "share": (("subject", "label"), np.nanmin(table, axis=1, keepdims=True) / table),
        },
        coords={"subject": list(means), "label": names},
        attrs={"label": label_name(label)},
    )


def thin_spikes(
    windows: xr.DataTree, rates: xr.Dataset, *, label: Label, random_state: RandomState = 0
) -> xr.DataTree:
    """Drop spikes at random so that every label keeps the share that `rates` says.

    Every spike stays or goes by itself, with the same chance for all units and times of a trial,
    so a unit's part in the whole and its time course stay what they were, on average. A trial's
    draws depend on the seed, its subject and its id only, so thinning and splitting may come in
    either order.

    Parameters
    ----------
    windows : DataTree
        Binned or windowed counts; they stay as they are.
    rates : Dataset
        From `fit_rates`, of training trials.
    label : str or list of str
        The label that `rates` was learned for.
    random_state : int, Generator or None
        Seed.

    Returns
    -------
    DataTree
        A tree of the same stage, with fewer spikes or as many, and a note of how many went.

    Raises
    ------
    DataError
        If `rates` are of another label, or lack a subject or one of its labels.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8}, trials=24, mean_rate=9)
    >>> binned = na.bin_spikes(na.keep_spec_trials(recordings))
    >>> thinned = thin_spikes(binned, fit_rates(binned, label="odor"), label="odor")
    >>> bool((thinned["ada"]["counts"] <= binned["ada"]["counts"]).all())
    True
    """
    validate(windows, "binned", argument="windows")
    if not isinstance(rates, xr.Dataset) or "share" not in rates:
        raise DataError(f"expected rates made by fit_rates, got {type(rates).__name__}.")
    if rates.attrs.get("label") != label_name(label):
        raise DataError(
            f"expected rates of the label {label_name(label)!r}, got those of "
            f"{rates.attrs.get('label')!r}; call fit_rates with the same label."
        )
    seed = resolve_seed(random_state)

    def thin(subject: str, data: xr.Dataset) -> xr.Dataset:
        shares = _trial_shares(data, rates, label, subject)
        counts = data["counts"]
        kept = counts.values.copy()
        for index, (trial, share) in enumerate(zip(data["trial"].values, shares, strict=True)):
            if share < 1:
                random = named_generator(seed, "thinning", subject, str(trial))
                kept[index] = random.binomial(counts.values[index], share)
        dropped = int(counts.values.sum(dtype=np.int64)) - int(kept.sum(dtype=np.int64))
        thinned = data.assign(counts=(counts.dims, kept, counts.attrs))
        why = f"dropped at random, so that mean rates are the same for every {label_name(label)}"
        return add_note(thinned, what="spikes", count=dropped, why=why)

    return map_subjects(windows, thin)


def _trial_shares(data: xr.Dataset, rates: xr.Dataset, label: Label, subject: str) -> np.ndarray:
    if subject not in rates["subject"].values:
        raise DataError(
            f"expected rates of subject {subject!r}, got those of "
            f"{', '.join(map(repr, rates['subject'].values.tolist()))}; call fit_rates with its "
            "training trials."
        )
    row = rates["share"].sel(subject=subject)
    known = {
        name: share
        for name, share in zip(row["label"].values.tolist(), row.values.tolist(), strict=True)
        if np.isfinite(share)
    }
    labels = labels_as_text(data, label, subject=subject)
    unknown = sorted(set(labels.tolist()) - set(known))
    if unknown:
        raise DataError(
            f"expected trials with {label_name(label)} among {', '.join(known)}, whose rates are "
            f"known, got {', '.join(unknown)} for subject {subject!r}; keep_labels chooses trials."
        )
    return np.array([known[name] for name in labels.tolist()])


def match_rates(
    windows: xr.DataTree,
    *,
    label: Label,
    reference: xr.DataTree | None = None,
    random_state: RandomState = 0,
) -> xr.DataTree:
    """Thin spikes so that a subject's mean spike count is the same for every label.

    The labels with more spikes lose some at random, down to the mean of the label with the
    fewest. What is equal afterwards is the mean over trials of a subject's total count in the
    whole frame. The rates of single units and of parts of the frame may still differ between
    labels, also those of a unit that fired alike for all before: they are the pattern that is
    left to decode.

    How much of a trial is kept depends on its label, so thinning test trials uses the very
    labels that are to be read. One share per label, learned on training trials, is as much of
    this as is needed: as long as counts are Poisson, a thinned total is Poisson too, with the
    same mean for every label, and tells nothing of it. Matching trial by trial, or with shares
    learned from the test trials, goes further. It ties the data of each test trial to the labels
    and counts of the others, and makes their totals more alike than chance would. Accuracy is
    then biased, as was shown for other controls that look at test samples: leaving samples out
    until a confound is balanced raised it, regressing a confound out of all samples lowered it
    (Snoek, Miletić and Scholte 2019). Therefore::

        train_matched = match_rates(train, label="odor")
        test_matched = match_rates(test, label="odor", reference=train)

    Two tests are honest, and they answer different questions. `test_matched` asks whether patterns
    would do if totals told nothing. `test` as it is, read by a classifier that was trained on
    `train_matched`, uses no label of a test trial at all. Where counts vary more or less than
    Poisson ones, labels may still differ in the *spread* of their totals, since thinning brings
    the variance closer to the mean: compare with what `SpikeCounts` reads after matching.

    Parameters
    ----------
    windows : DataTree
        Binned or windowed counts; they stay as they are.
    label : str or list of str
        Trial coordinate over which rates become equal, or several whose combination is meant.
    reference : DataTree, optional
        Trials from which the shares are learned: the training trials. By default `windows`
        itself, which is right for training trials only.
    random_state : int, Generator or None
        Seed; a trial's draws depend on it, its subject and its id only.

    Returns
    -------
    DataTree
        A tree of the same stage.

    Raises
    ------
    DataError
        As `fit_rates` and `thin_spikes`.

    References
    ----------
    Snoek, Miletić and Scholte (2019), NeuroImage 184, 741-760.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8}, trials=24, mean_rate=9)
    >>> binned = na.bin_spikes(na.keep_spec_trials(recordings))
    >>> train, test = na.split_trials(binned, stratify="odor", random_state=0)
    >>> matched = match_rates(test, label="odor", reference=train)
    >>> bool(matched["ada"]["counts"].sum() < test["ada"]["counts"].sum())
    True
    """
    rates = fit_rates(windows if reference is None else reference, label=label)
    return thin_spikes(windows, rates, label=label, random_state=random_state)
