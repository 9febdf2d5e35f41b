"""Appendix A.1 of the paper on simulated rats: the objective and the autoencoder that bounds it.

    python benchmarks/appendix_a1.py

Fits the same networks with the Gaussian likelihood (negative squared error) at several beta and
as plain autoencoders, and draws over the epochs, on training trials, the objective (full lines)
and its reconstruction part (dashed) against the autoencoder's (black). With a linear decoder
the expected squared error is the autoencoder's plus trace(W Σ Wᵀ), so the objective stays below
and approaches it as beta falls. Writes benchmarks/results/appendix_a1.{csv,png}.
"""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from simulated_rats import RESULTS, fit, windows_of

mpl.use("Agg")
import matplotlib.pyplot as plt

SEED, EPOCHS = 5, 300
BETAS = (1e-3, 1e-2, 1e-1, 1.0)
SETTINGS: dict[str, object] = {
    "likelihood": "gaussian",
    "decoder_hidden": (),
    "dropout": 0.0,
    "mixing": 0.0,
    "batch_size": 512,  # less noise of batches at the end
    "validation_fraction": 0.0,
    "max_epochs": EPOCHS,
    "learning_rate": 1e-3,
}


def main() -> None:
    train, _, _ = windows_of(SEED)
    pieces = []
    for name, settings in {
        "autoencoder": {"sharing": "autoencoder", "beta": 0.0},
        **{f"beta {beta:g}": {"beta": beta} for beta in BETAS},
    }.items():
        model = fit(train, SEED, **SETTINGS, **settings)
        history = model.history_[["epoch", "objective", "reconstruction"]].assign(fit=name)
        pieces.append(history)
        print(name, history.iloc[-1].to_dict(), flush=True)
    table = pd.concat(pieces)
    # the history holds what is minimised; the paper speaks of what is maximised
    table[["objective", "reconstruction"]] *= -1.0
    table.to_csv(RESULTS / "appendix_a1.csv", index=False, float_format="%.4f")
    draw(table)


def draw(table: pd.DataFrame) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    colours = dict(
        zip(
            (f"beta {b:g}" for b in BETAS),
            mpl.colormaps["viridis"]([0.0, 0.3, 0.6, 0.9]),
            strict=True,
        )
    )
    for name, part in table.groupby("fit", sort=False):
        if name == "autoencoder":
            axes.plot(part["epoch"], part["objective"], color="black", label=name)
            continue
        axes.plot(part["epoch"], part["objective"], color=colours[str(name)], label=name)
        axes.plot(part["epoch"], part["reconstruction"], color=colours[str(name)], linestyle="--")
    low = table.query("epoch > 20")["objective"].min()
    high = table["objective"].max()
    axes.set(
        xlabel="epoch",
        ylabel="nats per row",
        title="objective (full) and its reconstruction part (dashed), training trials",
        ylim=(low - 0.05 * (high - low), high + 0.1 * (high - low)),
    )
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(RESULTS / "appendix_a1.png", dpi=150)


if __name__ == "__main__":
    main()
