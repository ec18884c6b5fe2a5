"""Word error rate of hypotheses against references, with the uncertainty that a finite test set leaves.

Reads what decoding writes (ours or fairseq's ``infer.py``). Intervals and comparisons are by bootstrap over utterances (Bisani and Ney
2004): they cover the choice of test utterances, not of speakers or of training seeds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List

import editdistance
import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, read_json, write_json

REPLICATES = 10_000
_BLOCK = 100
_LINE = re.compile(r"(.*?)\s*\(([^()]+)\)")


@dataclass(frozen=True)
class Score:
    """Errors of one system on one test set; rates are fractions.

    Attributes:
        ids: utterances, in order.
        errors, words: ``(utterances,)`` word errors (substitutions, insertions, deletions) and reference words.
        character_errors, characters: of the whole set, spaces left out.
        low, high: 95 % interval of the word error rate.
    """

    ids: List[str]
    errors: np.ndarray
    words: np.ndarray
    character_errors: int
    characters: int
    low: float
    high: float

    @property
    def wer(self) -> float:
        """Word errors over reference words."""
        return float(self.errors.sum() / self.words.sum())

    @property
    def cer(self) -> float:
        """Character errors over reference characters."""
        return self.character_errors / self.characters

    def summary(self) -> str:
        """One line for people."""
        return (
            f"WER {100 * self.wer:.2f} % (95 % interval {100 * self.low:.2f} to {100 * self.high:.2f}), CER {100 * self.cer:.2f} %, "
            f"{int(self.errors.sum())} errors in {int(self.words.sum())} words of {len(self.ids)} utterances"
        )

    def save(self, path: PathLike) -> None:
        """Write as JSON, utterance by utterance, so that systems can be compared later."""
        value: Dict[str, Any] = {
            "wer": self.wer,
            "low": self.low,
            "high": self.high,
            "cer": self.cer,
            "errors": int(self.errors.sum()),
            "words": int(self.words.sum()),
            "character_errors": self.character_errors,
            "characters": self.characters,
            "utterances": len(self.ids),
            "per_utterance": {"id": self.ids, "errors": self.errors.tolist(), "words": self.words.tolist()},
        }
        write_json(path, value)


@dataclass(frozen=True)
class Comparison:
    """How a second system's word error rate differs from a first one's, over the same utterances.

    Attributes:
        difference: second minus first; negative where the second is better.
        low, high: its 95 % interval.
        p_value: two-sided, from the share of replicates in which the difference has the other sign.
    """

    difference: float
    low: float
    high: float
    p_value: float


def score_files(hypotheses: PathLike, references: PathLike) -> Score:
    """Score two files of ``WORDS (id)`` lines, in any order.

    Raises:
        SoftHubertError: a line is malformed, an id is missing on one side or doubled, or there are no reference words.
    """
    hypothesis_of, reference_of = _read(hypotheses), _read(references)
    for here, there, where, other in (
        (hypothesis_of, reference_of, references, hypotheses),
        (reference_of, hypothesis_of, hypotheses, references),
    ):
        missing = [name for name in here if name not in there]
        if missing:
            raise SoftHubertError(
                f"{where}: {len(missing)} utterances of {other} are missing, the first {missing[0]!r}; decode and score one split"
            )
    ids = list(reference_of)
    pairs = [(hypothesis_of[name].split(), reference_of[name].split()) for name in ids]
    words = np.asarray([len(reference) for _, reference in pairs], dtype=np.int64)
    if not words.sum():
        raise SoftHubertError(f"{references}: no reference words, so there is no word error rate")
    errors = np.asarray([editdistance.eval(hypothesis, reference) for hypothesis, reference in pairs], dtype=np.int64)
    joined = [("".join(hypothesis), "".join(reference)) for hypothesis, reference in pairs]
    rates = _replicate(errors[:, None], words)[:, 0]
    low, high = np.percentile(rates, [2.5, 97.5])
    return Score(
        ids=ids,
        errors=errors,
        words=words,
        character_errors=sum(editdistance.eval(hypothesis, reference) for hypothesis, reference in joined),
        characters=sum(len(reference) for _, reference in joined),
        low=float(low),
        high=float(high),
    )


def load_score(path: PathLike) -> Dict[str, Any]:
    """What :meth:`Score.save` wrote."""
    value: Dict[str, Any] = read_json(path, remedy="write it with 'softhubert score HYP REF --dest'")
    return value


def compare(errors_a: np.ndarray, errors_b: np.ndarray, words: np.ndarray) -> Comparison:
    """Compare two systems on the same utterances by paired bootstrap.

    Args:
        errors_a, errors_b, words: ``(utterances,)`` word errors of each and reference words.
    """
    rates = _replicate(np.stack([errors_a, errors_b], axis=1), words)
    differences = rates[:, 1] - rates[:, 0]
    low, high = np.percentile(differences, [2.5, 97.5])
    # Half of the replicates without any difference count to each side, so that identical systems get p = 1.
    tied = float((differences == 0).mean()) / 2
    tail = min(float((differences < 0).mean()) + tied, float((differences > 0).mean()) + tied)
    difference = float((np.sum(errors_b) - np.sum(errors_a)) / np.sum(words))
    return Comparison(difference, float(low), float(high), min(1.0, max(2 * tail, 1 / REPLICATES)))


def _replicate(errors: np.ndarray, words: np.ndarray) -> np.ndarray:
    """``(REPLICATES, systems)`` word error rates of test sets drawn with replacement; the same draw for every system."""
    generator = np.random.default_rng(0)
    rates = []
    for _ in range(REPLICATES // _BLOCK):  # in blocks, so that memory stays small for large test sets
        drawn = generator.integers(0, len(words), size=(_BLOCK, len(words)))
        rates.append(errors[drawn].sum(1) / np.maximum(words[drawn].sum(1), 1)[:, None])
    return np.concatenate(rates)


def _read(path: PathLike) -> Dict[str, str]:
    """Text of each utterance by its id."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise SoftHubertError(f"{path}: no such file; write it with 'softhubert decode'") from None
    texts: Dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise SoftHubertError(f"{path}, line {number}: expected 'WORDS (id)', found {line[:60]!r}")
        name = match.group(2)
        if name in texts:
            raise SoftHubertError(f"{path}, line {number}: utterance {name!r} comes twice; decode the split again")
        texts[name] = match.group(1)
    if not texts:
        raise SoftHubertError(f"{path}: the file is empty; decode the split again")
    return texts
