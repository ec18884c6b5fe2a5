"""Which device a command computes on: a GPU if there is one, unless the user names another device."""

from __future__ import annotations

import contextlib
from typing import Iterator, Optional

import torch

from softhubert_plugin.errors import SoftHubertError


def usable_device(asked: Optional[str] = None) -> str:
    """Choose the device to compute on.

    Args:
        asked: ``cpu``, ``cuda``, ``cuda:1`` …; ``None`` means a GPU if there is one.

    Returns:
        The device's name.

    Raises:
        SoftHubertError: this machine has no such device.
    """
    if asked is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=asked)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA raises AssertionError
        raise SoftHubertError(f"--device {asked}: not usable ({str(error).splitlines()[0]}); try --device cpu") from None
    return asked


@contextlib.contextmanager
def exact_convolutions() -> Iterator[None]:
    """Convolve in float32 on a GPU, inside this context.

    By default cuDNN rounds float32 inputs to TF32, with ten bits of mantissa. That is good enough for training, but features and scores
    promise the same numbers for an utterance alone, in a batch, and on a CPU.
    """
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed
