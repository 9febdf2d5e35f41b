"""How Sphinx builds the documentation: `sphinx-build -W --keep-going -b html docs docs/_build/html`.

Nothing is fetched by the build; a browser fetches MathJax to show equations. Tutorials are shown
without their outputs unless NEUROALIGN_DOCS_EXECUTE=cache is set: then those that changed since
the last build are executed first, and their outputs are kept in docs/_build/notebooks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_extensions"))

from neuroalign.version import __version__  # noqa: E402

project = "neuroalign"
author = "The neuroalign developers"
copyright = "2026, The neuroalign developers"  # noqa: A001  (the name Sphinx asks for)
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "pages_from_outside",
    "command_line",
    "own_members",
]
exclude_patterns = ["_build", "_extensions", "_templates", ".gitignore"]
templates_path = ["_templates"]
toc_object_entries_show_parents = "hide"

# -- Markdown and notebooks ------------------------------------------------------------------
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
nb_execution_mode = os.environ.get("NEUROALIGN_DOCS_EXECUTE", "off")
nb_execution_cache_path = str(HERE / "_build" / "notebooks")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")

# -- Docstrings ------------------------------------------------------------------------------
default_role = "code"  # single backticks mean code in our docstrings
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc says types in words, with dims and units
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# -- Appearance ------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = f"neuroalign {release}"
html_static_path = ["_static"]
html_css_files = ["neuroalign.css"]
html_theme_options = {
    "logo": {"text": "neuroalign"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
}
html_sidebars = {"index": []}
html_show_sourcelink = False
html_copy_source = False
