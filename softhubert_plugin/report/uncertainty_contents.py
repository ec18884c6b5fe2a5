"""Check that a file of ``softhubert labels uncertainty`` holds what the figures draw."""

from __future__ import annotations

from typing import Any, Dict, Sequence, Tuple

from softhubert_plugin.report.contents import FileContent, is_json_count, is_json_number, is_json_text

_QUANTITIES = ("entropy", "confidence", "right")
_BINS = ("confidence", "right")
# For each table: the keys of a row besides "frames"; and whether entropy and share of right frames have intervals.
_TABLES: Dict[str, Tuple[Tuple[str, ...], bool]] = {
    "boundary.all": (("from", "to", *_QUANTITIES), True),
    "boundary.speech": (("from", "to", *_QUANTITIES), True),
    "place": (("from", "to", *_QUANTITIES), True),
    "classes": (("class", *_QUANTITIES), True),
    "phones": (("phone", "class", *_QUANTITIES), False),
    "speakers.rows": (("speaker", "run_frames", *_QUANTITIES), False),
    "reliability.bins": (("from", "to", *_BINS), True),
}


def check_uncertainty(content: FileContent) -> None:
    """Check the tables, and the estimates and numbers in them.

    Raises:
        SoftHubertError: something is missing, or of another kind.
    """
    UncertaintyContent(content.path, content.value, content.remedy).check()


class UncertaintyContent(FileContent):
    """The content of ``uncertainty.json``."""

    def check(self) -> None:
        """Check everything that figures and tables read."""
        for name, (keys, intervals) in _TABLES.items():
            rows = self._inside(name)
            for number, row in enumerate([] if rows is None else self._list(name, rows)):
                self._row(f"{name}[{number}]", row, keys, intervals)
        if self._inside("boundary") is not None:
            for name in ("boundary.all", "boundary.speech", "place"):
                self._require(name, self._inside(name), bool(self._inside(name)), "rows")
        self._histogram("runs.counts", self._inside("runs.counts"))
        self._number("runs.mean_frames", self._inside("runs.mean_frames"))
        if self._inside("entropy") is not None:
            self._number("entropy.mean", self._inside("entropy.mean"))
            counts = self._inside("entropy.histogram.counts")
            self._histogram("entropy.histogram.counts", counts)
            edges = self._list("entropy.histogram.edges", self._inside("entropy.histogram.edges"))
            rising = len(edges) == len(counts) + 1 and all(map(is_json_number, edges)) and edges == sorted(edges)
            self._require("entropy.histogram.edges", edges, rising, "rising numbers, one more than counts")
        if self._inside("reliability") is not None:
            self._require("reliability.bins", self._inside("reliability.bins"), bool(self._inside("reliability.bins")), "rows")
            for key in ("expected_calibration_error", "confidence", "right"):
                self._estimate(f"reliability.{key}", self._inside(f"reliability.{key}"))
        if self._inside("information") is not None:
            for reading in ("argmax", "expected", "posterior"):
                self._estimate(f"information.{reading}.pnmi", self._inside(f"information.{reading}.pnmi"))

    def _inside(self, name: str) -> Any:
        """What is at a dotted name; ``None`` where a part of the name is missing."""
        value: Any = self.value
        keys = name.split(".")
        for number, key in enumerate(keys):
            if value is None:
                return None
            value = self._object(".".join(keys[:number]), value).get(key)
        return value

    def _row(self, name: str, row: Any, keys: Sequence[str], intervals: bool) -> None:
        self._object(name, row)
        self._require(f"{name}.frames", row.get("frames"), is_json_count(row.get("frames")), "a count")
        for key in keys:
            value, of = row.get(key), f"{name}.{key}"
            self._require(of, value, key in row, "a value, or null")
            if key in ("class", "phone", "speaker"):
                self._require(of, value, is_json_text(value), "text")
            elif key in ("from", "run_frames") or (key == "to" and not name.startswith("boundary")):
                self._number(of, value)
            elif value is not None and intervals and key in ("entropy", "right"):
                self._estimate(of, value)
            elif value is not None:
                self._number(of, value)

    def _estimate(self, name: str, estimate: Any) -> None:
        """Check a value with its interval, whose ends are missing where there is a single group of utterances."""
        self._object(name, estimate)
        self._number(f"{name}.value", estimate.get("value"))
        ends = [estimate.get("low", ""), estimate.get("high", "")]
        self._require(f"{name}.low and .high", ends, ends == [None, None] or all(map(is_json_number, ends)), "two numbers, or two nulls")

    def _number(self, name: str, value: Any) -> None:
        self._require(name, value, is_json_number(value), "a number")

    def _histogram(self, name: str, counts: Any) -> None:
        fits = isinstance(counts, list) and 0 < len(counts) < 10_000 and all(map(is_json_count, counts))
        self._require(name, counts, fits, "counts")
