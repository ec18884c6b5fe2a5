"""Which convolution kernels a model uses while it trains on a CPU.

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
