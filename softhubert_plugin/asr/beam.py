"""Beam search with torchaudio's ``ctc_decoder`` over flashlight-text. The lexicon and the KenLM model are both optional.

The search and its defaults are those of fairseq's ``KenLMDecoder``. On the same scores it gives the same hypotheses.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch

from softhubert_plugin.asr.hypotheses import Hypothesis, spell, words_of
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, read_lines_of, read_yaml

_INSTALL = "install the extra 'lm': bash install.sh --extras lm"


@dataclass(frozen=True)
class BeamSettings:
    """Settings of the beam search. The defaults are those of fairseq's ``infer.py``.

    Attributes:
        lm: KenLM model, ARPA or binary. With a lexicon it models words; without one, the acoustic model's own symbols.
        lexicon: file with one ``WORD<TAB>spelling`` per line. Without a lexicon, any string of symbols can be found.
        beam: hypotheses kept per frame.
        beam_threshold: hypotheses whose score is more than this below the best are dropped.
        lm_weight: factor on the language model's score (natural logarithm).
        word_score: score added for each word.
        sil_score: score added for each word boundary.
        nbest: hypotheses returned per utterance.
    """

    lm: Optional[str] = None
    lexicon: Optional[str] = None
    beam: int = 50
    beam_threshold: float = 50.0
    lm_weight: float = 2.0
    word_score: float = -1.0
    sil_score: float = 0.0
    nbest: int = 1

    def __post_init__(self) -> None:
        for name, value in (("beam", self.beam), ("nbest", self.nbest)):
            if value < 1:
                raise SoftHubertError(f"--{name} {value}: expected 1 or more hypotheses")


_OPEN = "???"  # hydra's mark for a value that must be given
_KEYS = {
    "lmpath": "lm",
    "lexicon": "lexicon",
    "beam": "beam",
    "beamthreshold": "beam_threshold",
    "lmweight": "lm_weight",
    "wordscore": "word_score",
    "silweight": "sil_score",
    "nbest": "nbest",
}


def search_settings(given: Dict[str, Any], config: Optional[PathLike] = None) -> Optional[BeamSettings]:
    """Combine given settings and a configuration into the settings of a beam search.

    Args:
        given: fields of :class:`BeamSettings`. Values that are not ``None`` override the configuration's.
        config: a decoding configuration in fairseq's format.

    Returns:
        The settings, or ``None`` for greedy decoding.

    Raises:
        SoftHubertError: the configuration is not usable or leaves a required setting open, or beam-search settings were given for greedy
            decoding.
    """
    chosen = read_search_config(config) if config is not None else {}
    chosen.update({name: value for name, value in given.items() if value is not None})
    left_open = [name for name, value in chosen.items() if value == _OPEN]
    if left_open:
        raise SoftHubertError(f"{config}: does not set --{' and --'.join(left_open)}; set it there or on the command line")
    if {"lm", "lexicon", "beam"} & chosen.keys():
        return BeamSettings(**chosen)
    if chosen:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in chosen)
        raise SoftHubertError(f"{options}: settings of a beam search, but this is greedy decoding; add --lm and --lexicon, or --beam")
    return None


def read_search_config(path: PathLike) -> Dict[str, Any]:
    """Read the section ``decoding`` of a decoding configuration in fairseq's format.

    Returns:
        Values by field name of :class:`BeamSettings`; empty for greedy decoding. A value that must still be given is ``???``.

    Raises:
        SoftHubertError: the file is missing or not YAML, has no section ``decoding``, names a decoder other than viterbi and kenlm, or has
            a value of another type than its setting.
    """
    try:
        config = read_yaml(path, remedy="see config/decode/kenlm.yaml")
    except FileNotFoundError:
        raise SoftHubertError(f"{path}: no such configuration; see config/decode") from None
    section = config.get("decoding") if isinstance(config, dict) else None
    if not isinstance(section, dict):
        raise SoftHubertError(f"{path}: has no section 'decoding'; see config/decode/kenlm.yaml")
    kind = section.get("type", "viterbi")
    if kind not in ("viterbi", "kenlm"):
        raise SoftHubertError(f"{path}: decoding.type is {kind!r}, expected viterbi or kenlm; for other decoders use fairseq's infer.py")
    if kind == "viterbi":
        return {}
    return {ours: _checked(path, theirs, section[theirs]) for theirs, ours in _KEYS.items() if section.get(theirs) is not None}


def _checked(path: PathLike, key: str, value: Any) -> Any:
    """A value of a decoding configuration, as the type of its setting."""
    is_path, is_count = key in ("lmpath", "lexicon"), key in ("beam", "nbest")
    if value == _OPEN or (is_path and isinstance(value, str)):
        return value
    number = _number(value)
    if is_path or number is None or (is_count and (number < 1 or number != int(number))):
        expected = "a path" if is_path else "a whole number from 1" if is_count else "a number"
        raise SoftHubertError(f"{path}: decoding.{key} is {str(value)[:60]!r}, expected {expected}; see config/decode/kenlm.yaml")
    return int(number) if is_count else number


def _number(value: Any) -> Optional[float]:
    """A finite number, or ``None``. YAML takes ``1e3`` for text, fairseq does not."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) else None


class BeamDecoder:
    """A beam search. It is set up once and can then decode any number of utterances.

    Args:
        symbols: the acoustic model's symbols, in order.
        blank: index of the CTC blank in ``symbols``.
        end: index of ``</s>`` in ``symbols``.
        checked: :func:`check_models` has already run on these settings and symbols.

    Raises:
        SoftHubertError: the extra ``lm`` is not installed, a file is missing or damaged, or language model, lexicon and symbols do not
            fit each other.
    """

    def __init__(self, settings: BeamSettings, symbols: Sequence[str], blank: int, end: int, *, checked: bool = False) -> None:
        try:
            from torchaudio.models.decoder import ctc_decoder
        except (ImportError, ModuleNotFoundError, RuntimeError) as error:
            raise SoftHubertError(f"beam search needs flashlight-text and kenlm ({str(error).splitlines()[0]}); {_INSTALL}") from None
        if not checked:
            check_models(settings, symbols)
        boundary = "|" if "|" in symbols else symbols[end]  # fairseq's choice
        try:
            with _silent():
                self._search: Any = ctc_decoder(
                    lexicon=settings.lexicon,
                    tokens=list(symbols),
                    lm=settings.lm,
                    nbest=settings.nbest,
                    beam_size=settings.beam,
                    beam_threshold=settings.beam_threshold,
                    lm_weight=settings.lm_weight,
                    word_score=settings.word_score,
                    sil_score=settings.sil_score,
                    blank_token=symbols[blank],
                    sil_token=boundary,
                    unk_word="<unk>",
                )
        except RuntimeError as error:
            raise SoftHubertError(f"{settings.lm or settings.lexicon}: not usable for decoding ({str(error).splitlines()[0]})") from None
        self._symbols, self._end, self._has_words = symbols, end, settings.lexicon is not None

    def __call__(self, logits: torch.Tensor) -> List[Hypothesis]:
        """Decode one utterance.

        Args:
            logits: ``(frames, symbols)`` unnormalised log probabilities, float32 on the CPU.

        Returns:
            The ``nbest`` hypotheses, the best first. If nothing was found, one empty hypothesis with score -inf.
        """
        found = []
        for each in self._search(logits[None].contiguous())[0]:
            units = spell(self._symbols, each.tokens.tolist(), self._end)
            found.append(Hypothesis(units, " ".join(each.words) if self._has_words else words_of(units), float(each.score)))
        return found or [Hypothesis("", "", float("-inf"))]


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Silence file descriptor 2. KenLM draws a progress bar there while it reads a model, even without a terminal.

    No error is lost: KenLM reports errors as exceptions.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def check_models(settings: BeamSettings, symbols: Sequence[str]) -> None:
    """Check that language model, lexicon and symbols fit each other.

    Raises:
        SoftHubertError: a file is missing or malformed; the lexicon spells with symbols that the acoustic model does not have; the
            language model has none of the lexicon's words; or, without a lexicon, it lacks some of the acoustic model's symbols.
    """
    lexicon = read_lexicon(settings.lexicon) if settings.lexicon is not None else None
    if lexicon is not None:
        lacking: Dict[str, int] = {}
        for _, spelling in lexicon:
            for symbol in set(spelling) - set(symbols):
                lacking[symbol] = lacking.get(symbol, 0) + 1
        if lacking:
            named = ", ".join(f"{symbol!r} ({count} words)" for symbol, count in sorted(lacking.items(), key=lambda item: -item[1])[:5])
            raise SoftHubertError(
                f"{settings.lexicon}: spells with {len(lacking)} symbols that the model does not have: {named}; "
                "make the lexicon with the dictionary the model was fine-tuned on ('softhubert lm')"
            )
    if settings.lm is None:
        return
    model = load_language_model(settings.lm)
    if lexicon is not None:
        if not any(word in model for word, _ in lexicon):
            raise SoftHubertError(
                f"{settings.lm}: has none of the {len(lexicon)} words of {settings.lexicon} (the first: {lexicon[0][0]!r}); "
                "is one in capitals and the other not, or is it a language model of letters? Make both with one call of 'softhubert lm'"
            )
        return
    missing = [symbol for symbol in symbols[4:] if symbol not in model]  # fairseq's four special symbols come first
    if missing:
        raise SoftHubertError(
            f"{settings.lm}: lacks {len(missing)} of the model's symbols ({' '.join(missing[:8])}); without --lexicon the language model "
            "must be one of letters: make it with 'softhubert lm --units letters'"
        )


def load_language_model(path: PathLike) -> Any:
    """Load a language model with kenlm.

    Raises:
        SoftHubertError: the file is missing or damaged, or kenlm is not installed.
    """
    try:
        import kenlm
    except ImportError:
        raise SoftHubertError(f"{path}: a language model needs kenlm; {_INSTALL}") from None
    if not Path(path).is_file():
        raise SoftHubertError(f"{path}: no such language model; make one with 'softhubert lm'")
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        return kenlm.Model(str(path), config)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[-200:]
        raise SoftHubertError(f"{path}: not a language model that KenLM reads ({reason}); make or fetch it again") from None


def read_lexicon(path: PathLike) -> List[Tuple[str, List[str]]]:
    """Read the words of a lexicon and their spellings.

    Raises:
        SoftHubertError: the file is missing or empty, or a line is malformed.
    """
    try:
        lines = read_lines_of(path)
    except FileNotFoundError:
        raise SoftHubertError(f"{path}: no such lexicon; make one with 'softhubert lm'") from None
    entries = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) < 2:
            raise SoftHubertError(f"{path}, line {number}: expected a word and its spelling, found {line[:60]!r}; correct the line")
        entries.append((fields[0], fields[1:]))
    if not entries:
        raise SoftHubertError(f"{path}: the lexicon is empty; make it again with 'softhubert lm'")
    return entries
