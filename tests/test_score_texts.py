"""The texts that are scored: plain text, sclite's trn with comments, alternatives and optional words, and hints about spelling."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any, List, Sequence

import numpy as np
import pytest

from softhubert_plugin.cli import main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import write_manifest
from softhubert_plugin.scoring.alternatives import align_texts
from softhubert_plugin.scoring.edits import errors_in
from softhubert_plugin.scoring.hints import spelling_hints
from softhubert_plugin.scoring.intervals import compare_errors
from softhubert_plugin.scoring.score import Score, compare_files, compare_scores, load_score, score_files


def _score(folder: Path, hypotheses: str, references: str, **options: Any) -> Score:
    for name, text in (("hyp", hypotheses), ("ref", references)):
        (folder / name).write_bytes(text.encode())
    return score_files(folder / "hyp", folder / "ref", **options)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False], ids=["last line ends", "last line does not end"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["no mark", "byte order mark"])
def test_plain_text_is_scored_line_by_line_as_jiwer_does(mark: str, last: bool, end: str, tmp_path: Path) -> None:
    jiwer = pytest.importorskip("jiwer")
    references, hypotheses = ["GO ON", "THE CAT SAT", "NO"], ["GO", "A CAT SAT DOWN", "NO"]
    texts = [mark + end.join(lines) + (end if last else "") for lines in (hypotheses, references)]
    score = _score(tmp_path, *texts)
    assert score.wer == pytest.approx(jiwer.wer(references, hypotheses)) and score.errors.tolist() == [1, 2, 0]
    assert score.summary().endswith("; read as plain text, line by line")


def test_an_empty_line_of_plain_text_is_an_empty_hypothesis(tmp_path: Path) -> None:
    assert _score(tmp_path, "A\n\nC\n", "A\nB\nC\n").errors.tolist() == [0, 1, 0]
    assert _score(tmp_path, "A\nB\n\n", "A\nB\nC\n").errors.tolist() == [0, 0, 1]
    assert _score(tmp_path, "A\nB\n\n\n", "A\nB\n").errors.tolist() == [0, 0]  # an editor's blank lines at the end
    with pytest.raises(SoftHubertError, match=r"hyp: 3 lines, but .*ref has 2; plain text needs one line for each utterance"):
        _score(tmp_path, "A\nB\nC\n", "A\nB\n")


def test_a_manifest_names_the_lines_of_plain_text(tmp_path: Path) -> None:
    write_manifest(tmp_path / "test.tsv", tmp_path, [("19-1-0000.flac", 100), ("26-1-0000.flac", 100)])
    score = _score(tmp_path, "A\nB C\n", "A\nB D\n", manifest=tmp_path / "test.tsv")
    assert score.ids == ["19-1-0000", "26-1-0000"]
    with pytest.raises(SoftHubertError, match=r"1 utterances, but .*test\.tsv lists 2"):
        _score(tmp_path, "A\n", "A\n", manifest=tmp_path / "test.tsv")


@pytest.mark.parametrize(
    ("hypotheses", "references", "complaint"),
    [
        ("A (x-1)\nB\n", "A (x-1)\nB (x-2)\n", r"hyp, line 2: expected 'WORDS \(id\)' as in line 1 of .*hyp, found 'B'; .*--format lines"),
        ("A\nB (laughs)\n", "A\nB\n", r"hyp, line 1: expected 'WORDS \(id\)' as in line 2 of"),
        ("A\nB\n", "A (x-1)\nB (x-2)\n", r"hyp, line 1: expected 'WORDS \(id\)' as in line 1 of .*ref, found 'A'"),
        ("A (x-1)\nB (x-2)\n", "A\nB\n", r"ref, line 1: expected 'WORDS \(id\)' as in line 1 of .*hyp"),
        (";; only comments\n", "A (x-1)\n", "hyp: the file has only comments"),
        ("\n\n", "A\n", "hyp: the file is empty"),
        ("A (laughs)\nB (laughs)\n", "A (laughs)\nB (laughs)\n", "line 2: utterance 'laughs' occurs twice; .*--format lines"),
        ("84-1-0 A\n84-1-1 B\n", "84-1-1 B\n84-1-0 A\n", "hyp: its lines begin with what look like names .*'84-1-0'; .*--format kaldi"),
    ],
)
def test_files_of_mixed_or_doubtful_form_are_refused(tmp_path: Path, hypotheses: str, references: str, complaint: str) -> None:
    with pytest.raises(SoftHubertError, match=complaint):
        _score(tmp_path, hypotheses, references)


@pytest.mark.parametrize(
    ("text", "structure"),
    [
        ("rec1 1 0.10 0.25 GO\nrec1 1 0.40 0.20 ON 0.98\n", "a CTM file"),
        (";; by a decoder\nrec1 A 0 1 GO\nrec1 A 1 .5 ON\n", None),
        (";; by a decoder\nrec1 A 0 1 GO\n\nrec1   A 1 0.5 ON\n", "a CTM file"),
        ("rec1 1 spk1 0.0 2.5 <o,f0,male> GO ON\nrec1 1 spk2 2.5 3.75\n", "an STM file"),
        ('{"id": "a", "text": "GO"}\n{"id": "b", "text": "ON"}\n', "JSON"),
        ('[\n  {"text": "GO"},\n  {"text": "ON"}\n]\n', "JSON"),
        ("[laughter] GO\n{uh} ON\n", None),
        ("path,text\na.wav,GO ON\nb.wav,NO\n", "a table with commas"),
        ("well, go on\nno, not now\n", None),
        ("T-0\tGO ON\nH-0\t-1.5\tGO\n", "a table with tabs"),
        ("1\n00:00:00,000 --> 00:00:01,500\nGO ON\n", "subtitles"),
        ("WEBVTT\n\n00:00.000 --> 00:01.500\nGO ON\n", "subtitles"),
        ('File type = "ooTextFile"\nObject class = "TextGrid"\n', "a TextGrid"),
        ("FLIGHT 1 AT 10 20 PM\nGO 2 MILES\n", None),
        ("1 2 3\n4 5 6 7 8\n", None),
    ],
)
@pytest.mark.parametrize("side", ["hypotheses", "references", "both"])
def test_files_that_hold_more_than_words_are_refused(side: str, text: str, structure: Any, tmp_path: Path) -> None:
    words = "".join("GO ON\n" if line.strip() else "\n" for line in text.splitlines())
    files = [text if side in ("hypotheses", "both") else words, text if side in ("references", "both") else words]
    if structure is None:
        assert _score(tmp_path, *files).ids
    else:
        name = "ref" if side == "references" else "hyp"
        with pytest.raises(SoftHubertError, match=rf"{name}: looks like {structure}; give the words alone.*--format lines"):
            _score(tmp_path, *files)
    assert len(_score(tmp_path, *files, form="lines").ids) == len(words.splitlines())


def test_the_form_can_be_forced(tmp_path: Path) -> None:
    lines = _score(tmp_path, "A (laughs)\n{ B\n", "A (laughs)\nB\n", form="lines")
    assert lines.words.tolist() == [2, 1] and lines.errors.tolist() == [0, 1]
    kaldi = _score(tmp_path, "u2 B D\nu1\tA\n", "u1 A\nu2  B C\nu3\n".replace("u3\n", ""), form="kaldi")
    assert kaldi.ids == ["u1", "u2"] and kaldi.errors.tolist() == [0, 1] and kaldi.words.tolist() == [1, 2]
    assert kaldi.summary().endswith("; read as 'id WORDS' lines")
    with pytest.raises(SoftHubertError, match=r"ref, line 1: expected 'WORDS \(id\)', found 'A'"):
        _score(tmp_path, "A (x-1)\n", "A\n", form="trn")
    # First words that are the same in both files, but are no names.
    assert _score(tmp_path, "SEVEN B\n7 D\n", "SEVEN B\n7 C\n").words.tolist() == [2, 2]


def test_the_command_forces_the_form_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("hyp", "ref"):
        (tmp_path / name).write_text("utt1 A\nutt2 B\n")
    assert main(["score", str(tmp_path / "hyp"), str(tmp_path / "ref"), "--format", "kaldi", "--against", str(tmp_path / "hyp")]) == 0
    assert "0 errors in 2 words of 2 utterances" in capsys.readouterr().out


def test_ids_may_have_parentheses_in_pairs(tmp_path: Path) -> None:
    score = _score(tmp_path, "A B (utt(1))\nC (a(b)(c))\n", "C (a(b)(c))\nA B (utt(1))\n")
    assert (score.form, score.ids, score.words.tolist(), score.wer) == ("trn", ["a(b)(c)", "utt(1)"], [1, 2], 0)
    with pytest.raises(SoftHubertError, match=r"hyp, line 2: expected 'WORDS \(id\)' as in line 1 of .*found 'B u\)'"):
        _score(tmp_path, "A (u)\nB u)\n", "A (u)\nB (v)\n")


def test_comments_are_skipped_and_ids_may_differ_in_case(tmp_path: Path) -> None:
    score = _score(tmp_path, ";; made by us\nA (Spk-1)\n;; B (spk-9)\nC (SPK-2)\n", "C (spk-2)\nA (spk-1)\n;;\n")
    assert score.ids == ["spk-2", "spk-1"] and score.wer == 0
    with pytest.raises(SoftHubertError, match="missing, the first 'A-1'"):
        _score(tmp_path, "A (A-1)\nB (x-2)\n", "A (a-1)\nB (a-2)\n".replace("a-1", "b-1"))
    with pytest.raises(SoftHubertError, match="missing"):  # ids that differ in case only are two utterances
        _score(tmp_path, "A (a-1)\nB (A-1)\n", "A (a-1)\nB (A-2)\n")
    assert _score(tmp_path, "A (a-1)\nB (A-1)\n", "B (A-1)\nA (a-1)\n").wer == 0


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts"),
    [  # correct, substituted, deleted and inserted words, as `sclite -D -i spu_id -o pra` of SCTK 2.4.12 counts them
        ("i've { um / uh / @ } as far", "i've as far", (3, 0, 0, 0)),
        ("i've { um / uh / @ } as far", "i've uh as far", (4, 0, 0, 0)),
        ("I am a (farmer)", "I am a", (4, 0, 0, 0)),
        ("I am a (farmer)", "I am a farmer", (4, 0, 0, 0)),
        ("(uh) so", "ah so", (1, 1, 0, 0)),
        ("{ what are / what're } you", "what're you", (2, 0, 0, 0)),
        ("the @ cat", "the cat", (2, 0, 0, 0)),
        ("@", "yes", (0, 0, 0, 1)),
        ("a b", "a @ b", (2, 0, 0, 0)),
        ("{ a { b / c } / d } e", "a c e", (3, 0, 0, 0)),
        ("{ { a / b } / c } d", "b d", (2, 0, 0, 0)),
        ("{ x / y z }", "y", (1, 0, 1, 0)),
        ("{ (uh) / um } yes", "yes", (2, 0, 0, 0)),
        ("a / b", "a / b", (3, 0, 0, 0)),
        ("a- b", "a b", (1, 1, 0, 0)),
    ],
)
def test_alternatives_and_optional_words_count_as_in_sclite(reference: str, hypothesis: str, counts: Sequence[int]) -> None:
    aligned = align_texts(reference, hypothesis)
    assert tuple(aligned.steps.count(step) for step in "CSDI") == tuple(counts)
    assert len(aligned.reference) == sum(counts[:3])


def _some_reference(rng: random.Random, depth: int = 0) -> List[Any]:
    """Make a random reference: words, ``(word, "optional")``, and lists of alternatives."""
    parts: List[Any] = []
    for _ in range(rng.randint(1, 3)):
        kind = rng.random()
        if kind < 0.25 and depth < 2:
            parts.append([_some_reference(rng, depth + 1) for _ in range(rng.randint(2, 3))])
        elif kind < 0.4:
            parts.append((rng.choice("abc"), "optional"))
        else:
            parts.append(rng.choice(["a", "b", "c", "@"]))
    return parts


def _spell(parts: List[Any]) -> str:
    spelt = []
    for part in parts:
        if isinstance(part, list):
            spelt.append("{ " + " / ".join(map(_spell, part)) + " }")
        else:
            spelt.append(f"({part[0]})" if isinstance(part, tuple) else part)
    return " ".join(spelt)


def _paths(parts: List[Any]) -> List[List[str]]:
    """List every word sequence that a reference allows."""
    choices: List[List[List[str]]] = []
    for part in parts:
        if isinstance(part, list):
            choices.append([path for alternative in part for path in _paths(alternative)])
        elif isinstance(part, tuple):
            choices.append([[part[0]], []])
        else:
            choices.append([[] if part == "@" else [part]])
    return [list(itertools.chain(*chosen)) for chosen in itertools.product(*choices)]


def test_the_best_path_has_the_fewest_errors_of_all_paths() -> None:
    import editdistance

    rng = random.Random(0)
    for _ in range(300):
        parts = _some_reference(rng)
        hypothesis = rng.choices("abc", k=rng.randint(0, 5))
        aligned = align_texts(_spell(parts) + " {a/b}".replace("a/b", "z / @"), " ".join(hypothesis))
        assert errors_in(aligned.steps) == min(editdistance.eval(path, hypothesis) for path in _paths(parts)), _spell(parts)
        assert [word for word in aligned.hypothesis if word] == hypothesis
        assert len(aligned.steps) - aligned.steps.count("I") == len(aligned.reference)


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        ("a { b / c", "as many '{' as '}'"),
        ("a b / c }", "as many '{' as '}'"),
        ("} a {", "'}' without '{'"),
        ("{ a }", "single alternative"),
        ("{ a / }", "an empty alternative; write @"),
        ("{ / a }", "an empty alternative"),
        ("{ }", "an empty alternative"),
        ("{ and/or / x }", "'and/or' within"),
        ("(two words)", "an optional word is a single word in parentheses"),
        ("() a", "an optional word is a single word"),
        ("{ a / " * 60 + "b" + " }" * 60, "nested 60 deep"),
        ("{ a / " * 6000 + "b" + " }" * 6000, "nested 6000 deep"),
    ],
)
def test_malformed_marks_are_refused_by_utterance(tmp_path: Path, reference: str, complaint: str) -> None:
    with pytest.raises(SoftHubertError) as refused:
        _score(tmp_path, "a (x-1)\nb (x-2)\n", f"a (x-1)\n{reference} (x-2)\n")
    assert complaint in str(refused.value) and "ref: utterance 'x-2': " in str(refused.value)


@pytest.mark.parametrize("hypothesis", ["{ a / b }", "(a)", "a}"])
def test_a_hypothesis_cannot_offer_alternatives(tmp_path: Path, hypothesis: str) -> None:
    with pytest.raises(SoftHubertError, match="hyp: utterance 'x-1': .*which only references may have"):
        _score(tmp_path, f"{hypothesis} (x-1)\n", "a (x-1)\n")


def test_an_optional_word_left_out_is_no_error_anywhere(tmp_path: Path) -> None:
    score = _score(tmp_path, "I AM (x-1)\nNO (y-1)\n", "(UH) I AM (x-1)\nNO (y-1)\n")
    assert (score.wer, score.cer, score.words.tolist()) == (0.0, 0.0, [3, 1])
    assert score.worst(1).splitlines()[2:4] == ["REF:  uh i am", "HYP:     i am"]


def test_systems_on_different_paths_are_compared(tmp_path: Path) -> None:
    references = "".join(f"{{ WHAT ARE / WHAT'RE }} YOU GO ON {number} (x-{number})\n" for number in range(40))
    first = "".join(f"WHAT ARE YOU GO ON {number if number % 2 else 'X'} (x-{number})\n" for number in range(40))
    second = "".join(f"WHAT'RE YOU GO ON {number} (x-{number})\n" for number in range(40))
    for name, text in (("a", first), ("b", second), ("ref", references)):
        (tmp_path / name).write_text(text)
        if name == "ref":
            for system in ("a", "b"):
                score_files(tmp_path / system, tmp_path / "ref").save(tmp_path / f"{system}.json")
    a, b = load_score(tmp_path / "a.json"), load_score(tmp_path / "b.json")
    assert (a["errors"], b["errors"]) == (20, 0) and a["words"] == b["words"] + 40
    found = compare_scores(a, b)
    assert found is not None and found.segments == 20 and found.p_value < 1e-4
    assert "over 20 segments" in compare_files(tmp_path / "b", tmp_path / "a", tmp_path / "ref")
    (tmp_path / "ref").write_text(references.replace("ON 3 ", "OUT 3 "))
    score_files(tmp_path / "b", tmp_path / "ref").save(tmp_path / "c.json")
    assert compare_scores(a, load_score(tmp_path / "c.json")) is None


@pytest.mark.parametrize(
    ("hypothesis", "reference", "hints"),
    [
        ("go on\n", "GO ON\n", ["note: WER would be 0.00 % with case folded"]),
        ("Straße\n", "STRASSE\n", ["note: WER would be 0.00 % with case folded"]),
        ("Go on.\n", "Go on\n", ["note: WER would be 0.00 % with punctuation removed"]),
        ("A - B\n", "A B\n", ["note: WER would be 0.00 % with punctuation removed"]),
        ("CAFE\u0301 X\n", "CAF\u00c9 Y\n", ["note: WER would be 50.00 % with one Unicode form (NFKC) and no invisible characters"]),
        ("A\u200bB\n", "AB\n", ["note: WER would be 0.00 % with one Unicode form (NFKC) and no invisible characters"]),
        (
            "Go, on\n",
            "GO ON\n",
            [
                "note: WER would be 50.00 % with case folded",
                "note: WER would be 0.00 % with case folded, punctuation removed",
            ],
        ),
        ("Go - on\nA - B\n", "Go on\nA - B\n", ["note: WER would be 0.00 % with punctuation removed"]),
        ("a x\nA - B\n", "A y\nA - B\n", ["note: WER would be 20.00 % with case folded"]),
        ("a @ (x-1)\n", "A (x-1)\n", ["note: WER would be 0.00 % with case folded"]),
        ("GO OUT\n", "GO ON\n", []),
        ("GO ON\n", "GO ON\n", []),
        ("a (x-1)\nUH YES (x-2)\n", "a (x-1)\n{ um / uh } yes (x-2)\n", ["note: WER would be 0.00 % with case folded"]),
        ("a (x-1)\nYES (x-2)\n", "a (x-1)\n(uh) yes (x-2)\n", ["note: WER would be 0.00 % with case folded"]),
    ],
)
def test_errors_of_spelling_are_pointed_out(tmp_path: Path, hypothesis: str, reference: str, hints: List[str]) -> None:
    assert spelling_hints(_score(tmp_path, hypothesis, reference)) == hints


def test_a_few_errors_of_spelling_among_many_are_not_worth_a_hint(tmp_path: Path) -> None:
    words = "A B C D E F G H I J K L"
    assert spelling_hints(_score(tmp_path, "x " + "X " * 12, f"X {words}")) == []


def test_the_command_prints_the_hints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hyp").write_text("go on\n")
    (tmp_path / "ref").write_text("GO ON\n")
    assert main(["score", str(tmp_path / "hyp"), str(tmp_path / "ref")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("WER 100.00 %") and said[-1] == "note: WER would be 0.00 % with case folded"


def test_white_space_of_every_kind_ends_a_word_and_invisible_characters_do_not(tmp_path: Path) -> None:
    assert _score(tmp_path, "A B C D E\n", "A\tB\u00a0C\u3000D\u2009E\n").words.tolist() == [5]
    assert _score(tmp_path, "AB\n", "A\u200bB\n").count("S") == 1
    assert _score(tmp_path, "A\u2028B\n", "A B\n").words.tolist() == [2]  # a line separator ends a word, not a line


def test_a_comparison_names_the_test_it_used() -> None:
    words, errors = np.full(60, 5), np.random.default_rng(0).binomial(5, 0.3, 60)
    better = np.maximum(errors - 1, 0)
    assert compare_errors(errors, better, words).test == "studentised bootstrap"
    assert compare_errors(errors, better, words, speakers=list("abc") * 20).test == "Student's t"
    assert compare_errors(errors, errors, words).test == "none"
