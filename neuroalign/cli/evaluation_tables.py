"""Tables of an evaluation for people: the same cells in the terminal and in the report."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from neuroalign.cli.tables import imputation_table

if TYPE_CHECKING:
    import pandas as pd

    from neuroalign.analysis.evaluation_result import Evaluation

NOTHING: Final = "-"
SCOPES: Final = ("within", "across")


def value_text(value: Any) -> str:
    """Write a model argument, whether it was a whole number before it stood in a table or not.

    Examples
    --------
    >>> value_text(1.0), value_text("mm-vamp"), value_text([64, 64])
    ('1', 'mm-vamp', '[64, 64]')
    """
    return f"{value:g}" if isinstance(value, float) else str(value)


def grid_text(grid: Mapping[str, Sequence[Any]]) -> str:
    """Write the values of a grid.

    Examples
    --------
    >>> grid_text({"beta": [0.1, 1.0], "sharing": ["mm-vamp"]})
    'beta = 0.1, 1; sharing = mm-vamp'
    """
    return "; ".join(f"{name} = {', '.join(map(value_text, grid[name]))}" for name in grid)


def number_text(value: float, digits: int = 2) -> str:
    """Write a number, or a dash where there is none.

    Examples
    --------
    >>> number_text(0.5), number_text(float("nan"))
    ('0.50', '-')
    """
    return f"{value:.{digits}f}" if math.isfinite(value) else NOTHING


def interval_text(value: float, low: float, high: float, digits: int = 2) -> str:
    """Write a number with the ends of its interval, if it has one.

    Examples
    --------
    >>> interval_text(0.5, 0.4, 0.6), interval_text(0.5, float("nan"), float("nan"))
    ('0.50 [0.40, 0.60]', '0.50')
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return number_text(value, digits)
    return f"{number_text(value, digits)} [{low:.{digits}f}, {high:.{digits}f}]"


def p_text(value: float) -> str:
    """Write a p-value.

    Examples
    --------
    >>> p_text(0.04), p_text(0.0002), p_text(float("nan"))
    ('0.040', '<0.001', '-')
    """
    return "<0.001" if value < 0.0005 else number_text(value, 3)  # 1/1001 is 0.001


def spread_text(values: Sequence[float], digits: int = 2) -> str:
    """Write the mean of several numbers and, behind it, the least and the greatest.

    Examples
    --------
    >>> spread_text([0.5, 1.0]), spread_text([0.5]), spread_text([])
    ('0.75 (0.50 to 1.00)', '0.50', '-')
    """
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return NOTHING
    mean = number_text(math.fsum(known) / len(known), digits)
    if len(known) == 1:
        return mean
    return f"{mean} ({min(known):.{digits}f} to {max(known):.{digits}f})"


def _groups(frame: pd.DataFrame, *keys: str) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Yield the rows that have the same text in some columns, in the order they come."""
    for key, part in frame.groupby(list(keys), sort=False):
        yield tuple(map(str, key)), part


def _rows_by(frame: pd.DataFrame, column: str) -> dict[str, dict[str, Any]]:
    """Return the rows by the text in a column that is different in each of them."""
    return {
        str(row[column]): {str(name): value for name, value in row.items()}
        for row in frame.to_dict("records")
    }


def headline_table(evaluation: Evaluation) -> pd.DataFrame:
    """Lay out the average over subjects, a row per method, within or across.

    Returns
    -------
    DataFrame
        Accuracy per trial and per window with intervals, chance, and the p-values of the nulls
        that were computed.
    """
    import pandas as pd

    frame = evaluation.to_frame("headline")
    rows = []
    for (model, scope), part in _groups(frame, "model", "scope"):
        levels = _rows_by(part, "level")
        trial, window = levels["trial"], levels["window"]
        row = {
            "method": model,
            "scope": scope,
            "per trial": interval_text(trial["accuracy"], trial["low"], trial["high"]),
            "per window": interval_text(window["accuracy"], window["low"], window["high"]),
            "chance": number_text(trial["chance"]),
        }
        if evaluation.dataset.attrs["permutations"]:
            row["p, decoder null"] = p_text(trial["p_decoder_null"])
        if "p_model_null" in trial:
            row["p, model null"] = p_text(trial["p_model_null"])
            row["mean of model null"] = number_text(trial["model_null_mean"])
        rows.append(row)
    return pd.DataFrame(rows)


def subjects_table(evaluation: Evaluation) -> pd.DataFrame:
    """Lay out accuracy per trial, a row per method and subject, with corrected p-values."""
    import pandas as pd

    frame = evaluation.to_frame("decoding")
    frame = frame[(frame["level"] == "trial") & frame["kind"].isin(SCOPES)]
    rows = []
    for (model, subject), part in _groups(frame, "model", "test_subject"):
        kinds = _rows_by(part, "kind")
        row = {"method": model, "subject": subject, "chance": number_text(part["chance"].iloc[0])}
        for scope in SCOPES:
            cell, p_value = NOTHING, NOTHING
            if scope in kinds:
                one = kinds[scope]
                cell = interval_text(one["accuracy"], one["low"], one["high"])
                p_value = p_text(one["p_corrected"])
            row[scope] = cell
            if evaluation.dataset.attrs["permutations"]:
                row[f"p, {scope}"] = p_value
        rows.append(row)
    order = {name: place for place, name in enumerate(evaluation.models)}
    return pd.DataFrame(rows).sort_values(
        "method", key=lambda names: names.map(order), kind="stable", ignore_index=True
    )


def imputed_table(evaluation: Evaluation) -> pd.DataFrame:
    """Lay out imputation, averaged over sources, a row per method and target."""
    import pandas as pd

    frame = evaluation.to_frame("imputation")
    chance = evaluation.dataset["chance"]
    parts = []
    for (model,), part in _groups(frame, "model"):
        of_target = chance.sel(model=model).to_series()
        table = imputation_table(part.assign(chance=part["target"].map(of_target)))
        imputed = part[part["kind"] == "imputed"].groupby("target")
        above = [_above(imputed.get_group(target)) for target in table["target"]]
        table.insert(3, "above floor (clear pairs)", above)
        table.insert(0, "method", model)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def _above(pairs: pd.DataFrame) -> str:
    """Write the mean gain over the floor, and how many pairs clear both floor and mean rate.

    A floor of few training trials can lie far below the mean rate: to beat it alone is nothing.
    """
    clear = int(((pairs["above_floor_low"] > 0) & (pairs["low"] > 0)).sum())
    return f"{pairs['above_floor'].mean():+.3f} ({clear} of {len(pairs)})"


def reconstructed_table(evaluation: Evaluation) -> pd.DataFrame:
    """Lay out how well every subject's own test trials are reconstructed."""
    import pandas as pd

    frame = evaluation.to_frame("reconstruction")
    ends = zip(frame["bits_per_spike"], frame["low"], frame["high"], strict=True)
    cells = [interval_text(*one, 3) for one in ends]
    return pd.DataFrame(
        {"method": frame["model"], "subject": frame["subject"], "bits/spike": cells}
    )


def left_out_table(evaluation: Evaluation) -> pd.DataFrame:
    """Lay out the labels that were left out of the pairing, a row per method and label."""
    import pandas as pd

    frame = evaluation.to_frame("left out")
    rows = []
    for (model, label), part in _groups(frame, "model", "left_out_label"):
        rows.append(
            {
                "method": model,
                "left out": label,
                **{
                    f"{scope}{suffix}": spread_text(part.loc[part["scope"] == scope, name].tolist())
                    for scope in SCOPES
                    for suffix, name in (("", "read_right"), (", false alarms", "false_alarms"))
                },
            }
        )
    return pd.DataFrame(rows)


def transfer_table(evaluation: Evaluation) -> pd.DataFrame:
    """Lay out variables that trials were not paired by, a row per method, variable and subject."""
    import pandas as pd

    frame = evaluation.to_frame("transfer")
    rows = []
    for (model, variable, subject), part in _groups(frame, "model", "variable", "test_subject"):
        sources = _rows_by(part, "train_subject")
        row = {"method": model, "variable": variable, "subject": subject}
        for scope, source in zip(SCOPES, (subject, "others"), strict=True):
            cell, p_value = NOTHING, NOTHING
            if source in sources:
                one = sources[source]
                cell = interval_text(one["correlation"], one["low"], one["high"])
                p_value = p_text(one["p_value"])
            row[scope] = cell
            row[f"p, {scope}"] = p_value
        rows.append(row)
    return pd.DataFrame(rows)


def fit_table(evaluation: Evaluation) -> pd.DataFrame:
    """Lay out chosen settings, alignment and seconds, a row per method and distinct choice."""
    import pandas as pd

    rows, folds = [], evaluation.dataset.sizes["fold"]
    for (model, settings), part in _groups(evaluation.to_frame("fit"), "model", "settings"):
        rows.append(
            {
                "method": model,
                "chosen": settings_text(settings),
                "in folds": f"{len(part)} of {folds}",
                "of candidates": str(part["candidates"].max()),
                "alignment": spread_text(part["alignment"].tolist()),
                "seconds per fit": spread_text(part["seconds"].tolist(), 1),
            }
        )
    return pd.DataFrame(rows)


def settings_text(settings: str) -> str:
    """Write settings that were chosen, from the JSON that an evaluation keeps.

    Examples
    --------
    >>> settings_text('{"beta": 0.1, "n_latents": 4}'), settings_text("{}")
    ('beta = 0.1, n_latents = 4', 'nothing')
    """
    chosen = json.loads(settings or "{}")
    return ", ".join(f"{name} = {value_text(value)}" for name, value in chosen.items()) or "nothing"


def tuning_table(evaluation: Evaluation) -> pd.DataFrame:
    """Lay out every candidate of a search with its scores, a row per method and candidate."""
    import pandas as pd

    rows: dict[tuple[str, str], list[float]] = {}
    for model in evaluation.models:
        for text in evaluation.dataset["tuning"].sel(model=model).values.tolist():
            for candidate in json.loads(str(text) or "[]"):
                score = candidate.pop("score")
                key = (model, settings_text(json.dumps(candidate)))
                rows.setdefault(key, []).append(math.nan if score is None else float(score))
    return pd.DataFrame(
        [
            {"method": model, "candidate": settings, "score": spread_text(scores)}
            for (model, settings), scores in rows.items()
        ]
    )
