"""Thread pools that can use soundfile safely.

soundfile's binding builds the C types of libsndfile's functions at their first use. If two threads do this at the same time, cffi (2.0 to
2.1.1 at least) aborts the process: "Assertion `(((uintptr_t)opcodes[index]) & 1) == 1' failed".
"""

from __future__ import annotations

import functools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Collection, Iterator, TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def soundfile_threads(workers: int) -> ThreadPoolExecutor:
    """Make a pool of ``workers`` threads that can use soundfile at the same time."""
    prepare_soundfile()
    return ThreadPoolExecutor(workers)


def in_threads(work: Callable[[_Item], _Result], items: Collection[_Item], *, workers: int, what: str) -> Iterator[_Result]:
    """Yield the result of ``work`` for each item, in order. After an error, the work that has not started is dropped.

    Args:
        work: may use soundfile.
        items: the items.
        workers: number of threads.
        what: what the progress bar says.
    """
    with soundfile_threads(workers) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in tqdm(futures, desc=what, unit="file", disable=None):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


@functools.lru_cache(maxsize=None)
def prepare_soundfile() -> None:
    """Use, in this thread, every part of soundfile that other threads will use. Call it before they start."""
    import numpy as np
    import soundfile

    from softhubert_plugin.audio.opening import open_audio, open_complete

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "silence.flac"
        with soundfile.SoundFile(str(path), "w", 16_000, 1, format="FLAC", subtype="PCM_16") as sound:
            sound.comment = "silence"
            sound.write(np.zeros(16, dtype=np.float32))
        with open_audio(path) as sound:
            sound.seek(4)
            sound.read(8, dtype="float32")
        with open_complete(path, forward=True) as sound:
            sound.read(8, dtype="float32", always_2d=True)
            assert sound.comment == "silence" and sound.subtype == "PCM_16"
