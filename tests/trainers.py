"""Builds fairseq's trainer in this process, from a configuration and overrides, as ``fairseq-hydra-train`` does in its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import numpy as np
from fairseq import tasks, utils
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.initialize import add_defaults
from fairseq.trainer import Trainer
from omegaconf import OmegaConf

from softhubert_plugin.checkpoints.load import register_plugin


def build_trainer(configs: Sequence[Path], overrides: Sequence[str], task_state: Optional[Dict[str, Any]] = None) -> Any:
    """Build task, model, criterion and trainer.

    Args:
        configs: files that are merged in this order.
        overrides: ``key=value``, as on the command line.
        task_state: what a checkpoint would tell the task, for a training without label files.
    """
    register_plugin()
    given: Any = OmegaConf.merge(*(OmegaConf.load(path) for path in configs), OmegaConf.from_dotlist(list(overrides)))
    given.pop("hydra", None)
    cfg: Any = OmegaConf.merge(OmegaConf.create(OmegaConf.to_container(OmegaConf.structured(FairseqConfig()), enum_to_str=True)), given)
    add_defaults(cfg)
    cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))
    np.random.seed(cfg.common.seed)
    utils.set_torch_seed(cfg.common.seed)
    task = tasks.setup_task(cfg.task)
    if task_state is not None:
        task.load_state_dict(task_state)
    return Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))
