"""`neuroalign decode`: what each subject perceived, read within and across subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroalign.cli.console import collected_warnings, reports_problems, say
from neuroalign.cli.options import RunArgument, SeedOption
from neuroalign.cli.run_folder import RunFolder, open_run, run_label
from neuroalign.cli.tables import MODEL, RAW, decoding_table, text_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import xarray as xr


@reports_problems
def decode_command(
    run: RunArgument,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", min=2, help="Also cross-validate: fit anew for each of this many folds."
        ),
    ] = None,
    permutations: Annotated[
        int, typer.Option("--permutations", min=0, help="Label permutations behind p-values.")
    ] = 1000,
    position: Annotated[
        bool,
        typer.Option("--position", help="Tell classifiers where in the trial each window lies."),
    ] = False,
    seed: SeedOption = 0,
) -> None:
    """Read labels from held-out trials: within subjects, for every pair, and across."""
    run_decode(open_run(run), folds=folds, permutations=permutations, position=position, seed=seed)


def run_decode(
    run: RunFolder,
    *,
    folds: int | None = None,
    permutations: int = 1000,
    position: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Decode held-out trials of a run, and write scores, predictions and figures.

    Parameters
    ----------
    run : RunFolder
        A finished fit.
    folds : int, optional
        Also refit and decode this many folds of all trials.
    permutations : int
        Of labels over trials.
    position : bool
        Tell classifiers, also those of raw counts, where in the trial each window lies.
    seed : int
        Of permutations, resamples and folds.

    Returns
    -------
    DataFrame
        The table `scores.csv`.

    Raises
    ------
    NeuroAlignError
        If the run's files are damaged, or there are too few trials.
    """
    with collected_warnings() as remarks:
        how = {
            "label": run_label(run),
            "permutations": permutations,
            "position": position,
            "random_state": seed,
        }
        table = _decode_held_out(run, how)
        if folds is not None:
            _decode_folds(run, folds, how)
    from neuroalign.cli.figures import draw_scores
    from neuroalign.cli.summary import write_summary

    draw_scores(run)
    manifest = run.manifest
    run.update(
        decode={
            "folds": folds,
            "permutations": permutations,
            "position": position,
            "seed": seed,
        },
        warnings={**manifest["warnings"], "decode": remarks},
    )
    write_summary(run)
    return table


def _decode_held_out(run: RunFolder, how: Mapping[str, Any]) -> pd.DataFrame:
    from neuroalign.analysis.baselines import raw_features
    from neuroalign.analysis.decoding import decode_labels

    scores = decode_labels(*run.load_latents(), **how)
    raw = decode_labels(*raw_features(*run.load_windows()), **how)
    return _write(run, "", scores, raw, "held-out trials")


def _decode_folds(run: RunFolder, folds: int, how: Mapping[str, Any]) -> None:
    from neuroalign.analysis.crossvalidation import cross_validate
    from neuroalign.cli.raw_counts import RawCounts
    from neuroalign.data.storage import load_tree

    windows = load_tree(run.windows)
    model = run.load_model()
    how = {**how, "n_splits": folds, "simultaneous": model.pairing == "trial"}
    say(f"fitting anew for each of {folds} folds ...")
    scores = cross_validate(model, windows, **how)
    raw = cross_validate(RawCounts(), windows, **how)
    _write(run, "_folds", scores, raw, f"{folds} folds, every trial read once")


def _write(
    run: RunFolder, suffix: str, scores: xr.Dataset, raw: xr.Dataset, heading: str
) -> pd.DataFrame:
    import pandas as pd

    from neuroalign.analysis.decoding import scores_to_frame
    from neuroalign.cli.files import write_dataset, write_table

    frames = {MODEL: scores_to_frame(scores), RAW: scores_to_frame(raw)}
    table = pd.concat(
        [frame.assign(method=method) for method, frame in frames.items()], ignore_index=True
    )
    table = table.loc[:, ["method", *frames[MODEL].columns]]
    write_table(run.table(f"scores{suffix}"), table)
    write_dataset(run.array(f"scores{suffix}"), scores)
    write_table(run.table(f"predictions{suffix}"), predictions_table(scores))
    write_table(run.table(f"confusion{suffix}"), confusion_table(scores))
    say(f"{scores.attrs['label']} per trial, {heading} (balanced accuracy)")
    say(text_table(decoding_table(table)) + "\n")
    return table


def predictions_table(scores: xr.Dataset) -> pd.DataFrame:
    """Lay out what every classifier read from every test trial.

    Parameters
    ----------
    scores : Dataset
        From `decode_labels` or `cross_validate`.

    Returns
    -------
    DataFrame
        One row per trial and classifier that could read it: `train_subject`, `test_subject`,
        `trial`, `label`, `predicted`, `scored`, `fold`, and `p(...)`, the probability of each
        label.
    """
    import numpy as np
    import pandas as pd

    labels = scores["predicted_label"].values.tolist()
    parts = []
    for source in scores["train_subject"].values.tolist():
        one = scores.sel(train_subject=source)
        probability = one["probability"].transpose("test_trial", "predicted_label").values
        part = pd.DataFrame(
            {
                "train_subject": source,
                "test_subject": one["test_trial_subject"].values,
                "trial": one["test_trial_id"].values,
                "label": one["test_trial_label"].values,
                "predicted": one["predicted"].values,
                "scored": one["scored"].values.astype(bool),
                "fold": one["test_trial_fold"].values,
                **{f"p({name})": probability[:, i] for i, name in enumerate(labels)},
            }
        )
        parts.append(part[np.isfinite(probability).all(axis=1)])
    table: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return table


def confusion_table(scores: xr.Dataset) -> pd.DataFrame:
    """Lay out how many trials of each label were read as which.

    Returns
    -------
    DataFrame
        Columns `train_subject`, `test_subject`, `true_label`, `predicted_label`, `trials`, for
        the combinations that were decoded.
    """
    import numpy as np
    import pandas as pd

    accuracy = scores["accuracy"].sel(level="trial")
    rows = [
        {
            "train_subject": source,
            "test_subject": subject,
            "true_label": true,
            "predicted_label": read,
            "trials": int(one.sel(true_label=true, predicted_label=read)),
        }
        for source in scores["train_subject"].values.tolist()
        for subject in scores["test_subject"].values.tolist()
        if np.isfinite(accuracy.sel(train_subject=source, test_subject=subject))
        for one in [scores["confusion"].sel(train_subject=source, test_subject=subject)]
        for true in scores["true_label"].values.tolist()
        for read in scores["predicted_label"].values.tolist()
    ]
    return pd.DataFrame(rows)
