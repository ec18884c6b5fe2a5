"""Divide the aligned utterances into groups, and the groups into folds.

What a component stands for is decided on other folds than it is judged on, so that no number is good only because it was learned by
heart. Intervals resample groups. A group is a speaker; where the corpus has a single speaker, or does not tell its speakers, a group is a
run of consecutive utterances instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence

import numpy as np

from softhubert_plugin.speakers import Speakers

MOST_FOLDS = 5
MOST_GROUPS = 200  # bounds the memory; several speakers of a large corpus are one group


@dataclass(frozen=True)
class Folds:
    """How utterances are divided.

    Attributes:
        group_of: ``(utterances,)`` the group of each utterance, -1 for one without alignment.
        fold_of: ``(groups,)`` the fold of each group.
        folds: how many folds there are; with fewer than two, nothing can be held out.
        by: ``speakers`` or ``utterances``.
        said: a sentence on what is held out, and why.
    """

    group_of: np.ndarray
    fold_of: np.ndarray
    folds: int
    by: str
    said: str

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(self.fold_of)


def hold_out(aligned: Sequence[int], lengths: np.ndarray, speakers: Optional[Speakers]) -> Folds:
    """Divide utterances into groups and folds of nearly equal length. The same arguments give the same division.

    Args:
        aligned: the utterances that have an alignment.
        lengths: ``(utterances,)`` frames of each utterance.
        speakers: the speakers of all utterances; ``None`` if they are not known.
    """
    group_of = np.full(len(lengths), -1)
    names: List[str] = sorted({speakers.names[index] for index in aligned}) if speakers is not None else []
    if speakers is not None and len(names) > 1:
        number = {name: place % MOST_GROUPS for place, name in enumerate(names)}
        group_of[list(aligned)] = [number[speakers.names[index]] for index in aligned]
        groups, by = min(len(names), MOST_GROUPS), "speakers"
    else:
        groups, by = min(len(aligned), MOST_GROUPS), "utterances"
        group_of[list(aligned)] = np.arange(len(aligned)) * groups // len(aligned)
    folds = min(groups, MOST_FOLDS)
    frames = np.bincount(group_of[group_of >= 0], weights=lengths[group_of >= 0], minlength=groups)
    return Folds(group_of, _balanced(frames, folds), folds, by, _said(by, len(names), groups, folds))


def _balanced(frames: np.ndarray, folds: int) -> np.ndarray:
    """Give each group, the longest first, to the fold that has the fewest frames so far."""
    fold_of = np.zeros(len(frames), dtype=np.int64)
    load = np.zeros(folds)
    for group in np.argsort(-frames, kind="stable"):
        fold_of[group] = load.argmin()
        load[fold_of[group]] += frames[group]
    return fold_of


def _said(by: str, speakers: int, groups: int, folds: int) -> str:
    if folds < 2:
        return "nothing is held out: there is a single aligned utterance"
    why = {0: "the speakers are not known: ", 1: "there is a single speaker: "}.get(speakers, "")
    units = f"{speakers} speakers" if by == "speakers" else f"{groups} runs of consecutive utterances"
    return f"{why}held out by {by}: {units} in {folds} folds; the phone of a component is decided on the other folds"
