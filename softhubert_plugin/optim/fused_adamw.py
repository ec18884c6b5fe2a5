"""The optimizer ``fused_adamw``: AdamW in one pass over the parameters, with PyTorch's own fused kernel.

fairseq's ``adam`` is AdamW too (Loshchilov and Hutter 2019, arXiv 1711.05101), but unless apex is installed it updates the parameters one
by one, with ten operations each. The two differ in eps: here it is added after the bias correction of the second moment, in fairseq before.
"""

# Do not postpone annotations here: omegaconf 2.0 inspects these types at run time.
import ast
import inspect
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Optional

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import II

from softhubert_plugin.errors import SoftHubertError, refuse_in_one_line


@dataclass
class FusedAdamWConfig(FairseqDataclass):
    """Settings of the optimizer ``fused_adamw`` (``optimizer.*``)."""

    adam_betas: Any = field(default=(0.9, 0.999), metadata={"help": "decay rates of the gradient's first and second moments"})
    adam_eps: float = field(default=1e-8, metadata={"help": "added to the square root of the second moment"})
    weight_decay: float = field(default=0.0, metadata={"help": "each update subtracts this share of a parameter, times the learning rate"})
    lr: List[float] = II("optimization.lr")  # noqa: RUF009 (a string that omegaconf resolves)


@register_optimizer("fused_adamw", dataclass=FusedAdamWConfig)
class FusedAdamW(FairseqOptimizer):
    """AdamW on float32 parameters; under ``common.fp16`` fairseq hands it a float32 copy."""

    def __init__(self, cfg: FusedAdamWConfig, params: Iterable[torch.nn.Parameter]) -> None:
        super().__init__(cfg)
        self._optimizer = _AdamW(params, fused=True, **self.optimizer_config)

    @property
    def optimizer_config(self) -> Dict[str, Any]:
        """Settings that override those of a checkpoint."""
        rate = self.cfg.lr if isinstance(self.cfg.lr, float) else self.cfg.lr[0]
        return {"lr": rate, "betas": _betas(self.cfg.adam_betas), "eps": self.cfg.adam_eps, "weight_decay": self.cfg.weight_decay}

    def multiply_grads(self, c: Any) -> None:
        """Multiply all gradients in one kernel; ``c`` is a number or a scalar tensor."""
        gradients = [parameter.grad for parameter in self.params if parameter.grad is not None]
        if gradients:
            torch._foreach_mul_(gradients, c.to(gradients[0].device) if isinstance(c, torch.Tensor) else float(c))

    def load_state_dict(self, state_dict: Dict[str, Any], optimizer_overrides: Optional[Dict[str, Any]] = None) -> None:
        """Resume from a saved state.

        The state may be one of fairseq's ``adam``, whose groups have no setting for fused kernels: under ``common.fp16`` fairseq does not
        tell the two optimizers apart.
        """
        groups = [{**self._optimizer.defaults, **group, "fused": True} for group in state_dict["param_groups"]]
        super().load_state_dict({**state_dict, "param_groups": groups}, optimizer_overrides)


class _AdamW(torch.optim.AdamW):
    """PyTorch's AdamW without the decorators that import PyTorch's compiler, which takes as long as importing PyTorch.

    The decorators keep an optimizer out of a compiled training loop. fairseq's loop is never compiled; only parts of the model are.
    """

    supports_flat_params = True
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)


def _betas(given: Any) -> Any:
    """Two numbers, from a list or from fairseq's ``"(0.9, 0.98)"``, which is parsed and never evaluated."""
    with refuse_in_one_line():
        try:
            betas = tuple(float(beta) for beta in (ast.literal_eval(given) if isinstance(given, str) else given))
        except (ValueError, SyntaxError, TypeError):
            betas = ()
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise SoftHubertError(f"optimizer.adam_betas={given}: expected two numbers from 0 to below 1, such as (0.9,0.98)")
        return betas
