"""Makes the cause the last line of a training that fails where the plugin is not imported.

That is before fairseq imports it, and in the process that starts one process per GPU or per job. hydra imports every module of the
namespace ``hydra_plugins`` when it starts. This one replaces hydra's printer of errors in programs that use fairseq: on Python 3.10 and
later, hydra 1.0's printer fails itself, and its failure is all that one sees at the end. ``softhubert_plugin/compat/last_line.py`` does
the rest. It must not be imported here: fairseq skips a user directory that it finds imported.
"""

from __future__ import annotations

import functools
import sys
import traceback
from typing import Any, Callable

from hydra._internal import utils
from hydra.errors import CompactHydraException


def _report_before_hydra(run_and_report: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap hydra's function that runs a task and prints its error.

    Errors in the configuration stay with hydra, which reports them in a few lines. Once the plugin is imported, it reports errors.
    """

    @functools.wraps(run_and_report)
    def run(task: Callable[[], Any]) -> Any:
        def reported() -> Any:
            try:
                return task()
            except Exception as error:
                ours = "softhubert_plugin.compat.last_line" in sys.modules
                if ours or "fairseq" not in sys.modules or isinstance(error, CompactHydraException):
                    raise
                # torch.multiprocessing: a process of ours has ended with status 2 after it said why.
                if getattr(error, "exit_code", None) == 2:
                    raise SystemExit(2) from None
                traceback.print_exc()
                raise SystemExit(1) from None

        return run_and_report(reported)

    return run


utils.run_and_report = _report_before_hydra(utils.run_and_report)
