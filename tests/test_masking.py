"""Masks drawn in the workers, compared with those that fairseq draws in the model."""

from __future__ import annotations

import inspect
from typing import Any, Dict

import numpy as np
import pytest
import torch
from fairseq.data.data_utils import compute_mask_indices

from softhubert_plugin.data.masking import SpanMasking
from softhubert_plugin.models.spans import draw_spans

FRAMES = (60, 48, 35)
ROUNDS = 3_000


@pytest.mark.parametrize("options", [{}, {"prob": 0.5, "length": 4}, {"prob": 0.65, "selection": "poisson"}], ids=str)
def test_masks_are_distributed_like_fairseqs(options: Dict[str, Any]) -> None:
    masking = SpanMasking(**options)
    padding = torch.arange(max(FRAMES)) >= torch.tensor(FRAMES)[:, None]
    np.random.seed(0)
    try:
        theirs = [
            compute_mask_indices((3, max(FRAMES)), padding, masking.prob, masking.length, masking.selection, 0.0, 2, False, 1)
            for _ in range(ROUNDS)
        ]
    except ValueError as error:
        if "the entire sequence is masked" not in str(error):
            raise
        pytest.skip(f"fairseq-fixed: {error}")
    ours = [masking.frames(FRAMES, max(FRAMES), [(1, epoch, row) for row in range(3)]) for epoch in range(ROUNDS)]
    # How often each frame is masked, and how many frames a mask covers, agree to within five standard errors.
    expected, found = np.mean(theirs, 0), np.mean(ours, 0)
    assert np.abs(found - expected).max() < 5 * np.sqrt(0.5 / ROUNDS)
    counts = [np.asarray([mask.sum() for mask in masks]) for masks in (theirs, ours)]
    assert abs(counts[0].mean() - counts[1].mean()) < 5 * counts[0].std() * np.sqrt(2 / ROUNDS)
    assert counts[1].std() == pytest.approx(counts[0].std(), rel=0.15)
    starts = [np.mean([np.diff(mask.astype(int), axis=1, prepend=0).clip(0).sum() for mask in masks]) for masks in (theirs, ours)]
    assert starts[1] == pytest.approx(starts[0], rel=0.02)


@pytest.mark.skipif("epoch" in inspect.signature(compute_mask_indices).parameters, reason="fairseq-fixed draws from its own generator")
@pytest.mark.parametrize("selection", ["static", "uniform", "normal", "poisson"])
@pytest.mark.parametrize("frames", [1, 5, 60, 499])
def test_with_the_same_seed_the_spans_equal_stock_fairseqs(frames: int, selection: str) -> None:
    for seed in range(50):
        np.random.seed(seed)
        expected = compute_mask_indices((1, frames), None, 0.65, 10, selection, 3, 2, False, 1)
        found = draw_spans(frames, np.random.RandomState(seed), prob=0.65, length=10, selection=selection, other=3, at_least=2)
        np.testing.assert_array_equal(found, np.flatnonzero(expected[0]))


@pytest.mark.parametrize("selection", ["static", "poisson"])
def test_spans_that_may_not_overlap_keep_their_distance(selection: str) -> None:
    for seed in range(200):
        options = {"prob": 0.65, "length": 6, "selection": selection, "no_overlap": True, "min_space": 3}
        hidden = np.zeros(82, dtype=bool)
        hidden[1 + draw_spans(80, np.random.RandomState(seed), **options)] = True
        edges = np.flatnonzero(np.diff(hidden.astype(int)))
        lengths, gaps = edges[1::2] - edges[::2], edges[2::2] - edges[1:-1:2]
        assert len(lengths) > 1 and (gaps >= 3).all()
        assert selection != "static" or (lengths == 6).all()


def test_a_mask_of_no_span_is_empty() -> None:
    assert draw_spans(24, np.random.RandomState(0), prob=0.0, length=10).tolist() == []


def test_every_row_hides_the_same_number_of_frames_and_no_padding() -> None:
    masks = SpanMasking().frames(FRAMES, 60, [(1, 1, row) for row in range(3)])
    assert len(set(masks.sum(1).tolist())) == 1
    assert not masks[1, 48:].any() and not masks[2, 35:].any()


def test_a_mask_depends_on_its_utterance_and_leaves_other_random_numbers_alone() -> None:
    masking = SpanMasking(channel_prob=0.3, channels=24)
    np.random.seed(3)
    before = np.random.get_state()[1].tolist()
    alone = masking.frames([60], 60, [(1, 2, 7)])
    assert np.random.get_state()[1].tolist() == before
    np.testing.assert_array_equal(alone, masking.frames([60], 60, [(1, 2, 7)]))
    assert (alone != masking.frames([60], 60, [(1, 3, 7)])).any()
    channels = masking.channel_masks([(1, 2, 7), (1, 2, 8)])
    assert channels is not None and channels.shape == (2, 24) and channels.any() and (channels[0] != channels[1]).any()


@pytest.mark.parametrize("frames", [1, 2, 3, 11])
def test_very_short_utterances_are_masked_too(frames: int) -> None:
    assert SpanMasking().frames([frames], frames, [(1, 1, 1)]).sum() >= 1
