"""`neuroalign inspect`: what NWB files hold."""

from __future__ import annotations

from typing import Annotated

import typer

from neuroalign.cli.console import reports_problems, say
from neuroalign.errors import ParameterError


@reports_problems
def inspect_command(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="NWB files, folders or patterns.", show_default=False),
    ] = None,
    spec: Annotated[
        bool, typer.Option("--spec", help="Write only a spec to start from, of the first file.")
    ] = False,
    template: Annotated[
        bool, typer.Option("--template", help="Write a commented spec with every key; no FILE.")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Write the JSON schema of specs, for editors; no FILE.")
    ] = False,
) -> None:
    """List what NWB files hold, and which roles of a data spec they can fill."""
    if template or schema:
        _say_what_needs_no_file(files, template=template, schema=schema, spec=spec)
        return
    if not files:
        raise ParameterError(
            "expected NWB files, folders or patterns, got none; name at least one "
            "(without one there are --template and --schema)."
        )
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


def _say_what_needs_no_file(
    files: list[str] | None, *, template: bool, schema: bool, spec: bool
) -> None:
    if files or (template + schema + spec) > 1:
        raise ParameterError(
            "expected one of --spec (with a file), --template and --schema (without), "
            "got more; leave out what you do not want."
        )
    if template:
        from neuroalign.data.specs import spec_template

        say(spec_template().rstrip())
        return
    from neuroalign.data.spec_reference import schema_text

    say(schema_text().rstrip())
