"""Which device a command computes on: a GPU if there is one, unless the user names another device."""

from __future__ import annotations

from typing import Optional

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
