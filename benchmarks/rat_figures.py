"""The paper's rat figures: what sharing costs in reconstruction and gives in coherence.

    python benchmarks/rat_figures.py tradeoff   # one curve a method, one point a beta
    python benchmarks/rat_figures.py latents    # two-dimensional latents by odor and by rat

Options: --data FOLDER with the published arrays (default: simulated rats), --protocol heldout
(default) or paper (fitted to and judged on the same trials, as published), --epochs (the paper's
1,000), --seeds. Networks and settings are those of the `paper` recipe: inputs as wide as hidden
layers, two latents, raw counts, squared error, partners by rank. On two cores one fit of 1,000
epochs takes about half an hour. Writes benchmarks/results/rat_figures_*.csv and .png; a table
that is there is continued, so that the figures can be drawn again at once.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from simulated_rats import decoded_coherence

import neuroalign as na
from neuroalign.schema import iterate_subjects

RESULTS = Path(__file__).parent / "results"
BETAS = (1e-5, 1e-4, 1e-3, 2.5e-3, 5e-3, 1e-2)
METHODS: dict[str, dict[str, object]] = {
    "independent": {"sharing": "independent"},
    "aggregated": {"sharing": "aggregated"},
    "mm-vamp, pairwise": {"sharing": "mm-vamp", "divergence": "pairwise"},
    "mm-vamp, mixture": {"sharing": "mm-vamp", "divergence": "mixture"},
}


def windows_of(data: str | None, seed: int) -> xr.DataTree:
    if data is not None:
        recordings = na.read_odor_sequence(data)
    else:
        recordings, _ = na.simulate_recordings(random_state=seed)
        recordings = na.bin_spikes(recordings)
    return na.slide_windows(na.keep_spec_trials(recordings))


def sides(windows: xr.DataTree, protocol: str, seed: int) -> tuple[xr.DataTree, xr.DataTree]:
    if protocol == "paper":
        return windows, windows
    return na.split_trials(windows, test_size=0.25, stratify="odor", random_state=seed)


def fit(
    train: xr.DataTree, method: str, beta: float, epochs: int, seed: int, width: int | None
) -> na.SharedLatentModel:
    widths = (
        {} if width is None else {"encoder_hidden": (width,) * 2, "decoder_hidden": (width,) * 2}
    )
    model = na.SharedLatentModel.from_recipe(
        "odor_sequence",
        "paper",
        beta=beta,
        max_epochs=epochs,
        random_state=seed,
        verbose=False,
        **METHODS[method],
        **widths,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", na.NeuroAlignWarning)
        return model.fit(train, label="odor")


def squared_error(model: na.SharedLatentModel, test: xr.DataTree) -> float:
    """Sum the squared errors of a row (a window of every rat), as the paper's loss does."""
    joint = model.sharing == "aggregated"
    expected = model.reconstruct(test, windows=True, joint=joint)
    total = 0.0
    for name, data in iterate_subjects(test):
        made = expected[name].to_dataset()["expected"].transpose("trial", "window", "unit", "lag")
        real = na.window_view(data.sel(trial=made["trial"].values))
        total += float(((real - made.values) ** 2).sum((2, 3)).mean())
    return total


def score(
    model: na.SharedLatentModel, train: xr.DataTree, test: xr.DataTree, protocol: str
) -> dict[str, float]:
    scores = na.decode_labels(
        model.transform(train),
        model.transform(test),
        label="odor",
        permutations=0,
        bootstraps=0,
        allow_overlap=protocol == "paper",
    )["accuracy"].sel(level="window")
    rats = scores["test_subject"].values
    return {
        "accuracy": float(np.mean([scores.sel(train_subject=r, test_subject=r) for r in rats])),
        "across": float(scores.sel(train_subject="others").mean()),
        "coherence": decoded_coherence(model, train, test),
        "squared_error": squared_error(model, test),
    }


def tradeoff(options: argparse.Namespace) -> None:
    path = RESULTS / f"rat_figures_{options.name}.csv"
    rows = pd.read_csv(path).to_dict("records") if path.exists() else []
    done = {(row["method"], row["beta"], row["seed"]) for row in rows}
    for seed in options.seeds:
        train, test = sides(windows_of(options.data, seed), options.protocol, seed)
        for method in METHODS:
            for beta in BETAS:
                if (method, beta, seed) in done:
                    continue
                model = fit(train, method, beta, options.epochs, seed, options.width)
                about = {"method": method, "beta": beta, "seed": seed, "epochs": options.epochs}
                rows.append({**about, **score(model, train, test, options.protocol)})
                print(pd.DataFrame(rows[-1:]).to_string(index=False, header=False), flush=True)
                RESULTS.mkdir(exist_ok=True)
                pd.DataFrame(rows).to_csv(path, index=False, float_format="%.5g")
    draw_tradeoff(pd.DataFrame(rows), options)


def draw_tradeoff(table: pd.DataFrame, options: argparse.Namespace) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    names = {
        "accuracy": "odor from a rat's own latents",
        "across": "odor, classifier of the other rats",
        "coherence": "odor of decoded activity",
    }
    for axis, (column, title) in zip(axes, names.items(), strict=True):
        for method, part in table.groupby("method"):
            mean = part.groupby("beta")[[column, "squared_error"]].mean().sort_index()
            axis.plot(mean["squared_error"], mean[column], marker="o", markersize=4, label=method)
        axis.axhline(0.25, color="0.5", linestyle="--", linewidth=1)
        axis.set(xlabel="squared error per row (counts²)", ylabel=f"{title}\nbalanced accuracy")
        axis.invert_xaxis()
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].legend(frameon=False, fontsize=8)
    said = "held-out trials" if options.protocol == "heldout" else "the paper's: training trials"
    epochs = ", ".join(map(str, sorted(set(table["epochs"]))))
    figure.suptitle(
        f"{said}; {epochs} epochs; {_layers(options)}; one point a beta, "
        f"mean over {table['seed'].nunique()} simulations",
        fontsize=10,
    )
    figure.savefig(RESULTS / f"rat_figures_{options.name}.png", dpi=120)


def _layers(options: argparse.Namespace) -> str:
    return f"hidden layers of {options.width}" if options.width else "hidden layers as the input"


def latents(options: argparse.Namespace) -> None:
    """Draw each method at the beta with the best accuracy from a rat's own latents."""
    import matplotlib.pyplot as plt

    table = pd.read_csv(RESULTS / f"rat_figures_{options.name}.csv")
    mean = table.groupby(["method", "beta"])["accuracy"].mean().reset_index()
    best = mean.loc[mean.groupby("method")["accuracy"].idxmax()].set_index("method")["beta"]
    seed = options.seeds[0]
    train, test = sides(windows_of(options.data, seed), options.protocol, seed)
    figure, axes = plt.subplots(2, len(METHODS), figsize=(3.4 * len(METHODS), 6.2), squeeze=False)
    for column, method in enumerate(METHODS):
        model = fit(train, method, float(best[method]), options.epochs, seed, options.width)
        found = model.transform(test)
        for row, color in enumerate(("odor", "subject")):
            axis = na.plot_latents(found, color=color, ax=axes[row, column])
            axis.set_title(f"{method}, beta {best[method]:g}", fontsize=9)
    said = "held-out trials" if options.protocol == "heldout" else "training trials (as published)"
    figure.suptitle(
        f"latents of {said}; {options.epochs} epochs; {_layers(options)}; each method at its best beta",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(RESULTS / f"rat_figures_{options.name}_latents.png", dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["tradeoff", "latents"])
    parser.add_argument("--data", help="folder of the published arrays")
    parser.add_argument("--protocol", choices=["heldout", "paper"], default="heldout")
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--width", type=int, help="width of hidden layers instead of the input's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--name", help="of the result files; default: the protocol")
    given = parser.parse_args()
    given.name = given.name or given.protocol
    {"tradeoff": tradeoff, "latents": latents}[given.part](given)
