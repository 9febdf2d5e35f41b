"""How threads behave where other programs want the same cores."""

from __future__ import annotations

import os


def keep_threads_from_spinning() -> None:
    """Let waiting threads sleep; works if it comes before PyTorch is imported.

    Where other programs share the cores, threads that spin while they wait slow a fit fourfold
    and more. What a user has set is left alone.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
