from __future__ import annotations

import random
from pathlib import Path
from typing import List

import numpy as np
import pytest

from softhubert_plugin.asr.decode import collapse, words_of
from softhubert_plugin.asr.score import compare, load_score, score_files
from softhubert_plugin.errors import SoftHubertError


def write(path: Path, texts: List[str]) -> Path:
    path.write_text("".join(f"{text} (None-{number})\n" for number, text in enumerate(texts)))
    return path


def levenshtein(a: List[str], b: List[str]) -> int:
    """The textbook recurrence, as an independent reference."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        row = _next_row(row, i, x, b)
    return row[-1]


def _next_row(row: List[int], i: int, x: str, b: List[str]) -> List[int]:
    following = [i]
    for j, y in enumerate(b, start=1):
        following.append(min(row[j] + 1, following[j - 1] + 1, row[j - 1] + (x != y)))
    return following


def test_errors_equal_the_textbook_recurrence_on_random_pairs(tmp_path: Path) -> None:
    rng = random.Random(0)
    references = [" ".join(rng.choices("ABCD", k=rng.randint(0, 8))) for _ in range(300)]
    hypotheses = [" ".join(rng.choices("ABCD", k=rng.randint(0, 8))) for _ in range(300)]
    score = score_files(write(tmp_path / "hyp", hypotheses), write(tmp_path / "ref", references))
    expected = [levenshtein(h.split(), r.split()) for h, r in zip(hypotheses, references)]
    assert score.errors.tolist() == expected
    assert score.wer == pytest.approx(sum(expected) / sum(len(r.split()) for r in references))
    assert score.low < score.wer < score.high


def test_word_error_rate_equals_jiwers(tmp_path: Path) -> None:
    jiwer = pytest.importorskip("jiwer")
    rng = random.Random(1)
    references = [" ".join(rng.choices("ABCD", k=rng.randint(1, 8))) for _ in range(200)]
    hypotheses = [" ".join(rng.choices("ABCD", k=rng.randint(0, 8))) for _ in range(200)]
    score = score_files(write(tmp_path / "hyp", hypotheses), write(tmp_path / "ref", references))
    assert score.wer == pytest.approx(jiwer.wer(references, hypotheses))


def test_lines_match_by_id_whatever_their_order(tmp_path: Path) -> None:
    (tmp_path / "hyp").write_text("C D (None-1)\nA B (None-0)\n")
    (tmp_path / "ref").write_text("A B (None-0)\nC D (None-1)\n")
    assert score_files(tmp_path / "hyp", tmp_path / "ref").wer == 0


@pytest.mark.parametrize(
    ("hypotheses", "references", "complaint"),
    [
        ("A (None-0)\n", "A (None-0)\nB (None-1)\n", "missing"),
        ("A (None-0)\nB (None-1)\n", "A (None-0)\n", "missing"),
        ("A (None-0)\nB (None-0)\n", "A (None-0)\n", "twice"),
        ("A\n", "A (None-0)\n", "line 1"),
        ("", "A (None-0)\n", "empty"),
        ("A (None-0)\n", "(None-0)\n", "no reference words"),
    ],
)
def test_files_that_do_not_match_are_refused(tmp_path: Path, hypotheses: str, references: str, complaint: str) -> None:
    (tmp_path / "hyp").write_text(hypotheses)
    (tmp_path / "ref").write_text(references)
    with pytest.raises(SoftHubertError, match=complaint):
        score_files(tmp_path / "hyp", tmp_path / "ref")


def test_a_saved_score_keeps_every_utterance(tmp_path: Path) -> None:
    score = score_files(write(tmp_path / "hyp", ["A B", ""]), write(tmp_path / "ref", ["A C", "D"]))
    score.save(tmp_path / "score.json")
    stored = load_score(tmp_path / "score.json")
    assert stored["per_utterance"] == {"id": ["None-0", "None-1"], "errors": [1, 1], "words": [2, 1]}
    assert stored["wer"] == pytest.approx(2 / 3)


def test_the_interval_covers_the_truth_about_as_often_as_it_says(tmp_path: Path) -> None:
    from softhubert_plugin.asr.score import _replicate

    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        words = rng.integers(1, 9, 150)
        errors = rng.binomial(words, 0.2)
        low, high = np.percentile(_replicate(errors[:, None], words), [2.5, 97.5])
        covered += low <= 0.2 <= high
    assert 88 <= covered <= 100


def test_comparison_finds_a_clear_difference_and_none_between_twins() -> None:
    rng = np.random.default_rng(0)
    words = np.full(200, 5)
    errors = rng.binomial(words, 0.3)
    better = np.maximum(errors - 1, 0)
    found = compare(errors, better, words)
    assert found.difference < 0 and found.high < 0 and found.p_value < 0.01
    turned = compare(better, errors, words)
    assert turned.difference == pytest.approx(-found.difference) and turned.p_value == pytest.approx(found.p_value)
    assert compare(errors, errors, words).p_value == 1


def test_a_ctc_path_collapses_repetitions_before_blanks() -> None:
    assert collapse([0, 5, 5, 0, 5, 7, 7, 0], blank=0) == [5, 5, 7]
    assert collapse([], blank=0) == []
    assert words_of("G O | O N |") == "GO ON"
