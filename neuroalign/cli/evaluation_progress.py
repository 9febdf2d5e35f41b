"""One line for every fit that is done, with the time it took to get there."""

from __future__ import annotations

import time
from collections.abc import Callable

import typer


def progress_lines() -> Callable[[str], None]:
    """Return what `evaluate` and `sweep` call with a line of text for every fit that is done.

    Returns
    -------
    callable
        Writes beside the results (to standard error), with minutes and seconds since now.
    """
    started = time.monotonic()

    def show(line: str) -> None:
        minutes, seconds = divmod(round(time.monotonic() - started), 60)
        typer.echo(f"[{minutes:3d}:{seconds:02d}] {line}", err=True)

    return show
