"""Compare pairs of systems by every measure: over seeds if both were run with several, otherwise one run with one run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Optional, Sequence, Tuple

from softhubert_plugin.report.experiment import Experiment
from softhubert_plugin.report.measures import Measure
from softhubert_plugin.report.systems import SystemPair, SystemRuns
from softhubert_plugin.scoring.intervals import Comparison
from softhubert_plugin.scoring.pairs import pair_scores
from softhubert_plugin.scoring.score import compare_scores
from softhubert_plugin.scoring.seed_comparison import SeedComparison, claimed_difference, compare_seeds, compare_values
from softhubert_plugin.scoring.seeds import holm


@dataclass(frozen=True)
class SystemComparison:
    """The comparison of two systems by a measure.

    Attributes:
        measure: the measure.
        systems: names of the first and of the second system.
        first, second: names of what is compared: of the systems, or of their only experiments that can be paired.
        seeds: seeds that both were run with and that can be paired: error rates only on the same utterances.
        over_seeds: comparison over at least two seeds.
        one_seed: comparison of one experiment with one experiment, of error rates whose errors are known by utterance.
        single: difference between one experiment and one experiment, as the measure's value; ``None`` if nothing can be compared.
        corrected: p-values of ``over_seeds`` by seed, and by seeds and speakers, after Holm's correction.
        number: number of comparisons over seeds of the measure's question, which the correction is for.
    """

    measure: Measure
    systems: Tuple[str, str]
    first: str
    second: str
    seeds: Tuple[str, ...]
    over_seeds: Optional[SeedComparison] = None
    one_seed: Optional[Comparison] = None
    single: Optional[float] = None
    corrected: Tuple[float, float] = (1.0, 1.0)
    number: int = 0

    @property
    def claim(self) -> int:
        """-1 if the second system may be said to have a lower value (fewer errors), 1 if a higher one, 0 if nothing may be claimed."""
        return 0 if self.over_seeds is None else claimed_difference(self.over_seeds, self.corrected)

    def record(self) -> Dict[str, Any]:
        """Return the comparison for ``results.json``."""
        record: Dict[str, Any] = {"first": self.first, "second": self.second}
        record.update({} if self.measure.test_set is None else {"on": self.measure.test_set}, seeds=list(self.seeds))
        if self.over_seeds is None:
            return {**record, **(vars(self.one_seed) if self.one_seed else {"difference": self.single})}
        found, wording = self.over_seeds, self.measure.wording
        p_by_seed, p_value = self.corrected
        record.update(
            difference=found.by_seed.mean,
            low=found.low,
            high=found.high,
            p_value=found.p_value,
            p_holm=p_value,
            method=found.method,
            by_seed={**vars(found.by_seed), "p_holm": p_by_seed, "method": "Student's t over paired seeds"},
            comparisons_corrected_for=self.number,
        )
        if wording is not None:
            record["claim"] = {-1: wording.lower, 0: "no difference", 1: wording.higher}[self.claim]
        return record

    def difference(self) -> Optional[Dict[str, Any]]:
        """Return the difference over seeds for the tables of ``results.json``; ``None`` with fewer than two paired seeds."""
        if self.over_seeds is None:
            return None
        return {**vars(self.over_seeds.by_seed), "p_holm": self.corrected[0], "paired_seeds": list(self.seeds)}

    def by_seeds_and_speakers(self) -> Optional[Dict[str, Any]]:
        """Return the interval over seeds and speakers for the tables of ``results.json``; ``None`` if there is none."""
        found = self.over_seeds
        if found is None or not found.crossed:
            return None
        return {"low": found.low, "high": found.high, "p_value": found.p_value, "p_holm": self.corrected[1], "method": found.method}


def compare_systems(pairs: Sequence[SystemPair], measures: Sequence[Measure]) -> List[SystemComparison]:
    """Compare pairs of systems, and correct each question's comparisons over seeds for their number.

    Args:
        pairs: the pairs of systems; differences are second minus first.
        measures: the measures.

    Returns:
        A comparison per pair and measure; those of one pair follow each other.
    """
    found = [_compare(first, second, measure) for first, second in pairs for measure in measures]
    for question in dict.fromkeys(measure.question for measure in measures):
        several = [place for place, each in enumerate(found) if each.measure.question == question and each.over_seeds is not None]
        compared = [found[place].over_seeds for place in several]
        by_seed = holm([each.by_seed.p_value for each in compared if each is not None])
        for place, corrected in zip(several, zip(by_seed, holm([each.p_value for each in compared if each is not None]))):
            found[place] = replace(found[place], corrected=corrected, number=len(several))
    return found


def _compare(first: SystemRuns, second: SystemRuns, measure: Measure) -> SystemComparison:
    common = {seed: (run, second.runs[seed]) for seed, run in first.runs.items() if seed in second.runs}
    paired = {seed: runs for seed, runs in common.items() if _comparable(*runs, measure)}
    found = SystemComparison(measure, (first.name, second.name), first.name, second.name, tuple(paired))
    if len(paired) > 1:
        return replace(found, over_seeds=_over_seeds(list(paired.values()), measure))
    if len(first.runs) == len(second.runs) == 1:  # one run each, whatever their seeds are
        a, b = (next(iter(system.runs.values())) for system in (first, second))
    elif paired:
        ((a, b),) = paired.values()
    else:
        return found
    found = replace(found, first=a.name, second=b.name)
    if not _comparable(a, b, measure):
        return found
    one_seed = None if measure.test_set is None else compare_scores(a.scores[measure.test_set], b.scores[measure.test_set], measure.unit)
    return replace(found, one_seed=one_seed, single=_difference(a, b, measure))


def _comparable(first: Experiment, second: Experiment, measure: Measure) -> bool:
    """Whether both experiments have the measure, an error rate on the same utterances."""
    if measure.value(first) is None or measure.value(second) is None:
        return False
    return measure.test_set is None or pair_scores(first.scores[measure.test_set], second.scores[measure.test_set]) is not None


def _over_seeds(runs: Sequence[Tuple[Experiment, Experiment]], measure: Measure) -> SeedComparison:
    """Compare over seeds and speakers where the errors of each utterance are known, otherwise by seed."""
    if measure.test_set is not None:
        pairs = [pair_scores(first.scores[measure.test_set], second.scores[measure.test_set], measure.unit) for first, second in runs]
        known = [pair for pair in pairs if pair is not None]
        if len(known) == len(pairs):
            return compare_seeds(known)
    return compare_values([_difference(first, second, measure) for first, second in runs])


def _difference(first: Experiment, second: Experiment, measure: Measure) -> float:
    a, b = measure.value(first), measure.value(second)
    assert a is not None and b is not None, "only comparable experiments are compared"
    return b - a
