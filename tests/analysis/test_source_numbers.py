"""Imputation from one source, from two, and so on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import neuroalign as na
from neuroalign.schema import build_tree


class Oracle:
    """Imputes expected counts that are known: the mean rates of each trial's odor, plus noise.

    The noise of several sources averages out, so that more sources must score better.
    """

    def __init__(self, train: xr.DataTree, spread: float) -> None:
        self.train = train
        self.spread = spread

    def impute(
        self,
        data: xr.DataTree,
        *,
        source: list[str],
        target: str,
        combine: str,
        windows: bool = False,
    ) -> xr.DataTree:
        assert combine in {"equal", "precision"}
        trained, asked = self.train[target].to_dataset(), data[target].to_dataset()
        rates = trained["counts"].groupby("odor").mean("trial")
        expected = (
            rates.sel(odor=asked["odor"]).drop_vars("odor").transpose("trial", "unit", "time")
        )
        factor = np.mean([self._noise(name, expected.shape) for name in source], axis=0)
        expected = (expected + 0.02) * factor
        if windows:
            length = round(asked.attrs["window_length"] / asked.attrs["bin_width"])
            starts = np.arange(asked.sizes["window"]) * 5
            pieces = [expected.isel(time=slice(s, s + length)).values for s in starts]
            stacked = np.stack(pieces, axis=1)
            result = xr.Dataset(
                {"expected": (("trial", "window", "unit", "lag"), stacked)},
                coords={"trial": asked["trial"].values, "unit": asked["unit"].values},
            )
        else:
            result = xr.Dataset(
                {"expected": (("trial", "unit", "time"), expected.values)},
                coords={
                    "trial": asked["trial"].values,
                    "unit": asked["unit"].values,
                    "time": asked["time"].values,
                },
            )
        return build_tree({target: result})

    def _noise(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        stream = np.random.default_rng([*name.encode()])
        return np.asarray(stream.lognormal(0.0, self.spread, shape))


@pytest.fixture(scope="module")
def recorded() -> tuple[xr.DataTree, xr.DataTree]:
    recordings, _ = na.simulate_recordings(
        units={"ada": 12, "bob": 10, "cyd": 9, "dan": 11},
        trials=60,
        mean_rate=12,
        simultaneous=True,
        random_state=0,
    )
    windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    return na.split_trials(windows, simultaneous=True, stratify="odor", random_state=0)


def score(recorded: tuple[xr.DataTree, xr.DataTree], **settings: Any) -> Any:
    train, test = recorded
    return na.score_sources(
        Oracle(train, 1.0), train, test, label="odor", target="dan", bootstraps=50, **settings
    )


def test_every_subset_of_sources_is_scored(recorded: tuple[xr.DataTree, xr.DataTree]) -> None:
    table = score(recorded)
    assert table.groupby("combine")["n_sources"].value_counts().to_dict() == {
        (way, size): number
        for way in ("equal", "precision")
        for size, number in ((1, 3), (2, 3), (3, 1))
    }
    assert (table["low"] <= table["bits_per_spike"]).all()
    assert (table["bits_per_spike"] <= table["high"]).all()
    np.testing.assert_allclose(table["chance"], 0.25)


def test_sources_with_independent_errors_add_up(
    recorded: tuple[xr.DataTree, xr.DataTree],
) -> None:
    bits = score(recorded, combine="equal").groupby("n_sources")["bits_per_spike"].mean()
    assert bits.is_monotonic_increasing


def test_few_of_many_subsets_can_be_asked_for(recorded: tuple[xr.DataTree, xr.DataTree]) -> None:
    table = score(recorded, combine="equal", subsets=1)
    assert table["n_sources"].tolist() == [1, 2, 3]


def test_a_target_that_is_not_there_is_named(recorded: tuple[xr.DataTree, xr.DataTree]) -> None:
    train, test = recorded
    with pytest.raises(
        na.ParameterError,
        match=r"target must be one of at least two subjects \(ada, bob, cyd, dan\), got 'eve'",
    ):
        na.score_sources(Oracle(train, 1.0), train, test, label="odor", target="eve")
