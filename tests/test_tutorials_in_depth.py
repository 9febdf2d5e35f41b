"""The later tutorials run as they stand, and what they claim holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tutorial_examples import TUTORIALS, check_tutorial, named


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS[3:], ids=named)
def test_tutorial_runs(tutorial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_tutorial(tutorial, tmp_path, monkeypatch)
