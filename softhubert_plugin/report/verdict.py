"""A comparison in words. It claims a difference only over several seeds, and only if both tests and the interval say so."""

from __future__ import annotations

from typing import Optional

from softhubert_plugin.report.comparisons import SystemComparison
from softhubert_plugin.report.table import MISSING
from softhubert_plugin.scoring.intervals import CONFIDENCE, Comparison
from softhubert_plugin.scoring.seed_comparison import SeedComparison

ONE_SEED = "one seed: the same command with another seed or machine may say the opposite"


def verdict(comparison: SystemComparison, on: str = "") -> str:
    """Describe a comparison in a sentence.

    Args:
        comparison: the comparison, by a measure that has a wording.
        on: ``" on "`` and the name of the test set, if there are several.
    """
    wording = comparison.measure.wording
    assert wording is not None, f"there are no words for {comparison.measure.title}"
    start = f"{comparison.second} against {comparison.first}{on}:"
    if comparison.over_seeds is not None:
        claim = {-1: wording.lower, 0: wording.equal, 1: wording.higher}[comparison.claim]
        return f"{start} {_over_seeds(comparison.over_seeds, comparison, wording.name)}: {claim}."
    if comparison.one_seed is not None:
        return f"{start} {_one_seed(comparison.one_seed, wording.name)}; {ONE_SEED}."
    if comparison.single is not None:
        return f"{start} {100 * comparison.single:+.2f} points of {wording.name}; {ONE_SEED}."
    return f"{start} not comparable, {wording.missing}."


def _over_seeds(found: SeedComparison, comparison: SystemComparison, name: str) -> str:
    by_seed, (p_by_seed, p_value) = found.by_seed, comparison.corrected
    corrected = f"; p corrected for {comparison.number} comparisons" if comparison.number > 1 else ""
    apart = f"; {_points(by_seed.low, by_seed.high)}, p = {p_by_seed:.2g}, Student's t by seed"
    return (
        f"{100 * by_seed.mean:+.2f} points of {name} (95 % interval {_points(found.low, found.high)}, p = {p_value:.2g}, {found.method}"
        f"{apart if found.crossed else ''}{corrected})"
    )


def _one_seed(found: Comparison, name: str) -> str:
    shown = "a difference" if found.p_value <= 1 - CONFIDENCE and not found.low <= 0 <= found.high else "no difference"
    return (
        f"{100 * found.difference:+.2f} points of {name} (95 % interval {_points(found.low, found.high)}, p = {found.p_value:.2g}, "
        f"{found.test}): this test set shows {shown}"
    )


def _points(low: Optional[float], high: Optional[float]) -> str:
    return MISSING if low is None or high is None else f"{100 * low:+.2f} to {100 * high:+.2f}"
