"""Checks the settings that fairseq's training uses before it makes a task, which checks all others."""

from __future__ import annotations

import functools
import sys
from typing import Any

from softhubert_plugin.errors import SoftHubertError, refuse_in_one_line
from softhubert_plugin.ranges import check_ranges


def check_first_settings() -> None:
    """Make fairseq's training refuse in one line (status 2) a seed that NumPy cannot take, and batches without a size."""
    trainer: Any = sys.modules.get("fairseq_cli.train")  # imported by whatever trains
    if trainer is None or getattr(trainer.add_defaults, "checks_first_settings", False):
        return
    add_defaults = trainer.add_defaults

    @functools.wraps(add_defaults)
    def checking(cfg: Any) -> None:
        add_defaults(cfg)
        with refuse_in_one_line():
            check_ranges("common", cfg.common)
            if cfg.dataset.max_tokens is None and cfg.dataset.batch_size is None:
                raise SoftHubertError("dataset.max_tokens and dataset.batch_size are both null; set dataset.max_tokens, samples per batch")

    checking.checks_first_settings = True  # type: ignore[attr-defined]
    trainer.add_defaults = checking
