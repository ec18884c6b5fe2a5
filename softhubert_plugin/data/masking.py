"""Which frames the model must predict: HuBERT's span masks, drawn in the data-loading workers rather than on the training thread.

The distribution is that of fairseq's ``compute_mask_indices``. Unlike there, the random choices depend only on seed, epoch and utterance,
so that a resumed run, and a run with another number of workers, hides the same frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Optional, Sequence

import numpy as np

from softhubert_plugin.models.spans import draw_spans

# The purpose of a random stream is part of its seed, so that crops and masks are independent.
FRAMES, TRIMMING, CHANNELS = 1, 2, 3


@dataclass(frozen=True)
class SpanMasking:
    """How mask spans are drawn; the defaults are HuBERT's published values (Hsu et al. 2021, section IV-B).

    Attributes:
        prob: share of the frames to hide, before overlaps.
        length: length of a span, in frames.
        selection, other: distribution of span lengths, as in :func:`~softhubert_plugin.models.spans.draw_spans`.
        no_overlap, min_space: whether to keep spans apart, and by how many frames.
        channel_prob, channel_length, channel_selection, channel_other, channel_no_overlap, channel_min_space: the same for channels,
            which are set to zero; off by default.
        channels: number of channels.
    """

    prob: float = 0.8
    length: int = 10
    selection: str = "static"
    other: float = 0.0
    no_overlap: bool = False
    min_space: int = 1
    channel_prob: float = 0.0
    channel_length: int = 10
    channel_selection: str = "static"
    channel_other: float = 0.0
    channel_no_overlap: bool = False
    channel_min_space: int = 1
    channels: int = 0

    @classmethod
    def from_model(cls, cfg: Any) -> SpanMasking:
        """Take the settings from a HuBERT's configuration."""
        return cls(
            prob=cfg.mask_prob,
            length=cfg.mask_length,
            selection=str(cfg.mask_selection),
            other=cfg.mask_other,
            no_overlap=cfg.no_mask_overlap,
            min_space=cfg.mask_min_space,
            channel_prob=cfg.mask_channel_prob,
            channel_length=cfg.mask_channel_length,
            channel_selection=str(cfg.mask_channel_selection),
            channel_other=cfg.mask_channel_other,
            channel_no_overlap=cfg.no_mask_channel_overlap,
            channel_min_space=cfg.mask_channel_min_space,
            channels=cfg.encoder_embed_dim,
        )

    def frames(self, frames: Sequence[int], width: int, keys: Sequence[Sequence[int]]) -> np.ndarray:
        """Draw the masks of a batch. As in fairseq, every row has the same number of masked frames.

        Args:
            frames: number of frames of each utterance, without padding.
            width: number of frames of the longest utterance, padding included.
            keys: for each utterance, the numbers that its mask depends on (seed, epoch, utterance).

        Returns:
            ``(utterances, width)`` bool, true where a frame is hidden.
        """
        masks = np.zeros((len(frames), width), dtype=bool)
        if self.prob <= 0:
            return masks
        hidden: List[np.ndarray] = []
        for length, key in zip(frames, keys):
            hidden.append(
                draw_spans(
                    length,
                    _generator([*key, FRAMES]),
                    prob=self.prob,
                    length=self.length,
                    selection=self.selection,
                    other=self.other,
                    at_least=2,
                    no_overlap=self.no_overlap,
                    min_space=self.min_space,
                )
            )
        fewest = min(map(len, hidden))
        for row, (chosen, key) in enumerate(zip(hidden, keys)):
            if len(chosen) > fewest:
                chosen = np.random.default_rng([*key, TRIMMING]).choice(chosen, fewest, replace=False)
            masks[row, chosen] = True
        return masks

    def channel_masks(self, keys: Sequence[Sequence[int]]) -> Optional[np.ndarray]:
        """Draw the channel masks of a batch.

        Args:
            keys: as for :meth:`frames`.

        Returns:
            ``(utterances, channels)`` bool, true where a channel is hidden; ``None`` if channels are not masked.
        """
        if self.channel_prob <= 0:
            return None
        rows = np.zeros((len(keys), self.channels), dtype=bool)
        for row, key in zip(rows, keys):
            hidden = draw_spans(
                self.channels,
                _generator([*key, CHANNELS]),
                prob=self.channel_prob,
                length=self.channel_length,
                selection=self.channel_selection,
                other=self.channel_other,
                no_overlap=self.channel_no_overlap,
                min_space=self.channel_min_space,
            )
            row[hidden] = True
        return rows


def _generator(key: Sequence[int]) -> np.random.RandomState:
    return np.random.RandomState(np.random.SeedSequence(list(key)).generate_state(4))
