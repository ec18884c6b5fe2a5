"""Two faults of fairseq's optimizers for mixed precision.

With ``common.amp``, fairseq's optimizer unscales the gradients of one object and steps another, so that PyTorch's scaler unscales them a
second time: a gradient of 3 arrives as 0.02. And an optimizer that cannot work on half-precision parameters is refused with a traceback.
"""

from __future__ import annotations

import functools
from typing import Any

from softhubert_plugin.errors import SoftHubertError, refuse_in_one_line


def unscale_gradients_once() -> None:
    """Make ``AMPOptimizer`` step the optimizer whose gradients it has unscaled."""
    from fairseq.optim import AMPOptimizer

    def step(self: Any, *_: Any, **__: Any) -> None:
        self.scaler.step(self.optimizer)
        self.scaler.update()

    AMPOptimizer.step = step


def refuse_optimizers_in_one_line() -> None:
    """Make ``MemoryEfficientFP16Optimizer`` name what works when it refuses an optimizer (status 2)."""
    from fairseq.optim import MemoryEfficientFP16Optimizer

    init = MemoryEfficientFP16Optimizer.__init__
    if getattr(init, "refuses_in_one_line", False):
        return

    @functools.wraps(init)
    def refusing(self: Any, cfg: Any, params: Any, optimizer: Any, allow_unsupported: bool = False, **options: Any) -> None:
        if not (allow_unsupported or optimizer.supports_memory_efficient_fp16):
            with refuse_in_one_line():
                raise SoftHubertError(
                    f"common.memory_efficient_fp16 and memory_efficient_bf16 do not work with optimizer._name={cfg.optimizer._name}; "
                    "set optimizer._name=adam, or turn them off, or train with common.fp16=false common.bf16=false model.autocast_bf16=true"
                )
        init(self, cfg, params, optimizer, allow_unsupported=allow_unsupported, **options)

    refusing.refuses_in_one_line = True  # type: ignore[attr-defined]
    MemoryEfficientFP16Optimizer.__init__ = refusing
