"""Beam search with torchaudio's ``ctc_decoder`` over flashlight-text. The lexicon and the KenLM model are both optional.

The search and its defaults are those of fairseq's ``KenLMDecoder``. On the same scores it gives the same hypotheses.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch

from softhubert_plugin.asr.hypotheses import Hypothesis, spell, words_of
from softhubert_plugin.asr.lexicon import plain_lexicon, read_lexicon
from softhubert_plugin.asr.model_fit import check_fit, check_spelling
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.requirements import how_to_install
from softhubert_plugin.text_files import read_yaml


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
_TYPES: Dict[str, Tuple[type, ...]] = {
    **dict.fromkeys(("lm", "lexicon"), (str,)),
    **dict.fromkeys(("beam", "nbest"), (int,)),
    **dict.fromkeys(("beam_threshold", "lm_weight", "word_score", "sil_score"), (int, float)),
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


def check_models(settings: BeamSettings, symbols: Sequence[str]) -> None:
    """Check that language model, lexicon and symbols fit each other. Note on stderr how much they have in common.

    Args:
        symbols: the acoustic model's symbols; fairseq's four special symbols come first.

    Raises:
        SoftHubertError: a file is missing or malformed; the lexicon spells with symbols that the acoustic model does not have; or the
            language model lacks most of the lexicon's words or, without a lexicon, of the symbols.
    """
    words = None
    if settings.lexicon is not None:
        entries = read_lexicon(settings.lexicon)
        check_spelling(settings.lexicon, entries, symbols)
        words = [word for word, _ in entries]
    if settings.lm is not None:
        check_fit(settings.lm, settings.lexicon, words, symbols)


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
            raise SoftHubertError(
                f"beam search needs flashlight-text and kenlm ({str(error).splitlines()[0]}); {how_to_install('lm')}"
            ) from None
        if not checked:
            check_models(settings, symbols)
        boundary = "|" if "|" in symbols else symbols[end]  # fairseq's choice
        try:
            with _silent(), plain_lexicon(settings.lexicon) as lexicon:
                self._search: Any = ctc_decoder(
                    lexicon=lexicon,
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
