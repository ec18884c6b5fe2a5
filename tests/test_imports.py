"""The package's own modules import without a warning, in this Python and with these libraries."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import softhubert_plugin

PACKAGE = Path(softhubert_plugin.__file__).parent

# Imports everything in a process of its own; prints the warnings that name one of our files, as those that our code causes do.
IMPORT_ALL = """
import importlib, pkgutil, sys, warnings
package = importlib.import_module("softhubert_plugin")
folder = package.__path__[0]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    names = [one.name for one in pkgutil.walk_packages(package.__path__, "softhubert_plugin.") if not one.name.endswith("__main__")]
    for name in names:
        importlib.import_module(name)
assert len(names) > 100, names
print(*(f"{one.filename}:{one.lineno}: {one.message}" for one in caught if one.filename.startswith(folder)), sep="\\n", end="")
"""


def test_every_module_imports_and_none_of_ours_is_warned_about() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == ""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_source_compiles_without_a_warning(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile(path.read_text(encoding="utf-8"), str(path), "exec")
