"""The package's modules import without a warning in this Python and with the installed libraries."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import softhubert_plugin

PACKAGE = Path(softhubert_plugin.__file__).parent

# Imports every module in a separate process and prints the warnings that our code causes: they name one of our files.
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


def test_every_module_imports_without_a_warning_about_our_files() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == ""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_source_compiles_without_a_warning(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile(path.read_text(encoding="utf-8"), str(path), "exec")


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_whatever_a_benchmark_imports_from_this_repository_exists(path: Path) -> None:
    """Benchmarks run seldom and import inside functions: a name that has moved would show only then."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("softhubert_plugin", "tests"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}"), f"{node.module}.{alias.name}"
