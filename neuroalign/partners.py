"""Which trials of other subjects stand beside a subject's trials when several are read together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from neuroalign.schema import label_values

if TYPE_CHECKING:
    import xarray as xr

    from neuroalign.fitted import FittedModel


def partners(
    fitted: FittedModel, datasets: Mapping[str, xr.Dataset], target: str
) -> dict[str, np.ndarray]:
    """Return for each trial of the target the position of every subject's partner, −1 for none.

    Recorded together, a partner has the same trial id. Recorded apart, the k-th trial of a
    label (by trial id) meets the k-th of that label, beginning again where the partner has fewer.
    """
    if fitted.settings["pairing"] == "trial":
        wanted = datasets[target]["trial"].values
        return {name: trial_positions(dataset, wanted) for name, dataset in datasets.items()}
    labels = {n: label_values(d, fitted.label, subject=n) for n, d in datasets.items()}
    # by id, so that no order of the trials changes who meets whom
    in_order = {name: np.argsort(d["trial"].values) for name, d in datasets.items()}
    found = {name: np.full(len(labels[target]), -1, dtype=np.int64) for name in datasets}
    for value in np.unique(labels[target]):
        those = {name: order[labels[name][order] == value] for name, order in in_order.items()}
        mine = those[target]
        for name, theirs in those.items():
            if len(theirs):
                found[name][mine] = theirs[np.arange(len(mine)) % len(theirs)]
    return found


def trial_positions(dataset: xr.Dataset, wanted: np.ndarray) -> np.ndarray:
    """Return where a subject has the trials of these ids, −1 where it lacks one."""
    where = {int(trial): position for position, trial in enumerate(dataset["trial"].values)}
    return np.array([where.get(int(trial), -1) for trial in wanted], dtype=np.int64)
