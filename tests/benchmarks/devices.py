"""Time and memory of the same work on each named device, measured in one run.

    python -m tests.benchmarks.devices [cpu] [cuda] [--scale 1.0] [--rounds 5]

The work is an EM iteration on frames already in memory (500 diagonal components), and the forward and backward pass of HuBERT Base on a
batch of noise, in float32 and with ``model.autocast_bf16``. Peak memory is what torch allocated on a GPU, including parameters.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any, Callable, Dict, List

import numpy as np
import torch

from softhubert_plugin.gmm.engine import Engine, Sums
from softhubert_plugin.gmm.mixture import GaussianMixture
from tests.benchmarks.pretraining import moved, pretraining_step


def em_iteration(device: str, frames: int, dimension: int) -> Callable[[], None]:
    """Prepare one E-step and M-step over random frames ``(frames, dimension)``."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((frames, dimension), dtype=np.float32)
    means = torch.from_numpy(x[:500]).double()
    mixture = GaussianMixture(torch.full((500,), 1 / 500).double(), means, torch.ones(500, dimension).double())
    engine = Engine(mixture, device)

    def work() -> None:
        sums = Sums.zeros(mixture, device)
        engine.accumulate(x, sums)
        engine.maximise(sums, floor=1e-4)

    return work


def training_step(device: str, seconds: float, bf16: bool) -> Callable[[], None]:
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


def _time(work: Callable[[], None], device: str, rounds: int) -> Dict[str, float]:
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
    frames, seconds = int(200_000 * a.scale), 15.6 * a.scale
    works: List[Any] = [
        (f"EM iteration, {frames} frames × 768 × 500", lambda device: em_iteration(device, frames, 768)),
        (f"EM iteration, {frames} frames × 39 × 500", lambda device: em_iteration(device, frames, 39)),
        (f"HuBERT Base step, 2 × {seconds:.1f} s, float32", lambda device: training_step(device, seconds, False)),
        (f"HuBERT Base step, 2 × {seconds:.1f} s, bfloat16", lambda device: training_step(device, seconds, True)),
    ]
    for device in a.devices:
        name = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{os.cpu_count()} cores"
        print(f"{device}: {name}, torch {torch.__version__}", flush=True)
        for what, prepare in works:
            found = _time(prepare(device), device, a.rounds)
            peak = "" if np.isnan(found["peak"]) else f"   peak {found['peak']:7.0f} MiB"
            print(f"  {what:<44} {found['seconds']:9.4f} s{peak}", flush=True)


if __name__ == "__main__":
    main()
