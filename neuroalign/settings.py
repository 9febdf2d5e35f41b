"""Checks of the model's arguments, each with a message that says what would be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, Literal

import numpy as np

from neuroalign.bridge import PAIRINGS, SCALINGS
from neuroalign.errors import ParameterError
from neuroalign.nn.likelihoods import LIKELIHOODS
from neuroalign.nn.sharing import SHARING_RULES
from neuroalign.training.config import TrainingConfig

Hidden = Sequence[int] | Literal["input"]

CHOICES: Final[Mapping[str, Sequence[str]]] = {
    "sharing": tuple(SHARING_RULES),
    "divergence": ("pairwise", "mixture"),
    "likelihood": tuple(LIKELIHOODS),
    "scaling": SCALINGS,
    "pairing": PAIRINGS,
    "precision": ("float32", "bfloat16", "float64"),
}
POSITIVE_INTEGERS: Final = ("n_latents", "mixture_samples", "max_epochs", "batch_size")
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "beta": (0.0, np.inf),
    "standard_weight": (0.0, 1.0),
    "weight_decay": (0.0, np.inf),
}


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
    _check_fractions(settings)
    for name in ("encoder_hidden", "decoder_hidden"):
        hidden_widths(settings[name], 1, name=name)


def _check_fractions(settings: Mapping[str, Any]) -> None:
    for name in ("dropout", "mixing", "validation_fraction"):
        if not _is_number(settings[name]) or not 0.0 <= settings[name] < 1.0:
            raise ParameterError(f"{name} must be at least 0 and below 1, got {settings[name]!r}.")
    for name, optional in (("learning_rate", False), ("gradient_clip", True)):
        value = settings[name]
        if not (optional and value is None) and (not _is_number(value) or value <= 0):
            raise ParameterError(f"{name} must be positive, got {value!r}.")
    if not _is_integer(settings["beta_warmup"]) or settings["beta_warmup"] < 0:
        raise ParameterError(
            f"beta_warmup must be a number of epochs, 0 or more, got {settings['beta_warmup']!r}."
        )
    patience = settings["patience"]
    if patience is not None and (not _is_integer(patience) or patience < 1):
        raise ParameterError(f"patience must be a positive integer or None, got {patience!r}.")


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
