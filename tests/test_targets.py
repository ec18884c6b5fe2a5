"""CTC targets: letters and pieces come back as words, and foreign characters are refused or dropped."""

from __future__ import annotations

import functools
import random
import re
from pathlib import Path
from typing import List

import pytest
from fairseq.data.data_utils import post_process

from softhubert_plugin.asr.ctc_targets import write_letter_targets, write_piece_targets
from softhubert_plugin.asr.hypotheses import collapse_path, words_of
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import read_dictionary, read_manifest, write_manifest


def _data(folder: Path, **splits: List[str]) -> Path:
    for split, texts in splits.items():
        write_manifest(folder / f"{split}.tsv", folder, [(f"{split}-{number}.flac", 8000) for number in range(len(texts))])
        (folder / f"{split}.wrd").write_text("".join(f"{text}\n" for text in texts))
    return folder


def _texts(seed: int, number: int) -> List[str]:
    rng = random.Random(seed)
    words = ["SOUND", "SOUNDING", "GROUND", "ROUND", "AROUND", "SINGING", "RINGING", "IT'S", "A", "BIG", "BIGGER", "FOUND"]
    return [" ".join(rng.choices(words, k=rng.randint(2, 8))) for _ in range(number)]


def test_letters_and_pieces_come_back_as_words_through_fairseqs_post_process(tmp_path: Path) -> None:
    train, test = _texts(0, 200), _texts(1, 20)
    _data(tmp_path, train=train, test=test)
    write_letter_targets(tmp_path, ["train", "test"], tmp_path)
    assert "sp25 of train, test, 24 symbols" in write_piece_targets(tmp_path, ["train", "test"], tmp_path, units=25)
    for label, symbol in (("ltr", "letter"), ("sp25", "sentencepiece")):
        lines = (tmp_path / f"test.{label}").read_text().splitlines()
        assert [post_process(line, symbol) for line in lines] == test == [words_of(line) for line in lines]
        assert set(" ".join(lines).split()) <= set(read_dictionary(tmp_path / f"dict.{label}.txt"))
    shorter = [len((tmp_path / f"test.{label}").read_text().split()) for label in ("sp25", "ltr")]
    assert shorter[0] < 0.75 * shorter[1]


def test_the_same_text_gives_the_same_pieces(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_piece_targets(_data(tmp_path / name, train=_texts(0, 100)), ["train"], tmp_path / name, units=25)
    for name in ("sp25.model", "train.sp25", "dict.sp25.txt"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_pieces_of_any_script_come_back_as_the_words_that_scoring_compares(tmp_path: Path) -> None:
    odd = ["می\u200cخواهم", "e\u0301te\u0301 été", "ﬁn ｆｕｌｌ", "x\u200by", "A\u3000B\u00a0C", "한국 ½"]
    _data(tmp_path, train=[*_texts(0, 50), *odd])
    assert "warning: U+200B, U+200C cannot be seen" in write_piece_targets(tmp_path, ["train"], tmp_path, units=50)
    lines = (tmp_path / "train.sp50").read_text().split("\n")[50:56]
    assert [words_of(line) for line in lines] == [" ".join(text.split()) for text in odd]


@pytest.mark.parametrize(("units", "boundary"), [(None, "|"), (25, "▁")])
def test_a_word_boundary_within_a_word_cannot_be_spelled(units: int, boundary: str, tmp_path: Path) -> None:
    _data(tmp_path, train=_texts(0, 100), test=["A BIG SOUND", f"A{boundary}BIG SOUND", f"SOUND{boundary}"])
    write = functools.partial(write_piece_targets, units=units) if units else write_letter_targets
    with pytest.raises(SoftHubertError, match=rf"2 transcripts with characters outside the dictionary \('{re.escape(boundary)}' in 2\)"):
        write(tmp_path, ["train", "test"], tmp_path / "out")
    assert "left out 2 utterances" in write(tmp_path, ["train", "test"], tmp_path / "out", drop=True)


@pytest.mark.parametrize("units", [None, 25])
def test_transcripts_with_foreign_characters_are_counted_named_and_refused_or_dropped(tmp_path: Path, units: int) -> None:
    train = _texts(0, 100)
    test = ["SOUND ROUND", "CAFÉ AROUND", "ROUND ÉÉ", "", "BIG SOUND"]
    _data(tmp_path, train=train, test=test)
    (tmp_path / "test.ltr").write_text("one\ntwo\nthree\nfour\nfive\n")

    def write(drop: bool) -> str:
        if units is None:
            return write_letter_targets(tmp_path, ["train", "test"], tmp_path, drop=drop)
        return write_piece_targets(tmp_path, ["train", "test"], tmp_path, units=units, drop=drop)

    before = (tmp_path / "test.tsv").read_bytes()
    with pytest.raises(SoftHubertError, match=r"3 transcripts with characters outside the dictionary \(.*É.* in .*the first test: test-1"):
        write(drop=False)
    assert (tmp_path / "test.tsv").read_bytes() == before and not list(tmp_path.glob("dict.*"))
    assert "left out 3 utterances" in write(drop=True)
    assert read_manifest(tmp_path / "test.tsv").names == ["test-0.flac", "test-4.flac"]
    assert (tmp_path / "test.wrd").read_text() == "SOUND ROUND\nBIG SOUND\n"
    if units is not None:
        assert (tmp_path / "test.ltr").read_text() == "one\nfive\n"
    assert len((tmp_path / "test.ltr").read_text().splitlines()) == 2


def test_files_of_a_split_whose_name_begins_with_this_one_are_left_alone(tmp_path: Path) -> None:
    _data(tmp_path, train=["GO ON", "NO"], **{"train.small": ["GO"]})
    (tmp_path / "train.small.ltr").write_text("G O |\n")
    write_letter_targets(tmp_path, ["train"], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dict.ltr.txt", "train.ltr", "train.tsv", "train.wrd"]


def test_a_given_dictionary_is_used_unchanged(tmp_path: Path) -> None:
    _data(tmp_path, train=["GO ON"], test=["NO"])
    (tmp_path / "mine.txt").write_text("| 1\nG 1\nO 1\nN 1\nX 1\n")
    write_letter_targets(tmp_path, ["train", "test"], tmp_path / "out", dictionary=tmp_path / "mine.txt")
    assert read_dictionary(tmp_path / "out" / "dict.ltr.txt") == ["|", "G", "O", "N", "X"]
    assert (tmp_path / "out" / "test.ltr").read_text() == "N O |\n"
    assert read_manifest(tmp_path / "out" / "test.tsv").root == tmp_path


def test_more_units_than_the_text_gives_are_refused_with_the_number(tmp_path: Path) -> None:
    _data(tmp_path, train=["GO ON"])
    with pytest.raises(SoftHubertError, match=r"does not give 500 units .*choose another --units"):
        write_piece_targets(tmp_path, ["train"], tmp_path, units=500)


def test_a_ctc_path_collapses_repetitions_before_blanks() -> None:
    assert collapse_path([0, 5, 5, 0, 5, 7, 7, 0], blank=0) == [5, 5, 7]
    assert collapse_path([], blank=0) == []
    assert words_of("G O | O N |") == "GO ON" and words_of("G O | | O N |") == post_process("G O | | O N |", "letter")
