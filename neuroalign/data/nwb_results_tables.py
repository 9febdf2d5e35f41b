"""Tables of a results file: trials, units, rows of series, and what was decoded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import xarray as xr

CLOCK: Final = ("onset", "start", "stop")
OTHERS: Final = "others"
IN_FIT: Final = "in_fit"
# what the trials table holds by itself, or readers take for something else
TAKEN: Final = frozenset(
    {
        *("start_time", "stop_time", "tags", "timeseries", "id", "start", "stop", "end"),
        *("trial", "onset", "frame_start_time", "frame_stop_time", "stop_known", IN_FIT),
    }
)
SCORE_COLUMNS: Final = (
    "level",
    "train_subject",
    "accuracy",
    "low",
    "high",
    "chance",
    "p_value",
)


def safe_name(text: str) -> str:
    """Return a text as a name in an NWB file may be.

    Examples
    --------
    >>> safe_name("odor/side: left")
    'odor_side_ left'
    """
    return re.sub(r"[/:]", "_", text)


def label_columns(labels: Sequence[str]) -> dict[str, str]:
    """Name the column of each label; a name that is taken or not allowed gets a prefix.

    Examples
    --------
    >>> label_columns(["odor", "tags", "a/b"])
    {'odor': 'odor', 'tags': 'label_tags', 'a/b': 'label_a_b'}
    """
    from pynwb.epoch import TimeIntervals

    columns: dict[str, str] = {}
    for label in labels:
        name = safe_name(label)
        if name != label or name in TAKEN or hasattr(TimeIntervals, name):
            name = f"label_{name}"
        while name in columns.values():
            name += "_"
        columns[label] = name
    return columns


def column(name: str, description: str, values: npt.NDArray[Any]) -> Any:
    """Make a column of a dynamic table from an array; text is written with any length."""
    from hdmf.common import VectorData

    plain = values.tolist() if values.dtype.kind in "UO" else values
    return VectorData(name=name, description=description, data=plain)


def table(name: str, description: str, columns: Sequence[Any]) -> Any:
    """Make a dynamic table of columns that are written at once."""
    from hdmf.common import DynamicTable

    return DynamicTable(
        name=name,
        description=description,
        columns=list(columns),
        colnames=[one.name for one in columns],
    )


def trials_table(
    trials: xr.Dataset,
    columns: Mapping[str, str],
    *,
    onset: npt.NDArray[np.float64],
    frame: tuple[float, float],
    in_fit: npt.NDArray[np.bool_],
) -> Any:
    """Make the trials table.

    Parameters
    ----------
    trials : Dataset
        Coordinates of the trials, in the order of their onsets.
    columns : mapping
        Label to its column.
    onset : ndarray of shape (trial,)
        Seconds on the file's clock.
    frame : tuple of float
        Start and stop of the analysed frame, seconds after onset.
    in_fit : ndarray of shape (trial,)
        Whether the model was fitted on the trial.

    Returns
    -------
    pynwb.epoch.TimeIntervals
        One row per trial, its id in the column `trial`.
    """
    from pynwb.epoch import TimeIntervals

    first, last = onset + frame[0], onset + frame[1]
    known = [name for name in ("start", "stop") if name in trials.coords]
    times = {name: trials[name].values.astype(np.float64) for name in known}
    start = _filled(times.get("start"), first)
    stop = np.maximum(_filled(times.get("stop"), np.maximum(last, start)), start)
    made = [
        column("trial", "Id of the trial in the recording.", trials["trial"].values),
        column("start_time", "Start of the trial (s).", start),
        column("stop_time", "End of the trial (s); of the frame where it is not known.", stop),
        column("onset", "What the analysed frame refers to (s).", onset),
        column("frame_start_time", "Start of the analysed frame (s).", first),
        column("frame_stop_time", "End of the analysed frame (s).", last),
    ]
    if "stop" in times and not np.isfinite(times["stop"]).all():
        ends = np.isfinite(times["stop"])
        made.append(column("stop_known", "Whether the end of the trial is known.", ends))
    made.append(column(IN_FIT, "Whether the model was fitted on this trial.", in_fit))
    made += [
        column(name, f"{label} of the trial.", trials[label].values)
        for label, name in columns.items()
    ]
    return TimeIntervals(
        name="trials",
        description="Trials that were analysed, in the order of their onsets.",
        # row numbers: readers that build intervals from this table do not take others
        id=list(range(onset.size)),
        columns=made,
        colnames=[one.name for one in made],
    )


def _filled(
    times: npt.NDArray[np.float64] | None, spare: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    return spare if times is None else np.where(np.isfinite(times), times, spare)


def units_table(subject: str, units: Sequence[str], spikes: Any = None) -> Any:
    """Make the table of a subject's units in the order of the model.

    Parameters
    ----------
    subject : str
        Whose units these are.
    units : sequence of str
        Unit ids.
    spikes : pynwb.misc.Units, optional
        The file's own units, row by row the same, to which a column then points.
    """
    from hdmf.common import DynamicTableRegion

    columns = [column("unit", "Unit id in neuroalign.", np.array(list(units), dtype=str))]
    if spikes is not None:
        columns.append(
            DynamicTableRegion(
                name="spikes",
                description="Row of the units table, which has the spike times.",
                data=np.arange(len(units)),
                table=spikes,
            )
        )
    return table(
        units_name(subject),
        f"Units of {subject} that the model knows. Row k is column k of every series of "
        f"expected counts of {subject}.",
        columns,
    )


def units_name(subject: str) -> str:
    """Name the table of a subject's units."""
    return f"units_of_{safe_name(subject)}"


def rows_table(series: str, trial: npt.NDArray[Any], time: npt.NDArray[Any], what: str) -> Any:
    """Make the table that says which trial and which moment each row of a series is.

    Parameters
    ----------
    series : str
        Name of the series, or of what several have in common.
    trial : ndarray of shape (row,)
        Trial ids.
    time : ndarray of shape (row,)
        Seconds after the frame's start.
    what : str
        "window" (its start) or "time" (a bin's centre).
    """
    meaning = {"window": "Start of the window", "time": "Centre of the bin"}[what]
    return table(
        f"{series}_rows",
        f"Row k says which trial and {what} row k of the series is.",
        [
            column("trial", "Id of the trial, as in the trials table.", trial.astype(np.int64)),
            column(what, f"{meaning}, seconds after the frame's start.", time),
        ],
    )


def reader_names(train_subjects: Sequence[str], subject: str) -> dict[str, str]:
    """Name the classifiers of one subject's trials by what they were trained on.

    Examples
    --------
    >>> reader_names(["mitt", "stella", "others"], "mitt")
    {'mitt': 'within', 'stella': 'by_stella', 'others': 'across'}
    """
    fixed = {subject: "within", OTHERS: "across"}
    return {name: fixed.get(name, f"by_{safe_name(name)}") for name in train_subjects}


def decoded_tables(scores: xr.Dataset, subject: str) -> tuple[list[Any], dict[str, str]]:
    """Make the tables of what classifiers read from a subject's trials, and how well.

    Parameters
    ----------
    scores : Dataset
        From `decode_labels` or `cross_validate`.
    subject : str
        Whose trials.

    Returns
    -------
    tables : list of DynamicTable
        `decoded_labels` (what the columns of probabilities mean), `decoded` (one row per trial)
        and `decoding_scores`.
    readers : dict
        Training subject to the name that its columns bear, of those that were computed.
    """
    mine = scores.isel(test_trial=scores["test_trial_subject"].values == subject)
    probability = mine["probability"].transpose("train_subject", "test_trial", "predicted_label")
    names = reader_names(mine["train_subject"].values.tolist(), subject)
    finite = np.isfinite(probability.values).all(axis=(1, 2))
    readers = {name: names[name] for name, there in zip(names, finite, strict=True) if there}
    columns = [
        column("trial", "Id of the trial, as in the trials table.", mine["test_trial_id"].values),
        column("true_label", "Label of the trial.", mine["test_trial_label"].values),
        column(
            "scored",
            "Whether training trials had this label, so that it counts.",
            mine["scored"].values.astype(bool),
        ),
        column("fold", "Fold in which the trial was held out.", mine["test_trial_fold"].values),
    ]
    for name, shown in readers.items():
        one = mine.sel(train_subject=name)
        trained = _trained_on(name, subject)
        columns += [
            column(
                f"predicted_{shown}",
                f"Label that a classifier trained on {trained} reads.",
                one["predicted"].values.astype(str),
            ),
            column(
                f"probability_{shown}",
                f"Its probability of each label, in the order of decoded_labels ({trained}).",
                probability.sel(train_subject=name).values,
            ),
        ]
    labels = mine["predicted_label"].values.astype(str)
    return [
        table(
            "decoded_labels",
            "Row k is the label of column k of the probabilities in decoded.",
            [column("label", "Label.", labels)],
        ),
        table("decoded", "What classifiers read from each held-out trial.", columns),
        _scores_table(scores, subject, list(readers)),
    ], readers


def _trained_on(name: str, subject: str) -> str:
    if name == subject:
        return f"{subject}'s own training trials"
    return "all other subjects" if name == OTHERS else name


def _scores_table(scores: xr.Dataset, subject: str, readers: Sequence[str]) -> Any:
    chosen = scores.sel(test_subject=subject)
    rows: list[tuple[Any, ...]] = []
    for level in chosen["level"].values.tolist():
        for name in readers:
            one = chosen.sel(level=level, train_subject=name)
            low, high = one["interval"].values.tolist()
            p_value = one["p_value"].item() if level == "trial" else np.nan
            rows.append(
                (level, name, one["accuracy"].item(), low, high, one["chance"].item(), p_value)
            )
    meaning = {
        "level": "What was classified: single windows, or trials.",
        "train_subject": "Training trials of the classifier; others: all other subjects.",
        "accuracy": "Balanced accuracy.",
        "low": "Lower end of its 95 % interval over trials.",
        "high": "Upper end of its 95 % interval over trials.",
        "chance": "1 / number of labels present.",
        "p_value": "Share of label permutations over trials that reach it; not for windows.",
    }
    values = list(zip(*rows, strict=True))
    return table(
        "decoding_scores",
        "How well labels of held-out trials were read.",
        [
            column(name, meaning[name], np.array(part))
            for name, part in zip(SCORE_COLUMNS, values, strict=True)
        ],
    )
