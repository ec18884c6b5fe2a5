"""Make a corpus of what was listed: check it, find or cut its audio, divide it, and write the files that every later stage reads."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from softhubert_plugin.corpora.division import Division, divide_corpus
from softhubert_plugin.corpora.listed import SPLIT_NAME, Faults, Listed, is_utf8
from softhubert_plugin.corpora.normalise import Normaliser, TextSurvey
from softhubert_plugin.corpora.placing import OVERSHOOT_SECONDS, place_audio
from softhubert_plugin.corpora.writing import Utterance, write_splits
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import SAMPLE_RATE, read_dictionary

_ORDER = {"train": 0, "test": 2}  # of the splits in the summary


@dataclass(frozen=True)
class Wishes:
    """What the user wants of a corpus, whatever kind it is of.

    Attributes:
        dest: folder to write to.
        root: folder that relative paths start from; ``None`` for the habit of the kind.
        normalise: steps of :class:`~softhubert_plugin.corpora.normalise.Normaliser`.
        division: how to divide a corpus without splits of its own.
        resample_to: folder for recordings that have to be converted to 16 kHz and one channel; ``None`` to refuse them.
        skip_unreadable: leave out utterances with faults, instead of refusing them.
    """

    dest: Path
    root: Optional[Path] = None
    normalise: Sequence[str] = ()
    division: Division = field(default_factory=Division)
    resample_to: Optional[Path] = None
    skip_unreadable: bool = False


class Written(NamedTuple):
    """What was written.

    Attributes:
        utterances: name and length of each utterance in the manifests, by where its corpus lists it.
        report: lines for the user.
    """

    utterances: Dict[str, Tuple[str, int]]
    report: List[str]


def write_corpus(
    listed: Iterable[Listed],
    wishes: Wishes,
    faults: Faults,
    *,
    source: object,
    overshoot: float = OVERSHOOT_SECONDS,
    default_root: Optional[Path] = None,
) -> Written:
    """Write ``{split}.tsv``, ``.wrd``, ``.ltr``, ``.spk`` and ``dict.ltr.txt`` of a corpus.

    Args:
        listed: its utterances, in the order in which they are to be written.
        wishes: what the user wants.
        faults: has the faults that were found while listing, and takes further ones.
        source: the corpus, for messages.
        overshoot: how far a segment may end after its recording, in seconds.
        default_root: folder that names in the manifests start from, unless ``wishes`` have one or files are outside it.

    Raises:
        SoftHubertError: an utterance is not usable and faults are not to be skipped, nothing is left, or the splits cannot be made.
    """
    wishes.division.check()
    normaliser, survey = Normaliser(wishes.normalise), TextSurvey()
    utterances = list(_checked(listed, normaliser, survey, faults))
    utterances = _complete(utterances, faults)
    root = wishes.root or default_root
    placed = place_audio(utterances, wishes.dest, root=root, convert_to=wishes.resample_to, overshoot=overshoot, faults=faults)
    usable = [number for number, place in enumerate(placed.places) if place is not None]
    if not usable:
        first = f"; the first: {faults.noted[0]}" if faults.noted else ""
        raise SoftHubertError(f"{source}: no utterance can be used{first}; correct the corpus")
    splits: Dict[str, List[Utterance]] = {}
    written: Dict[str, Tuple[str, int]] = {}
    kept = [utterances[number] for number in usable]
    for number, split in zip(usable, _splits_of(kept, wishes.division, source)):
        place = placed.places[number]
        assert place is not None
        each, name = utterances[number], os.path.relpath(place.path, placed.root)
        splits.setdefault(split, []).append(Utterance(name, place.samples, each.text, each.speaker, each.name))
        written[each.where] = name, place.samples
    warnings = write_splits(wishes.dest, placed.root, splits)
    report = [*(f"skipped {fault}" for fault in faults.noted), *placed.notes, *normaliser.report(), *survey.report()]
    if all(each.text is None for each in kept):
        report.append("note: the corpus has no transcripts, so there are no .wrd and .ltr files")
    report += [*_about_speakers(kept, splits), *warnings]
    return Written(written, [*report, _summary(wishes.dest, splits, len(faults.noted))])


def _checked(listed: Iterable[Listed], normaliser: Normaliser, survey: TextSurvey, faults: Faults) -> Iterator[Listed]:
    """Clean transcripts up, and leave out utterances whose entries are not usable."""
    seen: Dict[Tuple[str, float, Optional[float], Optional[int]], str] = {}
    for each in listed:
        if each.text is not None:
            # A byte order mark within a field is left from joining files; at the start of a line every reader drops it.
            each = each._replace(text=normaliser(" ".join(each.text.replace("\ufeff", "").split())))
        key = (os.path.abspath(each.audio), each.start, each.end, each.channel)
        problem = _problem(each) or (f"the same utterance as {seen[key]}" if key in seen else None)
        if problem is not None:
            faults.add(f"{each.where}: {problem}")
            continue
        seen[key] = each.where
        if each.text is not None:
            survey.add(each.text)
        yield each


def _problem(each: Listed) -> Optional[str]:
    if each.text is not None:
        if not each.text:
            return "the transcript is empty"
        if "\0" in each.text or not is_utf8(each.text):
            return f"the transcript has broken characters: {each.text[:60]!r}"
        if "|" in each.text:
            return f"the transcript has a '|', which ends a word in .ltr files: {each.text[:60]!r}; --normalise punctuation removes it"
    if each.split is not None and not SPLIT_NAME.fullmatch(each.split):
        return f"expected the name of a split, of letters, digits, '-', '_' and '.'; found {each.split[:60]!r}"
    return None


def _complete(utterances: List[Listed], faults: Faults) -> List[Listed]:
    """Leave out utterances without text, speaker or split, if others of their split (or corpus) have them."""
    groups: Dict[Optional[str], Set[str]] = {}
    split_known = any(each.split is not None for each in utterances)
    for each in utterances:
        known = groups.setdefault(each.split, set())
        known.update(name for name in ("text", "speaker") if getattr(each, name) is not None)
    complete = []
    for each in utterances:
        missing: List[str] = [name for name in ("text", "speaker") if name in groups[each.split] and getattr(each, name) is None]
        missing += ["split"] if split_known and each.split is None else []
        if missing:
            faults.add(f"{each.where}: expected a {' and a '.join(missing)}, as other utterances have; found none")
        else:
            complete.append(each)
    return complete


def _splits_of(utterances: Sequence[Listed], division: Division, source: object) -> List[str]:
    if utterances[0].split is None:
        return divide_corpus([each.speaker for each in utterances], division, source)
    return [each.split or "" for each in utterances]


def _about_speakers(utterances: Sequence[Listed], splits: Dict[str, List[Utterance]]) -> List[str]:
    """Warn if a speaker is, or may be, in several splits."""
    if any(each.speaker is None for each in utterances):
        unknown = "note: the corpus does not say who speaks, so there is no .spk file"
        if utterances[0].split is None and len(splits) > 1:
            return [f"warning: divided by utterance, so a speaker may be in several splits; {unknown[6:]}"]
        return [unknown]
    lines = []
    places: Dict[str, Set[str]] = {}
    for split, found in splits.items():
        for each in found:
            places.setdefault(str(each.speaker), set()).add(split)
    shared = sum(len(of_speaker) > 1 for of_speaker in places.values())
    if shared:
        lines.append(f"warning: {shared} of {len(places)} speakers are in several splits, so results on them are too good")
    if len(utterances) > 1 and len(places) == len(utterances):
        lines.append("note: every utterance has a speaker of its own; if these are not people, splits may share people")
    return lines


def _summary(dest: Path, splits: Dict[str, List[Utterance]], skipped: int) -> str:
    parts = []
    for split, found in sorted(splits.items(), key=lambda item: _ORDER.get(item[0], 1)):
        minutes = sum(each.samples for each in found) / SAMPLE_RATE / 60
        speakers = Counter(each.speaker for each in found)
        of_speakers = "" if None in speakers else f" of {len(speakers)} speakers"
        parts.append(f"{split} {len(found)} utterances{of_speakers} ({minutes:.1f} min)")
    if any(each.text is not None for found in splits.values() for each in found):
        parts.append(f"{len(read_dictionary(dest / 'dict.ltr.txt')) - 1} letters")
    return f"{dest}: " + ", ".join(parts) + (f", {skipped} skipped" if skipped else "")
