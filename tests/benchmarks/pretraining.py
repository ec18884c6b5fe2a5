"""The pretraining step, compared with fairseq's HuBERT: the codeword head, the whole step of HuBERT Base, its parts, and frozen layers.

    python -m tests.benchmarks.pretraining [head] [step] [freeze] [attention] [optimizer] [where] [--seconds 15.6] [--rounds 2]

A step is forward and backward of two utterances of noise with 500 hard labels, in training mode with dropout: the same work for both.
``where`` shows with PyTorch's profiler which operations one step spends its time on. On a busy machine, processor seconds of one thread
are more reliable than elapsed seconds.
"""

from __future__ import annotations

import argparse
import os
from typing import Any, Dict, Set, Tuple

import numpy as np
import torch
import torch.nn.functional as F

from softhubert_plugin.allocation import keep_freed_memory
from tests.benchmarks.measure import Work, compare, measured

FRAMES, CODEWORDS, DIMENSION, CLUSTERS = 2_500, 504, 256, 500
THREADS = "SOFTHUBERT_BENCHMARK_THREADS"
KINDS = {
    "matrix products": ("aten::mm", "aten::bmm", "aten::addmm"),
    "convolutions": ("aten::mkldnn_convolution", "aten::convolution_backward"),
    "random numbers": ("aten::bernoulli_", "aten::random_", "aten::ge"),
    "softmax": ("softmax", "logsumexp", "aten::exp_", "aten::amax", "aten::isneginf", "aten::where", "aten::masked_fill"),
    "GELU": ("aten::gelu",),
    "norms": ("norm",),
    "elementwise": ("aten::mul", "aten::add", "aten::div", "aten::sub", "aten::neg", "aten::eq", "aten::all"),
    "copies": ("aten::copy_", "aten::cat", "aten::fill_"),
}


def prepare_head(ours: bool) -> Work:
    """Prepare scores, loss and gradients of one batch of frames."""
    _quiet()
    from fairseq.models.hubert.hubert import HubertModel

    from softhubert_plugin.criterions.soft_hubert import kl_divergence
    from softhubert_plugin.models.codewords import codeword_logits

    torch.manual_seed(0)
    frames = torch.randn(FRAMES, DIMENSION, requires_grad=True)
    codewords = torch.rand(CODEWORDS, DIMENSION, requires_grad=True)
    labels = torch.randint(CODEWORDS, (FRAMES,))

    class Head:
        logit_temp = 0.1

    def work() -> Dict[str, Any]:
        frames.grad = codewords.grad = None
        if ours:
            loss = kl_divergence(codeword_logits(frames, codewords, 0.1), labels[:, None], torch.ones(FRAMES, 1))[0].sum()
        else:
            negatives = codewords.unsqueeze(1).expand(-1, FRAMES, -1)
            logits = HubertModel.compute_nce(Head(), frames, codewords.index_select(0, labels), negatives)
            loss = F.cross_entropy(logits, torch.zeros(FRAMES, dtype=torch.long), reduction="sum")
        loss.backward()
        return {"loss": loss.item(), "frames": frames.grad.numpy().copy(), "codewords": codewords.grad.numpy().copy()}

    return work


def pretraining_step(
    ours: bool, samples: int, *, utterances: int = 2, frozen_layers: int = 0, bf16: bool = False
) -> Tuple[Any, Any, Dict[str, Any]]:
    """Build HuBERT Base as its recipe trains it, fairseq's or ours: the model in training mode, its criterion and a batch of noise."""
    from fairseq.criterions.hubert_criterion import HubertCriterion
    from fairseq.data import Dictionary
    from fairseq.models.hubert.hubert import HubertConfig, HubertModel
    from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
    from omegaconf import OmegaConf

    from softhubert_plugin.criterions.soft_hubert import SoftHubertCriterion
    from softhubert_plugin.models.freezing import Freezing
    from softhubert_plugin.models.soft_hubert import SoftHubertModel
    from softhubert_plugin.settings import SoftHubertConfig

    recipe: Dict[str, Any] = {
        "label_rate": 50.0,
        "mask_prob": 0.8,
        "final_dim": 256,
        "encoder_layerdrop": 0.0,  # 0.05 in the recipe; here every step must run all layers
        "dropout_input": 0.1,
        "dropout_features": 0.1,
        "feature_grad_mult": 0.1,
        "untie_final_proj": True,
    }
    if ours:
        recipe.update(autocast_bf16=bf16)
    kind = SoftHubertConfig if ours else HubertConfig
    cfg = OmegaConf.merge(OmegaConf.structured(kind()), recipe)
    torch.manual_seed(0)
    np.random.seed(0)
    if ours:
        model: Any = SoftHubertModel(cfg, HubertPretrainingConfig(), [CLUSTERS])
        if frozen_layers:
            model.freeze(Freezing(feature_extractor=True, layers=frozen_layers))
    else:
        dictionary = Dictionary()
        for cluster in range(CLUSTERS):
            dictionary.add_symbol(str(cluster))
        model = HubertModel(cfg, HubertPretrainingConfig(), [dictionary])
    model.train()
    criterion: Any = SoftHubertCriterion(None, 1.0, 0.0, [10.0]) if ours else HubertCriterion(None, 1.0, 0.0, [10.0])
    return model, criterion, noise_batch(ours, utterances, samples)


def prepare_step(ours: bool, seconds: float, frozen_layers: int = 0, memory: bool = False, bf16: bool = False) -> Work:
    """Prepare one step of HuBERT Base. With ``memory``, prepare only its forward pass, to measure what it keeps."""
    _quiet()
    if ours:
        keep_freed_memory()  # as the task does
    model, criterion, batch = pretraining_step(ours, int(seconds * 16_000), frozen_layers=frozen_layers, bf16=bf16)

    def work() -> Dict[str, Any]:
        model.zero_grad()
        loss, sample_size, _ = criterion(model, batch)
        loss.backward()
        return {"frames": sample_size, "loss": loss.item() / sample_size}

    def saved() -> Dict[str, Any]:
        return {"saved": _saved_by(lambda: criterion(model, batch))}

    return saved if memory else work


def noise_batch(ours: bool, utterances: int, samples: int) -> Dict[str, Any]:
    """Make a batch of noise with hard labels, as fairseq's dataset makes it or as ours does."""
    from softhubert_plugin.data.selection import select_targets
    from softhubert_plugin.labels.targets import FrameTargets

    source = torch.randn(utterances, samples)
    frames = (samples - 400) // 320 + 1
    ids = np.random.default_rng(0).integers(0, CLUSTERS, (utterances, frames))
    numbers = torch.arange(utterances)
    if not ours:
        padding = torch.zeros(utterances, samples, dtype=torch.bool)
        return {"id": numbers, "net_input": {"source": source, "padding_mask": padding}, "target_list": [torch.from_numpy(ids) + 4]}
    masks = draw_masks(utterances, frames)
    ones = np.ones(frames, dtype=np.int64)
    targets = [FrameTargets(ones, row, ones.astype(np.float32)) for row in ids]
    return {
        "id": numbers,
        "net_input": {"source": source, "padding_mask": None, "mask_indices": torch.from_numpy(masks)},
        "target_list": [{"masked": select_targets(targets, masks), "unmasked": select_targets(targets, ~masks)}],
    }


def moved(value: Any, device: str) -> Any:
    """Move a batch to another device, with its lists and dictionaries of tensors."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: moved(part, device) for key, part in value.items()}
    return [moved(part, device) for part in value] if isinstance(value, list) else value


def draw_masks(utterances: int, frames: int) -> np.ndarray:
    """Draw masks ``(utterances, frames)``, bool, as the recipe does."""
    from softhubert_plugin.data.masking import SpanMasking

    return SpanMasking().frames([frames] * utterances, frames, [(1, 1, number) for number in range(utterances)])


def _saved_by(forward: Any) -> float:
    """Return the MiB that a forward pass keeps for its backward pass, without parameters."""
    storages: Set[Tuple[int, int]] = set()

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_leaf or not tensor.requires_grad:
            storages.add((tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()))
        return tensor

    kept = []
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept.append(forward())
    return sum(size for _, size in storages) / 2**20


def _quiet() -> None:
    from softhubert_plugin.checkpoints.load import register_plugin

    register_plugin()
    torch.set_num_threads(_threads())


def _threads() -> int:
    return int(os.environ.get(THREADS) or os.cpu_count() or 1)


def head() -> None:
    """Compare the codeword head."""
    stock, ours = measured(prepare_head, False, rounds=1), measured(prepare_head, True, rounds=5)
    compare(f"head, {FRAMES} frames × {CODEWORDS} codewords × {DIMENSION}, forward and backward", stock, ours, digits=4)
    print(f"  loss   {stock.result['loss']!r} and {ours.result['loss']!r}")
    for name in ("frames", "codewords"):
        one, other = stock.result[name], ours.result[name]
        print(f"  gradient of {name}: largest difference {np.abs(one - other).max():.2e}, largest entry {np.abs(one).max():.2e}")


def step(seconds: float, rounds: int) -> None:
    """Compare the whole step, in float32 and in bfloat16."""
    stock, ours = (measured(prepare_step, which, seconds, rounds=rounds) for which in (False, True))
    compare(f"HuBERT Base step, 2 × {seconds:g} s, {_threads()} threads", stock, ours)
    half = measured(prepare_step, True, seconds, 0, False, True, rounds=rounds)
    print(f"  ours with model.autocast_bf16=true: {half.seconds:.2f} s, {stock.seconds / half.seconds:.2f} ×, peak {half.peak:.0f} MiB")
    print(
        f"  loss per frame {ours.result['loss']:.5f} in float32, {half.result['loss']:.5f} in bfloat16 (dropout differs from step to step)"
    )
    print(f"  masked frames {stock.result['frames']} and {ours.result['frames']}")


def prepare_profile(ours: bool, seconds: float) -> Work:
    """Prepare one step under the profiler, which gives the seconds of each kind of operation."""
    work = prepare_step(ours, seconds)

    def profiled() -> Dict[str, Any]:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            work()
        taken = dict.fromkeys([*KINDS, "everything else"], 0.0)
        for operation in profile.key_averages():
            fitting = (kind for kind, names in KINDS.items() if any(name in operation.key for name in names))
            taken[next(fitting, "everything else")] += operation.self_cpu_time_total / 1e6
        return taken

    return profiled


def where(seconds: float) -> None:
    """Print which kinds of operation one step spends its time on."""
    stock, ours = (measured(prepare_profile, which, seconds, rounds=1).result for which in (False, True))
    print(f"HuBERT Base step, 2 × {seconds:g} s, {_threads()} threads: seconds by kind of operation, under the profiler")
    for kind in stock:
        print(f"  {kind:<16} stock {stock[kind]:7.2f}   ours {ours[kind]:7.2f}")
    print(f"  {'total':<16} stock {sum(stock.values()):7.2f}   ours {sum(ours.values()):7.2f}", flush=True)


def prepare_attention(ours: bool, seconds: float) -> Work:
    """Prepare the attention with dropout of one layer of HuBERT Base, forward and backward: PyTorch's, or ours for a CPU."""
    _quiet()
    from softhubert_plugin.models.attention import attend

    torch.manual_seed(0)
    shape = (2, 12, int(seconds * 50), 64)
    q, k, v = (torch.randn(shape, requires_grad=True) for _ in range(3))
    direction = torch.randn(shape)

    def work() -> Dict[str, Any]:
        q.grad = k.grad = v.grad = None
        out = attend(q, k, v, None, 0.1) if ours else F.scaled_dot_product_attention(q, k, v, dropout_p=0.1)
        out.backward(direction)
        return {"mean": float(out.mean())}

    return work


def attention(seconds: float, rounds: int) -> None:
    """Compare the attention of one layer."""
    stock, ours = (measured(prepare_attention, which, seconds, rounds=2 * rounds) for which in (False, True))
    compare(f"attention of one layer with dropout, 2 × {seconds:g} s, PyTorch's and ours, {_threads()} threads", stock, ours, digits=3)


def prepare_optimizer(ours: bool) -> Work:
    """Prepare one update of about the number of parameters of HuBERT Base."""
    _quiet()
    from fairseq.optim import build_optimizer
    from fairseq.optim.adam import FairseqAdamConfig
    from omegaconf import OmegaConf

    from softhubert_plugin.optim.fused_adamw import FusedAdamWConfig

    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in [(768, 768), (3072, 768), (768,)] * 32]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    settings = {"_name": "fused_adamw" if ours else "adam", "lr": [5e-4], "weight_decay": 0.01, **({} if ours else {"tpu": False})}
    optimizer = build_optimizer(
        OmegaConf.merge(OmegaConf.structured(FusedAdamWConfig if ours else FairseqAdamConfig), settings), parameters
    )

    def work() -> Dict[str, Any]:
        optimizer.step()
        return {"parameters": sum(parameter.numel() for parameter in parameters)}

    return work


def optimizer(rounds: int) -> None:
    """Compare one update of the optimizers."""
    stock, ours = (measured(prepare_optimizer, which, rounds=3 * rounds) for which in (False, True))
    title = f"update of {ours.result['parameters'] / 1e6:.0f} M parameters, fairseq's adam and optimizer._name=fused_adamw"
    compare(title, stock, ours, digits=3)


def freeze(seconds: float, rounds: int) -> None:
    """Compare our step with and without frozen layers."""
    print(f"HuBERT Base step, 2 × {seconds:g} s, unfrozen and with the front end and 6 of 12 layers frozen")
    whole, frozen = (measured(prepare_step, True, seconds, layers, rounds=rounds) for layers in (0, 6))
    kept = [measured(prepare_step, True, seconds, layers, True, rounds=1).result["saved"] for layers in (0, 6)]
    for name, one, saved in (("unfrozen", whole, kept[0]), ("frozen", frozen, kept[1])):
        print(f"  {name:<9} {one.seconds:8.2f} s   peak {one.peak:6.0f} MiB   kept for the backward pass {saved:6.0f} MiB")
    less = [100 * (1 - other / one) for one, other in ((whole.seconds, frozen.seconds), (whole.peak, frozen.peak), (kept[0], kept[1]))]
    print(f"  less      {less[0]:8.1f} %        {less[1]:6.1f} %                              {less[2]:6.1f} %", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everything = ["head", "step", "freeze", "attention", "optimizer"]
    parser.add_argument(
        "what",
        nargs="*",
        choices=[*everything, "where", []],
        metavar="{" + ",".join([*everything, "where"]) + "}",
        help="what to measure (default: all except where)",
    )
    parser.add_argument(
        "--seconds", type=float, default=15.6, help="length of each of the two utterances in seconds (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=2, help="timed steps, after one that is not timed (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="number of threads (default: one per core)")
    a = parser.parse_args()
    os.environ[THREADS] = str(a.threads)
    what = a.what or everything
    if "head" in what:
        head()
    if "step" in what:
        step(a.seconds, a.rounds)
    if "freeze" in what:
        freeze(a.seconds, a.rounds)
    if "attention" in what:
        attention(a.seconds, a.rounds)
    if "optimizer" in what:
        optimizer(a.rounds)
    if "where" in what:
        where(a.seconds)


if __name__ == "__main__":
    main()
