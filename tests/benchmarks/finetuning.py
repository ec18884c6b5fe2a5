"""The step of CTC fine-tuning: ours, fairseq's own ``hubert_ctc``, and transformers' ``HubertForCTC`` where it is installed.

    python -m tests.benchmarks.finetuning [step] [where] [--shape base|recipe] [--seconds 15.6] [--rounds 5]

A step is forward, CTC loss, backward, clipping and PyTorch's fused AdamW on two utterances of noise, in training mode, with masks of frames
and channels and a front end without gradient, as in ``config/finetune/base_100h.yaml``; layers are not dropped, so that every step runs
all. All take turns, each round in a new process. ``where`` shows with PyTorch's profiler which operations a step spends its time on.
On a busy machine, the processor seconds of one thread (``--threads 1``) are more reliable than elapsed seconds.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from importlib.util import find_spec
from typing import Any, Callable, Dict, Tuple

import numpy as np
import torch
import torch.nn.functional as F

from tests.benchmarks.finetuned import BASE, LETTERS, RECIPE
from tests.benchmarks.measure import Work, compare_all, in_turns, machine, measured
from tests.benchmarks.pretraining import KINDS, THREADS, _quiet, _threads

LETTERS_PER_SECOND = 15
MASKS: Dict[str, Any] = {"mask_prob": 0.65, "mask_length": 10, "mask_channel_prob": 0.5, "mask_channel_length": 64}
CONTENDERS = ("stock", "transformers", "ours")


def optimized(model: Any, loss_of: Callable[[], torch.Tensor], *, bf16: bool = False) -> Work:
    """A whole training step around a loss: clipping and AdamW in one kernel, as every contender would use it.

    Returns:
        The step. Its result has the loss, and on a GPU the peak memory in MiB.
    """
    device = next(model.parameters()).device.type
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-5, fused=True)

    def work() -> Dict[str, Any]:
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 10.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        found = {"loss": float(loss.detach())}  # waits for a GPU
        return {**found, "peak": torch.cuda.max_memory_allocated() / 2**20} if device == "cuda" else found

    return work


def hubert_ctc(ours: bool, shape: Dict[str, Any], dropout: float, **masks: Any) -> Any:
    """Build fairseq's ``hubert_ctc`` around its own HuBERT or ours, without a task."""
    from fairseq.models.hubert.hubert import HubertConfig, HubertModel
    from fairseq.models.hubert.hubert_asr import HubertCtc, HubertCtcConfig, HubertEncoder
    from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
    from omegaconf import OmegaConf

    from softhubert_plugin.models.soft_hubert import SoftHubertModel
    from softhubert_plugin.settings import SoftHubertConfig

    dropouts = {"dropout": dropout, "attention_dropout": dropout, "activation_dropout": 0.1, "dropout_input": 0.0}
    settings = {"label_rate": 50.0, "encoder_layerdrop": 0.0, "feature_grad_mult": 0.0, **shape, **dropouts, **masks}
    if ours:
        cfg = OmegaConf.merge(OmegaConf.structured(SoftHubertConfig()), settings)
        encoder: Any = SoftHubertModel(cfg, HubertPretrainingConfig(), None)
    else:
        cfg = OmegaConf.merge(OmegaConf.structured(HubertConfig()), settings)
        encoder = HubertModel(cfg, HubertPretrainingConfig(), [None])
    encoder.remove_pretraining_modules()
    # What HubertEncoder.__init__ sets, which would read the encoder from a checkpoint.
    around = HubertEncoder.__new__(HubertEncoder)
    torch.nn.Module.__init__(around)
    around.w2v_model, around.apply_mask = encoder, True
    around.final_dropout = torch.nn.Dropout(dropout)
    around.proj = torch.nn.Linear(cfg.encoder_embed_dim, 4 + len(LETTERS))
    around.freeze_finetune_updates, around.num_updates = 0, 1
    return HubertCtc(HubertCtcConfig(), around)


def for_ctc(shape: Dict[str, Any], dropout: float) -> Any:
    """Build transformers' ``HubertForCTC`` with the same shape, dropout and masks."""
    from transformers import HubertConfig, HubertForCTC

    from softhubert_plugin.front_end import parse_conv_feature_layers

    channels, kernels, strides = zip(*parse_conv_feature_layers(shape["conv_feature_layers"]))
    cfg = HubertConfig(
        vocab_size=4 + len(LETTERS),
        pad_token_id=0,
        hidden_size=shape["encoder_embed_dim"],
        num_hidden_layers=shape["encoder_layers"],
        num_attention_heads=shape["encoder_attention_heads"],
        intermediate_size=shape["encoder_ffn_embed_dim"],
        conv_dim=channels,
        conv_kernel=kernels,
        conv_stride=strides,
        num_conv_pos_embeddings=shape.get("conv_pos", 128),
        do_stable_layer_norm=shape.get("layer_norm_first", False),
        hidden_dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=0.1,
        feat_proj_dropout=0.0,
        final_dropout=dropout,
        layerdrop=0.0,
        mask_time_prob=MASKS["mask_prob"],
        mask_time_length=MASKS["mask_length"],
        mask_feature_prob=MASKS["mask_channel_prob"],
        mask_feature_length=MASKS["mask_channel_length"],
        ctc_loss_reduction="sum",
        ctc_zero_infinity=True,
    )
    model = HubertForCTC(cfg)
    model.freeze_feature_encoder()
    return model


def utterances(samples: int) -> Tuple[torch.Tensor, torch.Tensor]:
    """Two utterances of noise ``(2, samples)``, and their letters ``(2, letters)``."""
    rng = torch.Generator().manual_seed(0)
    letters = torch.randint(4, 4 + len(LETTERS), (2, samples * LETTERS_PER_SECOND // 16_000), generator=rng)
    return torch.randn(2, samples, generator=rng), letters


def prepare_step(name: str, seconds: float, shape: str = "base", dropout: float = 0.0, device: str = "cpu", bf16: bool = False) -> Work:
    """Prepare the step of a contender.

    Args:
        name: one of :data:`CONTENDERS`.
        shape: ``base``, or ``recipe`` for the quickstart's model.
        dropout: of hidden states and attention; 0 in the recipe of fairseq, 0.1 by default in transformers.
    """
    _quiet()
    torch.manual_seed(0)
    np.random.seed(0)
    settings = BASE if shape == "base" else RECIPE
    source, letters = (each.to(device) for each in utterances(int(seconds * 16_000)))
    if name == "transformers":
        peer = for_ctc(settings, dropout).train().to(device)
        return optimized(peer, lambda: peer(source, labels=letters).loss, bf16=bf16)
    if name == "ours" and device == "cpu":
        from softhubert_plugin.allocation import keep_freed_memory

        keep_freed_memory()  # as the task does
    model = hubert_ctc(name == "ours", settings, dropout, **MASKS).train().to(device)
    padding = torch.zeros(source.shape, dtype=torch.bool, device=device)

    def loss_of() -> torch.Tensor:
        found = model(source=source, padding_mask=padding)
        scores = model.get_normalized_probs(found, log_probs=True).contiguous()
        lengths = (~found["padding_mask"]).long().sum(-1)
        letters_of = torch.full((2,), letters.shape[1])
        return F.ctc_loss(scores, letters.flatten(), lengths, letters_of, reduction="sum", zero_infinity=True)

    return optimized(model, loss_of, bf16=bf16)


def contenders() -> Tuple[str, ...]:
    """The contenders that are installed."""
    return tuple(name for name in CONTENDERS if name != "transformers" or find_spec("transformers"))


def step(seconds: float, rounds: int, shape: str, dropout: float) -> None:
    """Compare the step of all contenders."""
    works = {name: partial(measured, prepare_step, name, seconds, shape, dropout, rounds=1) for name in contenders()}
    found = in_turns(works, rounds)
    title = (
        f"fine-tuning step, {shape}, 2 × {seconds:g} s, dropout {dropout:g}, {_threads()} threads, torch {torch.__version__}; {machine()}"
    )
    compare_all(f"{title}\n  medians of {rounds} rounds", found, "ours")


def prepare_profile(name: str, seconds: float, shape: str, dropout: float) -> Work:
    """Prepare a step under the profiler, which gives the seconds of each kind of operation and the costliest operations."""
    work = prepare_step(name, seconds, shape, dropout)

    def profiled() -> Dict[str, Any]:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
            work()
        taken = dict.fromkeys([*KINDS, "everything else"], 0.0)
        for operation in profile.key_averages():
            fitting = (kind for kind, names in KINDS.items() if any(each in operation.key for each in names))
            taken[next(fitting, "everything else")] += operation.self_cpu_time_total / 1e6
        return {"kinds": taken, "table": profile.key_averages(group_by_input_shape=True).table("self_cpu_time_total", row_limit=25)}

    return profiled


def where(seconds: float, shape: str, dropout: float) -> None:
    """Print which kinds of operation a step spends its time on, and our costliest operations."""
    found = {name: measured(prepare_profile, name, seconds, shape, dropout, rounds=1).result for name in contenders()}
    print(f"fine-tuning step, {shape}, 2 × {seconds:g} s, {_threads()} threads: seconds by kind of operation, under the profiler")
    for kind in found["ours"]["kinds"]:
        print(f"  {kind:<16}" + "".join(f"   {name} {one['kinds'][kind]:7.2f}" for name, one in found.items()))
    print(f"  {'total':<16}" + "".join(f"   {name} {sum(one['kinds'].values()):7.2f}" for name, one in found.items()))
    print(found["ours"]["table"], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["step", "where"]
    parser.add_argument(
        "what", nargs="*", choices=[*names, []], metavar="{" + ",".join(names) + "}", help="what to measure (default: step)"
    )
    parser.add_argument("--shape", choices=["base", "recipe"], default="base", help="HuBERT Base, or the quickstart's model")
    parser.add_argument(
        "--seconds", type=float, default=15.6, help="length of each of the two utterances in seconds (default: %(default)s)"
    )
    parser.add_argument(
        "--dropout", type=float, default=0.0, help="of hidden states and attention (default: %(default)s, as in the recipe)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the median counts (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="number of threads (default: one per core)")
    a = parser.parse_args()
    os.environ[THREADS] = str(a.threads)
    what = a.what or ["step"]
    if "step" in what:
        step(a.seconds, a.rounds, a.shape, a.dropout)
    if "where" in what:
        where(a.seconds, a.shape, a.dropout)


if __name__ == "__main__":
    main()
