"""Scoring: error counts compared with jiwer's, confidence intervals that cover the truth, and paired tests between systems."""

from __future__ import annotations

import random
from pathlib import Path
from typing import List

import numpy as np
import pytest

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import write_manifest
from softhubert_plugin.scoring.bootstrap import resampled
from softhubert_plugin.scoring.edits import edit_steps, errors_in, view
from softhubert_plugin.scoring.intervals import _segments, compare_errors, matched_pairs, rate_interval
from softhubert_plugin.scoring.score import compare_files, compare_scores, load_score, score_files


def write(path: Path, texts: List[str]) -> Path:
    """Write texts with the ids ``None-0``, ``None-1`` and so on, as fairseq does."""
    path.write_text("".join(f"{text} (None-{number})\n" for number, text in enumerate(texts)))
    return path


def random_texts(seed: int, number: int, shortest: int = 0) -> List[str]:
    """Make random texts of ``shortest`` to eight words."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(["A", "BEE", "SEA", "DEED"], k=rng.randint(shortest, 8))) for _ in range(number)]


def test_resampling_keeps_the_number_of_units_and_gives_each_the_same_chance() -> None:
    times = resampled(np.random.default_rng(0), 20, 5_000)
    assert times.shape == (5_000, 20) and (times.sum(1) == 20).all() and (times == np.rint(times)).all()
    # A multinomial has mean 1, variance 1 - 1/n and covariance -1/n.
    assert times.mean(0) == pytest.approx(np.ones(20), abs=0.07)
    expected = np.eye(20) - 1 / 20
    assert np.abs(np.cov(times.T) - expected).max() < 0.08


def test_counts_and_rates_equal_jiwers_on_a_thousand_random_pairs(tmp_path: Path) -> None:
    jiwer = pytest.importorskip("jiwer")
    references, hypotheses = random_texts(0, 1000), random_texts(1, 1000)
    assert "" in references and "" in hypotheses
    score = score_files(write(tmp_path / "hyp", hypotheses), write(tmp_path / "ref", references))
    theirs = jiwer.process_words(references, hypotheses)
    assert score.wer == pytest.approx(theirs.wer, abs=1e-15)
    assert (score.count("S"), score.count("D"), score.count("I"), score.count("C")) == (
        theirs.substitutions, theirs.deletions, theirs.insertions, theirs.hits,
    )  # fmt: skip
    together = [[text.replace(" ", "") for text in texts] for texts in (references, hypotheses)]
    assert score.cer == pytest.approx(jiwer.cer(*together), abs=1e-15)
    one_by_one = [jiwer.process_words(pair[0], pair[1]) for pair in zip(references, hypotheses)]
    assert score.errors.tolist() == [found.substitutions + found.deletions + found.insertions for found in one_by_one]


def test_every_alignment_rebuilds_both_sides_at_the_least_cost() -> None:
    import editdistance

    for reference, hypothesis in zip(random_texts(2, 300), random_texts(3, 300)):
        left, right = reference.split(), hypothesis.split()
        steps = edit_steps(left, right)
        assert errors_in(steps) == editdistance.eval(left, right)
        assert len(steps) - steps.count("I") == len(left) and len(steps) - steps.count("D") == len(right)
        heard, said = iter(right), iter(left)
        for step in steps:
            a = None if step == "I" else next(said)
            b = None if step == "D" else next(heard)
            assert (a == b) == (step == "C")


def test_the_view_of_an_utterance_looks_like_sclites(tmp_path: Path) -> None:
    reference, hypothesis = ["go", "on", "to", "the", "end", "of", "it"], ["go", "along", "to", "end", "of", "it", "now"]
    assert view("19-198-0001", reference, hypothesis, edit_steps(reference, hypothesis)).splitlines() == [
        "id: (19-198-0001)",
        "Scores: (#C #S #D #I) 5 1 1 1",
        "REF:  go ON    to THE end of it ***",
        "HYP:  go ALONG to *** end of it NOW",
        "Eval:    S        D             I",
    ]
    long = view("x", ["word"] * 40, ["word"] * 40, "C" * 40, width=60)
    assert max(map(len, long.splitlines())) <= 60 and long.count("REF:") == 4
    score = score_files(write(tmp_path / "hyp", ["A B", "A C"]), write(tmp_path / "ref", ["A B", "A B"]))
    assert score.worst(1).startswith("id: (None-1)") and "None-0" not in score.worst(1)


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
        ("A (None-0)\n\n", "A (None-0)\n", "line 2: expected 'WORDS \\(id\\)', found ''"),
        ("\udcff (None-0)\n", "A (None-0)\n", "hyp, line 1: not UTF-8 text"),
    ],
)
def test_files_that_do_not_match_are_refused(tmp_path: Path, hypotheses: str, references: str, complaint: str) -> None:
    (tmp_path / "hyp").write_text(hypotheses, errors="surrogateescape")
    (tmp_path / "ref").write_text(references)
    with pytest.raises(SoftHubertError, match=complaint):
        score_files(tmp_path / "hyp", tmp_path / "ref")


def test_hypotheses_without_a_word_are_all_deletions(tmp_path: Path) -> None:
    score = score_files(write(tmp_path / "hyp", ["", ""]), write(tmp_path / "ref", ["A B", "C"]))
    assert (score.wer, score.cer, score.count("D"), score.hypotheses) == (1.0, 1.0, 3, [[], []])
    with pytest.raises(SoftHubertError, match=r"is a folder; give a file in it, such as .*hypo\.word"):
        score_files(tmp_path, tmp_path / "ref")


def test_one_speaker_gets_an_interval_over_utterances_that_says_so(tmp_path: Path) -> None:
    texts = random_texts(3, 20, shortest=1)
    files = []
    for name, lines in (("hyp", [text.replace("BEE", "BE") for text in texts]), ("ref", texts)):
        (tmp_path / name).write_text("".join(f"{line} (19-1-{number:04d})\n" for number, line in enumerate(lines)))
        files.append(tmp_path / name)
    score = score_files(*files)
    assert score.interval.method == "studentised bootstrap over 20 utterances" and score.interval.low < score.wer < score.interval.high
    assert list(score.by_speaker()) == ["19"] and score.speaker_table().count("\n") == 1
    with pytest.raises(SoftHubertError, match=r"the speaker of 'None-0' is not known; give --manifest"):
        score_files(write(tmp_path / "a", ["A"]), write(tmp_path / "b", ["A"])).speaker_table()


def test_a_manifest_gives_the_ids_of_utterances_and_speakers(tmp_path: Path) -> None:
    write_manifest(tmp_path / "test.tsv", tmp_path, [("a/19-1-0000.flac", 100), ("a/19-1-0001.flac", 100), ("b/26-2-0000.flac", 100)])
    hypotheses, references = write(tmp_path / "hyp", ["A B", "C", "D E"]), write(tmp_path / "ref", ["A B", "D", "D"])
    assert score_files(hypotheses, references).by_speaker() == {}
    score = score_files(hypotheses, references, manifest=tmp_path / "test.tsv")
    assert score.ids == ["19-1-0000", "19-1-0001", "26-2-0000"]
    found = {speaker: (of["utterances"], of["words"], of["errors"], of["wer"]) for speaker, of in score.by_speaker().items()}
    assert found == {"19": (2, 3, 1, 1 / 3), "26": (1, 1, 1, 1.0)}
    assert [line.split()[0] for line in score.speaker_table().splitlines()] == ["speaker", "26", "19"]
    write_manifest(tmp_path / "same.tsv", tmp_path, [("a/19-1-0000.flac", 100), ("b/19-1-0000.flac", 100), ("c/26-1-0000.flac", 100)])
    ids = score_files(hypotheses, references, manifest=tmp_path / "same.tsv").ids
    assert ids == ["a/19-1-0000.flac", "b/19-1-0000.flac", "26-1-0000"]
    (tmp_path / "named").write_text("A (19-1-0000)\nB (19-1-0001)\nC (27-2-0000)\n")
    with pytest.raises(SoftHubertError, match=r"named: utterance '27-2-0000' is not in .*test\.tsv; give the decoded split's manifest"):
        score_files(tmp_path / "named", tmp_path / "named", manifest=tmp_path / "test.tsv")
    write_manifest(tmp_path / "other.tsv", tmp_path, [("a/19-1-0000.flac", 100)])
    with pytest.raises(SoftHubertError, match=r"other\.tsv lists 1; give the decoded split's manifest"):
        score_files(hypotheses, references, manifest=tmp_path / "other.tsv")


def test_a_saved_score_keeps_every_utterance(tmp_path: Path) -> None:
    score = score_files(write(tmp_path / "hyp", ["A B", ""]), write(tmp_path / "ref", ["A C", "D"]))
    score.save(tmp_path / "score.json")
    stored = load_score(tmp_path / "score.json")
    kept = stored["per_utterance"]
    assert (kept["id"], kept["errors"], kept["words"], kept["alignment"]) == (["None-0", "None-1"], [1, 1], [2, 1], ["CS", "D"])
    assert stored["wer"] == pytest.approx(2 / 3)
    assert (stored["substitutions"], stored["deletions"], stored["insertions"]) == (1, 1, 0)


def _coverage(speakers: int, corpora: int, replicates: int) -> float:
    """Return the share of random corpora whose interval contains the true rate, when speakers differ.

    The error rates of the speakers follow a beta distribution with mean 10 %. Each speaker has 20 to 60 utterances of 1 to 40 words.
    """
    rng = np.random.default_rng(speakers)
    covered = 0
    for _ in range(corpora):
        of = np.repeat(np.arange(speakers), rng.integers(20, 61, speakers))
        words = rng.integers(1, 41, len(of))
        errors = rng.binomial(words, rng.beta(4, 36, speakers)[of])
        found = rate_interval(errors, words, [str(speaker) for speaker in of], replicates=replicates)
        covered += found.low <= 0.1 <= found.high
    return covered / corpora


@pytest.mark.parametrize("speakers", [20, 40, 73])
def test_the_interval_by_speaker_covers_the_truth_93_to_97_times_in_a_hundred(speakers: int) -> None:
    """LibriSpeech's test sets have 40 and 33 speakers, its four development and test sets together 146."""
    assert 0.93 <= _coverage(speakers, corpora=2000, replicates=1000) <= 0.97


def test_the_interval_by_utterance_covers_the_truth_where_utterances_are_independent() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        words = rng.integers(1, 9, 150)
        errors = rng.binomial(words, rng.beta(1, 4, 150))
        found = rate_interval(errors, words, replicates=1000)
        covered += found.low <= 0.2 <= found.high
    assert 0.93 <= covered / 2000 <= 0.97


def test_the_method_depends_on_the_number_of_units() -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(1, 9, 60)
    errors = rng.binomial(words, 0.3)
    assert rate_interval(errors, words).method == "studentised bootstrap over 60 utterances"
    assert rate_interval(errors, words, ["a"] * 60).method == "studentised bootstrap over 60 utterances"
    assert rate_interval(errors, words, list("abc") * 20).method == "Student's t over 3 speakers"
    assert rate_interval(errors, words, [str(n % 12) for n in range(60)]).method == "studentised bootstrap over 12 speakers"
    assert rate_interval(np.zeros(60), words).low == rate_interval(np.zeros(60), words).high == 0
    assert rate_interval(errors[:1], words[:1]).method == "none: 1 utterances without spread"


def test_the_interval_agrees_with_scipys_on_many_speakers() -> None:
    from scipy.stats import bootstrap

    rng = np.random.default_rng(5)
    words = rng.integers(50, 200, 120)
    errors = rng.binomial(words, rng.beta(4, 36, 120))
    theirs = bootstrap(
        (errors, words), lambda e, w, axis: e.sum(axis) / w.sum(axis), paired=True, n_resamples=9999, rng=0
    ).confidence_interval
    ours = rate_interval(errors, words)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.15 * (theirs.high - theirs.low))


def test_comparison_finds_a_clear_difference_and_none_between_twins() -> None:
    rng = np.random.default_rng(0)
    words = np.full(200, 5)
    errors = rng.binomial(words, 0.3)
    better = np.maximum(errors - 1, 0)
    found = compare_errors(errors, better, words)
    assert found.difference < 0 and found.high < 0 and found.p_value < 0.01
    turned = compare_errors(better, errors, words)
    assert turned.difference == pytest.approx(-found.difference) and turned.p_value == pytest.approx(found.p_value)
    assert compare_errors(errors, errors, words).p_value == 1


def test_segments_are_bounded_by_two_words_that_both_systems_have_right() -> None:
    assert _segments("CCSCCSCC", "CCCCCCCC") == [(1, 0), (1, 0)]
    assert _segments("CCSCSCC", "CCCCCCC") == [(2, 0)]  # one correct word between the errors: one segment
    assert _segments("CCSCCSCC", "CCSCSCCC") == [(2, 2)]  # the other system's error is in between
    assert _segments("CIC", "CC") == [(1, 0)] and _segments("CCCC", "CCCC") == []
    assert _segments("CSCICSC", "CCCCCC") == [(3, 0)]  # an insertion between two correct words separates them: one segment
    assert _segments("II", "I") == [(2, 1)]  # an empty reference


def test_the_matched_pairs_test_is_a_paired_z_test_over_segments() -> None:
    from scipy.stats import norm

    differences = np.asarray([1] * 30 + [-1] * 15 + [2] * 5)
    steps = {1: ("CCCCC", "CCSCC"), -1: ("CCSCC", "CCCCC"), 2: ("CCCCCC", "CCSSCC")}
    pairs = [steps[difference] for difference in differences]
    z = differences.mean() / (differences.std(ddof=1) / np.sqrt(50))
    assert matched_pairs(*zip(*pairs)) == (pytest.approx(2 * norm.sf(abs(z))), 50)
    assert matched_pairs(["CCC"], ["CCC"]) == (1.0, 0)
    assert matched_pairs(["CSC"] * 3, ["CCC"] * 3) == (0.25, 3)


def test_equal_systems_are_called_different_five_times_in_a_hundred() -> None:
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(1000):
        wrong = rng.random((2, 60, 20)) < 0.1
        first, second = (["".join(np.where(line, "S", "C")) for line in system] for system in wrong)
        called += matched_pairs(first, second)[0] < 0.05
    assert 0.03 <= called / 1000 <= 0.07


def test_saved_scores_are_paired_by_id_and_compared_segment_by_segment(tmp_path: Path) -> None:
    references = random_texts(4, 80, shortest=3)
    first, second = (write(tmp_path / name, random_texts(seed, 80, shortest=3)) for name, seed in (("a", 5), ("b", 6)))
    ref = write(tmp_path / "ref", references)
    for name, path in (("a", first), ("b", second)):
        score_files(path, ref).save(tmp_path / f"{name}.json")
    a, b = load_score(tmp_path / "a.json"), load_score(tmp_path / "b.json")
    found = compare_scores(a, b)
    assert found is not None and found.test == "MAPSSWE" and found.segments is not None and found.segments > 50
    assert found.difference == pytest.approx(b["wer"] - a["wer"])
    b["per_utterance"] = {key: values[::-1] for key, values in b["per_utterance"].items()}
    assert compare_scores(a, b) == found
    assert "MAPSSWE over" in compare_files(second, first, ref)
    b["per_utterance"]["id"][0] = "another"
    assert compare_scores(a, b) is None
