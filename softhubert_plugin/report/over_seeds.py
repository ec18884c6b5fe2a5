"""Tables over seeds: of error rates, of probing and of label quality.

All have the same columns: mean and interval of each system, and the paired difference by seed from the first system. Error rates add the
interval over seeds and speakers that the verdict uses. Where pairs of systems were asked for, their differences have a table of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from softhubert_plugin.report.comparisons import SystemComparison
from softhubert_plugin.report.measures import Measure
from softhubert_plugin.report.systems import SystemRuns
from softhubert_plugin.report.table import MISSING
from softhubert_plugin.scoring.seeds import SeedMean, mean_over_seeds

HOW_TO_READ = (
    "Mean and difference over seeds with 95 % intervals. By seed: Student's t over paired seeds, which speaks of other seeds on the same "
    "test set. By seeds and speakers: a hierarchical bootstrap, which speaks of other seeds and other speakers. p-values are corrected by "
    "Holm's method, over all comparisons of word error rates, over those of character error rates, over those of probing accuracy, "
    "over those of probing accuracy of speech, over those of a layer's clusters, and over those of label quality."
)
Table = Tuple[Tuple[str, ...], List[Tuple[str, ...]]]  # column headings, and rows of text

_MEAN = ("seeds", "mean", "95 % interval")
_DIFFERENCE = ("difference", "by seed", "p (Holm)")
_WITH_SPEAKERS = ("by seeds and speakers", "p (Holm)")


@dataclass(frozen=True)
class SeedRow:
    """A system in a table over seeds.

    Attributes:
        system: its name.
        values: value of each seed.
        mean: mean of the values.
        comparison: comparison with the first system; ``None`` for the first one itself, and where pairs were asked for.
    """

    system: str
    values: Dict[str, float]
    mean: SeedMean
    comparison: Optional[SystemComparison] = None


class SeedTable(NamedTuple):
    """A measure of all systems that have it, the first system first if it does.

    Attributes:
        measure: the measure.
        rows: the systems.
        comparisons: the comparisons by this measure.
        asked_for: whether the pairs of systems were asked for. Then their differences are a table of their own.
    """

    measure: Measure
    rows: List[SeedRow]
    comparisons: List[SystemComparison]
    asked_for: bool = False

    def tables(self) -> List[Table]:
        """Return the table of means with the differences from the first system, or two tables: of means, and of the pairs' differences."""
        title, differences = self.measure.title, self._columns()
        means: List[Tuple[str, ...]] = [(row.system, str(len(row.values)), *self._show(row.mean)) for row in self.rows]
        if not self.asked_for:
            rows = [(*cells, *self._difference(row.comparison)) for cells, row in zip(means, self.rows)]
            return [((title, *_MEAN, *differences), rows)]
        # Without a partner a pair is only shown where a verdict says why.
        paired = [each for each in self.comparisons if each.seeds or self.measure.wording]
        pairs = [(" − ".join(each.systems[::-1]), str(len(each.seeds)), *self._difference(each)) for each in paired]
        return [((title, *_MEAN), means), *([((f"{title}: pair", "seeds paired", *differences), pairs)] if pairs else [])]

    def _columns(self) -> Tuple[str, ...]:
        return _DIFFERENCE if self.measure.test_set is None else (*_DIFFERENCE, *_WITH_SPEAKERS)

    def _difference(self, comparison: Optional[SystemComparison]) -> Tuple[str, ...]:
        over = None if comparison is None else comparison.over_seeds
        if comparison is None or over is None:
            return (MISSING,) * len(self._columns())
        cells = (*self._show(over.by_seed, "+"), _p_value(comparison.corrected[0]))
        if self.measure.test_set is None:
            return cells
        if not over.crossed:
            return (*cells, MISSING, MISSING)
        return (*cells, self._interval(over.low, over.high, "+"), _p_value(comparison.corrected[1]))

    def _show(self, mean: SeedMean, sign: str = "") -> Tuple[str, str]:
        return self._number(mean.mean, sign), self._interval(mean.low, mean.high, sign)

    def _interval(self, low: Optional[float], high: Optional[float], sign: str) -> str:
        return MISSING if low is None or high is None else f"{self._number(low, sign)} to {self._number(high, sign)}"

    def _number(self, value: float, sign: str) -> str:
        return f"{self.measure.factor * value:{sign}.{self.measure.digits}f}"

    def record(self) -> Dict[str, Any]:
        """Return the table for ``results.json``, with values as they were measured."""
        record: Dict[str, Any] = {"measure": self.measure.title, "systems": [self._record(row) for row in self.rows]}
        if self.asked_for:
            record["differences"] = [
                {
                    "first": each.systems[0],
                    "second": each.systems[1],
                    "difference": each.difference(),
                    "by_seeds_and_speakers": each.by_seeds_and_speakers(),
                    "comparisons_corrected_for": each.number,
                }
                for each in self.comparisons
            ]
        return record

    def _record(self, row: SeedRow) -> Dict[str, Any]:
        record = {"system": row.system, "values": row.values, "mean": row.mean.mean, "low": row.mean.low, "high": row.mean.high}
        difference = None if row.comparison is None else row.comparison.difference()
        if row.comparison is None or difference is None:
            return record
        with_speakers = row.comparison.by_seeds_and_speakers()
        if with_speakers is not None and self.measure.unit == "characters":  # that of words is among the comparisons
            difference["by_seeds_and_speakers"] = with_speakers
        return {**record, "difference": difference}


def has_several_seeds(systems: Sequence[SystemRuns], measure: Measure) -> bool:
    """Whether some system has the measure for several seeds, so that there is a table of it."""
    return any(len(_values(system, measure)) > 1 for system in systems)


def seed_tables(
    systems: Sequence[SystemRuns], measures: Sequence[Measure], comparisons: Sequence[SystemComparison], asked_for: bool = False
) -> List[SeedTable]:
    """Make a table of each measure that some system has for several seeds.

    Args:
        systems: the systems, the first one first.
        measures: the measures.
        comparisons: comparisons of pairs of systems by the measures.
        asked_for: whether the pairs were asked for; otherwise they are every system with the first one.
    """
    tables = []
    for measure in measures:
        if has_several_seeds(systems, measure):
            found = [comparison for comparison in comparisons if comparison.measure.title == measure.title]
            with_first = {} if asked_for else {comparison.systems[1]: comparison for comparison in found}
            values = [(system.name, _values(system, measure)) for system in systems]
            rows = [SeedRow(name, of, _mean(of, measure), with_first.get(name)) for name, of in values if of]
            tables.append(SeedTable(measure, rows, found, asked_for))
    return tables


def left_out(tables: Sequence[SeedTable]) -> List[str]:
    """Say which seeds are in a mean but in no difference, because the other system has no such run, or not this measure of it."""
    found: Dict[str, List[str]] = {}
    for table in tables:
        values = {row.system: row.values for row in table.rows}
        for comparison in table.comparisons:
            first, second = comparison.systems
            of_first, of_second = values.get(first, {}), values.get(second, {})
            lacking = [(name, set(of) - set(comparison.seeds)) for name, of in ((second, of_second), (first, of_first))]
            named = [f"{_seeds(seeds)} of {system}" for system, seeds in lacking if seeds]
            single = len(of_first) == len(of_second) == 1  # compared, whatever their seeds are
            if of_first and of_second and named and not single:
                text = f"{second} against {first}: without a partner, and so in no difference: {'; '.join(named)}"
                found.setdefault(text, []).append(table.measure.title)
    return [f"{text} ({', '.join(titles)})." for text, titles in found.items()]


def _seeds(seeds: Any) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(sorted(seeds, key=lambda seed: (len(seed), seed)))}"


def _values(system: SystemRuns, measure: Measure) -> Dict[str, float]:
    values = {seed: measure.value(experiment) for seed, experiment in system.runs.items()}
    return {seed: value for seed, value in values.items() if value is not None}


def _mean(values: Dict[str, float], measure: Measure) -> SeedMean:
    """Average over seeds, and cut the interval at the values that a rate can have. Only insertions can make more errors than words."""
    mean = mean_over_seeds(list(values.values()))
    if mean.low is None or mean.high is None:
        return mean
    return replace(mean, low=max(mean.low, 0.0), high=min(mean.high, 1.0 if measure.test_set is None else math.inf))


def _p_value(value: float) -> str:
    return f"{value:.2g}"
