"""Check that language model, lexicon and acoustic model speak of the same words, before hours of decoding rest on them.

A word that the language model does not know can still be found, but only at the cost of an unknown word. So a lexicon in another case
does not fail; it only makes the words wrong.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

from softhubert_plugin.errors import SoftHubertError, remark
from softhubert_plugin.files import PathLike
from softhubert_plugin.requirements import how_to_install

WARN_ABOVE, REFUSE_ABOVE = 0.01, 0.5  # shares of the lexicon's words that the language model lacks
WORD_END = "|"  # of models of letters
_SPECIAL = ("<unk>", "<s>", "</s>")
_SAME_CALL = "make both with one call of 'softhubert lm'"


def check_spelling(path: PathLike, entries: Sequence[Tuple[str, List[str]]], symbols: Sequence[str]) -> None:
    """Check that the acoustic model has the symbols that a lexicon spells with.

    Args:
        path: the lexicon, for messages.
        entries: its words and their spellings.
        symbols: the acoustic model's symbols.

    Raises:
        SoftHubertError: it lacks some; or it has the end of a word, ``|``, and a spelling lacks it.
    """
    known = set(symbols)
    unended = [word for word, spelling in entries if spelling[-1] != WORD_END] if WORD_END in known else []
    lacking: Dict[str, int] = {}
    for _, spelling in entries:
        for symbol in set(spelling) - known:
            lacking[symbol] = lacking.get(symbol, 0) + 1
    if lacking:
        named = ", ".join(f"{symbol!r} ({count} words)" for symbol, count in sorted(lacking.items(), key=lambda item: -item[1])[:5])
        numbers = "remove its column of probabilities, or " if all(map(_is_probability, lacking)) else ""
        raise SoftHubertError(
            f"{path}: spells with {len(lacking)} symbols that the model does not have: {named}; {_folding(lacking, known.__contains__)}"
            f"{numbers}make the lexicon with the dictionary the model was fine-tuned on ('softhubert lm')"
        )
    if unended:
        raise SoftHubertError(
            f"{path}: {len(unended)} of {len(entries)} spellings do not end with {WORD_END!r}, which ends a word of the model (the first: "
            f"{unended[0]!r}); write 'WORD W O R D {WORD_END}'"
        )


def _is_probability(symbol: str) -> bool:
    return re.fullmatch(r"[0-9]*\.[0-9]+(e-?[0-9]+)?|1|1\.", symbol) is not None


def check_fit(lm: PathLike, lexicon: Optional[PathLike], words: Optional[Sequence[str]], symbols: Sequence[str]) -> None:
    """Check a language model against the words of a lexicon or, without one, against the acoustic model's symbols.

    Args:
        lm: the language model.
        lexicon: the lexicon, for messages.
        words: its words; ``None`` without a lexicon.
        symbols: the acoustic model's symbols; fairseq's four special symbols come first.

    Raises:
        SoftHubertError: the language model is not usable, or lacks most of the words or symbols.
    """
    model = load_language_model(lm)
    if words is None:
        _check_letters(lm, model, [symbol for symbol in symbols[4:] if not symbol.startswith("madeupword")])
    else:
        _check_words(lm, model, str(lexicon), list(dict.fromkeys(word for word in words if word not in _SPECIAL)))


def _check_words(lm: PathLike, model: Any, lexicon: str, words: Sequence[str]) -> None:
    missing = [word for word in words if word not in model]
    known = len(words) - len(missing)
    if len(missing) > REFUSE_ABOVE * len(words):
        has = f"only {known}" if known else "none"
        hint = _folding(missing, model.__contains__)
        raise SoftHubertError(
            f"{lm}: has {has} of the {len(words)} words of {lexicon} (it lacks {missing[0]!r}); {hint or _guesses()}{_SAME_CALL}"
        )
    said = f"{lm} knows {_share(known, len(words))} of the {len(words)} words of {lexicon}"
    unigrams = read_unigrams(lm)
    if unigrams:
        theirs = set(words)
        said += f"; the lexicon has {_share(sum(1 for word in unigrams if word in theirs), len(unigrams))} of its {len(unigrams)} words"
    if len(missing) <= WARN_ABOVE * len(words):
        remark("note", said)
    else:
        remark("warning", f"{said}. It lacks {', '.join(map(repr, missing[:5]))}; {_folding(missing, model.__contains__)}{_SAME_CALL}")


def _check_letters(lm: PathLike, model: Any, symbols: Sequence[str]) -> None:
    missing = [symbol for symbol in symbols if symbol not in model]
    unigrams = read_unigrams(lm) or []
    known = set(symbols)
    others = sum(1 for unigram in unigrams if unigram not in known)
    lacks = f"lacks {len(missing)} of the model's symbols ({' '.join(missing[:8])})" if missing else "has all of the model's symbols"
    if unigrams and others > REFUSE_ABOVE * len(unigrams):
        lacks += f", and {others} of its {len(unigrams)} units are none of them"
    elif len(missing) <= REFUSE_ABOVE * len(symbols) and "|" not in missing:
        said = f"{lm} knows {_share(len(symbols) - len(missing), len(symbols))} of the model's {len(symbols)} symbols"
        remark("warning" if missing else "note", f"{said}. It {lacks}" if missing else said)
        return
    raise SoftHubertError(
        f"{lm}: {lacks}; {_folding(missing, model.__contains__)}without --lexicon the language model must be one of letters: make it with "
        "'softhubert lm --units letters'"
    )


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / max(whole, 1):.1f} %)"


def _guesses() -> str:
    return "is one in capitals and the other not, or is it a language model of letters? "


def _folding(missing: Iterable[str], knows: Callable[[str], bool]) -> str:
    """Say how many missing words are known in another case or another Unicode form; nothing if few are."""
    missing = list(missing)
    cases = sum(1 for word in missing if any(map(knows, (word.lower(), word.upper(), word.capitalize()))))
    forms = sum(1 for word in missing if any(knows(unicodedata.normalize(form, word)) for form in ("NFC", "NFD", "NFKC")))
    if cases * 2 > len(missing):
        return f"is one in capitals and the other not? In another case, {cases} of these {len(missing)} are there: "
    if forms * 2 > len(missing):
        return f"in another Unicode form (NFC, NFD), {forms} of these {len(missing)} are there: "
    return ""


def load_language_model(path: PathLike) -> Any:
    """Load a language model with kenlm.

    Raises:
        SoftHubertError: the file is missing or damaged, or kenlm is not installed.
    """
    try:
        import kenlm
    except ImportError:
        raise SoftHubertError(f"{path}: a language model needs kenlm; {how_to_install('lm')}") from None
    if not Path(path).is_file():
        raise SoftHubertError(f"{path}: no such language model; make one with 'softhubert lm'")
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        return kenlm.Model(str(path), config)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[-200:]
        remedy = "make or fetch it again"
        if _begins_with_mark(path):
            remedy = f"it begins with a byte order mark: remove it with sed -i '1s/^\\xEF\\xBB\\xBF//' {path}"
        raise SoftHubertError(f"{path}: not a language model that KenLM reads ({reason}); {remedy}") from None


def _begins_with_mark(path: PathLike) -> bool:
    with open(path, "rb") as stream:
        return stream.read(3) == b"\xef\xbb\xbf"


def read_unigrams(path: PathLike) -> Optional[List[str]]:
    """Read the words of a language model from an ARPA file, without special symbols; ``None`` if the file has another format."""
    with open(path, "rb") as stream:
        begin = stream.read(256).lstrip()
        if not begin.startswith(b"\\data\\"):
            return None
        stream.seek(0)
        for line in stream:
            if line.startswith(b"\\1-grams:"):
                break
        listed = itertools.takewhile(lambda line: line.strip() and not line.startswith(b"\\"), stream)
        words = [fields[1].decode("utf-8", errors="replace") for fields in map(bytes.split, listed) if len(fields) > 1]
    return [word for word in words if word not in _SPECIAL]
