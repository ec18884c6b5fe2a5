"""Pair the saved scores of two systems utterance by utterance, before their errors are compared."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np


class PairedErrors(NamedTuple):
    """Errors of two systems on the same utterances, in the order of the first one's score.

    Attributes:
        ids: names of the utterances.
        errors_a, errors_b: ``(utterances,)`` word errors of the first and of the second system.
        words: ``(utterances,)`` reference words. Where references have alternatives, the mean of what the systems were aligned with.
        speakers: speaker of each utterance; ``None`` if not known.
        steps_a, steps_b: alignments; ``None`` if one of the scores has none.
    """

    ids: List[str]
    errors_a: np.ndarray
    errors_b: np.ndarray
    words: np.ndarray
    speakers: Optional[List[str]]
    steps_a: Optional[List[str]]
    steps_b: Optional[List[str]]


def pair_scores(first: Dict[str, Any], second: Dict[str, Any]) -> Optional[PairedErrors]:
    """Pair two saved scores by utterance. Return ``None`` if the utterances are not the same."""
    a, b = first["per_utterance"], second["per_utterance"]
    place = {name: index for index, name in enumerate(b["id"])}
    if len(place) != len(a["id"]) or set(place) != set(a["id"]):
        return None
    order = [place[name] for name in a["id"]]
    words = [b["words"][index] for index in order]
    # Where references have alternatives, the systems may have taken paths of different lengths.
    if words != a["words"] and (first.get("references_sha256") is None or first["references_sha256"] != second.get("references_sha256")):
        return None
    aligned = "alignment" in a and "alignment" in b
    return PairedErrors(
        ids=a["id"],
        errors_a=np.asarray(a["errors"]),
        errors_b=np.asarray(b["errors"])[order],
        words=(np.asarray(a["words"]) + np.asarray(words)) / 2,
        speakers=a.get("speaker"),
        steps_a=a["alignment"] if aligned else None,
        steps_b=[b["alignment"][index] for index in order] if aligned else None,
    )
