"""Matrix products in float32 on a CPU, by whichever of PyTorch's two libraries is faster on this processor.

PyTorch multiplies with MKL, which does not use AVX-512 on processors of other makers than Intel. oneDNN, PyTorch's library of convolutions,
does, and takes half the time there. Both round alike: their results differ by the order of the sums. Small products stay with MKL.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F

# Linear layers with fewer inputs or outputs, and products with fewer multiplications, are small.
SHORTEST_SIDE = 64
FEWEST_MULTIPLICATIONS = 1 << 20


@lru_cache(maxsize=None)
def onednn_multiplies_faster() -> bool:
    """Whether this processor has AVX-512 and MKL does not use it."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and _maker() not in ("GenuineIntel", "")


def _maker() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            lines = (line.partition(":") for line in stream)
            return next((value.strip() for name, _, value in lines if name.strip() == "vendor_id"), "")
    except OSError:
        return ""


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Compute ``x weightᵀ + bias``, as PyTorch's ``linear`` does.

    Args:
        x: ``(…, D)``.
        weight: ``(E, D)``.
        bias: ``(E,)``.

    Returns:
        ``(…, E)``.
    """
    if min(weight.shape) < SHORTEST_SIDE or not by_onednn(x, weight):
        return F.linear(x, weight, bias)
    linear_of: torch.Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return linear_of


def by_onednn(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether oneDNN is faster at a large product of these two."""
    if b.device.type != "cpu" or a.dtype != torch.float32 or b.dtype != torch.float32:
        return False
    return onednn_multiplies_faster() and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Compute ``a b`` without gradients: ``a (n, D)``, ``b (D, m)``, result ``(n, m)``."""
    if a.shape[0] * a.shape[1] * b.shape[1] < FEWEST_MULTIPLICATIONS or not by_onednn(a, b):
        return a @ b
    return _onednn(a, b.T)


def _onednn(x: torch.Tensor, weight: torch.Tensor, bias: Optional[torch.Tensor] = None) -> torch.Tensor:
    """PyTorch's ``linear`` by oneDNN; what PyTorch's compiler replaces it by on a CPU."""
    if not (weight.is_contiguous() or weight.T.is_contiguous()):
        weight = weight.contiguous()  # for rows that lie apart, such as those of a head, oneDNN has only a slow kernel
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def affine(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Compute what :func:`linear` computes, without gradients."""
    return _onednn(x, weight, bias) if min(weight.shape) >= SHORTEST_SIDE and by_onednn(x, weight) else F.linear(x, weight, bias)


def affine_gradients(
    gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, wanted: Sequence[bool]
) -> Tuple[Optional[torch.Tensor], Optional[torch.Tensor], Optional[torch.Tensor]]:
    """Gradients of ``x weightᵀ + bias`` with respect to ``x``, ``weight`` and ``bias``, from that of the result; ``None`` if not wanted."""
    rows, inputs = gradient.reshape(-1, gradient.shape[-1]), x.reshape(-1, x.shape[-1])
    return (
        product(rows, weight).view(x.shape) if wanted[0] else None,
        product(rows.T, inputs) if wanted[1] else None,
        rows.sum(0) if wanted[2] else None,
    )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Tuple[Optional[torch.Tensor], ...]:
        x, weight = ctx.saved_tensors
        return affine_gradients(gradient, x, weight, ctx.needs_input_grad)
