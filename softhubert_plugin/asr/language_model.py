"""Make a language model and a lexicon from transcripts, so that decoding with a language model needs no download."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, List, Optional, Sequence, Set

from softhubert_plugin.asr.ctc_targets import load_pieces
from softhubert_plugin.asr.ngram import KneserNey
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, atomic_path, write_text
from softhubert_plugin.manifests import letters, read_dictionary
from softhubert_plugin.text_files import read_lines_of

ORDERS = range(2, 7)  # KenLM as built for Python reads orders up to 6


def write_language_model(
    texts: Sequence[PathLike],
    dest: PathLike,
    *,
    order: int = 3,
    units: str = "words",
    dictionary: Optional[PathLike] = None,
    sentencepiece: Optional[PathLike] = None,
    lexicon_from: Optional[PathLike] = None,
) -> str:
    """Write ``lm.arpa`` and, for a model of words, ``lexicon.txt``.

    Args:
        texts: text files with one sentence per line.
        dest: folder to write to.
        order: longest n-gram, in words (or units).
        units: what is modelled: ``words``; or ``letters`` or ``pieces``, for decoding without a lexicon.
        dictionary: the ``dict.*.txt`` of the acoustic model. Words that it cannot spell are counted and left out of the lexicon. A model
            of letters or pieces includes all of its symbols.
        sentencepiece: sentencepiece model. Its units replace letters: they spell the lexicon, or are modelled.
        lexicon_from: file with the lexicon's words, one per line; by default the words of the texts.

    Returns:
        One line that says what was written.

    Raises:
        SoftHubertError: a setting is not possible, a file is missing or empty, a line of ``lexicon_from`` has several words, or no word can
            be spelled.
    """
    if order not in ORDERS:
        raise SoftHubertError(f"--order {order}: expected {ORDERS[0]} to {ORDERS[-1]}")
    if units == "pieces" and sentencepiece is None:
        raise SoftHubertError("--units pieces: give the units with --sentencepiece")
    if units != "words" and lexicon_from is not None:
        raise SoftHubertError(f"--lexicon-from: a model of {units} decodes without a lexicon; leave it out, or choose --units words")
    spell = _speller(sentencepiece)
    symbols = None if dictionary is None else read_dictionary(dictionary)
    listed = None if lexicon_from is None else _words(lexicon_from)
    sentences = [line.split() if units == "words" else spell(line) for path in texts for line in _lines(path)]
    try:
        model = KneserNey(sentences, order, () if units == "words" or symbols is None else symbols)
    except ValueError as error:
        raise SoftHubertError(f"{', '.join(map(str, texts))}: {error}; give text with one sentence per line") from None
    with atomic_path(Path(dest) / "lm.arpa") as temporary, open(temporary, "w", encoding="utf-8") as stream:
        stream.writelines(model.arpa())
    said = f"{dest}: {order}-gram model of {len(model.vocabulary) - 3} {units} in {len(sentences)} sentences"
    guessed = [str(number) for number, estimated in enumerate(model.estimated, start=1) if not estimated]
    if guessed:
        said += f" (too little text to estimate the discounts of order {', '.join(guessed)}; fixed discounts are used)"
    if units != "words":
        return said
    known = model.vocabulary[3:]
    words = sorted(set(known if listed is None else listed))
    said += _write_lexicon(Path(dest) / "lexicon.txt", words, spell, None if symbols is None else set(symbols), dictionary)
    unknown = sorted(set(words).difference(known))
    return said + (f"; the model does not know {len(unknown)} words of {lexicon_from} (the first {unknown[0]!r})" if unknown else "")


def _speller(sentencepiece: Optional[PathLike]) -> Callable[[str], List[str]]:
    if sentencepiece is None:
        return lambda text: letters(text).split()
    model = load_pieces(sentencepiece)
    return lambda text: list(model.encode(" ".join(text.split()), out_type=str))


def _write_lexicon(
    path: Path, words: Sequence[str], spell: Callable[[str], List[str]], symbols: Optional[Set[str]], dictionary: Optional[PathLike]
) -> str:
    lines, strange, left_out = [], set(), []
    for word in words:
        spelling = spell(word)
        foreign = set(spelling) - symbols if symbols is not None else set()
        strange |= foreign
        if foreign:
            left_out.append(word)
        else:
            lines.append(f"{word}\t{' '.join(spelling)}\n")
    if not lines:
        raise SoftHubertError(
            f"{dictionary}: spells none of the {len(left_out)} words (lacks {' '.join(sorted(strange)[:8])}); is the text in capitals?"
        )
    write_text(path, "".join(lines))
    said = f", lexicon of {len(lines)} words"
    return said + (f", without {len(left_out)} that {dictionary} cannot spell (the first {left_out[0]!r})" if left_out else "")


def _words(path: PathLike) -> List[str]:
    """Read a file with one word per line; empty lines are left out.

    Raises:
        SoftHubertError: the file is missing, has no words, or has several in a line.
    """
    found = []
    for number, line in enumerate(_lines(path), start=1):
        fields = line.split()
        if len(fields) > 1:
            raise SoftHubertError(
                f"{path}, line {number}: expected one word, found {line.strip()[:60]!r}; give one word per line (of a lexicon: cut -f1)"
            )
        found += fields
    if not found:
        raise SoftHubertError(f"{path}: no words; give one word per line")
    return found


def _lines(path: PathLike) -> List[str]:
    try:
        return read_lines_of(path)
    except FileNotFoundError:
        raise SoftHubertError(f"{path}: no such file; give text with one sentence per line, such as train.wrd") from None
