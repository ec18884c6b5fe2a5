"""Statistics over seeds: they equal scipy's, intervals cover what they say, and the verdict rarely claims what is not there."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np
import pytest
from scipy import stats

from softhubert_plugin.scoring.crossed import CrossedInterval, crossed_interval, difference_table
from softhubert_plugin.scoring.pairs import PairedErrors, pair_scores
from softhubert_plugin.scoring.seed_comparison import SeedComparison, claimed_difference, compare_seeds
from softhubert_plugin.scoring.seeds import SeedMean, holm, mean_over_seeds

SEED_EFFECT = 0.003  # standard deviation of the difference between two systems over seeds, as a fraction of words
DRAWS = 1_000


def _tables(
    seeds: int, speakers: int, *, speaker_effect: float, difference: float = 0.0, systems: int = 1, draws: int = DRAWS
) -> Tuple[np.ndarray, np.ndarray]:
    """Simulate comparisons of systems with one baseline: errors are counts, speakers differ in difficulty and in number of words.

    Returns:
        ``(draws, systems, seeds, speakers)`` differences of errors, and ``(draws, 1, 1, speakers)`` words.
    """
    rng = np.random.default_rng(seeds * speakers)
    words = rng.lognormal(np.log(800), 0.3, (draws, 1, 1, speakers)).round()
    rate = 0.1 * rng.lognormal(0, 0.4, (draws, 1, 1, speakers))
    errors = []
    for shape, mean in (((draws, 1), 0.0), ((draws, systems), difference)):
        of_seed = rng.normal(mean, SEED_EFFECT / np.sqrt(2), (*shape, seeds, 1))
        of_speaker = rng.normal(0, speaker_effect / np.sqrt(2), (*shape, 1, speakers))
        errors.append(rng.poisson(words * np.maximum(rate + of_seed + of_speaker, 0)))
    return errors[1] - errors[0], words


def _by_seed(table: np.ndarray) -> np.ndarray:
    """The paired differences by seed."""
    return table.mean(-1)


def _p_by_seed(by_seed: np.ndarray, truth: float = 0.0) -> np.ndarray:
    """p-values of Student's t over the last axis."""
    error = np.maximum(stats.sem(by_seed, axis=-1), 1e-12)
    return np.asarray(2 * stats.t.sf(np.abs(by_seed.mean(-1) - truth) / error, by_seed.shape[-1] - 1))


def test_the_mean_over_seeds_and_its_interval_equal_scipys() -> None:
    values = [0.231, 0.224, 0.250, 0.219]
    found = mean_over_seeds(values)
    expected = stats.ttest_1samp(values, 0)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.mean, found.p_value) == pytest.approx((np.mean(values), expected.pvalue))
    assert (found.low, found.high, found.seeds) == pytest.approx((low, high, 4))


def test_the_paired_difference_is_scipys_paired_t_test() -> None:
    first, second = [0.30, 0.34, 0.29, 0.33, 0.31], [0.28, 0.33, 0.25, 0.30, 0.31]
    found = mean_over_seeds([b - a for a, b in zip(first, second)])
    assert found.p_value == pytest.approx(stats.ttest_rel(second, first).pvalue)


def test_one_seed_has_no_interval_and_seeds_without_spread_are_no_evidence() -> None:
    assert mean_over_seeds([0.2]) == SeedMean(0.2, None, None, 1.0, 1)
    assert mean_over_seeds([0.1, 0.1, 0.1]) == SeedMean(pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.1), 1.0, 3)
    assert mean_over_seeds([0.0, 0.0]).p_value == 1.0


def test_holms_correction_keeps_the_order_and_steps_down() -> None:
    # Each p-value times the number of hypotheses not yet rejected, and never under a smaller one's.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04] and holm([]) == []


def test_holms_correction_is_never_milder_than_the_false_discovery_rates_of_scipy() -> None:
    control = getattr(stats, "false_discovery_control", None)
    if control is None:
        pytest.skip("scipy before 1.11 has no correction to compare with")
    p_values = np.random.default_rng(0).uniform(size=20) ** 3
    corrected = np.asarray(holm(p_values.tolist()))
    assert (corrected >= control(p_values) - 1e-12).all() and (corrected <= np.minimum(1, 20 * p_values) + 1e-12).all()


def test_the_table_keeps_the_word_error_rates_of_each_seed() -> None:
    differences, words = _tables(3, 7, speaker_effect=0.01, draws=1)
    expected = differences[0, 0].sum(-1) / words[0, 0].sum()
    np.testing.assert_allclose(_by_seed(difference_table(differences, words))[0, 0], expected)


@pytest.mark.parametrize("speakers", [5, 20, 1_500])
def test_without_speakers_effects_the_interval_is_students_t_over_seeds(speakers: int) -> None:
    by_seed = np.asarray([-0.010, -0.014, -0.007, -0.013])
    found = crossed_interval(np.repeat(by_seed[:, None], speakers, axis=1), replicates=100_000)
    low, high = stats.t.interval(0.95, 3, by_seed.mean(), stats.sem(by_seed))
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.05)
    assert found.p_value == pytest.approx(stats.ttest_1samp(by_seed, 0).pvalue, rel=0.1)


@pytest.mark.parametrize("speakers", [5, 40, 1_500])
def test_without_seeds_effects_the_interval_is_students_t_over_speakers(speakers: int) -> None:
    of_speaker = np.random.default_rng(1).normal(-0.003, 0.02, speakers)
    found = crossed_interval(np.repeat(of_speaker[None], 3, axis=0), replicates=100_000)
    low, high = stats.t.interval(0.95, speakers - 1, of_speaker.mean(), stats.sem(of_speaker))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.07 * (high - low))


def test_the_variance_is_that_of_the_analysis_of_variance_of_crossed_effects() -> None:
    rng = np.random.default_rng(2)
    table = rng.normal(0, 1, (4, 1)) + rng.normal(0, 2, (1, 6)) + rng.normal(0, 0.5, (4, 6))
    # Var(mean) = var(seeds)/S + var(speakers)/K − var(noise)/(S K), each estimated from its own means.
    noise = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    variance = table.mean(1).var(ddof=1) / 4 + table.mean(0).var(ddof=1) / 6 - (noise**2).sum() / 15 / 24
    found = crossed_interval(table)
    freedom = stats.t(3).ppf(0.975), stats.norm.ppf(0.975)
    assert freedom[1] < float(found.high - found.difference) / np.sqrt(variance) < freedom[0]


def test_many_comparisons_at_once_give_what_each_gives_alone() -> None:
    differences, words = _tables(3, 15, speaker_effect=0.01, systems=2, draws=2)
    table = difference_table(differences, words)
    together = crossed_interval(table, replicates=500)
    alone = [[crossed_interval(table[draw, system], replicates=500) for system in range(2)] for draw in range(2)]
    for name in CrossedInterval._fields:
        np.testing.assert_allclose(getattr(together, name), [[getattr(each, name) for each in row] for row in alone], rtol=1e-9)


@pytest.mark.parametrize("speaker_effect", [0.005, 0.01, 0.02])
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_the_interval_over_seeds_and_speakers_covers_a_known_difference(seeds: int, speaker_effect: float) -> None:
    found = crossed_interval(difference_table(*_tables(seeds, 30, speaker_effect=speaker_effect, difference=-0.01)), replicates=4_000)
    assert 0.93 <= np.mean((found.low <= -0.01) & (found.high >= -0.01)) <= 0.97


@pytest.mark.parametrize("seeds", [2, 5, 10])
@pytest.mark.parametrize("speakers", [2, 5])
def test_with_few_speakers_the_interval_is_too_long_rather_than_too_short(seeds: int, speakers: int) -> None:
    found = crossed_interval(difference_table(*_tables(seeds, speakers, speaker_effect=0.03, difference=-0.01)))
    assert np.mean((found.low <= -0.01) & (found.high >= -0.01)) >= 0.93


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_students_t_over_seeds_covers_a_difference_on_this_test_set_but_not_for_other_speakers(seeds: int) -> None:
    for speaker_effect, lowest, highest in ((0.0, 0.93, 0.97), (0.02, 0.0, 0.92)):
        found = _by_seed(difference_table(*_tables(seeds, 30, speaker_effect=speaker_effect, difference=-0.01)))
        covered = _p_by_seed(found, -0.01) > 0.05
        assert lowest <= covered.mean() <= highest


def _claims(table: np.ndarray) -> np.ndarray:
    """What the verdict claims: ``(draws, systems)`` of -1, 0 and 1, where the systems of a draw are one report."""
    by_seed = _by_seed(table)
    low, high, p_value = crossed_interval(table, replicates=2_000)[1:]
    p_by_seed = _p_by_seed(by_seed)
    claims = np.zeros(table.shape[:2], dtype=int)
    for draw in range(len(table)):
        corrected = zip(holm(p_by_seed[draw].tolist()), holm(p_value[draw].tolist()))
        for system, of_both in enumerate(corrected):
            mean = SeedMean(by_seed[draw, system].mean(), None, None, p_by_seed[draw, system], table.shape[-2])
            comparison = SeedComparison(mean, low[draw, system], high[draw, system], p_value[draw, system], "")
            claims[draw, system] = claimed_difference(comparison, of_both)
    return claims


@pytest.mark.parametrize("systems", [1, 4])
@pytest.mark.parametrize(
    ("seeds", "speakers", "speaker_effect"),
    [(2, 30, 0.0), (2, 30, 0.02), (3, 30, 0.01), (5, 30, 0.02), (10, 30, 0.0), (3, 5, 0.01), (5, 3, 0.03), (10, 3, 0.01)],
)
def test_with_no_true_difference_a_report_rarely_claims_one(seeds: int, speakers: int, speaker_effect: float, systems: int) -> None:
    claims = _claims(difference_table(*_tables(seeds, speakers, speaker_effect=speaker_effect, systems=systems)))
    assert claims.any(axis=1).mean() <= 0.06


def test_a_true_difference_is_claimed_and_in_the_right_direction() -> None:
    claims = _claims(difference_table(*_tables(5, 30, speaker_effect=0.005, difference=-0.01, systems=2, draws=200)))
    assert (claims == -1).mean() > 0.9 and not (claims == 1).any()


def test_both_tests_and_the_interval_must_say_so() -> None:
    better = SeedComparison(SeedMean(-0.01, -0.02, -0.001, 0.01, 3), -0.02, -0.001, 0.01, "")
    assert claimed_difference(better, (0.04, 0.05)) == -1
    assert claimed_difference(better, (0.06, 0.01)) == claimed_difference(better, (0.01, 0.06)) == 0
    assert claimed_difference(SeedComparison(better.by_seed, -0.02, 0.0, 0.01, ""), (0.01, 0.01)) == 0
    worse = SeedComparison(SeedMean(0.01, 0.001, 0.02, 0.01, 3), 0.001, 0.02, 0.01, "")
    assert claimed_difference(worse, (0.01, 0.01)) == 1


def _pair(differences: Sequence[int], speakers: Optional[List[str]], ids: Sequence[str] = ("a", "b", "c", "d")) -> PairedErrors:
    second = np.asarray(differences) + 5
    return PairedErrors(list(ids), np.full(len(second), 5), second, np.full(len(second), 20.0), speakers, None, None)


def test_errors_are_summed_by_speaker_and_paired_by_name_in_every_seed() -> None:
    speakers = ["x", "x", "y", "y"]
    pairs = [_pair([-1, 0, -2, -1], speakers), _pair([-2, 0, -1, 0], speakers), _pair([0, -1, -1, -2], speakers)]
    found = compare_seeds(pairs)
    assert found.method == "Student's t over 3 seeds and 2 speakers"
    assert found.by_seed.mean == pytest.approx(-11 / 240)
    order = [2, 3, 0, 1]
    turned = _pair([-1, 0, -2, -1], [speakers[place] for place in order], ids=[pairs[1].ids[place] for place in order])
    turned = turned._replace(errors_b=pairs[1].errors_b[order])
    assert compare_seeds([pairs[0], turned, pairs[2]]) == found


def test_utterances_stand_for_speakers_that_are_not_known_or_are_one() -> None:
    for speakers in (None, ["x"] * 4):
        pairs = [_pair([-1, 0, -2, -1], speakers), _pair([-2, 0, -1, 0], speakers)]
        assert compare_seeds(pairs).method == "Student's t over 2 seeds and 4 utterances"


def test_seeds_with_test_sets_of_their_own_are_compared_by_seed_alone() -> None:
    pairs = [_pair([-1, 0, -2, -1], None), _pair([-2, 0, -1, 0], None, ids=["e", "f", "g", "h"])]
    found = compare_seeds(pairs)
    assert found.method == "Student's t over 2 seeds, each with its own test set"
    assert (found.low, found.high, found.p_value) == (found.by_seed.low, found.by_seed.high, found.by_seed.p_value)


@pytest.mark.parametrize("references", [("one", "other"), ("one", None), (None, "other"), (None, None)])
@pytest.mark.parametrize("speaker", [None, "x"])
def test_positions_in_other_test_sets_are_not_the_same_utterances(references: Sequence[Optional[str]], speaker: Optional[str]) -> None:
    """fairseq calls the utterances of any test set None-0, None-1 and so on."""
    speakers = None if speaker is None else [speaker] * 4
    first, second = (
        _pair(differences, speakers, ids=["None-0", "None-1", "None-2", "None-3"])._replace(references=of)
        for differences, of in zip(([-1, 0, -2, -1], [-2, 0, -1, 0]), references)
    )
    second = second._replace(words=np.add(first.words, [0, 1, -1, 0]))
    assert compare_seeds([first, second]).method == "Student's t over 2 seeds, each with its own test set"
    again = second._replace(references=first.references, words=first.words)
    assert compare_seeds([first, again]).method == "Student's t over 2 seeds and 4 utterances"


def test_the_same_errors_in_every_seed_are_no_evidence() -> None:
    speakers = [f"s{number}" for number in range(12)]
    pair = _pair([-2] * 12, speakers, ids=speakers)
    found = compare_seeds([pair, pair, pair])
    assert found.p_value == 1.0 and found.by_seed.p_value == 1.0
    assert claimed_difference(found, (found.by_seed.p_value, found.p_value)) == 0


def test_a_comparison_of_many_utterances_is_fast_and_reproducible() -> None:
    rng = np.random.default_rng(0)
    ids = [str(number) for number in range(20_000)]
    pairs = [_pair(rng.integers(-2, 2, 20_000).tolist(), None, ids=ids) for _ in range(3)]
    found = compare_seeds(pairs)
    assert found.method == "hierarchical bootstrap over 3 seeds and 20000 utterances" and found.high < 0
    assert compare_seeds(pairs) == found


def test_scores_are_paired_by_utterance() -> None:
    first = {"per_utterance": {"id": ["a", "b"], "errors": [1, 2], "words": [5, 6], "speaker": ["x", "y"]}}
    second = {"per_utterance": {"id": ["b", "a"], "errors": [0, 1], "words": [6, 5]}}
    pair = pair_scores(first, second)
    assert pair is not None and pair.errors_b.tolist() == [1, 0] and pair.words.tolist() == [5, 6]
    second["per_utterance"]["words"] = [6, 6]
    assert pair_scores(first, second) is None
