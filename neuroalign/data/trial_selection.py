"""Selections of trials, one subject at a time (a tree would select the same for all)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from neuroalign.data.binning import spec_value
from neuroalign.data.notes import add_note
from neuroalign.errors import DataError, ParameterError
from neuroalign.schema import (
    CONTRACTS,
    iterate_subjects,
    label_values,
    map_subjects,
    stage_of,
    subjects_of,
    validate,
)

Label = str | Sequence[str]


def select_trials(tree: xr.DataTree, selection: Mapping[str, Any]) -> xr.DataTree:
    """Keep the given trials of the given subjects.

    Parameters
    ----------
    tree : DataTree
        Any stage.
    selection : mapping
        Subject to a boolean mask over its trials, or to trial ids (kept in the given order).
        Subjects that are not named keep all their trials.

    Returns
    -------
    DataTree
        A tree of the same stage.

    Raises
    ------
    DataError
        If a subject or a trial id is unknown, an id comes twice, or a mask has another length.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 3}, trials=20, random_state=0)
    >>> na.select_trials(recordings, {"ada": recordings["ada"]["odor"].values == "E"})["ada"]["odor"].values[0]
    np.str_('E')
    """
    check_trial_tree(tree)
    unknown = [name for name in selection if name not in tree.children]
    if unknown:
        raise DataError(
            f"selection names {', '.join(map(repr, unknown))}, but the subjects are "
            f"{', '.join(map(repr, subjects_of(tree)))}."
        )

    def select(subject: str, data: xr.Dataset) -> xr.Dataset:
        if subject not in selection:
            return data
        return data.isel(trial=_positions(data, selection[subject], subject))

    return map_subjects(tree, select)


def keep_labels(
    tree: xr.DataTree, label: Label, values: Any, *, allow_missing: bool = False
) -> xr.DataTree:
    """Keep the trials whose label has one of the given values.

    Parameters
    ----------
    tree : DataTree
        Any stage.
    label : str or list of str
        Trial label, or several, whose combination reads like `"A|True"`.
    values : scalar or list
        What to keep.
    allow_missing : bool, default=False
        Accept that a subject has no trial of a value.

    Returns
    -------
    DataTree
        A tree of the same stage.

    Raises
    ------
    DataError
        If the label is missing, or a subject has no trial of a value.
    ParameterError
        If there is no value to keep.

    Examples
    --------
    >>> from neuroalign.data.simulate import simulate_recordings
    >>> recordings, _ = simulate_recordings(units={"mitt": 5}, trials=40, random_state=0)
    >>> kept = keep_labels(recordings, "odor", ["A", "B"])
    >>> sorted(set(kept["mitt"]["odor"].values.tolist()))
    ['A', 'B']
    """
    check_trial_tree(tree)
    wanted = list(values) if isinstance(values, list | tuple | set | np.ndarray) else [values]
    if not wanted:
        raise ParameterError("expected at least one value to keep, got an empty list.")

    def keep(subject: str, data: xr.Dataset) -> xr.Dataset:
        found = label_values(data, label_names(label), subject=subject)
        masks = [np.asarray(found == value) & np.ones(found.shape, dtype=bool) for value in wanted]
        absent = [value for value, mask in zip(wanted, masks, strict=True) if not mask.any()]
        if absent and not allow_missing:
            raise DataError(
                f"no trials with {label_title(label)} {', '.join(map(repr, absent))} for subject "
                f"{subject!r}; it has: {', '.join(map(repr, np.unique(found).tolist()))}. "
                "Leave the value out or pass allow_missing=True."
            )
        return data.isel(trial=np.any(masks, axis=0))

    return map_subjects(tree, keep)


def keep_spec_trials(tree: xr.DataTree) -> xr.DataTree:
    """Keep the trials that the `trials.keep` rules of the attached data spec ask for.

    `read_nwb` does this while reading; simulated recordings come with all their trials.

    Parameters
    ----------
    tree : DataTree
        Any stage whose subjects carry a data spec.

    Returns
    -------
    DataTree
        A tree of the same stage; dropped trials are counted in the attribute `notes`.

    Raises
    ------
    DataError
        If a rule names no trial label, or leaves a subject without trials.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 3}, trials=20, random_state=0)
    >>> kept = na.keep_spec_trials(recordings)
    >>> recordings["ada"].sizes["trial"] > kept["ada"].sizes["trial"]
    True
    >>> sorted(set(kept["ada"]["odor"].values.tolist()))
    ['A', 'B', 'C', 'D']
    """
    check_trial_tree(tree)
    # the rules as reading applies them; imported here because they bring pydantic along
    from neuroalign.data.columns import apply_keep

    def keep(subject: str, data: xr.Dataset) -> xr.Dataset:
        rules = spec_value(data, ("trials", "keep")) or {}
        labels = {name: label_values(data, name, subject=subject) for name in rules}
        dropped: list[dict[str, Any]] = []
        mask = apply_keep(
            labels,
            rules,
            n_rows=data.sizes["trial"],
            what="trials",
            where=f"subject {subject!r}",
            notes=dropped,
        )
        for note in dropped:
            data = add_note(data, **note)
        return data.isel(trial=np.asarray(mask))

    return map_subjects(tree, keep)


def check_trial_tree(tree: xr.DataTree, *, argument: str = "tree") -> xr.DataTree:
    """Return the tree if it is of any known stage.

    Raises
    ------
    DataError
        If it is no tree or its stage is not known.
    """
    stage = None
    if isinstance(tree, xr.DataTree) and tree.children:
        stage = stage_of(next(iter(iterate_subjects(tree)))[1])
    for known in CONTRACTS:
        if stage == known:
            return validate(tree, known, argument=argument)
    if stage is None:
        return validate(tree, "recording", argument=argument)
    raise DataError(
        f"{argument} must say its stage in attrs['stage'] (one of {', '.join(CONTRACTS)}), "
        f"got {stage!r}."
    )


def label_names(label: Label) -> str | list[str]:
    """Return one label's name as it is, and several as a list."""
    return label if isinstance(label, str) else list(label)


def label_title(label: Label) -> str:
    """Write one label's name or several, for a message."""
    return label if isinstance(label, str) else "|".join(label)


def _positions(data: xr.Dataset, wanted: Any, subject: str) -> npt.NDArray[Any]:
    chosen = np.asarray(wanted)
    if chosen.dtype == bool:
        if chosen.shape != (data.sizes["trial"],):
            raise DataError(
                f"expected a mask over the {data.sizes['trial']} trials of subject {subject!r}, "
                f"got shape {chosen.shape}."
            )
        return np.flatnonzero(chosen)
    if chosen.ndim != 1 or np.unique(chosen).size != chosen.size:
        raise DataError(f"expected a list of different trial ids for subject {subject!r}.")
    positions = data.indexes["trial"].get_indexer(pd.Index(chosen))
    if (positions < 0).any():
        shown = ", ".join(map(str, chosen[positions < 0][:5].tolist()))
        raise DataError(f"no trials with id {shown} for subject {subject!r}.")
    return np.asarray(positions)
