"""The linear probe, compared with scikit-learn's ``LogisticRegression``: test accuracy and seconds on the same frames and regularisation.

    python -m tests.benchmarks.probe [--frames 20000]

Frames come from a generated corpus: 768-dimensional random projections of spliced MFCCs, with their phones. The test frames are of other
speakers. scikit-learn gets the standardised features in float32 and its default tolerance. Reading and standardising are not timed.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
import warnings
from pathlib import Path
from typing import List, Tuple

import numpy as np
import soundfile
import torch
from sklearn.linear_model import LogisticRegression

from softhubert_plugin.alignments.utterances import Alignments
from softhubert_plugin.corpora.spoken.corpus import make_spoken_corpus
from softhubert_plugin.features.mfcc_stream import mfcc
from softhubert_plugin.manifests import read_manifest
from softhubert_plugin.probing.linear import fit_path

WIDTH = 768


def frames_of(corpus: Path, split: str, phones: List[str]) -> Tuple[np.ndarray, np.ndarray]:
    """Return features ``(n, 768)`` and phones ``(n,)`` of a split. New phones are appended to ``phones``."""
    manifest = read_manifest(corpus / f"{split}.tsv")
    aligned = Alignments(corpus / "alignments", manifest)
    projection = torch.randn(39 * 9, WIDTH, generator=torch.Generator().manual_seed(0)) / 19
    features, labels = [], []
    for index in range(len(manifest)):
        samples, _ = soundfile.read(str(manifest.audio_path(index)), dtype="float32")
        cepstra = torch.nn.functional.pad(mfcc(torch.from_numpy(samples)).T[None], (4, 4), mode="replicate")[0].T
        spliced = cepstra.unfold(0, 9, 1).flatten(1)
        found = aligned.frames(index, len(spliced), 100.0)
        for phone in aligned.phones:
            if phone not in phones:
                phones.append(phone)
        number = np.asarray([phones.index(phone) for phone in aligned.phones])
        known = found >= 0
        features.append(torch.tanh(spliced / 10 @ projection).numpy()[known])
        labels.append(number[found[known]])
    return np.concatenate(features), np.concatenate(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20_000, help="frames to train on (default: %(default)s)")
    arguments = parser.parse_args()
    phones: List[str] = []
    with tempfile.TemporaryDirectory() as name:
        make_spoken_corpus(Path(name), utterances=240, speakers=12)
        features, labels = frames_of(Path(name), "train", phones)
        test_features, test_labels = frames_of(Path(name), "test", phones)
    drawn = np.random.default_rng(0).permutation(len(features))[: arguments.frames]
    features, labels = features[drawn], labels[drawn]
    mean, scale = features.mean(0), features.std(0)
    print(
        f"{len(features)} frames, {WIDTH} dimensions, {len(phones)} phones; {len(test_features)} test frames of other speakers", flush=True
    )
    for l2 in (1e-2, 1e-3):
        standard = (features - mean) / scale
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = LogisticRegression(C=1 / (l2 * len(features)), max_iter=1000).fit(standard, labels)
        stock = time.perf_counter() - started
        accuracy = 100 * (theirs.predict((test_features - mean) / scale) == test_labels).mean()
        copy = torch.from_numpy(features.copy())[None]
        started = time.perf_counter()
        [probe] = fit_path(copy, torch.from_numpy(labels), len(phones), [l2])
        ours = time.perf_counter() - started
        found = 100 * (probe.predict(0, torch.from_numpy(test_features)).numpy() == test_labels).mean()
        print(f"l2 {l2:g}")
        print(f"  stock  {stock:8.2f} s  {int(np.max(theirs.n_iter_)):4d} steps   accuracy {accuracy:.2f} %")
        print(f"  ours   {ours:8.2f} s  {probe.steps:4d} steps   accuracy {found:.2f} % ({found - accuracy:+.2f})")
        print(
            f"  ratio  {stock / ours:8.1f} ×   peak memory of both {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
