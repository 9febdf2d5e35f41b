"""Figures of a validation study: curves over beta, attributes, sample sheets, translations."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from neuroalign.analysis.plot_style import LEGEND_SIZE, label_colors, legend_outside, tidy
from neuroalign.nn.random import RandomStreams
from neuroalign.validation.dataset import Benchmark, Modality, Rows
from neuroalign.validation.protocol import encode, generate
from neuroalign.validation.summary import chosen_betas, over_seeds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neuroalign.nn.multimodal_vae import MultimodalVAE

NAMES: Final = {
    "latent": "latent samples",
    "latent means": "latent means",
    "coherence": "generated images",
    "reconstruction joint": "reconstruction from all modalities",
    "reconstruction single": "reconstruction from itself alone",
}
LABEL_WIDTH: Final = 14  # letters of a view's name beside a picture of its size


def plot_tradeoff(
    fits: pd.DataFrame,
    measure: str,
    reconstruction: str,
    ax: Axes,
    *,
    chance: float,
    score: str,
    legend: bool = True,
) -> Axes:
    """Draw a curve per method: a score against reconstruction, one point for every beta.

    Parameters
    ----------
    fits : DataFrame
        As `per_fit` returns it.
    measure, reconstruction : str
        Columns of `fits`; better is up, and to the right.
    ax : Axes
        Where to draw.
    chance : float
        Drawn as a line.
    score : str
        What is measured, for the axis: "accuracy" or "average precision".
    legend : bool
        Whether to name the methods.
    """
    table = over_seeds(fits)
    colors = label_colors([str(m) for m in dict.fromkeys(table["method"])])
    for method, color in colors.items():
        one = table[table["method"] == method].sort_values("beta")
        ax.errorbar(
            -one[reconstruction],
            one[measure],
            xerr=one[f"{reconstruction} sd"],
            yerr=one[f"{measure} sd"],
            color=color,
            marker="o",
            markersize=4,
            linewidth=1.8 if method == "mm-vamp" else 1.1,
            elinewidth=0.7,
            label=method,
        )
        for _, row in one.iterrows():
            ax.annotate(
                f"{row['beta']:g}",
                (-row[reconstruction], row[measure]),
                xytext=(3, 3),
                textcoords="offset points",
                fontsize=6,
                color=color,
            )
    ax.axhline(chance, color="0.6", linestyle=":", linewidth=1)
    ax.annotate(
        "chance", (1.0, chance), xycoords=("axes fraction", "data"), ha="right", va="bottom",
        fontsize=7, color="0.4",
    )  # fmt: skip
    ax.set(xlabel=f"{NAMES[reconstruction]}, −nats per row", ylabel=f"{score}, {NAMES[measure]}")
    tidy(ax)
    if legend:
        legend_outside(ax, title="numbers: β")
    return ax


def plot_attributes(scores: pd.DataFrame, fits: pd.DataFrame, ax: Axes) -> Axes:
    """Draw average precision per attribute and method.

    Every method stands at its chosen beta; values are means over modalities and seeds.
    """
    betas = chosen_betas(fits)
    single = scores[scores["measure"] == "latent attribute"]
    single = single[single["beta"] == single["method"].map(betas)]
    table = single.pivot_table(index="attribute", columns="method", values="value", sort=False)
    table = table[[m for m in betas if m in table]]
    table = table.loc[table.mean(axis=1).sort_values(ascending=False).index]
    colors = label_colors([str(m) for m in table.columns])
    place = np.arange(len(table))
    width = 0.8 / max(1, len(table.columns))
    for number, (method, color) in enumerate(colors.items()):
        ax.bar(
            place + (number + 0.5) * width - 0.4, table[method], width, color=color, label=method
        )
    ax.set_xticks(place, [str(a).replace("_", " ") for a in table.index], rotation=60, ha="right")
    ax.set(ylabel="average precision of latents", ylim=(0, 1))
    tidy(ax)
    legend_outside(ax)
    return ax


def plot_samples(benchmark: Benchmark, rows: Rows, *, count: int = 10) -> Figure:
    """Draw some rows: a column per row, an image per modality, texts as they are."""
    import matplotlib.pyplot as plt

    count = min(count, len(rows))
    texts = [m for m in benchmark.modalities if m.kind == "text"]
    width = 2.4 if texts else 0.9
    height = sum(1.9 if m.kind == "text" else width for m in benchmark.modalities)
    figure, axes = plt.subplots(
        len(benchmark.modalities), count, figsize=(width * count, height + 0.3), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for line, modality in zip(axes, benchmark.modalities, strict=True):
        for column, axis in enumerate(line):
            show(axis, modality, rows.observations[modality.name][column])
        line[0].set_ylabel(_in_lines(modality.name), fontsize=8)
    if not benchmark.multilabel:
        for column, axis in enumerate(axes[0]):
            axis.set_title(benchmark.label_names[rows.labels[column]], fontsize=8)
    return figure


def _in_lines(name: str) -> str:
    """Break a long name of a view, which would run into those above and below it."""
    return textwrap.fill(name.replace("_", " "), LABEL_WIDTH)


def show(axis: Axes, modality: Modality, values: np.ndarray) -> None:
    """Draw one observation: an image, or a text in lines."""
    axis.set_xticks([])
    axis.set_yticks([])
    if modality.kind == "image":
        axis.imshow(values.transpose(1, 2, 0), interpolation="nearest")
        return
    text = "".join(modality.symbols[symbol] for symbol in values)
    lines = "\n".join(text[start : start + 32] for start in range(0, len(text), 32))
    axis.text(0.5, 0.5, lines, ha="center", va="center", fontsize=5, family="monospace")
    axis.spines[:].set_visible(False)


@torch.no_grad()
def translations(
    benchmark: Benchmark, vae: MultimodalVAE, rows: Rows, source: str, *, seed: int = 0
) -> dict[str, np.ndarray]:
    """Generate every modality from samples of one modality's posterior.

    Returns
    -------
    dict of str to ndarray of uint8
        By target, images (row, channel, height, width) or likeliest symbols (row, position).
    """
    device = next(vae.parameters()).device
    streams = RandomStreams([seed], device)
    posterior = vae.rule.unimodal(encode(benchmark, vae, rows))
    names = [modality.name for modality in benchmark.modalities]
    m = names.index(source)
    noise = streams.normal(*posterior.mean[m].shape)[0]
    latents = posterior.mean[m] + posterior.scale[m] * noise
    made = {}
    for place, modality in enumerate(benchmark.modalities):
        values = torch.cat(list(generate(vae, latents, place)))
        if modality.kind == "text":
            made[modality.name] = values.argmax(1).to(torch.uint8).cpu().numpy()
        else:
            made[modality.name] = values.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
    return made


def plot_translations(
    benchmark: Benchmark,
    networks: Mapping[str, MultimodalVAE],
    rows: Rows,
    source: str,
    target: str,
    *,
    count: int = 10,
) -> Figure:
    """Draw what each method makes of the same rows: sources above, then a line per method."""
    import matplotlib.pyplot as plt

    modalities = {modality.name: modality for modality in benchmark.modalities}
    few = rows.first(count)
    lines: list[tuple[str, str, np.ndarray]] = [(source, source, few.observations[source])]
    for method, vae in networks.items():
        made = translations(benchmark, vae, few, source)
        lines.append((method, target, made[target]))
    text = "text" in {modalities[source].kind, modalities[target].kind}
    size = 2.2 if text else 0.9
    figure, axes = plt.subplots(
        len(lines), len(few), figsize=(size * len(few) + 0.6, size * len(lines)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for line, (name, modality, values) in zip(axes, lines, strict=True):
        for axis, one in zip(line, values, strict=True):
            show(axis, modalities[modality], one)
        line[0].set_ylabel(_in_lines(name), fontsize=LEGEND_SIZE)
    return figure


def tradeoff_figure(fits: pd.DataFrame, *, chance: float, score: str) -> Figure:
    """Draw both scores against both reconstructions."""
    import matplotlib.pyplot as plt

    measures = [m for m in ("latent", "latent means", "coherence") if fits[m].notna().any()]
    figure, axes = plt.subplots(
        len(measures), 2, figsize=(9.5, 3.6 * len(measures)), squeeze=False, layout="constrained"
    )
    for line, measure in zip(axes, measures, strict=True):
        for axis, said in zip(line, ("reconstruction joint", "reconstruction single"), strict=True):
            plot_tradeoff(
                fits, measure, said, axis, chance=chance, score=score, legend=axis is line[-1]
            )
    return figure


def pairs(benchmark: Benchmark) -> Sequence[tuple[Any, Any]]:
    """Return source and target of the sheets: the first into the others, back, and into itself.

    Into itself where it is the only one of its kind, as the images of CelebA are.
    """
    names = [modality.name for modality in benchmark.modalities]
    kinds = [modality.kind for modality in benchmark.modalities]
    chosen = [(names[0], other) for other in names[1:]] + [(names[-1], names[0])]
    return chosen + ([(names[0], names[0])] if kinds.count(kinds[0]) == 1 else [])
