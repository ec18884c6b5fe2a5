"""Audio with soft frame targets: what the pretraining task feeds to fairseq's trainer.

Crops audio and labels on the same frame grid, pools labels to the model's frame rate, and collates both. It checks nothing that
was checked when the labels were opened, and never looks at a model.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from fairseq.data import FairseqDataset

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.labels import FrameLabels, HardLabels
from softhubert_plugin.labels.frames import FrameTargets
from softhubert_plugin.manifests import Manifest

logger = logging.getLogger(__name__)


class SoftHubertDataset(FairseqDataset):
    """Utterances of a manifest with one or several sets of frame labels.

    Args:
        labels: open label files, each with an entry for every utterance of the manifest.
        label_rate: label frames a second; a multiple of ``frame_rate``.
        frame_rate: frames a second that the model makes.
        label_pooling: ``mean`` or ``pick``, how soft labels come down to the frame rate; hard labels are always picked.
        min_keep_size, max_keep_size: utterances shorter or longer (in samples) are left out.
        max_sample_size: longer utterances are cropped, in samples.
        pad_audio: pad a batch to its longest utterance instead of cropping to its shortest.
        random_crop: crop anywhere, rather than from the beginning.
        normalize: scale each utterance to zero mean and unit variance.
        seed: of crops and order; a crop depends on seed, epoch and utterance alone.
    """

    def __init__(
        self,
        manifest: Manifest,
        labels: Sequence[FrameLabels],
        *,
        label_rate: float,
        frame_rate: float,
        label_pooling: str,
        sample_rate: int,
        min_keep_size: Optional[int] = None,
        max_keep_size: Optional[int] = None,
        max_sample_size: Optional[int] = None,
        pad_audio: bool = False,
        random_crop: bool = True,
        normalize: bool = False,
        seed: int = 1,
    ) -> None:
        self.manifest = manifest
        self.labels = list(labels)
        self.ratio = _whole(label_rate / frame_rate, f"label rate {label_rate:g} over frame rate {frame_rate:g}")
        self.stride = _whole(sample_rate / frame_rate, f"sample rate {sample_rate} over frame rate {frame_rate:g}")
        self.label_pooling = label_pooling
        self.max_sample_size = sys.maxsize if max_sample_size is None else max_sample_size
        self.pad_audio = pad_audio
        self.random_crop = random_crop
        self.normalize = normalize
        self.seed = seed
        self.epoch = 1
        kept = np.ones(len(manifest), dtype=bool)
        if min_keep_size is not None:
            kept &= manifest.sizes >= min_keep_size
        if max_keep_size is not None:
            kept &= manifest.sizes <= max_keep_size
        if not kept.any():
            raise SoftHubertError(
                f"{manifest.path}: none of its {len(manifest)} utterances is between {min_keep_size} and {max_keep_size} samples long; "
                "change task.min_sample_size or task.max_keep_size"
            )
        self.indices = np.flatnonzero(kept)
        self.sizes = manifest.sizes[self.indices]
        logger.info("%s: %d of %d utterances kept by length", manifest.path, len(self.indices), len(manifest))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Dict[str, Any]:
        utterance = int(self.indices[index])
        samples, _ = soundfile.read(str(self.manifest.audio_path(utterance)), dtype="float32")
        source = torch.from_numpy(samples)
        if source.dim() == 2:
            source = source.mean(-1)
        if self.normalize:
            source = F.layer_norm(source, source.shape)
        return {"id": index, "source": source, "targets": [labels.utterance(utterance) for labels in self.labels]}

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        """A batch: ``source (B, samples)``, ``padding_mask (B, samples)``, and for each label set ``components`` (int64) and
        ``probabilities`` (float32), both ``(B, frames, entries)`` with zero probability where there is nothing."""
        if not samples:
            return {}
        lengths = [len(sample["source"]) for sample in samples]
        size = min(max(lengths) if self.pad_audio else min(lengths), self.max_sample_size)
        starts = [self._crop_start(sample["id"], length, size) for sample, length in zip(samples, lengths)]
        source = torch.zeros(len(samples), size)
        padding_mask = torch.zeros(len(samples), size, dtype=torch.bool)
        for row, (sample, start) in enumerate(zip(samples, starts)):
            piece = sample["source"][start : start + size]
            source[row, : len(piece)] = piece
            padding_mask[row, len(piece) :] = True
        return {
            "id": torch.tensor([sample["id"] for sample in samples]),
            "net_input": {"source": source, "padding_mask": padding_mask},
            "target_list": [
                self._collate_targets([sample["targets"][label] for sample in samples], starts, size, self._pooling(label))
                for label in range(len(self.labels))
            ],
        }

    def _pooling(self, label: int) -> str:
        return "pick" if isinstance(self.labels[label], HardLabels) else self.label_pooling

    def _crop_start(self, index: int, length: int, size: int) -> int:
        """Where the crop starts, in samples; always on the model's frame grid, so that labels need no rounding."""
        if length <= size or not self.random_crop:
            return 0
        generator = np.random.default_rng([self.seed, self.epoch, index])
        return int(generator.integers(0, (length - size) // self.stride + 1)) * self.stride

    def _collate_targets(self, targets: List[FrameTargets], starts: List[int], size: int, pooling: str) -> Dict[str, torch.Tensor]:
        frames = -(-size // self.stride)
        pooled = []
        for target, start in zip(targets, starts):
            first = start // self.stride * self.ratio
            pooled.append(target.sliced(first, first + frames * self.ratio).pooled(self.ratio, pooling))
        width = max(int(target.counts.max()) for target in pooled)
        padded: List[Tuple[np.ndarray, np.ndarray]] = [target.padded(frames, width) for target in pooled]
        return {
            "components": torch.from_numpy(np.stack([components for components, _ in padded])),
            "probabilities": torch.from_numpy(np.stack([probabilities for _, probabilities in padded])),
        }

    def num_tokens(self, index: int) -> int:
        return self.size(index)

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        return self.sizes[indices] if self.pad_audio else np.minimum(self.sizes[indices], self.max_sample_size)

    def size(self, index: int) -> int:
        return int(self.sizes[index]) if self.pad_audio else int(min(self.sizes[index], self.max_sample_size))

    def ordered_indices(self) -> np.ndarray:
        """Longest first, utterances of equal length in random order, so that a batch holds similar lengths."""
        return np.lexsort([np.random.permutation(len(self)), self.sizes])[::-1]

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return False

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


def _whole(ratio: float, what: str) -> int:
    if ratio < 1 or abs(ratio - round(ratio)) > 1e-6:
        raise SoftHubertError(f"{what} is {ratio:g}, expected a whole number; set task.label_rate and task.frame_rate to fit")
    return round(ratio)
