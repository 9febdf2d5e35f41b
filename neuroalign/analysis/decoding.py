"""What a subject perceived: labels read from latents, within one subject and across subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from neuroalign.analysis.labels import Label, label_name
from neuroalign.analysis.predictions import OTHERS, predict_labels, score_predictions
from neuroalign.analysis.statistics import correct_p_values
from neuroalign.data.randomness import RandomState, resolve_seed
from neuroalign.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["decode_labels", "scores_to_frame"]


def decode_labels(
    train_latents: xr.DataTree,
    test_latents: xr.DataTree,
    *,
    label: Label,
    classifier: Any = None,
    position: bool = False,
    permutations: int = 1000,
    bootstraps: int = 1000,
    allow_overlap: bool = False,
    random_state: RandomState = 0,
) -> xr.Dataset:
    """Read labels from held-out latents with classifiers of every subject and of all the others.

    A classifier is trained on all windows of the training trials. A trial's probabilities are
    the mean over its windows. Everything is tested on held-out trials: *within*
    (`train_subject` equals `test_subject`), for every *pair*, and *across*, where
    `train_subject` is `"others"`: the pooled training latents of all subjects but the tested
    one. Latents that carry names are compared only between subjects whose names agree, so
    features of a subject's own units (`raw_features`) are decoded within subjects only.

    Parameters
    ----------
    train_latents, test_latents : DataTree
        Latents `mean(trial, window, latent)` of every subject, with labels on their trials,
        from `SharedLatentModel.transform` or elsewhere. No trial may be in both.
    label : str or list of str
        Trial coordinate to read (text, whole numbers, booleans), or several whose combination
        is meant.
    classifier : scikit-learn classifier, optional
        Needs `predict_proba`; cloned for every fit. By default the latents are standardised
        and read by a logistic regression with equal weight for every label, whose C is chosen
        by cross-validation over whole training trials.
    position : bool
        Tell the classifier where in the trial each window lies: products of every latent with
        the first two cosines over the windows stand beside it, so that what a latent means may
        change slowly over the trial. All trials have the same windows, so the position alone
        says nothing of the label. Off by default, as in the paper.
    permutations : int
        Label permutations behind every p-value; 0 for none.
    bootstraps : int
        Resamples over trials behind every interval; 0 for none.
    allow_overlap : bool
        Accept training trials among the test trials. The result then says so
        (`protocol="train-on-train"`) and measures no generalisation.
    random_state : int, Generator or None
        Seed of permutations, resamples and the search for C; None draws a fresh one. The seed
        that was used is kept in the attributes.

    Returns
    -------
    Dataset
        `accuracy(level, train_subject, test_subject)`: balanced accuracy over the labels
        present, level `"window"` or `"trial"`; NaN where a classifier does not exist or its
        latents are others.
        `interval(level, train_subject, test_subject, bound)`: 95 % over test trials, resampled
        within their label.
        `chance(test_subject)`: 1 / number of labels present.
        `p_value(train_subject, test_subject)`: share of permutations of the labels over whole
        test trials that reach the accuracy per trial.
        `confusion(train_subject, test_subject, true_label, predicted_label)`: trials.
        `predicted(train_subject, test_trial)` and
        `probability(train_subject, test_trial, predicted_label)` of every test trial, also of
        trials whose label no training trial has; those are not scored. Coordinates on
        `test_trial`: `test_trial_subject`, `test_trial_id`, `test_trial_label` (as text),
        `test_trial_fold` and `scored`.

    Raises
    ------
    DataError
        If a test trial is a training trial too, a subject's training trials have one label
        only or lack it, latents are not finite, a subject has no test trial to score, or (with
        `position`) not all have the same windows.
    ParameterError
        If the classifier gives no probabilities or a number makes no sense.

    Warns
    -----
    DataWarning
        If a subject's training trials lack a label that other subjects have: its classifier
        cannot read it, and those test trials count as wrong.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from neuroalign.schema import build_tree
    >>> odor = np.array(["A", "B"] * 10)
    >>> mean = np.where(odor == "A", -1.0, 1.0)[:, None, None] * np.ones((20, 3, 2))
    >>> rat = xr.Dataset(
    ...     {"mean": (("trial", "window", "latent"), mean)},
    ...     coords={"trial": np.arange(20), "window": [0.0, 0.01, 0.02], "odor": ("trial", odor)},
    ...     attrs={"stage": "latents"},
    ... )
    >>> train = build_tree({"mitt": rat.isel(trial=slice(0, 12))})
    >>> test = build_tree({"mitt": rat.isel(trial=slice(12, 20))})
    >>> scores = decode_labels(train, test, label="odor")
    >>> scores["accuracy"].sel(level="trial", train_subject="mitt", test_subject="mitt").item()
    1.0
    """
    seed = resolve_seed(random_state)
    predictions = predict_labels(
        train_latents,
        test_latents,
        label=label,
        classifier=classifier,
        position=position,
        allow_overlap=allow_overlap,
        random_state=seed,
    )
    scores = score_predictions(
        predictions, permutations=permutations, bootstraps=bootstraps, random_state=seed
    )
    protocol = "train-on-train" if allow_overlap else "heldout"
    return describe_scores(
        scores,
        label=label,
        protocol=protocol,
        permutations=permutations,
        bootstraps=bootstraps,
        classifier=classifier,
        position=position,
        seed=seed,
    )


def describe_scores(
    scores: xr.Dataset,
    *,
    label: Label,
    protocol: str,
    permutations: int,
    bootstraps: int,
    classifier: Any,
    seed: int,
    position: bool = False,
) -> xr.Dataset:
    """Write into the attributes how scores were made."""
    kind = "logistic regression, C by trial" if classifier is None else type(classifier).__name__
    if position:
        kind += ", told the window's position"
    return scores.assign_attrs(
        label=label_name(label),
        protocol=protocol,
        null="decoder",
        permutations=permutations,
        bootstraps=bootstraps,
        classifier=kind,
        random_state=seed,
    )


def scores_to_frame(scores: xr.Dataset) -> pd.DataFrame:
    """Lay out decoding scores as a table with one row per level, classifier and test subject.

    Parameters
    ----------
    scores : Dataset
        From `decode_labels` or `cross_validate`.

    Returns
    -------
    DataFrame
        Columns `level`, `kind` ("within", "pair" or "others"), `train_subject`,
        `test_subject`, `accuracy`, `low`, `high`, `chance`, `p_value` and `p_corrected`
        (Benjamini-Hochberg over all tests of the same kind). The permutation test is one of
        the accuracy per trial, so rows of level "window" have no p-value. Combinations that
        were not computed have no row.

    Raises
    ------
    DataError
        If `scores` was not made by `decode_labels` or `cross_validate`.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> latents = na.pca_latents(train, test, n_latents=2)
    >>> scores = na.decode_labels(*latents, label="odor", permutations=20, bootstraps=20)
    >>> na.scores_to_frame(scores)[["level", "train_subject", "test_subject"]].iloc[0].tolist()
    ['window', 'ada', 'ada']
    """
    import pandas as pd

    if not isinstance(scores, xr.Dataset) or "accuracy" not in scores or "interval" not in scores:
        raise DataError(
            f"expected scores made by decode_labels or cross_validate, got {type(scores).__name__}."
        )
    rows = [
        _score_row(scores, level, source, subject)
        for level in scores["level"].values.tolist()
        for source in scores["train_subject"].values.tolist()
        for subject in scores["test_subject"].values.tolist()
    ]
    frame = pd.DataFrame([row for row in rows if np.isfinite(row["accuracy"])])
    if frame.empty:
        raise DataError("expected at least one score that is not NaN, got none in scores.")
    frame["p_corrected"] = np.nan
    for members in frame.groupby(["level", "kind"]).groups.values():
        frame.loc[members, "p_corrected"] = correct_p_values(
            frame.loc[members, "p_value"].to_numpy()
        )
    return frame


def _score_row(scores: xr.Dataset, level: str, source: str, subject: str) -> dict[str, Any]:
    kind = "others" if source == OTHERS else "within" if source == subject else "pair"
    one = scores.sel(level=level, train_subject=source, test_subject=subject)
    low, high = one["interval"].values.tolist()
    return {
        "level": level,
        "kind": kind,
        "train_subject": source,
        "test_subject": subject,
        "accuracy": one["accuracy"].item(),
        "low": low,
        "high": high,
        "chance": one["chance"].item(),
        "p_value": one["p_value"].item() if level == "trial" else np.nan,
    }
