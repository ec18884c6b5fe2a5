"""Word error rate of hypotheses against references: per utterance, per speaker, and with the confidence interval of a finite test set.

Scoring comes after decoding, by this package or by fairseq's ``infer.py``. It writes ``score.json``; reports and comparisons need that file
only, not the texts. :mod:`softhubert_plugin.scoring.intervals` says how intervals and tests are computed.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from rapidfuzz.distance import Levenshtein

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, write_json
from softhubert_plugin.manifests import read_manifest
from softhubert_plugin.scoring.alternatives import AlignedTexts, align_texts, is_marked
from softhubert_plugin.scoring.edits import errors_in, view
from softhubert_plugin.scoring.intervals import Comparison, ConfidenceInterval, compare_errors, rate_interval
from softhubert_plugin.scoring.pairs import pair_scores
from softhubert_plugin.scoring.texts import read_pair
from softhubert_plugin.speakers import Speakers, known_speakers, speakers_from_names
from softhubert_plugin.text_files import read_json

_UNNAMED = re.compile(r"None-([0-9]+)")  # fairseq's infer.py names an utterance by its position in the manifest


@dataclass(frozen=True)
class Score:
    """Errors of one system on one test set; rates are fractions.

    Attributes:
        ids: names of the utterances, in order.
        speakers: speaker of each utterance; ``None`` if not known.
        references, hypotheses: the words of each utterance; for a reference with alternatives, the words of the best path. An optional
            word that the hypothesis leaves out stands against an empty word.
        steps: alignment of each utterance (:func:`softhubert_plugin.scoring.edits.edit_steps`).
        errors, words: ``(utterances,)`` word errors and reference words.
        character_errors, characters: ``(utterances,)`` character errors and reference characters, without spaces.
        interval: 95 % interval of the word error rate.
        speakers_from: where the speakers come from; ``None`` if they are not known.
        texts: the reference and the hypothesis of each utterance as they are in the files.
        form: how the files were read, see :mod:`softhubert_plugin.scoring.texts`.
    """

    ids: List[str]
    speakers: Optional[List[str]]
    references: List[List[str]]
    hypotheses: List[List[str]]
    steps: List[str]
    errors: np.ndarray
    words: np.ndarray
    character_errors: np.ndarray
    characters: np.ndarray
    interval: ConfidenceInterval
    speakers_from: Optional[Speakers] = None
    texts: List[Tuple[str, str]] = field(default_factory=list)
    form: str = "trn"

    @property
    def wer(self) -> float:
        """Word error rate: word errors divided by reference words."""
        return float(self.errors.sum() / self.words.sum())

    @property
    def cer(self) -> float:
        """Character error rate: character errors divided by reference characters."""
        return float(self.character_errors.sum() / self.characters.sum())

    def count(self, step: str) -> int:
        """Count the words that are correct (``step`` ``C``), substituted (``S``), deleted (``D``) or inserted (``I``)."""
        return sum(steps.count(step) for steps in self.steps)

    def by_speaker(self) -> Dict[str, Dict[str, Any]]:
        """Return utterances, words, errors and error rates of each speaker; empty if speakers are not known."""
        places: Dict[str, List[int]] = {}
        for place, speaker in enumerate(self.speakers or []):
            places.setdefault(speaker, []).append(place)
        return {
            speaker: {
                "utterances": len(chosen),
                "words": int(self.words[chosen].sum()),
                "errors": int(self.errors[chosen].sum()),
                "wer": _rate(self.errors[chosen], self.words[chosen]),
                "cer": _rate(self.character_errors[chosen], self.characters[chosen]),
            }
            for speaker, chosen in sorted(places.items())
        }

    def summary(self) -> str:
        """Return lines of text: the rates with their interval, the kinds of errors, and how the files were read if not as ``trn``."""
        low, high = self.interval.low, self.interval.high
        how = {"trn": "", "lines": "; read as plain text, line by line", "kaldi": "; read as 'id WORDS' lines"}[self.form]
        counts = f"substitutions {self.count('S')}, deletions {self.count('D')}, insertions {self.count('I')}"
        return (
            f"WER {100 * self.wer:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f}), CER {100 * self.cer:.2f} %, "
            f"{int(self.errors.sum())} errors in {int(self.words.sum())} words of {len(self.ids)} utterances\n"
            f"{counts}; interval: {self.interval.method}{how}"
        )

    def speaker_table(self) -> str:
        """Return a table with one line per speaker, the highest word error rate first.

        Raises:
            SoftHubertError: speakers are not known.
        """
        if self.speakers is None:
            raise SoftHubertError(
                f"the speaker of {self.ids[0]!r} is not known; give --manifest with a .spk file beside it, or --speaker-from REGEX|folder"
            )
        lines = [f"{'speaker':<12} {'utterances':>10} {'words':>7} {'errors':>7} {'WER %':>7} {'CER %':>7}"]
        found = sorted(self.by_speaker().items(), key=lambda item: -(item[1]["wer"] or 0.0))
        for speaker, of in found:
            rates = " ".join(f"{'–' if of[key] is None else format(100 * of[key], '.2f'):>7}" for key in ("wer", "cer"))
            lines.append(f"{speaker:<12} {of['utterances']:>10} {of['words']:>7} {of['errors']:>7} {rates}")
        return "\n".join(lines)

    def worst(self, number: int) -> str:
        """Return the alignments of the ``number`` utterances with the most errors, as ``sclite`` shows them."""
        order = sorted(range(len(self.ids)), key=lambda place: (-self.errors[place], place))[:number]
        return "\n\n".join(view(self.ids[place], self.references[place], self.hypotheses[place], self.steps[place]) for place in order)

    def _references_sha256(self) -> str:
        """Fingerprint of the references, whatever their order. Of two systems with the same one, the errors can be compared."""
        lines = sorted(f"{name}\t{reference}\n" for name, (reference, _) in zip(self.ids, self.texts))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def save(self, path: PathLike) -> None:
        """Write the score as JSON, with the errors of each utterance, so that systems can be compared later."""
        per_utterance: Dict[str, Any] = {
            "id": self.ids,
            "errors": self.errors.tolist(),
            "words": self.words.tolist(),
            "character_errors": self.character_errors.tolist(),
            "characters": self.characters.tolist(),
            "alignment": self.steps,
        }
        if self.speakers is not None:
            per_utterance["speaker"] = self.speakers
        value: Dict[str, Any] = {
            "wer": self.wer,
            "low": self.interval.low,
            "high": self.interval.high,
            "interval": self.interval.method,
            "cer": self.cer,
            "errors": int(self.errors.sum()),
            "substitutions": self.count("S"),
            "deletions": self.count("D"),
            "insertions": self.count("I"),
            "words": int(self.words.sum()),
            "references_sha256": self._references_sha256(),
            "character_errors": int(self.character_errors.sum()),
            "characters": int(self.characters.sum()),
            "utterances": len(self.ids),
            "speakers": self.by_speaker(),
            "speakers_from": self.speakers_from.source if self.speakers_from is not None else None,
            "per_utterance": per_utterance,
        }
        write_json(path, value)


def score_files(
    hypotheses: PathLike,
    references: PathLike,
    *,
    manifest: Optional[PathLike] = None,
    speaker_from: Optional[str] = None,
    form: str = "auto",
) -> Score:
    """Score hypotheses against references.

    The files have ``WORDS (id)`` lines in any order (NIST's ``trn``, where references may have alternatives), or they are plain text, line
    by line. A word ends at white space of any kind; letters are compared as they are.

    Speakers are found by the rule of :mod:`softhubert_plugin.speakers`.

    Args:
        hypotheses: file of hypotheses, such as ``hypo.word``.
        references: file of references, such as ``ref.word``.
        manifest: the split's ``.tsv``. It gives the names of the lines of plain text, and of the utterances that fairseq's ``infer.py``
            calls ``None-0``, ``None-1`` and so on; its ``.spk`` gives their speakers.
        speaker_from: a regular expression whose first group is the speaker, or ``folder``, where there is no ``.spk``.
        form: the form of both files: ``trn``, ``lines`` (plain text), ``kaldi`` (``id WORDS``), or ``auto`` to tell from the content.

    Raises:
        SoftHubertError: a file is missing or empty, a line is malformed, an id is missing in one file or occurs twice, the files differ in
            form, the manifest is of another split, ``speaker_from`` or the ``.spk`` does not fit, or there are no reference words.
    """
    hypothesis_of, reference_of, form = read_pair(hypotheses, references, form)
    found = list(reference_of)
    texts = [(reference_of[name], hypothesis_of[name]) for name in found]
    aligned: List[AlignedTexts] = []
    for name, pair in zip(found, texts):
        try:
            aligned.append(align_texts(*pair, literal=form != "trn"))
        except ValueError as error:
            where = hypotheses if is_marked(pair[1]) else references
            raise SoftHubertError(f"{where}: utterance {name!r}: {error}; correct it, or score plain text with --format lines") from None
    ids, speakers_from = _named(found, references, manifest, speaker_from)
    speakers = None if speakers_from is None else speakers_from.names
    words = np.asarray([len(each.reference) for each in aligned], dtype=np.int64)
    if not words.sum():
        raise SoftHubertError(f"{references}: no reference words, so there is no word error rate; give a split with transcripts")
    errors = np.asarray([errors_in(each.steps) for each in aligned], dtype=np.int64)
    spelt = [("".join(each.spoken()), "".join(each.hypothesis)) for each in aligned]
    return Score(
        ids=ids,
        speakers=speakers,
        references=[each.reference for each in aligned],
        hypotheses=[each.hypothesis for each in aligned],
        steps=[each.steps for each in aligned],
        errors=errors,
        words=words,
        character_errors=np.asarray([Levenshtein.distance(*pair) for pair in spelt], dtype=np.int64),
        characters=np.asarray([len(reference) for reference, _ in spelt], dtype=np.int64),
        interval=rate_interval(errors, words, speakers),
        speakers_from=speakers_from,
        texts=texts,
        form=form,
    )


def load_score(path: PathLike) -> Dict[str, Any]:
    """Read a file that :meth:`Score.save` wrote.

    Raises:
        SoftHubertError: the file is missing or is not such a file.
    """
    remedy = "write it with 'softhubert score HYP REF --dest'"
    value = read_json(path, remedy=remedy)
    if not isinstance(value, dict):
        raise SoftHubertError(f"{path}: expected a JSON object; {remedy}")
    lacking = [key for key in ("wer", "low", "high", "cer", "per_utterance") if key not in value]
    if lacking:
        raise SoftHubertError(f"{path}: does not contain {', '.join(lacking)}; {remedy}")
    return value


def compare_scores(first: Dict[str, Any], second: Dict[str, Any], unit: str = "words") -> Optional[Comparison]:
    """Compare two saved scores by their errors in a unit, ``words`` or ``characters``, with utterances paired by id.

    Returns:
        The comparison; ``None`` if the utterances are not the same, or if a score does not have the counts of the unit.
    """
    pair = pair_scores(first, second, unit)
    if pair is None:
        return None
    return compare_errors(pair.errors_a, pair.errors_b, pair.words, speakers=pair.speakers, steps_a=pair.steps_a, steps_b=pair.steps_b)


def compare_files(
    hypotheses: PathLike,
    others: PathLike,
    references: PathLike,
    *,
    manifest: Optional[PathLike] = None,
    speaker_from: Optional[str] = None,
    form: str = "auto",
) -> str:
    """Compare hypotheses with those of another system (``others``) on the same references, and describe the difference in words.

    Raises:
        SoftHubertError: as :func:`score_files`, for either system.
    """
    first, second = (
        score_files(path, references, manifest=manifest, speaker_from=speaker_from, form=form) for path in (others, hypotheses)
    )
    words = (first.words + second.words) / 2  # they differ only where references have alternatives
    found = compare_errors(first.errors, second.errors, words, speakers=first.speakers, steps_a=first.steps, steps_b=second.steps)
    return f"against {others}: {comparison_text(found)}"


def comparison_text(comparison: Comparison) -> str:
    """Describe a comparison in words: the difference, its interval and the test."""
    test = f"{comparison.test} over {comparison.segments} segments" if comparison.segments is not None else comparison.test
    return (
        f"{100 * comparison.difference:+.2f} points of WER (95 % interval {100 * comparison.low:+.2f} to {100 * comparison.high:+.2f}, "
        f"{comparison.method}; p = {comparison.p_value:.2g}, {test})"
    )


def _rate(errors: np.ndarray, words: np.ndarray) -> Optional[float]:
    return float(errors.sum() / words.sum()) if words.sum() else None


def _named(
    found: Sequence[str], references: PathLike, manifest: Optional[PathLike], speaker_from: Optional[str]
) -> Tuple[List[str], Optional[Speakers]]:
    """Name utterances by the manifest, if there is one, and find their speakers.

    The name is that of the audio file, or its path where several files have the same name.
    """
    if manifest is None:
        if speaker_from is None and any(_UNNAMED.fullmatch(name) for name in found):
            return list(found), None
        return list(found), speakers_from_names(found, [name.rpartition("/")[2] for name in found], speaker_from)
    listed = read_manifest(manifest)
    stems = [listed.utterance_id(index) for index in range(len(listed))]
    times = Counter(stems)
    place = {**{stem: index for index, stem in enumerate(stems)}, **{name: index for index, name in enumerate(listed.names)}}
    indices = []
    for name in found:
        match = _UNNAMED.fullmatch(name)
        index = place.get(name, -1) if match is None else int(match.group(1))
        if index < 0:
            raise SoftHubertError(f"{references}: utterance {name!r} is not in {manifest}; give the decoded split's manifest")
        if index >= len(listed):
            raise SoftHubertError(
                f"{references}: utterance {name!r}, but {manifest} lists {len(listed)}; give the decoded split's manifest"
            )
        if match is None and times[name] > 1:
            raise SoftHubertError(f"{references}: {manifest} lists several utterances {name!r}; name them by their relative paths")
        indices.append(index)
    named = len(set(indices))
    if named != len(listed):
        raise SoftHubertError(f"{references}: {named} utterances, but {manifest} lists {len(listed)}; give the decoded split's manifest")
    speakers = known_speakers(listed, speaker_from)
    ids = [stems[index] if times[stems[index]] == 1 else listed.names[index] for index in indices]
    return ids, None if speakers is None else speakers.of(indices)
