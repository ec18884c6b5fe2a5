"""Training HuBERT Base on a GPU in bfloat16: speed of fairseq's ``hubert``, of ``soft_hubert`` and of PyPI's ``minimal-hubert``.

    python -m tests.benchmarks.gpu [--utterances 6] [--seconds 14.6] [--steps 20] [--systems stock ours compiled minimal]

A step is forward, backward, clipping and update, on utterances of noise with 500 hard labels, in training mode with dropout. Each system
runs in its own process. Speed is in seconds of audio per second. Six utterances of 14.6 s are the recipe's 87.5 s per GPU; more
``--utterances`` show the effect of a larger batch. ``compiled`` is ``soft_hubert`` with ``model.compile``. ``minimal`` is left out if
minimal-hubert (Python 3.12) is not installed. Layer drop is off, because it makes all systems faster alike.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import sys
import time
from typing import Any, Callable, Dict, Tuple

import torch

from tests.benchmarks.pretraining import CLUSTERS, draw_masks, moved, pretraining_step

SYSTEMS = ("stock", "ours", "compiled", "minimal")
ADAM: Dict[str, Any] = {"lr": 5e-4, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}
WARM_UP = 5


def stock_step(utterances: int, samples: int, device: str) -> Callable[[], Any]:
    """Prepare a step of fairseq's model with ``common.bf16=true``: bfloat16 parameters, and fairseq's adam on a float32 copy."""
    from fairseq.dataclass.configs import FairseqConfig
    from fairseq.optim.adam import FairseqAdamConfig
    from fairseq.optim.fp16_optimizer import FP16Optimizer
    from omegaconf import OmegaConf

    model, criterion, batch = pretraining_step(False, samples, utterances=utterances)
    model.to(device, torch.bfloat16)
    batch = moved(batch, device)
    batch["net_input"]["source"] = batch["net_input"]["source"].bfloat16()
    cfg = OmegaConf.structured(FairseqConfig)
    cfg.common.bf16 = True
    adam = {"_name": "adam", "lr": [ADAM["lr"]], "adam_betas": list(ADAM["betas"]), "adam_eps": ADAM["eps"], "tpu": False}
    cfg.optimizer = OmegaConf.merge(OmegaConf.structured(FairseqAdamConfig), adam, {"weight_decay": ADAM["weight_decay"]})
    optimizer = FP16Optimizer.build_optimizer(cfg, list(model.parameters()))

    def step() -> Any:
        optimizer.zero_grad()
        loss, frames, _ = criterion(model, batch)
        optimizer.backward(loss / frames)
        optimizer.clip_grad_norm(10.0)
        optimizer.step()
        return (loss / frames).detach()

    return step


def our_step(utterances: int, samples: int, device: str, compiled: bool) -> Callable[[], Any]:
    """Prepare a step of our model with ``model.autocast_bf16`` and the kernel of ``fused_adamw``."""
    model, criterion, batch = pretraining_step(True, samples, utterances=utterances, bf16=True, compiled=compiled)
    model.to(device)
    batch = moved(batch, device)

    def loss() -> Any:
        total, frames, _ = criterion(model, batch)
        return total / frames

    return _trained(model, torch.optim.AdamW(model.parameters(), fused=True, **ADAM), loss)


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

    def loss() -> Any:
        with torch.autocast(device, torch.bfloat16):
            each, _ = model(source, labels, mask=mask, attention_mask=None)
        return each.sum() / masked

    return _trained(model, optimizer, loss)


def _prepared(system: str, utterances: int, samples: int, device: str) -> Callable[[], Any]:
    if system == "minimal":
        return minimal_step(utterances, samples, device)
    from softhubert_plugin.checkpoints.load import register_plugin

    register_plugin()
    if system == "stock":
        return stock_step(utterances, samples, device)
    return our_step(utterances, samples, device, compiled=system == "compiled")


def _trained(model: Any, optimizer: Any, loss: Callable[[], Any]) -> Callable[[], Any]:
    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        return value.detach()

    return step


def run(system: str, utterances: int, seconds: float, steps: int, device: str = "cuda") -> Tuple[float, float, float]:
    """Return the seconds per step, the peak memory in GiB, and the last loss per frame in nats."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=6, help="utterances per batch (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=14.6, help="length of each utterance in seconds (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="timed steps, after five that are not timed (default: %(default)s)")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="what to measure (default: all)")
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
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            taken, memory, loss = pool.apply(run, (system, a.utterances, a.seconds, a.steps))
        figures = f"{1e3 * taken:8.1f} ms per step   {audio / taken:8.0f} × real time   peak {memory:5.1f} GiB"
        print(f"  {system:<9} {figures}   loss {loss:.3f}", flush=True)


if __name__ == "__main__":
    main()
