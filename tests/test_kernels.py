from __future__ import annotations

from typing import Iterator

import pytest
import torch

from softhubert_plugin.models.kernels import WIDE, convolve_without_compiling


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    enabled = onednn()
    torch.backends.mkldnn.set_flags(True)
    yield
    torch.backends.mkldnn.set_flags(enabled)


def onednn() -> bool:
    return bool(torch._C._get_mkldnn_enabled())


def convolutions(*widths: int) -> torch.nn.Module:
    return torch.nn.Sequential(*(torch.nn.Conv1d(1, width, 3) for width in widths))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
def test_only_models_whose_convolutions_are_all_narrow_do_without_onednn() -> None:
    assert not convolve_without_compiling(convolutions(48, WIDE))
    assert not convolve_without_compiling(torch.nn.Linear(3, 3))
    assert onednn()
    assert convolve_without_compiling(convolutions(48, WIDE - 1))
    assert not onednn()


def test_a_narrow_model_learns_the_same_without_onednn() -> None:
    torch.manual_seed(0)
    model, speech = convolutions(24), torch.randn(2, 1, 300)

    def gradient() -> torch.Tensor:
        (found,) = torch.autograd.grad(model(speech).square().sum(), list(model.parameters())[:1])
        return found

    compiled = gradient()
    assert convolve_without_compiling(model)
    assert torch.allclose(gradient(), compiled, rtol=1e-4, atol=1e-3)
