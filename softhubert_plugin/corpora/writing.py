"""Files that every corpus writes: manifests and transcripts of its splits, and ``corpus.json``, which says that it is complete."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import soundfile

from softhubert_plugin.corpora.earlier import shared_utterances, texts_of_others
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, atomic_path, write_json, write_text
from softhubert_plugin.manifests import SAMPLE_RATE, letters, read_dictionary, write_letter_dictionary, write_manifest, write_transcripts
from softhubert_plugin.text_files import read_json

SPLITS = ("train", "valid", "test")


class Utterance(NamedTuple):
    """An utterance.

    Attributes:
        name: path of the audio file, relative to the corpus's root.
        samples: length in samples.
        text: the words; ``None`` if they are not known.
        speaker: who speaks; ``None`` if that is not known.
        origin: where the corpus has the utterance from: its chapter, or its own name of it.
    """

    name: str
    samples: int
    text: Optional[str] = None
    speaker: Optional[str] = None
    origin: str = ""


def write_splits(dest: PathLike, root: PathLike, splits: Mapping[str, Sequence[Utterance]]) -> List[str]:
    """Write ``{split}.tsv`` of every split; ``.wrd`` and ``.ltr`` if its texts are known, ``.spk`` if its speakers are; ``dict.ltr.txt``.

    What is not known of a split is removed if an earlier run wrote it, because it would belong to other utterances.

    Returns:
        Notes and warnings of splits that an earlier run wrote.
    """
    others = texts_of_others(dest, splits)
    for split, utterances in splits.items():
        write_manifest(Path(dest) / f"{split}.tsv", root, ((utterance.name, utterance.samples) for utterance in utterances))
        texts = [utterance.text for utterance in utterances if utterance.text is not None]
        if len(texts) == len(utterances):
            write_transcripts(dest, split, texts)
        else:
            _remove(dest, split, "wrd", "ltr")
        if all(utterance.speaker is not None for utterance in utterances):
            lines = (f"{utterance.speaker}\t{utterance.origin}\n" for utterance in utterances)
            write_text(Path(dest) / f"{split}.spk", "".join(lines))
        else:
            _remove(dest, split, "spk")
    known = [utterance.text for utterances in splits.values() for utterance in utterances if utterance.text is not None]
    notes = _write_dictionary(dest, known, others) if known else []
    names = {split: [utterance.name for utterance in utterances] for split, utterances in splits.items()}
    return [*notes, *shared_utterances(dest, root, names)]


def _write_dictionary(dest: PathLike, texts: Sequence[str], others: Mapping[str, Sequence[str]]) -> List[str]:
    """Write ``dict.ltr.txt``, unless the one that is there has the letters already: its order is that of the outputs of trained models.

    Args:
        texts: the transcripts of this run.
        others: those of each split of an earlier run, whose letters are kept.

    Returns:
        A note, if letters of other splits are in the dictionary that is written.
    """
    together = [*texts, *itertools.chain.from_iterable(others.values())]
    needed = {letter for text in together for letter in letters(text).split()}
    with contextlib.suppress(SoftHubertError):
        found = set(read_dictionary(Path(dest) / "dict.ltr.txt"))
        if needed == found or (others and needed < found):
            return []
    write_letter_dictionary(dest, together)
    return [f"note: dict.ltr.txt also has the letters of {', '.join(others)}, which earlier runs wrote"] if others else []


def _remove(dest: PathLike, split: str, *kinds: str) -> None:
    for kind in kinds:
        (Path(dest) / f"{split}.{kind}").unlink(missing_ok=True)


def write_flac(path: PathLike, samples: np.ndarray, *, comment: str = "") -> None:
    """Write ``(samples,)`` floats in [-1, 1] as 16 kHz, 16-bit FLAC, with a comment in its header."""
    with atomic_path(path) as temporary, soundfile.SoundFile(str(temporary), "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file:
        if comment:
            file.comment = comment
        file.write(samples)


def splits_by_speaker(speakers: Sequence[str]) -> Dict[str, str]:
    """Assign each speaker to one split.

    In the given order, the last tenth goes to ``test``, the tenth before to ``valid`` (at least one speaker each), the others to ``train``.

    Returns:
        The split of each speaker.

    Raises:
        SoftHubertError: there are fewer than three speakers.
    """
    if len(speakers) < 3:
        raise SoftHubertError(f"{len(speakers)} speakers: expected at least 3, because train, valid and test have no speaker in common")
    share = max(1, round(len(speakers) * 0.1))
    return {
        speaker: "test" if rank >= len(speakers) - share else "valid" if rank >= len(speakers) - 2 * share else "train"
        for rank, speaker in enumerate(speakers)
    }


def is_made(dest: PathLike, parameters: Dict[str, Any], *, new: str = "") -> bool:
    """Return whether ``DEST/corpus.json`` says that the corpus with these parameters is complete.

    Args:
        new: a parameter that older versions did not record; where it is not recorded, it is not compared.

    Raises:
        SoftHubertError: another corpus is there.
    """
    path = Path(dest) / "corpus.json"
    if not path.exists():
        return False
    found = read_json(path, remedy="remove that folder and make the corpus again")
    found = found.get("parameters") if isinstance(found, dict) else found
    if isinstance(found, dict) and new not in found:
        parameters = {name: value for name, value in parameters.items() if name != new}
    if found != parameters:
        raise SoftHubertError(f"{path}: made with {found}, asked for {parameters}; choose another folder or remove this one")
    return True


def record(dest: PathLike, parameters: Dict[str, Any], splits: Mapping[str, Sequence[Utterance]], **details: Any) -> str:
    """Write ``corpus.json``, the last file of a corpus. Return one line that says what was made."""
    counts: Dict[str, Tuple[int, float]] = {
        split: (len(utterances), sum(utterance.samples for utterance in utterances) / SAMPLE_RATE / 3600)
        for split, utterances in splits.items()
    }
    summary = {split: {"utterances": number, "hours": round(hours, 4)} for split, (number, hours) in counts.items()}
    write_json(Path(dest) / "corpus.json", {"parameters": parameters, "splits": summary, **details})
    return f"{dest}: " + ", ".join(f"{split} {number} utterances ({hours * 60:.1f} min)" for split, (number, hours) in counts.items())
