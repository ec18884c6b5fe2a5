"""Let torch ≥ 2.6 load stock fairseq checkpoints without switching its safety off.

Such checkpoints hold fairseq's ``Dictionary`` objects (and, before hydra, ``argparse.Namespace``). Both are plain containers, so
they are added to what ``weights_only=True`` accepts. Nothing else is.
"""

from __future__ import annotations

import argparse

import torch


def accept_stock_checkpoints() -> None:
    """Register the two classes; does nothing on a torch that has no such list."""
    from fairseq.data.dictionary import Dictionary

    register = getattr(torch.serialization, "add_safe_globals", None)
    if register is not None:
        register([Dictionary, argparse.Namespace])
