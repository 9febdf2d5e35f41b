"""Sections of the summary about the recordings, the fit, and where results come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from neuroalign.cli.tables import (
    MODEL,
    RAW,
    markdown_table,
    quality_table,
)

if TYPE_CHECKING:
    import pandas as pd

    from neuroalign.cli.run_folder import RunFolder

FILES: Final = {
    "run.json": "what was asked for, versions, warnings",
    "spec.yaml": "the data spec that was used",
    "model/": "the fitted model; `SharedLatentModel.load` reads it",
    "windows.nc": "windowed spike counts of all trials; `load_tree` reads it",
    "split.json": "ids of training and held-out trials",
    "latents.nc": "latents of all trials, with `held_out` telling which the model never saw",
    "quality.csv": "units, rates and trials of every subject",
    "quality_units.csv": "spikes and rate of every unit",
    "quality_dropped.csv": "what was dropped, and why",
    "history.csv": "the objective and its terms by epoch",
    "scores.csv": "decoding: accuracy, interval, chance, p-values, for every classifier and subject",
    "scores.nc": "the same, with probabilities of every trial, as arrays",
    "predictions.csv": "what was read from every held-out trial",
    "confusion.csv": "which label was read as which",
    "scores_folds.csv": "the same scores, cross-validated",
    "scores_folds.nc": "the same, as arrays",
    "predictions_folds.csv": "what was read from every trial while it was held out",
    "confusion_folds.csv": "which label was read as which, cross-validated",
    "imputation.csv": "imputation scores of every pair, beside floor and ceiling",
    "imputation.nc": "the same, as arrays",
    "reconstruction.csv": "how well every subject's own trials are reconstructed",
    "figures/": "all figures, as PNG",
}


def heading(run: RunFolder) -> str:
    """Name the data and say the outcome in a few sentences."""
    manifest = run.manifest
    spec = manifest["request"]["spec"]
    lines = [f"# {spec['name']}: {len(manifest['subjects'])} subjects, one latent space"]
    if spec.get("description"):
        lines += ["", " ".join(spec["description"].split())]
    lines += ["", *_outcome(run)]
    # who reads these lines alone must not miss that the fit itself did not go well
    lines += [f"\n**Warning:** {text}" for text in manifest.get("warnings", {}).get("fit", [])]
    return "\n".join(lines)


def _outcome(run: RunFolder) -> list[str]:
    quality = read_table(run, "quality")
    label = label_words(run)
    units, trials = int(quality["units"].sum()), int(quality["trials"].sum())
    kept = f"{units} units and {trials} trials were kept (below: what was dropped)"
    said = [f"{kept}; trials were paired by {label}."]
    if run.table("scores").exists():
        scores = read_table(run, "scores")
        scores = scores[scores["level"] == "trial"]
        model = scores[scores["method"] == MODEL]
        within = model[model["kind"] == "within"]["accuracy"].mean()
        parts = [f"**{within:.2f}** of held-out trials within subjects"]
        others = model[model["kind"] == "others"]["accuracy"]
        if len(others):
            parts.append(f"**{others.mean():.2f}** across subjects (classifier of all others)")
        raw = scores[scores["method"] == RAW]["accuracy"].mean()
        chance = scores["chance"].mean()
        said.append(
            f"From the latents, {label} was read right in {' and '.join(parts)}; from the raw "
            f"counts of the same subject in {raw:.2f}; chance is {chance:.2f} (balanced accuracy "
            "per trial, mean over subjects)."
        )
    return [" ".join(said)]


def what_was_read(run: RunFolder) -> str:
    """List subjects, trials, and what was dropped."""
    quality = read_table(run, "quality")
    dropped = read_table(run, "quality_dropped")
    parts = [
        "## What was read",
        markdown_table(quality_table(quality)),
        (
            "Rates are over the analysed frames. "
            "Columns to the right count trials by the label that pairs subjects."
        ),
    ]
    parts.append(_dropped(dropped))
    remarks = run.manifest.get("remarks", [])
    if remarks:
        parts.append("Worth a look:\n\n" + "\n".join(f"- {text}" for text in remarks))
    parts.append(
        figure(
            run,
            "quality",
            "Of every subject: the spikes of its unit with most of them, trials sorted by label; the "
            "mean rate of all units by label with its standard error; and how many units have which "
            "rate. Time counts from the start of the analysed frame.",
        )
    )
    return join(parts)


def _dropped(dropped: pd.DataFrame) -> str:
    if dropped.empty:
        return "Nothing was dropped."
    wide = dropped.pivot_table(
        index=["what", "why"], columns="subject", values="count", aggfunc="sum", sort=False
    )
    table = wide.fillna(0).astype(int).reset_index().rename_axis(columns=None)
    order = ["why", "what", *(name for name in table.columns if name not in {"why", "what"})]
    table = table[order].rename(columns={"why": "dropped or noted because"})
    return (
        "What was dropped or noted, and why, as counts per subject (rules one after the other: what "
        "one dropped, the next does not count):\n\n" + markdown_table(table.astype(str))
    )


def how_it_was_cut(run: RunFolder) -> str:
    """Say which part of a trial was analysed, and which trials were held out."""
    manifest = run.manifest
    bins = manifest["bins"]
    starts: dict[str, float] = manifest["frames"]
    length = bins["bins"] * bins["bin_width"]
    if len(set(starts.values())) == 1:
        where = f"{1000 * next(iter(starts.values())):g} ms after onset"
    else:
        shown = ", ".join(f"{name} {1000 * start:g} ms" for name, start in starts.items())
        where = f"after onset by {shown}"
    asked = manifest["request"]["test_size"]
    share = f"{100 * asked:g} %" if asked < 1 else f"{asked}"
    return join(
        [
            "## How it was cut",
            (
                f"The analysed frame lasts {1000 * length:g} ms and starts {where}. Spikes were "
                f"counted in bins of {1000 * bins['bin_width']:g} ms; {bins['windows']} windows of "
                f"{1000 * bins['window_length']:g} ms, one every {1000 * bins['window_step']:g} ms, "
                "go through the model."
            ),
            (
                f"{share} of every subject's trials, whole and evenly by label, were held out before "
                f"the fit (seed {manifest['request']['seed']}). All scores and figures of latents "
                "below are of held-out trials."
            ),
        ]
    )


def the_model(run: RunFolder) -> str:
    """Show settings, course and warnings of the fit."""
    manifest = run.manifest
    model = manifest["model"]
    request = manifest["request"]
    own = ", ".join(f"{name} = {value}" for name, value in request["settings"].items())
    how = f"Recipe `{request['recipe']}`" + (f", with {own}" if own else "")
    parts = [
        "## The model",
        f"{how}; fitted in {manifest['seconds']['fit']:g} s on {model['device']}.",
        f"```text\n{model['summary']}\n```",
        _alignment(model),
    ]
    parts.append(_warnings(run))
    parts.append(
        figure(
            run,
            "history",
            "The negative objective and its two terms over epochs, in training and on the "
            "validation trials that were set aside within the training trials; dashed, the middle "
            "half of validation rows, which decides when to stop; right, the alignment.",
        )
    )
    return join(parts)


def _alignment(model: dict[str, Any]) -> str:
    value = model["alignment"]
    if value is None:
        return ""
    if value >= 1:
        return (
            f"Alignment {value:.2f} is not below 1: **the subjects did not meet in the latent "
            "space**: do not trust results across them."
        )
    return (
        f"Alignment {value:.2f}: distance between subjects for the same label, over distance "
        "between labels within a subject. Near 0 the subjects met, near 1 they did not; accuracy "
        "across subjects decides."
    )


def _warnings(run: RunFolder) -> str:
    found: dict[str, list[str]] = run.manifest.get("warnings", {})
    lines = [f"- while running `{name}`: {text}" for name, texts in found.items() for text in texts]
    if not lines:
        return "No warnings were raised."
    return "Warnings that were raised:\n\n" + "\n".join(lines)


def files(run: RunFolder) -> str:
    """List what is in the folder."""
    lines = [
        f"- [`{name}`]({quote(name)}): {what}"
        for name, what in FILES.items()
        if (run.path / name).exists()
    ]
    lines += [
        f"- [`{path.name}`]({quote(path.name)}): expected spikes per bin of one subject's units "
        "in another's held-out trials"
        for path in sorted(run.path.glob("imputed_*.nc"))
    ]
    return join(["## Files", "\n".join(lines)])


def provenance(run: RunFolder) -> str:
    """Say how to get the same again."""
    manifest = run.manifest
    spec = manifest["request"]["spec"]
    sources = [
        f"- {subject}: `{entry['file']}`"
        + (f" ({entry['bytes']:,} bytes)" if entry["bytes"] is not None else "")
        for subject, entries in manifest["sources"].items()
        for entry in entries
    ]
    versions = ", ".join(f"{name} {number}" for name, number in manifest["versions"].items())
    parts = [
        "## Provenance",
        f"```sh\n{manifest['command']}\n```",
        f"Seed {manifest['request']['seed']}; started {manifest['started']}; {versions}.",
        "\n".join(sources),
    ]
    cited = [spec[name] for name in ("citation", "source") if spec.get(name)]
    if cited:
        parts.append(f"Data: {'; '.join(cited)}.")
    return join(parts)


def figure(run: RunFolder, name: str, caption: str) -> str:
    """Embed a figure that is there."""
    if not run.figure(name).exists():
        return ""
    return f"![{caption}](figures/{quote(name)}.png)\n\n*{caption}*"


def join(parts: list[str]) -> str:
    """Join paragraphs, leaving out empty ones."""
    return "\n\n".join(part for part in parts if part)


def label_words(run: RunFolder) -> str:
    """Name the label in running text."""
    label = run.manifest["label"]
    return str(label) if isinstance(label, str) else " and ".join(label)


def read_table(run: RunFolder, name: str) -> pd.DataFrame:
    """Read one of the run's tables, names as text.

    Raises
    ------
    DataError
        If it is missing or damaged.
    """
    import pandas as pd

    from neuroalign.errors import DataError

    names = ("subject", "train_subject", "test_subject", "source", "target")
    try:
        # a subject may be called "001" or "NA"
        return pd.read_csv(
            run.table(name), dtype=dict.fromkeys(names, str), keep_default_na=False, na_values=[""]
        )
    except (OSError, ValueError) as problem:
        raise DataError(
            f"{run.table(name)} is missing or damaged; run the command that writes it again."
        ) from problem
