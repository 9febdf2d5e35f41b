"""Pages that live outside docs/: tutorials are copied in, and links to such pages are turned.

On disk, `../README.md` and `../tutorials/NAME.md` lead from a page to the file, so that links
work wherever the repository is read. In the built site tutorials are pages of their own, and
the start page stands for the README.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# on disk, from a page in docs/ or in tutorials/; in the site, from the root of docs/
LINKS = (
    (re.compile(r"\]\((?:\.\./)?README\.md\)"), "](/index.md)"),
    (re.compile(r"\]\((?:\.\./)?tutorials/([\w-]+\.md)"), r"](/tutorials/\1"),
    (re.compile(r"\]\((?:\.\./)?docs/([\w/-]+\.md)"), r"](/\1"),
    (re.compile(r"\]\((?:\.\./)?data_specs/?\)"), "](/data_specs.md)"),
    (re.compile(r"\]\((?:\.\./)?CHANGELOG\.md\)"), "](/changelog.md)"),
    (re.compile(r"\]\((?:\.\./)?CONTRIBUTING\.md\)"), "](/contributing.md)"),
)


def turn_links(text: str) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    for pattern, replacement in LINKS:
        text = pattern.sub(replacement, text)
    return text


def copy_tutorials(app: Sphinx, _config: Any = None) -> None:
    """Copy tutorials into the source folder, only those that changed, so that caches hold."""
    source = Path(app.srcdir).parent / "tutorials"
    target = Path(app.srcdir) / "tutorials"
    target.mkdir(exist_ok=True)
    pages = {path.name: path.read_text(encoding="utf-8") for path in source.glob("[0-9]*.md")}
    for old in target.glob("*.md"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        path = target / name
        if not path.exists() or path.read_text(encoding="utf-8") != turn_links(text):
            path.write_text(turn_links(text), encoding="utf-8")


def read_page(_app: Sphinx, _name: str, content: list[str]) -> None:
    """Turn the links of a page as Sphinx reads it."""
    content[0] = turn_links(content[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("config-inited", copy_tutorials)
    app.connect("source-read", read_page)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
