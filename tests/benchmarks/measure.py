"""Measures seconds and memory of one piece of work in its own process, so that it inherits neither a warm cache nor a memory peak."""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import statistics
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping

Work = Callable[[], Dict[str, Any]]


@dataclass(frozen=True)
class Measured:
    """Cost and result of one piece of work.

    Attributes:
        seconds: elapsed seconds, the best of a few rounds.
        peak: peak memory in MiB above what was held before the work; on a GPU, what the work itself reports.
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


def in_turns(works: Mapping[str, Callable[[], Measured]], rounds: int) -> Dict[str, Measured]:
    """Measure several pieces of work one after the other, ``rounds`` times over, so that what disturbs the machine disturbs all alike.

    Returns:
        For each the medians, with the last result.
    """
    found: Dict[str, List[Measured]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(work())
    return {
        name: Measured(
            statistics.median(one.seconds for one in all_of),
            statistics.median(one.peak for one in all_of),
            all_of[-1].result,
            statistics.median(one.processor for one in all_of),
        )
        for name, all_of in found.items()
    }


def machine() -> str:
    """The processor, its cores and vector instructions, and the load that other work puts on it."""
    with open("/proc/cpuinfo", encoding="utf-8") as stream:
        facts = dict(line.rstrip().replace("\t", "").split(":", 1) for line in stream if line.strip())
    flags = facts.get("flags", facts.get("Features", "")).split()
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else platform.machine()
    return f"{facts.get('model name', platform.machine()).strip()}, {os.cpu_count()} cores, {vectors}, load {os.getloadavg()[0]:.1f}"


def compare_all(title: str, found: Mapping[str, Measured], ours: str) -> None:
    """Print all measurements, and how many times ours goes into each of the others."""
    print(title)
    width = max(map(len, found))
    for name, one in found.items():
        ratios = ""
        if name != ours:
            seconds, processor = one.seconds / found[ours].seconds, one.processor / max(found[ours].processor, 1e-9)
            ratios = (
                f"   ours: {seconds:5.2f} × as fast, {processor:5.2f} × by processor, {100 * found[ours].peak / one.peak:5.1f} % memory"
            )
        print(f"  {name:<{width}} {one.seconds:8.2f} s   processor {one.processor:8.2f} s   peak {one.peak:7.0f} MiB{ratios}", flush=True)


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
    peak = result["peak"] if "peak" in result else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - held
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
