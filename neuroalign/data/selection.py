"""Which trials and units stay: labels, keep rules, rates, and notes about what went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroalign.data.columns import (
    Column,
    Mask,
    Table,
    apply_keep,
    is_missing,
    matches,
    named_label,
)
from neuroalign.data.spec_parts import RESERVED_LABELS
from neuroalign.errors import DataError, SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from neuroalign.data.specs import DataSpec, LabelSpec

Notes = list[dict[str, Any]]
RESERVED = RESERVED_LABELS


@dataclass
class SelectedTrials:
    """Trials that stay: their ids, labels, and which rows of the table they are."""

    keep: Mask
    ids: npt.NDArray[np.int64]
    labels: dict[str, Column]


def select_trials(
    trials: Table, spec: DataSpec, *, where: str, notes: Notes, among: Mask | None = None
) -> SelectedTrials:
    """Read the labels of trials and apply the keep rules.

    Parameters
    ----------
    trials : Table
        All trials.
    spec : DataSpec
        Labels, keep rules, and the label that the trials are to be matched by.
    where : str
        The file or subject, for messages.
    notes : list
        Gains what was dropped.
    among : ndarray of shape (trial,), optional
        Trials that are still in question.

    Returns
    -------
    SelectedTrials
        Ids and labels of the trials that stay.

    Raises
    ------
    SpecError
        If a column is absent.
    DataError
        If no trial is left, or the label has one value only.
    """
    keep = np.ones(trials.ids.size, dtype=bool) if among is None else among.copy()
    labels = _labels(trials, spec, where, among=keep)
    rules = {}
    for name in spec.trials.keep:
        if name not in labels:
            # what a rule looked at stays visible, so that the rule can be checked later
            labels[name] = trials.column(name, role="trials.keep", where=where)
        rules[name] = labels[name]
    inside = {name: values[keep] for name, values in rules.items()}
    keep[keep] = apply_keep(
        inside,
        spec.trials.keep,
        n_rows=int(keep.sum()),
        what="trials",
        where=where,
        notes=notes,
    )
    for name in spec.label_names:
        if name not in labels:
            raise SpecError(
                f"label {name!r} is no column of the {trials.name} of {where}; it has: "
                f"{', '.join(map(repr, labels)) or 'none'}."
            )
        unlabelled = keep & is_missing(labels[name])
        if unlabelled.any():
            count = int(unlabelled.sum())
            notes.append({"what": "trials", "count": count, "why": f"no value of {name}"})
            keep &= ~unlabelled
    _check_several(labels, keep, spec.label_names, where)
    kept = {name: values[keep] for name, values in labels.items()}
    return SelectedTrials(keep, trials.ids[keep], kept)


def _labels(trials: Table, spec: DataSpec, where: str, *, among: Mask) -> dict[str, Column]:
    """Read every label's values, all trials; those that no rule on a column drops need names."""
    asked: Mapping[str, LabelSpec] = spec.trials.labels
    if not asked:
        times = {spec.trials.onset, spec.trials.start, spec.trials.stop, "start_time", "stop_time"}
        clock = RESERVED | times | {"timestamps", "timestamp"}
        return {name: values for name, values in trials.columns.items() if name not in clock}
    raw = {
        label: trials.column(label_spec.column, role=f"label {label!r}", where=where)
        for label, label_spec in asked.items()
    }
    # of a series of codes, only those that a rule on its column keeps have to mean something
    staying = among.copy()
    for name, rule in spec.trials.keep.items():
        if name in trials.columns and name not in asked:
            staying &= matches(trials.columns[name], rule)
    return {
        label: named_label(values, asked[label], label=label, where=where, among=staying)
        for label, values in raw.items()
    }


def _check_several(
    labels: Mapping[str, Column], keep: Mask, names: Sequence[str], where: str
) -> None:
    if not keep.any():
        raise DataError(f"no trial of {where} is left; loosen 'trials: keep' in the spec.")
    if names and all(np.unique(labels[name][keep]).size == 1 for name in names):
        only = ", ".join(f"{name} = {labels[name][keep][0]}" for name in names)
        raise DataError(
            f"all {int(keep.sum())} trials of {where} have one label ({only}), expected at least "
            "two values; choose another 'label' or loosen 'trials: keep' in the spec."
        )


def select_units(
    units: Table,
    spike_counts: npt.NDArray[np.int64],
    span: float,
    spec: DataSpec,
    *,
    where: str,
    notes: Notes,
) -> Mask:
    """Apply the rules for units.

    Parameters
    ----------
    units : Table
        Columns of the units.
    spike_counts : ndarray of shape (unit,)
        Spikes of each unit in the whole recording.
    span : float
        Recorded span in seconds, for rates.
    spec : DataSpec
        Columns' values, lowest rate (Hz), lowest number of spikes.
    where : str
        The file or subject, for messages.
    notes : list
        Gains what was dropped.

    Returns
    -------
    ndarray of shape (unit,)
        True for units that stay.

    Raises
    ------
    SpecError
        If a column is absent.
    DataError
        If no unit is left.
    """
    rules = spec.units
    columns = {name: units.column(name, role="units.keep", where=where) for name in rules.keep}
    n_units = spike_counts.size
    keep = apply_keep(columns, rules.keep, n_rows=n_units, what="units", where=where, notes=notes)
    enough = {
        f"fewer than {rules.min_spikes} spikes": spike_counts >= rules.min_spikes,
        f"mean rate below {rules.min_rate:g} Hz": spike_counts >= rules.min_rate * span,
    }
    for why, passing in enough.items():
        dropped = int((keep & ~passing).sum())
        keep &= passing
        if not keep.any():
            raise DataError(
                f"no unit of {where} is left: {why} in all; lower units.min_rate or "
                "units.min_spikes in the spec."
            )
        if dropped:
            notes.append({"what": "units", "count": dropped, "why": why})
    return keep
