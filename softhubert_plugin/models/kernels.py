"""Which convolution kernels a model uses while it trains on a CPU: the faster ones that are right.

oneDNN, PyTorch's default, compiles its kernels for the shape of the input, and batches of speech differ in length. Compiling takes tens of
milliseconds per update. That is little next to the convolutions of HuBERT Base, but more than the convolutions of a model that trains in
minutes. PyTorch's own kernels (im2col and a matrix product) compile nothing.
"""

from __future__ import annotations

import contextlib
from typing import Callable, ContextManager, Iterator

import torch

# From this number of channels on, oneDNN is faster in spite of compiling (forward and backward, batches of 10 s, two cores of an AMD EPYC).
WIDE = 256
# With an even number of channels below this in each group, oneDNN's bfloat16 convolution is wrong, by more than the size of the values, on
# processors with matrix tiles (AMX; seen with PyTorch 2.11 on an Intel Xeon).
FEWEST_IN_A_GROUP = 16


def only_narrow_convolutions(model: torch.nn.Module) -> bool:
    """Whether a model has convolutions, all of them with fewer than ``WIDE`` output channels."""
    widths = [module.out_channels for module in model.modules() if isinstance(module, torch.nn.Conv1d)]
    return bool(widths) and max(widths) < WIDE


@contextlib.contextmanager
def without_onednn() -> Iterator[None]:
    """Use PyTorch's own kernels for convolutions inside this context, in any thread; :mod:`.products` compiles nothing per length."""
    enabled = torch._C._get_mkldnn_enabled()
    torch.backends.mkldnn.set_flags(False)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(enabled)


def training_kernels(model: torch.nn.Module, *, bfloat16: bool) -> Callable[[], ContextManager[None]]:
    """Choose the context in which a model's training steps run on a CPU.

    Args:
        model: the model to train.
        bfloat16: whether the model multiplies in bfloat16, which only oneDNN does fast.

    Returns:
        A function that makes the context.
    """
    return without_onednn if only_narrow_convolutions(model) and not bfloat16 else contextlib.nullcontext


def right_kernels(module: torch.nn.Module, x: torch.Tensor) -> ContextManager[None]:
    """The context in which the convolutions of a module are right, on a CPU in bfloat16 too.

    Args:
        module: the module that is about to be called.
        x: its input.
    """
    if torch.compiler.is_compiling() or not (x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")):
        return contextlib.nullcontext()
    convolutions = (each for each in module.modules() if isinstance(each, torch.nn.Conv1d))
    wrong = any(each.in_channels // each.groups < FEWEST_IN_A_GROUP for each in convolutions)
    return without_onednn() if wrong else contextlib.nullcontext()
