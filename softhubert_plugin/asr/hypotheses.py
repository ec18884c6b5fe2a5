"""From CTC scores to words without a language model, and the spelling that fairseq prints."""

from __future__ import annotations

from typing import List, NamedTuple, Protocol, Sequence

import torch


class Hypothesis(NamedTuple):
    """What was recognised: symbols as fairseq prints them, words, and the decoder's score of them."""

    units: str
    words: str
    score: float


class Decoder(Protocol):
    """``(frames, symbols)`` unnormalised log probabilities → hypotheses, the best first."""

    def __call__(self, logits: torch.Tensor) -> List[Hypothesis]: ...


def collapse_path(path: Sequence[int], blank: int) -> List[int]:
    """The labels of a CTC path: repetitions merged, then blanks dropped (Graves et al. 2006).

    >>> collapse_path([0, 5, 5, 0, 5, 7, 7], blank=0)
    [5, 5, 7]
    """
    return [symbol for position, symbol in enumerate(path) if symbol != blank and (position == 0 or symbol != path[position - 1])]


def words_of(units: str) -> str:
    """Units joined to words, as fairseq's ``post_process`` does for letters (``|`` ends a word) and for sentencepiece (``▁`` starts one).

    >>> words_of("G O | O N |"), words_of("▁GO ▁O N")
    ('GO ON', 'GO ON')
    """
    boundary = "▁" if "▁" in units else "|"
    return units.replace(" ", "").replace(boundary, " ").strip()


def spell(symbols: Sequence[str], labels: Sequence[int], end: int) -> str:
    """Symbols joined by spaces; ``</s>`` is never printed."""
    return " ".join(symbols[label] for label in labels if label != end)


class GreedyDecoder:
    """The most probable symbol of every frame."""

    def __init__(self, symbols: Sequence[str], blank: int, end: int) -> None:
        self._symbols, self._blank, self._end = symbols, blank, end

    def __call__(self, logits: torch.Tensor) -> List[Hypothesis]:
        best, path = logits.max(-1)
        units = spell(self._symbols, collapse_path(path.tolist(), self._blank), self._end)
        return [Hypothesis(units, words_of(units), float((best - logits.logsumexp(-1)).sum()))]
