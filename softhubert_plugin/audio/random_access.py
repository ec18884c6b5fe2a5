"""The audio of a manifest, found by position and read in part.

A worker process is handed a path and finds the names by itself: neither 300 000 names nor their positions travel to it.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np
import soundfile

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import Manifest

NEWLINE = ord("\n")


class AudioFiles:
    """Audio of a manifest's utterances.

    Args:
        manifest: already read and checked; only its path and root are kept.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.path = manifest.path
        self.root = manifest.root
        self._text: Optional[mmap.mmap] = None
        self._starts: np.ndarray = np.zeros(0, dtype=np.int64)

    def location(self, utterance: int) -> Path:
        """Where an utterance of the manifest lies on disk."""
        if self._text is None:
            with open(self.path, "rb") as stream:
                self._text = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            self._starts = np.flatnonzero(np.frombuffer(self._text, dtype=np.uint8) == NEWLINE) + 1
        self._text.seek(int(self._starts[utterance]))
        return self.root / self._text.readline().rpartition(b"\t")[0].decode()

    def read(self, utterance: int, start: int = 0, frames: int = -1) -> np.ndarray:
        """Samples ``start … start + frames - 1`` (all from ``start`` by default), float32, several channels averaged.

        Raises:
            SoftHubertError: the file has gone, or is not the one that was checked.
        """
        path = self.location(utterance)
        try:
            samples, _ = soundfile.read(str(path), frames=frames, start=start, dtype="float32")
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise SoftHubertError(f"{path}: cannot be read any more ({error}); restore it, or write {self.path} again") from None
        if frames >= 0 and len(samples) != frames:
            raise SoftHubertError(
                f"{path}: {len(samples)} samples from {start} on, expected {frames}; the audio changed since {self.path} was made"
            )
        return samples if samples.ndim == 1 else samples.mean(-1)

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_text": None, "_starts": np.zeros(0, dtype=np.int64)}
