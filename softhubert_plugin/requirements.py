"""What this package requires: from ``setup.py`` in a clone, from its metadata where it is installed.

It is read without a library, because ``softhubert doctor`` must work where nothing is installed. It understands the forms that
``setup.py`` uses: ``name>=1,<2; python_version < '3.11'`` and, in metadata, ``extra == 'demo'``.
"""

from __future__ import annotations

import ast
import contextlib
import re
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

DISTRIBUTION = "softhubert"
SETUP = Path(__file__).resolve().parents[1] / "setup.py"

_COMPARISONS = {
    "==": lambda found, wanted: found[: len(wanted)] == wanted,
    ">=": lambda found, wanted: found >= wanted,
    "<": lambda found, wanted: found < wanted,
}


class Requirement(NamedTuple):
    """A distribution that is needed.

    Attributes:
        bounds: its versions, as in ``>=1,<2``; empty for any.
        extra: the extra that needs it; empty where the package itself does.
    """

    name: str
    bounds: str
    extra: str = ""

    def admits(self, version: str) -> bool:
        """Whether an installed version is within the bounds."""
        return all(_COMPARISONS[operator](release(version), release(wanted)) for operator, wanted in _comparisons(self.bounds))


def release(version: str) -> Tuple[int, ...]:
    """The numbers a version begins with: 2.11.0+cu130 is (2, 11, 0), 2.1.0.dev20 is (2, 1, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in match.group().split(".")) if match else ()


def requirements(python: Tuple[int, int]) -> List[Requirement]:
    """What a Python of this version needs for the package and for each of its extras; empty where neither source is there."""
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
    """Each requirement as it is written, and the extra it belongs to where that is not part of it."""
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
    """Whether one comparison of a marker holds; those other than ``python_version`` count as holding."""
    if not term.startswith("python_version"):
        return True
    ((operator, wanted),) = _comparisons(term[len("python_version") :])
    return bool(_COMPARISONS[operator](python, release(wanted)))


def _comparisons(text: str) -> List[Tuple[str, str]]:
    return re.findall(r"(==|>=|<)\s*['\"]?([0-9][0-9A-Za-z.]*)", text)
