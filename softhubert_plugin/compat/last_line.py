"""Makes the cause of a failed training its last line.

hydra prints the errors of what it runs. On Python 3.10 and later, hydra 1.0's printer fails itself, and its failure is all that one sees at
the end; hydra 1.3 ends with a hint. Python's own traceback ends with the cause. What fails before fairseq imports this plugin is the
business of ``compat/hydra_plugins/softhubert_last_line.py``, which is installed as ``hydra_plugins.softhubert_last_line``.
"""

from __future__ import annotations

import functools
import os
import sys
from types import TracebackType
from typing import Any, Optional, Type

from softhubert_plugin.compat.wrong_settings import refused_setting
from softhubert_plugin.errors import SoftHubertError, exit_with, refuse_in_one_line


def end_with_the_cause() -> None:
    """Let Python print what ends this training: errors of ours in one line with status 2, others as a traceback with status 1.

    hydra is already running here, so it is asked to leave errors to Python. Outside a program that hydra runs, only fairseq's loop over
    batches is changed.
    """
    from hydra.core.hydra_config import HydraConfig

    _refuse_bad_batches()
    hook = sys.excepthook
    if HydraConfig.instance().cfg is None or getattr(hook, "ends_with_the_cause", False):
        return

    def report(kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]) -> None:
        if isinstance(error, SoftHubertError):
            exit_with(error)
        setting = refused_setting(error)
        if setting is not None:
            exit_with(SoftHubertError(setting))
        hook(kind, error, trace)

    report.ends_with_the_cause = True  # type: ignore[attr-defined]
    sys.excepthook = report
    os.environ["HYDRA_FULL_ERROR"] = "1"


def _refuse_bad_batches() -> None:
    """Report errors that arise while an epoch runs, such as a file that can no longer be read.

    A process that fairseq starts for a GPU hands its errors to its parent as text: there, no hook is called.
    """
    trainer: Any = sys.modules.get("fairseq_cli.train")  # imported by whatever trains
    if trainer is None or getattr(trainer.train, "refuses_in_one_line", False):
        return
    train = trainer.train

    @functools.wraps(train)
    def refusing(*arguments: Any, **options: Any) -> Any:
        with refuse_in_one_line():
            return train(*arguments, **options)

    refusing.refuses_in_one_line = True  # type: ignore[attr-defined]
    trainer.train = refusing
