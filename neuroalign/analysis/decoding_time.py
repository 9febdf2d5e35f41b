"""When a label can be read: a classifier for every window, tested on that window or on all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from neuroalign.analysis.decoding import describe_scores
from neuroalign.analysis.labels import Label, LabelledTrials, labelled_trials, ordered_labels
from neuroalign.analysis.predictions import (
    BOUNDS,
    check_scorable,
    check_tables,
    read_trials,
    warn_of_absent_labels,
)
from neuroalign.analysis.statistics import check_count
from neuroalign.analysis.window_classifiers import WindowClassifiers, fit_windows, read_windows
from neuroalign.analysis.window_statistics import WindowScores, score_windows
from neuroalign.data.randomness import RandomState, named_generator, resolve_seed
from neuroalign.data.splits import assert_disjoint
from neuroalign.errors import DataError
from neuroalign.schema import iterate_subjects

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

__all__ = ["decode_over_time", "time_scores_to_frame"]

KINDS: Final = ("within", "across")
TIME_TOLERANCE: Final = 1e-6  # seconds; windows are written with rounding errors


def decode_over_time(
    train_latents: xr.DataTree,
    test_latents: xr.DataTree,
    *,
    label: Label,
    generalise: bool = False,
    classifier: Any = None,
    permutations: int = 1000,
    bootstraps: int = 1000,
    random_state: RandomState = 0,
) -> xr.Dataset:
    """Read labels from held-out latents with one classifier for every window position.

    Classifiers are trained *within* every subject, and *across*: on the pooled training latents
    of all subjects but the tested one. Each reads its own window of the test trials, or, with
    `generalise`, all windows: a code that stays the same is then read by classifiers of other
    windows (a square), one that moves on only by its own (a diagonal; King and Dehaene 2014).

    Parameters
    ----------
    train_latents, test_latents : DataTree
        Latents `mean(trial, window, latent)` of every subject, with labels on their trials, from
        `SharedLatentModel.transform` or elsewhere. All subjects must have the same windows, in
        seconds after the start of their frames, and no trial may be in both trees.
    label : str or list of str
        Trial coordinate to read, or several whose combination is meant.
    generalise : bool
        Test the classifier of every window on every window.
    classifier : scikit-learn classifier, optional
        Needs `predict_proba`; cloned for every fit. By default the latents are standardised and
        read by a logistic regression with equal weight for every label. Its C is chosen once for
        all windows of a pool of training trials, by the held-out loss of single-window classifiers
        summed over four windows spread over the frame, with folds of whole training trials. One C
        costs a fraction of a search in every window, and scores of different windows then
        differ by their latents and not by their settings.
    permutations : int
        Label permutations behind every p-value; 0 for none.
    bootstraps : int
        Resamples over trials behind every interval; 0 for none.
    random_state : int, Generator or None
        Seed of permutations, resamples and the search for C; None draws a fresh one. The seed
        that was used is kept in the attributes.

    Returns
    -------
    Dataset
        *places* are `window`, or `train_window` and `test_window` with `generalise`, in seconds
        after the frame's start.
        `accuracy(kind, subject, *places)`: balanced accuracy over the labels present, kind
        `"within"` or `"across"`; NaN where there is nobody to train on in the same latents.
        `interval(kind, subject, *places, bound)`: 95 % over test trials, resampled within their
        label; each place by itself, not for the whole curve.
        `chance(subject)`: 1 / number of labels present.
        `p_value(kind, subject, *places)`: share of permutations of the labels over whole test
        trials that reach the accuracy at this place.
        `p_corrected(kind, subject, *places)`: share of the same permutations whose *largest*
        accuracy over all places reaches it. A permutation relabels all windows of a trial
        together, so windows that depend on each other cost no power, and the chance of even one
        false finding among the places of one kind and subject is held (family-wise error,
        Nichols and Holmes 2002). Nothing is corrected for the number of subjects or kinds.
        Both p-values are about the classifiers as they were fitted. One that read noise in its
        own window has chance weights on whatever carries the label in another window, or in
        another subject, and what it reads there may depend on the label by accident, above
        chance or below: off the diagonal, small accuracies prove no lasting code.
        `penalty(kind, subject)`: the C that was used; NaN with a classifier of your own.

    Raises
    ------
    DataError
        If a test trial is a training trial too, subjects differ in their windows, a subject's
        training trials have one label only or lack it, latents are not finite, or a subject has
        no test trial to score.
    ParameterError
        If the classifier gives no probabilities or a number makes no sense.

    Warns
    -----
    DataWarning
        If a subject's training trials lack a label that other subjects have.

    References
    ----------
    Nichols and Holmes (2002), Human Brain Mapping 15, 1-25.
    King and Dehaene (2014), Trends in Cognitive Sciences 18, 203-210.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from neuroalign.schema import build_tree
    >>> odor = np.array(["A", "B"] * 12)
    >>> mean = np.random.default_rng(0).normal(size=(24, 3, 1))
    >>> mean[:, 2, 0] += np.where(odor == "A", -9.0, 9.0)  # only the last window knows the odor
    >>> rat = xr.Dataset(
    ...     {"mean": (("trial", "window", "latent"), mean)},
    ...     coords={"trial": np.arange(24), "window": [0.0, 0.01, 0.02], "odor": ("trial", odor)},
    ...     attrs={"stage": "latents"},
    ... )
    >>> train = build_tree({"mitt": rat.isel(trial=slice(0, 12))})
    >>> test = build_tree({"mitt": rat.isel(trial=slice(12, 24))})
    >>> scores = decode_over_time(train, test, label="odor")
    >>> (scores["p_corrected"].sel(kind="within", subject="mitt") <= 0.05).values.tolist()
    [False, False, True]
    """
    check_count("permutations", permutations)
    check_count("bootstraps", bootstraps)
    seed = resolve_seed(random_state)
    train, test, classes = _checked_trials(train_latents, test_latents, label)
    windows = _shared_windows(train_latents, test_latents)
    pools: dict[tuple[str, ...], WindowClassifiers] = {}
    results: dict[tuple[str, str], tuple[WindowScores, float]] = {}
    chance: dict[str, float] = {}
    for subject, table in test.items():
        trials = read_trials(table, classes, 0)
        check_scorable(subject, trials, classes)
        true = trials.labels[trials.scored]
        chance[subject] = 1 / np.unique(true).size
        for kind, members in _training_pools(subject, table, train).items():
            if members not in pools:
                random = named_generator(seed, "folds over time", *members)
                pools[members] = fit_windows(
                    [train[name] for name in members], classifier=classifier, random=random
                )
            read = read_windows(pools[members], table.features, classes, generalise=generalise)
            found = score_windows(
                true,
                read[trials.scored],
                permutations=permutations,
                bootstraps=bootstraps,
                permuting=named_generator(seed, "permutation over time", kind, subject),
                resampling=named_generator(seed, "bootstrap over time", kind, subject),
            )
            results[kind, subject] = (found, pools[members].penalty)
    described = describe_scores(
        _as_dataset(results, chance, windows, generalise=generalise),
        label=label,
        protocol="heldout",
        permutations=permutations,
        bootstraps=bootstraps,
        classifier=classifier,
        seed=seed,
    )
    return described.assign_attrs(
        correction="maximum over windows", **_window_length(train_latents)
    )


def _checked_trials(
    train_latents: xr.DataTree, test_latents: xr.DataTree, label: Label
) -> tuple[dict[str, LabelledTrials], dict[str, LabelledTrials], list[str]]:
    """Return the trials of both sides and the labels of the training, or say what is wrong."""
    train = labelled_trials(train_latents, label, argument="train_latents")
    test = labelled_trials(test_latents, label, argument="test_latents")
    check_tables(train, test)
    assert_disjoint(train_latents, test_latents)
    classes = ordered_labels(name for table in train.values() for name in table.labels)
    warn_of_absent_labels(train, classes)
    return train, test, classes


def _shared_windows(*trees: xr.DataTree) -> np.ndarray:
    """Return the windows that all subjects have, in seconds; complain if they differ."""
    found = [
        (f"subject {subject!r}", np.asarray(dataset["window"].values, dtype=np.float64))
        for tree in trees
        for subject, dataset in iterate_subjects(tree)
    ]
    first, windows = found[0]
    for where, other in found[1:]:
        same = other.shape == windows.shape
        if not same or not np.allclose(other, windows, rtol=0, atol=TIME_TOLERANCE):
            raise DataError(
                f"expected the same windows everywhere, got {_span(windows)} for {first} and "
                f"{_span(other)} for {where}; make them with one length and step of slide_windows, "
                "or decode the subjects one by one."
            )
    return windows


def _span(windows: np.ndarray) -> str:
    return f"{windows.size} from {windows.min():g} to {windows.max():g} s"


def _window_length(tree: xr.DataTree) -> dict[str, float]:
    """Return the windows' length as an attribute, if all subjects' latents agree on it."""
    lengths = {dataset.attrs.get("window_length") for _, dataset in iterate_subjects(tree)}
    length = lengths.pop() if len(lengths) == 1 else None
    return {} if length is None else {"window_length": float(length)}


def _training_pools(
    subject: str, table: LabelledTrials, train: Mapping[str, LabelledTrials]
) -> dict[str, tuple[str, ...]]:
    """Say whose training trials read a subject, for each kind that there is."""
    # Sorted, so that the order of the subjects cannot change a pooled fit.
    readable = sorted(name for name in train if table.shares_space_with(train[name]))
    pools = {
        "within": tuple(name for name in readable if name == subject),
        "across": tuple(name for name in readable if name != subject),
    }
    return {kind: members for kind, members in pools.items() if members}


def _as_dataset(
    results: Mapping[tuple[str, str], tuple[WindowScores, float]],
    chance: Mapping[str, float],
    windows: np.ndarray,
    *,
    generalise: bool,
) -> xr.Dataset:
    places = ("train_window", "test_window") if generalise else ("window",)
    subjects = list(chance)
    shape = (len(KINDS), len(subjects))
    sizes = (windows.size,) * len(places)
    values: dict[str, np.ndarray] = {
        "accuracy": np.full((*shape, *sizes), np.nan),
        "interval": np.full((*shape, *sizes, 2), np.nan),
        "p_value": np.full((*shape, *sizes), np.nan),
        "p_corrected": np.full((*shape, *sizes), np.nan),
        "penalty": np.full(shape, np.nan),
    }
    for (kind, subject), (found, penalty) in results.items():
        at = KINDS.index(kind), subjects.index(subject)
        for name in ("accuracy", "interval", "p_value", "p_corrected"):
            values[name][at] = getattr(found, name)
        values["penalty"][at] = penalty
    dims = dict.fromkeys(values, ("kind", "subject", *places))
    dims |= {"interval": ("kind", "subject", *places, "bound"), "penalty": ("kind", "subject")}
    return xr.Dataset(
        {
            **{name: (dims[name], array) for name, array in values.items()},
            "chance": ("subject", [chance[name] for name in subjects]),
        },
        coords={
            "kind": list(KINDS),
            "subject": subjects,
            **{place: (place, windows, {"units": "s"}) for place in places},
            "bound": list(BOUNDS),
        },
        attrs={"stage": "scores"},
    )


def check_time_scores(scores: object) -> xr.Dataset:
    """Return `scores` if `decode_over_time` made them.

    Raises
    ------
    DataError
        If it is anything else.
    """
    if not isinstance(scores, xr.Dataset) or not {"p_corrected", "interval"} <= set(scores):
        raise DataError(f"expected scores made by decode_over_time, got {type(scores).__name__}.")
    return scores


def time_scores_to_frame(scores: xr.Dataset) -> pd.DataFrame:
    """Lay out decoding over time as a table with one row per kind, subject and window.

    Parameters
    ----------
    scores : Dataset
        From `decode_over_time`.

    Returns
    -------
    DataFrame
        Columns `kind`, `subject`, `window` (or `train_window` and `test_window`; seconds after
        the frame's start), `accuracy`, `low`, `high`, `chance`, `p_value` and `p_corrected`
        (over the windows of this kind and subject). What was not computed has no row.

    Raises
    ------
    DataError
        If `scores` was not made by `decode_over_time`.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> latents = na.pca_latents(train, test, n_latents=2)
    >>> scores = decode_over_time(*latents, label="odor", permutations=20, bootstraps=20)
    >>> time_scores_to_frame(scores)[["kind", "subject"]].iloc[0].tolist()
    ['within', 'ada']
    """
    given = check_time_scores(scores)
    places = [str(name) for name in given["accuracy"].dims]
    columns = given[["accuracy"]].assign(
        low=given["interval"].sel(bound="low", drop=True),
        high=given["interval"].sel(bound="high", drop=True),
        chance=given["chance"],
        p_value=given["p_value"],
        p_corrected=given["p_corrected"],
    )
    frame = columns.to_dataframe(dim_order=places).reset_index()
    kept = [*places, "accuracy", "low", "high", "chance", "p_value", "p_corrected"]
    return frame.loc[frame["accuracy"].notna(), kept].reset_index(drop=True)
