"""Which kernels convolve while a model trains on a CPU.

oneDNN, PyTorch's choice, compiles its kernels for the shape of the input, and no two batches of speech are of one length. Compiling
takes tens of milliseconds an update: nothing beside the convolutions of HuBERT Base, but more than those of a model that learns in
minutes. PyTorch's own kernels (im2col and a product) compile nothing.
"""

from __future__ import annotations

import torch

# Channels from which on oneDNN's kernels make up for being compiled (forward and backward, batches of 10 s, two cores of an AMD EPYC).
WIDE = 256


def convolve_without_compiling(model: torch.nn.Module) -> bool:
    """If all convolutions of a model are narrow, take oneDNN away from this process.

    Returns:
        Whether it was.
    """
    widths = [module.out_channels for module in model.modules() if isinstance(module, torch.nn.Conv1d)]
    narrow = bool(widths) and max(widths) < WIDE
    if narrow:
        torch.backends.mkldnn.set_flags(False)
    return narrow
