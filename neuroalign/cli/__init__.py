"""The command line: `neuroalign inspect | fit | decode | impute | plot | demo`."""

from __future__ import annotations

from neuroalign.cli.app import app, main

__all__ = ["app", "main"]
