"""The package's front door: lazy, complete, cheap."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import neuroalign


def type_checking_names() -> set[str]:
    tree = ast.parse(Path(neuroalign.__file__).read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    return {
        alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_lazy_names_equal_the_names_type_checkers_see() -> None:
    assert set(neuroalign.__all__) - {"__version__"} == type_checking_names()


@pytest.mark.parametrize("name", neuroalign.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(neuroalign, name)
    if name != "__version__":
        assert value.__doc__
        assert value.__name__ == name
    assert name in dir(neuroalign)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fit_everything'"):
        _ = neuroalign.fit_everything


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = [
        "torch",
        "xarray",
        "numpy",
        "pandas",
        "sklearn",
        "matplotlib",
        "pynwb",
        "umap",
        "seaborn",
    ]
    code = f"import sys, neuroalign; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep_unless_the_user_said_otherwise(
    given: str | None, expected: str
) -> None:
    code = "import os, neuroalign; neuroalign.NeuroAlignError; print(os.environ['OMP_WAIT_POLICY'])"
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == expected
