"""Which kernels convolve while a model trains on a CPU.

oneDNN, PyTorch's choice, compiles its kernels for the shape of the input, and no two batches of speech are of one length. Compiling
takes tens of milliseconds an update: nothing beside the convolutions of HuBERT Base, but more than those of a model that learns in
minutes. PyTorch's own kernels (im2col and a product) compile nothing.
"""

from __future__ import annotations

import contextlib
from typing import Callable, ContextManager, Iterator

import torch

# Channels from which on oneDNN's kernels make up for being compiled (forward and backward, batches of 10 s, two cores of an AMD EPYC).
WIDE = 256


def only_narrow_convolutions(model: torch.nn.Module) -> bool:
    """Whether a model convolves, and nowhere with ``WIDE`` channels or more."""
    widths = [module.out_channels for module in model.modules() if isinstance(module, torch.nn.Conv1d)]
    return bool(widths) and max(widths) < WIDE


@contextlib.contextmanager
def without_onednn() -> Iterator[None]:
    """Whatever runs inside, in any thread, is left to PyTorch's own kernels."""
    enabled = torch._C._get_mkldnn_enabled()
    torch.backends.mkldnn.set_flags(False)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(enabled)


def training_kernels(model: torch.nn.Module, *, bfloat16: bool) -> Callable[[], ContextManager[None]]:
    """The context in which a model's training steps run on a CPU.

    Args:
        bfloat16: whether it multiplies in bfloat16, which only oneDNN does at speed.
    """
    return without_onednn if only_narrow_convolutions(model) and not bfloat16 else contextlib.nullcontext
