"""The mixture engine, compared with scikit-learn and fairseq's own scripts. Each side runs in its own process, one after the other.

    python -m tests.benchmarks.gmm iteration      one EM iteration, 200k frames × 768 × 500
    python -m tests.benchmarks.gmm convergence    time to scikit-learn's final held-out likelihood, MFCC-39/100 and 768/500
    python -m tests.benchmarks.gmm peers          EM against scikit-learn and pomegranate, k-means and hard labels against faiss
    python -m tests.benchmarks.gmm dump           posteriors against predict_proba, labels against dump_km_label.py
    python -m tests.benchmarks.gmm memory         2 M frames × 768: peak memory, likelihood against float64
    python -m tests.benchmarks.gmm kill           SIGKILL at random moments, then compare bytes

Features are MFCCs of real speech (the folder of SOFTHUBERT_SPEECH). For 768 dimensions, twenty neighbouring frames of them go through a
fixed random layer: these features are correlated as in speech, while random numbers are not. ``--scale 0.1`` uses a tenth of the frames.
The peers are not requirements: ``uv pip install pomegranate faiss-cpu`` adds them, and a run leaves out what is not there.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any, Callable, Dict, List, Sequence

import numpy as np
import torch

from softhubert_plugin.corpora.folder import write_folder_manifest
from softhubert_plugin.features.mfcc import dump_mfcc
from softhubert_plugin.features.shard_chunks import plan_chunks
from softhubert_plugin.features.shards import ShardWriter, read_shard
from softhubert_plugin.gmm.dump_gmm_posteriors import dump_gmm_posteriors
from softhubert_plugin.gmm.em import Fit, expectation, fit_mixture
from softhubert_plugin.gmm.engine import Engine
from softhubert_plugin.gmm.feed import Feed
from softhubert_plugin.gmm.kmeans import kmeans, nearest
from softhubert_plugin.gmm.learn_gmm import GmmOptions, learn_gmm
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.gmm.start import mixture_from_clusters
from softhubert_plugin.gmm.uncertainty import calibrate_temperature

SPEECH = Path(os.environ.get("SOFTHUBERT_SPEECH", Path(__file__).parents[3] / "shared" / "speech"))
WIDE = 768
HELD_OUT = 10_000
FLOOR = 1e-4


# ---------------------------------------------------------------------------------------------------------------- features


def features(work: Path, kind: str, frames: int) -> Path:
    """Return a folder with shard ``train_0_1`` of ``frames`` frames. If there is too little speech, it is repeated with noise."""
    folder = work / f"{kind}-{frames}"
    if (folder / "train_0_1.json").exists():
        return folder
    source = _mfccs(work)
    rng = np.random.default_rng(0)
    layer = rng.standard_normal((20 * 39, WIDE)).astype(np.float32) / np.sqrt(20 * 39)
    mean, deviation = source.frames[:100_000].mean(0), source.frames[:100_000].std(0)
    written = 0
    with ShardWriter(folder, "train", 0, 1, {"kind": kind, "frame_rate": 100.0}) as shard:
        while written < frames:
            for index in rng.permutation(len(source)):
                x = source.utterance(int(index))
                if kind == "wide":
                    x = (x - mean) / deviation
                    x = np.concatenate([x[offset : len(x) - 19 + offset] for offset in range(20)], axis=1)
                    x = np.tanh(x @ layer)[::2]  # 50 frames per second, as in HuBERT
                if written >= len(source.frames):
                    x = x + 0.05 * rng.standard_normal(x.shape).astype(np.float32)
                x = x[: frames - written]
                shard.add(x.astype(np.float32))
                written += len(x)
                if written >= frames:
                    break
    return folder


def _mfccs(work: Path) -> Any:
    folder = work / "speech"
    if not (folder / "train_0_1.json").exists():
        if not SPEECH.is_dir():
            raise SystemExit(f"no real speech at {SPEECH}; set SOFTHUBERT_SPEECH")
        write_folder_manifest(SPEECH, folder, valid_percent=0)
        dump_mfcc(folder, "train", 1, 0, folder)
    return read_shard(folder, "train", 0, 1)


def divided(folder: Path) -> Any:
    """Return the chunks to fit on, and the last 10,000 frames (rounded up to whole utterances) to measure on."""
    shard = read_shard(folder, "train", 0, 1)
    mask = shard.offsets[1:] <= len(shard.frames) - HELD_OUT
    return plan_chunks([shard], [mask]), shard.frames[int(shard.lengths[mask].sum()) :]


# ---------------------------------------------------------------------------------------------------------------- measuring


def side(name: str, *arguments: Any) -> Dict[str, Any]:
    """Run one side in its own process. Return its result, with ``peak_gb`` added."""
    command = [sys.executable, "-m", "tests.benchmarks.gmm", "side", name, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def sides(function: Callable[..., Dict[str, Any]]) -> Callable[..., Dict[str, Any]]:
    """Register a function as a side, under its name."""
    SIDES[function.__name__] = function
    return function


SIDES: Dict[str, Callable[..., Dict[str, Any]]] = {}


def table(rows: List[List[Any]]) -> None:
    """Print aligned columns."""
    cells = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip(), flush=True)


class Clock:
    """Counts elapsed seconds and processor seconds since it was made. Processor seconds hardly change when other programs run."""

    def __init__(self) -> None:
        self.started, self.processor_started = time.perf_counter(), time.process_time()

    def read(self) -> Dict[str, Any]:
        """Return both counts."""
        return {"seconds": time.perf_counter() - self.started, "processor_seconds": time.process_time() - self.processor_started}


# The sides take turns in this many rounds. On a shared machine, medians are more reliable than one run of a few seconds.
ROUNDS = 5


def product_speed() -> float:
    """Measure this machine's float32 matrix-product speed in GFLOP/s, with the current number of threads."""
    a, b = torch.randn(4096, 2048), torch.randn(2048, 2048)
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        _ = a @ b
        best = max(best, 2 * 4096 * 2048 * 2048 / (time.perf_counter() - started) / 1e9)
    return best


# ---------------------------------------------------------------------------------------------------------------- iteration


def start_mixture(folder: Path, components: int) -> GaussianMixture:
    """Return the mixture that both sides start from: a few k-means passes on a sample."""
    path = folder / f"start-{components}.safetensors"
    if not path.exists():
        chunks, _ = divided(folder)
        sample = torch.from_numpy(np.array(chunks[0].shard.frames[:: max(1, len(chunks[0].shard.frames) // (30 * components))]))
        centroids, assigned = kmeans(sample, components, seed=0, iterations=3)
        mixture_from_clusters(sample, centroids, assigned, "diag", floor=FLOOR).save(path)
    return GaussianMixture.load(path)


@sides
def our_iteration(folder: str, components: str) -> Dict[str, Any]:
    """Time one EM iteration of ours, the best of three."""
    chunks, _ = divided(Path(folder))
    mixture = start_mixture(Path(folder), int(components))
    speed = product_speed()
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        engine = Engine(mixture)
        sums = expectation(engine, Feed(chunks, "cpu", part_frames=engine.part_frames))
        updated = engine.maximise(sums, FLOOR)
        seconds.append(time.perf_counter() - started)
    frames = float(sums.frames)
    flops = 8 * frames * mixture.means.numel()  # four products: two of the E-step, two of the M-step
    return {
        "seconds": min(seconds),
        "all": seconds,
        "speed": speed,
        "share": flops / min(seconds) / 1e9 / speed,
        "likelihood": float(sums.log_likelihood) / frames,
        "next": float(updated.weights @ updated.means.square().mean(1)),
    }


@sides
def sklearn_iteration(folder: str, components: str) -> Dict[str, Any]:
    """Time one EM iteration of scikit-learn's."""
    from sklearn.mixture import GaussianMixture as SklearnMixture
    from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky

    chunks, _ = divided(Path(folder))
    start = start_mixture(Path(folder), int(components))
    rows = sum(chunk.frames for chunk in chunks)
    x = np.asarray(chunks[0].shard.frames[:rows], dtype=np.float64)
    fitted = SklearnMixture(int(components), covariance_type="diag")
    fitted.weights_, fitted.means_, fitted.covariances_ = start.weights.numpy(), start.means.numpy(), start.covariances.numpy()
    fitted.precisions_cholesky_ = _compute_precision_cholesky(fitted.covariances_, "diag")
    started = time.perf_counter()
    likelihood, responsibilities = fitted._e_step(x)
    fitted._m_step(x, responsibilities)
    return {
        "seconds": time.perf_counter() - started,
        "likelihood": float(likelihood),
        "next": float(fitted.weights_ @ np.square(fitted.means_).mean(1)),
    }


def iteration(work: Path, scale: float) -> None:
    """Compare one EM iteration."""
    folder = features(work, "wide", int(200_000 * scale))
    start_mixture(folder, 500)
    theirs, ours = side("sklearn_iteration", folder, 500), side("our_iteration", folder, 500)
    table(
        [
            ["one EM iteration, 768 × 500, diagonal", "seconds", "peak GB", "log-likelihood", "mean square of new means"],
            ["scikit-learn", theirs["seconds"], theirs["peak_gb"], f"{theirs['likelihood']:.5f}", f"{theirs['next']:.7f}"],
            ["softhubert", ours["seconds"], ours["peak_gb"], f"{ours['likelihood']:.5f}", f"{ours['next']:.7f}"],
        ]
    )
    ratio, speed = theirs["seconds"] / ours["seconds"], f"{ours['speed']:.0f} GFLOP/s"
    print(f"ratio {ratio:.1f}; counted as four dense products, ours reaches {ours['share']:.0%} of this machine's {speed}")


# ---------------------------------------------------------------------------------------------------------------- convergence


@sides
def sklearn_fit(folder: str, components: str) -> Dict[str, Any]:
    """Fit with scikit-learn's defaults."""
    from sklearn.mixture import GaussianMixture as SklearnMixture

    chunks, held_out = divided(Path(folder))
    rows = sum(chunk.frames for chunk in chunks)
    x = np.asarray(chunks[0].shard.frames[:rows], dtype=np.float64)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = SklearnMixture(int(components), covariance_type="diag", random_state=0).fit(x)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "iterations": fitted.n_iter_, "likelihood": float(fitted.score(np.asarray(held_out, dtype=np.float64)))}


@sides
def our_fit(folder: str, components: str, target: str, sample_frames: str, lloyd: str) -> Dict[str, Any]:
    """Run k-means on a sample, then EM iterations until the target likelihood is reached."""
    chunks, held_out = divided(Path(folder))
    held_out = np.array(held_out)
    started = time.perf_counter()
    rows = chunks[0].shard.frames
    sample = torch.from_numpy(np.array(rows[: len(rows) - HELD_OUT : max(1, (len(rows) - HELD_OUT) // int(sample_frames))]))
    centroids, assigned = kmeans(sample, int(components), seed=1, iterations=int(lloyd))
    mixture = mixture_from_clusters(sample, centroids, assigned, "diag", floor=FLOOR)
    begun = time.perf_counter() - started
    curve = [(time.perf_counter() - started, Engine(mixture).score(held_out))]
    fit = Fit(mixture, [])
    reached = curve[0][0] if curve[0][1] >= float(target) else None
    while reached is None and len(fit.curve) < 100:
        fit = fit_mixture(Fit(fit.mixture, fit.curve), chunks, held_out, iterations=len(fit.curve) + 1, tolerance=-1.0, floor=FLOOR, seed=1)
        curve.append((time.perf_counter() - started, fit.curve[-1]["held_out"]))
        if curve[-1][1] >= float(target):
            reached = curve[-1][0]
    return {"seconds": reached, "start": begun, "iterations": len(fit.curve), "likelihood": curve[-1][1], "curve": curve}


def convergence(work: Path, scale: float) -> None:
    """Compare the time to the held-out likelihood that scikit-learn ends with."""
    for kind, frames, components, settings in (("mfcc", 100_000, 100, (10_000, 2)), ("wide", 50_000, 500, (25_000, 2))):
        folder = features(work, kind, int(frames * scale) + HELD_OUT)
        theirs = side("sklearn_fit", folder, components)
        ours = side("our_fit", folder, components, theirs["likelihood"], *settings)
        table(
            [
                [f"{frames * scale:.0f} frames, {kind}/{components}", "seconds", "iterations", "held-out", "peak GB"],
                ["scikit-learn", theirs["seconds"], theirs["iterations"], f"{theirs['likelihood']:.4f}", theirs["peak_gb"]],
                ["softhubert", ours["seconds"] or "never", ours["iterations"], f"{ours['likelihood']:.4f}", ours["peak_gb"]],
            ]
        )
        print(f"start {ours['start']:.2f} s; curve {[(round(s, 2), round(v, 3)) for s, v in ours['curve']]}")
        if ours["seconds"]:
            print(f"ratio {theirs['seconds'] / ours['seconds']:.1f}")


# ---------------------------------------------------------------------------------------------------------------- peers


@sides
def our_em(folder: str, components: str, iterations: str) -> Dict[str, Any]:
    """Run EM iterations of ours from the common start."""
    chunks, held_out = divided(Path(folder))
    mixture = start_mixture(Path(folder), int(components))
    clock = Clock()
    for _ in range(int(iterations)):
        engine = Engine(mixture)
        mixture = engine.maximise(expectation(engine, Feed(chunks, "cpu", part_frames=engine.part_frames)), FLOOR)
    return {**clock.read(), "score": Engine(mixture).score(np.array(held_out))}


@sides
def sklearn_em(folder: str, components: str, iterations: str) -> Dict[str, Any]:
    """Run scikit-learn's EM iterations from the common start."""
    x, held_out = _in_memory(folder)
    fitted = start_mixture(Path(folder), int(components)).to_sklearn()
    x = x.astype(np.float64)
    clock = Clock()
    for _ in range(int(iterations)):
        fitted._m_step(x, fitted._e_step(x)[1])
    return {**clock.read(), "score": float(fitted.score(held_out.astype(np.float64)))}


@sides
def pomegranate_em(folder: str, components: str, iterations: str) -> Dict[str, Any]:
    """Run pomegranate's EM iterations from the common start.

    Its sums are float32 whatever it is given, and a variance is a difference of two of them. So it gets frames around zero (moving frames
    and means together changes no likelihood) and a floor of the variances, which its ``min_cov`` names but does not apply. Without them it
    ends with variances below zero.
    """
    from pomegranate.distributions import Normal
    from pomegranate.gmm import GeneralMixtureModel

    class Floored(Normal):
        def _reset_cache(self) -> None:
            self.covs.data.clamp_(min=FLOOR)
            super()._reset_cache()

    x, held_out = map(torch.from_numpy, _in_memory(folder))
    start, centre = start_mixture(Path(folder), int(components)), x.mean(0)
    means, variances = (start.means - centre).float(), start.covariances.float()
    normals = [Floored(mean, variance, covariance_type="diag") for mean, variance in zip(means, variances)]
    mixture, frames = GeneralMixtureModel(normals, priors=(start.weights / start.weights.sum()).float()), x - centre
    clock = Clock()
    for _ in range(int(iterations)):
        mixture.summarize(frames)
        mixture.from_summaries()
    return {**clock.read(), "score": float(mixture.log_probability(held_out - centre).mean())}


@sides
def our_kmeans(folder: str, components: str, iterations: str) -> Dict[str, Any]:
    """Run Lloyd iterations of ours, then label all frames again."""
    frames = torch.from_numpy(_in_memory(folder)[0])
    clock = Clock()
    centroids, _ = kmeans(frames, int(components), seed=0, iterations=int(iterations))
    found, clock = clock.read(), Clock()
    assigned = nearest(frames, centroids)
    return {**found, "label_seconds": clock.read()["seconds"], "score": _spread(frames, centroids, assigned)}


@sides
def faiss_kmeans(folder: str, components: str, iterations: str) -> Dict[str, Any]:
    """Run faiss's Lloyd iterations from the frames that ours starts from, then label all frames."""
    import faiss

    x = _in_memory(folder)[0]
    faiss.omp_set_num_threads(torch.get_num_threads())
    start = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[: int(components)].numpy()]
    clock = Clock()
    # faiss would otherwise draw 256 frames per centroid.
    fitted = faiss.Kmeans(x.shape[1], int(components), niter=int(iterations), max_points_per_centroid=len(x))
    fitted.train(x, init_centroids=start)
    found, clock = clock.read(), Clock()
    _, assigned = fitted.index.search(x, 1)
    seconds = clock.read()["seconds"]
    score = _spread(torch.from_numpy(x), torch.from_numpy(fitted.centroids), torch.from_numpy(assigned[:, 0]))
    return {**found, "label_seconds": seconds, "score": score}


def _in_memory(folder: str) -> Any:
    """The frames to fit on and those held out, as arrays."""
    chunks, held_out = divided(Path(folder))
    rows = sum(chunk.frames for chunk in chunks)
    return np.array(chunks[0].shard.frames[:rows]), np.array(held_out)


def _spread(frames: torch.Tensor, centroids: torch.Tensor, assigned: torch.Tensor) -> float:
    """Mean squared distance of frames to their centroids."""
    parts = [(part - centroids[chosen]).square().sum(1).double() for part, chosen in zip(frames.split(8192), assigned.split(8192))]
    return float(torch.cat(parts).mean())


PEERS = {
    "our_em": "softhubert",
    "sklearn_em": "scikit-learn",
    "pomegranate_em": "pomegranate",
    "our_kmeans": "softhubert",
    "faiss_kmeans": "faiss",
}


def peers(work: Path, scale: float) -> None:
    """Compare EM and k-means, in rounds in which all sides take turns: the same data, start and number of iterations."""
    for kind, frames, components in (("mfcc", 50_000, 100), ("wide", 20_000, 100)):
        folder = features(work, kind, int(frames * scale) + HELD_OUT)
        title = f"{frames * scale:.0f} frames, {kind}/{components}"
        if kind == "mfcc":  # the floors of the variances, which differ, matter on few wide frames; 'iteration' compares EM on many
            start_mixture(folder, components)
            names = ("our_em", "sklearn_em", "pomegranate_em")
            _take_turns(names, [folder, components, 3], [f"{title}: 3 EM iterations", "held-out log-likelihood"])
        _take_turns(("our_kmeans", "faiss_kmeans"), [folder, components, 20], [f"{title}: 20 Lloyd iterations", "squared distance"])


def _take_turns(names: Sequence[str], arguments: List[Any], titles: List[str]) -> None:
    """Run the sides that are installed in turn, and print the medians of their rounds and the ratios to ours, which comes first."""
    packages = {"pomegranate_em": ("pomegranate", "pomegranate"), "faiss_kmeans": ("faiss", "faiss-cpu")}
    missing = [name for name in names if name in packages and importlib.util.find_spec(packages[name][0]) is None]
    for name in missing:
        print(f"{PEERS[name]} is not installed and left out; add it with: uv pip install {packages[name][1]}")
    found: Dict[str, List[Dict[str, Any]]] = {name: [] for name in names if name not in missing}
    for _ in range(ROUNDS):
        for name, rounds in found.items():
            rounds.append(side(name, *arguments))
    columns = ["seconds", "processor_seconds", *(["label_seconds"] if "our_kmeans" in names else []), "peak_gb"]
    rows: List[List[Any]] = [[titles[0], *(column.replace("_", " ") for column in columns), titles[1], "ratio", "of processor"]]
    middle = {name: {key: median(one[key] for one in rounds) for key in (*columns, "score")} for name, rounds in found.items()}
    for name, values in middle.items():
        ratios = [f"{values[key] / middle[names[0]][key]:.1f}" for key in ("seconds", "processor_seconds")]
        rows.append([PEERS[name], *(values[column] for column in columns), f"{values['score']:.5f}", *ratios])
    table(rows)


# ---------------------------------------------------------------------------------------------------------------- dump


@sides
def sklearn_posteriors(folder: str, components: str) -> Dict[str, Any]:
    """Compute posteriors with scikit-learn's ``predict_proba``."""
    shard = read_shard(folder, "train", 0, 1)
    mixture = start_mixture(Path(folder), int(components)).to_sklearn()
    clock = Clock()
    # In parts, which is necessary for features that do not fit into memory.
    for first in range(0, len(shard.frames), 8192):
        mixture.predict_proba(np.asarray(shard.frames[first : first + 8192]))
    return clock.read()


@sides
def product_alone(folder: str, components: str) -> Dict[str, Any]:
    """Compute only the float32 product of the E-step, which is the least that exact posteriors can cost here."""
    engine = Engine(start_mixture(Path(folder), int(components)))
    rows = read_shard(folder, "train", 0, 1).frames
    statistics = engine.family.statistics(engine.centred(np.array(rows[:8192])))
    clock = Clock()
    for _ in range(0, len(rows), len(statistics)):
        torch.mm(statistics, engine._natural)
    return clock.read()


@sides
def our_labels(folder: str, components: str, work: str, hard: str) -> Dict[str, Any]:
    """Dump labels of a mixture that is calibrated to the default perplexity, as ``gmm learn`` does."""
    mixture = start_mixture(Path(folder), int(components))
    sample = torch.from_numpy(np.array(read_shard(folder, "train", 0, 1).frames[-HELD_OUT:]))
    temperature = calibrate_temperature(mixture.log_joint(sample), 4.0)
    clock = Clock()
    model = Path(folder) / f"start-{components}.safetensors"
    dump_gmm_posteriors(folder, "train", model, 1, 0, work, hard=hard == "hard", temperature=temperature)
    return clock.read()


@sides
def labels_of(folder: str, mixture: str, work: str) -> Dict[str, Any]:
    """Dump labels of a mixture as it is."""
    clock = Clock()
    dump_gmm_posteriors(folder, "train", mixture, 1, 0, work)
    return clock.read()


@sides
def fairseq_labels(folder: str, components: str, work: str) -> Dict[str, Any]:
    """Run ``dump_km_label.py`` with a k-means model of the same size. Like ours, it is timed without its imports."""
    import joblib
    from sklearn.cluster import MiniBatchKMeans

    from softhubert_plugin.exchange.fairseq_tool import run_tool

    rows = np.array(read_shard(folder, "train", 0, 1).frames[: 20 * int(components)])
    fitted = MiniBatchKMeans(int(components), n_init=1, max_iter=2, random_state=0).fit(rows)
    joblib.dump(fitted, Path(work) / "km.joblib")
    clock = Clock()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        run_tool("hubert/simple_kmeans/dump_km_label.py", [folder, "train", f"{work}/km.joblib", "1", "0", work])
    return clock.read()


def dump(work: Path, scale: float) -> None:
    """Compare the speed of labelling."""
    for kind, frames, components in (("mfcc", 2_000_000, 100), ("wide", 200_000, 500)):
        folder = features(work, kind, int(frames * scale))
        count = len(read_shard(folder, "train", 0, 1).frames)
        rows: List[List[Any]] = [[f"labels of {count} frames, {kind}/{components}", "frames per second", "per processor second", "peak GB"]]
        runs = {
            "scikit-learn predict_proba (writes nothing)": ("sklearn_posteriors", folder, components),
            "fairseq dump_km_label.py": ("fairseq_labels", folder, components),
            "softhubert gmm dump": ("our_labels", folder, components, "soft"),
            "softhubert gmm dump --hard": ("our_labels", folder, components, "hard"),
            "its float32 product alone": ("product_alone", folder, components),
        }
        found: Dict[str, List[Dict[str, Any]]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, (run, *arguments) in runs.items():
                with tempfile.TemporaryDirectory() as scratch:
                    extra = [scratch, *arguments[2:]] if run in ("our_labels", "fairseq_labels") else []
                    found[name].append(side(run, *arguments[:2], *extra))
        for name, rounds in found.items():
            seconds, processor, peak = (median(x[key] for x in rounds) for key in ("seconds", "processor_seconds", "peak_gb"))
            rows.append([name, count / seconds, count / processor, peak])
        table(rows)
        for row in rows[3:]:
            print(f"{row[0]}: {row[1] / rows[1][1]:.1f} times predict_proba, {row[1] / rows[2][1]:.1f} times dump_km_label.py", end="")
            print(f"; per processor second {row[2] / rows[1][2]:.1f} and {row[2] / rows[2][2]:.1f} times")


# ---------------------------------------------------------------------------------------------------------------- memory


@sides
def our_long_fit(folder: str, components: str) -> Dict[str, Any]:
    """Fit with five iterations."""
    started = time.perf_counter()
    path = Path(folder) / "fitted.safetensors"
    path.unlink(missing_ok=True)
    learn_gmm(folder, "train", 1, path, GmmOptions(int(components), iterations=5, tolerance=-1.0))
    return {"seconds": time.perf_counter() - started}


def memory(work: Path, scale: float) -> None:
    """Measure the peak memory of a large fit, and compare its likelihood with float64."""
    folder = features(work, "wide", int(2_000_000 * scale))
    found = side("our_long_fit", folder, 500)
    mixture = GaussianMixture.load(folder / "fitted.safetensors")
    sample = np.array(read_shard(folder, "train", 0, 1).frames[-20_000:])
    exact = float(mixture.score_samples(torch.from_numpy(sample)).mean())
    single = Engine(mixture).score(sample)
    size = (folder / "train_0_1.npy").stat().st_size / 1e9
    print(f"learn, 5 iterations on {size:.2f} GB of features: {found['seconds']:.0f} s, peak {found['peak_gb']:.2f} GB")
    print(f"log-likelihood of 20,000 frames: {single:.6f}, in float64 {exact:.6f}, relative difference {abs(single / exact - 1):.1e}")


# ---------------------------------------------------------------------------------------------------------------- kill


def kill(work: Path, scale: float) -> None:
    """Kill learning and dumping at random moments until they end, and compare their bytes with those of an undisturbed run."""
    folder = features(work, "mfcc", int(200_000 * scale))
    rng = random.Random(0)

    def commands(target: Path) -> List[List[str]]:
        softhubert = [sys.executable, "-m", "softhubert_plugin"]
        learn = [
            *softhubert,
            "gmm",
            "learn",
            str(folder),
            "train",
            "1",
            str(target / "gmm"),
            "100",
            "--iterations",
            "12",
            "--tolerance",
            "-1",
        ]
        return [learn, [*softhubert, "gmm", "dump", str(folder), "train", str(target / "gmm"), "1", "0", str(target)]]

    kills = 0
    with tempfile.TemporaryDirectory() as left_alone, tempfile.TemporaryDirectory() as disturbed:
        for name, undisturbed, command in zip(("gmm", "train_0_1.gmm"), commands(Path(left_alone)), commands(Path(disturbed))):
            started = time.perf_counter()
            subprocess.run(undisturbed, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            whole = time.perf_counter() - started
            for attempt in range(16):
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                try:
                    process.wait(rng.uniform(0.2, 1.0) * whole if attempt < 15 else None)
                    if attempt < 15:  # it had finished: delete its result, so that the next attempt is disturbed again
                        (Path(disturbed) / name).unlink()
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills += 1
            same = (Path(left_alone) / name).read_bytes() == (Path(disturbed) / name).read_bytes()
            print(f"{name}: {'the same bytes' if same else 'DIFFERENT'} after {kills} kills in all")
        print("in the folder:", ", ".join(sorted(path.name for path in Path(disturbed).iterdir())))


def main() -> None:
    if sys.argv[1:2] == ["side"]:
        result = SIDES[sys.argv[2]](*sys.argv[3:])
        print(json.dumps({**result, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))
        return
    runs = {run.__name__: run for run in (iteration, convergence, peers, dump, memory, kill)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", choices=list(runs))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the frames (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("/tmp/softhubert-benchmarks"), help="folder for features (default: %(default)s)")
    arguments = parser.parse_args()
    for name in arguments.runs:
        runs[name](arguments.work, arguments.scale)


if __name__ == "__main__":
    main()
