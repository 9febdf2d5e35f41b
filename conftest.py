"""Figures are drawn without a screen, and closed after each example and test."""

from __future__ import annotations

import os
from collections.abc import Iterator

# networks in tests are tiny: threads would spend their time waiting for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

mpl.use("Agg")


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    """Close what a test or a docstring example has drawn."""
    yield
    plt.close("all")
