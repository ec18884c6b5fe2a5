"""Makes the C library keep the memory of freed tensors on a CPU, so that training steps reuse it.

By default glibc requests each array above some megabytes from the kernel and returns it when it is freed. Every training step then faults
the same memory in again, zeroed, page by page. This takes a fifth of the time of a training step of HuBERT Base, and a third of its front
end's.
"""

from __future__ import annotations

import ctypes

# From glibc's <malloc.h>; https://man7.org/linux/man-pages/man3/mallopt.3.html
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Keep freed memory in this process, and in the processes it forks, until they end.

    Returns:
        Whether the C library accepted this. Only glibc does; with others nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
