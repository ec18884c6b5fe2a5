"""The class of a phone: vowel, stop, fricative and so on, for tables that are easier to read than forty phones.

=============  =================================================================================================
``arpabet``    the 39 phones of CMU's dictionary
``timit``      the 39 phones of Lee and Hon; the closures of stops are silence there
``espeak``     eSpeak NG's mnemonics
``letters``    letters are not phones, so all are ``other``
``asis``       ARPABET or TIMIT with their marks, or a symbol of the IPA, by its first letter; all else is ``other``
=============  =================================================================================================
"""

from __future__ import annotations

from typing import Dict, Iterable

from softhubert_plugin.alignments.phones import ARPABET, NOISE, SILENCE, TIMIT, fold

OTHER = "other"
VOWEL, STOP, AFFRICATE, FRICATIVE, NASAL, APPROXIMANT = "vowels", "stops", "affricates", "fricatives", "nasals", "approximants"
# In the order of tables and figures.
CLASSES = (VOWEL, APPROXIMANT, NASAL, FRICATIVE, AFFRICATE, STOP, "silence", "noise", OTHER)


def _table(classes: Dict[str, Iterable[str]]) -> Dict[str, str]:
    return {phone: name for name, phones in classes.items() for phone in phones}


_ARPABET = _table(
    {
        STOP: ["B", "D", "G", "K", "P", "T", "DX"],
        AFFRICATE: ["CH", "JH"],
        FRICATIVE: ["DH", "F", "HH", "S", "SH", "TH", "V", "Z", "ZH"],
        NASAL: ["M", "N", "NG"],
        APPROXIMANT: ["L", "R", "W", "Y"],
    }
)
_ESPEAK = _table(
    {
        STOP: ["b", "d", "g", "k", "p", "t", "?"],
        AFFRICATE: ["dZ", "tS"],
        FRICATIVE: ["C", "D", "f", "h", "s", "S", "T", "v", "x", "z", "Z"],
        NASAL: ["m", "m-", "n", "n-", "n^", "N"],
        APPROXIMANT: ["j", "l", "l-", "l^", "r", "r-", "w", "W", ";"],
    }
)
_IPA = _table(
    {
        VOWEL: "iyɨʉɯuɪʏʊeøɘɵɤoəɛœɜɞʌɔæɐaɶɑɒɚɝ",
        STOP: "pbtdʈɖcɟkɡgqɢʔ",
        FRICATIVE: "ɸβfvθðszʃʒʂʐɕʑçʝxɣχʁħʕhɦɬɮ",
        NASAL: "mɱnɳɲŋɴ",
        APPROXIMANT: "ɹrɻɾɽʀlɭʎʟɫwʍjɥɰʋʙ",
    }
)


def phone_class(phone: str, phone_set: str) -> str:
    """Return the class of a phone, one of :data:`CLASSES`.

    Args:
        phone: a phone as :func:`~softhubert_plugin.alignments.phones.fold` gives it.
        phone_set: the set that it belongs to.

    >>> phone_class("AH", "arpabet"), phone_class("sil", "timit"), phone_class("tʃʰ", "asis"), phone_class("HELLO", "asis")
    ('vowels', 'silence', 'affricates', 'other')
    """
    if phone in (SILENCE, NOISE):
        return "silence" if phone == SILENCE else "noise"
    if phone_set in ("arpabet", "timit"):
        return _ARPABET.get(phone.upper(), VOWEL)
    if phone_set == "espeak":
        return _ESPEAK.get(phone, VOWEL)
    return _class_of_unknown_set(phone) if phone_set == "asis" else OTHER


def _class_of_unknown_set(label: str) -> str:
    for name, inventory in (("arpabet", ARPABET), ("timit", TIMIT)):
        phone = fold(label, name)
        if phone in inventory:
            return phone_class(phone, name)
    if label[0] not in _IPA or any(letter.isascii() and letter not in _IPA for letter in label):
        return OTHER
    known = [_IPA[letter] for letter in label if letter in _IPA]
    if known[:2] == [STOP, FRICATIVE] and len(known) == 2:
        return AFFRICATE
    # Long vowels, diphthongs and double consonants are phones; anything longer, or a vowel beside a consonant, is a syllable or a word.
    one_sound = len(known) <= 3 if set(known) == {VOWEL} else len(known) <= 2 and (VOWEL not in known)
    return known[0] if one_sound else OTHER
