"""Simulated rats in the odor-sequence task, with everything about them known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from neuroalign.data.binning import as_seconds, check_start_names, count_steps
from neuroalign.data.randomness import RandomState, named_generator, resolve_seed
from neuroalign.data.simulation_draws import (
    GAIN_SPREAD,
    JITTER_SPREAD,
    N_NUISANCE,
    Session,
    draw_session,
    draw_spikes,
    draw_subject,
    draw_trajectories,
)
from neuroalign.data.simulation_truth import GRID, SimulationTruth, SubjectTruth
from neuroalign.errors import ParameterError, SpecError
from neuroalign.schema import build_tree, check_subject_name

FloatArray = npt.NDArray[np.float64]

UNITS: Final[Mapping[str, int]] = {
    "barat": 92,
    "buchanan": 79,
    "mitt": 104,
    "stella": 49,
    "superchris": 46,
}
TRIALS: Final[Mapping[str, int]] = {
    "barat": 232,
    "buchanan": 256,
    "mitt": 214,
    "stella": 198,
    "superchris": 180,
}
FRAME_START: Final[Mapping[str, float]] = {
    "barat": 0.25,
    "buchanan": 0.25,
    "mitt": 0.5,
    "stella": 0.5,
    "superchris": 0.25,
}
SIMULTANEOUS_TRIALS: Final = 216


def simulate_recordings(
    *,
    units: Mapping[str, int] | None = None,
    trials: int | Mapping[str, int] | None = None,
    n_latents: int = 8,
    signal: float = 1.0,
    mean_rate: float = 2.2,
    frame_start: float | Mapping[str, float] | None = None,
    frame_length: float = 0.25,
    simultaneous: bool = False,
    random_state: RandomState = 0,
) -> tuple[xr.DataTree, SimulationTruth]:
    """Simulate recordings of several subjects in the odor-sequence task.

    Odors A to E come in sequence; some come out of their place, and some responses are wrong,
    which ends the sequence. Every odor moves the latents along its own smooth trajectory; two
    more latents vary from trial to trial whatever the odor. Each subject's units see the latents
    through random tuning of their own, and fire as Poisson processes. Trials differ in gain and
    latency. On wrong trials the trajectory is that of another odor, the one perceived.

    Parameters
    ----------
    units : mapping, optional
        Subject to number of units; five rats by default.
    trials : int or mapping, optional
        Number of trials that are in sequence, correct and of odors A to D, for all subjects or
        one per subject. Trials out of sequence, wrong or of odor E come in addition. By default
        180 to 256, and the same for all if `simultaneous`.
    n_latents : int, default=8
        Number of latents; the last two are not set by the odor.
    signal : float, default=1.0
        Strength of the tuning. At 1 the Bayes-optimal classifier reads a 100 ms window right in
        0.90 to 0.95 of cases; at 0 rates know nothing of odor, time or arousal. Mean rates stay
        the same, so that much sharper tuning than at 1 adds little.
    mean_rate : float, default=2.2
        Mean rate over units within the frame, in Hz.
    frame_start : float or mapping, optional
        Seconds after onset at which the response starts, for all subjects or one per subject,
        where ``"default"`` stands for the rest. By default 0.25, and 0.5 for mitt and stella.
    frame_length : float, default=0.25
        Seconds for which the response lasts.
    simultaneous : bool, default=False
        All subjects go through the same trials at the same times, with the same latents apart
        from latency and gain, as if recorded together.
    random_state : int, Generator or None, default=0
        Seed. A subject's recording does not depend on which others are simulated beside it.

    Returns
    -------
    recordings : DataTree
        Recording stage. Trial labels: `odor` (A to E), `in_sequence`, `correct` (bool) and
        `arousal` (the first score that the odor does not set). All trials are there;
        `keep_spec_trials` keeps those that the attached spec "simulated" asks for.
    truth : SimulationTruth
        What the neurons followed, and the Bayes-optimal classifier.

    Raises
    ------
    ParameterError
        If a number makes no sense, or `trials` names other subjects than `units`.

    Examples
    --------
    >>> recordings, truth = simulate_recordings(
    ...     units={"mitt": 6, "stella": 4}, trials=20, random_state=0)
    >>> sorted(recordings.children), truth.subject("mitt").tuning.shape
    (['mitt', 'stella'], (6, 8))
    """
    unit_numbers = dict(UNITS if units is None else units)
    _check_numbers(unit_numbers, n_latents, signal, mean_rate, frame_length)
    kept = _trial_numbers(trials, list(unit_numbers), simultaneous=simultaneous)
    starts = _frame_starts(frame_start, list(unit_numbers))
    seed = resolve_seed(random_state)
    trajectories = draw_trajectories(
        n_latents, float(frame_length), named_generator(seed, "trajectories")
    )
    spec = _spec_attributes(starts, frame_length)
    datasets: dict[str, xr.Dataset] = {}
    subjects: dict[str, SubjectTruth] = {}
    for name, number in unit_numbers.items():
        latest = max(starts.values()) if simultaneous else starts[name]
        session = draw_session(
            kept[name],
            latest + frame_length,
            named_generator(seed, "session", "" if simultaneous else name),
        )
        stream = named_generator(seed, "subject", name)
        subject = draw_subject(
            name, number, session, trajectories, starts[name], signal, mean_rate, stream
        )
        spikes = draw_spikes(subject, session, trajectories, stream)
        datasets[name] = _to_dataset(name, subject, session, spikes, spec)
        subjects[name] = subject
    truth = SimulationTruth(trajectories, subjects, GAIN_SPREAD, JITTER_SPREAD, float(signal))
    return build_tree(datasets), truth


def _check_numbers(
    units: Mapping[str, int], n_latents: int, signal: float, mean_rate: float, frame_length: float
) -> None:
    if not units:
        raise ParameterError("units must name at least one subject, got an empty mapping.")
    for name, number in units.items():
        check_subject_name(name)
        if number < 1:
            raise ParameterError(f"expected at least one unit for subject {name!r}, got {number}.")
    if n_latents <= N_NUISANCE:
        raise ParameterError(
            f"n_latents must be more than {N_NUISANCE} (those that odor does not set), "
            f"got {n_latents}."
        )
    if not np.isfinite(signal) or signal < 0:
        raise ParameterError(f"signal must not be negative, got {signal}.")
    for argument, value, unit in (
        ("mean_rate", mean_rate, "Hz"),
        ("frame_length", frame_length, "seconds"),
    ):
        if not np.isfinite(value) or value <= 0:
            raise ParameterError(f"{argument} must be positive ({unit}), got {value}.")
    count_steps(frame_length, GRID, what="frame_length", of="the simulation's bins")


def _trial_numbers(
    trials: int | Mapping[str, int] | None, subjects: list[str], *, simultaneous: bool
) -> dict[str, int]:
    if trials is None:
        numbers = {
            name: SIMULTANEOUS_TRIALS if simultaneous else TRIALS.get(name, SIMULTANEOUS_TRIALS)
            for name in subjects
        }
    elif isinstance(trials, Mapping):
        if set(trials) != set(subjects):
            raise ParameterError(
                f"trials must name the subjects {', '.join(map(repr, subjects))}, "
                f"got {', '.join(map(repr, trials))}."
            )
        numbers = {name: int(trials[name]) for name in subjects}
    else:
        numbers = dict.fromkeys(subjects, int(trials))
    if min(numbers.values()) < 1:
        raise ParameterError(f"trials must be at least 1, got {min(numbers.values())}.")
    if simultaneous and len(set(numbers.values())) > 1:
        raise ParameterError("simultaneous=True needs the same number of trials for all subjects.")
    return numbers


def _frame_starts(
    frame_start: float | Mapping[str, float] | None, subjects: list[str]
) -> dict[str, float]:
    given: Mapping[str, float] = {**FRAME_START, "default": 0.25}
    if isinstance(frame_start, Mapping):
        check_start_names(frame_start, subjects)
        given = frame_start
    elif frame_start is not None:
        given = {"default": frame_start}
    starts: dict[str, float] = {}
    for name in subjects:
        if name not in given and "default" not in given:
            raise ParameterError(
                f"frame_start has no entry for subject {name!r} and no 'default'; add one."
            )
        starts[name] = as_seconds(given.get(name, given.get("default")), "frame_start")
        if starts[name] < -0.25:
            raise ParameterError(
                f"frame_start must not be earlier than -0.25 s, got {starts[name]} for {name!r}."
            )
    return starts


def _spec_attributes(starts: Mapping[str, float], frame_length: float) -> dict[str, str]:
    """Return the shipped spec with the frames of this simulation, as an attribute."""
    from neuroalign.data.specs import load_spec

    try:
        spec = load_spec("simulated")
    except SpecError:
        # an installation without the shipped specs still simulates
        return {}
    content = spec.model_dump(exclude_unset=True)
    content["frame"] = {"start": dict(starts), "length": frame_length}
    window = content["window"]
    window["length"] = min(window["length"], frame_length)
    return {"spec": load_spec(content).to_json()}


def _to_dataset(
    name: str,
    subject: SubjectTruth,
    session: Session,
    spikes: list[FloatArray],
    spec: Mapping[str, str],
) -> xr.Dataset:
    sizes = [times.size for times in spikes]
    numbers = np.arange(len(spikes), dtype=np.int32)
    table = session.table
    columns = {
        column: ("trial", table[column].to_numpy(dtype="U1" if column == "odor" else None))
        for column in table.columns
    }
    return xr.Dataset(
        {
            "spike_time": ("spike", np.concatenate(spikes)),
            "spike_unit": ("spike", np.repeat(numbers, sizes)),
        },
        coords={
            "unit": subject.unit,
            "unit_number": ("unit", numbers),
            "trial": subject.trial,
            **columns,
        },
        attrs={
            "stage": "recording",
            "subject": name,
            "notes": json.dumps([]),
            "source_files": json.dumps([]),
            **spec,
        },
    )
