"""Beam search with a lexicon and a KenLM model, or with neither or one of them: torchaudio's ``ctc_decoder`` over flashlight-text.

The same search as fairseq's ``KenLMDecoder``, with its defaults, and the same hypotheses on the same scores.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch

from softhubert_plugin.asr.hypotheses import Hypothesis, spell, words_of
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, read_lines_of

_INSTALL = "install the extra 'lm': bash install.sh --extras lm"


@dataclass(frozen=True)
class BeamSettings:
    """What to search with. The defaults are those of fairseq's ``infer.py``.

    Attributes:
        lm: KenLM model, ARPA or binary; over words with a lexicon, over the model's own symbols without.
        lexicon: file of ``WORD<TAB>spelling``; without one, any string of symbols can be found.
        beam: hypotheses kept a frame.
        beam_threshold: hypotheses whose score falls so far behind the best are dropped.
        lm_weight: factor on the language model's score (natural logarithm).
        word_score: added for each word.
        sil_score: added for each word boundary.
        nbest: hypotheses returned.
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


_OPEN = "???"  # hydra's word for a value that has to be given
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
    """The search that was asked for; ``None`` is greedy decoding.

    Args:
        given: fields of :class:`BeamSettings`; those that are not ``None`` count more than the configuration's.
        config: of fairseq's form.

    Raises:
        SoftHubertError: the configuration is not usable or leaves a setting open, or settings of a search were given without one.
    """
    chosen = read_search_config(config) if config is not None else {}
    chosen.update({name: value for name, value in given.items() if value is not None})
    left_open = [name for name, value in chosen.items() if value == _OPEN]
    if left_open:
        raise SoftHubertError(f"{config}: leaves open what --{' and --'.join(left_open)} would say; give it here or there")
    if {"lm", "lexicon", "beam"} & chosen.keys():
        return BeamSettings(**chosen)
    if chosen:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in chosen)
        raise SoftHubertError(f"{options}: of a search, and this is greedy decoding; give --lm and --lexicon, or --beam, as well")
    return None


def read_search_config(path: PathLike) -> Dict[str, Any]:
    """Settings of the section ``decoding`` of one of fairseq's decoding configurations, under our names; empty for greedy decoding.
    What has to be given is ``???``.

    Raises:
        SoftHubertError: the file is missing or not YAML, has no such section, or asks for a decoder that is not here.
    """
    import yaml

    try:
        section = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["decoding"]
        kind = section.get("type", "viterbi")
    except FileNotFoundError:
        raise SoftHubertError(f"{path}: no such configuration; see config/decode") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise SoftHubertError(f"{path}: no section 'decoding' in it; see config/decode/kenlm.yaml") from None
    if kind not in ("viterbi", "kenlm"):
        raise SoftHubertError(f"{path}: decoding.type is {kind!r}, and there are viterbi and kenlm; use fairseq's infer.py for others")
    if kind == "viterbi":
        return {}
    return {ours: section[theirs] for theirs, ours in _KEYS.items() if section.get(theirs) is not None}


class BeamDecoder:
    """One search, set up once.

    Args:
        symbols: the model's, in order.
        blank, end: places of the blank and of ``</s>``.
        checked: :func:`check_models` has been here already.

    Raises:
        SoftHubertError: the extra is not installed, a file is missing or damaged, or language model, lexicon and symbols do not fit.
    """

    def __init__(self, settings: BeamSettings, symbols: Sequence[str], blank: int, end: int, *, checked: bool = False) -> None:
        try:
            from torchaudio.models.decoder import ctc_decoder
        except (ImportError, ModuleNotFoundError, RuntimeError) as error:
            raise SoftHubertError(f"beam search needs flashlight-text and kenlm ({str(error).splitlines()[0]}); {_INSTALL}") from None
        if not checked:
            check_models(settings, symbols)
        boundary = "|" if "|" in symbols else symbols[end]  # as fairseq has it
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
        found = []
        for each in self._search(logits[None].contiguous())[0]:
            units = spell(self._symbols, each.tokens.tolist(), self._end)
            found.append(Hypothesis(units, " ".join(each.words) if self._has_words else words_of(units), float(each.score)))
        return found or [Hypothesis("", "", float("-inf"))]


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """KenLM draws a bar on the process's stderr while it reads a model, terminal or not; its errors are exceptions."""
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
    """Language model, lexicon and symbols speak of the same things.

    Raises:
        SoftHubertError: a file is missing or malformed; the lexicon spells with symbols that the model lacks; the language model has
            none of the lexicon's words; or, without a lexicon, it lacks some of the model's symbols.
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
                "is one in capitals and the other not, or is it a model of letters?"
            )
        return
    missing = [symbol for symbol in symbols[4:] if symbol not in model]  # fairseq's four special symbols come first
    if missing:
        raise SoftHubertError(
            f"{settings.lm}: lacks {len(missing)} of the model's symbols ({' '.join(missing[:8])}); without --lexicon the language model "
            "must be one of letters: make it with 'softhubert lm --units letters'"
        )


def load_language_model(path: PathLike) -> Any:
    """A kenlm model.

    Raises:
        SoftHubertError: it is missing or damaged, or kenlm is not installed.
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
    """Words and their spellings.

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
            raise SoftHubertError(f"{path}, line {number}: expected a word and its spelling, found {line[:60]!r}")
        entries.append((fields[0], fields[1:]))
    if not entries:
        raise SoftHubertError(f"{path}: the lexicon is empty; make it again with 'softhubert lm'")
    return entries
