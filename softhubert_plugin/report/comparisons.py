"""Compare every system with the first one, on every test set: over seeds if both were run with several, otherwise over one test set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Optional, Sequence, Tuple

from softhubert_plugin.report.experiment import Experiment
from softhubert_plugin.report.systems import SystemRuns
from softhubert_plugin.scoring.intervals import Comparison
from softhubert_plugin.scoring.pairs import PairedErrors, pair_scores
from softhubert_plugin.scoring.score import compare_scores
from softhubert_plugin.scoring.seed_comparison import SeedComparison, claimed_difference, compare_seeds
from softhubert_plugin.scoring.seeds import holm


@dataclass(frozen=True)
class SystemComparison:
    """The comparison of a system with the first one on a test set.

    Attributes:
        system: name of the system that is compared with the first one.
        first, second: names of what is compared: of the systems, or of their only experiments that can be paired.
        test_set: name of the test set.
        seeds: seeds that both were run with, with scores on the same utterances.
        over_seeds: comparison over at least two seeds.
        one_seed: comparison of one experiment with one experiment; ``None`` as well if nothing can be compared.
        corrected: p-values of ``over_seeds`` by seed, and by seeds and speakers, after Holm's correction.
        number: number of comparisons over seeds in the report, which the correction is for.
    """

    system: str
    first: str
    second: str
    test_set: str
    seeds: Tuple[str, ...]
    over_seeds: Optional[SeedComparison] = None
    one_seed: Optional[Comparison] = None
    corrected: Tuple[float, float] = (1.0, 1.0)
    number: int = 0

    @property
    def claim(self) -> int:
        """-1 if the second system may be said to make fewer errors, 1 if more, 0 if no difference may be claimed."""
        return 0 if self.over_seeds is None else claimed_difference(self.over_seeds, self.corrected)

    def record(self) -> Dict[str, Any]:
        """Return the comparison for ``results.json``."""
        record: Dict[str, Any] = {"first": self.first, "second": self.second, "on": self.test_set, "seeds": list(self.seeds)}
        if self.over_seeds is None:
            return {**record, **(vars(self.one_seed) if self.one_seed else {"difference": None})}
        found = self.over_seeds
        p_by_seed, p_value = self.corrected
        return {
            **record,
            "difference": found.by_seed.mean,
            "low": found.low,
            "high": found.high,
            "p_value": found.p_value,
            "p_holm": p_value,
            "method": found.method,
            "by_seed": {**vars(found.by_seed), "p_holm": p_by_seed, "method": "Student's t over paired seeds"},
            "comparisons_corrected_for": self.number,
            "claim": {-1: "fewer errors", 0: "no difference", 1: "more errors"}[self.claim],
        }


def compare_systems(systems: Sequence[SystemRuns], test_sets: Sequence[str]) -> List[SystemComparison]:
    """Compare all systems with the first one, and correct for the number of comparisons over seeds."""
    found = [_compare(systems[0], system, name) for system in systems[1:] for name in test_sets]
    several = [comparison.over_seeds for comparison in found if comparison.over_seeds is not None]
    by_seed = holm([comparison.by_seed.p_value for comparison in several])
    corrected = iter(zip(by_seed, holm([comparison.p_value for comparison in several])))
    return [
        comparison if comparison.over_seeds is None else replace(comparison, corrected=next(corrected), number=len(several))
        for comparison in found
    ]


def _compare(first: SystemRuns, second: SystemRuns, test_set: str) -> SystemComparison:
    pairs: Dict[str, PairedErrors] = {}
    for seed in first.runs:
        if seed in second.runs:
            pair = _pair(first.runs[seed], second.runs[seed], test_set)
            if pair is not None:
                pairs[seed] = pair
    if len(pairs) > 1:
        return SystemComparison(
            second.name, first.name, second.name, test_set, tuple(pairs), over_seeds=compare_seeds(list(pairs.values()))
        )
    if len(first.runs) == len(second.runs) == 1:  # one run each, whatever their seeds are
        a, b = (next(iter(system.runs.values())) for system in (first, second))
    elif pairs:
        a, b = (system.runs[next(iter(pairs))] for system in (first, second))
    else:
        return SystemComparison(second.name, first.name, second.name, test_set, ())
    comparable = test_set in a.scores and test_set in b.scores
    one_seed = compare_scores(a.scores[test_set], b.scores[test_set]) if comparable else None
    return SystemComparison(second.name, a.name, b.name, test_set, tuple(pairs), one_seed=one_seed)


def _pair(first: Experiment, second: Experiment, test_set: str) -> Optional[PairedErrors]:
    if test_set not in first.scores or test_set not in second.scores:
        return None
    return pair_scores(first.scores[test_set], second.scores[test_set])
