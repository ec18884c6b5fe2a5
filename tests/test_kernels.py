"""Narrow convolutions are trained without oneDNN, with the same gradients."""

from __future__ import annotations

import pytest
import torch

from softhubert_plugin.models.kernels import FEWEST_IN_A_GROUP, WIDE, only_narrow_convolutions, right_kernels, without_onednn


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


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
@pytest.mark.parametrize("channels", [2, 8, 12, 16, 24])
def test_convolutions_of_groups_are_right_in_bfloat16(channels: int) -> None:
    """Without the context they are wrong on processors with matrix tiles."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv1d(4 * channels, 4 * channels, 32, padding=16, groups=4), torch.nn.GELU())
    x = torch.randn(2, 4 * channels, 300)
    expected = model(x)
    with torch.autocast("cpu", torch.bfloat16), right_kernels(model, x):
        assert torch._C._get_mkldnn_enabled() == (channels >= FEWEST_IN_A_GROUP)
        found = [model(x)]
    halved = x.bfloat16()
    with right_kernels(model, halved):
        found.append(model.bfloat16()(halved))
    assert all((each - expected).norm() < 0.02 * expected.norm() for each in found)
    with right_kernels(model, x):
        assert torch._C._get_mkldnn_enabled()
