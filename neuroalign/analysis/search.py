"""Search for a model's settings by cross-validation over whole trials."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator, clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from neuroalign.analysis.evaluation_setup import Fold, make_folds
from neuroalign.analysis.fitting_many import fit_each, fits_at_once, is_ours
from neuroalign.analysis.labels import Label
from neuroalign.analysis.predictions import predict_labels
from neuroalign.analysis.tuning import Grid, grid_candidates, mean_accuracies
from neuroalign.data.randomness import RandomState, resolve_seed
from neuroalign.errors import DataWarning, NeuroAlignError, ParameterError, TrainingError
from neuroalign.schema import build_tree, iterate_subjects, validate

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TrialSearch"]

Method = TypeVar("Method", bound=Callable[..., Any])
Scoring = str | Callable[[Any, xr.DataTree, xr.DataTree], float]
SCORINGS: Final = ("within and across", "within", "across", "objective")
# what changes the meaning of the objective, so that it ranks models only where they are equal
OBJECTIVE_DEPENDS_ON: Final = (
    "beta",
    "divergence",
    "likelihood",
    "mixture_samples",
    "noise_scale",
    "pairing",
    "reconstruction_weights",
    "scaling",
    "sharing",
    "standard_weight",
)


def _passed_on(method: str) -> Callable[[Method], Method]:
    """Give the search a method if its estimator has one of that name."""
    made = available_if(lambda search: hasattr(search.estimator, method))
    return cast("Callable[[Method], Method]", made)


class TrialSearch(BaseEstimator):
    """Search a grid of settings by cross-validation over whole trials.

    It is to a DataTree what `GridSearchCV` is to an array, which cannot index one. Every
    combination of settings is fitted to every fold's training trials and scored on its other
    trials; the best is fitted to all trials given.

    The best score is the largest of many and so too high for new trials. Give `fit` training
    trials only and score `best_estimator_` on others; or hand a search to `evaluate`, as one
    of its models or through `evaluate(tune=...)`, which searches anew inside the training
    trials of every fold and scores the choice on trials that took no part in it.

    Parameters
    ----------
    estimator : estimator
        With `fit(windows, label=)`, `transform(windows)` and `get_params`, such as
        `SharedLatentModel`, `SharedResponse`, or a wrapper of another tool; cloned, never changed.
    grid : mapping or list of mappings
        Values to try of each parameter, all combinations of them; a list tries several grids.
    cv : int, float or sequence of (train, test), default=5
        Number of folds, the share of trials of a single split, or the splits themselves.
    scoring : str or callable, default="within and across"
        * "within", "across": balanced accuracy per window with which the label is read within a
          subject, or by a classifier of the pooled others, averaged over subjects.
        * "within and across": their average, which is how `evaluate(tune=)` chooses. Methods
          without a shared space are scored within subjects alone.
        * "objective": the model's own `score`. For `SharedLatentModel` it compares only models
          that agree in beta, likelihood, scaling and sharing, and grids of these are refused.
        * a callable `(fitted, train, test) -> float`, larger being better.
    score_label : str or list of str, optional
        Trial coordinate to decode, by default the label of the fit.
    simultaneous : bool, default=False
        Subjects were recorded together and share the folds.
    classifier : scikit-learn classifier, optional
        See `decode_labels`.
    refit : bool, default=True
        Whether to fit the best settings to all trials given to `fit`.
    n_jobs : int, default=1
        Processes; −1 for all cores. Fits of `SharedLatentModel` train side by side within each.
    random_state : int, Generator or None, default=None
        Seed of folds and classifiers. The estimator keeps its own.

    Attributes
    ----------
    best_params_ : dict
        The settings with the best mean score; of equal ones, the first.
    best_score_ : float
        Their mean score over folds: optimistic, see above.
    best_estimator_ : estimator
        Fitted to all trials, with `refit`.
    results_ : DataFrame
        A row per combination, in the order of the grid: its settings, `score` (mean over folds),
        `spread` (standard deviation over folds), `rank` (1 is best), `score_0`, `score_1`, ... by
        fold, `seconds` (of fitting, averaged over folds that trained side by side) and `error`
        (empty, or why a fit failed; such a combination has no score).
    label_ : str or list of str
        The label of the fit.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(
    ...     units={"ada": 12, "bob": 10}, trials=60, mean_rate=9, random_state=0
    ... )
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> search = na.TrialSearch(na.SharedResponse(), {"n_latents": [2, 6]}, cv=2, random_state=0)
    >>> latents = search.fit(train, label="odor").transform(test)
    >>> search.results_.columns.tolist()[:4]
    ['n_latents', 'score', 'spread', 'rank']
    """

    def __init__(
        self,
        estimator: Any,
        grid: Grid | Sequence[Grid],
        *,
        cv: int | float | Sequence[Fold] = 5,
        scoring: Scoring = "within and across",
        score_label: Label | None = None,
        simultaneous: bool = False,
        classifier: Any = None,
        refit: bool = True,
        n_jobs: int = 1,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.grid = grid
        self.cv = cv
        self.scoring = scoring
        self.score_label = score_label
        self.simultaneous = simultaneous
        self.classifier = classifier
        self.refit = refit
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, windows: xr.DataTree, *, label: Label) -> Self:
        """Score every combination by cross-validation, and fit the best.

        Parameters
        ----------
        windows : DataTree
            Windowed counts; give training trials only.
        label : str or list of str
            Passed to the fits, and decoded unless `score_label` says otherwise.

        Returns
        -------
        TrialSearch
            The search itself.

        Raises
        ------
        ParameterError
            If the grid names parameters that the estimator does not have, `scoring` is not
            known, or "objective" would compare what cannot be compared.
        DataError
            If the trials cannot be split.
        TrainingError
            If no combination could be fitted and scored.

        Warns
        -----
        DataWarning
            If some combinations could not be fitted, which then have no score.
        """
        validate(windows, "windowed", argument="windows")
        grids = [self.grid] if isinstance(self.grid, Mapping) else list(self.grid)
        candidates = [found for grid in grids for found in grid_candidates(self.estimator, grid)]
        check_scoring(self.scoring, self.estimator, grids)
        seed = resolve_seed(self.random_state)
        decoded = label if self.score_label is None else self.score_label
        folds = make_folds(
            windows, self.cv, label=decoded, simultaneous=self.simultaneous, seed=seed
        )
        results = self._search(candidates, folds, label, decoded, seed)
        if results["score"].isna().all():
            raise TrainingError(
                f"no setting of the grid could be fitted; the last failed: "
                f"{results['error'].iloc[-1]}"
            )
        best = int(results["score"].argmax())
        chosen = candidates[best]
        fitted = clone(self.estimator).set_params(**chosen)
        if self.refit:
            fitted = fitted.fit(windows, label=label)
            self.best_estimator_ = fitted
        elif hasattr(self, "best_estimator_"):
            del self.best_estimator_
        self.label_ = label
        self.results_ = results
        self.best_params_ = chosen
        self.best_score_ = float(results["score"].iloc[best])
        failed = int((results["error"] != "").sum())
        if failed:
            warnings.warn(
                f"{failed} of {len(results)} settings could not be fitted; results_ says why.",
                DataWarning,
                stacklevel=2,
            )
        return self

    def transform(self, windows: xr.DataTree) -> xr.DataTree:
        """Encode windows with the best estimator; see its `transform`."""
        latents: xr.DataTree = self._best().transform(windows)
        return latents

    @_passed_on("score")
    def score(self, windows: xr.DataTree, **options: Any) -> float:
        """Score windows by the best estimator's own `score`."""
        return float(self._best().score(windows, **options))

    @_passed_on("impute")
    def impute(self, data: xr.DataTree, **options: Any) -> xr.DataTree:
        """Impute with the best estimator; see its `impute`."""
        imputed: xr.DataTree = self._best().impute(data, **options)
        return imputed

    @_passed_on("reconstruct")
    def reconstruct(self, data: xr.DataTree, **options: Any) -> xr.DataTree:
        """Reconstruct with the best estimator; see its `reconstruct`."""
        expected: xr.DataTree = self._best().reconstruct(data, **options)
        return expected

    def _best(self) -> Any:
        check_is_fitted(self, "best_params_")
        if not hasattr(self, "best_estimator_"):
            raise ParameterError("refit=False fits no best estimator; search with refit=True.")
        return self.best_estimator_

    def _search(
        self,
        candidates: Sequence[Mapping[str, Any]],
        folds: Sequence[Fold],
        label: Label,
        decoded: Label,
        seed: int,
    ) -> pd.DataFrame:
        """Fit and score all combinations on all folds, in pieces that are worth fitting together."""
        from joblib import Parallel, delayed

        # settings on one fold follow each other: data of one shape can train side by side
        tasks = [
            (place, number) for number in range(len(folds)) for place in range(len(candidates))
        ]
        size = fits_at_once(self.estimator, len(tasks), self.n_jobs)
        # children are sent one by one: pickling a child of a tree would send the whole tree
        sides = [tuple(dict(iterate_subjects(side)) for side in fold) for fold in folds]
        calls = (
            delayed(score_tasks)(
                [clone(self.estimator).set_params(**candidates[place]) for place, _ in piece],
                [sides[number] for _, number in piece],
                label,
                decoded,
                self.scoring,
                self.classifier,
                seed,
            )
            for piece in (tasks[at : at + size] for at in range(0, len(tasks), size))
        )
        found = [row for rows in Parallel(n_jobs=self.n_jobs)(calls) for row in rows]
        shape = (len(folds), len(candidates))
        errors = [[row[2] for row in found[place :: len(candidates)]] for place in range(shape[1])]
        return results_table(
            candidates,
            np.array([row[0] for row in found]).reshape(shape).T,
            np.array([row[1] for row in found]).reshape(shape).T,
            [next(filter(None, said), "") for said in errors],
        )


def check_scoring(scoring: Scoring, estimator: Any, grids: Sequence[Grid]) -> None:
    """Refuse a score that is not known, or that would compare what cannot be compared.

    Raises
    ------
    ParameterError
        If so.
    """
    if not callable(scoring) and scoring not in SCORINGS:
        raise ParameterError(
            f"scoring must be one of {', '.join(map(repr, SCORINGS))} or a callable, "
            f"got {scoring!r}."
        )
    if scoring == "objective" and not hasattr(estimator, "score"):
        raise ParameterError(
            f"scoring='objective' needs an estimator with score, which {type(estimator).__name__} "
            "does not have; score by decoding."
        )
    searched = {name for grid in grids for name in grid}
    unfair = sorted(searched & set(OBJECTIVE_DEPENDS_ON))
    if scoring == "objective" and unfair and is_ours(estimator):
        raise ParameterError(
            f"the objective cannot compare models that differ in {', '.join(unfair)}, of which it "
            "is made; score by decoding, or by a callable such as bits per spike."
        )


def score_tasks(
    unfitted: Sequence[Any],
    sides: Sequence[tuple[Mapping[str, xr.Dataset], ...]],
    label: Label,
    decoded: Label,
    scoring: Scoring,
    classifier: Any,
    seed: int,
) -> list[tuple[float, float, str]]:
    """Fit estimators, each to its fold, and return the score, seconds and error of each."""
    folds = [tuple(build_tree(side) for side in both) for both in sides]
    started = time.perf_counter()
    fitted = fit_each(unfitted, [train for train, _ in folds], label=label)
    seconds = (time.perf_counter() - started) / len(folds)
    rows = []
    for one, (train, test) in zip(fitted, folds, strict=True):
        try:
            if isinstance(one, NeuroAlignError):
                raise one
            score, said = _score(one, train, test, label, decoded, scoring, classifier, seed), ""
        except NeuroAlignError as error:  # other settings may still be sound
            score, said = float("nan"), f"{type(error).__name__}: {error}"
        rows.append((score, seconds, said))
    return rows


def _score(
    fitted: Any,
    train: xr.DataTree,
    test: xr.DataTree,
    label: Label,
    decoded: Label,
    scoring: Scoring,
    classifier: Any,
    seed: int,
) -> float:
    if callable(scoring):
        return float(scoring(fitted, train, test))
    if scoring == "objective":
        return float(fitted.score(test, label=label))
    predictions = predict_labels(
        fitted.transform(train),
        fitted.transform(test),
        label=decoded,
        classifier=classifier,
        random_state=seed,
    )
    found = mean_accuracies(predictions)
    if scoring == "within and across":
        return float(np.mean(list(found.values())))
    if scoring not in found:
        raise ParameterError(
            f"{type(fitted).__name__} gives latents that no other subject shares; score 'within'."
        )
    return found[str(scoring)]


def results_table(
    candidates: Sequence[Mapping[str, Any]],
    scores: np.ndarray,
    seconds: np.ndarray,
    errors: Sequence[str],
) -> pd.DataFrame:
    """Lay out a search as a table with a row per combination.

    Parameters
    ----------
    candidates : sequence of mapping
        Settings.
    scores, seconds : ndarray of shape (candidate, fold)
        What was found.
    errors : sequence of str
        Empty where all went well.
    """
    import pandas as pd

    names = list(dict.fromkeys(name for settings in candidates for name in settings))
    table = pd.DataFrame(
        {name: pd.Series([settings.get(name) for settings in candidates]) for name in names},
        index=range(len(candidates)),
    )
    table["score"] = scores.mean(axis=1)  # one failed fold leaves a combination without a score
    table["spread"] = scores.std(axis=1)
    table["rank"] = table["score"].rank(ascending=False, method="min").astype("Int64")
    for number in range(scores.shape[1]):
        table[f"score_{number}"] = scores[:, number]
    table["seconds"] = seconds.mean(axis=1)
    table["error"] = list(errors)
    return table
