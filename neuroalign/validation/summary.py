"""From the scores of single fits to what a reader wants to know."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

MEASURES: Final = (
    "latent",
    "latent means",
    "coherence",
    "reconstruction joint",
    "reconstruction single",
)
CHOSEN_BY: Final = "latent, validation rows"


def per_fit(scores: pd.DataFrame, *, same_modality: bool) -> pd.DataFrame:
    """Average the scores of every fit over modalities; reconstruction is summed over them.

    Parameters
    ----------
    scores : DataFrame
        As `run_study` returns it.
    same_modality : bool
        Whether coherence counts a modality generated from itself (as the paper does on CelebA,
        where only images are judged) or from others alone (as on PolyMNIST).

    Returns
    -------
    DataFrame
        A row per method, beta and seed; a column per measure.
    """
    whole = scores[scores["attribute"].fillna("") == ""]
    if not same_modality:
        own = (whole["measure"] == "coherence") & (whole["source"] == whole["target"])
        whole = whole[~own]
    grouped = whole.groupby(["method", "beta", "seed", "measure"], sort=False)["value"]
    table = grouped.agg(["mean", "sum"]).reset_index()
    summed = table["measure"].str.startswith("reconstruction")
    table["value"] = np.where(summed, table["sum"], table["mean"])
    wide = table.pivot(index=["method", "beta", "seed"], columns="measure", values="value")
    return wide.reindex(columns=[*MEASURES, CHOSEN_BY]).reset_index().rename_axis(columns=None)


def over_seeds(fits: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation over seeds, a row per method and beta."""
    grouped = fits.groupby(["method", "beta"], sort=False)[list(MEASURES)]
    table = grouped.agg(["mean", "std"])
    table.columns = pd.Index([name for m in MEASURES for name in (m, f"{m} sd")])
    return table.assign(seeds=grouped.size()).reset_index()


def chosen_betas(fits: pd.DataFrame) -> dict[str, float]:
    """Return each method's beta with the best latents of validation rows, on average over seeds."""
    means = fits.groupby(["method", "beta"], sort=False)[CHOSEN_BY].mean()
    return {str(m): float(means[m].idxmax()) for m in dict.fromkeys(fits["method"])}


def against(fits: pd.DataFrame, method: str = "mm-vamp") -> pd.DataFrame:
    """Compare one method with each other, seed by seed, each at its chosen beta.

    Returns
    -------
    DataFrame
        A row per other method: its beta and, for latents, coherence and joint reconstruction,
        `method` minus the other (mean over seeds) with the half-width of the 95 % t-interval.
    """
    from scipy.stats import t as student

    betas = chosen_betas(fits)
    chosen = fits[fits["beta"] == fits["method"].map(betas)].set_index(["method", "seed"])
    rows = []
    for other in betas:
        if other == method or method not in betas:
            continue
        row: dict[str, object] = {"method": other, "beta": betas[other]}
        for measure in MEASURES[:4]:
            gap = (chosen.xs(method)[measure] - chosen.xs(other)[measure]).dropna()
            n = len(gap)
            row[measure] = gap.mean()
            width = student.ppf(0.975, n - 1) * gap.std() / np.sqrt(n) if n > 1 else np.nan
            row[f"{measure} ±"] = width
        rows.append(row)
    return pd.DataFrame(rows)
