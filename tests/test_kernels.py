"""Narrow convolutions are trained without oneDNN, with the same gradients."""

from __future__ import annotations

import pytest
import torch

from softhubert_plugin.models.kernels import WIDE, only_narrow_convolutions, without_onednn


def convolutions(*widths: int) -> torch.nn.Module:
    """Build a module with one convolution of each width."""
    return torch.nn.Sequential(*(torch.nn.Conv1d(1, width, 3) for width in widths))


def test_a_model_is_narrow_if_all_its_convolutions_are() -> None:
    assert only_narrow_convolutions(convolutions(48, WIDE - 1))
    assert not only_narrow_convolutions(convolutions(48, WIDE))
    assert not only_narrow_convolutions(torch.nn.Linear(3, 3))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
def test_gradients_are_the_same_without_onednn_which_is_back_afterwards() -> None:
    torch.manual_seed(0)
    model, speech = convolutions(24), torch.randn(2, 1, 300)

    def gradient() -> torch.Tensor:
        (found,) = torch.autograd.grad(model(speech).square().sum(), list(model.parameters())[:1])
        return found

    expected = gradient()
    with without_onednn():
        assert not torch._C._get_mkldnn_enabled()
        assert torch.allclose(gradient(), expected, rtol=1e-4, atol=1e-3)
    assert torch._C._get_mkldnn_enabled()
