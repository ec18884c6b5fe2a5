"""Language models: Kneser-Ney probabilities compared with a textbook implementation, the ARPA file read by KenLM, and the lexicon."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Dict, List, Sequence, Set, Tuple

import pytest

from softhubert_plugin.asr.language_model import write_language_model
from softhubert_plugin.asr.ngram import KneserNey
from softhubert_plugin.errors import SoftHubertError

Gram = Tuple[str, ...]


def _sentences(seed: int, number: int) -> List[List[str]]:
    """Sentences of Zipfian words, so that counts of one, two, three, four and more occur in every order."""
    rng = random.Random(seed)
    words = [f"W{rank}" for rank in range(600)]
    weights = [1 / (rank + 1) for rank in range(600)]
    return [rng.choices(words, weights, k=rng.randint(1, 9)) for _ in range(number)]


class Textbook:
    """Modified Kneser-Ney smoothing as in Chen and Goodman (1999), equations 24 to 26, word by word with dictionaries.

    Counts of ``<s>`` are those of KenLM (Heafield et al. 2013).
    """

    def __init__(self, sentences: List[List[str]], order: int) -> None:
        raw = [Counter() for _ in range(order)]  # type: List[Counter]
        for sentence in sentences:
            marked = ["<s>", *sentence, "</s>"]
            for size in range(1, order + 1):
                raw[size - 1].update(tuple(marked[start : start + size]) for start in range(len(marked) - size + 1))
        self.counts: List[Dict[Gram, int]] = [dict(counts) for counts in raw]
        for size in range(1, order):
            before: Dict[Gram, Set[str]] = defaultdict(set)
            for gram in raw[size]:
                before[gram[1:]].add(gram[0])
            self.counts[size - 1] = {gram: len(before[gram]) if gram in before else raw[size - 1][gram] for gram in raw[size - 1]}
        self.counts[0].pop(("<s>",))
        self.vocabulary = {"<unk>", "</s>"} | {word for sentence in sentences for word in sentence}
        self.discounts = []
        for counts in self.counts:
            n = Counter(counts.values())
            y = n[1] / (n[1] + 2 * n[2])
            self.discounts.append([0, 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]])

    def probability(self, history: Gram, word: str) -> float:
        """Return p(word | history)."""
        counts, discounts = self.counts[len(history)], self.discounts[len(history)]
        following = {gram: count for gram, count in counts.items() if gram[:-1] == history}
        lower = self.probability(history[1:], word) if history else 1 / len(self.vocabulary)
        if not following:
            return lower
        total = sum(following.values())
        left = sum(discounts[min(count, 3)] for count in following.values()) / total
        count = counts.get((*history, word), 0)
        return (count - discounts[min(count, 3)]) / total + left * lower


def test_probabilities_equal_the_textbooks_for_seen_and_unseen_words() -> None:
    sentences = _sentences(0, 400)
    model, textbook = KneserNey(sentences, 3), Textbook(sentences, 3)
    assert model.estimated == [True] * 3
    assert [discount for order in model.discounts for discount in order] == pytest.approx(
        [discount for order in textbook.discounts for discount in order[1:]]
    )
    rng = random.Random(1)
    words = sorted(textbook.vocabulary)
    histories: List[Gram] = [(), ("<s>",), ("W0",), ("W59",), ("<s>", "W1"), ("W0", "W1"), ("W58", "W59")]
    histories += [tuple(rng.choices(words[2:], k=2)) for _ in range(10)]
    for history in histories:
        for word in [*rng.sample(words, 8), "</s>", "<unk>"]:
            assert model.log_probability(history, word) == pytest.approx(math.log(textbook.probability(history, word)), abs=1e-9)


def test_every_history_leaves_probabilities_that_sum_to_one() -> None:
    model = KneserNey(_sentences(2, 200), 4)
    words = [word for word in model.vocabulary if word != "<s>"]
    for history in ((), ("<s>",), ("<s>", "W0"), ("W0", "W1", "W2"), ("W3", "W0"), ("never", "seen")):
        assert sum(math.exp(model.log_probability(history, word)) for word in words) == pytest.approx(1, abs=1e-9)


def test_kenlm_reads_the_file_and_scores_as_the_model_does(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm")
    sentences = _sentences(3, 150)
    (tmp_path / "text").write_text("".join(" ".join(sentence) + "\n" for sentence in sentences))
    write_language_model([tmp_path / "text"], tmp_path / "lm", order=3)
    loaded = kenlm.Model(str(tmp_path / "lm" / "lm.arpa"))
    assert loaded.order == 3
    model = KneserNey(sentences, 3)
    for sentence in [*sentences[:10], ["W59", "W58", "W0"], ["OTHER", "W1"]]:
        marked = ["<s>", *sentence, "</s>"]
        expected = sum(model.log_probability(marked[:place], marked[place]) for place in range(1, len(marked)))
        assert loaded.score(" ".join(sentence)) * math.log(10) == pytest.approx(expected, abs=1e-3)


def test_little_text_gets_fixed_discounts_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("GO ON\nGO OUT\n")
    said = write_language_model([tmp_path / "text"], tmp_path / "lm", order=2)
    assert (
        "2-gram model of 3 words in 2 sentences (too little text to estimate the discounts of order 1, 2; fixed discounts are used)" in said
    )
    model = KneserNey([["GO", "ON"], ["GO", "OUT"]], 2)
    assert sum(math.exp(model.log_probability(["GO"], word)) for word in ("ON", "OUT", "GO", "</s>", "<unk>")) == pytest.approx(1)


def test_the_lexicon_spells_every_word_and_names_those_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("GO ON\nCAFÉ ON\n")
    (tmp_path / "dict.ltr.txt").write_text("".join(f"{letter} 1\n" for letter in "|GONCAF"))
    said = write_language_model([tmp_path / "text"], tmp_path / "lm", order=2, dictionary=tmp_path / "dict.ltr.txt")
    assert (tmp_path / "lm" / "lexicon.txt").read_text() == "GO\tG O |\nON\tO N |\n"
    assert "without 1 that" in said and "'CAFÉ'" in said
    (tmp_path / "small.txt").write_text("go on\n")
    with pytest.raises(SoftHubertError, match=r"spells none of the 2 words \(lacks g n o\); is the text in capitals"):
        write_language_model([tmp_path / "small.txt"], tmp_path / "lm", dictionary=tmp_path / "dict.ltr.txt")


@pytest.mark.parametrize(
    ("text", "options", "complaint"),
    [
        ("\n", {}, "no words"),
        ("GO <s>\n", {}, "<s>, which is a special symbol"),
        ("GO\n", {"order": 9}, "expected 2 to 6"),
        ("GO\n", {"units": "pieces"}, "--sentencepiece"),
    ],
)
def test_text_that_gives_no_model_is_refused(tmp_path: Path, text: str, options: Dict[str, int], complaint: str) -> None:
    (tmp_path / "text").write_text(text)
    with pytest.raises(SoftHubertError, match=complaint):
        write_language_model([tmp_path / "text"], tmp_path / "lm", **options)
    with pytest.raises(SoftHubertError, match="no such file"):
        write_language_model([tmp_path / "none"], tmp_path / "lm")


@pytest.mark.parametrize(
    ("listed", "complaint"),
    [
        ("GO\n\nGO ON\n", r"line 3: expected one word, found 'GO ON'"),  # transcripts
        ("GO\tG O |\n", r"line 1: expected one word, found 'GO\\tG O \|'; .*cut -f1"),  # a lexicon
        ("120 GO\n", "line 1: expected one word"),  # counts
        ("GO\u3000ON\n", "line 1: expected one word"),
        ("\n \n", "no words; give one word per line"),
    ],
)
def test_a_list_that_is_not_of_words_gives_no_lexicon_and_no_model(tmp_path: Path, listed: str, complaint: str) -> None:
    (tmp_path / "text").write_text("GO ON\n")
    (tmp_path / "words").write_text(listed)
    with pytest.raises(SoftHubertError, match=rf"words.*{complaint}"):
        write_language_model([tmp_path / "text"], tmp_path / "lm", lexicon_from=tmp_path / "words")
    assert not (tmp_path / "lm").exists()
    (tmp_path / "words").write_text(" ON \n\nGO\nON\n")
    write_language_model([tmp_path / "text"], tmp_path / "lm", lexicon_from=tmp_path / "words")
    assert (tmp_path / "lm" / "lexicon.txt").read_text() == "GO\tG O |\nON\tO N |\n"


def test_a_model_of_letters_has_the_symbols_of_the_targets(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("GO ON\n")
    write_language_model([tmp_path / "text"], tmp_path / "lm", order=2, units="letters")
    lines: Sequence[str] = (tmp_path / "lm" / "lm.arpa").read_text().splitlines()
    unigrams = list(itertools.takewhile(bool, lines[lines.index("\\1-grams:") + 1 :]))
    assert {line.split("\t")[1] for line in unigrams} == {"<unk>", "<s>", "</s>", "G", "O", "N", "|"}
    assert not (tmp_path / "lm" / "lexicon.txt").exists()
