"""Pair the saved scores of two systems utterance by utterance, before their word or character errors are compared."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

_COUNTS = {"words": "errors", "characters": "character_errors"}  # of each unit, the key of its errors


class PairedErrors(NamedTuple):
    """Errors of two systems on the same utterances, in the order of the first one's score.

    Attributes:
        ids: names of the utterances.
        errors_a, errors_b: ``(utterances,)`` word errors, or character errors, of the first and of the second system.
        words: ``(utterances,)`` reference words, or reference characters. Where references have alternatives, the mean of what the systems
            were aligned with.
        speakers: speaker of each utterance; ``None`` if not known.
        steps_a, steps_b: alignments of words; ``None`` if one of the scores has none, and for characters.
        references: fingerprint of the references; ``None`` if not known.
    """

    ids: List[str]
    errors_a: np.ndarray
    errors_b: np.ndarray
    words: np.ndarray
    speakers: Optional[List[str]]
    steps_a: Optional[List[str]]
    steps_b: Optional[List[str]]
    references: Optional[str] = None


def pair_scores(first: Dict[str, Any], second: Dict[str, Any], unit: str = "words") -> Optional[PairedErrors]:
    """Pair two saved scores by utterance.

    Args:
        first, second: scores, as :func:`softhubert_plugin.scoring.score.load_score` reads them.
        unit: ``words``, or ``characters`` for character errors.

    Returns:
        The paired errors; ``None`` if the utterances are not the same, or if a score does not have the counts of the unit.
    """
    a, b = first["per_utterance"], second["per_utterance"]
    if _is_summed(a) != _is_summed(b):  # a run saved in one file, and a run in its folder
        a, b = summed_by_speaker(a), summed_by_speaker(b)
    place = {name: index for index, name in enumerate(b["id"])}
    if len(place) != len(a["id"]) or set(place) != set(a["id"]):
        return None
    errors = _COUNTS[unit]
    if not {errors, unit} <= a.keys() & b.keys():
        return None
    order = [place[name] for name in a["id"]]
    # Where references have alternatives, the systems may have taken paths of different lengths.
    known = first.get("references_sha256") is not None and first["references_sha256"] == second.get("references_sha256")
    if not known and any([b[key][index] for index in order] != a[key] for key in {"words", unit}):
        return None
    aligned = unit == "words" and "alignment" in a and "alignment" in b
    return PairedErrors(
        ids=a["id"],
        errors_a=np.asarray(a[errors]),
        errors_b=np.asarray(b[errors])[order],
        words=(np.asarray(a[unit]) + np.asarray(b[unit])[order]) / 2,
        speakers=a.get("speaker"),
        steps_a=a["alignment"] if aligned else None,
        steps_b=[b["alignment"][index] for index in order] if aligned else None,
        references=first.get("references_sha256"),
    )


def summed_by_speaker(each: Dict[str, List[Any]]) -> Dict[str, List[Any]]:
    """Sum what is counted for each utterance over each speaker's, without alignments.

    Args:
        each: ``per_utterance`` of a score. With one speaker, or without speakers, it stays as it is: it is a sample of utterances.
    """
    speakers = sorted(set(each.get("speaker", ())))
    if len(speakers) < 2:
        return {key: values for key, values in each.items() if key != "alignment"}
    place = {speaker: number for number, speaker in enumerate(speakers)}
    found: Dict[str, List[Any]] = {"id": speakers, "speaker": speakers}
    for key, values in each.items():
        if key not in ("id", "speaker", "alignment"):
            sums = [0] * len(speakers)
            for speaker, value in zip(each["speaker"], values):
                sums[place[speaker]] += value
            found[key] = sums
    return found


def _is_summed(each: Dict[str, List[Any]]) -> bool:
    return each["id"] == each.get("speaker")
