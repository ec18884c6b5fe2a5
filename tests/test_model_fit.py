"""Language model, lexicon and symbols: how much they have in common is said, doubted or refused before anything is decoded."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Callable, Optional, Sequence

import pytest
import torch

from softhubert_plugin.asr.beam import BeamDecoder, BeamSettings, check_models
from softhubert_plugin.asr.language_model import write_language_model
from softhubert_plugin.asr.lexicon import plain_lexicon
from softhubert_plugin.errors import SoftHubertError

pytest.importorskip("kenlm")

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
LETTERS = "|ABCDEFGHIJKLMNOPQRSTUVWXYZ"
WORDS = [f"{first}{second}" for first in "ABCDEF" for second in "GHIJKLM"][:40]


def _model(folder: Path, words: Sequence[str], units: str = "words") -> str:
    (folder / "text").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    write_language_model([folder / "text"], folder / "lm", order=2, units=units)
    return str(folder / "lm" / "lm.arpa")


def _lexicon(folder: Path, words: Sequence[str], spell: Callable[[str], str] = str.upper) -> str:
    lines = [f"{word}\t{' '.join(spell(word))} |\n" for word in words]
    (folder / "lexicon.txt").write_text("".join(lines), encoding="utf-8")
    return str(folder / "lexicon.txt")


def _check(lm: str, lexicon: Optional[str], letters: str = LETTERS) -> None:
    check_models(BeamSettings(lm=lm, lexicon=lexicon), [*SPECIAL, *letters])


def test_a_full_fit_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lm, lexicon = _model(tmp_path, WORDS), _lexicon(tmp_path, WORDS)
    _check(lm, lexicon)
    said = f"{lm} knows 40 (100.0 %) of the 40 words of {lexicon}; the lexicon has 40 (100.0 %) of its 40 words"
    assert capsys.readouterr().err == f"softhubert: note: {said}\n"


def test_a_lexicon_that_is_smaller_than_the_model_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _check(_model(tmp_path, WORDS), _lexicon(tmp_path, WORDS[:4]))
    assert "knows 4 (100.0 %) of the 4 words" in (said := capsys.readouterr().err) and "4 (10.0 %) of its 40 words" in said
    assert said.startswith("softhubert: note: ")


@pytest.mark.parametrize("missing", [1, 12, 20])
def test_some_missing_words_are_a_warning(missing: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _check(_model(tmp_path, WORDS), _lexicon(tmp_path, [word.lower() for word in WORDS[:missing]] + WORDS[missing:]))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("softhubert: warning: ") and f"knows {40 - missing} (" in line and f"lacks '{WORDS[0].lower()}'" in line
    assert f"In another case, {missing} of these {missing} are there" in line


@pytest.mark.parametrize("change", [str.lower, str.capitalize], ids=["lower", "capitalised"])
@pytest.mark.parametrize("shared", [1, 19])
def test_most_words_in_another_case_are_refused_with_the_cause(change: Callable[[str], str], shared: int, tmp_path: Path) -> None:
    lm, lexicon = _model(tmp_path, WORDS), _lexicon(tmp_path, WORDS[:shared] + [change(word) for word in WORDS[shared:]])
    with pytest.raises(SoftHubertError) as refused:
        _check(lm, lexicon)
    assert str(refused.value) == (
        f"{lm}: has only {shared} of the 40 words of {lexicon} (it lacks {change(WORDS[shared])!r}); is one in capitals and the other not? "
        f"In another case, {40 - shared} of these {40 - shared} are there: make both with one call of 'softhubert lm'"
    )


def test_words_of_another_language_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match="has none of the 40 words .*or is it a language model of letters"):
        _check(_model(tmp_path, ["EINS", "ZWEI"]), _lexicon(tmp_path, WORDS))


def test_words_in_another_unicode_form_are_refused_with_the_cause(tmp_path: Path) -> None:
    words = [f"É{word}" for word in WORDS]
    apart = [unicodedata.normalize("NFD", word) for word in words]
    lexicon = _lexicon(tmp_path, apart, lambda word: "A")
    with pytest.raises(SoftHubertError, match=r"in another Unicode form \(NFC, NFD\), 40 of these 40 are there"):
        _check(_model(tmp_path, words), lexicon)


def test_letters_in_another_case_are_named_as_the_cause(tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match="spells with .* symbols that the model does not have.*In another case"):
        _check(_model(tmp_path, WORDS), _lexicon(tmp_path, WORDS, str.lower))
    with pytest.raises(SoftHubertError, match="lacks 26 of the model's symbols.*In another case, 26 of these 26"):
        _check(_model(tmp_path, ["the quick brown fox jumps over the lazy dog"], "letters"), None)


def test_a_column_of_probabilities_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lexiconp.txt"
    path.write_text("AB 0.7 A B |\nAB 0.3 A B B |\nCD 1.0 C D |\n")
    with pytest.raises(SoftHubertError, match=r"spells with 3 symbols .*'0\.7' .1 words.*; remove its column of probabilities, or make"):
        _check(_model(tmp_path, WORDS), str(path))


def test_spellings_without_the_end_of_a_word_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text("AG A G |\nAH A H\nAI A I\n")
    with pytest.raises(SoftHubertError, match=r"lexicon.txt: 2 of 3 spellings do not end with '\|'.*the first: 'AH'.*'WORD W O R D \|'"):
        _check(_model(tmp_path, WORDS), str(path))
    path.write_text("AG A G\n")  # of a model without such an end
    _check(_model(tmp_path, WORDS), str(path), LETTERS.replace("|", ""))


def test_a_lexicon_with_a_word_twice_is_the_same_to_the_search(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text("AG\tA G |\nAH A H |\nAG A  G |\nAG A G G |\n")
    with plain_lexicon(path) as plain:
        assert plain is not None and Path(plain).read_text() == "AG\tA G |\nAH A H |\nAG A G G |\n"


def test_a_model_of_letters_may_lack_a_few_symbols(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _check(_model(tmp_path, ["THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG"], "letters"), None)
    assert "note: " in (said := capsys.readouterr().err) and "knows 27 (100.0 %) of the model's 27 symbols" in said
    _check(_model(tmp_path, ["THE QUICK BROWN FOX"], "letters"), None)
    assert "warning: " in (said := capsys.readouterr().err) and "It lacks 11 of the model's symbols" in said
    with pytest.raises(SoftHubertError, match="lacks 23 of the model's symbols .*--units letters"):
        _check(_model(tmp_path, ["AB C"], "letters"), None)


def test_a_model_of_words_that_has_every_letter_as_a_word_is_refused_without_a_lexicon(tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match=r"lacks 1 of the model's symbols \(\|\), and 40 of its 66 units are none of them"):
        _check(_model(tmp_path, [*LETTERS[1:], *WORDS]), None)


@pytest.mark.parametrize("form", ["byte order mark", "Windows line ends"])
def test_a_lexicon_from_windows_finds_the_same_words(form: str, tmp_path: Path) -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    symbols = [*SPECIAL, *LETTERS]
    scores = torch.full((8, len(symbols)), -5.0)
    for frame, letter in enumerate("A|BB|A|"):
        scores[frame, symbols.index(letter)] = 5.0
    scores[7, 0] = 5.0
    found = []
    lm, lexicon = _model(tmp_path, ["A", "B", "A B"]), _lexicon(tmp_path, ["A", "B"])
    for windows in (False, True):
        if windows:
            content = Path(lexicon).read_bytes()
            Path(lexicon).write_bytes(b"\xef\xbb\xbf" + content if form == "byte order mark" else content.replace(b"\n", b"\r\n"))
        found.append(BeamDecoder(BeamSettings(lm=lm, lexicon=lexicon, beam=5), symbols, 0, 2)(scores))
    assert found[0] == found[1] and found[0][0].words == "A B A"


def test_a_language_model_with_a_byte_order_mark_is_refused_with_the_remedy(tmp_path: Path) -> None:
    lm, lexicon = _model(tmp_path, WORDS), _lexicon(tmp_path, WORDS)
    content = Path(lm).read_bytes()
    Path(lm).write_bytes(content.replace(b"\n", b"\r\n"))
    _check(lm, lexicon)  # KenLM reads Windows line ends
    Path(lm).write_bytes(b"\xef\xbb\xbf" + content)
    with pytest.raises(SoftHubertError, match="begins with a byte order mark: remove it with sed"):
        _check(lm, lexicon)


def test_words_that_the_model_never_saw_are_counted_when_the_lexicon_is_made(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("GO ON\n")
    (tmp_path / "words").write_bytes(b"\xef\xbb\xbfGO\r\nOUT\r\nUP")
    said = write_language_model([tmp_path / "text"], tmp_path / "lm", order=2, lexicon_from=tmp_path / "words")
    assert (tmp_path / "lm" / "lexicon.txt").read_text() == "GO\tG O |\nOUT\tO U T |\nUP\tU P |\n"
    assert said.endswith("lexicon of 3 words; the model does not know 2 words of " + f"{tmp_path / 'words'} (the first 'OUT')")
