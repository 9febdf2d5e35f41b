"""One latent space for several animals recorded in the same task.

Names are resolved when they are first used, so that importing the package costs milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "AlignmentWarning": "errors",
    "CollapseWarning": "errors",
    "DataError": "errors",
    "DataSpec": "data.specs",
    "DataWarning": "errors",
    "ModelFileError": "errors",
    "NeuroAlignError": "errors",
    "NeuroAlignWarning": "errors",
    "ParameterError": "errors",
    "SharedLatentModel": "model",
    "SpecError": "errors",
    "TrainingError": "errors",
    "bin_spikes": "data.binning",
    "from_arrays": "data.arrays",
    "inspect_nwb": "data.inspection",
    "keep_labels": "data.splits",
    "kfold_trials": "data.splits",
    "load_spec": "data.specs",
    "load_tree": "data.storage",
    "quality_report": "data.quality",
    "read_nwb": "data.nwb",
    "read_odor_sequence": "data.odor_sequence",
    "save_tree": "data.storage",
    "select_trials": "data.splits",
    "simulate_recordings": "data.simulate",
    "slide_windows": "data.windows",
    "split_trials": "data.splits",
    "window_view": "data.windows",
    "write_nwb": "data.nwb_writer",
}

if TYPE_CHECKING:
    from neuroalign.data.arrays import from_arrays
    from neuroalign.data.binning import bin_spikes
    from neuroalign.data.inspection import inspect_nwb
    from neuroalign.data.nwb import read_nwb
    from neuroalign.data.nwb_writer import write_nwb
    from neuroalign.data.odor_sequence import read_odor_sequence
    from neuroalign.data.quality import quality_report
    from neuroalign.data.simulate import simulate_recordings
    from neuroalign.data.specs import DataSpec, load_spec
    from neuroalign.data.splits import keep_labels, kfold_trials, select_trials, split_trials
    from neuroalign.data.storage import load_tree, save_tree
    from neuroalign.data.windows import slide_windows, window_view
    from neuroalign.errors import (
        AlignmentWarning,
        CollapseWarning,
        DataError,
        DataWarning,
        ModelFileError,
        NeuroAlignError,
        NeuroAlignWarning,
        ParameterError,
        SpecError,
        TrainingError,
    )
    from neuroalign.model import SharedLatentModel

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    """Import the public name from its module the first time it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'neuroalign' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"neuroalign.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
