"""Checks of the model's arguments, each with a message that says what would be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, Literal

import numpy as np

from neuroalign.bridge import PAIRINGS, SCALINGS
from neuroalign.errors import ParameterError
from neuroalign.nn.likelihoods import LIKELIHOODS
from neuroalign.nn.sharing import SHARING_RULES, SharingOptions
from neuroalign.training.config import TrainingConfig
from neuroalign.training.schedules import ObjectiveSchedules, Schedule

Hidden = Sequence[int] | Literal["input"]

CHOICES: Final[Mapping[str, Sequence[str]]] = {
    "sharing": tuple(SHARING_RULES),
    "likelihood": tuple(LIKELIHOODS),
    "scaling": SCALINGS,
    "pairing": PAIRINGS,
    "precision": ("float32", "bfloat16", "float64"),
}
POSITIVE_INTEGERS: Final = ("n_latents", "mixture_samples", "max_epochs", "batch_size", "n_init")
DIVERGENCES: Final[Mapping[str, float]] = {"pairwise": 0.0, "mixture": 1.0}
SCHEDULED: Final[Mapping[str, tuple[float, float]]] = {
    "beta": (0.0, np.inf),
    "standard_weight": (0.0, 1.0),
    "divergence": (0.0, 1.0),
}
# beta that read labels best on validation trials of simulated rats (benchmarks/beta_scale.py):
# it grows with the nats that the likelihood finds in the same counts
AUTOMATIC_BETA: Final = 0.3
GAUSSIAN_BETA: Final[Mapping[str, float]] = {
    "sqrt-standard": 1.0, "standard": 1.0, "sqrt": 0.1, "none": 0.1,
}  # fmt: skip
# the mixture's divergence is bounded by the log of the number of subjects, the pairwise one is not
MIXTURE_FACTOR: Final = 10.0
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {"weight_decay": (0.0, np.inf)}


def automatic_beta(settings: Mapping[str, Any]) -> float:
    """Return the beta that "auto" stands for with these likelihood, scaling and divergence.

    Examples
    --------
    >>> counts = {"likelihood": "poisson", "scaling": "none", "sharing": "poe"}
    >>> automatic_beta({**counts, "divergence": "pairwise"})
    0.3
    """
    beta = AUTOMATIC_BETA
    if settings["likelihood"] == "gaussian":
        beta = GAUSSIAN_BETA[settings["scaling"]]
    mixture = settings["sharing"] == "mm-vamp" and settings["divergence"] == "mixture"
    return beta * MIXTURE_FACTOR if mixture else beta


def resolved_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check the model's arguments, and put in what "auto" stands for.

    Raises
    ------
    ParameterError
        If one makes no sense.
    """
    check_settings(settings)
    beta = settings["beta"]
    if isinstance(beta, str):  # "auto", or the check would have refused it
        beta = automatic_beta(settings)
    return {**settings, "beta": beta}


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check every argument of the model.

    Raises
    ------
    ParameterError
        If one makes no sense; the message says what was expected and what came.
    """
    for name, allowed in CHOICES.items():
        if settings[name] not in allowed:
            raise ParameterError(
                f"{name} must be one of {', '.join(map(repr, allowed))}; got {settings[name]!r}."
            )
    for name in POSITIVE_INTEGERS:
        if not _is_integer(settings[name]) or settings[name] < 1:
            raise ParameterError(f"{name} must be a positive integer, got {settings[name]!r}.")
    for name, (low, high) in BOUNDS.items():
        if not _is_number(settings[name]) or not low <= settings[name] <= high:
            raise ParameterError(
                f"{name} must be a number from {low:g} to {high:g}, got {settings[name]!r}."
            )
    if not isinstance(settings["window_totals"], bool | np.bool_):
        raise ParameterError(
            f"window_totals must be True or False, got {settings['window_totals']!r}."
        )
    _check_fractions(settings)
    for name in SCHEDULED:
        value = settings[name]
        if not (name == "beta" and isinstance(value, str) and value == "auto"):
            schedule_of(name, value)
    _check_likelihood(settings)
    _check_weights(settings["reconstruction_weights"])
    for name in ("encoder_hidden", "decoder_hidden"):
        hidden_widths(settings[name], 1, name=name)


def _check_fractions(settings: Mapping[str, Any]) -> None:
    for name in ("dropout", "mixing", "validation_fraction", "weight_averaging"):
        if not _is_number(settings[name]) or not 0.0 <= settings[name] < 1.0:
            raise ParameterError(f"{name} must be at least 0 and below 1, got {settings[name]!r}.")
    for name, optional in (("learning_rate", False), ("gradient_clip", True)):
        value = settings[name]
        if not (optional and value is None) and (not _is_number(value) or value <= 0):
            raise ParameterError(f"{name} must be positive, got {value!r}.")
    patience = settings["patience"]
    if patience is not None and (not _is_integer(patience) or patience < 1):
        raise ParameterError(f"patience must be a positive integer or None, got {patience!r}.")


def _check_likelihood(settings: Mapping[str, Any]) -> None:
    scale, likelihood = settings["noise_scale"], settings["likelihood"]
    if scale is None:
        return
    if likelihood not in ("gaussian", "laplace"):
        raise ParameterError(
            f'noise_scale belongs to the likelihoods "gaussian" and "laplace", got '
            f"{scale!r} with {likelihood!r}; leave it None."
        )
    allowed = 'a positive number or "learned"' if likelihood == "gaussian" else "a positive number"
    learned = scale == "learned" and likelihood == "gaussian"
    if not learned and (not _is_number(scale) or scale <= 0):
        raise ParameterError(f"noise_scale must be {allowed} for {likelihood!r}, got {scale!r}.")


def _check_weights(weights: object) -> None:
    if weights is None or weights == "size":
        return
    if isinstance(weights, Mapping) and all(_is_number(w) and w > 0 for w in weights.values()):
        return
    raise ParameterError(
        'reconstruction_weights must be None, "size" or a positive number for each subject, '
        f"got {weights!r}."
    )


def schedule_of(name: str, value: object) -> Schedule:
    """Return an argument that may change with the epochs as a schedule.

    Raises
    ------
    ParameterError
        If it is neither a number (or, for the divergence, a name) nor a list of
        (epochs, value), or a value is out of bounds.
    """
    if name == "divergence" and isinstance(value, str):
        if value not in DIVERGENCES:
            raise ParameterError(
                'divergence must be "pairwise", "mixture", or a schedule of the mixture\'s share '
                f"such as [(0, 0), (30, 1)]; got {value!r}."
            )
        value = DIVERGENCES[value]
    low, high = SCHEDULED[name]
    automatic = '"auto", ' if name == "beta" else ""
    expected = (
        f"{name} must be {automatic}a number from {low:g} to {high:g}, or a list of "
        "(epochs, value) such as [(0, 0), (20, 0.3)]"
    )
    try:
        if isinstance(value, bool | str):
            raise TypeError
        schedule = Schedule.of(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as problem:
        reason = f" ({problem})" if str(problem) and isinstance(problem, ValueError) else ""
        raise ParameterError(f"{expected}; got {value!r}{reason}.") from problem
    if not all(low <= v <= high and np.isfinite(v) for _, v in schedule.points):
        raise ParameterError(f"{expected}; got {value!r}.")
    return schedule


def objective_schedules(settings: Mapping[str, Any]) -> ObjectiveSchedules:
    """Return the weights of the objective's parts, for one replicate."""
    return ObjectiveSchedules(
        beta=(schedule_of("beta", settings["beta"]),),
        mixture_share=schedule_of("divergence", settings["divergence"]),
        standard_weight=schedule_of("standard_weight", settings["standard_weight"]),
    )


def final_options(settings: Mapping[str, Any]) -> SharingOptions:
    """Return what the sharing rule is told once all schedules have settled."""
    objective = objective_schedules(settings)
    return SharingOptions(
        mixture_share=objective.mixture_share.final,
        mixture_samples=settings["mixture_samples"],
        standard_weight=objective.standard_weight.final,
    )


def hidden_widths(hidden: Hidden, n_features: int, *, name: str = "hidden") -> tuple[int, ...]:
    """Return the widths of the hidden layers; "input" is two layers as wide as the input.

    Raises
    ------
    ParameterError
        If it is neither "input" nor a sequence of positive integers.
    """
    if isinstance(hidden, str):
        if hidden == "input":
            return (n_features, n_features)
    elif isinstance(hidden, Sequence) and all(_is_integer(w) and int(w) > 0 for w in hidden):
        return tuple(int(width) for width in hidden)
    raise ParameterError(
        f'{name} must be "input" or a list of positive widths (empty: linear), got {hidden!r}.'
    )


def training_config(settings: Mapping[str, Any]) -> TrainingConfig:
    """Pick the settings that concern training."""
    names = {field.name for field in fields(TrainingConfig)}
    return TrainingConfig(**{key: value for key, value in settings.items() if key in names})


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
