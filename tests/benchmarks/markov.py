"""Posteriors that hear their neighbours against posteriors of frames taken one by one: what they say about phones, and what they cost.

    python -m tests.benchmarks.markov [quality] [speed] [--updates 400] [--scale 1] [--work DIR]

``quality`` measures phone-normalised mutual information (PNMI, in fairseq's definition) of mixtures of 100 components at equal perplexity:
of MFCCs, and of a layer of the tiny model after a short pretraining on labels of those MFCCs. The corpora are the one that eSpeak NG
speaks, whose alignments are exact, and LibriSpeech readers with TextGrids, if the folder of SOFTHUBERT_SPEECH has ``alignments/`` beside
``LibriSpeech/``. ``speed`` compares ``gmm dump`` with and without transitions on MFCCs (100 components) and on features of 768 dimensions
(500 components), as ``python -m tests.benchmarks.gmm dump`` makes them. Everything is kept in ``--work``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np
import torch
from tqdm import tqdm

from softhubert_plugin.alignments.utterances import UNLABELLED, Alignments
from softhubert_plugin.features.shards import read_shard
from softhubert_plugin.gmm.engine import Engine
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.gmm.smoothing import Smoother, frame_by_frame
from softhubert_plugin.gmm.transitions import StickyTransitions
from softhubert_plugin.manifests import read_manifest
from softhubert_plugin.probing.information import quality as measures

COMPONENTS, PERPLEXITY, LAYER = 100, 4.0, 3
REPOSITORY = Path(__file__).parents[2]
SPEECH = Path(os.environ.get("SOFTHUBERT_SPEECH", REPOSITORY.parent / "shared" / "speech"))
# gives (frames, K) posteriors of an utterance's (frames, D) features
Posteriors = Callable[[np.ndarray], np.ndarray]


def run(*words: Any, module: str = "softhubert_plugin") -> str:
    """Run a command of ours, or another module, and return what it prints."""
    found = subprocess.run([sys.executable, "-m", module, *map(str, words)], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    if found.returncode != 0:
        raise SystemExit(f"failed: {' '.join(map(str, words))}\n{found.stdout[-2000:]}{found.stderr[-2000:]}")
    return found.stdout


@dataclass(frozen=True)
class Corpus:
    """A corpus with alignments.

    Attributes:
        name: for the table.
        manifests: folder of ``train.tsv``.
        alignments: folder of alignments.
    """

    name: str
    manifests: Path
    alignments: Path


def spoken(work: Path) -> Corpus:
    """Make the corpus that is embedded in the package."""
    if not (work / "spoken" / "corpus.json").exists():
        run("corpus", "spoken", work / "spoken", "--utterances", 600)
    return Corpus("spoken by eSpeak NG", work / "spoken", work / "spoken" / "alignments")


def librispeech(work: Path) -> Optional[Corpus]:
    """The aligned readers of LibriSpeech, if they are there; a tenth of the utterances is for validation."""
    alignments = SPEECH / "alignments"
    if not alignments.is_dir():
        print(f"no alignments beside LibriSpeech in {SPEECH}: LibriSpeech is left out; set SOFTHUBERT_SPEECH", flush=True)
        return None
    folder = work / "librispeech"
    run("manifest", "librispeech", SPEECH, "--dest", folder, "--subsets", "train-clean-100", "--partial")
    aligned = {path.stem for path in alignments.rglob("*.TextGrid")}
    root, *rows = (folder / "train-clean-100.tsv").read_text().splitlines()
    rows = [row for row in rows if Path(row.partition("\t")[0]).stem in aligned]
    for split, some in (("train", rows), ("valid", rows[::10])):
        (folder / f"{split}.tsv").write_text("\n".join([root, *some]) + "\n")
    return Corpus("LibriSpeech readers", folder, alignments)


def learn(features: Path, mixture: Path, *options: Any) -> None:
    """Fit a mixture, if it is not there."""
    run("gmm", "learn", features, "train", 1, mixture, COMPONENTS, "--perplexity", PERPLEXITY, *options)


def mixtures(features: Path) -> Iterator[Tuple[str, Posteriors]]:
    """Yield the ways to label, with the mixture of some features: without transitions, and with each kind of them."""
    learn(features, features / "gmm.safetensors")
    frame_wise = GaussianMixture.load(features / "gmm.safetensors")
    cold = frame_wise.with_temperature(1.0)
    yield "frame by frame, T 1", _of(cold)
    yield f"frame by frame, T {frame_wise.temperature:.2f}", _of(frame_wise)
    yield "mean of 5 frames, T 1", lambda rows: _mean(_of(cold)(rows), 5)
    for options in (["--markov", "sticky"], ["--markov", "sticky", "--stay", 0.5], ["--markov", "full"]):
        path = features / f"{'-'.join(map(str, options[1::2]))}.safetensors"
        learn(features, path, "--init", features / "gmm.safetensors", "--iterations", 1, *options)
        found = GaussianMixture.load(path)
        assert found.transitions is not None
        if options == ["--markov", "sticky"]:
            stay = found.metadata["transitions"]["at_temperature_1"]["stay"]
            yield f"sticky, T 1, stay {stay:.2f}", _of(replace(found, temperature=1.0, transitions=StickyTransitions(stay)))
        how = f"stay {found.transitions.stay:.2f}" if isinstance(found.transitions, StickyTransitions) else "matrix"
        given = " (given)" if "--stay" in options else ""
        yield f"{options[1]}, T {found.temperature:.2f}, {how}{given}", _of(found)
        assert abs(frame_by_frame(found).temperature / frame_wise.temperature - 1) < 0.05


def _of(mixture: GaussianMixture) -> Posteriors:
    engine = Engine(mixture)
    if mixture.transitions is None:
        return lambda rows: torch.softmax(engine.log_joint(rows) / mixture.temperature, dim=1).numpy()
    smoother = Smoother(engine)

    def smoothed(rows: np.ndarray) -> np.ndarray:
        found = np.concatenate(list(smoother(rows, np.asarray([len(rows)]))))
        return found / found.sum(1, keepdims=True)

    return smoothed


def _mean(posteriors: np.ndarray, frames: int) -> np.ndarray:
    """The mean of each frame's posterior and those around it, as far as there are any."""
    padded = np.cumsum(np.pad(posteriors, ((frames // 2 + 1, frames // 2), (0, 0))), axis=0)
    counts = np.convolve(np.ones(len(posteriors)), np.ones(frames), "same") if len(posteriors) >= frames else len(posteriors)
    summed: np.ndarray = padded[frames:] - padded[:-frames]
    return summed / np.reshape(counts, (-1, 1))


def measured(features: Path, corpus: Corpus, rate: float, label: Posteriors) -> Dict[str, float]:
    """Perplexity, PNMI of the most probable components and by expected counts, and frames per segment of equal labels."""
    manifest = read_manifest(corpus.manifests / "train.tsv")
    alignments = Alignments(corpus.alignments, manifest)
    best = np.zeros((len(alignments.phones), COMPONENTS))
    expected = np.zeros_like(best)
    perplexity, frames, segments = 0.0, 0, 0
    for index, rows in enumerate(tqdm(read_shard(features, "train", 0, 1), disable=None, leave=False)):
        posteriors, phones = label(np.array(rows)), alignments.frames(index, len(rows), rate)
        known = phones != UNLABELLED
        labels = posteriors.argmax(1)[known]
        np.add.at(best, (phones[known], labels), 1)
        np.add.at(expected, phones[known], posteriors[known])
        perplexity += float(np.exp(-(posteriors * np.log(np.maximum(posteriors, 1e-30))).sum(1))[known].sum())
        frames += len(labels)
        segments += 1 + int(np.count_nonzero(np.diff(labels)))
    return {
        "perplexity": perplexity / frames,
        "argmax": measures(best).pnmi,
        "expected": measures(expected).pnmi,
        "segment": frames / segments,
    }


def layer_features(corpus: Corpus, work: Path, mfcc: Path, updates: int) -> Path:
    """Pretrain the tiny model on labels of MFCCs, and dump one of its layers."""
    folder = work / f"{corpus.manifests.name}-{updates}"
    checkpoint = folder / "pretrain" / "checkpoints" / "checkpoint_last.pt"
    if not checkpoint.exists():
        for split in ("train", "valid"):
            run("gmm", "dump", corpus.manifests, split, mfcc / "gmm.safetensors", 1, 0, folder / "labels", "--audio", "mfcc")
            run("labels", "merge", folder / "labels", split, 1)
        settings = [f"task.data={corpus.manifests}", f"task.label_dir={folder / 'labels'}", "task.labels=[gmm]", "task.label_rate=100"]
        settings += [f"optimization.max_update={updates}", f"hydra.run.dir={folder / 'pretrain'}", "task.pad_audio=false"]
        config = ["--config-dir", REPOSITORY / "config" / "pretrain", "--config-name", "soft_hubert_tiny"]
        run(*config, *settings, module="fairseq_cli.hydra_train")
    run("features", "hubert", corpus.manifests, "train", checkpoint, LAYER, 1, 0, folder / "layer", "--device", "cpu")
    return folder / "layer"


def quality(work: Path, updates: int) -> None:
    """Print the tables of both corpora."""
    for corpus in filter(None, (spoken(work), librispeech(work))):
        mfcc = work / f"{corpus.manifests.name}-mfcc"
        run("features", "mfcc", corpus.manifests, "train", 1, 0, mfcc)
        learn(mfcc, mfcc / "gmm.safetensors")
        measurable = [("MFCC", mfcc, 100.0)]
        if updates:
            measurable.append((f"layer {LAYER} after {updates} updates", layer_features(corpus, work, mfcc, updates), 50.0))
        for what, features, rate in measurable:
            print(f"\n| {corpus.name}, {what} | perplexity | PNMI argmax | PNMI expected | segment, frames |\n|---|---|---|---|---|")
            for name, label in mixtures(features):
                found = measured(features, corpus, rate, label)
                cells = [f"{found['perplexity']:.2f}", f"{found['argmax']:.3f}", f"{found['expected']:.3f}", f"{found['segment']:.1f}"]
                print(f"| {' | '.join([name, *cells])} |", flush=True)


ROUNDS = 5


def speed(work: Path, scale: float) -> None:
    """Print how long labels take with and without transitions, each without its imports; the two take turns."""
    from tests.benchmarks import gmm

    for kind, frames, components in (("mfcc", 2_000_000, 100), ("wide", 200_000, 500)):
        folder = gmm.features(work, kind, int(frames * scale))
        mixture = gmm.start_mixture(folder, components)
        sample = torch.from_numpy(np.array(read_shard(folder, "train", 0, 1).frames[-10_000:]))
        prepared = {"frame by frame": mixture.with_temperature(gmm.calibrate_temperature(mixture.log_joint(sample), PERPLEXITY))}
        for name, transitions in (("sticky", StickyTransitions(0.2)), ("full", _some_matrix(components))):
            prepared[name] = replace(mixture, temperature=2 * prepared["frame by frame"].temperature, transitions=transitions)
        seconds: Dict[str, List[float]] = {name: [] for name in prepared}
        processor: Dict[str, List[float]] = {name: [] for name in prepared}
        for name, one in prepared.items():
            one.save(folder / f"{name}.safetensors")
        for _ in range(ROUNDS):
            for name in prepared:
                with tempfile.TemporaryDirectory() as scratch:
                    found = gmm.side("labels_of", folder, folder / f"{name}.safetensors", scratch)
                seconds[name].append(found["seconds"])
                processor[name].append(found["processor_seconds"])
        print(f"\n| labels of {kind}, {components} components | seconds | ratio | processor seconds | ratio |\n|---|---|---|---|---|")
        for name in prepared:
            cells = []
            for values in (seconds, processor):
                own = median(values[name])
                cells += [f"{own:.2f}", f"{own / median(values['frame by frame']):.2f}"]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _some_matrix(components: int) -> Any:
    from softhubert_plugin.gmm.transitions import FullTransitions

    return FullTransitions(torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(components), components)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", choices=["quality", "speed"], help="what to measure (default: both)")
    parser.add_argument("--updates", type=int, default=400, help="updates of the pretraining; 0 for MFCCs alone (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the frames of speed (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("/tmp/softhubert-benchmarks"), help="folder for features (default: %(default)s)")
    arguments = parser.parse_args()
    if "quality" in (arguments.runs or ["quality"]):
        quality(arguments.work, arguments.updates)
    if "speed" in (arguments.runs or ["speed"]):
        speed(arguments.work, arguments.scale)


if __name__ == "__main__":
    main()
