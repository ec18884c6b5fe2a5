"""Phone sets, and the folding of labels into them. Folding removes the marks that aligners add, so that tools agree on the phones.

In every set, silence is folded first, then noise, then the rest by the set's own rule. Silence and noise may be in upper or lower case, and
may have Kaldi's word positions (``SIL_S``):

========================  ==========================================================================================
silence                   an empty label, ``sil sp ssil silb sile !sil pau epi h# # _ |`` → ``sil``
noise                     ``spn nsn lau gbg brh cgh smk`` (spoken noise, other noise, laughter … of Kaldi) → ``spn``
marks in brackets         never phones: ``<eps> <sil> <p:> <p> <s> </s> [silence] {SL}`` → ``sil``; all others, such as
                          ``<unk> <usb> <nib> [noise] {LG} +BREATH+`` → ``spn``
``arpabet`` (upper case)  stress digits dropped (``AH0`` → ``AH``), Kaldi's word positions too (``AH0_B`` → ``AH``): 39 phones (CMU)
``timit`` (lower case)    the usual 61 → 39 (Lee and Hon 1989, table II); closures and the glottal stop ``q`` → ``sil``
``espeak``                variant digits and ``#`` dropped (``I2`` → ``I``, ``t#`` → ``t``): the embedded corpus
``letters``               ``A`` to ``Z`` and ``'``, what ``softhubert align`` writes
``asis``                  any label is a phone of its own; only silence and noise are folded. Never detected automatically
========================  ==========================================================================================
"""

from __future__ import annotations

import re
import string
from typing import Callable, Dict, FrozenSet, Iterable, Optional, Tuple

from softhubert_plugin.errors import SoftHubertError

SILENCE = "sil"
NOISE = "spn"
# In lower case. Words of a language are not among them, because labels that are words may be measured as well.
SILENCES = frozenset(["", "sil", "sp", "ssil", "silb", "sile", "!sil", "pau", "epi", "h#", "#", "_", "|"])
NOISES = frozenset(["spn", "nsn", "lau", "gbg", "brh", "cgh", "smk"])
SILENT_MARKS = frozenset(["eps", "sil", "sp", "p:", "p", "s", "/s", "sl", "silence", "pause", "pau"])
_MARK = re.compile(r"<([^<>]+)>|\[([^\[\]]+)\]|\{([^{}]+)\}|\+\+?([^+]+)\+\+?")

# fmt: off
ARPABET = frozenset([
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY", "JH", "K", "L", "M", "N",
    "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
])
TIMIT = frozenset([
    "aa", "ae", "ah", "aw", "ay", "b", "ch", "d", "dh", "dx", "eh", "er", "ey", "f", "g", "hh", "ih", "iy", "jh", "k", "l", "m", "n",
    "ng", "ow", "oy", "p", "r", "s", "sh", "sil", "t", "th", "uh", "uw", "v", "w", "y", "z",
])
_TIMIT_FOLDS: Dict[str, str] = {
    **{"ao": "aa", "ax": "ah", "ax-h": "ah", "axr": "er", "hv": "hh", "ix": "ih", "el": "l", "em": "m", "en": "n", "nx": "n"},
    **{"eng": "ng", "zh": "sh", "ux": "uw", "pcl": SILENCE, "tcl": SILENCE, "kcl": SILENCE, "bcl": SILENCE, "dcl": SILENCE},
    **{"gcl": SILENCE, "q": SILENCE},
}
# eSpeak NG's English mnemonics (phsource/ph_english and its accents), without variant marks.
ESPEAK = frozenset([
    "0", "0:", "3", "3:", "3R", ";", "?", "@", "@L", "@R", "A", "a", "A:", "a:", "A@", "aa", "ae", "aI", "ai", "aI@", "aU", "aU@", "b",
    "C", "D", "d", "dZ", "E", "e", "E:", "e:", "E@", "e@", "eI", "f", "g", "h", "I", "i", "I:", "i:", "I@", "i@", "i@3", "IR", "j", "k",
    "l", "l-", "l^", "m", "m-", "N", "n", "n-", "n^", "O", "o", "O:", "o:", "O@", "o@", "OI", "oU", "p", "Q", "Q^", "R", "r", "r-", "S",
    "s", "T", "t", "tS", "U", "u", "U:", "u:", "U@", "V", "v", "VR", "W", "w", "x", "y", "Z", "z",
])
# fmt: on
LETTERS = frozenset([*string.ascii_uppercase, "'"])


def _arpabet(label: str) -> str:
    return re.sub(r"[0-2]?(_[BIES])?$", "", label)


def _espeak(label: str) -> str:
    return re.sub(r"(?<=.)[0-9#]+$", "", label)


_SETS: Dict[str, Tuple[FrozenSet[str], Callable[[str], str]]] = {
    "arpabet": (ARPABET, _arpabet),
    "timit": (TIMIT, lambda label: _TIMIT_FOLDS.get(label, label)),
    "letters": (LETTERS, lambda label: label),
    "espeak": (ESPEAK, _espeak),
}
PHONE_SETS = (*_SETS, "asis")


def fold(label: str, phone_set: str) -> Optional[str]:
    """The phone of a label in a phone set, or ``None`` if the set does not have it.

    >>> fold("AH0_B", "arpabet"), fold("sp", "timit"), fold("bcl", "timit"), fold("AH0", "timit")
    ('AH', 'sil', 'sil', None)
    """
    bare = re.sub(r"(?<=.)_[BIES]$", "", label).lower()
    mark = _MARK.fullmatch(bare)
    if bare in SILENCES or (mark is not None and mark[mark.lastindex or 0] in SILENT_MARKS):
        return SILENCE
    if bare in NOISES or mark is not None:
        return NOISE
    if phone_set == "asis":
        return label
    inventory, folded = _SETS[phone_set]
    phone = folded(label)
    return phone if phone in inventory else None


def phone_set_of(labels: Iterable[str], where: object) -> str:
    """Detect the phone set that has all labels.

    Args:
        where: what the error message names.

    Raises:
        SoftHubertError: no set has all labels.
    """
    seen = sorted(set(labels))
    unknown = {name: [label for label in seen if fold(label, name) is None] for name in _SETS}
    for name, rest in unknown.items():
        if not rest:
            return name
    nearest = min(unknown, key=lambda name: len(unknown[name]))
    raise SoftHubertError(
        f"{where}: an unknown phone set; nearest is {nearest}, which lacks {' '.join(unknown[nearest][:8])} "
        f"({len(unknown[nearest])} of {len(seen)} labels); give --phones asis to take the labels as they are"
    )
