"""Make the notebooks that users download from the MyST sources beside this file.

    python tutorials/make_notebooks.py

Sources are the `.md` files: they are short, and changes in them can be read. The notebooks, in
`tutorials/notebooks/`, hold the same cells without outputs, with cell ids that depend on their
place alone, so that making them again changes nothing.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

jupytext: Any = import_module("jupytext")  # neither of the two has types
nbformat: Any = import_module("nbformat")

HERE = Path(__file__).resolve().parent
NOTEBOOKS = HERE / "notebooks"
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s]+)\)")


def sources() -> list[Path]:
    """Return the tutorials' MyST sources, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.md"))


def moved(match: re.Match[str]) -> str:
    """Turn a link beside the sources into one that leads to the same place from the notebooks."""
    path, mark, place = match[1].partition("#")
    if re.fullmatch(r"\d\d_\w+\.md", path):
        return f"]({path.removesuffix('.md')}.ipynb{mark}{place})"
    return f"](../{path}{mark}{place})"


def notebook_text(source: Path) -> str:
    """Return a tutorial as the text of a notebook without outputs."""
    read = jupytext.read(source)
    cells = []
    for number, cell in enumerate(read.cells):
        identity = f"{source.stem[:2]}-{number:02d}"
        if cell.cell_type == "code":
            cells.append(nbformat.v4.new_code_cell(cell.source, id=identity))
        else:
            text = LINK.sub(moved, cell.source)
            cells.append(nbformat.v4.new_markdown_cell(text, id=identity))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    notebook.nbformat_minor = 5
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook)).rstrip("\n") + "\n"


def main() -> None:
    """Write every notebook, and remove those whose source is gone."""
    NOTEBOOKS.mkdir(exist_ok=True)
    made = {NOTEBOOKS / f"{source.stem}.ipynb": notebook_text(source) for source in sources()}
    for path in NOTEBOOKS.glob("*.ipynb"):
        if path not in made:
            path.unlink()
    for path, text in made.items():
        aside = path.with_name(f".{path.name}.partial")
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
        print(path.relative_to(HERE.parent))


if __name__ == "__main__":
    main()
