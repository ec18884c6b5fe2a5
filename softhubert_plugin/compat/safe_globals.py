"""Lets fairseq load stock checkpoints with torch's safe loading on.

Safe loading is the default since torch 2.6 and stays on there; with older versions it is switched on. Stock checkpoints hold fairseq's
``Dictionary`` objects (and, before hydra, ``argparse.Namespace``). Both are plain containers, so they are added to what
``weights_only=True`` accepts. Nothing else is added.
"""

from __future__ import annotations

import argparse
import os

import torch

# The modules of the two classes.
STOCK_MODULES = {"fairseq.data.dictionary", "argparse"}


def accept_stock_checkpoints() -> None:
    """Register the two classes, and make every ``torch.load`` of this process refuse anything but plain data."""
    from fairseq.data.dictionary import Dictionary

    torch.serialization.add_safe_globals([Dictionary, argparse.Namespace])
    if torch.__version__ < "2.6":  # a TorchVersion: it compares by number, not as text
        os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
