"""CEBRA's multi-session fit on the simulated rats, with its time.

    pip install cebra
    python benchmarks/cebra_rats.py [--seeds 20 21 ...] [--iterations 2000]

The wrapper is the one that docs/bring_your_own_method.md prints, word for word; trials, windows
and scores are those of `simulated_rats.py`. mm-vamp is fitted in the same process, after CEBRA, so
that their times can be compared. Writes benchmarks/results/cebra_rats.csv.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from simulated_rats import RESULTS, judged
from sklearn.base import BaseEstimator

import neuroalign as na
from neuroalign.schema import map_subjects

PAGE = Path(__file__).parents[1] / "docs" / "bring_your_own_method.md"


def wrapper() -> Any:
    """Take the estimator from the page, so that what users copy is what is measured."""
    block = next(
        code
        for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        if "class MultiSessionCEBRA" in code
    )
    names: dict[str, Any] = {"np": np, "xr": xr, "na": na}
    names |= {"BaseEstimator": BaseEstimator, "map_subjects": map_subjects}
    exec(block, names)
    return names["MultiSessionCEBRA"]


def main(seeds: list[int], iterations: int) -> None:
    rows: list[pd.DataFrame] = []
    for seed in seeds:
        models = {
            "CEBRA": wrapper()(iterations=iterations),
            "mm-vamp": na.SharedLatentModel(random_state=seed, verbose=False),
        }
        rows.append(judged(seed, models))
        seconds = rows[-1].groupby("model")["seconds"].first()
        print("CEBRA's time over mm-vamp's:", seconds["CEBRA"] / seconds["mm-vamp"], flush=True)
        RESULTS.mkdir(exist_ok=True)
        pd.concat(rows).to_csv(RESULTS / "cebra_rats.csv", index=False, float_format="%.4f")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[20, 21, 22, 23, 24])
    parser.add_argument("--iterations", type=int, default=2000)
    main(**vars(parser.parse_args()))
