"""Checks that one process per machine makes for all of its processes.

A training of 32 processes would otherwise open every audio file 32 times before it starts.
"""

from __future__ import annotations

import socket
from typing import Callable, List, Optional

import torch.distributed as dist

from softhubert_plugin.errors import SoftHubertError


def once_per_machine(check: Callable[[], None]) -> None:
    """Run a check in the first process of each machine. What it refuses, every process refuses.

    All processes of the run must call this. A process without others just runs the check.

    Args:
        check: raises :class:`SoftHubertError` for what it refuses.

    Raises:
        SoftHubertError: as ``check``, in the process that ran it.
        SystemExit: another process's check refused; that process prints why.
    """
    if not (dist.is_available() and dist.is_initialized()):
        check()
        return
    machines: List[str] = [""] * dist.get_world_size()
    dist.all_gather_object(machines, socket.gethostname())
    rank = dist.get_rank()
    refused: Optional[SoftHubertError] = None
    if machines.index(machines[rank]) == rank:
        try:
            check()
        except SoftHubertError as error:
            refused = error
    everywhere: List[bool] = [False] * dist.get_world_size()
    dist.all_gather_object(everywhere, refused is not None)
    if refused is not None:
        raise refused
    if any(everywhere):
        raise SystemExit(2)
