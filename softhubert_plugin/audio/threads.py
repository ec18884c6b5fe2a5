"""Thread pools that can use soundfile safely.

soundfile's binding builds the C types of libsndfile's functions at their first use. If two threads do this at the same time, cffi (2.0 to
2.1.1 at least) aborts the process: "Assertion `(((uintptr_t)opcodes[index]) & 1) == 1' failed".
"""

from __future__ import annotations

import functools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def soundfile_threads(workers: int) -> ThreadPoolExecutor:
    """Make a pool of ``workers`` threads that can use soundfile at the same time."""
    prepare_soundfile()
    return ThreadPoolExecutor(workers)


@functools.lru_cache(maxsize=None)
def prepare_soundfile() -> None:
    """Use, in this thread, every part of soundfile that other threads will use. Call it before they start."""
    import numpy as np
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "silence.flac")
        soundfile.write(path, np.zeros(16, dtype=np.float32), 16_000, format="FLAC", subtype="PCM_16")
        soundfile.info(path)
        soundfile.read(path, frames=8, start=4, dtype="float32")
