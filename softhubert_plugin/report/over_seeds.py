"""Tables over seeds: of word error rates, of the accuracy of layer probes and of label quality.

All have the same columns: mean and interval of each system, and the paired difference by seed from the first system. Word error rates add
the interval over seeds and speakers that the verdict uses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from softhubert_plugin.report.comparisons import SystemComparison
from softhubert_plugin.report.experiment import Experiment
from softhubert_plugin.report.systems import SystemRuns
from softhubert_plugin.report.table import MISSING
from softhubert_plugin.scoring.seeds import SeedMean, holm, mean_over_seeds

HOW_TO_READ = (
    "Mean and difference over seeds with 95 % intervals. By seed: Student's t over paired seeds, which speaks of other seeds on the same "
    "test set. By seeds and speakers: a hierarchical bootstrap, which speaks of other seeds and other speakers. p-values are corrected by "
    "Holm's method, over all comparisons of word error rates, over those of probing, and over those of label quality."
)
_QUALITY = (("PNMI", "pnmi"), ("phone purity", "phone_purity"), ("cluster purity", "cluster_purity"))
_COUNTS = (("", ("hard", "argmax")), (", expected counts", ("expected",)))


class Measure(NamedTuple):
    """What a table over seeds shows.

    Attributes:
        title: heading, with the unit.
        factor: values are multiplied by it.
        digits: decimals shown.
        test_set: test set of a word error rate.
        question: measures of one question are corrected together.
        value: gives the value of an experiment; ``None`` if it has none.
    """

    title: str
    factor: float
    digits: int
    test_set: Optional[str]
    question: str
    value: Callable[[Experiment], Optional[float]]


@dataclass(frozen=True)
class SeedRow:
    """A system in a table over seeds.

    Attributes:
        system: its name.
        values: value of each seed.
        mean: mean of the values.
        paired: seeds that the first system was also run with.
        difference: differences from the first system, of at least two paired seeds.
        p_holm: p-value of the difference by seed, after Holm's correction over the measures of the same question.
        comparison: comparison over seeds and speakers, of word error rates.
    """

    system: str
    values: Dict[str, float]
    mean: SeedMean
    paired: Tuple[str, ...] = ()
    difference: Optional[SeedMean] = None
    p_holm: Optional[float] = None
    comparison: Optional[SystemComparison] = None


class SeedTable(NamedTuple):
    """A measure of all systems that have it, the baseline first if it does."""

    measure: Measure
    rows: List[SeedRow]

    def header(self) -> Tuple[str, ...]:
        """Return the column headings."""
        columns = (self.measure.title, "seeds", "mean", "95 % interval", "difference", "by seed", "p (Holm)")
        return columns if self.measure.test_set is None else (*columns, "by seeds and speakers", "p (Holm)")

    def cells(self) -> List[Tuple[str, ...]]:
        """Return one row of text per system. p-values are corrected."""
        return [self._cells(row) for row in self.rows]

    def _cells(self, row: SeedRow) -> Tuple[str, ...]:
        found, difference = (self._show(row.mean), self._show(row.difference, sign="+"))
        cells = (row.system, str(len(row.values)), *found, *difference, _p_value(row.p_holm))
        if self.measure.test_set is None:
            return cells
        over = row.comparison.over_seeds if row.comparison else None
        if row.comparison is None or over is None:
            return (*cells, MISSING, MISSING)
        return (*cells, self._interval(over.low, over.high, "+"), _p_value(row.comparison.corrected[1]))

    def _show(self, mean: Optional[SeedMean], sign: str = "") -> Tuple[str, str]:
        if mean is None:
            return MISSING, MISSING
        return self._number(mean.mean, sign), self._interval(mean.low, mean.high, sign)

    def _interval(self, low: Optional[float], high: Optional[float], sign: str) -> str:
        return MISSING if low is None or high is None else f"{self._number(low, sign)} to {self._number(high, sign)}"

    def _number(self, value: float, sign: str) -> str:
        return f"{self.measure.factor * value:{sign}.{self.measure.digits}f}"

    def record(self) -> Dict[str, Any]:
        """Return the table for ``results.json``, with values as they were measured."""
        return {"measure": self.measure.title, "systems": [_record(row) for row in self.rows]}


def seed_tables(systems: Sequence[SystemRuns], test_sets: Sequence[str], comparisons: Sequence[SystemComparison]) -> List[SeedTable]:
    """Make a table of each measure that some system has for several seeds.

    Args:
        systems: the systems, the baseline first.
        test_sets: names of the test sets.
        comparisons: all comparisons with the baseline, on all test sets.
    """
    of_pair = {(comparison.test_set, comparison.system): comparison for comparison in comparisons}
    tables = []
    for measure in _measures(test_sets):
        values = [(system.name, _values(system, measure)) for system in systems]
        if any(len(of_system) > 1 for _, of_system in values):
            baseline = values[0][1]
            rows = [_row(name, found, {} if name == systems[0].name else baseline, measure) for name, found in values if found]
            if measure.test_set is not None:
                rows = [_with_comparison(row, of_pair.get((measure.test_set, row.system))) for row in rows]
            tables.append(SeedTable(measure, rows))
    return _corrected(tables)


def left_out(systems: Sequence[SystemRuns], tables: Sequence[SeedTable]) -> List[str]:
    """Say which seeds are in a mean but in no difference, because the other system has no such run, or not this measure of it."""
    found: Dict[str, List[str]] = {}
    baseline = systems[0].name
    for table in tables:
        of_baseline = next((row.values for row in table.rows if row.system == baseline), {})
        for row in table.rows:
            lacking = [(row.system, set(row.values) - set(row.paired)), (baseline, set(of_baseline) - set(row.paired))]
            named = [f"{_seeds(seeds)} of {system}" for system, seeds in lacking if seeds]
            single = len(row.values) == len(of_baseline) == 1  # compared, whatever their seeds are
            if row.system != baseline and of_baseline and named and not single:
                text = f"{row.system} against {baseline}: without a partner, and so in no difference: {'; '.join(named)}"
                found.setdefault(text, []).append(table.measure.title)
    return [f"{text} ({', '.join(titles)})." for text, titles in found.items()]


def _seeds(seeds: Any) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(sorted(seeds, key=lambda seed: (len(seed), seed)))}"


def _measures(test_sets: Sequence[str]) -> Iterator[Measure]:
    for name in test_sets:
        yield Measure("WER %" if len(test_sets) == 1 else f"{name} WER %", 100, 2, name, "recognition", _word_error_rate(name))
    yield Measure("probing accuracy %, chosen layer", 100, 2, None, "probing", _probing_accuracy)
    for counts, kinds in _COUNTS:
        for title, key in _QUALITY:
            yield Measure(f"{title}{counts}", 1, 4, None, "labels", _label_quality(kinds, key))


def _word_error_rate(test_set: str) -> Callable[[Experiment], Optional[float]]:
    return lambda experiment: experiment.scores.get(test_set, {}).get("wer")


def _probing_accuracy(experiment: Experiment) -> Optional[float]:
    """Return the accuracy of the layer that was chosen on the validation part, or else of the best layer."""
    measured = {row["layer"]: float(row["accuracy"]["value"]) for row in experiment.layers.get("layers") or [] if row.get("accuracy")}
    chosen = experiment.layers.get("layer")
    if isinstance(chosen, int) and chosen in measured:
        return measured[chosen]
    return max(measured.values()) if measured else None


def _label_quality(kinds: Sequence[str], key: str) -> Callable[[Experiment], Optional[float]]:
    def value(experiment: Experiment) -> Optional[float]:
        found = [experiment.quality[kind][key]["value"] for kind in kinds if (experiment.quality.get(kind) or {}).get(key)]
        return float(found[0]) if found else None

    return value


def _values(system: SystemRuns, measure: Measure) -> Dict[str, float]:
    values = {seed: measure.value(experiment) for seed, experiment in system.runs.items()}
    return {seed: value for seed, value in values.items() if value is not None}


def _row(name: str, values: Dict[str, float], baseline: Dict[str, float], measure: Measure) -> SeedRow:
    paired = tuple(seed for seed in values if seed in baseline)
    highest = 1.0 if measure.test_set is None else math.inf
    row = SeedRow(name, values, _possible(mean_over_seeds(list(values.values())), highest), paired)
    if measure.test_set is not None or len(paired) < 2:
        return row
    return replace(row, difference=mean_over_seeds([values[seed] - baseline[seed] for seed in paired]))


def _possible(mean: SeedMean, highest: float) -> SeedMean:
    """Cut an interval at the values that a rate can have. Only insertions can make more errors than there are words."""
    if mean.low is None or mean.high is None:
        return mean
    return replace(mean, low=max(mean.low, 0.0), high=min(mean.high, highest))


def _with_comparison(row: SeedRow, comparison: Optional[SystemComparison]) -> SeedRow:
    """Take the difference of word error rates from a comparison, which pairs only scores on the same utterances."""
    if comparison is None or comparison.over_seeds is None:
        return replace(row, paired=comparison.seeds if comparison else row.paired)
    difference, p_holm = comparison.over_seeds.by_seed, comparison.corrected[0]
    return replace(row, paired=comparison.seeds, difference=difference, p_holm=p_holm, comparison=comparison)


def _corrected(tables: Sequence[SeedTable]) -> List[SeedTable]:
    """Correct the differences by seed of each question for their number. Word error rates have been corrected already."""
    found = []
    p_values: Dict[str, List[float]] = {}
    for table in tables:
        p_values.setdefault(table.measure.question, []).extend(row.difference.p_value for row in table.rows if row.difference)
    left = {question: iter(holm(values)) for question, values in p_values.items()}
    for table in tables:
        if table.measure.test_set is None:
            following = left[table.measure.question]
            table = table._replace(rows=[replace(row, p_holm=next(following)) if row.difference else row for row in table.rows])
        found.append(table)
    return found


def _record(row: SeedRow) -> Dict[str, Any]:
    record: Dict[str, Any] = {"system": row.system, "values": row.values, "mean": row.mean.mean, "low": row.mean.low, "high": row.mean.high}
    if row.difference is not None:
        record["difference"] = {**vars(row.difference), "p_holm": row.p_holm, "paired_seeds": list(row.paired)}
    return record


def _p_value(value: Optional[float]) -> str:
    return MISSING if value is None else f"{value:.2g}"
