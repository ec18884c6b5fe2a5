"""Let fairseq load stock checkpoints with torch's safety on: without switching it off where it is the default (torch ≥ 2.6), and
switched on where it is not.

Such checkpoints hold fairseq's ``Dictionary`` objects (and, before hydra, ``argparse.Namespace``). Both are plain containers, so
they are added to what ``weights_only=True`` accepts. Nothing else is.
"""

from __future__ import annotations

import argparse
import os

import torch


def accept_stock_checkpoints() -> None:
    """Register the two classes, and have every ``torch.load`` of this process refuse what is not plain data."""
    from fairseq.data.dictionary import Dictionary

    torch.serialization.add_safe_globals([Dictionary, argparse.Namespace])
    if torch.__version__ < "2.6":  # a TorchVersion, which compares by number
        os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
