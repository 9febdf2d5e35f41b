"""What makes fits in tests brief."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from neuroalign.training.config import TrainingConfig


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let epochs of small data have few steps, and search for no penalty: no fit need be good.

    A module whose fits must only be fits asks for it by
    `pytestmark = pytest.mark.usefixtures("few_steps")`.
    """
    from neuroalign import restarts, translation
    from neuroalign.settings import training_config

    def shortened(given: Mapping[str, Any]) -> TrainingConfig:
        return dataclasses.replace(training_config(given), least_steps=3)

    monkeypatch.setattr(restarts, "training_config", shortened)
    monkeypatch.setattr(translation, "STRENGTHS", (0.01,))
