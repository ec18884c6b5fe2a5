"""LibriSpeech through torchaudio: manifests and transcripts of its subsets, or of one subset split by speaker."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from softhubert_plugin.corpora.writing import Utterance, audio_lengths, split_speakers, write_splits
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike

SUBSETS = ("dev-clean", "dev-other", "test-clean", "test-other", "train-clean-100", "train-clean-360", "train-other-500")


def write_librispeech_manifests(root: PathLike, dest: PathLike, *, subsets: Sequence[str], download: bool = False) -> str:
    """Write ``{subset}.tsv``, ``.wrd`` and ``.ltr`` of each subset, and ``dict.ltr.txt``.

    Args:
        root: the folder that holds ``LibriSpeech/``.
        download: fetch what is missing.

    Raises:
        SoftHubertError: a subset is unknown or not there, or an audio file is not at 16 kHz.
    """
    splits = {subset: [utterance for _, utterance in _utterances(root, subset, download)] for subset in subsets}
    write_splits(dest, Path(root) / "LibriSpeech", splits)
    return f"{dest}: " + ", ".join(f"{subset} {len(utterances)} utterances" for subset, utterances in splits.items())


def write_speaker_splits(root: PathLike, dest: PathLike, *, subset: str, download: bool = False) -> str:
    """Write train, valid and test of one subset, with no speaker in common: of the speakers by number, the last tenth are for test
    and the tenth before for valid.

    Raises:
        SoftHubertError: as :func:`write_librispeech_manifests`, or the subset has fewer than three speakers.
    """
    by_speaker: Dict[int, List[Utterance]] = {}
    for speaker, utterance in _utterances(root, subset, download):
        by_speaker.setdefault(speaker, []).append(utterance)
    split_of = split_speakers([str(speaker) for speaker in sorted(by_speaker)])
    splits: Dict[str, List[Utterance]] = {"train": [], "valid": [], "test": []}
    for speaker in sorted(by_speaker):
        splits[split_of[str(speaker)]] += by_speaker[speaker]
    write_splits(dest, Path(root) / "LibriSpeech", splits)
    speakers = {split: sum(chosen == split for chosen in split_of.values()) for split in splits}
    return f"{dest}: " + ", ".join(f"{split} {len(splits[split])} utterances of {speakers[split]} speakers" for split in splits)


def _utterances(root: PathLike, subset: str, download: bool) -> List[Tuple[int, Utterance]]:
    """Speaker and utterance, in the corpus's own order."""
    if subset not in SUBSETS:
        raise SoftHubertError(f"{subset}: no such subset of LibriSpeech; there are {', '.join(SUBSETS)}")
    if not download and not (Path(root) / "LibriSpeech" / subset).is_dir():
        raise SoftHubertError(f"{root}/LibriSpeech/{subset}: not there; give the folder that holds LibriSpeech/, or --download")
    from torchaudio.datasets import LIBRISPEECH

    Path(root).mkdir(parents=True, exist_ok=True)
    dataset = LIBRISPEECH(str(root), url=subset, download=download)
    found = [dataset.get_metadata(index) for index in range(len(dataset))]
    if not found:
        raise SoftHubertError(f"{root}/LibriSpeech/{subset}: no utterances in it; unpack the archive again, or --download")
    folder = Path(root) / "LibriSpeech"
    paths = [folder / entry[0] for entry in found]
    if not paths[0].exists():  # older versions of torchaudio give the path below the subset
        paths = [folder / subset / entry[0] for entry in found]
    lengths = audio_lengths(paths)
    return [
        (int(entry[3]), Utterance(str(path.relative_to(folder)), length, entry[2])) for entry, path, length in zip(found, paths, lengths)
    ]
