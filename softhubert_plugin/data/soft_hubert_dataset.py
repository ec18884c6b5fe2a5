"""Audio with soft frame targets: what the pretraining task feeds to fairseq's trainer.

In the data-loading workers, it crops audio and labels on the same frame grid, pools labels to the model's frame rate, draws masks, and
collates all of it. It does not repeat the checks made when the labels were opened, and it never looks at a model.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from fairseq.data import FairseqDataset

from softhubert_plugin.audio.check import check_long_enough
from softhubert_plugin.audio.random_access import AudioFiles
from softhubert_plugin.data.masking import SpanMasking
from softhubert_plugin.data.selection import Selected, select_targets
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.labels.frame_labels import FrameLabels
from softhubert_plugin.labels.hard import HardLabels
from softhubert_plugin.labels.targets import FrameTargets
from softhubert_plugin.manifests import Manifest

logger = logging.getLogger(__name__)

HUBERT_RECEPTIVE_FIELD = 400  # samples that one frame of HuBERT's front end sees


class SoftHubertDataset(FairseqDataset):
    """Utterances of a manifest with one or several sets of frame labels.

    An item is only an utterance's number. :meth:`collater` reads the audio, because it knows how much of each utterance the batch needs.

    Args:
        manifest: the utterances.
        labels: open label files, each with an entry for every utterance of the manifest.
        label_rates: label frames per second of each label file; a multiple of ``frame_rate``.
        frame_rate: frames per second that the model makes.
        label_pooling: how soft labels are reduced to the frame rate, ``mean`` or ``pick``; hard labels are always picked.
        sample_rate: samples per second.
        masking: which frames to hide.
        receptive_field: number of samples that one frame of the model sees.
        min_keep_size, max_keep_size: leave out utterances that are shorter or longer than this, in samples.
        max_sample_size: crop longer utterances to this length, in samples.
        pad_audio: pad a batch to its longest utterance instead of cropping it to its shortest.
        random_crop: crop at a random place instead of at the beginning.
        normalize: scale each utterance to zero mean and unit variance; this reads the whole utterance, because a crop has other moments.
        seed: seed of crops and masks; a crop depends only on seed, epoch and utterance.

    Raises:
        SoftHubertError: a rate does not fit, no utterance has a permitted length, or one is too short for a single frame.
    """

    def __init__(
        self,
        manifest: Manifest,
        labels: Sequence[FrameLabels],
        *,
        label_rates: Sequence[float],
        frame_rate: float,
        label_pooling: str,
        sample_rate: int,
        masking: Optional[SpanMasking] = None,
        receptive_field: int = HUBERT_RECEPTIVE_FIELD,
        min_keep_size: Optional[int] = None,
        max_keep_size: Optional[int] = None,
        max_sample_size: Optional[int] = None,
        pad_audio: bool = False,
        random_crop: bool = True,
        normalize: bool = False,
        seed: int = 1,
    ) -> None:
        self.audio = AudioFiles(manifest)
        self.labels = list(labels)
        self.ratios = [_whole(rate / frame_rate, f"label rate {rate:g} over frame rate {frame_rate:g}") for rate in label_rates]
        self.stride = _whole(sample_rate / frame_rate, f"sample rate {sample_rate} over frame rate {frame_rate:g}")
        self.label_pooling = label_pooling
        self.masking = SpanMasking() if masking is None else masking
        self.receptive_field = receptive_field
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
        check_long_enough(manifest, self.indices[self.sizes < receptive_field], receptive_field)
        logger.info("%s: %d of %d utterances kept by length", manifest.path, len(self.indices), len(manifest))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Dict[str, int]:
        return {"id": int(index)}

    def collater(self, samples: List[Dict[str, int]]) -> Dict[str, Any]:
        """Read and collate a batch.

        Args:
            samples: items of this dataset.

        Returns:
            ``net_input``: ``source (B, samples)`` float32; ``padding_mask (B, samples)`` bool, or ``None`` if nothing is padded;
            ``mask_indices (B, frames)`` bool; and, if channels are masked, ``mask_channel_indices (B, channels)`` bool.
            ``target_list``: for each label set, the targets of the ``masked`` and the ``unmasked`` frames, as
            :func:`~softhubert_plugin.data.selection.select_targets` returns them. Padded frames are in neither.
            ``id (B,)``: the items. ``frames``: how many frames are not padded.
        """
        if not samples:
            return {}
        ids = [sample["id"] for sample in samples]
        lengths = [int(self.sizes[index]) for index in ids]
        size = min(max(lengths) if self.pad_audio else min(lengths), self.max_sample_size)
        starts = [self._crop_start(index, length, size) for index, length in zip(ids, lengths)]
        lengths = [min(length, size) for length in lengths]
        source = torch.zeros(len(ids), size)
        for row, (index, start, length) in enumerate(zip(ids, starts, lengths)):
            source[row, :length] = self._read(index, start, length)
        padding_mask = None
        if min(lengths) < size:
            padding_mask = torch.arange(size) >= torch.tensor(lengths)[:, None]

        frames = self.frames_of(size)
        samples_a_frame = size // frames  # as fairseq's forward_padding_mask divides the samples among the frames
        valid = [min(-(-length // samples_a_frame), frames) for length in lengths]
        keys = [(self.seed, self.epoch, index) for index in ids]
        masked = self.masking.frames(valid, frames, keys)
        net_input = {"source": source, "padding_mask": padding_mask, "mask_indices": torch.from_numpy(masked)}
        channels = self.masking.channel_masks(keys)
        if channels is not None:
            net_input["mask_channel_indices"] = torch.from_numpy(channels)
        unmasked = ~masked & (np.arange(frames) < np.asarray(valid)[:, None])
        return {
            "id": torch.tensor(ids),
            "net_input": net_input,
            "target_list": [self._targets(label, ids, starts, frames, masked, unmasked) for label in range(len(self.labels))],
            "frames": sum(valid),
        }

    def frames_of(self, samples: int) -> int:
        """Number of frames that the model makes from ``samples`` samples."""
        return (samples - self.receptive_field) // self.stride + 1

    def _read(self, index: int, start: int, length: int) -> torch.Tensor:
        utterance = int(self.indices[index])
        if not self.normalize:
            return torch.from_numpy(self.audio.read(utterance, start, length))
        whole = torch.from_numpy(self.audio.read(utterance))
        return F.layer_norm(whole, whole.shape)[start : start + length]

    def _targets(
        self, label: int, ids: List[int], starts: List[int], frames: int, masked: np.ndarray, unmasked: np.ndarray
    ) -> Dict[str, Selected]:
        labels, ratio = self.labels[label], self.ratios[label]
        pooling = "pick" if isinstance(labels, HardLabels) else self.label_pooling
        targets: List[FrameTargets] = []
        for index, start in zip(ids, starts):
            first = start // self.stride * ratio
            whole = labels.entries(int(self.indices[index]))
            targets.append(whole.sliced(first, first + frames * ratio).pooled(ratio, pooling))
        # What is spread evenly is the same in every frame: added after pooling, and to the scored frames only, it costs little.
        evenly = (labels.uniform, labels.n_components)
        return {"masked": select_targets(targets, masked, *evenly), "unmasked": select_targets(targets, unmasked, *evenly)}

    def _crop_start(self, index: int, length: int, size: int) -> int:
        """First sample of the crop. It is always on the model's frame grid, so that labels need no rounding."""
        if length <= size or not self.random_crop:
            return 0
        generator = np.random.default_rng([self.seed, self.epoch, index])
        return int(generator.integers(0, (length - size) // self.stride + 1)) * self.stride

    def num_tokens(self, index: int) -> int:
        """Samples that an utterance takes in a batch; fairseq fills batches by this number."""
        return self.size(index)

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        """:meth:`num_tokens` of several utterances."""
        return np.minimum(self.sizes[indices], self.max_sample_size)

    def size(self, index: int) -> int:
        """Samples of an utterance after cropping to the maximum."""
        return int(min(self.sizes[index], self.max_sample_size))  # padded or not, a batch is never longer

    def ordered_indices(self) -> np.ndarray:
        """Utterances from longest to shortest, equal lengths in random order (NumPy's generator, which fairseq seeds)."""
        return np.lexsort([np.random.permutation(len(self)), self.sizes])[::-1]

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """False: fairseq makes its batches anew in every epoch."""
        return False

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that crops and masks depend on."""
        self.epoch = epoch


def _whole(ratio: float, what: str) -> int:
    if ratio < 1 or abs(ratio - round(ratio)) > 1e-6:
        raise SoftHubertError(f"{what} is {ratio:g}, but must be a whole number; change task.label_rate or task.frame_rate")
    return round(ratio)
