"""Which frames the model must predict: HuBERT's span masks, drawn where batches are made rather than on the training thread.

The distribution is that of fairseq's ``compute_mask_indices``; but a mask depends on seed, epoch and utterance alone, so that a
resumed run, and a run with another number of workers, hides the same frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Optional, Sequence

import numpy as np

from softhubert_plugin.data.spans import draw_spans

# What a stream of random numbers is for; part of its seed, so that crops and masks are independent.
FRAMES, TRIMMING, CHANNELS = 1, 2, 3


@dataclass(frozen=True)
class SpanMasking:
    """How spans are drawn; the defaults are HuBERT's published ones (Hsu et al. 2021, section IV-B).

    Attributes:
        prob: share of the frames to hide, before overlaps.
        length: of a span, in frames.
        selection, other: distribution of span lengths, as in :func:`~softhubert_plugin.data.spans.draw_spans`.
        no_overlap, min_space: keep spans apart.
        channel_prob, channel_length, channel_selection, channel_other, channel_no_overlap, channel_min_space: the same for channels,
            which are set to zero; off by default.
        channels: how many there are.
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
        """As a HuBERT's configuration has it."""
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
        """Masks of a batch, with as many masked frames in every row, as fairseq makes them.

        Args:
            frames: of each utterance, without padding.
            width: frames of the longest, padding included.
            keys: of each utterance, what its mask depends on (seed, epoch, utterance).

        Returns:
            ``(utterances, width)`` bool.
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
        """``(utterances, channels)`` bool, or ``None`` where channels are not masked."""
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
