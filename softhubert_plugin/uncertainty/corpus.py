"""Labels with what is known about them: the manifest, the phones, the speakers, and how they are divided to hold something out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from softhubert_plugin.alignments.utterances import Alignments
from softhubert_plugin.files import PathLike
from softhubert_plugin.labels.frame_labels import FrameLabels
from softhubert_plugin.labels.opening import open_label_file
from softhubert_plugin.labels.soft import SoftLabels
from softhubert_plugin.labels.verify import verify_labels
from softhubert_plugin.manifests import Manifest, read_manifest
from softhubert_plugin.speakers import Speakers, announce, known_speakers
from softhubert_plugin.uncertainty.folds import Folds, hold_out


@dataclass(frozen=True)
class LabelledCorpus:
    """Labels and what belongs to them.

    Attributes:
        labels: the open label file.
        rate: its frames per second.
        manifest: its utterances.
        speakers: who speaks in them; ``None`` if that is not known.
        phones: their alignments; ``None`` if none were given.
        held_out: how the aligned utterances are divided; ``None`` without alignments.
    """

    labels: FrameLabels
    rate: float
    manifest: Manifest
    speakers: Optional[Speakers]
    phones: Optional[Alignments]
    held_out: Optional[Folds]

    @property
    def soft(self) -> bool:
        """Whether the labels are soft."""
        return isinstance(self.labels, SoftLabels)


def open_corpus(
    path: PathLike,
    manifest_path: PathLike,
    alignments: Optional[PathLike],
    *,
    phone_set: Optional[str],
    units_per_second: Optional[float],
    partly: bool = False,
    label_rate: Optional[float],
    speaker_from: Optional[str],
) -> LabelledCorpus:
    """Open labels, manifest and alignments, and check that they belong together.

    Args:
        path: ``{split}.gmm``, or ``{split}.km`` with its dictionary beside it.
        alignments, phone_set, units_per_second, partly: as :class:`~softhubert_plugin.alignments.utterances.Alignments` takes them.
        label_rate: frames per second, which hard labels do not record.
        speaker_from: as :func:`~softhubert_plugin.speakers.known_speakers` takes it.

    Raises:
        SoftHubertError: labels, manifest or alignments are not usable, or do not belong together.
    """
    labels = open_label_file(Path(path))
    rate = labels.rate(label_rate)
    manifest = read_manifest(manifest_path)
    verify_labels(labels, manifest, rate)
    speakers = known_speakers(manifest, speaker_from)
    if speakers is not None:
        announce(speakers)
    if alignments is None:
        return LabelledCorpus(labels, rate, manifest, speakers, None, None)
    phones = Alignments(alignments, manifest, phone_set=phone_set, units_per_second=units_per_second, partly=partly)
    aligned = [index for index in range(len(manifest)) if phones.has(index)]
    return LabelledCorpus(labels, rate, manifest, speakers, phones, hold_out(aligned, labels.lengths, speakers))
