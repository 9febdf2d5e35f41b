"""A directive that writes the help of every command, as the installed program prints it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from typer.testing import CliRunner

import neuroalign.cli
from neuroalign.cli.app import COMMANDS, app

if TYPE_CHECKING:
    from sphinx.application import Sphinx

WIDTH = "80"


def help_of(*words: str) -> str:
    """Return what `neuroalign WORDS --help` prints."""
    found = CliRunner().invoke(
        app, [*words, "--help"], prog_name="neuroalign", env={"COLUMNS": WIDTH}
    )
    if found.exit_code != 0:
        raise RuntimeError(f"`neuroalign {' '.join(words)} --help` failed: {found.output}")
    return str(found.output).rstrip()


def command_names() -> list[str]:
    """Return the names of all commands, in the order of the program's help."""
    return list(COMMANDS)


class Commands(SphinxDirective):
    """A section for every command with its help."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        for file in sorted(Path(str(neuroalign.cli.__file__)).parent.glob("*.py")):
            self.env.note_dependency(str(file))
        return [_as_text(help_of()), *(self._section(name) for name in command_names())]

    def _section(self, name: str) -> nodes.section:
        section = nodes.section(ids=[f"neuroalign-{name}"], names=[f"neuroalign {name}"])
        section += nodes.title(text=f"neuroalign {name}")
        section += _as_text(help_of(name))
        self.state.document.note_implicit_target(section)
        return section


def _as_text(text: str) -> nodes.literal_block:
    return nodes.literal_block(text, text, language="text")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("commands", Commands)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
