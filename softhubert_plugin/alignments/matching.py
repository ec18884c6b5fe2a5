"""Which alignment is of which utterance.

1. An alignment at an utterance's own relative path is its alignment: ``TRAIN/DR1/FCJF0/SA1.PHN`` of ``TRAIN/DR1/FCJF0/SA1.WAV``.
2. If no path is the same, the roots may differ, so only the last folders are compared, as many as both sides have: ``DR1/FCJF0/SA1.PHN``
   of ``TRAIN/DR1/FCJF0/SA1.WAV``. Then folders through which every path passes are left out: ``bdl/lab/a0001`` is of ``bdl/wav/a0001``.
3. What is left goes by the name without folders, if it names one utterance and one alignment. Where paths agreed for some utterances,
   an alignment in another folder belongs to somebody else, so only names without a folder count.

Two candidates are refused, whatever the step. Upper and lower case and Unicode's forms of one letter make no difference, unless they are
all that tells two names apart.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from softhubert_plugin.errors import SoftHubertError

Name = Callable[[int], str]
_AUDIO_SUFFIX = re.compile(r"(\.(wav|flac|ogg|opus|mp3|m4a|sph|aiff?|au|w64))+$", re.IGNORECASE)


def key_of(path: str) -> str:
    """Return what an alignment and its audio have in common: the path without the ending of audio files, even a doubled one.

    >>> key_of("DR1/FCJF0/SA1.WAV.wav"), key_of("84-121123-0001"), key_of("rec.1.flac")
    ('DR1/FCJF0/SA1', '84-121123-0001', 'rec.1')
    """
    return _AUDIO_SUFFIX.sub("", path)


def matched(
    utterances: Sequence[str], alignments: Sequence[str], *, source: object, utterance: Name, alignment: Name
) -> List[Optional[int]]:
    """Find the alignment of each utterance.

    Args:
        utterances, alignments: the key (:func:`key_of`) of each.
        source: where the alignments come from, for error messages.
        utterance, alignment: names for error messages, by number.

    Returns:
        For each utterance the number of its alignment, ``None`` if there is none.

    Raises:
        SoftHubertError: an utterance has two alignments, or an alignment may be of two utterances.
    """

    def refuse(of: Sequence[int], candidates: Sequence[int]) -> SoftHubertError:
        if len(candidates) > 1:
            both = f"{alignment(candidates[0])} and {alignment(candidates[1])} may both be of {utterance(of[0])}"
        else:
            both = f"{alignment(candidates[0])} may be of {utterance(of[0])} and of {utterance(of[1])}"
        return SoftHubertError(f"{source}: {both}; name alignments by the relative paths of the audio, one for each")

    def paired(left: Sequence[str], right: Sequence[str]) -> List[Optional[int]]:
        there = _grouped(right)
        pairs: List[Optional[int]] = [None] * len(left)
        for key, of in _grouped(left).items():
            candidates = there.get(key, ())
            if candidates and len(of) + len(candidates) > 2:
                raise refuse(of, candidates)
            if candidates:
                pairs[of[0]] = candidates[0]
        return pairs

    spelt = _same_spelling(utterances, alignments)
    for left, right in (spelt, _same_depth(*spelt), tuple(map(_without_common_folders, spelt))):
        pairs = paired(left, right)
        if any(pair is not None for pair in pairs):
            break
    agree = any(pair is not None and "/" in key for pair, key in zip(pairs, left))
    used = set(pairs)
    of_name = _grouped([key.rpartition("/")[2] for key in left])
    for name, candidates in _grouped([key.rpartition("/")[2] for key in right]).items():
        of = of_name.get(name, [])
        open_ones = [index for index in of if pairs[index] is None]
        free = [number for number in candidates if number not in used]
        if agree:
            free = [number for number in free if "/" not in right[number] or any("/" not in left[index] for index in open_ones)]
        if open_ones and free:
            if len(of) > 1 or len(free) > 1:
                raise refuse([*open_ones, *(index for index in of if index not in open_ones)], free)
            pairs[open_ones[0]] = free[0]
    return pairs


def _grouped(keys: Sequence[str]) -> Dict[str, List[int]]:
    groups: Dict[str, List[int]] = {}
    for number, key in enumerate(keys):
        groups.setdefault(key, []).append(number)
    return groups


def _same_spelling(left: Sequence[str], right: Sequence[str]) -> Tuple[List[str], List[str]]:
    folded = tuple([unicodedata.normalize("NFC", key).casefold() for key in keys] for keys in (left, right))
    if all(len(set(new)) == len(set(old)) for new, old in zip(folded, (left, right))):
        return folded[0], folded[1]
    return list(left), list(right)


def _same_depth(left: Sequence[str], right: Sequence[str]) -> Tuple[List[str], List[str]]:
    """Leave out the first folders of the side with deeper paths. Paths without folders are left as they are: names alone come last."""
    depth = min(max((key.count("/") for key in keys), default=0) for keys in (left, right))
    if not depth:
        return list(left), list(right)
    return ["/".join(key.split("/")[-depth - 1 :]) for key in left], ["/".join(key.split("/")[-depth - 1 :]) for key in right]


def _without_common_folders(keys: Sequence[str]) -> List[str]:
    if not keys:
        return []
    common = set(keys[0].split("/")[:-1])
    for key in keys:
        common.intersection_update(key.split("/")[:-1])
    return ["/".join([*(part for part in key.split("/")[:-1] if part not in common), key.rpartition("/")[2]]) for key in keys]
