"""The folder that a validation study ends in: tables, figures and a page to read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from neuroalign.validation import figures
from neuroalign.validation.dataset import Benchmark
from neuroalign.validation.fitting import FitKey, training_rows
from neuroalign.validation.judge import Judge
from neuroalign.validation.scoring import chance_score
from neuroalign.validation.settings import StudySettings
from neuroalign.validation.study import collect, load_fit, write_aside, write_table
from neuroalign.validation.summary import against, chosen_betas, over_seeds, per_fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SATURATED = 0.98  # share of its largest value from which the mixture's divergence pulls at nothing


def write_report(
    benchmark: Benchmark,
    settings: StudySettings,
    judges: Mapping[str, Judge],
    out: Path,
    *,
    least_judge: float,
    device: torch.device,
) -> Path:
    """Write tables, figures and `report.md` of a study's fits, and return the page's path.

    Parameters
    ----------
    benchmark : Benchmark
        The data.
    settings : StudySettings
        Of the study.
    judges : mapping of str to Judge
        All of them, believed or not.
    out : Path
        The study's folder.
    least_judge : float
        From which score on judges are believed.
    device : torch.device
        Where the sheets are generated.
    """
    scores = collect(settings, out)
    fits = per_fit(scores, same_modality=benchmark.multilabel)
    table = over_seeds(fits)
    gaps = against(fits)
    write_table(out / "summary.csv", table)
    write_table(out / "against_mm_vamp.csv", gaps)
    drawn = _figures(benchmark, settings, scores, fits, out, device)
    lines = [
        f"# {benchmark.name}",
        "",
        benchmark.about,
        "",
        *_setting(benchmark, settings),
        "",
        *_judges(judges, least_judge),
        "",
        "## Scores of test rows",
        "",
        _score_note(benchmark),
        "",
        _markdown(_rounded(table)),
        "",
        "## mm-vamp minus each other way of sharing",
        "",
        (
            "Each at the β whose latents of validation rows were read best (mean over seeds); mean "
            "over seeds ± half the 95 % t-interval of the paired differences. Higher is better for "
            "latent and coherence, lower for reconstruction (nats per row)."
        ),
        "",
        _markdown(_rounded(gaps)) if len(gaps) else "Only one way of sharing was fitted.",
        "",
        *_saturated(benchmark, settings, out),
        "## Figures",
        "",
        *(f"![{said}]({name})\n" for name, said in drawn.items()),
    ]
    page = out / "report.md"
    text = "\n".join(lines) + "\n"
    write_aside(page, lambda aside: aside.write_text(text, encoding="utf-8"))
    return page


def _setting(benchmark: Benchmark, settings: StudySettings) -> list[str]:
    rows = {part: len(rows) for part, rows in benchmark.parts().items()}
    rows["train"] = len(training_rows(benchmark, settings))
    told = {k: v for k, v in dataclasses.asdict(settings).items() if k != "train_rows"}
    return [
        (
            f"Rows: {rows['train']} to train on, {rows['validation']} to choose β, {rows['test']} to "
            f"score; judges are trained on "
            f"{min(len(benchmark.train), settings.judge_rows or len(benchmark.train))}. "
            f"Modalities: {', '.join(modality.name for modality in benchmark.modalities)}."
        ),
        "",
        "Settings: " + "; ".join(f"{name} {_plain(value)}" for name, value in told.items()) + ".",
    ]


def _saturated(benchmark: Benchmark, settings: StudySettings, out: Path) -> list[str]:
    """Say of which fits the mixture tied nothing, so that no score of theirs is credited to it."""
    if settings.divergence != "mixture" or "mm-vamp" not in settings.methods:
        return []
    n_modalities = len(benchmark.modalities)
    largest = n_modalities * math.log(n_modalities)
    keys = [FitKey("mm-vamp", beta, seed) for beta in settings.betas for seed in settings.seeds]
    paths = {key: out / "fits" / f"{key.name}_history.csv" for key in keys}
    full = [
        f"β {key.beta:g} seed {key.seed}"
        for key, path in paths.items()
        if path.exists() and pd.read_csv(path)["regularisation"].iloc[-1] > SATURATED * largest
    ]
    if not full:
        return []
    return [
        (
            f"**Nothing is tied in {len(full)} of {len(keys)} fits of mm-vamp** ({', '.join(full)}): "
            f"the divergence stands at its largest value, {n_modalities} log {n_modalities} = "
            f"{largest:.2f} nats, so no posterior overlaps those of other modalities, and these "
            "networks are in effect autoencoders. Their latents may read well, for their posteriors "
            "are narrow; that is no merit of sharing. A larger β or the pairwise divergence ties."
        ),
        "",
    ]


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value)
    return str(value)


def _judges(judges: Mapping[str, Judge], least: float) -> list[str]:
    if not judges:
        return ["No images, no judges."]
    said = ", ".join(f"{name} {judge.score:.3f}" for name, judge in judges.items())
    refused = [name for name, judge in judges.items() if judge.score < least]
    lines = [f"Judges on real test images: {said} (at least {least} is asked for)."]
    if refused:
        lines.append(f"Coherence of generated {', '.join(refused)} is therefore not judged.")
    return lines


def _score_note(benchmark: Benchmark) -> str:
    score = score_name(benchmark)
    chance = chance_score(benchmark.test.labels)
    pairs = "image and text to image" if benchmark.multilabel else "every modality to every other"
    return (
        f"Latent: {score} of linear classifiers of samples of single modalities' posteriors, as in "
        f"the paper, averaged over modalities; latent means: of the posteriors' means. Coherence: {score} of the judges on generated images ({pairs}). Chance is "
        f"{chance:.3f}. Reconstruction: −log p(x | z) summed over modalities, nats per row, from "
        "all modalities (joint) or from each alone (single). sd is over seeds."
    )


def score_name(benchmark: Benchmark) -> str:
    """Return what scores are: accuracy of a class, average precision of attributes."""
    return "mean average precision" if benchmark.multilabel else "accuracy"


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    places = {c: 1 if "reconstruction" in str(c) else 3 for c in table.columns if c != "beta"}
    return table.round({c: n for c, n in places.items() if table[c].dtype.kind == "f"})


def _markdown(table: pd.DataFrame) -> str:
    def cell(value: Any) -> str:
        if pd.isna(value):
            return "–"
        return f"{value:g}" if isinstance(value, float) else str(value)

    rows = [[str(c) for c in table.columns], ["---"] * table.shape[1]]
    rows += [[cell(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _figures(
    benchmark: Benchmark,
    settings: StudySettings,
    scores: pd.DataFrame,
    fits: pd.DataFrame,
    out: Path,
    device: torch.device,
) -> dict[str, str]:
    """Draw everything there is to draw; return file names with what they show."""
    drawn = {"samples.png": "samples of the data set"}
    _save(figures.plot_samples(benchmark, benchmark.test), out / "samples.png")
    if fits.empty:
        return drawn
    chance = chance_score(benchmark.test.labels)
    _save(
        figures.tradeoff_figure(fits, chance=chance, score=score_name(benchmark)),
        out / "tradeoff.png",
    )
    drawn["tradeoff.png"] = "scores against reconstruction, a curve per way of sharing"
    if benchmark.multilabel:
        import matplotlib.pyplot as plt

        figure, axis = plt.subplots(figsize=(9.5, 4.0), layout="constrained")
        figures.plot_attributes(scores, fits, axis)
        _save(figure, out / "attributes.png")
        drawn["attributes.png"] = "average precision of every attribute, read from latents"
    seed = settings.seeds[0]
    networks = {
        method: load_fit(benchmark, settings, FitKey(method, beta, seed), out, device)
        for method, beta in chosen_betas(fits).items()
        if (out / "fits" / f"{FitKey(method, beta, seed).name}.safetensors").exists()
    }
    for source, target in figures.pairs(benchmark):
        name = f"{source}_to_{target}.png".replace(" ", "_")
        _save(
            figures.plot_translations(benchmark, networks, benchmark.test, source, target),
            out / name,
        )
        drawn[name] = f"{target} generated from {source}; uppermost the sources"
    return drawn


def _save(figure: Figure, path: Path) -> None:
    import matplotlib.pyplot as plt

    try:
        write_aside(path, lambda aside: figure.savefig(aside, dpi=130, format="png"))
    finally:
        plt.close(figure)
