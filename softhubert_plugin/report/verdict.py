"""A comparison in words. It claims a difference only over several seeds, and only if both tests and the interval say so."""

from __future__ import annotations

from typing import Optional

from softhubert_plugin.report.comparisons import SystemComparison
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
    by_seed = found.by_seed
    corrected = ""
    if comparison.number > 1:
        corrected = f"; after Holm's correction for {comparison.number} comparisons p = {_p(comparison.corrected[1])} and "
        corrected += _p(comparison.corrected[0])
    return (
        f"{100 * by_seed.mean:+.2f} points of WER over {by_seed.seeds} seeds (95 % interval {points(found.low, found.high)}, "
        f"p = {_p(found.p_value)}, {found.method}; {points(by_seed.low, by_seed.high)}, p = {_p(by_seed.p_value)}, "
        f"Student's t by seed{corrected})"
    )


def _one_seed(found: Comparison) -> str:
    shown = "no difference" if found.low <= 0 <= found.high else "a difference"
    return (
        f"{100 * found.difference:+.2f} points of WER (95 % interval {points(found.low, found.high)}, p = {_p(found.p_value)}, "
        f"{found.test}): this test set shows {shown}"
    )


def points(low: Optional[float], high: Optional[float]) -> str:
    """Format an interval of a difference of rates, in percentage points."""
    return "–" if low is None or high is None else f"{100 * low:+.2f} to {100 * high:+.2f}"


def _p(value: float) -> str:
    return f"{value:.2g}"
