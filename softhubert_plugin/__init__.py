"""SoftHuBERT: HuBERT pretraining on uncertain targets, as a fairseq ``--user-dir`` plugin.

Importing this package is cheap: it imports neither fairseq nor torch. fairseq imports ``tasks/`` and ``models/`` when this folder is its
user directory; ``tasks/`` imports the criteria and the dataset. :func:`load` opens a checkpoint for inference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softhubert_plugin.version import __version__

if TYPE_CHECKING:
    from softhubert_plugin.api import SpeechEncoder

__all__ = ["__version__", "load"]


def load(path: Any, **options: Any) -> SpeechEncoder:
    """Open a checkpoint for features and soft units; see :func:`softhubert_plugin.api.load` for the options."""
    from softhubert_plugin import api

    return api.load(path, **options)
