"""Find the language model weight and the word score that give the lowest word error rate on a development set.

The audio is scored once. The search then runs over a coarse grid, and twice more over finer grids around the best point so far.
"""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein
from tqdm import tqdm

from softhubert_plugin.asr.acoustic import AcousticModel, utterance_batches
from softhubert_plugin.asr.beam import BeamDecoder, BeamSettings, check_models
from softhubert_plugin.asr.processes import in_processes
from softhubert_plugin.devices import usable_device
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, check_destination, write_json
from softhubert_plugin.manifests import Manifest, read_lines, read_manifest
from softhubert_plugin.text_files import read_json

WEIGHTS = (0.0, 1.0, 2.0, 3.0, 4.0)
SCORES = (-2.0, 0.0, 2.0)
_STEPS = ((0.5, 1.0), (0.25, 0.5))  # steps of weight and score for the grids around the best point so far

Point = Tuple[float, float]


@dataclass(frozen=True)
class _Scores:
    """The acoustic scores of all utterances, in a file that processes map into memory.

    Attributes:
        path: file of float32 scores, frame by frame, in the manifest's order.
        symbols: the acoustic model's symbols.
        blank: index of the CTC blank.
        end: index of ``</s>``.
        bounds: frame offsets, ``(utterances + 1,)``; utterance i has the frames ``bounds[i]`` to ``bounds[i + 1] - 1``.
    """

    path: Path
    symbols: List[str]
    blank: int
    end: int
    bounds: np.ndarray

    def of(self, index: int) -> torch.Tensor:
        """Return the ``(frames, symbols)`` scores of an utterance."""
        start, end = self.bounds[index], self.bounds[index + 1]
        mapped = np.memmap(self.path, dtype=np.float32, mode="r").reshape(-1, len(self.symbols))
        return torch.from_numpy(np.array(mapped[start:end]))


def tune_weights(
    data: PathLike,
    split: str,
    checkpoint: PathLike,
    dest: PathLike,
    *,
    search: Optional[BeamSettings],
    device: Optional[str] = None,
    processes: Optional[int] = None,
    max_seconds: Optional[float] = None,
    weights: Sequence[float] = WEIGHTS,
    scores: Sequence[float] = SCORES,
) -> str:
    """Find the best ``lm_weight`` and ``word_score``. Write them, and every point that was tried, as JSON.

    Args:
        data: folder of ``{split}.tsv`` and ``{split}.wrd``.
        split: name of the development set.
        checkpoint: a fine-tuned ``hubert_ctc`` checkpoint.
        dest: JSON file to write.
        search: settings of the beam search; its ``lm_weight`` and ``word_score`` are replaced by the values tried.
        device: ``cpu``, ``cuda`` …; by default a GPU if there is one.
        processes: number of processes for the search; by default one per CPU core.
        max_seconds: seconds of audio per batch, as in :func:`softhubert_plugin.asr.decode.decode_split`.
        weights: ``lm_weight`` values of the coarse grid.
        scores: ``word_score`` values of the coarse grid.

    Returns:
        One line that says what was found.

    Raises:
        SoftHubertError: as :func:`softhubert_plugin.asr.decode.decode_split`; or there is no language model or no transcript.
    """
    if search is None or search.lm is None:
        raise SoftHubertError("tuning needs a language model: give --lm (and --lexicon)")
    manifest = read_manifest(Path(data) / f"{split}.tsv")
    references = [line.split() for line in read_lines(Path(data) / f"{split}.wrd", expected=len(manifest), of=manifest.path)]
    words = sum(map(len, references))
    if not words:
        raise SoftHubertError(f"{data}/{split}.wrd: no words, so there is no word error rate to tune for; give a split with transcripts")
    check_destination(dest)
    if processes is None:
        processes = len(os.sched_getaffinity(0))
    device = usable_device(device)
    model = AcousticModel(checkpoint, device)
    check_models(search, model.symbols)
    model.check(manifest)
    with tempfile.TemporaryDirectory(prefix="softhubert-tune-") as folder:
        emitted = _score(model, manifest, Path(folder) / "scores", utterance_batches(manifest, device, max_seconds))
        build = _Trial(search, emitted, references).build
        found: Dict[Point, int] = {}
        steps = len(weights) * len(scores) + 8 * len(_STEPS)
        with tqdm(total=steps, desc=f"tuning on {split}", unit="setting", disable=None) as progress:
            for step in (None, *_STEPS):
                points = [(weight, score) for weight in weights for score in scores] if step is None else _around(found, step)
                pending = [point for point in points if point not in found]
                for point, errors in zip(pending, in_processes(build, pending, min(processes, len(pending)), "cpu")):
                    found[point] = errors
                    progress.update()
    best = _best(found)
    tried = [
        {"lm_weight": weight, "word_score": score, "errors": errors, "wer": errors / words}
        for (weight, score), errors in sorted(found.items(), key=lambda item: (item[1], item[0]))
    ]
    write_json(dest, {"split": split, "lm_weight": best[0], "word_score": best[1], "wer": found[best] / words, "tried": tried})
    return (
        f"{dest}: LM weight {best[0]:g}, word score {best[1]:g}, WER {100 * found[best] / words:.2f} % on {split}, "
        f"best of {len(found)} settings tried"
    )


def read_tuned(path: PathLike) -> Point:
    """Read the LM weight and the word score that :func:`tune_weights` wrote.

    Raises:
        SoftHubertError: the file is missing or is not such a file.
    """
    value = read_json(path, remedy="make it with 'softhubert tune'")
    try:
        found = float(value["lm_weight"]), float(value["word_score"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise SoftHubertError(f"{path}: does not contain lm_weight and word_score; make it with 'softhubert tune'") from None
    if not all(map(math.isfinite, found)):
        raise SoftHubertError(f"{path}: lm_weight and word_score are {found}, expected numbers; make it with 'softhubert tune'")
    return found


def _score(model: AcousticModel, manifest: Manifest, path: Path, batches: Sequence[Sequence[int]]) -> _Scores:
    """Score every utterance and write the scores to disk."""
    frames = np.zeros(len(manifest), dtype=np.int64)
    order: List[int] = []
    with open(path, "wb") as stream, tqdm(total=len(manifest), desc="scoring audio", unit="utt", disable=None) as progress:
        for batch in batches:
            for index, logits in zip(batch, model.logits([model.read(manifest, index) for index in batch])):
                stream.write(logits.numpy().tobytes())
                frames[index] = len(logits)
                order.append(index)
            progress.update(len(batch))
    return _reorder(path, model, frames, order)


def _reorder(path: Path, model: AcousticModel, frames: np.ndarray, order: Sequence[int]) -> _Scores:
    """Rewrite the scores from the order of computation into the manifest's order."""
    width = len(model.symbols)
    mapped = np.memmap(path, dtype=np.float32, mode="r").reshape(-1, width)
    ends = np.cumsum(frames[list(order)])
    start_of = {index: int(end - frames[index]) for index, end in zip(order, ends)}
    target = path.with_suffix(".ordered")
    with open(target, "wb") as stream:
        for index in range(len(frames)):
            stream.write(mapped[start_of[index] : start_of[index] + frames[index]].tobytes())
    path.unlink()
    return _Scores(target, model.symbols, model.blank, model.end, np.concatenate([[0], np.cumsum(frames)]))


@dataclass(frozen=True)
class _Trial:
    """Counts the word errors of search settings on all utterances."""

    search: BeamSettings
    emitted: _Scores
    references: List[List[str]]

    def build(self) -> Callable[[Any], int]:
        return self._errors

    def _errors(self, point: Point) -> int:
        """Return the number of word errors on the whole set with one ``(lm_weight, word_score)``."""
        settings = replace(self.search, lm_weight=point[0], word_score=point[1], nbest=1)
        decoder = BeamDecoder(settings, self.emitted.symbols, self.emitted.blank, self.emitted.end, checked=True)
        total = 0
        for index, reference in enumerate(self.references):
            total += Levenshtein.distance(decoder(self.emitted.of(index))[0].words.split(), reference)
        return total


def _best(found: Dict[Point, int]) -> Point:
    """Return the point with the fewest errors; among equals, the one with the smallest weight."""
    return min(found, key=lambda point: (found[point], point))


def _around(found: Dict[Point, int], step: Point) -> List[Point]:
    """Return the best point so far and its neighbours at this step."""
    weight, score = _best(found)
    near = [(max(weight + up * step[0], 0.0), score + right * step[1]) for up in (-1, 0, 1) for right in (-1, 0, 1)]
    return list(dict.fromkeys(near))
