"""Draw the README's figure from the demo's held-out latents.

make demo && .venv/bin/python benchmarks/readme_figure.py demo/run
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

import neuroalign as na
from neuroalign.schema import map_subjects


def main(run: Path) -> None:
    latents = na.load_tree(run / "latents.nc")
    held_out = map_subjects(latents, lambda _, data: data.isel(trial=data["held_out"].values))
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, color in zip(axes, ("odor", "subject"), strict=True):
        na.plot_latents(held_out, color=color, ax=axis)
        axis.set_title(f"held-out windows, by {color}")
    target = Path(__file__).parents[1] / "docs" / "figures" / "latents.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
