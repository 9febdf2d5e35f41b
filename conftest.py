"""Figures are drawn without a screen, and closed after each example and test."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

mpl.use("Agg")


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    """Close what a test or a docstring example has drawn."""
    yield
    plt.close("all")
