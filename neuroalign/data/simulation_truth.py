"""The ground truth of simulated recordings: what the neurons followed, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from neuroalign.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

FloatArray = npt.NDArray[np.float64]

GRID: Final = 0.01  # seconds; firing rates are constant within bins of this width
REACH: Final = (-0.2, 0.2)  # seconds by which the response may begin early and end late


@dataclass(frozen=True)
class Trajectories:
    """Smooth latent trajectories of every odor, and the time course of what odor does not set.

    Times are seconds after the start of a subject's frame.

    Parameters
    ----------
    odors : tuple of str
        Names of the odors.
    weights : ndarray of shape (odor, odor latent, bump + 1)
        Loadings on bumps in time and, last, on a response that is steady.
    centres : ndarray of shape (bump,)
        When the bumps peak, in seconds.
    bump_width : float
        Standard deviation of a bump, in seconds.
    nuisance_weights : ndarray of shape (nuisance latent, bump + 1)
        The same for the latents that vary from trial to trial whatever the odor.
    frame_length : float
        Seconds for which the response holds on.
    """

    odors: tuple[str, ...]
    weights: FloatArray
    centres: FloatArray
    bump_width: float
    nuisance_weights: FloatArray
    frame_length: float

    @property
    def n_latents(self) -> int:
        """Number of latents, those of odor and those of nuisance together."""
        return int(self.weights.shape[1] + self.nuisance_weights.shape[0])

    def _basis(self, time: FloatArray) -> FloatArray:
        distance = (time[..., None] - self.centres) / self.bump_width
        bumps = np.exp(-0.5 * distance**2)
        # a weighted sum with independent unit weights then has unit variance at every time
        bumps /= np.sqrt((bumps**2).sum(axis=-1, keepdims=True)) + 1e-12
        steady = np.ones((*time.shape, 1))
        return np.concatenate([bumps, steady], axis=-1)

    def envelope(self, time: FloatArray) -> FloatArray:
        """Say how much of the response is there (0 to 1) at given times."""
        rise = 1 / (1 + np.exp(-(time + 0.06) / 0.02))
        fall = 1 / (1 + np.exp((time - self.frame_length - 0.08) / 0.02))
        return np.asarray(rise * fall)

    def of_odor(self, odor: npt.NDArray[np.intp], time: FloatArray) -> FloatArray:
        """Return odor latents of shape (trial, time, odor latent) for times (trial, time)."""
        basis = self._basis(time) * self.envelope(time)[..., None]
        return np.asarray(np.einsum("rtb,rlb->rtl", basis, self.weights[odor]))

    def of_nuisance(self, scores: FloatArray, time: FloatArray) -> FloatArray:
        """Return nuisance latents (trial, time, nuisance latent) for scores (trial, latent)."""
        basis = self._basis(time) * self.envelope(time)[..., None]
        return np.asarray((basis @ self.nuisance_weights.T) * scores[:, None, :])


@dataclass(frozen=True)
class SubjectTruth:
    """How one simulated subject sees the latents.

    Parameters
    ----------
    unit : ndarray of shape (unit,)
        Unit ids.
    trial : ndarray of shape (trial,)
        Trial ids.
    perceived : ndarray of shape (trial,)
        Index of the odor whose trajectory the trial follows: the odor itself, and another one
        on trials that the subject got wrong.
    frame_start : float
        Seconds after onset at which the response frame starts.
    baseline : ndarray of shape (unit,)
        Logarithm of the rate in Hz without any response.
    tuning : ndarray of shape (unit, latent)
        Loadings of the log rate on the latents, odor latents first.
    gain : ndarray of shape (trial,)
        Factor on all rates.
    jitter : ndarray of shape (trial,)
        Seconds by which the response comes late.
    nuisance : ndarray of shape (trial, nuisance latent)
        Scores of what the odor does not set; the first is the trial coordinate `arousal`.
    """

    unit: npt.NDArray[np.str_]
    trial: npt.NDArray[np.int64]
    perceived: npt.NDArray[np.intp]
    frame_start: float
    baseline: FloatArray
    tuning: FloatArray
    gain: FloatArray
    jitter: FloatArray
    nuisance: FloatArray


@dataclass(frozen=True)
class SimulationTruth:
    """Ground truth of `simulate_recordings`.

    Parameters
    ----------
    trajectories : Trajectories
        The latents that all subjects share.
    subjects : mapping
        Subject to its `SubjectTruth`.
    gain_spread : float
        Standard deviation of the log gain over trials.
    jitter_spread : float
        Standard deviation of the latency over trials, in seconds.
    signal : float
        The strength that was asked for.
    """

    trajectories: Trajectories
    subjects: Mapping[str, SubjectTruth]
    gain_spread: float
    jitter_spread: float
    signal: float

    def subject(self, name: str) -> SubjectTruth:
        """Return one subject's truth.

        Raises
        ------
        DataError
            If that subject was not simulated.
        """
        if name not in self.subjects:
            raise DataError(
                f"subject {name!r} was not simulated; this truth is about "
                f"{', '.join(map(repr, self.subjects))}."
            )
        return self.subjects[name]

    def latents(self, subject: str, time: npt.ArrayLike) -> xr.DataArray:
        """Return the latents that a subject's trials followed.

        Parameters
        ----------
        subject : str
            Name of a subject.
        time : array of shape (time,)
            Seconds after the start of the subject's frame.

        Returns
        -------
        DataArray with dims (trial, time, latent)
            Odor latents first.

        Raises
        ------
        DataError
            If that subject was not simulated.
        """
        truth = self.subject(subject)
        times = np.asarray(time, dtype=np.float64)
        values = latents_of(
            self.trajectories, truth.perceived, truth.nuisance, times[None] - truth.jitter[:, None]
        )
        return xr.DataArray(
            values,
            dims=("trial", "time", "latent"),
            coords={"trial": truth.trial, "time": times},
            name="latents",
        )

    def log_rate(
        self, subject: str, time: npt.ArrayLike, *, trials: npt.ArrayLike | None = None
    ) -> xr.DataArray:
        """Return the logarithm of every unit's rate.

        Parameters
        ----------
        subject : str
            Name of a subject.
        time : array of shape (time,)
            Seconds after the start of the subject's frame; the rate of the 10 ms bin that holds
            a time is its rate at the bin's centre.
        trials : array of trial ids, optional
            All trials if not given.

        Returns
        -------
        DataArray with dims (trial, unit, time)
            Logarithm of the rate in Hz.

        Raises
        ------
        DataError
            If that subject or a trial was not simulated.
        """
        truth = self.subject(subject)
        latents = self.latents(subject, time)
        values = truth.baseline[:, None] + np.einsum("rtl,ul->rut", latents.values, truth.tuning)
        values += np.log(truth.gain)[:, None, None]
        rates = xr.DataArray(
            values,
            dims=("trial", "unit", "time"),
            coords={"trial": truth.trial, "unit": truth.unit, "time": latents["time"]},
            name="log_rate",
        )
        if trials is None:
            return rates
        positions = rates.indexes["trial"].get_indexer(np.asarray(trials))
        if (positions < 0).any():
            raise DataError(f"some of the trials were not simulated for subject {subject!r}.")
        return rates.isel(trial=positions)

    def posterior(
        self,
        windows: xr.DataTree,
        label: str = "odor",
        *,
        samples: int = 300,
        odors: Sequence[str] | None = None,
        position_known: bool = True,
        random_state: int = 0,
    ) -> xr.DataTree:
        """Return each odor's probability given the counts of every window.

        This is the Bayes-optimal classifier: it knows all trajectories, tunings and baselines,
        holds all odors equally likely, and averages over the trial's unknown gain, latency and
        nuisance by Monte Carlo.

        Parameters
        ----------
        windows : DataTree
            Windowed counts of the simulated recordings.
        label : str, default="odor"
            Only "odor" is known.
        samples : int, default=300
            Monte Carlo draws.
        odors : sequence of str, optional
            The candidates; those that occur in `windows` if not given.
        position_known : bool, default=True
            Whether the reader is told where in the frame a window lies. Encoders and decoders
            that see counts alone are not.
        random_state : int, default=0
            Seed of the draws.

        Returns
        -------
        DataTree
            Per subject `probability` (trial, window, odor_name).

        Raises
        ------
        ParameterError
            If the label is not "odor", or an odor or a number makes no sense.
        DataError
            If the windows are not of these recordings.
        """
        from neuroalign.data.bayes import odor_posterior

        return odor_posterior(
            self,
            windows,
            label,
            samples=samples,
            odors=odors,
            random_state=random_state,
            position_known=position_known,
        )

    def bayes_accuracy(
        self,
        windows: xr.DataTree,
        label: str = "odor",
        *,
        samples: int = 300,
        odors: Sequence[str] | None = None,
        position_known: bool = True,
        random_state: int = 0,
    ) -> pd.Series[float]:
        """Return how often the Bayes-optimal classifier reads a window's odor right.

        Parameters
        ----------
        windows, label, samples, odors, position_known, random_state
            As for `posterior`; trials of odors that are no candidates do not count.

        Returns
        -------
        Series
            Accuracy over trials and windows, indexed by subject.

        Raises
        ------
        ParameterError, DataError
            As for `posterior`.
        """
        from neuroalign.data.bayes import odor_accuracy

        return odor_accuracy(
            self,
            windows,
            label,
            samples=samples,
            odors=odors,
            random_state=random_state,
            position_known=position_known,
        )


def latents_of(
    trajectories: Trajectories, odor: npt.NDArray[Any], nuisance: FloatArray, time: FloatArray
) -> FloatArray:
    """Return latents (trial, time, latent) of odors (trial,), scores and times (trial, time)."""
    return np.concatenate(
        [trajectories.of_odor(odor, time), trajectories.of_nuisance(nuisance, time)], axis=-1
    )
