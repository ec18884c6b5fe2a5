"""Training sets of 10 hours, 1 hour and 10 minutes after the fashion of Libri-light (Kahn et al. 2020, section 2.3).

As there, 24 speakers (4 for the ten minutes), as many women as men, clean and other speech in equal parts, the same share of each; and the
smaller sets lie within the larger. Not the same utterances: those come with Libri-light's own lists. The choice depends on nothing but
the speakers and utterances there are.
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
    """The utterances of one limited set, by speaker and utterance.

    Fewer speakers than Libri-light's give more each.

    Args:
        entries: all training utterances at hand.
        listed: SPEAKERS.TXT.

    Raises:
        SoftHubertError: there is no such set, or not enough speech for it.
    """
    if name not in LIMITED:
        raise SoftHubertError(f"--limited {name}: there are {', '.join(LIMITED)}")
    hours, wanted = LIMITED[name]
    available = sum(entry.utterance.samples for entry in entries) / SAMPLE_RATE / 3600
    if available < hours:
        raise SoftHubertError(
            f"--limited {name}: {available:.2f} hours of training speech at hand, {hours:.2f} are needed; give more --subsets"
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
            if taken + entry.utterance.samples / 2 > quota:  # to the nearest utterance
                break
            chosen.append(entry)
            taken += entry.utterance.samples
    return sorted(chosen, key=lambda entry: entry.utterance.name)


def _quota(available: Sequence[int], wanted: float) -> float:
    """What each speaker gives, so that together they give what is wanted: who has less gives all, the others the more."""
    left = wanted
    for number, samples in enumerate(sorted(available)):
        share = left / (len(available) - number)
        if samples >= share:
            return share
        left -= samples
    return float(max(available))


def _alternate(by_speaker: Mapping[int, Sequence[Entry]], listed: Mapping[int, Speaker]) -> List[int]:
    """Speakers in a fixed order in which women and men, and clean and other speech, take turns."""
    kinds: Dict[Tuple[bool, str], List[int]] = {}
    for speaker in sorted(by_speaker, key=lambda speaker: _rank(str(speaker))):
        kinds.setdefault(("other" in by_speaker[speaker][0].subset, listed[speaker].sex), []).append(speaker)
    queues = [kinds[kind] for kind in sorted(kinds)]
    return [queue[turn] for turn in range(max(map(len, queues))) for queue in queues if turn < len(queue)]


def _rank(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
