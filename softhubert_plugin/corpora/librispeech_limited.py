"""Training sets of 10 hours, 1 hour and 10 minutes in the style of Libri-light (Kahn et al. 2020, section 2.3).

As in Libri-light, a set has 24 speakers (the 10-minute set: 4), half women and half men, half clean and half other speech, and the same
amount of speech per speaker; and each smaller set is part of the larger ones. The utterances are not Libri-light's, which come with its
own lists. The choice depends only on the speakers and utterances that are available.
"""

from __future__ import annotations

import hashlib
from typing import Dict, List, Mapping, Sequence, Tuple

from softhubert_plugin.corpora.librispeech_files import Entry, Speaker
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import SAMPLE_RATE

# name: hours, speakers
LIMITED = {"10h": (10.0, 24), "1h": (1.0, 24), "10min": (1 / 6, 4)}


def limited_set(entries: Sequence[Entry], listed: Mapping[int, Speaker], name: str) -> List[Entry]:
    """Choose the utterances of one limited set.

    If there are fewer speakers than in Libri-light's set, each gives more speech.

    Args:
        entries: all available training utterances.
        listed: the speakers of SPEAKERS.TXT.
        name: ``10h``, ``1h`` or ``10min``.

    Returns:
        The utterances, sorted by name.

    Raises:
        SoftHubertError: there is no such set, or not enough speech for it.
    """
    if name not in LIMITED:
        raise SoftHubertError(f"--limited {name}: expected one of {', '.join(LIMITED)}")
    hours, wanted = LIMITED[name]
    available = sum(entry.utterance.samples for entry in entries) / SAMPLE_RATE / 3600
    if available < hours:
        raise SoftHubertError(
            f"--limited {name}: {available:.2f} hours of training speech available, expected at least {hours:.2f}; give more --subsets"
        )
    by_speaker: Dict[int, List[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: _rank(entry.utterance.name)):
        by_speaker.setdefault(entry.speaker, []).append(entry)
    speakers = _alternate(by_speaker, listed)[:wanted]
    quota = _quota([sum(entry.utterance.samples for entry in by_speaker[speaker]) for speaker in speakers], hours * 3600 * SAMPLE_RATE)
    chosen: List[Entry] = []
    for speaker in speakers:
        taken = 0
        for entry in by_speaker[speaker]:
            if taken + entry.utterance.samples / 2 > quota:  # round to the nearest utterance
                break
            chosen.append(entry)
            taken += entry.utterance.samples
    return sorted(chosen, key=lambda entry: entry.utterance.name)


def _quota(available: Sequence[int], wanted: float) -> float:
    """Return the samples that each speaker gives, so that all together give ``wanted``.

    A speaker who has less gives everything, and the others give more.
    """
    left = wanted
    for number, samples in enumerate(sorted(available)):
        share = left / (len(available) - number)
        if samples >= share:
            return share
        left -= samples
    return float(max(available))


def _alternate(by_speaker: Mapping[int, Sequence[Entry]], listed: Mapping[int, Speaker]) -> List[int]:
    """Put the speakers in a fixed order in which women and men, and clean and other speech, alternate."""
    kinds: Dict[Tuple[bool, str], List[int]] = {}
    for speaker in sorted(by_speaker, key=lambda speaker: _rank(str(speaker))):
        kinds.setdefault(("other" in by_speaker[speaker][0].subset, listed[speaker].sex), []).append(speaker)
    queues = [kinds[kind] for kind in sorted(kinds)]
    return [queue[turn] for turn in range(max(map(len, queues))) for queue in queues if turn < len(queue)]


def _rank(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
