"""`neuroalign impute`: what other subjects' units would have done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from neuroalign.cli.console import collected_warnings, reports_problems, say
from neuroalign.cli.options import RunArgument, SeedOption
from neuroalign.cli.run_folder import RunFolder, check_subject, open_run, run_label
from neuroalign.cli.tables import imputation_table, reconstruction_table, text_table
from neuroalign.errors import ParameterError

if TYPE_CHECKING:
    import pandas as pd


@reports_problems
def impute_command(
    run: RunArgument,
    source: Annotated[
        str | None, typer.Option("--source", help="Whose trials are encoded; all by default.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Whose units are imputed; all by default.")
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Impute activity across subjects, and score it between a floor and a ceiling."""
    run_impute(open_run(run), source=source, target=target, seed=seed)


def run_impute(
    run: RunFolder, *, source: str | None = None, target: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """Impute held-out trials across subjects, and write scores, activity and figures.

    Parameters
    ----------
    run : RunFolder
        A finished fit.
    source, target : str, optional
        Subjects; all by default. With both, the imputed activity itself is written too.
    seed : int
        Of the resamples behind intervals.

    Returns
    -------
    DataFrame
        Scores of the pairs asked for, rows of `imputation.csv`.

    Raises
    ------
    NeuroAlignError
        If a subject is not known, both are the same, or there is only one.
    """
    _check_pair(run, source, target)
    with collected_warnings() as remarks:
        table = _score(run, source, target, seed)
    from neuroalign.cli.figures import draw_imputation
    from neuroalign.cli.summary import write_summary

    pair = (source, target) if source and target else largest_pair(run)
    _write_imputed(run, *pair)
    draw_imputation(run, *pair)
    run.update(
        impute={"seed": seed, "figures": _figures(run, pair)},
        warnings={**run.manifest["warnings"], "impute": remarks},
    )
    write_summary(run)
    say("imputed held-out trials (means over sources)")
    say(text_table(imputation_table(table)))
    return table


def _check_pair(run: RunFolder, source: str | None, target: str | None) -> None:
    if source is not None:
        check_subject(run, source, "source")
    if target is not None:
        check_subject(run, target, "target")
    if source is not None and source == target:
        raise ParameterError(
            f"--source and --target must be two subjects, got {source!r} for both."
        )
    if len(run.manifest["subjects"]) < 2:
        raise ParameterError(
            f"imputation needs two subjects, but {run.path} has one; fit several together."
        )


def _score(run: RunFolder, source: str | None, target: str | None, seed: int) -> pd.DataFrame:
    import pandas as pd

    from neuroalign.analysis.imputation import (
        imputation_to_frame,
        reconstruction_scores,
        score_imputation,
    )
    from neuroalign.cli.files import write_dataset, write_table

    model = run.load_model()
    train, test = run.load_windows()
    scores = score_imputation(
        model,
        train,
        test,
        label=run_label(run),
        sources=source,
        targets=target,
        match="trial" if model.pairing == "trial" else "label",
        random_state=seed,
    )
    table = imputation_to_frame(scores)
    where = run.table("imputation")
    if source is None and target is None:
        write_dataset(run.array("imputation"), scores)
        write_table(where, table)
        own = reconstruction_scores(model, train, test, random_state=seed)
        write_table(run.table("reconstruction"), _reconstruction(own))
        say("own held-out trials, reconstructed")
        say(text_table(reconstruction_table(_reconstruction(own))) + "\n")
    elif where.exists():
        write_table(where, _merged(pd.read_csv(where, dtype={"source": str, "target": str}), table))
    else:
        write_table(where, table)
    return table


def _merged(before: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Put new scores in the place of older ones of the same pairs."""
    import pandas as pd

    keys = ["kind", "source", "target"]
    both = pd.concat([before, now], ignore_index=True)
    return both.drop_duplicates(keys, keep="last").reset_index(drop=True)


def _reconstruction(scores: object) -> pd.DataFrame:
    import pandas as pd
    import xarray as xr

    assert isinstance(scores, xr.Dataset)
    return pd.DataFrame(
        {
            "subject": scores["subject"].values,
            "bits_per_spike": scores["bits_per_spike"].values,
            "low": scores["interval"].sel(bound="low").values,
            "high": scores["interval"].sel(bound="high").values,
            "expected_ratio": scores["expected_ratio"].values,
        }
    )


def largest_pair(run: RunFolder) -> tuple[str, str]:
    """Return the two subjects with most units: the second as source, the first as target."""
    import pandas as pd

    units = pd.read_csv(run.table("quality"), dtype={"subject": str})
    order = units.sort_values("units", ascending=False, kind="stable")["subject"].tolist()
    return order[1], order[0]


def _write_imputed(run: RunFolder, source: str, target: str) -> None:
    from neuroalign.data.storage import save_tree

    _, test = run.load_windows()
    imputed = run.load_model().impute(test, source=source, target=target)
    save_tree(imputed, run.array(f"imputed_{source}_to_{target}"))


def _figures(run: RunFolder, pair: tuple[str, str]) -> list[list[str]]:
    """Return the pairs whose figures the summary shows, the latest last."""
    before: list[list[str]] = run.manifest.get("impute", {}).get("figures", [])
    return [*(one for one in before if one != list(pair)), list(pair)]
