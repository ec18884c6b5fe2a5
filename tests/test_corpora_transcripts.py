"""Transcripts are cleaned up in the steps that are asked for, which are counted; what is odd in them is said and not changed."""

from __future__ import annotations

import pytest

from softhubert_plugin.corpora.normalise import STEPS, Normaliser, TextSurvey
from softhubert_plugin.errors import SoftHubertError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, world!", "Hello world"),
        ("Don’t stop—it's “fine”.", "Don't stop it's fine"),
        ("'Hello,' she said", "Hello she said"),
        ("‘Stop!’ ‘Why?’ don’t", "Stop Why don't"),
        ("the dogs' tails.", "the dogs' tails"),
        ("'tis late", "'tis late"),
        ("well-known/unknown", "well known unknown"),
        ("3.5 at 10:30, 1,000 and 1/2.", "3.5 at 10:30 1,000 and 1/2"),
        ("50% & $5 + €3", "50% & $5 + €3"),
        ("a <UNK> b, [noise]!", "a <UNK> b [noise]"),
        ("«ça va»… ¿no?", "ça va no"),
        ("「はい」、そう。", "はい そう"),
        ("a|b `c` under_score", "a b c under score"),
        (" ' - … ", ""),
    ],
)
def test_punctuation_becomes_a_space_but_apostrophes_numbers_and_spoken_signs_stay(text: str, expected: str) -> None:
    assert Normaliser(["punctuation"])(text) == expected


@pytest.mark.parametrize(
    ("steps", "text", "expected"),
    [
        (["upper"], "straße é", "STRASSE É"),
        (["lower"], "ÉTÉ", "été"),
        (["nfc"], "e\u0301t", "ét"),
        (["nfkc"], "ﬁne Ａ", "fine A"),
        (["marks"], "<UNK> go [noise] {laugh} on (he said)", "go on (he said)"),
        (["marks", "punctuation"], "<UNK> go, on", "go on"),
        (["upper", "nfc"], "ǰ", "J\u030c"),
        (["upper,punctuation", "nfc"], "Ok.", "OK"),
        (["NFC", "UPPER"], "e\u0301", "É"),
        ([], "As it is, Ok?", "As it is, Ok?"),
    ],
)
def test_each_step_does_what_it_is_named_after_and_nothing_else(steps: list, text: str, expected: str) -> None:
    assert Normaliser(steps)(text) == expected


def test_steps_give_the_same_in_any_order_and_a_second_time() -> None:
    texts = ["'Don’t', SHE said: e\u0301t ﬁne <UNK>", "1.5% of-it"]
    forwards, backwards = Normaliser(["nfkc", "marks", "punctuation", "lower"]), Normaliser(["lower", "punctuation", "marks", "nfkc"])
    for text in texts:
        assert forwards(text) == backwards(text) == forwards(forwards(text))


def test_what_was_done_is_counted() -> None:
    normaliser = Normaliser(["upper", "punctuation", "marks"])
    for text in ("One, two.", "THREE", "[noise] four, five", "'six'"):
        normaliser(text)
    (report,) = normaliser.report()
    assert "marks changed 1 transcripts" in report and "punctuation changed 3" in report and "upper changed 3" in report
    assert "2 × ," in report and "2 × '" in report and "1 × ." in report and "1 × [noise]" in report
    assert Normaliser([]).report() == []


@pytest.mark.parametrize(
    ("steps", "message"),
    [(["uper"], "--normalise uper: expected some of"), (["upper", "lower"], "contradict"), (["nfc,nfkc"], "contradict")],
)
def test_steps_that_do_not_exist_or_contradict_each_other_are_refused(steps: list, message: str) -> None:
    with pytest.raises(SoftHubertError, match=message):
        Normaliser(steps)


def test_marks_digits_and_loose_accents_are_said() -> None:
    survey = TextSurvey()
    for text in ("go <UNK> on", "[noise] 12", "e\u0301", "plain"):
        survey.add(text)
    marks, digits, accents = survey.report()
    assert "<UNK> (1)" in marks and "[noise] (1)" in marks and "--normalise marks" in marks
    assert digits.startswith("note: 1 transcripts have digits") and "--normalise nfc" in accents
    assert TextSurvey().report() == [] and set(STEPS) >= {"marks", "nfc"}
