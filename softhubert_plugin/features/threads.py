"""Run independent pieces of work in threads, with the number of threads that PyTorch would use for one product.

One thread per piece keeps all cores busy during sorting, encoding and every other step that has no threads of its own. It also makes
results independent of the number of threads.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Deque, Iterable, Iterator, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def worked(work: Callable[[Item], Result], items: Iterable[Item], device: str) -> Iterator[Result]:
    """Yield ``work(item)`` for every item, in order; at any time, only a few more items than threads are held.

    Args:
        device: where ``work`` computes; a GPU is served by one thread.
    """
    threads = torch.get_num_threads()
    workers = threads if device == "cpu" else 1
    pending: Deque[Future[Result]] = deque()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
    finally:
        torch.set_num_threads(threads)
