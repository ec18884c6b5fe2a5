"""Independent pieces of work, in as many threads as PyTorch would use for one product.

One thread a piece keeps all cores busy through sorting, encoding and every other step that has no threads of its own, and makes
results independent of their number.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable, Deque, Iterable, Iterator, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def worked(work: Callable[[Item], Result], items: Iterable[Item], device: str) -> Iterator[Result]:
    """``work(item)`` of every item, in order; only a few more items than there are threads are held at once.

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
