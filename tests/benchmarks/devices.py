"""Time and memory of the same work on each named device, measured in one run.

    python -m tests.benchmarks.devices [cpu] [cuda] [--scale 1.0] [--rounds 5]

The work is an EM iteration of diagonal components over a float16 shard, and the forward and backward pass of HuBERT Base on a batch of
noise, in float32 and with ``model.autocast_bf16``. A GPU gets ten times the frames, which it keeps after the first pass. ``share`` is how
much of an EM iteration its two matrix products would take on the device by themselves, in float32 (no TF32). Peak memory is what torch
allocated on a GPU, including parameters.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, Optional, Tuple

import numpy as np
import torch

from softhubert_plugin.features.shard_chunks import plan_chunks
from softhubert_plugin.features.shards import ShardWriter, read_shard
from softhubert_plugin.gmm.em import expectation
from softhubert_plugin.gmm.engine import Engine
from softhubert_plugin.gmm.feed import Feed
from softhubert_plugin.gmm.mixture import GaussianMixture
from tests.benchmarks.pretraining import moved, pretraining_step

Work = Callable[[], None]


def write_frames(folder: Path, frames: int, dimension: int) -> None:
    """Write a shard of random frames."""
    rng = np.random.default_rng(0)
    with ShardWriter(folder, "train", 0, 1, {"kind": "hubert"}, dtype="float16") as writer:
        for start in range(0, frames, 10_000):
            writer.add(rng.standard_normal((min(10_000, frames - start), dimension), dtype=np.float32))


def em_iteration(device: str, folder: Path, components: int) -> Tuple[Work, Work]:
    """Prepare an EM iteration over a shard, and its matrix products alone."""
    shard = read_shard(folder, "train", 0, 1)
    frames, dimension = shard.frames.shape
    means = torch.from_numpy(np.array(shard.frames[:components], dtype=np.float64))
    mixture = GaussianMixture(torch.full((components,), 1 / components).double(), means, torch.ones_like(means))
    engine = Engine(mixture, device)
    feed = Feed(plan_chunks([shard], [np.ones(len(shard), dtype=bool)]), device, part_frames=engine.part_frames)
    part = min(engine.part_frames, frames)
    statistics = torch.randn(part, 2 * dimension, device=device)
    natural = torch.randn(2 * dimension, components, device=device)

    def work() -> None:
        engine.maximise(expectation(engine, feed), floor=1e-4)

    def products() -> None:
        for _ in range(-(-frames // part)):
            statistics.T @ (statistics @ natural)

    return work, products


def training_step(device: str, seconds: float, bf16: bool) -> Work:
    """Prepare forward and backward of our HuBERT Base in training mode, on two utterances of noise of ``seconds`` each, 500 hard labels."""
    from softhubert_plugin.checkpoints.load import register_plugin

    register_plugin()
    model, criterion, batch = pretraining_step(True, int(seconds * 16_000), bf16=bf16)
    model.to(device)
    batch = moved(batch, device)

    def work() -> None:
        model.zero_grad(set_to_none=True)
        criterion(model, batch)[0].backward()

    return work


def _time(work: Work, device: str, rounds: int) -> Dict[str, float]:
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        work()
        if cuda:
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return {"seconds": min(seconds[1:]), "peak": torch.cuda.max_memory_allocated(device) / 2**20 if cuda else float("nan")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "devices", nargs="*", default=["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"], help="cpu, cuda, cuda:1, …"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of the frames and of the seconds of speech (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, after one that is not timed (default: %(default)s)")
    a = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    seconds = 15.6 * a.scale
    steps = [("float32", False), ("bfloat16", True)]
    for device in a.devices:
        cuda = device.startswith("cuda")
        print(
            f"{device}: {torch.cuda.get_device_name(device) if cuda else f'{os.cpu_count()} cores'}, torch {torch.__version__}", flush=True
        )
        frames = int((2_000_000 if cuda else 200_000) * a.scale)
        for dimension, sizes in ((768, (500, 2000) if cuda else (500,)), (39, (500,))):
            with tempfile.TemporaryDirectory() as folder:
                write_frames(Path(folder), frames, dimension)
                for components in sizes:
                    work, products = em_iteration(device, Path(folder), components)
                    found = _time(work, device, a.rounds)
                    share = _time(products, device, a.rounds)["seconds"] / found["seconds"]
                    _print(f"EM iteration, {frames} frames × {dimension} × {components}", found, share)
        for precision, bf16 in steps:
            found = _time(training_step(device, seconds, bf16), device, a.rounds)
            _print(f"HuBERT Base step, 2 × {seconds:.1f} s, {precision}", found)


def _print(what: str, found: Dict[str, float], share: Optional[float] = None) -> None:
    peak = "" if np.isnan(found["peak"]) else f"   peak {found['peak']:7.0f} MiB"
    products = "" if share is None else f"   share of the products {share:4.0%}"
    print(f"  {what:<44} {found['seconds']:9.4f} s{peak}{products}", flush=True)


if __name__ == "__main__":
    main()
