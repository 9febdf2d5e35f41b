"""A look at the data before anything is fitted: units, rates, trials, and what was dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from neuroalign.data.binning import spec_value
from neuroalign.data.notes import read_notes
from neuroalign.data.trial_selection import Label, label_names, label_title
from neuroalign.errors import DataError
from neuroalign.schema import iterate_subjects, label_values, stage_of, validate

if TYPE_CHECKING:
    from collections.abc import Sequence

FEW_TRIALS: Final = 10  # of one label value, below which a split leaves next to nothing to test on


@dataclass(frozen=True)
class QualityReport:
    """What each subject's data hold.

    Parameters
    ----------
    subjects : DataFrame
        Indexed by subject: `stage`, `units`, `silent_units`, `spikes`, `rate_min_hz`,
        `rate_median_hz`, `rate_mean_hz`, `rate_max_hz`, `trials`, and `seconds`, the time over
        which rates are taken: the whole recording, or all frames together once it is binned.
    trials_per_label : DataFrame
        Number of trials, indexed by subject, with a column for each value of the label.
    units : DataFrame
        One row per unit: `subject`, `unit`, `spikes`, `rate_hz`.
    dropped : DataFrame
        One row per note made on the way: `subject`, `what`, `count`, `why`.
    label : str
        The label that was counted; empty without one.
    """

    subjects: pd.DataFrame
    trials_per_label: pd.DataFrame
    units: pd.DataFrame
    dropped: pd.DataFrame
    label: str

    def to_frame(self) -> pd.DataFrame:
        """Return one table, indexed by subject: its numbers, then its trials per label value."""
        named = self.trials_per_label.rename(
            columns=lambda value: f"trials {self.label}={value}" if self.label else str(value)
        )
        return self.subjects.join(named)

    @property
    def remarks(self) -> list[str]:
        """What deserves a look before fitting, one sentence each."""
        found: list[str] = []
        for subject, row in self.subjects.iterrows():
            if row["silent_units"]:
                found.append(
                    f"{subject}: {row['silent_units']} of {row['units']} units never fire."
                )
        for subject, counts in self.trials_per_label.iterrows() if self.label else ():
            for value, number in counts.items():
                if number < FEW_TRIALS:
                    amount = f"only {number}" if number else "no"
                    found.append(f"{subject}: {amount} trials with {self.label} {value}.")
        if self.label and self.trials_per_label.to_numpy().min(initial=FEW_TRIALS) < FEW_TRIALS:
            found.append(
                f"With fewer than {FEW_TRIALS} trials of a label, scores and intervals say little "
                "and the fit can hardly be checked; the power guide (docs/how_much_data.md) says "
                "how many it takes."
            )
        if len(self.subjects) == 1:
            found.append(
                "There is one subject: its latents are shared with nobody, and nothing can be "
                "imputed or decoded across subjects. Give the files of all subjects together."
            )
        return found

    def __str__(self) -> str:
        """Write the tables and remarks for a person to read."""
        parts = [
            _block("Subjects", self.subjects.round(2)),
            _block(f"Trials per {self.label}" if self.label else "Trials", self.trials_per_label),
        ]
        if len(self.dropped):
            parts.append(_block("Dropped and noted", self.dropped.set_index("subject")))
        if self.remarks:
            parts.append("\n".join(["Worth a look", *(f"  {text}" for text in self.remarks)]))
        return "\n\n".join(parts)


def quality_report(tree: xr.DataTree, label: Label | None = None) -> QualityReport:
    """Report units, rates, trials per label, and what was dropped, for each subject.

    Parameters
    ----------
    tree : DataTree
        Recording, binned or windowed stage.
    label : str or list of str, optional
        The trial label to count, or several, whose combinations are counted. The data spec's
        label if not given.

    Returns
    -------
    QualityReport
        Tables; `print` shows them.

    Raises
    ------
    DataError
        If the data are of another stage, or a subject lacks the label.

    Examples
    --------
    >>> from neuroalign.data.simulate import simulate_recordings
    >>> recordings, _ = simulate_recordings(units={"mitt": 5}, trials=40, random_state=0)
    >>> report = quality_report(recordings)
    >>> report.label, int(report.subjects.loc["mitt", "units"])
    ('odor', 5)
    """
    _check_stage(tree)
    subjects: dict[str, dict[str, Any]] = {}
    trials: dict[str, pd.Series[int]] = {}
    units: list[pd.DataFrame] = []
    dropped: list[dict[str, Any]] = []
    title = ""
    for name, data in iterate_subjects(tree):
        spikes, seconds = _spikes_per_unit(data)
        # a subject without recorded time has no rates rather than infinite ones
        rates = spikes / seconds if seconds > 0 else np.full(spikes.size, np.nan)
        subjects[name] = _summary(data, spikes, rates, seconds)
        identity = {"subject": name, "unit": data["unit"].values.astype(str)}
        units.append(pd.DataFrame({**identity, "spikes": spikes, "rate_hz": rates}))
        dropped += [{"subject": name, **note} for note in read_notes(data)]
        wanted = spec_value(data, ("label",)) if label is None else label
        title = title or (label_title(wanted) if wanted else "")
        trials[name] = _count_trials(data, wanted, name)
    counts = pd.DataFrame(trials).T.fillna(0).astype(int).rename_axis(index="subject")
    return QualityReport(
        subjects=pd.DataFrame.from_dict(subjects, orient="index").rename_axis("subject"),
        trials_per_label=counts.reindex(columns=sorted(counts.columns)).rename_axis(
            columns=title or None
        ),
        units=pd.concat(units, ignore_index=True),
        dropped=pd.DataFrame(dropped, columns=["subject", "what", "count", "why"]),
        label=title,
    )


def _check_stage(tree: xr.DataTree) -> None:
    stages = (
        {stage_of(data) for _, data in iterate_subjects(tree)}
        if isinstance(tree, xr.DataTree)
        else set()
    )
    if stages and stages <= {"binned", "windowed"}:
        validate(tree, "binned", argument="tree")
    elif stages & {"latents", "imputed"}:
        raise DataError(
            f"expected recording, binned or windowed data, got {min(stages)}; report on the "
            "recordings that they were made from."
        )
    else:
        validate(tree, "recording", argument="tree")


def _spikes_per_unit(data: xr.Dataset) -> tuple[npt.NDArray[np.int64], float]:
    """Count each unit's spikes, and the seconds in which they were counted."""
    if "counts" in data:
        spikes = data["counts"].values.sum(axis=(0, 2), dtype=np.int64)
        return spikes, data.sizes["trial"] * data.sizes["time"] * float(data.attrs["bin_width"])
    numbers = data["unit_number"].values
    owner, found = np.unique(data["spike_unit"].values, return_counts=True)
    by_number = dict(zip(owner.tolist(), found.tolist(), strict=True))
    spikes = np.array([by_number.get(number, 0) for number in numbers.tolist()], dtype=np.int64)
    clock = [data[name].values for name in ("onset", "start", "stop")]
    marks = np.concatenate([data["spike_time"].values, *clock])
    marks = marks[np.isfinite(marks)]
    return spikes, float(np.ptp(marks)) if marks.size else 0.0


def _summary(
    data: xr.Dataset, spikes: npt.NDArray[np.int64], rates: npt.NDArray[Any], seconds: float
) -> dict[str, Any]:
    known = rates if rates.size else np.array([np.nan])
    return {
        "stage": stage_of(data),
        "units": spikes.size,
        "silent_units": int((spikes == 0).sum()),
        "spikes": int(spikes.sum()),
        "rate_min_hz": float(known.min()),
        "rate_median_hz": float(np.median(known)),
        "rate_mean_hz": float(known.mean()),
        "rate_max_hz": float(known.max()),
        "trials": data.sizes["trial"],
        "seconds": seconds,
    }


def _count_trials(
    data: xr.Dataset, label: str | Sequence[str] | None, subject: str
) -> pd.Series[int]:
    if not label:
        return pd.Series({"all": data.sizes["trial"]})
    values, counts = np.unique(
        label_values(data, label_names(label), subject=subject), return_counts=True
    )
    return pd.Series(counts, index=values.tolist())


def _block(title: str, table: pd.DataFrame) -> str:
    return f"{title}\n{table.to_string()}"
