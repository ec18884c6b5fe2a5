"""A comparison in words. It claims a difference only over several seeds, and only if both tests and the interval say so."""

from __future__ import annotations

from typing import Optional

from softhubert_plugin.report.comparisons import SystemComparison
from softhubert_plugin.report.table import MISSING
from softhubert_plugin.scoring.intervals import Comparison
from softhubert_plugin.scoring.seed_comparison import SeedComparison

ONE_SEED = "one seed: the same command with another seed or machine may say the opposite"


def verdict(comparison: SystemComparison, on: str = "") -> str:
    """Describe a comparison in a sentence.

    Args:
        comparison: the comparison.
        on: ``" on "`` and the name of the test set, if there are several.
    """
    start = f"{comparison.second} against {comparison.first}{on}:"
    if comparison.over_seeds is not None:
        claim = {-1: "fewer errors", 0: "shows no difference", 1: "more errors"}[comparison.claim]
        return f"{start} {_over_seeds(comparison.over_seeds, comparison)}: {claim}."
    if comparison.one_seed is None:
        return f"{start} not comparable, there are no scores on the same utterances."
    return f"{start} {_one_seed(comparison.one_seed)}; {ONE_SEED}."


def _over_seeds(found: SeedComparison, comparison: SystemComparison) -> str:
    by_seed, (p_by_seed, p_value) = found.by_seed, comparison.corrected
    corrected = f"; p corrected for {comparison.number} comparisons" if comparison.number > 1 else ""
    return (
        f"{100 * by_seed.mean:+.2f} points of WER (95 % interval {_points(found.low, found.high)}, p = {p_value:.2g}, {found.method}; "
        f"{_points(by_seed.low, by_seed.high)}, p = {p_by_seed:.2g}, Student's t by seed{corrected})"
    )


def _one_seed(found: Comparison) -> str:
    shown = "no difference" if found.low <= 0 <= found.high else "a difference"
    return (
        f"{100 * found.difference:+.2f} points of WER (95 % interval {_points(found.low, found.high)}, p = {found.p_value:.2g}, "
        f"{found.test}): this test set shows {shown}"
    )


def _points(low: Optional[float], high: Optional[float]) -> str:
    return MISSING if low is None or high is None else f"{100 * low:+.2f} to {100 * high:+.2f}"
