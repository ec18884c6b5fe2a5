"""The training step of HuBERT Base beside that of every other implementation, in one run on whatever device there is.

    bash tests/peers.sh [pretrain] [finetune] [--rounds 5] [--seconds 15.6] [--device cpu] [--bf16]

A step is forward, backward, clipping and PyTorch's fused AdamW on two utterances of noise, in training mode, with dropout 0.1 (HuBERT's
recipe and the default of transformers) and no dropped layers. Pretraining (500 hard labels): stock fairseq, PyPI's minimal-hubert,
torchaudio's ``hubert_pretrain_base`` with the loss of its example, and ours. Fine-tuning (CTC, front end frozen): fairseq's
``hubert_ctc``, transformers' ``HubertForCTC``, and ours. Implementations take turns, each round in a new process. An implementation that
is not installed is left out. ``tests/peers.sh`` makes an environment that has them all.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Dict, Tuple

import torch
import torch.nn.functional as F

from tests.benchmarks import finetuning
from tests.benchmarks.finetuning import optimized
from tests.benchmarks.measure import Work, compare_all, in_turns, machine, measured
from tests.benchmarks.pretraining import CLUSTERS, THREADS, _quiet, _threads, draw_masks, moved, pretraining_step

FRAMES_PER_SECOND = 50
PRETRAINING = {"stock fairseq": "torch", "minimal-hubert": "minimal-hubert", "torchaudio": "torchaudio", "ours": "torch"}
FINETUNING = {"stock fairseq": "torch", "transformers": "transformers", "ours": "torch"}


def prepare_pretraining(name: str, seconds: float, device: str, bf16: bool) -> Work:
    """Prepare the pretraining step of one implementation."""
    _quiet()
    torch.manual_seed(0)
    samples = int(seconds * 16_000)
    if name in ("stock fairseq", "ours"):
        return _fairseq(name == "ours", samples, device, bf16)
    frames = (samples - 400) // 320 + 1
    source = torch.randn(2, samples, device=device)
    labels = torch.randint(CLUSTERS, (2, frames), device=device)
    return (_torchaudio if name == "torchaudio" else _minimal_hubert)(source, labels, bf16)


def _fairseq(ours: bool, samples: int, device: str, bf16: bool) -> Work:
    if ours and device == "cpu":
        from softhubert_plugin.allocation import keep_freed_memory

        keep_freed_memory()  # as the task does
    model, criterion, batch = pretraining_step(ours, samples)
    model, batch = model.to(device), moved(batch, device)

    def loss_of() -> torch.Tensor:
        loss, frames, _ = criterion(model, batch)
        mean: torch.Tensor = loss / frames
        return mean

    return optimized(model, loss_of, bf16=bf16)


def _torchaudio(source: torch.Tensor, labels: torch.Tensor, bf16: bool) -> Work:
    import torchaudio

    model = torchaudio.models.hubert_pretrain_base(encoder_layer_drop=0.0, num_classes=CLUSTERS).train().to(source.device)

    def loss_of() -> torch.Tensor:
        """The loss of torchaudio's example: masked frames, and ten times the mean square of the features for each of them."""
        masked, _, penalty = model(source, labels)
        loss = F.cross_entropy(masked.float(), masked.new_zeros(len(masked), dtype=torch.long), reduction="sum")
        mean: torch.Tensor = loss / len(masked) + 10 * penalty
        return mean

    return optimized(model, loss_of, bf16=bf16)


def _minimal_hubert(source: torch.Tensor, labels: torch.Tensor, bf16: bool) -> Work:
    from minimal_hubert.model import HuBERTPretrain

    model: Any = HuBERTPretrain(CLUSTERS).train().to(source.device)
    model.encoder.layer_drop = 0.0
    mask = torch.from_numpy(draw_masks(*labels.shape)).to(source.device)

    def loss_of() -> torch.Tensor:
        loss: torch.Tensor = model(source, labels, mask=mask, attention_mask=None)[0].sum() / mask.sum()
        return loss

    return optimized(model, loss_of, bf16=bf16)


def _installed(wanted: Dict[str, str]) -> Dict[str, str]:
    """Names of the implementations that are installed, with the version of the package that each comes from."""
    found = {}
    for name, package in wanted.items():
        try:
            found[name] = f"{name} {version(package)}" if package != "torch" else name
        except PackageNotFoundError:
            print(f"{name} is not installed, so it is left out; tests/peers.sh makes an environment with {package}")
    return found


def compare(title: str, names: Dict[str, str], prepare: Any, arguments: Tuple[Any, ...], rounds: int) -> None:
    """Measure the named implementations in turns and print all."""
    works = {shown: partial(measured, prepare, name, *arguments, rounds=1) for name, shown in names.items()}
    compare_all(f"{title}; {rounds} rounds, medians", in_turns(works, rounds), "ours")


def prepare_finetuning(name: str, seconds: float, device: str, bf16: bool) -> Work:
    """Prepare the fine-tuning step of one implementation."""
    return finetuning.prepare_step({"stock fairseq": "stock"}.get(name, name), seconds, "base", 0.1, device, bf16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["pretrain", "finetune"]
    parser.add_argument(
        "what", nargs="*", choices=[*names, []], metavar="{" + ",".join(names) + "}", help="which step to compare (default: both)"
    )
    parser.add_argument(
        "--seconds", type=float, default=15.6, help="length of each of the two utterances in seconds (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the median counts (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="number of threads (default: one per core)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--bf16", action="store_true", help="multiply in bfloat16, by autocast")
    a = parser.parse_args()
    os.environ[THREADS] = str(a.threads)
    where = torch.cuda.get_device_name() if a.device == "cuda" else machine()
    precision = "bfloat16 products" if a.bf16 else "float32"
    settings = f"HuBERT Base, 2 × {a.seconds:g} s, {precision}, {_threads()} threads, torch {torch.__version__}, {where}"
    arguments = (a.seconds, a.device, a.bf16)
    if "pretrain" in (a.what or names):
        compare(f"pretraining step, {settings}", _installed(PRETRAINING), prepare_pretraining, arguments, a.rounds)
    if "finetune" in (a.what or names):
        compare(f"fine-tuning step, {settings}", _installed(FINETUNING), prepare_finetuning, arguments, a.rounds)


if __name__ == "__main__":
    main()
