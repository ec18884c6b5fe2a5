"""Warn of a training that is over before its warm-up is: a short trial of a long recipe, which learns little and does not say why."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)

_SCHEDULE = {
    ("lr_scheduler", "warmup_updates"): "the learning rate is still rising when training ends",
    ("lr_scheduler", "warmup_steps"): "the learning rate is still rising when training ends",
    ("model", "freeze_finetune_updates"): "only the output layer is trained",
    ("model", "freeze_updates"): "the frozen parts never thaw",
}


def warn_of_short_training(settings: Any) -> None:
    """Log a warning for each part of the schedule that lasts as long as the whole training, or longer.

    Args:
        settings: the whole configuration of a training; ``None`` if nothing is trained.
    """
    updates = _number(settings, "optimization", "max_update")
    for (section, name), outcome in _SCHEDULE.items():
        lasts = _number(settings, section, name)
        if 0 < updates <= lasts:
            logger.warning(
                "%s.%s=%d, but optimization.max_update=%d: %s. Shorten both in proportion.", section, name, lasts, updates, outcome
            )


def _number(settings: Any, section: str, name: str) -> float:
    part = settings and settings.get(section)
    value = part[name] if part and name in part else None  # omegaconf's get raises where a training's configuration lacks a name
    return value if isinstance(value, (int, float)) else 0
