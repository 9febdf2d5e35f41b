"""Leave out of the reference what scikit-learn and pydantic add to their classes by themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MADE_BY_OTHERS = re.compile(r"(set_\w+_request|get_metadata_routing|model_config)$")


def skip_made(
    _app: Sphinx, _what: str, name: str, _object: Any, _skip: bool, _options: Any
) -> bool | None:
    """Skip scikit-learn's metadata routing and pydantic's settings; leave the rest to Sphinx."""
    return True if MADE_BY_OTHERS.match(name) else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("autodoc-skip-member", skip_made)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
