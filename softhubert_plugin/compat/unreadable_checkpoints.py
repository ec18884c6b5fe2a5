"""Names the checkpoint that a training cannot be resumed from. fairseq's trainer ends in whatever its reader stumbles on."""

from __future__ import annotations

import functools
from typing import Any, Callable

from softhubert_plugin.errors import refuse_in_one_line


def name_unreadable_checkpoints(read: Callable[[str], Any]) -> None:
    """Make fairseq's trainer say in one line (status 2) what is wrong with a checkpoint that it fails to load.

    Args:
        read: a reader that refuses what cannot be read; where it finds no fault, fairseq's own error stands.
    """
    from fairseq.trainer import Trainer

    load = Trainer.load_checkpoint
    if getattr(load, "names_the_file", False):
        return

    @functools.wraps(load)
    def load_checkpoint(self: Any, filename: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return load(self, filename, *arguments, **options)
        except Exception:
            with refuse_in_one_line():
                read(filename)
            raise

    load_checkpoint.names_the_file = True  # type: ignore[attr-defined]
    Trainer.load_checkpoint = load_checkpoint
