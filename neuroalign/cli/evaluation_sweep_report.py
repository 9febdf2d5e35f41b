"""report.md of a sweep: every setting's scores over seeds, and what must not be made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from neuroalign.cli.evaluation_sections import (
    base_settings,
    bullets,
    files_section,
    label_words,
    provenance,
    the_data,
    warnings_section,
)
from neuroalign.cli.evaluation_tables import grid_text, number_text, spread_text, value_text
from neuroalign.cli.files import write_text
from neuroalign.cli.summary_sections import join
from neuroalign.cli.tables import markdown_table

if TYPE_CHECKING:
    import pandas as pd

    from neuroalign.cli.evaluation_folder import StudyFolder
    from neuroalign.cli.evaluation_inputs import Study

FILES: Final = {
    "table.csv": "a row per fit: settings, seed, all scores, error, seconds of fit (shared equally by "
    "those that trained side by side) and of scoring",
    "fits/": "a file per fit, from which the same command goes on",
    "quality.csv": "units, rates and trials of every subject",
    "quality_dropped.csv": "what was dropped, and why",
    "spec.yaml": "the data spec that was used",
    "request.json": "what was asked for, settings, versions, warnings",
    "figures/sweep.png": "the figure",
}
# columns of the table, what they are called for people, and their digits
MEASURES: Final = (
    ("within_trial", "within", 2),
    ("across_trial", "across", 2),
    ("within_window", "within, per window", 2),
    ("across_window", "across, per window", 2),
    ("bits_imputed", "imputed bits/spike", 3),
    ("above_floor", "above floor", 3),
    ("alignment", "alignment", 2),
)


def sweep_table(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Lay out the mean over seeds of every combination of settings.

    Parameters
    ----------
    table : DataFrame
        From `sweep`.
    names : sequence of str
        The grid's parameters.

    Returns
    -------
    DataFrame
        A row per combination: its settings, how many fits went well, and scores with the
        least and greatest over seeds.
    """
    import pandas as pd

    groups: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(table[list(names)].to_dict("records")):
        groups.setdefault(tuple(value_text(row[name]) for name in names), []).append(place)
    rows = []
    for settings, places in groups.items():
        part = table.iloc[places]
        done = part[part["error"] == ""]
        row = dict(zip(names, settings, strict=True))
        row["fits"] = str(len(done)) if len(done) == len(part) else f"{len(done)} of {len(part)}"
        row |= {
            title: spread_text(done[column].tolist(), digits)
            for column, title, digits in MEASURES
            if column in table
        }
        rows.append(row)
    return pd.DataFrame(rows)


def write_sweep_report(
    folder: StudyFolder, table: pd.DataFrame, study: Study, manifest: Mapping[str, Any]
) -> Path:
    """Write the report of a sweep beside its table and figure."""
    names = list(manifest["request"]["grid"])
    sections = [
        f"# {study.spec.name}: sweep of {', '.join(names)}",
        the_data(study),
        _asked(table, study, manifest),
        _scores(folder, table, study, names),
        _failed(table, names),
        warnings_section(manifest["warnings"]),
        files_section(folder, FILES),
        provenance(manifest),
    ]
    return write_text(folder.report, "\n\n".join(part for part in sections if part) + "\n")


def _asked(table: pd.DataFrame, study: Study, manifest: Mapping[str, Any]) -> str:
    request = manifest["request"]
    share = f"{100 * request['test_size']:g} %"
    together = ", the same trials for all subjects" if manifest["simultaneous"] else ""
    lines = [
        f"Every combination of {grid_text(request['grid'])}; all else from {base_settings(manifest)}.",
        (
            f"Seeds {', '.join(map(str, request['seeds']))}. A seed decides the split and the fit: "
            "all settings see the same trials under one seed."
        ),
        (
            f"{share} of every subject's trials, whole and evenly by {label_words(study.label)}, "
            f"were held out{together}; all scores are of these."
        ),
        f"{len(table)} fits, {int((table['error'] != '').sum())} failed.",
    ]
    return "## What was asked\n\n" + bullets(lines)


def _scores(folder: StudyFolder, table: pd.DataFrame, study: Study, names: Sequence[str]) -> str:
    chance = table["chance"].mean() if "chance" in table else float("nan")
    return join(
        [
            "## Scores",
            (
                f"Balanced accuracy of {label_words(study.label)} per trial (chance "
                f"{number_text(chance)}), imputed bits per spike and their gain over the floor, "
                "and alignment (near 0 subjects met, near 1 they did not): averages over "
                "subjects, then over seeds, with the least and the greatest seed."
            ),
            markdown_table(sweep_table(table, names)),
            folder.embed(
                "sweep",
                "Accuracy per trial within and across subjects; a point per seed, lines through "
                "their means.",
            ),
            (
                "**These are scores on held-out trials. To pick the best setting by them and report "
                "its score is to tune on test trials**: `neuroalign evaluate --tune` chooses inside "
                "training trials. Seeds share recordings, so their spread says how much split and "
                "fit matter, not how sure the score is."
            ),
        ]
    )


def _failed(table: pd.DataFrame, names: Sequence[str]) -> str:
    failed = table[table["error"] != ""]
    if failed.empty:
        return ""
    lines = [
        f"{len(part)} fits ({_what_they_share(part, table, [*names, 'seed'])}): {error}"
        for error, part in failed.groupby("error", sort=False)
    ]
    return join(
        [
            "## Failed fits",
            bullets(lines),
            "The same command does not try them again; remove their rows in `fits/rows/` to do so.",
        ]
    )


def _what_they_share(part: pd.DataFrame, table: pd.DataFrame, names: Sequence[str]) -> str:
    """Name the settings of some fits as far as not all values of the sweep are among them."""
    found = {name: list(dict.fromkeys(map(value_text, part[name]))) for name in names}
    some = {name: values for name, values in found.items() if len(values) < _count(table[name])}
    return grid_text(some) or "of all settings"


def _count(values: pd.Series[Any]) -> int:
    return len(set(map(value_text, values)))
