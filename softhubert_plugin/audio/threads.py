"""Threads that use soundfile.

Its binding builds the C types of libsndfile's functions at their first use, and where two threads come to that at once, cffi (2.0 to 2.1.1
at least) aborts the process: "Assertion `(((uintptr_t)opcodes[index]) & 1) == 1' failed".
"""

from __future__ import annotations

import functools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def soundfile_threads(workers: int) -> ThreadPoolExecutor:
    """A pool of so many threads that may use soundfile at once."""
    prepare_soundfile()
    return ThreadPoolExecutor(workers)


@functools.lru_cache(maxsize=None)
def prepare_soundfile() -> None:
    """Use, in this thread, all of soundfile that threads will use; to be called before they start."""
    import numpy as np
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "silence.flac")
        soundfile.write(path, np.zeros(16, dtype=np.float32), 16_000, format="FLAC", subtype="PCM_16")
        soundfile.info(path)
        soundfile.read(path, frames=8, start=4, dtype="float32")
