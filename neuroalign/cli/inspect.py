"""`neuroalign inspect`: what NWB files hold."""

from __future__ import annotations

from typing import Annotated

import typer

from neuroalign.cli.console import reports_problems, say


@reports_problems
def inspect_command(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="NWB files, folders or patterns.")
    ],
    spec: Annotated[
        bool, typer.Option("--spec", help="Write only a spec to start from, of the first file.")
    ] = False,
) -> None:
    """List what NWB files hold, and which roles of a data spec they can fill."""
    from neuroalign.data.inspection import inspect_nwb
    from neuroalign.data.nwb import find_files

    found = [path for path, _ in find_files(list(files))]
    if spec:
        say(inspect_nwb(found[0]).suggested_spec().rstrip())
        return
    for number, path in enumerate(found):
        if number:
            say("\n" + "-" * 80 + "\n")
        say(str(inspect_nwb(path)))
