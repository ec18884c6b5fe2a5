"""Interpolated modified Kneser–Ney n-gram models (Chen and Goodman 1999), exactly, from counts that fit into memory.

No maintained Python package estimates them (KenLM's wheel has no ``lmplz``; NLTK's has a single discount). For transcripts this is enough:
LibriSpeech's 9.4 million words of training text. For larger text, KenLM's ``lmplz`` computes the same model on disk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

UNKNOWN, START, END = "<unk>", "<s>", "</s>"
_FALLBACK = (0.5, 1.0, 1.5)  # lmplz's, for text too small to estimate discounts from


@dataclass
class _Order:
    """All n-grams of one order, found in the text.

    Attributes:
        prefixes: place of each without its last word, among those of the order below.
        suffixes: likewise, without its first word.
        words: its last word.
        counts: how often it occurs; for all but the highest order, adjusted.
        probabilities, backoffs: of the finished model.
    """

    prefixes: np.ndarray
    suffixes: np.ndarray
    words: np.ndarray
    counts: np.ndarray
    probabilities: np.ndarray
    backoffs: np.ndarray


class KneserNey:
    """A model of sentences.

    Args:
        sentences: each a list of words.
        order: words an n-gram holds at most.
        words: words that it has to know even where no sentence has them.

    Attributes:
        vocabulary: the special symbols, then the words in order of appearance.
        discounts: for each order, what is taken from counts of 1, 2, and 3 or more.
        estimated: for each order, whether the text was large enough to estimate them.

    Raises:
        ValueError: there are no words, or one of them is a special symbol.
    """

    def __init__(self, sentences: Iterable[Sequence[str]], order: int, words: Iterable[str] = ()) -> None:
        tokens, places, self.vocabulary = _encode(sentences, words)
        self._orders = _count(tokens, places, len(self.vocabulary), order)
        _adjust(self._orders)
        self.discounts: List[Tuple[float, float, float]] = []
        self.estimated: List[bool] = []
        self._estimate()

    def _estimate(self) -> None:
        lower = np.full(1, 1 / (len(self.vocabulary) - 1))  # the empty n-gram: uniform over all but <s>
        for number, order in enumerate(self._orders):
            counts = order.counts.astype(np.float64)
            if number == 0:
                counts[1] = 0  # <s> is given, never predicted
            discounts, estimated = _discounts(counts)
            self.discounts.append(discounts)
            self.estimated.append(estimated)
            taken = np.asarray((0.0, *discounts))[np.minimum(counts, 3).astype(np.int64)]
            contexts = 1 if number == 0 else len(self._orders[number - 1].counts)
            totals = np.bincount(order.prefixes, weights=counts, minlength=contexts)
            left = np.bincount(order.prefixes, weights=taken, minlength=contexts)
            backoffs = np.divide(left, totals, out=np.ones(contexts), where=totals > 0)
            order.probabilities = (counts - taken) / np.maximum(totals[order.prefixes], 1) + backoffs[order.prefixes] * lower[
                order.suffixes
            ]
            if number > 0:
                self._orders[number - 1].backoffs = backoffs
            lower = order.probabilities

    def arpa(self) -> Iterator[str]:
        """The lines of the model in ARPA's format."""
        yield "\\data\\\n"
        for number, order in enumerate(self._orders, start=1):
            yield f"ngram {number}={len(order.counts)}\n"
        texts: List[str] = [""]
        for number, order in enumerate(self._orders, start=1):
            yield f"\n\\{number}-grams:\n"
            words = [self.vocabulary[word] for word in order.words]
            texts = words if number == 1 else [f"{texts[prefix]} {word}" for prefix, word in zip(order.prefixes, words)]
            scores = np.log10(order.probabilities)
            weights = np.log10(order.backoffs)
            for place, text in enumerate(texts):
                score = -99.0 if number == 1 and place == 1 else scores[place]
                yield f"{score:.7f}\t{text}\n" if number == len(self._orders) else f"{score:.7f}\t{text}\t{weights[place]:.7f}\n"
        yield "\n\\end\\\n"

    def log_probability(self, history: Sequence[str], word: str) -> float:
        """Natural logarithm of a word's probability after a history, which may begin with ``<s>``."""
        place = {known: number for number, known in enumerate(self.vocabulary)}
        ids = [place.get(known, 0) for known in (*history, word)][-len(self._orders) :]
        total = 0.0
        while True:
            found = self._find(ids)
            if found is not None:
                return total + math.log(self._orders[len(ids) - 1].probabilities[found])
            context = self._find(ids[:-1])
            if context is not None:
                total += math.log(self._orders[len(ids) - 2].backoffs[context])
            ids = ids[1:]

    def _find(self, ids: Sequence[int]) -> Optional[int]:
        place = 0
        for number, word in enumerate(ids):
            order = self._orders[number]
            hits = np.flatnonzero((order.prefixes == place) & (order.words == word))
            if not len(hits):
                return None
            place = int(hits[0])
        return place


def _encode(sentences: Iterable[Sequence[str]], words: Iterable[str]) -> Tuple[np.ndarray, np.ndarray, List[str]]:
    """Word numbers of all sentences with their marks, the place of each in its sentence, and the vocabulary."""
    place: Dict[str, int] = {UNKNOWN: 0, START: 1, END: 2}
    tokens: List[int] = []
    places: List[int] = []
    for sentence in sentences:
        if not sentence:
            continue
        for mark in (UNKNOWN, START, END):
            if mark in sentence:
                raise ValueError(f"the text holds {mark}, which has a meaning of its own")
        tokens += [1, *(place.setdefault(word, len(place)) for word in sentence), 2]
        places += range(len(sentence) + 2)
    if not tokens:
        raise ValueError("no words")
    for word in words:
        place.setdefault(word, len(place))
    return np.asarray(tokens, dtype=np.int64), np.asarray(places, dtype=np.int64), list(place)


def _count(tokens: np.ndarray, places: np.ndarray, vocabulary: int, highest: int) -> List[_Order]:
    """Every n-gram that occurs, numbered within its order by the number of its prefix and its last word."""
    empty = np.zeros(0)
    counts = np.bincount(tokens, minlength=vocabulary)
    nothing = np.zeros(vocabulary, dtype=np.int64)
    orders = [_Order(nothing, nothing, np.arange(vocabulary), counts, empty, np.ones(vocabulary))]
    numbers = tokens  # of the n-gram that ends at each token
    for order in range(2, highest + 1):
        ends = np.flatnonzero(places >= order - 1)
        if not len(ends):
            break
        keys, first, of, counts = np.unique(
            numbers[ends - 1] * vocabulary + tokens[ends], return_index=True, return_inverse=True, return_counts=True
        )
        orders.append(_Order(keys // vocabulary, numbers[ends[first]], keys % vocabulary, counts, empty, np.ones(len(keys))))
        numbers = np.full(len(tokens), -1)
        numbers[ends] = of.reshape(-1)
    return orders


def _adjust(orders: List[_Order]) -> None:
    """Below the highest order an n-gram counts the distinct words before it; one that begins with ``<s>`` has none, and its count stays."""
    for lower, higher in zip(orders, orders[1:]):
        before = np.bincount(higher.suffixes, minlength=len(lower.counts))
        lower.counts = np.where(before > 0, before, lower.counts)


def _discounts(counts: np.ndarray) -> Tuple[Tuple[float, float, float], bool]:
    """Chen and Goodman's (1999, equation 26), and whether they could be estimated."""
    n1, n2, n3, n4 = (int((counts == times).sum()) for times in (1, 2, 3, 4))
    if min(n1, n2, n3) == 0:
        return _FALLBACK, False
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if any(not 0 < discount <= times for times, discount in enumerate(found, start=1)):
        return _FALLBACK, False
    return found, True
