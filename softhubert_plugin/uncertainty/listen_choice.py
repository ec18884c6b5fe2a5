"""Choose the utterances to listen to: the least and the most unsure ones, spread over the speakers. The choice is always the same."""

from __future__ import annotations

from typing import List, Optional, Sequence

import numpy as np

# Shorter utterances are extreme by chance; longer ones make a page slow.
SHORTEST_SECONDS, LONGEST_SECONDS = 2.0, 20.0


def choose_utterances(count: int, entropies: np.ndarray, seconds: np.ndarray, speakers: Optional[Sequence[str]]) -> List[int]:
    """Choose utterances: in turn the least sure and the surest that is left, each of a speaker who was chosen least often so far.

    Utterances of 2 to 20 seconds are chosen from, if there are enough of them, and otherwise all.

    Args:
        count: how many to choose; all, if there are fewer.
        entropies: ``(utterances,)`` mean entropy of each.
        seconds: ``(utterances,)`` length of each.
        speakers: who speaks in each; ``None`` if it is not known.

    Returns:
        Numbers of utterances, in the order in which they were chosen.
    """
    usable = np.flatnonzero((seconds >= SHORTEST_SECONDS) & (seconds <= LONGEST_SECONDS))
    candidates = usable if len(usable) >= count else np.arange(len(entropies))
    surest_last = candidates[np.lexsort((candidates, -entropies[candidates]))]
    number = {name: place for place, name in enumerate(dict.fromkeys(speakers or [""]))}
    speaker_of = np.asarray([number[name] for name in speakers]) if speakers else np.zeros(len(entropies), dtype=np.int64)
    times = np.zeros(len(number))
    chosen: List[int] = []
    while len(surest_last) and len(chosen) < count:
        order = surest_last if len(chosen) % 2 == 0 else surest_last[::-1]
        pick = int(order[times[speaker_of[order]].argmin()])
        chosen.append(pick)
        times[speaker_of[pick]] += 1
        surest_last = surest_last[surest_last != pick]
    return chosen
