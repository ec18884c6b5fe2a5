"""Read parts of a manifest's audio files, found by position in the manifest.

A worker process receives only the manifest's path and finds the file names by itself, so that 300 000 names need not be sent to it.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np

from softhubert_plugin.audio.read import read_samples
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import Manifest
from softhubert_plugin.text_files import unmarked_line


class AudioFiles:
    """The audio of a manifest's utterances.

    Args:
        manifest: a manifest that was read and checked; only its path and root are kept.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.path = manifest.path
        self.root = manifest.root
        self._text: Optional[mmap.mmap] = None
        self._starts: np.ndarray = np.zeros(0, dtype=np.int64)

    def location(self, utterance: int) -> Path:
        """Return the path of an utterance's audio file."""
        if self._text is None:
            with open(self.path, "rb") as stream:
                self._text = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            mark = b"\n" if self._text.find(b"\n") >= 0 else b"\r"  # as in text_files.py
            self._starts = np.flatnonzero(np.frombuffer(self._text, dtype=np.uint8) == ord(mark)) + 1
        start, end = (int(self._starts[place]) if place < len(self._starts) else len(self._text) for place in (utterance, utterance + 1))
        return self.root / unmarked_line(self._text[start:end]).rpartition(b"\t")[0].decode()

    def read(self, utterance: int, start: int = 0, frames: int = -1) -> np.ndarray:
        """Read the samples ``start … start + frames - 1`` of an utterance.

        Args:
            utterance: position in the manifest.
            start: first sample.
            frames: number of samples; by default all from ``start`` on.

        Returns:
            ``(samples,)`` float32.

        Raises:
            SoftHubertError: the file cannot be read, has several channels, or has changed since it was checked.
        """
        path = self.location(utterance)
        try:
            samples = read_samples(path, start, frames)
        except SoftHubertError as error:
            raise SoftHubertError(f"{error} (listed in {self.path})") from None
        if frames >= 0 and len(samples) != frames:
            raise SoftHubertError(
                f"{path}: {len(samples)} samples from {start} on, expected {frames}; "
                f"the audio changed since {self.path} was made: write the manifest again"
            )
        return samples

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_text": None, "_starts": np.zeros(0, dtype=np.int64)}
