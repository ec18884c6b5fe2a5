from __future__ import annotations

import multiprocessing
import platform
import resource

import pytest
import torch

from softhubert_plugin.allocation import keep_freed_memory

MEGABYTES = 64


def faulted(*, keep: bool) -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(pages_of_another_array, (keep,))


def pages_of_another_array(keep: bool) -> int:
    """How many pages the kernel hands out for an array when a dozen of its size have been freed."""
    if keep:
        assert keep_freed_memory()
    for _ in range(12):  # the first few leave holes that are, for their alignment, some bytes too small
        torch.ones(MEGABYTES << 18)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(MEGABYTES << 18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_kept_memory_is_used_again() -> None:
    pages = (MEGABYTES << 20) // resource.getpagesize()
    assert faulted(keep=False) > 0.9 * pages
    assert faulted(keep=True) < 0.1 * pages
