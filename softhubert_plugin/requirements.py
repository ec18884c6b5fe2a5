"""This package's requirements, and which of them are installed. They are read from ``setup.py`` in a clone, otherwise from metadata.

No library is used, because ``softhubert doctor`` must work even if nothing is installed. Only the forms that ``setup.py`` uses are
understood: ``name>=1,<2; python_version < '3.11'`` and, in metadata, ``extra == 'demo'``.
"""

from __future__ import annotations

import ast
import contextlib
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

DISTRIBUTION = "softhubert"
SETUP = Path(__file__).resolve().parents[1] / "setup.py"

_COMPARISONS = {
    "==": lambda found, wanted: found[: len(wanted)] == wanted,
    ">=": lambda found, wanted: found >= wanted,
    "<": lambda found, wanted: found < wanted,
}


class Requirement(NamedTuple):
    """A required distribution.

    Attributes:
        name: name of the distribution.
        bounds: the versions that fit, such as ``>=1,<2``; empty if all do.
        extra: the extra that needs it; empty if the package itself needs it.
    """

    name: str
    bounds: str
    extra: str = ""

    def admits(self, version: str) -> bool:
        """Return whether a version is within the bounds."""
        return all(_COMPARISONS[operator](release(version), release(wanted)) for operator, wanted in _comparisons(self.bounds))


def installed_version(name: str) -> Optional[str]:
    """Return the version in a distribution's metadata; ``None`` if it is not installed or its metadata is damaged."""
    try:
        version: Optional[str] = metadata.version(name)
    except Exception:  # damaged metadata can raise any error, and the doctor must continue
        return None
    return version or None


def missing(extra: str) -> List[str]:
    """Return the distributions of an extra of this package that are not installed."""
    return [each.name for each in requirements(sys.version_info[:2]) if each.extra == extra and installed_version(each.name) is None]


def how_to_install(extra: str) -> str:
    """Say how to install an extra of this package, as the end of a message."""
    return f"install the extra '{extra}': bash install.sh --extras {extra}"


def release(version: str) -> Tuple[int, ...]:
    """Return the numbers at the start of a version: 2.11.0+cu130 gives (2, 11, 0), 2.1.0.dev20 gives (2, 1, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in match.group().split(".")) if match else ()


def requirements(python: Tuple[int, int]) -> List[Requirement]:
    """Return the requirements of the package and of its extras for a version of Python; empty if there are no metadata and no clone."""
    found = []
    for line, extra in _lines():
        specification, _, marker = line.partition(";")
        terms = [term.strip().strip("()") for term in marker.split(" and ")]
        extra = next((term.split("==")[1].strip(" '\"") for term in terms if term.startswith("extra")), extra)
        if all(_holds(term, python) for term in terms):
            name, bounds = re.match(r"([A-Za-z0-9._-]+)\s*(.*)", specification.strip()).groups()  # type: ignore[union-attr]
            found.append(Requirement(name, bounds.replace(" ", ""), extra))
    return found


def _lines() -> Iterator[Tuple[str, str]]:
    """Iterate over the requirements as written, each with its extra (empty if there is none, or if the requirement names it itself)."""
    if not SETUP.is_file():
        with contextlib.suppress(metadata.PackageNotFoundError):
            yield from ((line, "") for line in metadata.requires(DISTRIBUTION) or [])
        return
    lists: Dict[str, Any] = {}
    for statement in ast.parse(SETUP.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            lists[statement.target.id] = ast.literal_eval(statement.value or statement.target)
    yield from ((line, "") for line in lists["REQUIREMENTS"])
    yield from ((line, extra) for extra, lines in lists["EXTRAS"].items() for line in lines)


def _holds(term: str, python: Tuple[int, int]) -> bool:
    """Return whether one comparison of a marker holds. Comparisons other than of ``python_version`` count as true."""
    if not term.startswith("python_version"):
        return True
    ((operator, wanted),) = _comparisons(term[len("python_version") :])
    return bool(_COMPARISONS[operator](python, release(wanted)))


def _comparisons(text: str) -> List[Tuple[str, str]]:
    return re.findall(r"(==|>=|<)\s*['\"]?([0-9][0-9A-Za-z.]*)", text)
