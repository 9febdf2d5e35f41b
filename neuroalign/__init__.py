"""One latent space for several animals recorded in the same task.

Names are resolved when they are first used, so that importing the package costs milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from neuroalign.cores import keep_threads_from_spinning
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
    "TrialSearch": "analysis.search",
    "before_onset": "data.controls",
    "bin_spikes": "data.binning",
    "cross_validate": "analysis.crossvalidation",
    "decode_labels": "analysis.decoding",
    "decode_over_time": "analysis.decoding_time",
    "distributed": "training.processes",
    "evaluate": "analysis.evaluation",
    "fit_many": "many_fits",
    "fit_rates": "analysis.controls",
    "from_arrays": "data.arrays",
    "from_pynapple": "data.pynapple_sessions",
    "imputation_to_frame": "analysis.imputation",
    "individual_differences": "analysis.individuality",
    "individual_differences_to_frames": "analysis.individuality",
    "inspect_nwb": "data.inspection",
    "keep_labels": "data.trial_selection",
    "keep_spec_trials": "data.trial_selection",
    "kfold_trials": "data.splits",
    "latents_from_arrays": "analysis.latent_tables",
    "latents_from_frame": "analysis.latent_tables",
    "latents_to_frame": "analysis.latent_tables",
    "latents_to_pynapple": "data.pynapple_export",
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
    "read_matlab": "data.matlab",
    "read_nwb": "data.nwb",
    "read_nwb_results": "data.nwb_results_reader",
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
    "to_pynapple": "data.pynapple_export",
    "window_view": "data.windows",
    "write_nwb": "data.nwb_writer",
    "write_nwb_results": "exporting",
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
    from neuroalign.analysis.latent_tables import (
        latents_from_arrays,
        latents_from_frame,
        latents_to_frame,
    )
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
    from neuroalign.analysis.search import TrialSearch
    from neuroalign.analysis.sources import score_sources
    from neuroalign.analysis.sweep import sweep
    from neuroalign.analysis.transfer import read_variable
    from neuroalign.data.arrays import from_arrays
    from neuroalign.data.binning import bin_spikes
    from neuroalign.data.controls import before_onset
    from neuroalign.data.inspection import inspect_nwb
    from neuroalign.data.matlab import read_matlab
    from neuroalign.data.nwb import read_nwb
    from neuroalign.data.nwb_results_reader import read_nwb_results
    from neuroalign.data.nwb_writer import write_nwb
    from neuroalign.data.odor_sequence import read_odor_sequence
    from neuroalign.data.permutation import permute_labels
    from neuroalign.data.pynapple_export import latents_to_pynapple, to_pynapple
    from neuroalign.data.pynapple_sessions import from_pynapple
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
    from neuroalign.exporting import write_nwb_results
    from neuroalign.many_fits import fit_many
    from neuroalign.model import SharedLatentModel
    from neuroalign.training.processes import distributed

# spelt out, so that type checkers see what is exported; a test keeps it equal to the table
__all__ = [  # noqa: RUF022
    "__version__",
    "AlignmentWarning",
    "CollapseWarning",
    "DataError",
    "DataSpec",
    "DataWarning",
    "Evaluation",
    "LogitLatents",
    "ModelFileError",
    "MultisetCCA",
    "NeuroAlignError",
    "NeuroAlignWarning",
    "ParameterError",
    "PrincipalComponents",
    "ProcrustesPCA",
    "RawCounts",
    "SharedLatentModel",
    "SharedResponse",
    "SpecError",
    "SpikeCounts",
    "TrainingError",
    "TrialSearch",
    "before_onset",
    "bin_spikes",
    "cross_validate",
    "decode_labels",
    "decode_over_time",
    "distributed",
    "evaluate",
    "fit_many",
    "fit_rates",
    "from_arrays",
    "from_pynapple",
    "imputation_to_frame",
    "individual_differences",
    "individual_differences_to_frames",
    "inspect_nwb",
    "keep_labels",
    "keep_spec_trials",
    "kfold_trials",
    "latents_from_arrays",
    "latents_from_frame",
    "latents_to_frame",
    "latents_to_pynapple",
    "load_spec",
    "load_tree",
    "match_rates",
    "pca_latents",
    "permute_labels",
    "plot_decoding_over_time",
    "plot_deviation",
    "plot_evaluation",
    "plot_geometry",
    "plot_history",
    "plot_imputation",
    "plot_latents",
    "plot_quality",
    "plot_score_matrix",
    "plot_shared_bits",
    "plot_temporal_generalisation",
    "plot_trajectories",
    "plot_unit_importance",
    "quality_report",
    "raw_features",
    "read_matlab",
    "read_nwb",
    "read_nwb_results",
    "read_odor_sequence",
    "read_variable",
    "reconstruction_scores",
    "save_tree",
    "score_imputation",
    "score_joining",
    "score_sources",
    "scores_to_frame",
    "select_trials",
    "simulate_recordings",
    "slide_windows",
    "split_trials",
    "sweep",
    "thin_spikes",
    "time_scores_to_frame",
    "to_pynapple",
    "window_view",
    "write_nwb",
    "write_nwb_results",
]


def __getattr__(name: str) -> Any:
    """Import the public name from its module the first time it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'neuroalign' has no attribute {name!r}")
    keep_threads_from_spinning()
    value = getattr(importlib.import_module(f"neuroalign.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
