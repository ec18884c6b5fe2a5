"""Greedy CTC decoding: from scores to words without a language model. Units and words are spelled as fairseq prints them."""

from __future__ import annotations

from typing import List, NamedTuple, Protocol, Sequence

import torch


class Hypothesis(NamedTuple):
    """One recognised utterance.

    Attributes:
        units: symbols as fairseq prints them, joined by spaces.
        words: the same as words.
        score: the decoder's score, a log probability; higher is better.
    """

    units: str
    words: str
    score: float


class Decoder(Protocol):
    """A function from ``(frames, symbols)`` unnormalised log probabilities to hypotheses, the best first."""

    def __call__(self, logits: torch.Tensor) -> List[Hypothesis]: ...


def collapse_path(path: Sequence[int], blank: int) -> List[int]:
    """Turn a CTC path into labels: merge repetitions, then drop blanks (Graves et al. 2006).

    Args:
        path: the symbol of each frame.
        blank: index of the CTC blank.

    >>> collapse_path([0, 5, 5, 0, 5, 7, 7], blank=0)
    [5, 5, 7]
    """
    return [symbol for position, symbol in enumerate(path) if symbol != blank and (position == 0 or symbol != path[position - 1])]


def words_of(units: str) -> str:
    """Join units into words, as fairseq's ``post_process`` does: letters (``|`` ends a word) or sentencepiece (``▁`` starts a word).

    >>> words_of("G O | O N |"), words_of("▁GO ▁O N")
    ('GO ON', 'GO ON')
    """
    boundary = "▁" if "▁" in units else "|"
    return units.replace(" ", "").replace(boundary, " ").strip()


def spell(symbols: Sequence[str], labels: Sequence[int], end: int) -> str:
    """Join symbols with spaces, leaving out ``</s>`` (index ``end``), which fairseq never prints."""
    return " ".join(symbols[label] for label in labels if label != end)


class GreedyDecoder:
    """Decode with the most probable symbol of every frame.

    Args:
        symbols: the acoustic model's symbols, in order.
        blank: index of the CTC blank in ``symbols``.
        end: index of ``</s>`` in ``symbols``.
    """

    def __init__(self, symbols: Sequence[str], blank: int, end: int) -> None:
        self._symbols, self._blank, self._end = symbols, blank, end

    def __call__(self, logits: torch.Tensor) -> List[Hypothesis]:
        best, path = logits.max(-1)
        units = spell(self._symbols, collapse_path(path.tolist(), self._blank), self._end)
        return [Hypothesis(units, words_of(units), float((best - logits.logsumexp(-1)).sum()))]
