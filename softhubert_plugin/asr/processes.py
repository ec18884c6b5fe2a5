"""Run independent pieces of work in several processes that share one model."""

from __future__ import annotations

import collections
import os
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Any, Callable, Deque, Iterable, Iterator, Optional

import torch

from softhubert_plugin.errors import SoftHubertError

MOST_PROCESSES = 16  # limit of the default; a caller may ask for more


def default_processes(device: str) -> int:
    """Return the default number of processes: one per core on a CPU (at most 16), one on a GPU."""
    return min(len(os.sched_getaffinity(0)), MOST_PROCESSES) if device == "cpu" else 1


_ready: Optional[Callable[[Any], Any]] = None  # this process's worker; a forked process inherits its parent's


def in_processes(build: Callable[[], Callable[[Any], Any]], work: Iterable[Any], processes: int, device: str) -> Iterator[Any]:
    """Apply a worker to each piece of work, in several processes.

    On a CPU the worker is built once, in this process, and shared by forking, as data loaders do. On other devices each process builds its
    own. With one process, the work runs in this process.

    Args:
        build: builds the worker, a function of one piece of work.
        work: the pieces of work. They are taken as processes become free, so they may be computed on the way.
        processes: number of processes.
        device: device of the worker.

    Yields:
        The worker's results, in the order of ``work``.

    Raises:
        SoftHubertError: a process was killed, for example because memory ran out.
    """
    global _ready
    if processes <= 1:
        yield from map(build(), work)
        return
    forks = device == "cpu"
    with ExitStack() as stack:
        if forks:
            # Thread pools do not survive a fork, so use one thread until the fork.
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
            _ready = build()
        stack.callback(_forget)
        context = get_context("fork" if forks else "spawn")
        pool = stack.enter_context(
            ProcessPoolExecutor(processes, mp_context=context, initializer=_start, initargs=(None if forks else build,))
        )
        pending: Deque[Future[Any]] = collections.deque()
        try:
            for piece in work:
                pending.append(pool.submit(_work, piece))
                if len(pending) > 2 * processes:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise SoftHubertError(f"one of {processes} processes was killed; if memory ran out, try --processes 1") from None
        finally:
            for future in pending:  # after an error or a signal nobody waits for them
                future.cancel()


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
