"""Letter alignments by CTC, for corpora without phone alignments. They are ``.lab`` files, which probing and label quality read.

A fine-tuned checkpoint gives the time at which each letter of the transcript is emitted. CTC emits a letter in one or two frames, with
blanks around it, so the time between two letters is split in the middle. The time before the first letter, the time after the last letter
and word boundaries count as silence. Letters are a coarse substitute for phones: use them to compare layers, not to report phone
accuracies.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import torch
from tqdm import tqdm

from softhubert_plugin.alignments.formats import write_lab
from softhubert_plugin.alignments.phones import SILENCE
from softhubert_plugin.asr.acoustic import AcousticModel, utterance_batches
from softhubert_plugin.asr.alignment_record import digests_of, plan_alignments
from softhubert_plugin.checkpoints.load import checkpoint_sha256
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import SAMPLE_RATE, Manifest, read_lines, read_manifest


def align_split(data: PathLike, split: str, checkpoint: PathLike, dest: PathLike, *, device: Optional[str] = None) -> str:
    """Write ``DEST/{utterance}.lab`` for every utterance of a split, and ``DEST/{split}.align.json``, which says what they were made from.

    Alignments of the same checkpoint, transcript and recording are kept; others of an earlier run are made again. Where two utterances
    have the same name, the files are at the relative paths of the audio.

    Args:
        data: folder of ``{split}.tsv`` and ``{split}.ltr``.
        split: name of the split.
        checkpoint: a fine-tuned ``hubert_ctc`` checkpoint.
        dest: folder to write to; other tools' alignments in it are refused.
        device: ``cpu``, ``cuda`` …; by default a GPU if there is one.

    Returns:
        One line that says what was written.

    Raises:
        SoftHubertError: manifest, transcripts, audio or checkpoint are not usable; a transcript is empty, has a letter that the model does
            not have, or has more letters than its audio has frames; or ``dest`` has other alignments.
    """
    manifest = read_manifest(Path(data) / f"{split}.tsv")
    transcripts = read_lines(Path(data) / f"{split}.ltr", expected=len(manifest), of=manifest.path)
    names = _names(manifest)
    model = AcousticModel(checkpoint, device)
    model.check(manifest)
    place = {symbol: number for number, symbol in enumerate(model.symbols) if number >= 4}  # after fairseq's four special symbols
    targets = []
    for number, line in enumerate(transcripts, start=1):
        letters = line.split()
        unknown = [letter for letter in letters if letter not in place]
        if unknown or not letters:
            problem = f"the letter {unknown[0]!r} is not a letter of {checkpoint}" if unknown else "the transcript is empty"
            raise SoftHubertError(f"{data}/{split}.ltr, line {number}: {problem}; correct the transcript or remove the utterance")
        targets.append([place[letter] for letter in letters])
    made_from = {"checkpoint_sha256": checkpoint_sha256(checkpoint), "manifest_sha256": manifest.fingerprint}
    digests = digests_of(manifest, transcripts, made_from["checkpoint_sha256"])
    pending, outdated = plan_alignments(dest, split, names, digests, **made_from)
    batches = utterance_batches(manifest, model.device, None, pending)
    with tqdm(total=len(names), initial=len(names) - len(pending), desc=f"aligning {split}", unit="utt", disable=None) as progress:
        for batch in batches:
            for index, logits in zip(batch, model.logits([model.read(manifest, index) for index in batch])):
                path = _path(logits, targets[index], model.blank)
                if path is None:
                    raise SoftHubertError(
                        f"{manifest.audio_path(index)}: {len(targets[index])} letters do not fit into {len(logits)} frames; "
                        f"is line {index + 1} of {split}.ltr its transcript?"
                    )
                intervals = letter_intervals(path, model.blank, model.frame_seconds, int(manifest.sizes[index]) / SAMPLE_RATE)
                named = ((start, end, _name(model.symbols, symbol)) for start, end, symbol in intervals)
                write_lab(Path(dest) / f"{names[index]}.lab", named)
            progress.update(len(batch))
    again = f", {outdated} of them again, because the checkpoint, the transcript or the recording has changed" if outdated else ""
    return f"{dest}: letter alignments of {len(names)} utterances of {split} ({len(pending)} made now{again})"


def _names(manifest: Manifest) -> List[str]:
    """The path of each utterance's alignment without ``.lab``: the file name of the audio, or its relative path if names repeat."""
    names = [manifest.utterance_id(index) for index in range(len(manifest))]
    if len(set(names)) < len(names):
        names = [os.path.splitext(name)[0] for name in manifest.names]
        outside = next((name for name in names if os.path.isabs(name) or ".." in name.split("/")), None)
        if outside is not None:
            raise SoftHubertError(f"{manifest.path}: {outside!r} is not below the root, and file names repeat; write the manifest again")
    if len(set(names)) < len(names):
        twice = next(name for name, times in Counter(names).items() if times > 1)
        raise SoftHubertError(f"{manifest.path}: two recordings {twice!r} that differ in their extension only; rename one of them")
    return names


def _path(logits: torch.Tensor, labels: List[int], blank: int) -> Optional[List[int]]:
    """The most probable CTC path of ``labels``: a symbol per frame, or ``None`` if there are too few frames.

    Args:
        logits: ``(frames, symbols)`` scores.
    """
    from torchaudio.functional import forced_align

    needed = len(labels) + sum(a == b for a, b in zip(labels, labels[1:]))  # CTC needs a blank between equal letters
    if needed > len(logits):
        return None
    path, _ = forced_align(logits.log_softmax(-1)[None], torch.tensor([labels], dtype=torch.int32), blank=blank)
    found: List[int] = path[0].tolist()
    return found


def _name(symbols: Sequence[str], symbol: Optional[int]) -> str:
    if symbol is None or symbols[symbol] == "|":
        return SILENCE
    return symbols[symbol]


def letter_intervals(path: List[int], blank: int, frame_seconds: float, seconds: float) -> List[Tuple[float, float, Optional[int]]]:
    """Turn a CTC path into contiguous intervals from 0 to ``seconds``.

    Args:
        path: the symbol of each frame.
        blank: index of the CTC blank.
        frame_seconds: time from one frame to the next, in seconds.
        seconds: length of the utterance, in seconds.

    Returns:
        Start and end in seconds, and the symbol. The symbol is ``None`` before the first letter and after the last.

    >>> letter_intervals([0, 5, 0, 0, 7, 7], blank=0, frame_seconds=0.5, seconds=3.5)
    [(0.0, 0.5, None), (0.5, 1.5, 5), (1.5, 3.0, 7), (3.0, 3.5, None)]
    """
    runs: List[Tuple[int, int, int]] = []  # symbol, first frame, frame after the last
    for frame, symbol in enumerate(path):
        if symbol == blank:
            continue
        if runs and runs[-1][0] == symbol and runs[-1][2] == frame:
            runs[-1] = (symbol, runs[-1][1], frame + 1)
        else:
            runs.append((symbol, frame, frame + 1))
    if not runs:
        return [(0.0, seconds, None)]
    middles = [(before[2] + after[1]) / 2 * frame_seconds for before, after in zip(runs, runs[1:])]
    bounds = [runs[0][1] * frame_seconds, *middles, min(runs[-1][2] * frame_seconds, seconds)]
    intervals: List[Tuple[float, float, Optional[int]]] = [(0.0, bounds[0], None)]
    intervals += [(start, end, run[0]) for start, end, run in zip(bounds, bounds[1:], runs)]
    intervals.append((bounds[-1], seconds, None))
    return [interval for interval in intervals if interval[1] > interval[0]]
