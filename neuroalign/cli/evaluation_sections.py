"""Sections that the reports of an evaluation and of a sweep share: recordings, origin."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neuroalign.cli.evaluation_tables import value_text
from neuroalign.cli.fit_inputs import describe_windows, versions
from neuroalign.cli.summary_sections import join
from neuroalign.cli.tables import markdown_table, quality_table

if TYPE_CHECKING:
    from neuroalign.cli.evaluation_folder import StudyFolder
    from neuroalign.cli.evaluation_inputs import Study
    from neuroalign.cli.evaluation_request import EvaluationRequest, SweepRequest


def write_inputs(folder: StudyFolder, study: Study) -> None:
    """Write the spec that was used, and tables of what was read."""
    from neuroalign.cli.files import write_table, write_text
    from neuroalign.cli.fit_inputs import spec_as_yaml

    write_text(folder.path / "spec.yaml", spec_as_yaml(study.spec))
    write_table(folder.table("quality"), study.report.to_frame(), index=True)
    write_table(folder.table("quality_dropped"), study.report.dropped)


def manifest_of(request: EvaluationRequest | SweepRequest, study: Study) -> dict[str, Any]:
    """Return what a study's manifest says before the fits."""
    inputs = request.inputs
    return {
        "command": request.command(),
        "spec": json.loads(study.spec.to_json()),
        "recipe": inputs.recipe,
        "settings": dict(inputs.settings),
        "label": study.label,
        "seed": inputs.seed,
        "simultaneous": study.simultaneous,
        "remarks": study.report.remarks,
        **describe_windows(study.windows),
        "models": {name: model_settings(model) for name, model in study.models.items()},
        "versions": versions(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def model_settings(model: Any) -> dict[str, Any]:
    """Return a model's arguments that decide its results, as JSON can hold them."""
    from neuroalign.analysis.fitting_many import is_ours
    from neuroalign.preparation import plain
    from neuroalign.settings import resolved_settings

    ours = {"verbose", "random_state", "device"}
    settings = model.get_params(deep=False)
    if is_ours(model):
        settings = resolved_settings(settings)
    kept = {name: value for name, value in settings.items() if name not in ours}
    written: dict[str, Any] = json.loads(json.dumps(kept, default=plain))
    return written


def label_words(label: str | Sequence[str]) -> str:
    """Name a label, or several whose combination is meant, in running text."""
    return label if isinstance(label, str) else " and ".join(label)


def the_data(study: Study) -> str:
    """Show subjects, units, trials per label, what was dropped, and how it was cut."""
    about = describe_windows(study.windows)
    bins = about["bins"]
    starts = dict.fromkeys(1000 * start for start in about["frames"].values())
    parts = [
        "## The data",
        markdown_table(quality_table(study.report.to_frame().reset_index())),
        (
            f"Columns to the right count trials by {label_words(study.label)}, which pairs "
            f"subjects and is decoded. Of every trial, {bins['windows']} windows of "
            f"{1000 * bins['window_length']:g} ms were analysed, every "
            f"{1000 * bins['window_step']:g} ms, in bins of {1000 * bins['bin_width']:g} ms, from "
            f"{_range(list(starts))} ms after onset."
        ),
    ]
    dropped = int(study.report.dropped["count"].sum())
    if dropped:
        parts.append("What was dropped or noted, and why, is in `quality_dropped.csv`.")
    if study.report.remarks:
        parts.append("Worth a look:\n\n" + bullets(study.report.remarks))
    return join(parts)


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def base_settings(manifest: Mapping[str, Any]) -> str:
    """Say which recipe, and what was set beside it."""
    own = ", ".join(f"{name} = {value_text(value)}" for name, value in manifest["settings"].items())
    return f"recipe `{manifest['recipe']}`" + (f" with {own}" if own else "")


def warnings_section(texts: Sequence[str]) -> str:
    """List warnings that were raised."""
    if not texts:
        return "## Warnings\n\nNone were raised."
    return "## Warnings\n\n" + bullets(texts)


def provenance(manifest: Mapping[str, Any]) -> str:
    """Say how to get the same again."""
    sources = [
        f"- {subject}: `{entry['file']}`"
        + (f" ({entry['bytes']:,} bytes)" if entry["bytes"] is not None else "")
        for subject, entries in manifest["sources"].items()
        for entry in entries
    ]
    numbers = ", ".join(f"{name} {number}" for name, number in manifest["versions"].items())
    cited = [
        manifest["spec"][name] for name in ("citation", "source") if manifest["spec"].get(name)
    ]
    return join(
        [
            "## Provenance",
            f"```sh\n{manifest['command']}\n```",
            f"Started {manifest['started']}; {numbers}.",
            "\n".join(sources),
            f"Data: {'; '.join(cited)}." if cited else "",
        ]
    )


def files_section(folder: StudyFolder, files: Mapping[str, str]) -> str:
    """List what is in the folder."""
    lines = [
        f"[`{name}`]({name}): {what}"
        for name, what in files.items()
        if (folder.path / name).exists()
    ]
    return "## Files\n\n" + bullets(lines)


def bullets(lines: Sequence[str]) -> str:
    """Write a list."""
    return "\n".join(f"- {line}" for line in lines)
