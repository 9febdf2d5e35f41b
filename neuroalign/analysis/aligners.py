"""The methods a shared model has to beat, as estimators that fit and transform as it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np

from neuroalign.analysis.aligner_base import (
    AveragesBaseline,
    LinearMap,
    SubjectWindows,
    Training,
    WindowBaseline,
)
from neuroalign.analysis.alignment import (
    Alignment,
    generalised_procrustes,
    multiset_correlation,
    procrustes_to,
    shared_response,
)
from neuroalign.analysis.baselines import Transform, principal_axes
from neuroalign.analysis.controls import SpikeCounts
from neuroalign.analysis.logit_latents import LogitLatents
from neuroalign.analysis.scaling import Scaling
from neuroalign.analysis.statistics import check_count
from neuroalign.data.randomness import RandomState, named_generator, resolve_seed
from neuroalign.errors import ParameterError

__all__ = [
    "BASELINES",
    "Baseline",
    "LogitLatents",
    "MultisetCCA",
    "PrincipalComponents",
    "ProcrustesPCA",
    "RawCounts",
    "SharedResponse",
]


class RawCounts(WindowBaseline):
    """Every window's scaled counts themselves, to be decoded within subjects only.

    Parameters
    ----------
    scaling : str, default="sqrt-standard"
        "sqrt-standard", "standard", "sqrt" or "none", as in `raw_features`.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> RawCounts().fit(windows).transform(windows)["ada"]["mean"].sizes["latent"]
    80
    """

    method: ClassVar[str] = "counts"

    def __init__(self, *, scaling: Scaling = "sqrt-standard") -> None:
        self.scaling = scaling

    def _learn(self, training: Training) -> None:
        """Learn nothing but the scaling."""

    def _reader(self, given: SubjectWindows) -> tuple[Transform, list[str]]:
        subject, scaling = given.inputs.subject, given.inputs.scaling
        names = [f"{subject} feature {index}" for index in range(scaling.mean.size)]
        return scaling.of_counts, names


class PrincipalComponents(WindowBaseline):
    """Principal components of every subject's scaled windows, each subject in its own space.

    Parameters
    ----------
    n_latents : int, default=8
        Number of components.
    scaling : str, default="sqrt-standard"
        As in `raw_features`.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> latents = PrincipalComponents(2).fit(windows).transform(windows)
    >>> [str(name) for name in latents["bob"]["latent"].values]
    ['bob PC1', 'bob PC2']
    """

    method: ClassVar[str] = "PCA of counts"

    def __init__(self, n_latents: int = 8, *, scaling: Scaling = "sqrt-standard") -> None:
        self.n_latents = n_latents
        self.scaling = scaling

    def _learn(self, training: Training) -> None:
        check_count("n_latents", self.n_latents, least=1)
        self.maps_ = {}
        for name, given in training.subjects.items():
            rows = given.features()
            rows = rows.reshape(-1, rows.shape[-1])
            self.maps_[name] = LinearMap(*principal_axes(rows, self.n_latents, subject=name))

    def _reader(self, given: SubjectWindows) -> tuple[Transform, list[str]]:
        subject, scaling = given.inputs.subject, given.inputs.scaling
        to = self.maps_[subject]
        names = [f"{subject} PC{index + 1}" for index in range(to.weights.shape[1])]
        return (lambda counts: to(scaling.of_counts(counts))), names


class ProcrustesPCA(AveragesBaseline):
    """Principal components of every subject, rotated so that averages of labels meet.

    Every subject's components are centred on, and rotated by, the averages of a label at every
    window position, each label counting alike. The template is the mean of all rotated subjects
    (generalised Procrustes analysis), so that no subject decides.

    Parameters
    ----------
    n_latents : int, default=8
        Number of components.
    scaling : str, default="sqrt-standard"
        As in `raw_features`.
    scale : bool, default=False
        Whether subjects are scaled too, not only rotated.
    reference : str, optional
        Subject whose components are the template instead of the mean.

    References
    ----------
    Gower (1975), "Generalized Procrustes analysis", Psychometrika 40, 33-51; ten Berge (1977)
    for the scales.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> latents = ProcrustesPCA(2).fit(train, label="odor").transform(test)
    >>> [str(name) for name in latents["bob"]["latent"].values]
    ['shared 1', 'shared 2']
    """

    method: ClassVar[str] = "PCA of counts, Procrustes on label averages"

    def __init__(
        self,
        n_latents: int = 8,
        *,
        scaling: Scaling = "sqrt-standard",
        scale: bool = False,
        reference: str | None = None,
    ) -> None:
        self.n_latents = n_latents
        self.scaling = scaling
        self.scale = scale
        self.reference = reference

    def _axes(self, subject: str, features: np.ndarray) -> np.ndarray:
        return principal_axes(features, self.n_latents, subject=subject)[1]

    def _align(self, rows: Mapping[str, np.ndarray]) -> Alignment:
        if self.reference is None:
            return generalised_procrustes(list(rows.values()), scale=self.scale)
        if self.reference not in rows:
            raise ParameterError(
                f"reference must be a subject of the fit ({', '.join(rows)}) or None, got "
                f"{self.reference!r}."
            )
        template = rows[self.reference]
        maps, objective = [], 0.0
        for each in rows.values():
            rotation, factor = procrustes_to(each, template, scale=self.scale)
            maps.append(factor * rotation)
            objective += float(np.square(each @ maps[-1] - template).sum())
        return Alignment(tuple(maps), template, np.array([objective]))


class MultisetCCA(AveragesBaseline):
    """Canonical variates that the label averages of all subjects predict best, after PCA.

    Every subject's windows are reduced to principal components. On the averages of a label at
    every window position, the common variates are those that all subjects' components predict
    best (MAXVAR); each subject's map is this prediction, applied to single windows.

    Parameters
    ----------
    n_latents : int, default=8
        Number of canonical variates.
    n_components : int, default=16
        Principal components of every subject that enter; at least `n_latents`.
    scaling : str, default="sqrt-standard"
        As in `raw_features`.
    regularisation : float, default=1.0
        Ridge, as a share of the mean variance of the averages over components. 0 needs fewer
        components than half the number of averages (labels times windows), since two sets of
        more correlate perfectly whatever they are.

    References
    ----------
    Kettenring (1971), "Canonical analysis of several sets of variables", Biometrika 58,
    433-451.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> latents = MultisetCCA(2, n_components=4).fit(train, label="odor").transform(test)
    >>> latents["bob"]["mean"].sizes["latent"]
    2
    """

    method: ClassVar[str] = "multi-set CCA of label averages"

    def __init__(
        self,
        n_latents: int = 8,
        *,
        n_components: int = 16,
        scaling: Scaling = "sqrt-standard",
        regularisation: float = 1.0,
    ) -> None:
        self.n_latents = n_latents
        self.n_components = n_components
        self.scaling = scaling
        self.regularisation = regularisation

    def _axes(self, subject: str, features: np.ndarray) -> np.ndarray:
        check_count("n_components", self.n_components, least=self.n_latents)
        return principal_axes(
            features, self.n_components, subject=subject, argument="n_components"
        )[1]

    def _align(self, rows: Mapping[str, np.ndarray]) -> Alignment:
        if not 0 <= self.regularisation < np.inf:
            raise ParameterError(
                f"regularisation must not be negative nor infinite, got {self.regularisation!r}."
            )
        averages = len(next(iter(rows.values())))
        if self.regularisation == 0 and len(rows) > 1 and 2 * self.n_components >= averages:
            raise ParameterError(
                f"regularisation must be positive for n_components = {self.n_components} and "
                f"{averages} averages: two sets of half as many components or more correlate "
                "perfectly whatever they are; got 0."
            )
        return multiset_correlation(
            list(rows.values()), self.n_latents, regularisation=self.regularisation
        )


class SharedResponse(AveragesBaseline):
    """Orthonormal maps and one response that explain the label averages of all subjects best.

    The deterministic shared response model on the averages of a label at every window position:
    averages = response @ map.T, with orthonormal columns in every subject's map. New windows
    are projected by the map, after subtracting the mean of the averages.

    Parameters
    ----------
    n_latents : int, default=8
        Dimensions of the shared response.
    scaling : str, default="sqrt-standard"
        As in `raw_features`.
    scale : bool, default=False
        Whether every subject's averages are first brought to the same sum of squares. As
        published, subjects with more units, hence larger sums, weigh more and have larger
        latents.
    n_init : int, default=4
        Random starts; the one with the smallest error is kept.
    random_state : int, Generator or None, default=0
        Seed of the starts; None draws a fresh one.

    Attributes
    ----------
    seed_ : int
        Seed of this fit.

    References
    ----------
    Chen et al. (2015), "A reduced-dimension fMRI shared response model", Advances in Neural
    Information Processing Systems 28.

    Examples
    --------
    >>> import neuroalign as na
    >>> recordings, _ = na.simulate_recordings(units={"ada": 8, "bob": 6}, trials=24, mean_rate=9)
    >>> windows = na.slide_windows(na.bin_spikes(na.keep_spec_trials(recordings)), step=0.05)
    >>> train, test = na.split_trials(windows, stratify="odor", random_state=0)
    >>> latents = SharedResponse(2).fit(train, label="odor").transform(test)
    >>> latents["ada"]["mean"].sizes["latent"]
    2
    """

    method: ClassVar[str] = "shared response model of label averages"

    def __init__(
        self,
        n_latents: int = 8,
        *,
        scaling: Scaling = "sqrt-standard",
        scale: bool = False,
        n_init: int = 4,
        random_state: RandomState = 0,
    ) -> None:
        self.n_latents = n_latents
        self.scaling = scaling
        self.scale = scale
        self.n_init = n_init
        self.random_state = random_state

    def _axes(self, subject: str, features: np.ndarray) -> None:
        if self.n_latents > features.shape[1]:
            raise ParameterError(
                f"n_latents must be at most {features.shape[1]}, the number of features of "
                f"subject {subject!r}, got {self.n_latents}."
            )

    def _align(self, rows: Mapping[str, np.ndarray]) -> Alignment:
        check_count("n_init", self.n_init, least=1)
        self.seed_ = resolve_seed(self.random_state)
        averages = list(rows.values())
        sizes = [_root_mean_square(each) if self.scale else 1.0 for each in averages]
        found = shared_response(
            [each / size for each, size in zip(averages, sizes, strict=True)],
            self.n_latents,
            # Not by subject: a start that depended on names would let them decide.
            random=named_generator(self.seed_, "shared response"),
            starts=self.n_init,
        )
        maps = tuple(each / size for each, size in zip(found.maps, sizes, strict=True))
        return Alignment(maps, found.shared, found.objective)


def _root_mean_square(averages: np.ndarray) -> float:
    """Return the root of the mean, over rows, of a row's sum of squares; 1 where all are 0."""
    return float(np.sqrt(np.square(averages).sum() / len(averages))) or 1.0


class Baseline(NamedTuple):
    """How a baseline is made with its default settings, and which settings are worth a try."""

    make: Callable[[], WindowBaseline | SpikeCounts]
    grid: Mapping[str, tuple[Any, ...]]


_SIZES: Final = (4, 8, 16)
# A classifier that standardises its inputs undoes all of a scaling but the root.
_ROOTS: Final = ("sqrt-standard", "standard")
_WEIGHTS: Final = ("sqrt-standard", "sqrt")

BASELINES: Final[Mapping[str, Baseline]] = {
    "spike counts": Baseline(SpikeCounts, {}),
    "raw counts": Baseline(RawCounts, {"scaling": _ROOTS}),
    "PCA": Baseline(PrincipalComponents, {"n_latents": _SIZES, "scaling": _WEIGHTS}),
    "PCA + Procrustes": Baseline(
        ProcrustesPCA, {"n_latents": _SIZES, "scaling": _WEIGHTS, "scale": (False, True)}
    ),
    "multi-set CCA": Baseline(
        MultisetCCA,
        {"n_latents": (4, 8), "n_components": (16, 32), "regularisation": (0.1, 1.0, 10.0)},
    ),
    "SRM": Baseline(
        SharedResponse, {"n_latents": _SIZES, "scaling": _WEIGHTS, "scale": (False, True)}
    ),
    "logit latents": Baseline(LogitLatents, {"scaling": _ROOTS}),
}
