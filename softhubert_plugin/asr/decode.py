"""Decoding of a split with a fine-tuned checkpoint, written as fairseq's ``infer.py`` and ``fairseq-generate`` do.

Stands between fine-tuning and scoring; it needs the checkpoint and the audio, no label files and no pretraining checkpoint. On a CPU
the work is spread over processes of one thread each, which wait for nobody.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import torch
from tqdm import tqdm

from softhubert_plugin.asr.acoustic import AcousticModel, batches
from softhubert_plugin.asr.beam import BeamDecoder, BeamSettings
from softhubert_plugin.asr.hypotheses import Decoder, GreedyDecoder, Hypothesis, words_of
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, write_json, write_text
from softhubert_plugin.interop.checkpoints import checkpoint_sha256
from softhubert_plugin.manifests import SAMPLE_RATE, Manifest, read_lines, read_manifest

_MANY = 16  # processes at most, unless asked for


@dataclass(frozen=True)
class Recogniser:
    """All that a process needs to recognise utterances.

    Attributes:
        search: how to search; ``None`` is greedy.
    """

    manifest: Manifest
    checkpoint: str
    device: str
    search: Optional[BeamSettings]

    def build(self) -> Callable[[List[int]], List[List[Hypothesis]]]:
        """Load the models; what is returned recognises a batch of utterances."""
        model = AcousticModel(self.checkpoint, self.device)
        decoder: Decoder
        if self.search is None:
            decoder = GreedyDecoder(model.symbols, model.blank, model.end)
        else:
            decoder = BeamDecoder(self.search, model.symbols, model.blank, model.end)
        model.check(self.manifest)
        return lambda batch: [decoder(each) for each in model.logits([model.read(self.manifest, index) for index in batch])]


def decode_split(
    data: PathLike,
    split: str,
    checkpoint: PathLike,
    dest: PathLike,
    *,
    search: Optional[BeamSettings] = None,
    device: str = "cpu",
    processes: Optional[int] = None,
    max_seconds: Optional[float] = None,
) -> str:
    """Decode a split and write ``hypo.word``, ``hypo.units``, ``generate.txt`` (``T-`` and ``H-`` lines, all of the n best),
    ``decode.json`` (settings and time) and, where ``{split}.ltr`` or ``.wrd`` exists, ``ref.word`` and ``ref.units``.

    Args:
        data: folder of the manifest.
        checkpoint: a fine-tuned ``hubert_ctc`` checkpoint.
        search: beam search with these settings, instead of greedy decoding.
        device: ``cpu``, ``cuda`` …
        processes: as many at once; by default one a CPU core, or one on another device.
        max_seconds: audio in one batch, padding included; by default one utterance at a time on a CPU, 160 s elsewhere. It does not
            change what is recognised.

    Raises:
        SoftHubertError: the manifest, an audio file, the transcripts, the checkpoint, lexicon or language model are not usable.
    """
    manifest = read_manifest(Path(data) / f"{split}.tsv")
    references = _references(Path(data), split, manifest)
    started = time.monotonic()
    recogniser = Recogniser(manifest, str(checkpoint), device, search)
    if processes is None:
        processes = min(len(os.sched_getaffinity(0)), _MANY) if device == "cpu" else 1
    if max_seconds is None:
        max_seconds = 0.0 if device == "cpu" else 160.0
    work = list(batches(manifest, max_seconds))
    hypotheses: Dict[int, List[Hypothesis]] = {}
    with tqdm(total=len(manifest), desc=f"decoding {split}", unit="utt", disable=None) as progress:
        for batch, found in zip(work, in_processes(recogniser.build, work, min(processes, len(work)), device)):
            hypotheses.update(zip(batch, found))
            progress.update(len(batch))
    seconds = time.monotonic() - started
    _write(Path(dest), [hypotheses[index] for index in range(len(manifest))], references)
    write_json(
        Path(dest) / "decode.json",
        {
            "split": split,
            "utterances": len(manifest),
            "hours": round(float(manifest.sizes.sum()) / SAMPLE_RATE / 3600, 4),
            "manifest_sha256": manifest.fingerprint,
            "checkpoint": str(checkpoint),
            "checkpoint_sha256": checkpoint_sha256(checkpoint),
            "search": "greedy" if search is None else asdict(search),
            "device": device,
            "processes": processes,
            "seconds": round(seconds, 1),
        },
    )
    return f"{dest}: {len(manifest)} hypotheses of {split}, {len(manifest) / seconds:.2f} a second"


_ready: Optional[Callable[[Any], Any]] = None  # of this process; a forked one finds its parent's


def in_processes(build: Callable[[], Callable[[Any], Any]], work: List[Any], processes: int, device: str) -> Iterator[Any]:
    """What ``build()`` makes of each piece of work, in order.

    On a CPU it is built once and shared by forking, as data loaders do; elsewhere each process builds its own. One process is this one.

    Raises:
        SoftHubertError: a process was killed, as those are that ask for more memory than there is.
    """
    global _ready
    if processes <= 1:
        yield from map(build(), work)
        return
    forks = device == "cpu"
    with ExitStack() as stack:
        if forks:
            # A thread pool does not survive a fork: have none until then.
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
            _ready = build()
        stack.callback(_forget)
        context = get_context("fork" if forks else "spawn")
        pool = stack.enter_context(
            ProcessPoolExecutor(processes, mp_context=context, initializer=_start, initargs=(None if forks else build,))
        )
        try:
            yield from pool.map(_work, work)
        except BrokenProcessPool:
            raise SoftHubertError(f"one of {processes} processes was killed; if memory ran out, try --processes 1") from None


def _forget() -> None:
    global _ready
    _ready = None


def _start(build: Optional[Callable[[], Callable[[Any], Any]]]) -> None:
    global _ready
    torch.set_num_threads(1)
    if build is not None:
        _ready = build()


def _work(piece: Any) -> Any:
    assert _ready is not None, "the process was not started by in_processes"
    return _ready(piece)


def _references(data: Path, split: str, manifest: Manifest) -> Optional[List[str]]:
    """The units of each transcript, where there are transcripts."""
    for label in ("ltr", "wrd"):
        path = data / f"{split}.{label}"
        if path.exists():
            lines = [" ".join(line.split()) for line in read_lines(path, expected=len(manifest), of=manifest.path)]
            return lines if label == "ltr" else [" ".join("|" if letter == " " else letter for letter in f"{line} ") for line in lines]
    return None


def _write(dest: Path, hypotheses: List[List[Hypothesis]], references: Optional[List[str]]) -> None:
    def lines(texts: List[str]) -> str:
        # fairseq's infer.py names an utterance "speaker-index", and its speaker is None for HuBERT's datasets.
        return "".join(f"{text} (None-{index})\n" for index, text in enumerate(texts))

    write_text(dest / "hypo.units", lines([found[0].units for found in hypotheses]))
    write_text(dest / "hypo.word", lines([found[0].words for found in hypotheses]))
    generated = [f"H-{index}\t{each.score:.6f}\t{each.words}\n" for index, found in enumerate(hypotheses) for each in found]
    if references is not None:
        words = [words_of(units) for units in references]
        write_text(dest / "ref.units", lines(references))
        write_text(dest / "ref.word", lines(words))
        generated = [f"T-{index}\t{text}\n" for index, text in enumerate(words)] + generated
        generated.sort(key=lambda line: int(line.partition("\t")[0][2:]))  # stable: T- before H-, the best first
    write_text(dest / "generate.txt", "".join(generated))
