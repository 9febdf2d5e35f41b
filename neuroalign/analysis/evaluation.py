"""Evaluate one model or several on the same held-out trials, with nulls, intervals and baselines."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import xarray as xr

from neuroalign.analysis.aligners import BASELINES
from neuroalign.analysis.evaluation_nulls import model_null
from neuroalign.analysis.evaluation_result import Evaluation
from neuroalign.analysis.evaluation_scores import score_left_out, score_method
from neuroalign.analysis.evaluation_setup import (
    Fold,
    Models,
    chosen_grids,
    chosen_methods,
    chosen_variables,
    labels_left_out,
    make_folds,
)
from neuroalign.analysis.evaluation_tasks import (
    FoldResult,
    Plan,
    fit_without_label,
    try_fold,
)
from neuroalign.analysis.labels import Label, label_name
from neuroalign.analysis.predictions import Predictions
from neuroalign.analysis.statistics import check_count
from neuroalign.analysis.transfer import pool_variables, regress_variable, score_variable
from neuroalign.analysis.tuning import Grid
from neuroalign.data.randomness import RandomState, resolve_seed
from neuroalign.errors import DataWarning, ParameterError, TrainingError
from neuroalign.schema import validate

__all__ = ["Evaluation", "evaluate"]

Progress = Callable[[str], None]
MODEL_NULLS: Final = ("fit", "fit and classifier")


def evaluate(
    windows: xr.DataTree,
    models: Models,
    *,
    label: Label,
    fit_label: Label | None = None,
    cv: int | float | Sequence[Fold] = 0.25,
    simultaneous: bool = False,
    baselines: Sequence[str] | Literal["all"] | None = None,
    tune: Mapping[str, Grid] | Literal["baselines"] | None = None,
    classifier: Any = None,
    imputation: bool = True,
    leave_label_out: Sequence[str] | Literal["all"] = (),
    transfer: str | Sequence[str] = (),
    permutations: int = 1000,
    model_permutations: int = 0,
    model_null_of: Literal["fit", "fit and classifier"] = "fit",
    bootstraps: int = 1000,
    n_jobs: int = 1,
    random_state: RandomState = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Score models and baselines on the same held-out trials, as a careful reviewer would ask.

    Trials are split before anything else. In every fold each method chooses its settings on
    part of the training trials (`tune`), is fitted to all of them, and is judged on the test
    trials: labels decoded within and across subjects, activity imputed between its floor and
    ceiling, activity reconstructed. Scores pool the test trials of all folds.

    Pairing by label gives that label away: whatever is fitted with labels, even a classifier's
    log-odds ("logit latents"), can be decoded across subjects. `leave_label_out`, `transfer`
    and imputation above the floor measure what labels alone cannot give.

    Parameters
    ----------
    windows : DataTree
        Windowed counts of all trials.
    models : estimator or mapping of names to estimators
        With `fit(windows, label=)`, `transform(windows)` and `get_params`; cloned, never
        changed. Those that have `impute` and `reconstruct` are scored on them too.
    label : str or list of str
        Trial coordinate to decode.
    fit_label : str or list of str, optional
        What the models are fitted with, by default `label`.
    cv : int, float or sequence of (train, test)
        The share of test trials of a single split (between 0 and 1), or a number of folds, or
        the splits themselves, which test no trial twice. With several folds the decoder null
        is approximate: folds train on one another's test trials, which permuting the labels
        of their predictions leaves out, and 5 to 12 % of noise data sets, depending on the
        classifier, came out at p ≤ 0.05. The model null with "fit and classifier" is exact.
    simultaneous : bool
        Subjects were recorded together: they share the split, and imputed trials are scored
        against the target's trial of the same id.
    baselines : sequence of str or "all", optional
        "spike counts" (the total of a window alone), "raw counts", "PCA", "PCA + Procrustes",
        "multi-set CCA", "SRM" (shared response model), "logit latents" (each subject's own
        classifier's log-odds).
    tune : mapping of names to grids, or "baselines"
        For each method (by name) the values to try of its parameters, all combinations of
        them, chosen inside the training trials of each fold. "baselines" takes the grids that
        come with the baselines. Without a grid a method is fitted as it is.
    classifier : scikit-learn classifier, optional
        See `decode_labels`.
    imputation : bool
        Whether to impute and reconstruct.
    leave_label_out : sequence of str or "all"
        Labels (as text) to leave out of the pairing, one after the other: in an additional fit
        their trials meet no other subject, and their test trials are then read with
        classifiers of the other subjects that know all labels. These fits pair by `label`,
        whatever `fit_label` is.
    transfer : str or sequence of str
        Trial coordinates with numbers, which no trial was paired by; see `read_variable`.
        Averages of what trials were paired by (`fit_label`) are taken away first.
    permutations : int
        Of the decoder null: labels of test trials permuted, models and classifiers as they are.
    model_permutations : int
        Of the model null: labels permuted over the trials of each subject before pairing,
        tuning and fitting, and everything fitted again.
    model_null_of : str
        "fit": the classifiers still see the true labels, and accuracy across subjects must
        fall to chance; "fit and classifier": they see the permuted ones.
    bootstraps : int
        Resamples over test trials behind the intervals.
    n_jobs : int
        Processes; −1 for all cores.
    random_state : int, Generator or None
        Seed of splits, searches, permutations and resamples. Models keep their own.
    progress : callable, optional
        Called with a line of text for each fit that is done.

    Returns
    -------
    Evaluation
        Its `dataset` has, for every `model`: `accuracy`, `interval`, `p_value` and
        `p_corrected` (over subjects) by `level`, `train_subject` and `test_subject`;
        `headline(model, scope, level)` averaged over subjects, with `headline_interval`,
        `headline_p` (decoder null) and `model_null_p`, `model_null(model, scope,
        permutation)`, `model_null_failed(model)`, the number of permutations of which a fit
        failed: these are NaN in `model_null` and count as reaching the accuracy, so that p can
        only be too large; `bits_per_spike(model, kind, source, target)`, `above_floor(model,
        source, target)` with intervals, correlation and coherence; `bits_reconstructed`;
        `left_out` and `left_out_false_alarms(model, left_out_label, scope, test_subject)`, the
        shares of trials of that label and of the others that are read as it; `transfer(model,
        variable, train_subject, test_subject)`; and by `fold` the `settings` that were chosen,
        all scores of the search (`tuning`), `alignment` and `seconds`. Its `left_out_methods`
        names the methods that have no scores, with the reason.

    Raises
    ------
    ParameterError
        If a name is not known, names clash, a number makes no sense, or a parameter of one of
        `models` makes none.
    DataError
        If the trials cannot be split or read (see `decode_labels`), or one of `models` cannot
        be fitted to them as it is set.
    TrainingError
        If no method could be fitted, or no permutation of a model null.

    Warns
    -----
    DataWarning
        If a method is left out of the result: its training failed, its latents could not be
        read, or it is a baseline that these trials do not allow. If permutations of a model
        null could not be fitted.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(
    ...     units={"ada": 12, "bob": 10}, trials=60, mean_rate=9, random_state=0
    ... )
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> result = na.evaluate(
    ...     windows, {}, label="odor", cv=0.3, baselines=["raw counts", "PCA + Procrustes"]
    ... )
    >>> result.to_frame("headline")["model"].unique().tolist()
    ['raw counts', 'PCA + Procrustes']
    """
    check_count("permutations", permutations)
    check_count("model_permutations", model_permutations)
    check_count("bootstraps", bootstraps)
    if model_null_of not in MODEL_NULLS:
        raise ParameterError(
            f"model_null_of must be one of {', '.join(map(repr, MODEL_NULLS))}, "
            f"got {model_null_of!r}."
        )
    validate(windows, "windowed", argument="windows")
    seed = resolve_seed(random_state)
    methods = chosen_methods(models, baselines)
    grids = chosen_grids(methods, tune)
    folds = make_folds(windows, cv, label=label, simultaneous=simultaneous, seed=seed)
    left_out = labels_left_out(windows, label, leave_label_out)
    variables = chosen_variables(windows, transfer)
    plan = Plan(
        label=label,
        fit_label=label if fit_label is None else fit_label,
        simultaneous=simultaneous,
        classifier=classifier,
        imputation=imputation,
        seed=seed,
    )
    say = progress or _silent
    own = set(methods) - set(BASELINES if baselines == "all" else baselines or ())
    results, failed = _fit_all(methods, grids, folds, plan, bool(variables), own, n_jobs, say)
    methods = {name: methods[name] for name in results}
    parts = {
        name: [score_method(found, permutations=permutations, bootstraps=bootstraps, seed=seed)]
        for name, found in results.items()
    }
    if left_out:
        for name, scores in _leave_out(methods, results, folds, plan, left_out, n_jobs, say):
            parts[name].append(score_left_out(scores, bootstraps=bootstraps, seed=seed))
    for name, found in results.items():
        if variables:
            parts[name].append(
                _transfer(found, variables, plan.fit_label, permutations, bootstraps, seed)
            )
    if model_permutations:
        for name, model in methods.items():
            null = model_null(
                windows,
                folds,
                model,
                grids[name],
                plan,
                permutations=model_permutations,
                permute_classifier=model_null_of == "fit and classifier",
                observed=parts[name][0]["headline"],
                run=lambda tasks: [r for _, r in _run(tasks, n_jobs, say)],
                n_jobs=n_jobs,
                name=name,
            )
            parts[name].append(null)
    dataset = _join(parts).assign_attrs(
        stage="evaluation",
        label=label_name(label),
        fit_label=label_name(plan.fit_label),
        protocol="held-out trials",
        folds=len(folds),
        permutations=permutations,
        model_permutations=model_permutations,
        model_null=model_null_of if model_permutations else "none",
        bootstraps=bootstraps,
        random_state=seed,
        left_out_methods=json.dumps(failed),
    )
    return Evaluation(dataset)


def _silent(line: str) -> None:
    del line


def _run(tasks: Sequence[tuple[str, Any]], n_jobs: int, say: Progress) -> list[tuple[str, Any]]:
    """Run (name, (function, arguments, keywords)) in this process or in several, in order."""
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=n_jobs, return_as="generator")
    results = []
    calls = (delayed(function)(*args, **named) for _, (function, args, named) in tasks)
    for (name, _), result in zip(tasks, pool(calls), strict=True):
        results.append((name, result))
        say(f"{len(results)}/{len(tasks)} {name}")
    return results


def _fit_all(
    methods: Mapping[str, Any],
    grids: Mapping[str, Grid],
    folds: Sequence[Fold],
    plan: Plan,
    keep_latents: bool,
    own: Collection[str],
    n_jobs: int,
    say: Progress,
) -> tuple[dict[str, list[FoldResult]], dict[str, str]]:
    """Fit every method on every fold; one that fails is left out with a warning that says why."""
    tasks: list[tuple[str, Any]] = []
    for name, model in methods.items():
        asked = {"name": name, "own": name in own, "keep_latents": keep_latents}
        for number, fold in enumerate(folds):
            call = (try_fold, (model, grids[name], fold, plan), {**asked, "number": number})
            tasks.append((name, call))
    fitted = _run(tasks, n_jobs, say)
    results: dict[str, list[FoldResult]] = {}
    errors: dict[str, str] = {}
    for name, result in fitted:
        if isinstance(result, FoldResult):
            results.setdefault(name, []).append(result)
        else:
            errors[name] = result
    if set(errors) == set(methods):
        raise TrainingError(f"no method could be fitted: {_listed(errors)}")
    if errors:
        warnings.warn(
            f"left out, since they could not be fitted: {_listed(errors)}",
            DataWarning,
            stacklevel=3,
        )
    return {name: found for name, found in results.items() if name not in errors}, errors


def _listed(errors: Mapping[str, str]) -> str:
    return "; ".join(f"{name!r} ({error})" for name, error in errors.items())


def _leave_out(
    methods: Mapping[str, Any],
    results: Mapping[str, Sequence[FoldResult]],
    folds: Sequence[Fold],
    plan: Plan,
    labels: Sequence[str],
    n_jobs: int,
    say: Progress,
) -> list[tuple[str, dict[str, list[Predictions]]]]:
    tasks = [
        (
            name,
            (
                fit_without_label,
                (model, results[name][number].choice.settings, fold, plan),
                {"value": value, "number": number},
            ),
        )
        for name, model in methods.items()
        for value in labels
        for number, fold in enumerate(folds)
    ]
    done = iter(_run(tasks, n_jobs, say))
    read = {name: {value: [next(done)[1] for _ in folds] for value in labels} for name in methods}
    return [
        (name, {value: [p for p in found if p is not None] for value, found in by_label.items()})
        for name, by_label in read.items()
    ]


def _transfer(
    folds: Sequence[FoldResult],
    variables: Sequence[str],
    label: Label,
    permutations: int,
    bootstraps: int,
    seed: int,
) -> xr.Dataset:
    parts = []
    for variable in variables:
        read = [
            regress_variable(*fold.latents, variable, label=label)
            for fold in folds
            if fold.latents is not None
        ]
        scores = score_variable(
            pool_variables(read),
            variable=variable,
            permutations=permutations,
            bootstraps=bootstraps,
            seed=seed,
        )
        parts.append(
            scores.rename(
                correlation="transfer", interval="transfer_interval", p_value="transfer_p"
            )
        )
    return xr.concat(parts, dim=xr.Variable("variable", list(variables)), join="outer")


def _nothing_like(example: xr.DataArray) -> xr.DataArray:
    if example.dtype.kind == "U":
        return xr.full_like(example, "", dtype=object)
    return xr.full_like(example, np.nan, dtype=np.float64)


def _join(parts: Mapping[str, Sequence[xr.Dataset]]) -> xr.Dataset:
    """Put the methods side by side; what a method does not have is NaN (or empty text)."""
    single = {
        name: xr.merge(list(found), join="outer", combine_attrs="drop", compat="no_conflicts")
        for name, found in parts.items()
    }
    names = list(single)
    variables = {name for found in single.values() for name in found.data_vars}
    examples = {
        name: next(found[name] for found in single.values() if name in found)
        for name in sorted(map(str, variables))
    }
    whole = []
    for found in single.values():
        missing = {n: _nothing_like(e) for n, e in examples.items() if n not in found}
        whole.append(found.assign(missing))
    fill = {n: "" if examples[n].dtype.kind in "UO" else np.nan for n in examples}
    joined = xr.concat(
        whole, dim=xr.Variable("model", names), join="outer", fill_value=fill, coords="minimal",
        compat="override",
    )  # fmt: skip
    for name, variable in joined.data_vars.items():
        if variable.dtype.kind == "O":
            joined[name] = variable.astype(str)
    return joined
