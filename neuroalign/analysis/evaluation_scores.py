"""Scores of one method from what its folds gave: decoding, headline, imputation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from neuroalign.analysis.evaluation_tasks import FoldResult
from neuroalign.analysis.imputation_pairs import KINDS, PairScore
from neuroalign.analysis.poisson import bits_per_spike
from neuroalign.analysis.predictions import (
    BOUNDS,
    LEVELS,
    OTHERS,
    Predictions,
    correct_shares,
    pool_predictions,
    score_predictions,
)
from neuroalign.analysis.statistics import (
    balanced_accuracy,
    bootstrap_ratio,
    correct_p_values,
    permuted_accuracies,
)
from neuroalign.data.randomness import named_generator

SCOPES = ("within", "across")
MEASURES = ("correlation", "correlation_unit", "coherence_window", "coherence_trial")


def score_method(
    folds: Sequence[FoldResult], *, permutations: int, bootstraps: int, seed: int
) -> xr.Dataset:
    """Score one method on the pooled test trials of its folds.

    Parameters
    ----------
    folds : sequence of FoldResult
        In the order of the folds.
    permutations, bootstraps : int
        Of the decoder null, and behind the intervals.
    seed : int
        Seed.

    Returns
    -------
    Dataset
        What `evaluate` promises of a method, without the dimension `model`.
    """
    pooled = pool_predictions([fold.predictions for fold in folds])
    scores = score_predictions(
        pooled, permutations=permutations, bootstraps=bootstraps, random_state=seed
    )
    scores = scores.drop_vars("probability")
    scores["p_corrected"] = _corrected(scores["p_value"])
    scores = scores.merge(
        headline(pooled, permutations=permutations, bootstraps=bootstraps, seed=seed)
    )
    imputed = _imputation(folds, bootstraps=bootstraps, seed=seed)
    own = _own(folds, bootstraps=bootstraps, seed=seed)
    about = xr.Dataset(
        {
            "alignment": ("fold", [fold.alignment for fold in folds]),
            "seconds": ("fold", [fold.seconds for fold in folds]),
            "settings": ("fold", [json.dumps(fold.choice.settings, default=str) for fold in folds]),
            "tuning": ("fold", [json.dumps(fold.choice.scores, default=str) for fold in folds]),
        },
        coords={"fold": np.arange(len(folds))},
    )
    return xr.merge([scores, imputed, own, about], combine_attrs="override")


def _corrected(p_values: xr.DataArray) -> xr.DataArray:
    """Correct over subjects, apart for within, across and the single pairs."""
    corrected = xr.full_like(p_values, np.nan)
    sources = p_values["train_subject"].values[:, None]
    same = sources == p_values["test_subject"].values
    rest = np.broadcast_to(sources == OTHERS, same.shape)
    for family in (same, rest, ~same & ~rest):
        corrected.values[family] = correct_p_values(p_values.values[family])
    return corrected


def headline(pooled: Predictions, *, permutations: int, bootstraps: int, seed: int) -> xr.Dataset:
    """Average the accuracy over subjects, within and across, with one p-value for each.

    The labels of all subjects' test trials are permuted together, every subject's among its
    own trials of a fold, and the average is taken again: one test for the whole data set.

    Returns
    -------
    Dataset
        `headline(scope, level)`, `headline_interval(scope, level, bound)` over trials, the
        subjects held fixed, and `headline_p(scope)` of the accuracy per trial.
    """
    classes = np.array(pooled.classes, dtype=str)
    means = np.full((len(SCOPES), len(LEVELS)), np.nan)
    interval = np.full((*means.shape, 2), np.nan)
    p_value = np.full(len(SCOPES), np.nan)
    for row, scope in enumerate(SCOPES):
        found = [
            (subject, key)
            for subject in pooled.test_subjects
            if (key := (subject if scope == "within" else OTHERS, subject)) in pooled.probability
        ]
        if not found:
            continue
        seen: list[tuple[float, float]] = []
        null, spread = np.zeros(permutations), np.zeros((len(LEVELS), bootstraps))
        for subject, key in found:
            trials = pooled.trials[subject]
            kept = trials.scored
            shares = correct_shares(pooled.probability[key], trials.labels, classes)
            true = trials.labels[kept]
            seen.append(tuple(balanced_accuracy(true, share[kept]) for share in shares))  # type: ignore[arg-type]
            read = classes[pooled.probability[key].mean(axis=1).argmax(axis=1)][kept]
            stream = named_generator(seed, "headline", scope, subject)
            null += permuted_accuracies(
                true, read, permutations=permutations, groups=trials.folds[kept], random=stream
            )
            for level, share in enumerate(shares):
                spread[level] += _resampled(true, share[kept], bootstraps, stream)
        means[row] = np.mean(seen, axis=0)
        if permutations:
            reached = (null / len(found) >= means[row, LEVELS.index("trial")] - 1e-9).sum()
            p_value[row] = (1 + reached) / (1 + permutations)
        if bootstraps:
            interval[row] = np.quantile(spread / len(found), (0.025, 0.975), axis=1).T
    return xr.Dataset(
        {
            "headline": (("scope", "level"), means),
            "headline_interval": (("scope", "level", "bound"), interval),
            "headline_p": ("scope", p_value),
        },
        coords={"scope": list(SCOPES), "level": list(LEVELS), "bound": list(BOUNDS)},
    )


def _resampled(
    true: np.ndarray, right: np.ndarray, bootstraps: int, random: np.random.Generator
) -> np.ndarray:
    """Return balanced accuracies of resampled trials, drawn within their label."""
    labels = np.unique(true)
    total = np.zeros(bootstraps)
    for label in labels:
        members = right[true == label]
        total += members[random.integers(members.size, size=(bootstraps, members.size))].mean(1)
    return total / labels.size


def _imputation(folds: Sequence[FoldResult], *, bootstraps: int, seed: int) -> xr.Dataset:
    imputed = {name for fold in folds for pair in fold.pairs for name in pair}
    names = [name for name in folds[0].predictions.test_subjects if name in imputed]
    if not names:
        return xr.Dataset()
    shape = (len(names), len(names))
    pair_dims = ("source", "target")
    bits = np.full((len(KINDS), *shape), np.nan)
    bits_interval = np.full((*bits.shape, 2), np.nan)
    above, above_interval = np.full(shape, np.nan), np.full((*shape, 2), np.nan)
    values = {measure: np.full((len(KINDS), *shape), np.nan) for measure in MEASURES}
    for row, source in enumerate(names):
        for column, target in enumerate(names):
            parts = [f.pairs[source, target] for f in folds if (source, target) in f.pairs]
            if not parts:
                continue
            gains = {kind: np.concatenate([p.gains[kind] for p in parts]) for kind in KINDS}
            spikes = np.concatenate([p.spikes for p in parts])

            def ends(numerator: np.ndarray, pair: str, weights: np.ndarray) -> np.ndarray:
                # one stream for all kinds: the same trials are drawn for each
                random = named_generator(seed, "imputation", pair)
                return np.array(
                    bootstrap_ratio(numerator, weights, bootstraps=bootstraps, random_state=random)
                )

            pair = f"{source}>{target}"
            for k, kind in enumerate(KINDS):
                bits[k, row, column] = bits_per_spike(gains[kind], spikes)
                bits_interval[k, row, column] = ends(gains[kind], pair, spikes)
                for measure, found in values.items():
                    found[k, row, column] = _by_trials(parts, kind, measure)
            more = gains["imputed"] - gains["floor"]
            above[row, column] = bits_per_spike(more, spikes)
            above_interval[row, column] = ends(more, pair, spikes)
    kinds = ("kind", *pair_dims)
    real = {
        name: np.mean([f.real_coherence[name] for f in folds if name in f.real_coherence], axis=0)
        for name in names
    }
    return xr.Dataset(
        {
            "bits_per_spike": (kinds, bits),
            "bits_interval": ((*kinds, "bound"), bits_interval),
            "above_floor": (pair_dims, above),
            "above_floor_interval": ((*pair_dims, "bound"), above_interval),
            **{name: (kinds, found) for name, found in values.items()},
            "real_coherence": (("level", "target"), np.stack([real[n] for n in names], axis=1)),
        },
        coords={
            "kind": list(KINDS),
            "source": names,
            "target": names,
            "bound": list(BOUNDS),
            "level": list(LEVELS),
        },
    )


def _by_trials(parts: Sequence[PairScore], kind: str, measure: str) -> float:
    """Average what each fold reached, by the number of its source trials."""
    weights = np.array([part.trials for part in parts], dtype=np.float64)
    return float(np.average([part.values[kind][measure] for part in parts], weights=weights))


def _own(folds: Sequence[FoldResult], *, bootstraps: int, seed: int) -> xr.Dataset:
    names = list(dict.fromkeys(name for fold in folds for name in fold.own))
    if not names:
        return xr.Dataset()
    bits, interval = [], []
    for name in names:
        found = [fold.own[name] for fold in folds if name in fold.own]
        gains, spikes = (np.concatenate([part[i] for part in found]) for i in (0, 1))
        bits.append(bits_per_spike(gains, spikes))
        random = named_generator(seed, "reconstruction", name)
        interval.append(bootstrap_ratio(gains, spikes, bootstraps=bootstraps, random_state=random))
    return xr.Dataset(
        {
            "bits_reconstructed": ("subject", bits),
            "bits_reconstructed_interval": (("subject", "bound"), interval),
        },
        coords={"subject": names, "bound": list(BOUNDS)},
    )


def score_left_out(
    read: Mapping[str, Sequence[Predictions]], *, bootstraps: int, seed: int
) -> xr.Dataset:
    """Score how labels that were left out of the pairing are read, one label at a time.

    Parameters
    ----------
    read : mapping
        For every label that was left out, what was read of all test trials in every fold.
    bootstraps, seed : int
        Behind the intervals.

    Returns
    -------
    Dataset
        `left_out(label, scope, test_subject)`: share of trials of that label read as it, with
        `left_out_interval(label, scope, test_subject, bound)` over trials;
        `left_out_false_alarms(label, scope, test_subject)`: share of trials of the other labels
        read as it. Only the two together say that a label was told from the others.
    """
    subjects = list(dict.fromkeys(n for folds in read.values() for f in folds for n in f.trials))
    shape = (len(read), len(SCOPES), len(subjects))
    share, alarms = np.full(shape, np.nan), np.full(shape, np.nan)
    interval = np.full((*shape, 2), np.nan)
    for row, (label, folds) in enumerate(read.items()):
        if not folds:
            continue
        pooled = pool_predictions(folds)
        classes = np.array(pooled.classes, dtype=str)
        for column, subject in enumerate(subjects):
            for place, source in enumerate((subject, OTHERS)):
                if (source, subject) not in pooled.probability:
                    continue
                truth = pooled.trials[subject].labels
                called = correct_shares(
                    pooled.probability[source, subject], np.full(len(truth), label), classes
                )[1]
                mine = truth == label
                at = row, place, column
                alarms[at] = called[~mine].mean() if (~mine).any() else np.nan
                if not mine.any():
                    continue
                share[at] = called[mine].mean()
                random = named_generator(seed, "left out", label, source, subject)
                interval[at] = bootstrap_ratio(
                    called[mine], np.ones(mine.sum()), bootstraps=bootstraps, random_state=random
                )
    dims = ("left_out_label", "scope", "test_subject")
    return xr.Dataset(
        {
            "left_out": (dims, share),
            "left_out_false_alarms": (dims, alarms),
            "left_out_interval": ((*dims, "bound"), interval),
        },
        coords={
            "left_out_label": list(read),
            "scope": list(SCOPES),
            "test_subject": subjects,
            "bound": list(BOUNDS),
        },
    )
