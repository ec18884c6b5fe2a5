"""Estimate where targets are unsure, and write the results as JSON, as tables and as figures.

The label file is read utterance by utterance, twice where there are alignments: first to count which phones each component goes with, in
each fold, then to judge every utterance by the counts of the other folds. Only counts are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional

import numpy as np
from tqdm import tqdm

from softhubert_plugin.audio.check import audio_length
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, check_destination, write_json, write_text
from softhubert_plugin.manifests import SAMPLE_RATE
from softhubert_plugin.report.uncertainty_figures import uncertainty_documents
from softhubert_plugin.uncertainty.by_speaker import BySpeaker
from softhubert_plugin.uncertainty.corpus import LabelledCorpus, open_corpus
from softhubert_plugin.uncertainty.frames import UnsureFrames, frames_in_phones, unsure_frames
from softhubert_plugin.uncertainty.in_phones import InPhones
from softhubert_plugin.uncertainty.information import HeldOutInformation
from softhubert_plugin.uncertainty.listen_choice import choose_utterances
from softhubert_plugin.uncertainty.listen_page import listen_page
from softhubert_plugin.uncertainty.overview import Overview
from softhubert_plugin.uncertainty.phone_guess import PhoneCounts, PhoneGuess
from softhubert_plugin.uncertainty.reliability import Reliability
from softhubert_plugin.uncertainty.table import uncertainty_markdown, uncertainty_text

MOST_TO_LISTEN_TO = 100
_OF_PHONES = ("boundary", "place", "phones", "classes", "reliability", "information")
_HARD = "hard labels are certain in every frame"
_ALONE = "there is a single aligned utterance, and nothing to hold out"
_UNALIGNED = "no alignments were given"


def measure_uncertainty(
    path: PathLike,
    manifest_path: PathLike,
    dest: PathLike,
    *,
    alignments: Optional[PathLike] = None,
    phone_set: Optional[str] = None,
    units_per_second: Optional[float] = None,
    partly: bool = False,
    label_rate: Optional[float] = None,
    speaker_from: Optional[str] = None,
    listen: int = 0,
) -> str:
    """Estimate where the targets of a label file are unsure.

    Args:
        path: ``{split}.gmm``, or ``{split}.km`` with its dictionary beside it.
        dest: folder for ``uncertainty.json``, ``uncertainty.md`` and the figures.
        alignments, phone_set, units_per_second, partly: as :class:`~softhubert_plugin.alignments.utterances.Alignments` takes them; without
            alignments, what needs them is left out.
        label_rate: frames per second, which hard labels do not record.
        speaker_from: as :func:`~softhubert_plugin.speakers.known_speakers` takes it.
        listen: write ``listen.html`` too, with the sound of this many utterances.

    Returns:
        The main numbers as text.

    Raises:
        SoftHubertError: labels, manifest or alignments are not usable, or do not belong together.
    """
    if not 0 <= listen <= MOST_TO_LISTEN_TO:
        raise SoftHubertError(f"--listen {listen}: expected 0 to {MOST_TO_LISTEN_TO} utterances, whose sound is in one page")
    corpus = open_corpus(
        path, manifest_path, alignments, phone_set=phone_set, units_per_second=units_per_second, partly=partly, label_rate=label_rate,
        speaker_from=speaker_from,
    )  # fmt: skip
    if listen:
        audio_length(corpus.manifest.audio_path(0))  # so that audio that is not there is noticed before the labels are read
    check_destination(Path(dest) / "uncertainty.json")
    found = collect(corpus)
    folder = Path(dest)
    for name, document in uncertainty_documents(found.results):
        write_text(folder / name, document)
    write_text(folder / "uncertainty.md", uncertainty_markdown(found.results))
    if listen:
        speakers = None if corpus.speakers is None else corpus.speakers.names
        chosen = choose_utterances(listen, found.entropies, corpus.manifest.sizes / SAMPLE_RATE, speakers)
        write_text(folder / "listen.html", listen_page(corpus, chosen, found.phone_of))
    write_json(folder / "uncertainty.json", found.results)
    return uncertainty_text(found.results)


class Collected(NamedTuple):
    """What was measured.

    Attributes:
        results: what ``uncertainty.json`` holds, as docs/formats.md describes it.
        entropies: ``(utterances,)`` the mean entropy of each utterance, in nats.
        phone_of: the phone that most frames of each component have, in all utterances, and empty for a component that is never the most
            probable one; ``None`` without alignments.
    """

    results: Dict[str, Any]
    entropies: np.ndarray
    phone_of: Optional[List[str]]


def collect(corpus: LabelledCorpus) -> Collected:
    """Measure a corpus.

    Raises:
        SoftHubertError: the labels are damaged, or no frame has a phone.
    """
    overview = Overview(corpus.labels.n_components, corpus.rate)
    speakers = None if corpus.speakers is None else BySpeaker(corpus.speakers)
    judge = None if corpus.phones is None else _Judge(corpus)
    entropies = np.zeros(len(corpus.manifest))
    for index in _utterances(corpus, "uncertainty"):
        frames = unsure_frames(corpus.labels, index)
        overview.add(frames)
        entropies[index] = frames.entropy.mean()
        right = None if judge is None else judge.add(index, frames)
        if speakers is not None:
            speakers.add(index, frames, right)
    results: Dict[str, Any] = {
        "labels": str(corpus.labels.path),
        "kind": "soft" if corpus.soft else "hard",
        "components": corpus.labels.n_components,
        "label_rate": corpus.rate,
        **overview.summary(),
        "speakers": None if speakers is None else speakers.summary(),
        **(dict.fromkeys(("alignments", *_OF_PHONES)) if judge is None else judge.summary()),
    }
    results["not_applicable"] = _not_applicable(corpus, results)
    return Collected(results if corpus.soft else _without_softness(results), entropies, None if judge is None else judge.phone_of())


class _Judge:
    """Everything that needs the phones."""

    def __init__(self, corpus: LabelledCorpus) -> None:
        assert corpus.phones is not None and corpus.held_out is not None
        self.corpus, self.phones, self.held_out = corpus, corpus.phones, corpus.held_out
        self.counts = PhoneCounts(self.held_out.folds, len(self.phones.phones), corpus.labels.n_components)
        self._count()
        self.guesses: List[PhoneGuess] = [self.counts.guess(fold) for fold in range(self.held_out.folds)]
        self.in_phones = InPhones(self.phones, self.held_out.groups)
        self.reliability = Reliability(self.held_out.groups)
        self.information = HeldOutInformation(self.held_out.groups, len(self.phones.phones))
        self.unlabelled = 0

    def _count(self) -> None:
        """Count the phones of every component, in each fold."""
        frames = 0
        for index in _utterances(self.corpus, "components and phones"):
            group = self.held_out.group_of[index]
            if group >= 0:
                unsure = unsure_frames(self.corpus.labels, index)
                phone = self.phones.frames(index, len(unsure), self.corpus.rate)
                known = phone >= 0
                frames += int(known.sum())
                self.counts.add(int(self.held_out.fold_of[group]), unsure, phone, known)
        if not frames:
            raise SoftHubertError(
                f"{self.phones.source}: no frame of {self.corpus.labels.path} has a phone; give the alignments of this corpus"
            )

    def add(self, index: int, frames: UnsureFrames) -> Optional[np.ndarray]:
        """Judge an utterance, and return which of its frames with a phone are right; ``None`` if that cannot be said."""
        where = frames_in_phones(self.phones, index, len(frames), self.corpus.rate)
        if where is None:
            return None
        group = int(self.held_out.group_of[index])
        self.unlabelled += int((~where.known).sum())
        if self.held_out.folds < 2:
            self.in_phones.add(group, frames, where, None)
            return None
        guess = self.guesses[self.held_out.fold_of[group]]
        right = guess.phone_of[frames.best] == where.phone
        self.in_phones.add(group, frames, where, right)
        self.reliability.add(group, frames.confidence[where.known], right[where.known])
        self.information.add(group, frames, where.phone, where.known, guess)
        return right[where.known]

    def phone_of(self) -> List[str]:
        """The phone that most frames of each component have; empty for a component that is never the most probable one."""
        counts = self.counts.argmax.sum(0)
        return [self.phones.phones[phone] if used else "" for phone, used in zip(counts.argmax(0), counts.any(0))]

    def summary(self) -> Dict[str, Any]:
        """The parts of the results that need the phones."""
        held_out = self.held_out.folds > 1
        return {
            "alignments": {
                "source": str(self.phones.source),
                "phone_set": self.phones.phone_set,
                "phones": len(self.phones.phones),
                "unit": self.phones.unit,
                "utterances": int((self.held_out.group_of >= 0).sum()),
                "without_alignment": len(self.phones.missing),
                "frames": self.in_phones.frames(),
                "frames_without_phone": self.unlabelled,
                "phone_run_frames": self.in_phones.frames() / max(self.in_phones.phone_runs, 1),
                "held_out": {
                    "by": self.held_out.by,
                    "groups": self.held_out.groups,
                    "folds": self.held_out.folds,
                    "said": self.held_out.said,
                },
            },
            **self.in_phones.summary(),
            "reliability": self.reliability.summary() if held_out else None,
            "information": self.information.summary(self.counts) if held_out else None,
        }


def _utterances(corpus: LabelledCorpus, what: str) -> Iterable[int]:
    return tqdm(range(len(corpus.manifest)), desc=f"{what} {corpus.labels.path.name}", unit="utt", disable=None)


def _not_applicable(corpus: LabelledCorpus, results: Dict[str, Any]) -> Dict[str, str]:
    """Why parts of the results are missing."""
    reasons: Dict[str, str] = {}
    if corpus.phones is None:
        reasons.update(dict.fromkeys(_OF_PHONES, _UNALIGNED))
    elif results["information"] is None:
        reasons.update(dict.fromkeys(("reliability", "information"), _ALONE))
    if corpus.speakers is None:
        reasons["speakers"] = "the names of the files do not tell the speakers; give --speaker-from or a .spk file"
    if not corpus.soft:
        reasons.update(dict.fromkeys(("entropy", "confidence", "reliability"), _HARD))
    return reasons


def _without_softness(results: Dict[str, Any]) -> Dict[str, Any]:
    """Leave out of the results of hard labels what is 0 or 1 in every frame."""
    boundary = results["boundary"] or {}
    speakers = (results["speakers"] or {}).get("rows", [])
    tables = [*boundary.values(), results["place"], results["phones"], results["classes"], speakers]
    for row in (row for table in tables for row in table or []):
        row.update(entropy=None, confidence=None)
    return {**results, "entropy": None, "confidence": None, "reliability": None}
