"""What another subject's units would have done: imputed activity scored against held-out trials."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr

from neuroalign.analysis.above_floor import bootstrap_both
from neuroalign.analysis.baselines import check_same_units
from neuroalign.analysis.imputation_pairs import KINDS, PairScore, align_expected
from neuroalign.analysis.imputation_reference import TargetReference
from neuroalign.analysis.imputation_run import prepare_sources, prepare_targets, score_pairs
from neuroalign.analysis.labels import Label, label_name
from neuroalign.analysis.poisson import bits_per_spike, gains_and_spikes, unit_means
from neuroalign.analysis.predictions import BOUNDS, LEVELS
from neuroalign.analysis.scaling import Scaling, check_scaling
from neuroalign.analysis.statistics import bootstrap_ratio, check_count
from neuroalign.data.randomness import RandomState, named_generator, resolve_seed
from neuroalign.data.splits import assert_disjoint
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import subjects_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__all__ = ["imputation_to_frame", "reconstruction_scores", "score_imputation"]

PAIR: Final = ("source", "target")
MEASURES: Final = (
    "bits_per_spike",
    "correlation",
    "correlation_unit",
    "coherence_window",
    "coherence_trial",
)
ABOVE: Final = ("above_floor", "above_floor_low", "above_floor_high")


def score_imputation(
    model: Any,
    train: xr.DataTree,
    test: xr.DataTree,
    *,
    label: Label,
    sources: str | Sequence[str] | None = None,
    targets: str | Sequence[str] | None = None,
    match: Literal["label", "trial"] = "label",
    classifier: Any = None,
    scaling: Scaling = "sqrt-standard",
    bootstraps: int = 1000,
    random_state: RandomState = 0,
) -> xr.Dataset:
    """Score imputed activity of every source and target between a floor and a ceiling.

    Subjects that were not recorded together share nothing about a trial beyond its label and
    time, so every imputed trial is scored against all held-out trials of the target with the
    same label. The *floor* decodes the label of the source's trial from the source's latents and
    returns the target's training average for that label; the *ceiling* returns the target's
    training average for the true label. Both averages are smoothed as the target's training
    trials ask (`fit_label_averages`). Imputation that stays at the floor passes on the label and
    nothing else.

    Parameters
    ----------
    model : SharedLatentModel
        Fitted to `train`; anything with `transform(windows)` and
        `impute(windows, source=, target=, windows=)` will do.
    train, test : DataTree
        Windowed counts of disjoint trials.
    label : str or list of str
        Trial coordinate, or several whose combination is meant. Trials count if source and
        target have their label in training and the target has it in its held-out trials.
    sources, targets : str or list of str, optional
        Subjects, by default all of `test`.
    match : str
        "label", or "trial" for subjects recorded together: each imputed trial is then scored in
        bits per spike against the target's trial with the same id.
    classifier : scikit-learn classifier, optional
        Reads labels from latents and from windows; see `decode_labels`.
    scaling : str
        How counts are scaled for the classifier of windows, with training statistics.
    bootstraps : int
        Resamples over source trials (over test trials for real windows) behind the intervals.
    random_state : int, Generator or None
        Seed.

    Returns
    -------
    Dataset
        With `kind` one of "imputed", "floor", "ceiling", and NaN where source is target:
        `bits_per_spike(kind, source, target)`: Poisson log-likelihood gain over the unit's mean
        rate in training trials, per spike, in bits, over units, time and pairs of trials; rates
        are kept above 1e-3 of that mean plus 1e-6 counts. `interval(kind, source, target,
        bound)`: its 95 % interval, the target's trials held fixed.
        `above_floor(source, target)`: bits per spike beyond the floor; `above_floor_interval(source,
        target, bound)`: its 95 % interval, the trials of both animals drawn anew, so that an
        interval above 0 is a claim about either's further trials.
        `correlation(kind, source, target)`: between imputed and held-out averages over labels,
        units and time; units differ in rate, which alone makes it large.
        `correlation_unit(kind, source, target)`: the mean over units of each unit's correlation
        over labels and time; 0 for a unit imputed as constant, and without units whose real
        averages are constant.
        `coherence_window`, `coherence_trial` (kind, source, target): balanced accuracy of a
        classifier of the target's real training windows on the imputed windows.
        `real_coherence(level, target)`, `real_coherence_interval(level, target, bound)`: the
        same classifier on the target's real held-out windows.
        `chance(target)`, `trials(source, target)`: number of source trials scored;
        `smoothing_width(target)` in bins, `smoothing_trials(target)`: smoothing of the averages.

    Raises
    ------
    DataError
        If trees are not windowed, share trials or differ in units, a label is missing, no trial
        can be scored, or the model's output does not fit the target.
    ParameterError
        If a subject is not known or an argument makes no sense.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> model = na.SharedLatentModel(2, likelihood="gaussian", max_epochs=1, validation_fraction=0,
    ...                              random_state=0, verbose=False).fit(train, label="odor")
    >>> scores = na.score_imputation(model, train, test, label="odor", bootstraps=20)
    >>> scores["bits_per_spike"].dims
    ('kind', 'source', 'target')
    """
    check_same_units(train, test)
    assert_disjoint(train, test)
    check_scaling(scaling)
    check_count("bootstraps", bootstraps)
    if match not in {"label", "trial"}:
        raise ParameterError(f"match must be 'label' or 'trial', got {match!r}.")
    seed = resolve_seed(random_state)
    source_names = _chosen(sources, test, "sources")
    target_names = _chosen(targets, test, "targets")
    if not any(source != target for source in source_names for target in target_names):
        raise ParameterError("expected a source and a target that differ, got one subject.")
    latents = model.transform(train), model.transform(test)
    readers = prepare_sources(*latents, source_names, label=label, classifier=classifier, seed=seed)
    references = prepare_targets(
        train,
        test,
        target_names,
        label=label,
        classifier=classifier,
        scaling=scaling,
        bootstraps=bootstraps,
        seed=seed,
    )
    scores = _empty(source_names, target_names)
    for reference in references.values():
        _write_reference(scores, reference)
    for (source, target), pair in score_pairs(model, test, readers, references, match=match):
        _write_pair(scores, source, target, pair, bootstraps=bootstraps, seed=seed)
    return scores.assign_attrs(
        stage="imputation-scores",
        label=label_name(label),
        match=match,
        scaling=scaling,
        bootstraps=bootstraps,
        random_state=seed,
    )


def _chosen(names: str | Sequence[str] | None, test: xr.DataTree, argument: str) -> list[str]:
    known = subjects_of(test)
    chosen = known if names is None else [names] if isinstance(names, str) else list(names)
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise ParameterError(
            f"{argument} must be among the test subjects {', '.join(known)}, got {chosen}."
        )
    return chosen


def _empty(sources: list[str], targets: list[str]) -> xr.Dataset:
    pair = (len(sources), len(targets))
    full = {name: (("kind", *PAIR), np.full((3, *pair), np.nan)) for name in MEASURES}
    single = ("chance", "smoothing_width", "smoothing_trials")
    return xr.Dataset(
        {
            **full,
            "interval": (("kind", *PAIR, "bound"), np.full((3, *pair, 2), np.nan)),
            "above_floor": (PAIR, np.full(pair, np.nan)),
            "above_floor_interval": ((*PAIR, "bound"), np.full((*pair, 2), np.nan)),
            "trials": (PAIR, np.zeros(pair, dtype=np.int64)),
            "real_coherence": (("level", "target"), np.full((2, pair[1]), np.nan)),
            "real_coherence_interval": (
                ("level", "target", "bound"),
                np.full((2, pair[1], 2), np.nan),
            ),
            **{name: (("target",), np.full(pair[1], np.nan)) for name in single},
        },
        coords={
            "kind": list(KINDS),
            "source": sources,
            "target": targets,
            "level": list(LEVELS),
            "bound": list(BOUNDS),
        },
    )


def _write_reference(scores: xr.Dataset, reference: TargetReference) -> None:
    place = {"target": reference.subject}
    scores["real_coherence"].loc[place] = reference.real_coherence
    scores["real_coherence_interval"].loc[place] = reference.real_interval
    scores["smoothing_width"].loc[place] = reference.averages.width
    scores["smoothing_trials"].loc[place] = reference.averages.pseudo_trials
    scores["chance"].loc[place] = 1 / len(reference.held_out_classes)


def _write_pair(
    scores: xr.Dataset, source: str, target: str, pair: PairScore, *, bootstraps: int, seed: int
) -> None:
    both = {"source": source, "target": target}
    scores["trials"].loc[both] = pair.trials
    scores["above_floor"].loc[both] = bits_per_spike(
        pair.above_floor.sum(axis=1), pair.pair_spikes.sum(axis=1)
    )
    interval = bootstrap_both(
        pair.above_floor,
        pair.pair_spikes,
        bootstraps=bootstraps,
        random=named_generator(seed, "above floor", source, target),
    )
    scores["above_floor_interval"].loc[both] = np.array(interval)
    for kind in KINDS:
        place = {"kind": kind, "source": source, "target": target}
        for measure, value in pair.values[kind].items():
            scores[measure].loc[place] = value
        scores["bits_per_spike"].loc[place] = bits_per_spike(pair.gains[kind], pair.spikes)
        # One stream for the three kinds: the same trials are drawn for each of them.
        random = named_generator(seed, "bootstrap", source, target)
        ends = bootstrap_ratio(
            pair.gains[kind], pair.spikes, bootstraps=bootstraps, random_state=random
        )
        scores["interval"].loc[place] = np.array(ends)


def imputation_to_frame(scores: xr.Dataset) -> pd.DataFrame:
    """Lay out imputation scores as a table with one row per kind, source and target.

    Parameters
    ----------
    scores : Dataset
        From `score_imputation`.

    Returns
    -------
    DataFrame
        Columns `kind`, `source`, `target`, `bits_per_spike`, `low`, `high`, `above_floor`,
        `above_floor_low`, `above_floor_high` (of the kind "imputed"), `correlation`,
        `correlation_unit`, `coherence_window`, `coherence_trial`, `real_coherence_window`,
        `real_coherence_trial`, `chance`, `trials`.

    Raises
    ------
    DataError
        If `scores` was not made by `score_imputation`.

    Examples
    --------
    See `score_imputation`; each row is a kind, a source and a target.
    """
    import pandas as pd

    if not isinstance(scores, xr.Dataset) or "real_coherence" not in scores:
        raise DataError(f"expected scores made by score_imputation, got {type(scores).__name__}.")
    rows: list[dict[str, Any]] = []
    for source in scores["source"].values.tolist():
        for target in scores["target"].values.tolist():
            if source == target:
                continue
            for kind in scores["kind"].values.tolist():
                one = scores.sel(kind=kind, source=source, target=target)
                low, high = one["interval"].values.tolist()
                row = {"kind": kind, "source": source, "target": target}
                row |= {"bits_per_spike": one["bits_per_spike"].item(), "low": low, "high": high}
                row |= _above_floor(one) if kind == "imputed" else dict.fromkeys(ABOVE, np.nan)
                row |= {name: one[name].item() for name in MEASURES[1:]}
                for level in LEVELS:
                    row[f"real_coherence_{level}"] = one["real_coherence"].sel(level=level).item()
                row |= {"chance": one["chance"].item(), "trials": one["trials"].item()}
                rows.append(row)
    return pd.DataFrame(rows)


def _above_floor(pair: xr.Dataset) -> dict[str, float]:
    ends = pair["above_floor_interval"].values.tolist()
    return dict(zip(ABOVE, [pair["above_floor"].item(), *ends], strict=True))


def reconstruction_scores(
    model: Any,
    train: xr.DataTree,
    test: xr.DataTree,
    *,
    bootstraps: int = 1000,
    random_state: RandomState = 0,
) -> xr.Dataset:
    """Score how well each subject's own held-out trials are reconstructed, in bits per spike.

    Parameters
    ----------
    model : SharedLatentModel
        Fitted to `train`; anything with `reconstruct(windows)` will do.
    train, test : DataTree
        Windowed counts of disjoint trials. The mean rates to beat come from `train`.
    bootstraps : int
        Resamples over test trials behind the intervals.
    random_state : int, Generator or None
        Seed.

    Returns
    -------
    Dataset
        `bits_per_spike(subject)`: Poisson log-likelihood gain over the unit's mean training
        rate, per spike, in bits, each trial against its own counts; `interval(subject, bound)`:
        95 % over test trials; `expected_ratio(subject)`: expected over observed spikes. A
        reconstruction has seen the counts that it explains, so this measures what the latents
        keep of them, not a prediction.

    Raises
    ------
    DataError
        If trees are not windowed, share trials or differ in units, or the model's output does
        not fit them.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> model = na.SharedLatentModel(2, likelihood="gaussian", max_epochs=1, validation_fraction=0,
    ...                              random_state=0, verbose=False).fit(train, label="odor")
    >>> na.reconstruction_scores(model, train, test, bootstraps=20)["bits_per_spike"].dims
    ('subject',)
    """
    check_same_units(train, test)
    assert_disjoint(train, test)
    check_count("bootstraps", bootstraps)
    seed = resolve_seed(random_state)
    reconstructed = model.reconstruct(test)
    names = subjects_of(test)
    bits, ratio = np.full(len(names), np.nan), np.full(len(names), np.nan)
    interval = np.full((len(names), 2), np.nan)
    for index, name in enumerate(names):
        given = test.children[name].to_dataset()
        expected, bins = align_expected(reconstructed[name].to_dataset(), given, given, name)
        counts = given["counts"].values[:, :, bins].astype(np.float64)
        means = unit_means(train.children[name].to_dataset()["counts"].values[:, :, bins])
        gains, spikes = gains_and_spikes(expected, counts, np.ones(len(counts)), means)
        bits[index] = bits_per_spike(gains, spikes)
        ratio[index] = expected.sum() / counts.sum() if counts.sum() else np.nan
        interval[index] = bootstrap_ratio(
            gains,
            spikes,
            bootstraps=bootstraps,
            random_state=named_generator(seed, "reconstruction", name),
        )
    return xr.Dataset(
        {
            "bits_per_spike": ("subject", bits),
            "interval": (("subject", "bound"), interval),
            "expected_ratio": ("subject", ratio),
        },
        coords={"subject": names, "bound": list(BOUNDS)},
        attrs={
            "stage": "reconstruction-scores",
            "subjects": json.dumps(names),
            "bootstraps": bootstraps,
            "random_state": seed,
        },
    )
