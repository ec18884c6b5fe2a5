"""Lets a task see the checkpoint that a training is resumed from. fairseq's trainer reads it without asking the task.

It would go on with other labels or another network if only the shapes fit, and end in a traceback if they do not.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Callable, Dict, Optional

import torch

from softhubert_plugin.errors import refuse_in_one_line

Check = Callable[[str, Dict[str, Any], Any, Any, Optional[Exception]], None]


def check_resumed_trainings(check: Check) -> None:
    """Make fairseq's trainer ask before it loads a checkpoint, unless a part of the state is reset on purpose, and when loading failed.

    Args:
        check: gets the checkpoint's path, its configuration and the state of its task, the trainer's task and configuration, and what
            loading failed with, if it did. It raises a ``SoftHubertError``, which is reported in one line (status 2), or returns.
    """
    from fairseq.trainer import Trainer

    load = Trainer.load_checkpoint
    if getattr(load, "asks_the_task", False):
        return

    @functools.wraps(load)
    def load_checkpoint(self: Any, filename: Any, reset_optimizer: bool = False, *arguments: Any, **options: Any) -> Any:
        state = _settings(filename)
        resets = ("reset_optimizer", "reset_lr_scheduler", "reset_meters", "reset_dataloader")
        on_purpose = reset_optimizer or any(self.cfg.checkpoint[name] for name in resets)
        if state is not None and not on_purpose:
            with refuse_in_one_line():
                check(filename, state, self.task, self.cfg, None)
        try:
            return load(self, filename, reset_optimizer, *arguments, **options)
        except Exception as error:
            if state is not None:
                with refuse_in_one_line():
                    check(filename, state, self.task, self.cfg, error)
            raise

    load_checkpoint.asks_the_task = True  # type: ignore[attr-defined]
    Trainer.load_checkpoint = load_checkpoint


def _settings(filename: Any) -> Optional[Dict[str, Any]]:
    """``cfg`` and ``task_state`` of a checkpoint, without reading its tensors; ``None`` where fairseq's own reader decides."""
    with contextlib.suppress(Exception):
        state = torch.load(str(filename), map_location="cpu", weights_only=True, mmap=True)
        return {"cfg": state["cfg"], "task_state": state.get("task_state") or {}}
    return None
