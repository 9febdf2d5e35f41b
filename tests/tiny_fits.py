"""Recordings and settings of fits that take a fraction of a second; see also `few_steps`."""

from __future__ import annotations

from typing import Any, Final

import xarray as xr

import neuroalign as na

TINY: Final[dict[str, Any]] = {
    "n_latents": 2,
    "encoder_hidden": (8,),
    "decoder_hidden": (8,),
    "learning_rate": 0.02,
    "verbose": False,
}


def tiny_windows(trials: int) -> xr.DataTree:
    """Windows of two subjects in so many trials."""
    recordings, _ = na.simulate_recordings(
        units={"ada": 6, "bob": 5}, trials=trials, mean_rate=10.0, random_state=2
    )
    binned = na.bin_spikes(na.keep_spec_trials(recordings), bin_width=0.025)
    return na.slide_windows(binned, length=0.1, step=0.05)
