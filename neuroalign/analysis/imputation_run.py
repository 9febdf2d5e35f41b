"""Impute every target from every source with one model, and score each pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neuroalign.analysis.imputation_pairs import PairScore, score_pair
from neuroalign.analysis.imputation_reference import (
    SourceReader,
    TargetReference,
    prepare_source,
    prepare_target,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import xarray as xr

    from neuroalign.analysis.labels import Label
    from neuroalign.analysis.scaling import Scaling


def prepare_sources(
    train_latents: xr.DataTree,
    test_latents: xr.DataTree,
    names: Sequence[str],
    *,
    label: Label,
    classifier: Any,
    seed: int,
) -> dict[str, SourceReader]:
    """Read the labels of every source's test trials from its latents; see `prepare_source`."""
    return {
        name: prepare_source(
            train_latents, test_latents, name, label=label, classifier=classifier, seed=seed
        )
        for name in names
    }


def prepare_targets(
    train: xr.DataTree,
    test: xr.DataTree,
    names: Sequence[str],
    *,
    label: Label,
    classifier: Any,
    scaling: Scaling,
    bootstraps: int,
    seed: int,
) -> dict[str, TargetReference]:
    """Prepare what every target's imputed trials are compared with; see `prepare_target`."""
    return {
        name: prepare_target(
            train,
            test,
            name,
            label=label,
            classifier=classifier,
            scaling=scaling,
            bootstraps=bootstraps,
            seed=seed,
        )
        for name in names
    }


def score_pairs(
    model: Any,
    test: xr.DataTree,
    readers: Mapping[str, SourceReader],
    references: Mapping[str, TargetReference],
    *,
    match: str,
) -> Iterator[tuple[tuple[str, str], PairScore]]:
    """Yield (source, target) and its scores, for every pair of two subjects.

    Raises
    ------
    DataError
        If the model's output does not fit the target, or no trial can be scored.
    """
    for target, reference in references.items():
        for source, reader in readers.items():
            if source != target:
                names = {"source": source, "target": target}
                frames = model.impute(test, **names)[target].to_dataset()
                windows = model.impute(test, **names, windows=True)[target].to_dataset()
                pair = score_pair(reader, reference, frames=frames, windows=windows, match=match)
                yield (source, target), pair
