"""One latent space for several animals recorded in the same task.

Names are resolved when they are first used, so that importing the package costs milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from neuroalign.version import __version__

_HOMES = {
    "AlignmentWarning": "errors",
    "CollapseWarning": "errors",
    "DataError": "errors",
    "DataSpec": "data.specs",
    "DataWarning": "errors",
    "Evaluation": "analysis.evaluation_result",
    "LogitLatents": "analysis.aligners",
    "ModelFileError": "errors",
    "MultisetCCA": "analysis.aligners",
    "NeuroAlignError": "errors",
    "NeuroAlignWarning": "errors",
    "ParameterError": "errors",
    "PrincipalComponents": "analysis.aligners",
    "ProcrustesPCA": "analysis.aligners",
    "RawCounts": "analysis.aligners",
    "SharedLatentModel": "model",
    "SharedResponse": "analysis.aligners",
    "SpecError": "errors",
    "SpikeCounts": "analysis.controls",
    "TrainingError": "errors",
    "before_onset": "data.controls",
    "bin_spikes": "data.binning",
    "cross_validate": "analysis.crossvalidation",
    "decode_labels": "analysis.decoding",
    "decode_over_time": "analysis.decoding_time",
    "evaluate": "analysis.evaluation",
    "fit_many": "many_fits",
    "fit_rates": "analysis.controls",
    "from_arrays": "data.arrays",
    "imputation_to_frame": "analysis.imputation",
    "individual_differences": "analysis.individuality",
    "individual_differences_to_frames": "analysis.individuality",
    "inspect_nwb": "data.inspection",
    "keep_labels": "data.trial_selection",
    "keep_spec_trials": "data.trial_selection",
    "kfold_trials": "data.splits",
    "load_spec": "data.specs",
    "load_tree": "data.storage",
    "match_rates": "analysis.controls",
    "pca_latents": "analysis.baselines",
    "permute_labels": "data.permutation",
    "plot_decoding_over_time": "analysis.plots",
    "plot_deviation": "analysis.plots",
    "plot_evaluation": "analysis.plots",
    "plot_geometry": "analysis.plots",
    "plot_history": "analysis.plots",
    "plot_imputation": "analysis.plots",
    "plot_latents": "analysis.plots",
    "plot_quality": "analysis.plots",
    "plot_score_matrix": "analysis.plots",
    "plot_shared_bits": "analysis.plots",
    "plot_temporal_generalisation": "analysis.plots",
    "plot_trajectories": "analysis.plots",
    "plot_unit_importance": "analysis.plots",
    "quality_report": "data.quality",
    "raw_features": "analysis.baselines",
    "read_nwb": "data.nwb",
    "read_odor_sequence": "data.odor_sequence",
    "read_variable": "analysis.transfer",
    "reconstruction_scores": "analysis.imputation",
    "save_tree": "data.storage",
    "score_imputation": "analysis.imputation",
    "score_joining": "analysis.joining",
    "score_sources": "analysis.sources",
    "scores_to_frame": "analysis.decoding",
    "select_trials": "data.trial_selection",
    "simulate_recordings": "data.simulate",
    "slide_windows": "data.windows",
    "split_trials": "data.splits",
    "sweep": "analysis.sweep",
    "thin_spikes": "analysis.controls",
    "time_scores_to_frame": "analysis.decoding_time",
    "window_view": "data.windows",
    "write_nwb": "data.nwb_writer",
}

if TYPE_CHECKING:
    from neuroalign.analysis.aligners import (
        LogitLatents,
        MultisetCCA,
        PrincipalComponents,
        ProcrustesPCA,
        RawCounts,
        SharedResponse,
    )
    from neuroalign.analysis.baselines import pca_latents, raw_features
    from neuroalign.analysis.controls import SpikeCounts, fit_rates, match_rates, thin_spikes
    from neuroalign.analysis.crossvalidation import cross_validate
    from neuroalign.analysis.decoding import decode_labels, scores_to_frame
    from neuroalign.analysis.decoding_time import decode_over_time, time_scores_to_frame
    from neuroalign.analysis.evaluation import evaluate
    from neuroalign.analysis.evaluation_result import Evaluation
    from neuroalign.analysis.imputation import (
        imputation_to_frame,
        reconstruction_scores,
        score_imputation,
    )
    from neuroalign.analysis.individuality import (
        individual_differences,
        individual_differences_to_frames,
    )
    from neuroalign.analysis.joining import score_joining
    from neuroalign.analysis.plots import (
        plot_decoding_over_time,
        plot_deviation,
        plot_evaluation,
        plot_geometry,
        plot_history,
        plot_imputation,
        plot_latents,
        plot_quality,
        plot_score_matrix,
        plot_shared_bits,
        plot_temporal_generalisation,
        plot_trajectories,
        plot_unit_importance,
    )
    from neuroalign.analysis.sources import score_sources
    from neuroalign.analysis.sweep import sweep
    from neuroalign.analysis.transfer import read_variable
    from neuroalign.data.arrays import from_arrays
    from neuroalign.data.binning import bin_spikes
    from neuroalign.data.controls import before_onset
    from neuroalign.data.inspection import inspect_nwb
    from neuroalign.data.nwb import read_nwb
    from neuroalign.data.nwb_writer import write_nwb
    from neuroalign.data.odor_sequence import read_odor_sequence
    from neuroalign.data.permutation import permute_labels
    from neuroalign.data.quality import quality_report
    from neuroalign.data.simulate import simulate_recordings
    from neuroalign.data.specs import DataSpec, load_spec
    from neuroalign.data.splits import kfold_trials, split_trials
    from neuroalign.data.storage import load_tree, save_tree
    from neuroalign.data.trial_selection import keep_labels, keep_spec_trials, select_trials
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
    from neuroalign.many_fits import fit_many
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
