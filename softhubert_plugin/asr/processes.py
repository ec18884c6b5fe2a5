"""Independent pieces of work in several processes that share one model."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Any, Callable, Iterator, List, Optional

import torch

from softhubert_plugin.errors import SoftHubertError

MOST_PROCESSES = 16  # unless more are asked for


def default_processes(device: str) -> int:
    """One process per core on a CPU, one process on a GPU."""
    return min(len(os.sched_getaffinity(0)), MOST_PROCESSES) if device == "cpu" else 1


_ready: Optional[Callable[[Any], Any]] = None  # of this process; a forked one finds its parent's


def in_processes(build: Callable[[], Callable[[Any], Any]], work: List[Any], processes: int, device: str) -> Iterator[Any]:
    """What ``build()`` makes of each piece of work, in order.

    On a CPU it is built once and shared by forking, as data loaders do; elsewhere each process builds its own. One process is this one.

    Raises:
        SoftHubertError: a process was killed, as those are that ask for more memory than there is.
    """
    global _ready
    if processes <= 1:
        yield from map(build(), work)
        return
    forks = device == "cpu"
    with ExitStack() as stack:
        if forks:
            # A thread pool does not survive a fork: have none until then.
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
            _ready = build()
        stack.callback(_forget)
        context = get_context("fork" if forks else "spawn")
        pool = stack.enter_context(
            ProcessPoolExecutor(processes, mp_context=context, initializer=_start, initargs=(None if forks else build,))
        )
        try:
            yield from pool.map(_work, work)
        except BrokenProcessPool:
            raise SoftHubertError(f"one of {processes} processes was killed; if memory ran out, try --processes 1") from None


def _forget() -> None:
    global _ready
    _ready = None


def _start(build: Optional[Callable[[], Callable[[Any], Any]]]) -> None:
    global _ready
    torch.set_num_threads(1)
    if build is not None:
        _ready = build()


def _work(piece: Any) -> Any:
    assert _ready is not None, "the process was not started by in_processes"
    return _ready(piece)
