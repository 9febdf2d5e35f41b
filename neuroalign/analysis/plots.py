"""All figures in one place; each takes trees or scores and returns Axes."""

from __future__ import annotations

from neuroalign.analysis.plot_evaluation import plot_evaluation
from neuroalign.analysis.plot_history import plot_history
from neuroalign.analysis.plot_imputation import plot_imputation
from neuroalign.analysis.plot_individuality import (
    plot_deviation,
    plot_geometry,
    plot_shared_bits,
    plot_unit_importance,
)
from neuroalign.analysis.plot_latents import plot_latents, plot_trajectories
from neuroalign.analysis.plot_quality import plot_quality
from neuroalign.analysis.plot_scores import plot_score_matrix
from neuroalign.analysis.plot_time import plot_decoding_over_time, plot_temporal_generalisation

__all__ = [
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
]
