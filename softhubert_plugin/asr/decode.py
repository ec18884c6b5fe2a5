"""Greedy CTC decoding of a split with a fine-tuned checkpoint, written as fairseq's ``infer.py`` and ``fairseq-generate`` do.

Stands between fine-tuning and scoring; it needs the checkpoint and the audio, no label files and no pretraining checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterator, List, Optional

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from tqdm import tqdm

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, write_text
from softhubert_plugin.interop.checkpoints import LoadedModel, load_checkpoint
from softhubert_plugin.manifests import SAMPLE_RATE, Manifest, check_audio, read_lines, read_manifest


def collapse(path: List[int], blank: int) -> List[int]:
    """The labels of a CTC path: repetitions merged, then blanks dropped (Graves et al. 2006).

    >>> collapse([0, 5, 5, 0, 5, 7, 7], blank=0)
    [5, 5, 7]
    """
    return [symbol for position, symbol in enumerate(path) if symbol != blank and (position == 0 or symbol != path[position - 1])]


def words_of(units: str) -> str:
    """``"G O | O N |"`` → ``"GO ON"``."""
    return " ".join(units.replace(" ", "").replace("|", " ").split())


def decode_split(data: PathLike, split: str, checkpoint: PathLike, dest: PathLike, *, max_seconds: float = 80.0) -> str:
    """Decode a split and write ``hypo.word``, ``hypo.units``, and (where ``{split}.ltr`` exists) ``ref.word``, ``ref.units`` and
    ``generate.txt`` with ``T-``/``H-`` lines.

    Args:
        data: folder of the manifest.
        checkpoint: a fine-tuned ``hubert_ctc`` checkpoint.
        max_seconds: audio in one batch, padding included.

    Raises:
        SoftHubertError: the manifest, an audio file, the transcripts or the checkpoint are not usable.
    """
    manifest = read_manifest(Path(data) / f"{split}.tsv")
    references: Optional[List[str]] = None
    transcripts = Path(data) / f"{split}.ltr"
    if transcripts.exists():
        references = [" ".join(line.split()) for line in read_lines(transcripts, expected=len(manifest), of=manifest.path)]
    check_audio(manifest)
    loaded = load_checkpoint(checkpoint)
    if loaded.model is loaded.encoder:
        raise SoftHubertError(f"{checkpoint}: a {type(loaded.model).__name__}, not a fine-tuned hubert_ctc model; fine-tune it first")
    dictionary = loaded.task.target_dictionary
    blank = dictionary.index(loaded.task.blank_symbol)
    hypotheses: Dict[int, str] = {}
    with torch.inference_mode(), tqdm(total=len(manifest), desc=f"decoding {split}", unit="utt", disable=None) as progress:
        for batch in _batches(manifest, max_seconds):
            for index, path in zip(batch, _best_paths(loaded, manifest, batch)):
                hypotheses[index] = " ".join(dictionary[symbol] for symbol in collapse(path, blank))
            progress.update(len(batch))
    _write(Path(dest), [hypotheses[index] for index in range(len(manifest))], references)
    return f"{dest}: {len(manifest)} hypotheses of {split}"


def _batches(manifest: Manifest, max_seconds: float) -> Iterator[List[int]]:
    """Utterances of similar length together, so that little is padded."""
    batch: List[int] = []
    for index in np.argsort(-manifest.sizes, kind="stable"):
        longest = manifest.sizes[batch[0]] if batch else manifest.sizes[index]
        if batch and (len(batch) + 1) * longest > max_seconds * SAMPLE_RATE:
            yield batch
            batch = []
        batch.append(int(index))
    yield batch


def _best_paths(loaded: LoadedModel, manifest: Manifest, batch: List[int]) -> Iterator[List[int]]:
    """The most probable symbol of every frame, utterance by utterance."""
    waveforms = []
    for index in batch:
        samples, _ = soundfile.read(str(manifest.audio_path(index)), dtype="float32")
        waveform = torch.from_numpy(samples)
        waveforms.append(F.layer_norm(waveform, waveform.shape) if loaded.normalize else waveform)
    source = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    output = loaded.model(source=source, padding_mask=torch.arange(source.shape[1]) >= lengths[:, None])
    best = output["encoder_out"].argmax(-1).T
    padded = output["padding_mask"]
    for row, path in enumerate(best):
        yield path.tolist() if padded is None else path[~padded[row]].tolist()


def _write(dest: Path, hypotheses: List[str], references: Optional[List[str]]) -> None:
    def lines(units: List[str], *, words: bool) -> str:
        # fairseq's infer.py names an utterance "speaker-index", and its speaker is None for HuBERT's datasets.
        return "".join(f"{words_of(text) if words else text} (None-{index})\n" for index, text in enumerate(units))

    write_text(dest / "hypo.units", lines(hypotheses, words=False))
    write_text(dest / "hypo.word", lines(hypotheses, words=True))
    if references is not None:
        write_text(dest / "ref.units", lines(references, words=False))
        write_text(dest / "ref.word", lines(references, words=True))
        pairs = zip(references, hypotheses)
        generated = [f"T-{index}\t{words_of(ref)}\nH-{index}\t{words_of(hyp)}\n" for index, (ref, hyp) in enumerate(pairs)]
        write_text(dest / "generate.txt", "".join(generated))
