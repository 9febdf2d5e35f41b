"""Print the tables of simulated rats and of mice, and the README's of both, from the results.

    python benchmarks/readme_tables.py

`simulated_rats.py`, `cebra_rats.py` and `visual_cortex.py` write what is read here. Differences
are paired over simulations (t-test) and over splits (Wilcoxon's signed-rank test).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from scipy.stats import ttest_rel, wilcoxon
from table_layout import row_of

RESULTS = Path(__file__).parent / "results"
OURS = "mm-vamp, pairwise"
LEAST_PAIRS = 3  # simulations below which no difference is tested
RATS_HEADER = (
    "| method | β | within rats | across rats | within − mm-vamp (p) | across − mm-vamp (p) | "
    "own activity | imputed (floor) | odor decoded | alignment |"
)
REFERENCES = {
    "Bayes-optimal": "Bayes-optimal, tuning and position known",
    "Bayes-optimal, position unknown": "Bayes-optimal, position unknown, as for all below",
    "logistic regression on raw counts": "logistic regression on one rat's raw counts",
}
MODELS = {
    OURS: "**mm-vamp, default settings**",
    "mm-vamp, mixture": "mm-vamp, mixture divergence",
    "mm-vamp, pairwise then mixture": "mm-vamp, pairwise for 60 epochs, then mixture",
    "mm-vamp, pairwise, two latents": "mm-vamp, two latents",
    "mm-vamp, pairwise, Gaussian": "mm-vamp, Gaussian of standardised square roots",
    "poe": "poe",
    "moe": "moe",
    "mopoe": "mopoe",
    "aggregated": "aggregated",
    "independent": "independent",
    "autoencoder": "autoencoder",
}
BASELINES = {
    "SRM": "shared response model, tuned",
    "logit latents": "logit latents (each rat's own classifier's log-odds), tuned",
    "PCA + Procrustes": "PCA + Procrustes, tuned",
    "multi-set CCA": "multi-set CCA, tuned",
    "CEBRA": "CEBRA, multi-session, one-hot odor, 2,000 iterations",
    "spike counts": "total spike count of a window",
}
MICE = {
    "mm-vamp": "**mm-vamp** (recipe of `steinmetz_visual`)",
    "independent": "independent",
    "raw counts": "logistic regression on one mouse's raw counts",
    "logit latents": "logit latents (each mouse's own classifier's log-odds)",
    "multi-set CCA": "multi-set CCA",
    "SRM": "shared response model",
    "PCA + Procrustes": "PCA + Procrustes",
}

BOTH = {
    # as in the README: simulated rats' name, mice's name
    "Bayes-optimal": ("Bayes-optimal", None),
    "Bayes-optimal, position of the window unknown": ("Bayes-optimal, position unknown", None),
    "logistic regression on one animal's raw counts": (
        "logistic regression on raw counts",
        "raw counts",
    ),
    "**mm-vamp**": (OURS, "mm-vamp"),
    "mm-vamp, the paper's two latents": ("mm-vamp, pairwise, two latents", None),
    "independent": ("independent", "independent"),
    "aggregated": ("aggregated", None),
    "poe": ("poe", None),
    "moe": ("moe", None),
    "mopoe": ("mopoe", None),
    "logit latents": ("logit latents", "logit latents"),
    "shared response model": ("SRM", "SRM"),
    "multi-set CCA": ("multi-set CCA", "multi-set CCA"),
    "PCA + Procrustes": ("PCA + Procrustes", "PCA + Procrustes"),
    "CEBRA, multi-session, not tuned": ("CEBRA", None),
}


def rats_scores() -> pd.DataFrame:
    """Return a row per simulation and method, of single windows."""
    fits = pd.read_csv(RESULTS / "simulated_rats_comparison.csv")
    parts = [fits[fits["level"] == "window"]]
    for file in ("simulated_rats_baselines.csv", "cebra_rats.csv"):
        table = pd.read_csv(RESULTS / file)
        table = table[(table["level"] == "window") & table["model"].isin(BASELINES)]
        wide = table.pivot_table(index=["model", "seed"], columns="scope", values="accuracy")
        parts.append(wide.reset_index().rename(columns={"model": "method"}))
    return pd.concat(parts, ignore_index=True)


def rats_table() -> list[str]:
    """Return the lines of the table of simulated rats."""
    scores = rats_scores()
    lines = [RATS_HEADER, "|---|---|---|---|---|---|---|---|---|---|"]
    for method, title in REFERENCES.items():
        tested = "" if "Bayes" in method else _difference(scores, method, "within")
        lines.append(
            row_of(title, "", _spread(scores, method, "within"), "", tested, "", *[""] * 4)
        )
    for method, title in (MODELS | BASELINES).items():
        one = scores[scores["method"] == method]
        extra = [""] * 4
        if method in MODELS:
            floor = f"{one['bits_imputed'].mean():.2f} ({one['bits_floor'].mean():.2f})"
            extra = [
                f"{one['bits_reconstructed'].mean():.2f}",
                floor,
                f"{one['coherence_decoded'].mean():.2f}",
                f"{one['alignment'].mean():.2f}",
            ]
        beta = f"{one['beta'].iloc[0]:g}" if method in MODELS else ""
        accuracies = [_spread(scores, method, scope) for scope in ("within", "across")]
        tests = [_difference(scores, method, scope) for scope in ("within", "across")]
        lines.append(row_of(title, beta, *accuracies, *tests, *extra))
    return lines


def _spread(scores: pd.DataFrame, method: str | None, scope: str) -> str:
    values = scores.loc[scores["method"] == method, scope].dropna()
    if values.empty:
        return ""
    return f"{values.mean():.2f} ({values.min():.2f}–{values.max():.2f})"


def _difference(scores: pd.DataFrame, method: str, scope: str) -> str:
    by_seed = scores.pivot_table(index="seed", columns="method", values=scope)
    pairs = by_seed[[OURS, method]].dropna() if method != OURS else by_seed.iloc[:0]
    if len(pairs) < LEAST_PAIRS:
        return ""
    gap = (pairs[method] - pairs[OURS]).mean()
    p = float(ttest_rel(pairs[method], pairs[OURS]).pvalue)
    sign = "" if abs(gap) < 0.0005 else "+" if gap > 0 else "−"
    return f"{sign}{abs(gap):.3f} ({f'{p:.2f}' if p >= 0.005 else '<0.01'})"


def mice_scores() -> pd.Series:
    """Return the mean accuracy over mice by model, kind and seed of the split."""
    table = pd.read_csv(RESULTS / "visual_cortex.csv")
    return table.groupby(["model", "kind", "seed"])["accuracy"].mean()


def mice_table() -> list[str]:
    """Return the lines of the table of mice."""
    scores = mice_scores()
    lines = ["| method | within mice | across mice |", "|---|---|---|"]
    for model, title in MICE.items():
        cells = []
        for kind in ("within", "across"):
            index = scores.index.to_frame()
            known = scores[(index["model"] == model) & (index["kind"] == kind)]
            cells.append(
                f"{known.mean():.2f} ({known.min():.2f}–{known.max():.2f})" if len(known) else ""
            )
        lines.append(row_of(title, *cells))
    return lines


def both_table() -> list[str]:
    """Return the lines of the README's table, rats and mice side by side."""
    rats, mice = rats_scores(), mice_scores().rename_axis(["method", "kind", "seed"])
    sides = mice.unstack("kind").reset_index()
    lines = [
        "| method | rats, within | rats, across | mice, within | mice, across |",
        "|---|---|---|---|---|",
    ]
    for title, (rat_name, mouse_name) in BOTH.items():
        cells = [_spread(rats, rat_name, scope) for scope in ("within", "across")]
        known = [_spread(sides, mouse_name, scope) for scope in ("within", "across")]
        lines.append(row_of(title, *cells, *known))
    return lines


def mice_differences() -> list[str]:
    """Return what mm-vamp gains over other methods, paired over splits."""
    scores = mice_scores()
    lines = []
    for kind, other in (
        ("within", "raw counts"),
        ("across", "logit latents"),
        ("across", "SRM"),
        ("across", "multi-set CCA"),
        ("across", "PCA + Procrustes"),
    ):
        gap = (scores["mm-vamp", kind] - scores[other, kind]).dropna()
        p = float(wilcoxon(gap).pvalue)
        lines.append(
            f"mm-vamp − {other}, {kind} mice: {gap.mean():+.3f}, p = {p:.3f}, {len(gap)} splits"
        )
    return lines


if __name__ == "__main__":
    print("\n".join([*rats_table(), "", *mice_table(), "", *both_table(), "", *mice_differences()]))
