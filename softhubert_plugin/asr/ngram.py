"""Interpolated modified Kneser–Ney n-gram models (Chen and Goodman 1999), computed exactly from counts that fit into memory.

No maintained Python package estimates them: KenLM's wheel has no ``lmplz``, and NLTK's estimator has a single discount. This module is
made for transcripts, such as LibriSpeech's 9.4 million words of training text. For larger text, KenLM's ``lmplz`` computes the same model
on disk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

UNKNOWN, START, END = "<unk>", "<s>", "</s>"
_FALLBACK = (0.5, 1.0, 1.5)  # lmplz's discounts for text that is too small to estimate them from


@dataclass
class _Order:
    """All n-grams of one order that occur in the text. Each attribute is an array with one value per n-gram.

    Attributes:
        prefixes: index, in the order below, of the n-gram without its last word.
        suffixes: index, in the order below, of the n-gram without its first word.
        words: number of the last word in the vocabulary.
        counts: number of occurrences; adjusted (see ``_adjust``) for all but the highest order.
        probabilities: probabilities of the finished model.
        backoffs: back-off weights of the finished model.
    """

    prefixes: np.ndarray
    suffixes: np.ndarray
    words: np.ndarray
    counts: np.ndarray
    probabilities: np.ndarray
    backoffs: np.ndarray


class KneserNey:
    """An n-gram model of sentences.

    Args:
        sentences: lists of words.
        order: longest n-gram, in words.
        words: words to include even if no sentence has them.

    Attributes:
        vocabulary: the special symbols, then the words in order of appearance.
        discounts: for each order, the discounts of counts of 1, of 2, and of 3 or more.
        estimated: for each order, whether the text was large enough to estimate its discounts.

    Raises:
        ValueError: there are no words, or a word is a special symbol.
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
        """Iterate over the lines of the model in ARPA format."""
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
        """Return the natural logarithm of a word's probability after a history. The history may begin with ``<s>``."""
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
    """Number the words of all sentences, with ``<s>`` and ``</s>`` around each sentence.

    Returns:
        The word numbers of all sentences, the position of each word in its sentence, and the vocabulary.
    """
    place: Dict[str, int] = {UNKNOWN: 0, START: 1, END: 2}
    tokens: List[int] = []
    places: List[int] = []
    for sentence in sentences:
        if not sentence:
            continue
        for mark in (UNKNOWN, START, END):
            if mark in sentence:
                raise ValueError(f"the text contains {mark}, which is a special symbol")
        tokens += [1, *(place.setdefault(word, len(place)) for word in sentence), 2]
        places += range(len(sentence) + 2)
    if not tokens:
        raise ValueError("no words")
    for word in words:
        place.setdefault(word, len(place))
    return np.asarray(tokens, dtype=np.int64), np.asarray(places, dtype=np.int64), list(place)


def _count(tokens: np.ndarray, places: np.ndarray, vocabulary: int, highest: int) -> List[_Order]:
    """Count every n-gram that occurs. Within its order an n-gram is identified by its prefix and its last word."""
    empty = np.zeros(0)
    counts = np.bincount(tokens, minlength=vocabulary)
    nothing = np.zeros(vocabulary, dtype=np.int64)
    orders = [_Order(nothing, nothing, np.arange(vocabulary), counts, empty, np.ones(vocabulary))]
    numbers = tokens  # for each token, the number of the n-gram that ends there
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
    """Adjust the counts below the highest order: an n-gram counts the distinct words that occur before it.

    No word occurs before ``<s>``, so n-grams that begin with ``<s>`` keep their counts.
    """
    for lower, higher in zip(orders, orders[1:]):
        before = np.bincount(higher.suffixes, minlength=len(lower.counts))
        lower.counts = np.where(before > 0, before, lower.counts)


def _discounts(counts: np.ndarray) -> Tuple[Tuple[float, float, float], bool]:
    """Estimate the discounts of one order (Chen and Goodman 1999, equation 26).

    Returns:
        The discounts of counts of 1, of 2, and of 3 or more; and whether they could be estimated. If not, they are fixed.
    """
    n1, n2, n3, n4 = (int((counts == times).sum()) for times in (1, 2, 3, 4))
    if min(n1, n2, n3) == 0:
        return _FALLBACK, False
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if any(not 0 < discount <= times for times, discount in enumerate(found, start=1)):
        return _FALLBACK, False
    return found, True
