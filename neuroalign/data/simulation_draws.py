"""The random draws that make up a simulated session: trials, latents, tuning and spikes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from neuroalign.data.simulation_truth import GRID, REACH, SubjectTruth, Trajectories, latents_of

FloatArray = npt.NDArray[np.float64]

ODORS: Final = ("A", "B", "C", "D", "E")
OUT_OF_SEQUENCE: Final = 0.1  # share of odors presented out of their place
WRONG: Final = 0.08  # share of wrong responses, each of which ends the sequence
GAIN_SPREAD: Final = 0.15
JITTER_SPREAD: Final = 0.012  # seconds
RATE_SPREAD: Final = 0.7  # of the log rate over units
N_NUISANCE: Final = 2
NUISANCE_STRENGTH: Final = 0.6  # of the nuisance latents, relative to those of odor
BUMP_WIDTH: Final = 0.05  # seconds; time scale on which trajectories change
STEADY: Final = 0.6  # share of the trajectories' variance that lasts through the frame
CONFUSION: Final = 0.3  # bound on the error that tuning of strength 1 is set for
STRONGEST: Final = 1.6  # spread of the log rate that no population exceeds


@dataclass(frozen=True)
class Session:
    """The trials of one session; times in seconds on its clock."""

    table: pd.DataFrame  # onset, start, stop, odor, in_sequence, correct, arousal
    perceived: npt.NDArray[np.intp]
    nuisance: FloatArray
    duration: float


def draw_trajectories(
    n_latents: int, frame_length: float, stream: np.random.Generator
) -> Trajectories:
    """Draw the latents' course for every odor, and of what varies whatever the odor."""
    centres = np.arange(REACH[0] - 0.1, frame_length + REACH[1] + 0.1 + 1e-9, 0.8 * BUMP_WIDTH)
    n_odor = n_latents - N_NUISANCE
    # steady parts point away from each other as far as the number of latents allows, so that
    # how well odors can be told apart does not hang on the seed
    square = stream.standard_normal((max(n_odor, len(ODORS)),) * 2)
    directions = np.linalg.qr(square)[0][: len(ODORS), :n_odor]
    directions *= np.sqrt(n_odor) / np.linalg.norm(directions, axis=1, keepdims=True)
    bumps = stream.standard_normal((len(ODORS), n_odor, centres.size))
    weights = np.concatenate(
        [np.sqrt(1 - STEADY) * bumps, np.sqrt(STEADY) * directions[..., None]], axis=-1
    )
    # what all odors have in common would move rates without telling odors apart
    weights -= weights[:-1].mean(axis=0)
    nuisance = np.sqrt(1 - STEADY) * stream.standard_normal((N_NUISANCE, centres.size))
    steady = np.full((N_NUISANCE, 1), np.sqrt(STEADY))
    return Trajectories(
        odors=ODORS,
        weights=weights,
        centres=centres,
        bump_width=BUMP_WIDTH,
        nuisance_weights=np.concatenate([nuisance, steady], axis=-1),
        frame_length=frame_length,
    )


def draw_session(kept: int, response_stop: float, stream: np.random.Generator) -> Session:
    """Present sequences of odors until enough trials are in sequence, correct and not odor E."""
    odors: list[int] = []
    in_sequence: list[bool] = []
    correct: list[bool] = []
    found = 0
    while found < kept:
        for place in range(len(ODORS)):
            odor, right = place, bool(stream.random() >= WRONG)
            if stream.random() < OUT_OF_SEQUENCE:
                odor = int((place + stream.integers(1, len(ODORS))) % len(ODORS))
            odors.append(odor)
            in_sequence.append(odor == place)
            correct.append(right)
            found += odor == place and right and ODORS[odor] != "E"
            if found == kept or not right:
                break
    number = len(odors)
    index = np.array(odors)
    other = (index + stream.integers(1, len(ODORS), size=number)) % len(ODORS)
    perceived = np.where(correct, index, other)
    stop = max(1.5, response_stop + 0.5)
    onset = np.round(2.0 + np.cumsum(stream.uniform(1.5, 2.5, size=number) + stop), 4)
    nuisance = stream.standard_normal((number, N_NUISANCE))
    table = pd.DataFrame(
        {
            "onset": onset,
            "start": np.round(onset - 0.5, 4),
            "stop": np.round(onset + stop, 4),
            "odor": np.array(ODORS)[index],
            "in_sequence": np.array(in_sequence),
            "correct": np.array(correct),
            "arousal": nuisance[:, 0],
        }
    )
    return Session(table, perceived, nuisance, float(onset[-1] + stop + 1.5))


def draw_subject(
    name: str,
    units: int,
    session: Session,
    trajectories: Trajectories,
    frame_start: float,
    signal: float,
    mean_rate: float,
    stream: np.random.Generator,
) -> SubjectTruth:
    """Draw one subject's tuning, rates, gains and latencies."""
    n_odor = trajectories.n_latents - N_NUISANCE
    tuning = stream.standard_normal((units, trajectories.n_latents))
    tuning[:, :n_odor] /= np.sqrt(n_odor)
    tuning[:, n_odor:] *= NUISANCE_STRENGTH / np.sqrt(N_NUISANCE)
    mean = mean_rate * np.exp(RATE_SPREAD * stream.standard_normal(units))
    mean *= mean_rate / mean.mean()
    tuning *= signal * _calibrated_strength(trajectories, tuning, mean)
    baseline = np.log(mean) - _log_mean_response(trajectories, tuning)
    trials = len(session.table)
    gain = np.exp(GAIN_SPREAD * stream.standard_normal(trials) - GAIN_SPREAD**2 / 2)
    return SubjectTruth(
        unit=np.array([f"{name}/{number}" for number in range(units)]),
        trial=np.arange(trials, dtype=np.int64),
        perceived=session.perceived,
        frame_start=frame_start,
        baseline=baseline,
        tuning=tuning,
        gain=gain,
        jitter=JITTER_SPREAD * stream.standard_normal(trials),
        nuisance=session.nuisance,
    )


def _calibrated_strength(trajectories: Trajectories, tuning: FloatArray, mean: FloatArray) -> float:
    """Find how strong tuning must be for odors to be about as hard to tell apart as `CONFUSION`.

    Few or nearly silent units tell less of the odor, so they are tuned more sharply, within
    what neurons do. Confusion is the Bhattacharyya bound on the error, over 100 ms windows.
    """
    low, high = 0.0, STRONGEST
    for _ in range(20):
        middle = (low + high) / 2
        if _confusion(trajectories, middle * tuning, mean) > CONFUSION:
            low = middle
        else:
            high = middle
    return high


def _confusion(trajectories: Trajectories, tuning: FloatArray, mean: FloatArray) -> float:
    time = np.arange(GRID / 2, trajectories.frame_length, GRID)
    odors = len(trajectories.odors) - 1  # the last one is not among those that are decoded
    latents = trajectories.of_odor(np.arange(odors), np.tile(time, (odors, 1)))
    baseline = np.log(mean) - _log_mean_response(trajectories, tuning)
    root = np.exp((baseline + latents @ tuning[:, : latents.shape[-1]].T) / 2)
    distance = GRID * ((root[:, None] - root[None]) ** 2).sum(axis=-1) / 2
    bins = min(10, time.size)
    windows = np.lib.stride_tricks.sliding_window_view(distance, bins, axis=-1).sum(axis=-1)
    others = np.exp(-windows).sum(axis=1) - 1
    return float((others / (1 + others)).mean())


def _log_mean_response(trajectories: Trajectories, tuning: FloatArray) -> FloatArray:
    """Return each unit's log mean factor on its rate, over odors, time and arousal."""
    time = np.arange(GRID / 2, trajectories.frame_length, GRID)
    odors = len(trajectories.odors) - 1
    scores = np.linspace(-1.5, 1.5, 4)
    grid = np.array([(a, b) for a in scores for b in scores])
    odor = np.repeat(np.arange(odors), len(grid))
    times = np.broadcast_to(time, (odor.size, time.size))
    latents = latents_of(trajectories, odor, np.tile(grid, (odors, 1)), times)
    response = np.exp(latents.reshape(-1, latents.shape[-1]) @ tuning.T)
    return np.asarray(np.log(response.mean(axis=0)))


def draw_spikes(
    subject: SubjectTruth,
    session: Session,
    trajectories: Trajectories,
    stream: np.random.Generator,
) -> list[FloatArray]:
    """Draw each unit's spike times: Poisson in bins around the frames, and at baseline between."""
    bins = round((trajectories.frame_length + REACH[1] - REACH[0]) / GRID)
    time = REACH[0] + (np.arange(bins) + 0.5) * GRID
    latents = latents_of(
        trajectories,
        subject.perceived,
        subject.nuisance,
        time[None] - subject.jitter[:, None],
    )
    first = session.table["onset"].to_numpy() + subject.frame_start + REACH[0]
    last = first + bins * GRID
    spikes: list[FloatArray] = []
    for unit in range(subject.unit.size):
        base = np.exp(subject.baseline[unit])
        rate = base * np.exp(latents @ subject.tuning[unit]) * subject.gain[:, None]
        counts = stream.poisson(rate * GRID)
        trial, where = np.nonzero(counts)
        times = np.repeat(first[trial] + where * GRID, counts[trial, where])
        times += GRID * stream.random(times.size)
        rest = session.duration * stream.random(stream.poisson(base * session.duration))
        # spikes at baseline that fall into a response are taken out; the response has its own
        inside = np.searchsorted(first, rest, side="right") - 1
        rest = rest[(inside < 0) | (rest >= last[inside])]
        spikes.append(np.sort(np.concatenate([times, rest])))
    return spikes
