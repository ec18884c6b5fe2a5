"""Measures seconds and memory of one piece of work in its own process, so that it inherits neither a warm cache nor a memory peak."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict

Work = Callable[[], Dict[str, Any]]


@dataclass(frozen=True)
class Measured:
    """Cost and result of one piece of work.

    Attributes:
        seconds: elapsed seconds, the best of a few rounds.
        peak: peak memory in MiB above what was held before the work.
        result: what the work returned.
        processor: processor seconds over all cores, the best of the rounds. Other work on the machine affects them less.
    """

    seconds: float
    peak: float
    result: Dict[str, Any]
    processor: float = 0.0


def measured(prepare: Callable[..., Work], *arguments: Any, rounds: int = 2) -> Measured:
    """Run ``prepare(*arguments)`` and then its result ``1 + rounds`` times in a new process. The first time does not count."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measure, (prepare, arguments, rounds))


def _measure(prepare: Callable[..., Work], arguments: Any, rounds: int) -> Measured:
    work = prepare(*arguments)
    held = _resident()
    result = work()
    seconds, processor = [], []
    for _ in range(rounds):
        started, used = time.perf_counter(), time.process_time()
        result = work()
        seconds.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - held
    return Measured(min(seconds), peak, result, min(processor))


def _resident() -> float:
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def compare(title: str, stock: Measured, ours: Measured, *, digits: int = 2) -> None:
    """Print both measurements and their ratio."""
    print(title)
    for name, one in (("stock", stock), ("ours", ours)):
        print(f"  {name:<6} {one.seconds:10.{digits}f} s   processor {one.processor:8.{digits}f} s   peak {one.peak:8.0f} MiB")
    share = 100 * ours.peak / max(stock.peak, 1)
    processor = stock.processor / max(ours.processor, 1e-9)
    print(f"  ratio  {stock.seconds / ours.seconds:10.2f} ×   processor {processor:8.2f} ×   memory {share:6.1f} %", flush=True)
