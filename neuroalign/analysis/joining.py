"""How many trials an animal needs to join a fitted model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from neuroalign.analysis.decoding import decode_labels
from neuroalign.analysis.labels import Label, labels_as_text
from neuroalign.data.randomness import RandomState, named_generator, resolve_seed
from neuroalign.data.splits import assert_disjoint
from neuroalign.errors import ParameterError
from neuroalign.schema import build_tree, subjects_of

__all__ = ["score_joining"]


def score_joining(
    model: Any,
    reference: xr.DataTree,
    train: xr.DataTree,
    test: xr.DataTree,
    *,
    label: Label,
    trials_per_label: Sequence[int | None] = (5, 10, 20, None),
    bootstraps: int = 1000,
    random_state: RandomState = 0,
    **settings: Any,
) -> pd.DataFrame:
    """Add a new subject with few, more and all of its trials, and decode it from the others.

    Parameters
    ----------
    model : SharedLatentModel
        Fitted without the new subject; it stays as it is.
    reference : DataTree
        Latents of the old subjects' training trials, `model.transform(...)`: what the
        classifier is trained on.
    train, test : DataTree
        Windowed counts of the new subject alone, disjoint trials.
    label : str or list of str
        Trial coordinate to read.
    trials_per_label : sequence of int or None
        How many training trials of each label are given (fewer where there are fewer); None
        gives all. Smaller sets are parts of larger ones.
    bootstraps : int
        Resamples over test trials behind the intervals.
    random_state : int, Generator or None
        Seed of the choice of trials and of the intervals.
    **settings
        Passed to `SharedLatentModel.add_subject`.

    Returns
    -------
    DataFrame
        For every number of trials, `level` "window" and "trial": `trials` given, balanced
        `accuracy` of the classifier trained on the old subjects (`kind` "across") and on the
        new subject's own given trials ("within"), with 95 % interval `low`, `high`, and
        `chance`.

    Raises
    ------
    ParameterError
        If there is not exactly one new subject.
    DataError
        If the new subject's windows or labels do not fit the model, or trees share trials.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(
    ...     units={"ada": 20, "bob": 16, "cyd": 12}, trials=60, mean_rate=8, random_state=0
    ... )
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> old = train.filter(lambda node: node.name != "cyd")
    >>> model = na.SharedLatentModel(3, max_epochs=5, random_state=0, verbose=False)
    >>> reference = model.fit(old, label="odor").transform(old)
    >>> table = na.score_joining(
    ...     model, reference, train.filter(lambda node: node.name == "cyd"),
    ...     test.filter(lambda node: node.name == "cyd"), label="odor",
    ...     trials_per_label=(4, None), bootstraps=20, max_epochs=3,
    ... )
    >>> sorted(table["trials"].unique().tolist())  # of 45 training trials
    [16, 45]
    """
    names = subjects_of(train)
    if len(names) != 1 or subjects_of(test) != names or names[0] in subjects_of(reference):
        raise ParameterError(
            "score_joining takes the windows of one new subject, the same in train and test, got "
            f"{', '.join(names)} in train, {', '.join(subjects_of(test))} in test and "
            f"{', '.join(subjects_of(reference))} in the reference."
        )
    assert_disjoint(train, test)
    (name,) = names
    seed = resolve_seed(random_state)
    full = train.children[name].to_dataset()
    order = _turns(labels_as_text(full, label, subject=name), named_generator(seed, "trials", name))
    rows = []
    for wanted in trials_per_label:
        given = full if wanted is None else full.isel(trial=order < wanted)
        rows += _score(model, reference, given, test, name, label, bootstraps, seed, settings)
    return pd.DataFrame(rows)


def _turns(labels: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """Return each trial's place in a random order within its label."""
    turns = np.zeros(labels.size, dtype=int)
    for value in np.unique(labels):
        members = np.flatnonzero(labels == value)
        turns[members] = stream.permutation(members.size)
    return turns


def _score(
    model: Any,
    reference: xr.DataTree,
    given: xr.Dataset,
    test: xr.DataTree,
    name: str,
    label: Label,
    bootstraps: int,
    seed: int,
    settings: dict[str, Any],
) -> list[dict[str, object]]:
    tree = build_tree({name: given})
    grown = model.add_subject(tree, random_state=seed, **settings)
    known = {key: node.to_dataset() for key, node in reference.children.items()}
    own = grown.transform(tree)[name].to_dataset()
    scores = decode_labels(
        build_tree({**known, name: own}),
        grown.transform(test),
        label=label,
        permutations=0,
        bootstraps=bootstraps,
        random_state=seed,
    )
    rows: list[dict[str, object]] = []
    for level in ("window", "trial"):
        for kind, teacher in (("across", "others"), ("within", name)):
            place = {"level": level, "train_subject": teacher, "test_subject": name}
            low, high = scores["interval"].sel(place).values.tolist()
            rows.append(
                {
                    "trials": given.sizes["trial"],
                    "level": level,
                    "kind": kind,
                    "accuracy": float(scores["accuracy"].sel(place)),
                    "low": low,
                    "high": high,
                    "chance": float(scores["chance"].sel(test_subject=name)),
                }
            )
    return rows
