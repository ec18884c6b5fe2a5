"""Products by oneDNN, the feed-forward part and attention without dropout: PyTorch's results and gradients, and less memory."""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Tuple

import pytest
import torch
import torch.nn.functional as F

from softhubert_plugin.models import products
from softhubert_plugin.models.attention import LONG, attend
from softhubert_plugin.models.dropout import dropout
from softhubert_plugin.models.feed_forward import activate_and_project
from softhubert_plugin.models.products import linear, product

ONEDNN = pytest.param(True, marks=pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN"))


@pytest.fixture(params=[False, ONEDNN], ids=["MKL", "oneDNN"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> List[Tuple[int, ...]]:
    """Multiply with one of the two libraries; the shapes that oneDNN multiplied are returned."""
    seen: List[Tuple[int, ...]] = []
    by_onednn = products._onednn

    def noted(x: torch.Tensor, weight: torch.Tensor, bias: Optional[torch.Tensor] = None) -> torch.Tensor:
        seen.append((*x.shape, *weight.shape))
        return by_onednn(x, weight, bias)

    monkeypatch.setattr(products, "onednn_multiplies_faster", lambda: request.param)
    monkeypatch.setattr(products, "_onednn", noted)
    seen.append((int(request.param),))
    return seen


def _same(ours: Callable[..., torch.Tensor], expected: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> None:
    """Assert that two functions agree in their result and in the gradients of all inputs."""
    found = []
    for function in (ours, expected):
        torch.manual_seed(5)
        copies = [tensor.clone().requires_grad_() for tensor in inputs]
        result = function(*copies)
        torch.manual_seed(6)
        found.append((result.detach(), *torch.autograd.grad(result, copies, torch.randn_like(result))))
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_a_linear_layer_equals_pytorchs_whichever_library_multiplies(library: List[Tuple[int, ...]]) -> None:
    _same(linear, F.linear, torch.randn(2, 130, 96), torch.randn(160, 96), torch.randn(160))
    assert (len(library) > 1) == bool(library[0][0])


def test_what_needs_no_gradient_gets_none(library: List[Tuple[int, ...]]) -> None:
    x, weight, bias = torch.randn(200, 96), torch.randn(160, 96, requires_grad=True), torch.randn(160)
    linear(x, weight, bias).sum().backward()
    assert weight.grad is not None and x.grad is None and bias.grad is None
    with torch.no_grad():
        assert not linear(x, weight, bias).requires_grad


def test_products_of_views_equal_those_of_copies(library: List[Tuple[int, ...]]) -> None:
    packed = torch.randn(2, 600, 3, 4, 64).permute(2, 0, 3, 1, 4)
    q, k = packed[0, 1, 2], packed[1, 1, 2]
    torch.testing.assert_close(product(q, k.T), q.contiguous() @ k.T.contiguous(), rtol=1e-4, atol=1e-4)
    scores = torch.randn(600, 600)
    for a, b in ((scores, k), (scores.T, k), (q.T, scores)):
        torch.testing.assert_close(product(a, b), a.contiguous() @ b.contiguous(), rtol=1e-4, atol=1e-3)


def test_small_products_and_other_precisions_are_left_to_pytorch(library: List[Tuple[int, ...]]) -> None:
    linear(torch.randn(5, 32), torch.randn(160, 32), torch.randn(160))
    linear(torch.randn(200, 96).bfloat16(), torch.randn(160, 96).bfloat16(), torch.randn(160).bfloat16())
    product(torch.randn(9, 64), torch.randn(64, 9))
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(torch.randn(200, 96), torch.randn(160, 96), torch.randn(160)).dtype == torch.bfloat16
    assert len(library) == 1


@pytest.mark.parametrize("probability", [0.0, 0.3])
@pytest.mark.parametrize("activation", [F.gelu, torch.relu, torch.tanh, lambda x: x], ids=["gelu", "relu", "tanh", "linear"])
def test_the_feed_forward_part_equals_its_three_steps(activation: Any, probability: float, library: List[Tuple[int, ...]]) -> None:
    def steps(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.linear(dropout(activation(hidden), probability, training=True), weight, bias)

    def ours(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return activate_and_project(hidden, activation, probability, weight, bias)

    _same(ours, steps, torch.randn(2, 90, 160), torch.randn(96, 160), torch.randn(96))


def test_the_feed_forward_part_keeps_its_input_and_a_byte_for_each_value() -> None:
    hidden = torch.randn(2, 90, 160, requires_grad=True) * 1.0
    weight, bias = torch.randn(96, 160, requires_grad=True), torch.randn(96, requires_grad=True)
    kept: List[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() != weight.data_ptr():
            kept.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        activate_and_project(hidden, F.gelu, 0.1, weight, bias)
    assert sum(kept) == hidden.numel() * 5


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("frames", [40, LONG])
def test_attention_without_dropout_equals_pytorchs(padded: bool, frames: int, library: List[Tuple[int, ...]]) -> None:
    keep = None
    if padded:
        keep = torch.ones(2, 1, 1, frames, dtype=torch.bool)
        keep[1, ..., -9:] = False

    def ours(packed: torch.Tensor) -> torch.Tensor:
        q, k, v = packed.permute(2, 0, 3, 1, 4)
        return attend(q, k, v, keep, 0.0).transpose(1, 2).reshape(2, frames, -1)

    def expected(packed: torch.Tensor) -> torch.Tensor:
        q, k, v = packed.permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=keep).transpose(1, 2).reshape(2, frames, -1)

    _same(ours, expected, torch.randn(2, frames, 3, 2, 64))
