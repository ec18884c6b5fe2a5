"""Bring the frames of a fit to the device that computes with them, pass after pass.

On a CPU every pass reads the chunks again. A GPU gets them in the type in which they are stored, in parts large enough to keep it busy,
and through two pinned buffers, so that the host does not wait for it. Frames that fit into the GPU's free memory stay there.
"""

from __future__ import annotations

from typing import Iterator, List, Optional, Sequence

import numpy as np
import torch

from softhubert_plugin.features.shard_chunks import Chunk, stream_chunks
from softhubert_plugin.gmm.engine import FrameRows

# The share of a GPU's free memory that kept frames may take; the engine's matrices need the rest.
KEPT_SHARE = 0.5


class Feed:
    """The frames of some chunks, to be iterated over any number of times.

    Args:
        chunks: what to read, in order.
        device: where the frames are needed.
        part_frames: frames per part on a GPU; on a CPU a part is a chunk.
    """

    def __init__(self, chunks: Sequence[Chunk], device: str, *, part_frames: int) -> None:
        self.chunks = list(chunks)
        self.device = device
        self.part_frames = part_frames
        self._kept: Optional[List[torch.Tensor]] = None

    def __iter__(self) -> Iterator[FrameRows]:
        """Yield ``(n, D)`` frames: tensors of the stored type on a GPU of CUDA, otherwise float32 arrays.

        Raises:
            SoftHubertError: a file has become shorter than it was.
        """
        if not self.device.startswith("cuda"):
            yield from (rows for _, rows in stream_chunks(self.chunks))
        elif self._kept is not None:
            yield from self._kept
        else:
            yield from self._first_pass()

    def _first_pass(self) -> Iterator[torch.Tensor]:
        kept: Optional[List[torch.Tensor]] = [] if self._fits() else None
        for part in self._uploaded():
            if kept is not None:
                kept.append(part)
            yield part
        self._kept = kept

    def _fits(self) -> bool:
        size = sum(chunk.frames * chunk.shard.frames[:1].nbytes for chunk in self.chunks)
        free, _ = torch.cuda.mem_get_info(self.device)
        return size <= KEPT_SHARE * free

    def _uploaded(self) -> Iterator[torch.Tensor]:
        if not self.chunks:
            return
        first = self.chunks[0].shard.frames
        dtype = torch.from_numpy(np.empty(0, first.dtype)).dtype
        part_frames = min(self.part_frames, sum(chunk.frames for chunk in self.chunks))
        buffers = [torch.empty(part_frames, first.shape[1], dtype=dtype, pin_memory=True) for _ in range(2)]
        copied = [torch.cuda.Event() for _ in buffers]
        number = filled = 0
        for _, rows in stream_chunks(self.chunks, as_stored=True):
            rest = torch.from_numpy(rows)
            while len(rest):
                if filled == 0 and number >= len(buffers):
                    # The copy out of this buffer was queued two parts ago, so that the device has work while the host waits for it.
                    copied[number % 2].synchronize()
                taken = min(part_frames - filled, len(rest))
                buffers[number % 2][filled : filled + taken] = rest[:taken]
                rest, filled = rest[taken:], filled + taken
                if filled == part_frames:
                    yield self._upload(buffers[number % 2], copied[number % 2])
                    number, filled = number + 1, 0
        if filled:
            yield self._upload(buffers[number % 2][:filled], copied[number % 2])

    def _upload(self, rows: torch.Tensor, copied: torch.cuda.Event) -> torch.Tensor:
        part = rows.to(self.device, non_blocking=True)
        copied.record()
        return part
