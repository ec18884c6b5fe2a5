"""``keep_freed_memory``: a process uses freed memory again instead of asking the kernel for new pages."""

from __future__ import annotations

import multiprocessing
import platform
import resource

import pytest
import torch

from softhubert_plugin.allocation import keep_freed_memory

MEGABYTES = 64


def faulted(*, keep: bool) -> int:
    """Run :func:`pages_of_another_array` in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(pages_of_another_array, (keep,))


def pages_of_another_array(keep: bool) -> int:
    """Count the pages that the kernel provides for an array after twelve arrays of the same size were freed."""
    if keep:
        assert keep_freed_memory()
    for _ in range(12):  # the first few leave holes that are some bytes too small because of alignment
        torch.ones(MEGABYTES << 18)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(MEGABYTES << 18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_kept_memory_is_used_again() -> None:
    pages = (MEGABYTES << 20) // resource.getpagesize()
    assert faulted(keep=False) > 0.9 * pages
    assert faulted(keep=True) < 0.1 * pages
