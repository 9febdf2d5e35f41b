"""Tables for people: the same cells in a terminal and in the summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd

MODEL: Final = "shared latents"
RAW: Final = "raw counts"


def text_table(table: pd.DataFrame) -> str:
    """Lay out a table of text for a terminal, the first column to the left."""
    header = [str(name) for name in table.columns]
    rows = [[str(cell) for cell in row] for row in table.itertuples(index=False)]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in [header, *rows]:
        first, *rest = row
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown_table(table: pd.DataFrame) -> str:
    """Lay out a table of text in Markdown, numbers to the right."""
    header = [_escaped(name) for name in table.columns]
    rule = ["---", *["---:"] * (len(header) - 1)]
    rows = [[_escaped(cell) for cell in row] for row in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def _escaped(cell: Any) -> str:
    return str(cell).replace("|", "\\|")


def quality_table(quality: pd.DataFrame) -> pd.DataFrame:
    """Pick what matters from a quality report's table (`quality.csv`).

    Returns
    -------
    DataFrame
        One row per subject: units, silent units, median rate in Hz, trials, trials per label.
    """
    import pandas as pd

    per_label = [name for name in quality.columns if name.startswith("trials ")]
    return pd.DataFrame(
        {
            "subject": quality["subject"].astype(str),
            "units": quality["units"].astype(str),
            "silent": quality["silent_units"].astype(str),
            "median rate (Hz)": quality["rate_median_hz"].map("{:.2f}".format),
            "trials": quality["trials"].astype(str),
            **{
                name.removeprefix("trials "): quality[name].map("{:.0f}".format)
                for name in per_label
            },
        }
    )


def decoding_table(scores: pd.DataFrame, level: str = "trial") -> pd.DataFrame:
    """Set within, across and raw counts side by side (`scores.csv`).

    Parameters
    ----------
    scores : DataFrame
        Rows of `scores_to_frame` for each method.
    level : str
        "trial" or "window".

    Returns
    -------
    DataFrame
        One row per subject and their mean, cells such as `0.93 [0.88, 0.97] p 0.001`.
    """
    import pandas as pd

    shown = scores[scores["level"] == level]
    columns = {
        "within": shown[(shown["method"] == MODEL) & (shown["kind"] == "within")],
        "across (from all others)": shown[(shown["method"] == MODEL) & (shown["kind"] == "others")],
        "raw counts, within": shown[(shown["method"] == RAW) & (shown["kind"] == "within")],
    }
    kept = {name: part.set_index("test_subject") for name, part in columns.items() if len(part)}
    subjects = list(dict.fromkeys(shown["test_subject"]))
    chance = shown.drop_duplicates("test_subject").set_index("test_subject")["chance"]
    rows = [
        {
            "subject": subject,
            "chance": f"{chance[subject]:.2f}",
            **{name: _score_cell(part, subject) for name, part in kept.items()},
        }
        for subject in subjects
    ]
    rows.append(
        {
            "subject": "mean",
            "chance": f"{chance.mean():.2f}",
            **{name: f"{part['accuracy'].mean():.2f}" for name, part in kept.items()},
        }
    )
    return pd.DataFrame(rows)


def _score_cell(part: pd.DataFrame, subject: str) -> str:
    if subject not in part.index:
        return "-"
    row = part.loc[subject]
    cell = f"{row['accuracy']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    return cell if row["p_corrected"] != row["p_corrected"] else f"{cell} {_p(row['p_corrected'])}"


def _p(value: Any) -> str:
    return "p<0.001" if value < 0.0005 else f"p={value:.3f}"  # 1/1001 is 0.001


def imputation_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Average imputation over sources, one row per target (`imputation.csv`).

    Returns
    -------
    DataFrame
        Bits per spike, per-unit correlation and coherence per trial, beside floor, ceiling,
        real trials and chance; and where it was measured, from how many sources imputation lies
        above and below the floor by more than chance.
    """
    import pandas as pd

    means = scores.groupby(["target", "kind"], sort=False).mean(numeric_only=True)
    rows = []
    order = dict.fromkeys([*scores["source"], *scores["target"]])
    for target in [name for name in order if name in set(scores["target"])]:
        kinds = {kind: means.loc[target, kind] for kind in ("imputed", "floor", "ceiling")}
        sources = list(dict.fromkeys(scores.loc[scores["target"] == target, "source"]))
        rows.append(_imputation_row(target, sources, kinds) | _beyond_chance(scores, target))
    return pd.DataFrame(rows)


def _imputation_row(target: str, sources: list[str], kinds: dict[str, Any]) -> dict[str, str]:
    imputed = kinds["imputed"]

    def three(measure: str) -> str:
        floor, ceiling = (kinds[kind][measure] for kind in ("floor", "ceiling"))
        return f"{imputed[measure]:.3f} ({floor:.3f}, {ceiling:.3f})"

    return {
        "target": target,
        "imputed from": sources[0] if len(sources) == 1 else f"{len(sources)} others",
        "bits/spike (floor, ceiling)": three("bits_per_spike"),
        "correlation per unit (floor, ceiling)": three("correlation_unit"),
        "coherence": f"{imputed['coherence_trial']:.2f}",
        "real trials": f"{imputed['real_coherence_trial']:.2f}",
        "chance": f"{imputed['chance']:.2f}",
    }


def _beyond_chance(scores: pd.DataFrame, target: str) -> dict[str, str]:
    if "above_floor_low" not in scores:
        return {}
    pairs = scores[(scores["target"] == target) & (scores["kind"] == "imputed")]
    above = int((pairs["above_floor_low"] > 0).sum())
    below = int((pairs["above_floor_high"] < 0).sum())
    return {"above / below floor": f"{above} / {below} of {len(pairs)}"}


def reconstruction_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Lay out how well each subject's own held-out trials are reconstructed."""
    import pandas as pd

    return pd.DataFrame(
        {
            "subject": scores["subject"],
            "bits/spike": [
                f"{row.bits_per_spike:.3f} [{row.low:.3f}, {row.high:.3f}]"
                for row in scores.itertuples()
            ],
            "expected / observed spikes": scores["expected_ratio"].map("{:.3f}".format),
        }
    )
