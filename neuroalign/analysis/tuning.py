"""Choose a model's settings inside training trials, on trials set apart from them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from neuroalign.analysis.fitting_many import fit_each
from neuroalign.analysis.labels import Label
from neuroalign.analysis.predictions import OTHERS, Predictions, correct_shares, predict_labels
from neuroalign.analysis.statistics import balanced_accuracy
from neuroalign.data.splits import split_trials
from neuroalign.errors import NeuroAlignError, ParameterError, TrainingError

Grid = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Choice:
    """Settings that were chosen, and the score of every candidate."""

    settings: dict[str, Any]
    scores: list[dict[str, Any]] = field(default_factory=list)


def choose_settings(
    model: Any,
    grid: Grid,
    train: xr.DataTree,
    *,
    label: Label,
    fit_label: Label | None = None,
    validation_size: float = 0.25,
    simultaneous: bool = False,
    classifier: Any = None,
    random_state: int = 0,
) -> Choice:
    """Fit every candidate to part of the training trials and keep the one that reads the rest best.

    A candidate's score is the mean over subjects of the balanced accuracy per window, within
    subjects and, where the latents are shared, across from the pooled others.

    Parameters
    ----------
    model : estimator
        Cloned for every candidate.
    grid : mapping
        Values to try of each parameter; all combinations are tried.
    train : DataTree
        Windowed training trials; nothing else is looked at.
    label : str or list of str
        Trial coordinate to decode.
    fit_label : str or list of str, optional
        What the model is fitted with, by default `label`.
    validation_size : float
        Share of the training trials that the candidates are compared on.
    simultaneous : bool
        Subjects were recorded together and share the split.
    classifier : scikit-learn classifier, optional
        See `decode_labels`.
    random_state : int
        Seed of the split and of the search for C.

    Returns
    -------
    Choice
        The settings (empty for an empty grid; of equal scores, the first), and the scores.

    Raises
    ------
    ParameterError
        If the grid names parameters that the model does not have, or no candidate makes sense.
    TrainingError
        If every candidate failed; the message is that of the last.
    """
    from sklearn.base import clone

    candidates = grid_candidates(model, grid)
    if len(candidates) == 1:
        return Choice(candidates[0])
    parts = split_trials(
        train,
        test_size=validation_size,
        stratify=label,
        simultaneous=simultaneous,
        random_state=random_state,
    )
    scores: list[dict[str, Any]] = []
    failures: list[NeuroAlignError] = []
    unfitted = [clone(model).set_params(**settings) for settings in candidates]
    fitted = fit_each(
        unfitted, [parts[0]] * len(unfitted), label=label if fit_label is None else fit_label
    )
    for settings, one in zip(candidates, fitted, strict=True):
        try:
            score = _score_candidate(one, parts, label, classifier, random_state)
        except NeuroAlignError as error:  # other candidates may still be sound
            score = float("nan")
            failures.append(error)
        scores.append({**settings, "score": score})
    values = np.array([row["score"] for row in scores])
    if not np.isfinite(values).any():
        said = f"no setting of the grid could be fitted; the last failed: {failures[-1]}"
        wrong = all(isinstance(error, ParameterError) for error in failures)
        raise ParameterError(said) if wrong else TrainingError(said)
    return Choice(candidates[int(np.nanargmax(values))], scores)


def grid_candidates(model: Any, grid: Grid) -> list[dict[str, Any]]:
    """List all combinations of a grid, in its order.

    Raises
    ------
    ParameterError
        If the model does not have a parameter, or one has no values.
    """
    known = set(model.get_params(deep=False))
    unknown = sorted(set(grid) - known)
    if unknown:
        raise ParameterError(
            f"tune names {', '.join(map(repr, unknown))}, which {type(model).__name__} does not "
            f"have; it has {', '.join(sorted(known)) or 'none'}."
        )
    empty = [name for name, values in grid.items() if not _is_list(values)]
    if empty:
        raise ParameterError(f"tune expects a list of values for {', '.join(map(repr, empty))}.")
    combinations = itertools.product(*([_plain(v) for v in values] for values in grid.values()))
    return [dict(zip(grid, values, strict=True)) for values in combinations]


def _is_list(values: object) -> bool:
    if isinstance(values, np.ndarray):
        return values.ndim == 1 and values.size > 0
    return isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0


def _plain(value: Any) -> Any:
    """Turn a number of numpy into the Python number it is, which JSON can write."""
    return value.item() if isinstance(value, np.generic) else value


def _score_candidate(
    fitted: Any,
    parts: tuple[xr.DataTree, xr.DataTree],
    label: Label,
    classifier: Any,
    seed: int,
) -> float:
    if isinstance(fitted, NeuroAlignError):
        raise fitted
    predictions = predict_labels(
        *(fitted.transform(part) for part in parts),
        label=label,
        classifier=classifier,
        random_state=seed,
    )
    return mean_accuracy(predictions)


def mean_accuracy(predictions: Predictions) -> float:
    """Average balanced accuracy per window over subjects, within and, if there is any, across."""
    return float(np.mean(list(mean_accuracies(predictions).values())))


def mean_accuracies(predictions: Predictions) -> dict[str, float]:
    """Average balanced accuracy per window over subjects, for `within` and, if any, `across`."""
    classes = np.array(predictions.classes, dtype=str)
    found: dict[str, list[float]] = {"within": [], "across": []}
    for (source, subject), probability in predictions.probability.items():
        kind = {subject: "within", OTHERS: "across"}.get(source)
        trials = predictions.trials[subject]
        if kind is not None and trials.scored.any():
            windows, _ = correct_shares(probability, trials.labels, classes)
            found[kind].append(
                balanced_accuracy(trials.labels[trials.scored], windows[trials.scored])
            )
    return {kind: float(np.mean(values)) for kind, values in found.items() if values}
