"""Imputation from more and more sources: what each further animal adds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from neuroalign.analysis.baselines import check_same_units
from neuroalign.analysis.imputation_pairs import align_expected, read_windows
from neuroalign.analysis.imputation_reference import prepare_target
from neuroalign.analysis.labels import Label
from neuroalign.analysis.poisson import bits_per_spike, gains_and_spikes
from neuroalign.analysis.predictions import correct_shares
from neuroalign.analysis.statistics import balanced_accuracy, bootstrap_ratio
from neuroalign.data.randomness import RandomState, named_generator, resolve_seed
from neuroalign.data.splits import assert_disjoint
from neuroalign.errors import ParameterError
from neuroalign.schema import subjects_of

__all__ = ["score_sources"]


def score_sources(
    model: Any,
    train: xr.DataTree,
    test: xr.DataTree,
    *,
    label: Label,
    target: str,
    combine: str | Sequence[str] = ("precision", "equal"),
    subsets: int = 10,
    bootstraps: int = 200,
    random_state: RandomState = 0,
) -> pd.DataFrame:
    """Score imputation of a target from one source, from two, and so on up to all others.

    For subjects recorded together: every imputed trial is held against the target's own trial
    with the same id.

    Parameters
    ----------
    model : SharedLatentModel
        Fitted to `train` with pairing "trial".
    train, test : DataTree
        Windowed counts of disjoint trials.
    label : str or list of str
        Trial coordinate that a classifier of the target's real windows reads from imputed ones.
    target : str
        Whose activity is imputed.
    combine : str or sequence of str
        How several sources are averaged; see `SharedLatentModel.impute`.
    subsets : int
        Most subsets of each size; more are drawn at random.
    bootstraps : int
        Resamples over test trials behind the intervals.
    random_state : int, Generator or None
        Seed.

    Returns
    -------
    DataFrame
        A row per subset and `combine`: `n_sources`, `sources`, `bits_per_spike` (gain over the
        unit's mean training rate) with its 95 % interval `low`, `high`, `coherence` (balanced
        accuracy per trial of the label read from imputed windows), and `chance`.

    Raises
    ------
    ParameterError
        If the target is not in the data or nothing else is, or a number makes no sense.
    DataError
        If trees share trials, differ in units, or the model's output does not fit them.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(
    ...     units={"ada": 20, "bob": 16, "cyd": 12}, trials=60, mean_rate=8, simultaneous=True,
    ...     random_state=0,
    ... )
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, simultaneous=True, random_state=0)
    >>> model = na.SharedLatentModel(3, pairing="trial", max_epochs=3, random_state=0,
    ...                              verbose=False).fit(train, label="odor")
    >>> table = na.score_sources(model, train, test, label="odor", target="cyd", bootstraps=20)
    >>> table.groupby("combine")["n_sources"].max().to_dict()
    {'equal': 2, 'precision': 2}
    """
    check_same_units(train, test)
    assert_disjoint(train, test)
    names = [name for name in subjects_of(test) if name != target]
    if target not in subjects_of(test) or not names:
        raise ParameterError(
            f"target must be one of at least two subjects ({', '.join(subjects_of(test))}), "
            f"got {target!r}."
        )
    seed = resolve_seed(random_state)
    reference = prepare_target(
        train,
        test,
        target,
        label=label,
        classifier=None,
        scaling="sqrt-standard",
        bootstraps=0,
        seed=seed,
    )
    ways = [combine] if isinstance(combine, str) else list(combine)
    rows = [
        {"combine": way, "n_sources": len(chosen), "sources": ", ".join(chosen)}
        | _score(model, test, list(chosen), reference, way, bootstraps, seed)
        for chosen in _subsets(names, subsets, named_generator(seed, "subsets", target))
        for way in ways
    ]
    return pd.DataFrame(rows).assign(chance=1.0 / len(reference.averages.classes))


def _subsets(names: list[str], most: int, stream: np.random.Generator) -> list[tuple[str, ...]]:
    chosen = []
    for size in range(1, len(names) + 1):
        all_of_size = list(itertools.combinations(names, size))
        order = stream.permutation(len(all_of_size))[:most]
        chosen += [all_of_size[k] for k in np.sort(order)]
    return chosen


def _score(
    model: Any,
    test: xr.DataTree,
    sources: list[str],
    reference: Any,
    way: str,
    bootstraps: int,
    seed: int,
) -> dict[str, float]:
    arguments = {"source": sources, "target": reference.subject, "combine": way}
    frames = model.impute(test, **arguments)[reference.subject].to_dataset()
    windows = model.impute(test, **arguments, windows=True)[reference.subject].to_dataset()
    own = reference.dataset["trial"].values
    shared = own[np.isin(own, frames["trial"].values)]
    place = np.searchsorted(own, shared, sorter=np.argsort(own))
    rows = np.argsort(own)[place]
    counts = reference.dataset["counts"].values[rows][:, :, reference.bins].astype(np.float64)
    layout = xr.Dataset(coords={"trial": shared})
    expected, _ = align_expected(frames, layout, reference.dataset, reference.subject)
    gains, spikes = gains_and_spikes(
        expected, counts, np.ones(len(shared)), reference.averages.unit_mean
    )
    low, high = bootstrap_ratio(
        gains,
        spikes,
        bootstraps=bootstraps,
        random_state=named_generator(seed, "sources", *sources),
    )
    labels = reference.labels[rows]
    known = np.isin(labels, reference.averages.classes)
    probability = read_windows(windows, shared[known], reference)
    share = correct_shares(probability, labels[known], np.array(reference.averages.classes))[1]
    return {
        "bits_per_spike": bits_per_spike(gains, spikes),
        "low": float(low),
        "high": float(high),
        "coherence": balanced_accuracy(labels[known], share),
    }
