"""Makes fairseq clip gradients where they are, in three kernels however many parameters there are.

fairseq computes one norm per parameter and moves it to ``torch.cuda.current_device()`` if there is a GPU in the machine, even when the
model trains on the CPU (``common.cpu=true``). Multiplying the gradients by the result then fails. Here norms and products are PyTorch's
``_foreach`` functions, which give the same numbers.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import torch


def clip_gradients_where_they_are() -> None:
    """Replace ``fairseq.utils.clip_grad_norm_``, through which every optimizer of fairseq clips."""
    from fairseq import utils

    utils.clip_grad_norm_ = clip_grad_norm_


@torch.no_grad()
def clip_grad_norm_(
    params: Any, max_norm: float, aggregate_norm_fn: Optional[Callable[[torch.Tensor], torch.Tensor]] = None
) -> torch.Tensor:
    """Scale gradients so that their norm is at most ``max_norm``.

    Args:
        params: parameters; those without a gradient are left out. Parameters marked ``expert`` are scaled but not counted, as in fairseq.
        max_norm: 0 only measures.
        aggregate_norm_fn: combines the norms of several processes.

    Returns:
        The norm before scaling, a float32 scalar on the gradients' device.
    """
    params = [params] if isinstance(params, torch.Tensor) else [parameter for parameter in params if parameter is not None]
    with_gradient = [parameter for parameter in params if getattr(parameter, "grad", None) is not None]
    counted = [parameter.grad.detach() for parameter in with_gradient if not hasattr(parameter, "expert")]
    scaled = [parameter.grad.detach() for parameter in with_gradient]
    if not counted:
        return params[0].new_tensor(0.0) if params else torch.tensor(0.0)
    norms = torch._foreach_norm(counted, 2, dtype=torch.float32)
    total = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    if aggregate_norm_fn is not None:
        total = aggregate_norm_fn(total)
    if max_norm > 0:
        torch._foreach_mul_(scaled, torch.div(torch.tensor(float(max_norm)), total + 1e-6).clamp_(max=1))
    return total
