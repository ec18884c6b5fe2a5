"""Where and in which precision the trainer trains, and whether the model's own precision goes with that."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf.errors import OmegaConfBaseException

from softhubert_plugin.errors import SoftHubertError


def asked_of_trainer(cfg: Any, name: str) -> bool:
    """Whether the trainer's switch ``cpu``, ``fp16`` or ``bf16`` is on; ``False`` for a task that is built without a trainer's settings."""
    try:
        return bool(getattr(cfg, name))
    except OmegaConfBaseException:
        return False


def check_precision(cfg: Any, model_cfg: Any) -> None:
    """Refuse precisions that would end in an error of PyTorch's: two at once, and ``common.fp16``, which works on GPUs only, on a CPU.

    Args:
        cfg: the task's settings.
        model_cfg: the model's settings.

    Raises:
        SoftHubertError: such a one is on; the message gives the overrides.
    """
    half = [name for name in ("fp16", "bf16") if asked_of_trainer(cfg, name)]
    if half and getattr(model_cfg, "autocast_bf16", False):
        raise SoftHubertError(
            f"model.autocast_bf16=true multiplies float32 weights in bfloat16, but common.{half[0]}=true makes the "
            "weights half precision; set model.autocast_bf16=true common.fp16=false common.bf16=false, or model.autocast_bf16=false"
        )
    if asked_of_trainer(cfg, "fp16") and (asked_of_trainer(cfg, "cpu") or not torch.cuda.is_available()):
        why = "common.cpu=true trains on the CPU" if asked_of_trainer(cfg, "cpu") else "PyTorch finds none here"
        raise SoftHubertError(f"common.fp16=true needs a GPU, but {why}; set common.fp16=false, perhaps with model.autocast_bf16=true")
