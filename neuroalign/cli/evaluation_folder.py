"""The folder of an evaluation or a sweep: whose it is, what it holds, what may be replaced."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from neuroalign.cli.files import write_json
from neuroalign.errors import DataError

Kind = Literal["evaluation", "sweep"]
FORMAT: Final = "neuroalign study"
FORMAT_VERSION: Final = 1
MANIFEST: Final = "request.json"
TABLES: Final = (
    "quality",
    "quality_dropped",
    "headline",
    "decoding",
    "imputation",
    "reconstruction",
    "left_out",
    "transfer",
    "fit",
    "table",
)
# all that the commands write, and so all that --overwrite may remove
CONTENTS: Final = (
    *(f"{name}.csv" for name in TABLES),
    MANIFEST,
    "evaluation.nc",
    "report.md",
    "spec.yaml",
    *(f"figures/{name}.png" for name in ("evaluation", "imputation", "model_null", "sweep")),
    ".partial-*",
    "figures/.partial-*",
)
FITS: Final = "fits"


@dataclass(frozen=True)
class StudyFolder:
    """Where an evaluation or a sweep keeps what.

    Parameters
    ----------
    path : Path
        The folder.
    kind : str
        "evaluation" or "sweep".
    """

    path: Path
    kind: Kind

    @property
    def report(self) -> Path:
        """What a person reads."""
        return self.path / "report.md"

    @property
    def evaluation(self) -> Path:
        """All scores of an evaluation, which `Evaluation.load` reads."""
        return self.path / "evaluation.nc"

    @property
    def fits(self) -> Path:
        """The rows of a sweep, which `sweep` goes on with."""
        return self.path / FITS

    def table(self, name: str) -> Path:
        """Return the path of a table."""
        return self.path / f"{name}.csv"

    def figure(self, name: str) -> Path:
        """Return the path of a figure."""
        return self.path / "figures" / f"{name}.png"

    def embed(self, name: str, caption: str) -> str:
        """Write a figure that is there, and its caption, in Markdown."""
        if not self.figure(name).exists():
            return ""
        return f"![{caption}](figures/{quote(name)}.png)\n\n*{caption}*"

    @property
    def manifest(self) -> dict[str, Any] | None:
        """What was asked for, or None if the folder holds nothing of this kind."""
        try:
            content = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            return None
        known = (
            content.get("kind") == self.kind and content.get("format_version", 0) <= FORMAT_VERSION
        )
        return content if known else None

    def write_manifest(self, content: Mapping[str, Any]) -> None:
        """Write what was asked for."""
        head = {"format": FORMAT, "format_version": FORMAT_VERSION, "kind": self.kind}
        write_json(self.path / MANIFEST, {**head, **content})

    def check(self, *, overwrite: bool) -> bool:
        """Refuse a folder that is of something else, or cannot be written; tell whether it is taken.

        Raises
        ------
        DataError
            If it is a file, holds something else, or there is no right to write.
        """
        above = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
        if not above.is_dir():
            raise DataError(f"{above} is a file; give another --out.")
        if not os.access(above, os.W_OK):
            raise DataError(f"{above} may not be written to; check the path and its permissions.")
        if not self.path.exists() or not any(self.path.iterdir()):
            return False
        if self.manifest is None:
            raise DataError(
                f"{self.path} holds files but no {self.kind}, so nothing is written there; give "
                "another --out."
            )
        if self.kind == "evaluation" and not overwrite:
            raise DataError(
                f"{self.path} holds an evaluation already and is not overwritten; give another "
                "--out, or --overwrite to replace it."
            )
        return True

    def clear(self) -> None:
        """Remove what the commands wrote; other files stay."""
        for pattern in CONTENTS:
            for path in self.path.glob(pattern):
                path.unlink()
        if (self.fits / "sweep.json").exists():
            shutil.rmtree(self.fits)
