"""Training HuBERT Base on a GPU in bfloat16: speed of fairseq's ``hubert``, of ``soft_hubert`` and of PyPI's ``minimal-hubert``.

    python -m tests.benchmarks.gpu [--utterances 6] [--seconds 14.6] [--steps 20] [--systems stock ours compiled minimal]

A step is the trainer's whole update (``Trainer.train_step``): the copy to the GPU, forward, backward, clipping, the optimizer and the
statistics, on utterances of noise with 500 hard labels, with dropout. Each system runs in its own process. ``stock`` is fairseq's recipe
with ``common.bf16``, ``ours`` the recipe ``+run=one_hopper`` without ``model.compile``, and ``compiled`` with it. ``minimal`` has no
trainer to call: its step is the same work in a loop, with the batch already on the GPU; it is left out if minimal-hubert (Python 3.12) is
not installed. Speed is in seconds of audio per second. Six utterances of 14.6 s are the recipe's 87.5 s per GPU; ``--largest`` also looks
for the largest batch that fits into memory. Layer drop is off, because it makes all systems faster alike.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Optional, Tuple

import torch

from softhubert_plugin.configurations import configuration_folder
from softhubert_plugin.manifests import write_cluster_dictionary
from tests.benchmarks.pretraining import CLUSTERS, draw_masks, noise_batch

SYSTEMS = ("stock", "ours", "compiled", "minimal")
ADAM = {"lr": 5e-4, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}
WARM_UP = 5


def trainer_step(system: str, utterances: int, samples: int, device: str) -> Callable[[], Any]:
    """Prepare a step of fairseq's trainer with fairseq's recipe or ours."""
    import fairseq

    from tests.trainers import build_trainer

    folder = tempfile.mkdtemp()
    write_cluster_dictionary(folder, "km", CLUSTERS)
    overrides = [f"task.data={folder}", f"task.label_dir={folder}", "task.labels=[km]", "task.label_rate=50", "model.label_rate=50"]
    overrides += ["model.encoder_layerdrop=0.0", f"common.cpu={str(device == 'cpu').lower()}", "common.fp16=false"]
    if system == "stock":
        recipes = [Path(fairseq.__file__).parent / "examples" / "hubert" / "config" / "pretrain" / "hubert_base_librispeech.yaml"]
        overrides += ["common.bf16=true", "distributed_training.distributed_world_size=1"]
    else:
        pretrain = configuration_folder() / "pretrain"
        recipes = [pretrain / "hubert_km_base_librispeech_iter2.yaml", pretrain / "run" / "one_hopper.yaml"]
        overrides += ["task.batch_seconds=null", f"model.compile={str(system == 'compiled').lower()}"]
    trainer = build_trainer(recipes, overrides, None if system == "stock" else {"codewords": [CLUSTERS]})
    batch = noise_batch(system != "stock", utterances, samples)
    trainer.begin_epoch(1)

    def step() -> float:
        output = trainer.train_step([batch])
        return float("nan") if output is None else float(output["loss"])

    return step


def minimal_step(utterances: int, samples: int, device: str) -> Callable[[], Any]:
    """Prepare a step of minimal-hubert's model, compiled and optimised as in its own trainer."""
    from minimal_hubert import HuBERTPretrain

    model = HuBERTPretrain(CLUSTERS).to(device).train()
    frames = (samples - 400) // 320 + 1
    source = torch.randn(utterances, samples, device=device)
    labels = torch.randint(CLUSTERS, (utterances, frames), device=device)
    mask = torch.from_numpy(draw_masks(utterances, frames)).to(device)
    masked = int(mask.sum())
    model.encoder.layer_drop = 0.0
    optimizer = torch.optim.AdamW(model.parameters(), fused=True, **ADAM)
    model.compile(dynamic=True)

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            each, _ = model(source, labels, mask=mask, attention_mask=None)
        loss = each.sum() / masked
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        return loss.detach() / math.log(2)

    return step


def _prepared(system: str, utterances: int, samples: int, device: str) -> Callable[[], Any]:
    if system == "minimal":
        return minimal_step(utterances, samples, device)
    return trainer_step(system, utterances, samples, device)


def run(system: str, utterances: int, seconds: float, steps: int, device: str = "cuda") -> Tuple[float, float, float]:
    """Return the seconds per step, the peak memory in GiB, and the last loss per frame in bits."""
    samples = int(seconds * 16_000)
    step = _prepared(system, utterances, samples, device)
    for _ in range(min(WARM_UP, steps)):
        step()
    on_gpu = device == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(steps):
        loss = step()
    value = float(loss)  # waits for the device
    return (time.perf_counter() - started) / steps, torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0, value


def measured(system: str, utterances: int, seconds: float, steps: int) -> Optional[str]:
    """Measure a system in its own process; ``None`` if the batch does not fit into the GPU's memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        try:
            taken, memory, loss = pool.apply(run, (system, utterances, seconds, steps))
        except torch.cuda.OutOfMemoryError:
            return None
    speed = utterances * seconds / taken
    return f"{1e3 * taken:8.1f} ms per step   {speed:8.0f} × real time   peak {memory:5.1f} GiB   loss {loss:.3f}"


def largest(system: str, utterances: int, seconds: float, steps: int) -> str:
    """Double the batch until it does not fit, and describe the last that does."""
    found = "nothing fits"
    while True:
        figures = measured(system, utterances, seconds, steps)
        if figures is None:
            return found
        found, utterances = f"{utterances * seconds:7.0f} s  {figures}", 2 * utterances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=6, help="utterances per batch (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=14.6, help="length of each utterance in seconds (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="timed steps, after five that are not timed (default: %(default)s)")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="what to measure (default: all)")
    parser.add_argument("--largest", action="store_true", help="also double the batch until it does not fit into memory")
    a = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device, which this benchmark needs; to measure on a CPU, run 'python -m tests.benchmarks.pretraining step'")
    audio = a.utterances * a.seconds
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}: HuBERT Base, bfloat16, {a.utterances} × {a.seconds:g} s = {audio:g} s"
    )
    for system in a.systems:
        if system == "minimal" and importlib.util.find_spec("minimal_hubert") is None:
            print("  minimal    not installed (pip install minimal-hubert, Python 3.12)")
            continue
        figures = measured(system, a.utterances, a.seconds, a.steps)
        print(f"  {system:<9} {figures or 'does not fit into memory'}", flush=True)
        if a.largest and figures is not None:
            print(f"  {system:<9} largest batch: {largest(system, 2 * a.utterances, a.seconds, a.steps)}", flush=True)


if __name__ == "__main__":
    main()
