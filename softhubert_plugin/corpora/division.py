"""Divide a corpus that has no splits of its own into train, valid and test, so that no speaker is in two of them."""

from __future__ import annotations

import random
from typing import Dict, List, NamedTuple, Optional, Sequence

from softhubert_plugin.errors import SoftHubertError


class Division(NamedTuple):
    """How to divide a corpus.

    Attributes:
        valid: share of the speakers (or utterances) for validation, from 0 to below 1.
        test: share for the test.
        seed: seed of the choice.
        by_utterance: choose utterances even if speakers are known.
    """

    valid: float = 0.05
    test: float = 0.05
    seed: int = 42
    by_utterance: bool = False

    def check(self) -> None:
        """Check the shares.

        Raises:
            SoftHubertError: they are out of range.
        """
        for option, share in (("--valid-percent", self.valid), ("--test-percent", self.test)):
            if not 0 <= share < 1:
                raise SoftHubertError(f"{option} {share}: expected a fraction from 0 to below 1, such as 0.05")
        if self.valid + self.test >= 1:
            raise SoftHubertError(f"--valid-percent {self.valid} and --test-percent {self.test} leave nothing for training; lower them")


def divide_corpus(speakers: Sequence[Optional[str]], division: Division, where: object) -> List[str]:
    """Divide utterances.

    Args:
        speakers: the speaker of each utterance; ``None`` if it is not known.
        division: how to divide.
        where: the corpus, for messages.

    Returns:
        The split of each utterance.

    Raises:
        SoftHubertError: a share is out of range, or there are too few speakers or utterances for the splits.
    """
    division.check()
    if division.by_utterance or any(speaker is None for speaker in speakers):
        drawn = _draw([str(number) for number in range(len(speakers))], "utterances", division, where)
        return [drawn[str(number)] for number in range(len(speakers))]
    drawn = _draw(sorted({str(speaker) for speaker in speakers}), "speakers", division, where)
    return [drawn[str(speaker)] for speaker in speakers]


def _draw(units: List[str], what: str, division: Division, where: object) -> Dict[str, str]:
    shares = {"valid": division.valid, "test": division.test}
    wanted = {split: max(1, round(len(units) * share)) for split, share in shares.items() if share > 0}
    if sum(wanted.values()) >= len(units):
        remedy = " --by-utterance to let splits share speakers," if what == "speakers" else ""
        raise SoftHubertError(
            f"{where}: {len(units)} {what} for train, {' and '.join(wanted)}; give more, --valid-percent 0 --test-percent 0 for train only,"
            f"{remedy} or name the splits"
        )
    drawn = random.Random(division.seed).sample(units, sum(wanted.values()))
    splits = [split for split, number in wanted.items() for _ in range(number)]
    return {**dict.fromkeys(units, "train"), **dict(zip(drawn, splits))}
