"""Decode a split with a fine-tuned checkpoint. The output files are those of fairseq's ``infer.py`` and ``fairseq-generate``.

Decoding comes after fine-tuning and before scoring. It needs the checkpoint and the audio, but no label files and no pretraining
checkpoint. On a CPU the work runs in several processes of one thread each.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from tqdm import tqdm

from softhubert_plugin.asr.acoustic import AcousticModel, utterance_batches
from softhubert_plugin.asr.beam import BeamDecoder, BeamSettings
from softhubert_plugin.asr.hypotheses import Decoder, GreedyDecoder, Hypothesis, words_of
from softhubert_plugin.asr.processes import default_processes, in_processes
from softhubert_plugin.checkpoints.load import checkpoint_sha256
from softhubert_plugin.devices import usable_device
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, check_destination, write_json, write_text
from softhubert_plugin.manifests import SAMPLE_RATE, Manifest, read_lines, read_manifest


@dataclass(frozen=True)
class Recogniser:
    """Everything that is needed to recognise utterances.

    Attributes:
        manifest: the utterances.
        checkpoint: path of a fine-tuned ``hubert_ctc`` checkpoint.
        device: device to run on.
        searches: settings of each beam search; ``None`` for greedy decoding. All search the same scores.
    """

    manifest: Manifest
    checkpoint: str
    device: str
    searches: Tuple[Optional[BeamSettings], ...]

    def recognise(self, work: Sequence[List[int]], processes: int) -> Iterator[List[List[List[Hypothesis]]]]:
        """Recognise batches of utterances, in several processes.

        On a CPU each process scores and searches. A GPU scores in this process, and a beam search, which runs on the CPU only, is done by
        the processes meanwhile.

        Args:
            work: batches of indices of utterances.

        Yields:
            For each batch and each search the hypotheses of each utterance, the best first.
        """
        if self.device == "cpu" or all(search is None for search in self.searches):
            yield from in_processes(self._scorer_and_decoder, work, min(processes, len(work)), self.device)
            return
        model = AcousticModel(self.checkpoint, self.device)
        model.check(self.manifest)
        scores = (self._scores(model, batch) for batch in work)
        yield from in_processes(partial(self._searcher, model.symbols, model.blank, model.end), scores, processes, "cpu")

    def _scorer_and_decoder(self) -> Callable[[List[int]], List[List[List[Hypothesis]]]]:
        model = AcousticModel(self.checkpoint, self.device)
        decode = self._searcher(model.symbols, model.blank, model.end)
        model.check(self.manifest)
        return lambda batch: decode(self._scores(model, batch))

    def _searcher(self, symbols: List[str], blank: int, end: int) -> Callable[[List[torch.Tensor]], List[List[List[Hypothesis]]]]:
        decoders: List[Decoder] = [
            GreedyDecoder(symbols, blank, end) if search is None else BeamDecoder(search, symbols, blank, end) for search in self.searches
        ]
        return lambda scores: [[decoder(each) for each in scores] for decoder in decoders]

    def _scores(self, model: AcousticModel, batch: List[int]) -> List[torch.Tensor]:
        return model.logits([model.read(self.manifest, index) for index in batch])


def decode_split(
    data: PathLike,
    split: str,
    checkpoint: PathLike,
    dest: PathLike,
    *,
    search: Optional[BeamSettings] = None,
    greedy: Optional[PathLike] = None,
    device: Optional[str] = None,
    processes: Optional[int] = None,
    max_seconds: Optional[float] = None,
) -> str:
    """Decode a split and write the hypotheses.

    Writes ``hypo.word``, ``hypo.units``, ``generate.txt`` (``T-`` and ``H-`` lines, with all n best hypotheses) and ``decode.json``
    (settings and time). Where ``{split}.ltr`` or ``{split}.wrd`` exists, also ``ref.word`` and ``ref.units``.

    Args:
        data: folder of the manifest.
        split: name of the split; the manifest is ``{split}.tsv``.
        checkpoint: a fine-tuned ``hubert_ctc`` checkpoint.
        dest: folder to write to.
        search: settings of the beam search; ``None`` for greedy decoding.
        greedy: folder to write the greedy hypotheses to, beside those of the beam search. The audio is scored once for both.
        device: ``cpu``, ``cuda`` …; by default a GPU if there is one.
        processes: number of processes; by default one per CPU core, and for greedy decoding on a GPU one in all.
        max_seconds: seconds of audio per batch, including padding; by default one utterance per batch on a CPU, and 160 s on other
            devices. The value does not change what is recognised.

    Returns:
        One line that says what was written.

    Raises:
        SoftHubertError: the manifest, an audio file, the transcripts, the checkpoint, the lexicon or the language model is not usable; or
            ``greedy`` is given without a beam search, or is ``dest``.
    """
    searches = {Path(dest): search}
    if greedy is not None:
        if search is None:
            raise SoftHubertError(f"{greedy}: for greedy hypotheses beside those of a beam search, but there is no search; {dest} has them")
        if Path(greedy).resolve() == Path(dest).resolve():
            raise SoftHubertError(f"{greedy}: for the greedy hypotheses and for those of the beam search; give another folder")
        searches[Path(greedy)] = None
    manifest = read_manifest(Path(data) / f"{split}.tsv")
    references = _references(Path(data), split, manifest)
    for folder in searches:
        check_destination(folder / "hypo.word")
    started = time.monotonic()
    device = usable_device(device)
    recogniser = Recogniser(manifest, str(checkpoint), device, tuple(searches.values()))
    if processes is None:
        processes = default_processes(device if search is None else "cpu")
    work = utterance_batches(manifest, device, max_seconds)
    found: Dict[Path, Dict[int, List[Hypothesis]]] = {folder: {} for folder in searches}
    with tqdm(total=len(manifest), desc=f"decoding {split}", unit="utt", disable=None) as progress:
        for batch, recognised in zip(work, recogniser.recognise(work, processes)):
            for hypotheses, of_search in zip(found.values(), recognised):
                hypotheses.update(zip(batch, of_search))
            progress.update(len(batch))
    seconds = time.monotonic() - started
    settings = {
        "split": split,
        "utterances": len(manifest),
        "hours": round(float(manifest.sizes.sum()) / SAMPLE_RATE / 3600, 4),
        "manifest_sha256": manifest.fingerprint,
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": checkpoint_sha256(checkpoint),
        "device": device,
        "processes": processes,
        "seconds": round(seconds, 1),
    }
    for folder, how in searches.items():
        _write(folder, [found[folder][index] for index in range(len(manifest))], references)
        write_json(folder / "decode.json", {**settings, "search": "greedy" if how is None else asdict(how)})
    written = dest if greedy is None else f"{dest}, {greedy}"
    return f"{written}: {len(manifest)} hypotheses of {split}, {len(manifest) / seconds:.2f} per second"


def _references(data: Path, split: str, manifest: Manifest) -> Optional[List[str]]:
    """Read the units of each transcript; ``None`` if the split has no transcripts."""
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
    if references is None:
        for name in ("ref.units", "ref.word"):  # those of an earlier decoding would be scored against
            (dest / name).unlink(missing_ok=True)
    else:
        words = [words_of(units) for units in references]
        write_text(dest / "ref.units", lines(references))
        write_text(dest / "ref.word", lines(words))
        generated = [f"T-{index}\t{text}\n" for index, text in enumerate(words)] + generated
        generated.sort(key=lambda line: int(line.partition("\t")[0][2:]))  # stable: T- before H-, the best first
    write_text(dest / "generate.txt", "".join(generated))
