"""The pretended GPU refuses what a real one refuses, and notices what makes the host wait."""

from __future__ import annotations

import threading
from typing import Any, Callable, List

import pytest
import torch
from pretended_gpu import Gpu, pretend


@pytest.mark.parametrize(
    "mix",
    [
        lambda there, here: there + here,
        lambda there, here: here @ there,
        lambda there, here: torch.cat([there, here]),
        lambda there, here: there.masked_fill(here > 0, 0),
        lambda there, here: torch.nn.functional.linear(there, here),
        lambda there, here: there.add_(here),
        lambda there, here: here.numpy() + there.numpy(),
        lambda there, here: there.to("cuda:7"),
    ],
)
def test_what_mixes_devices_fails_as_on_a_real_gpu(mix: Callable[[torch.Tensor, torch.Tensor], Any], pretended_gpu: Gpu) -> None:
    there, here = torch.randn(3, 3, device="cuda"), torch.randn(3, 3)
    with pytest.raises((RuntimeError, TypeError)):
        mix(there, here)


@pytest.mark.parametrize(
    "work",
    [
        lambda x: float(x.sum()),
        lambda x: x.tolist(),
        lambda x: bool(x.sum() > 0),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.cpu(),
        lambda x: torch.repeat_interleave(torch.ones(2, dtype=torch.long, device="cuda")),
        lambda x: x.add_(torch.ones(3, 3).cuda()),
        lambda x: torch.unique(x),
    ],
)
def test_what_makes_the_host_wait_is_noticed(work: Callable[[torch.Tensor], Any], pretended_gpu: Gpu) -> None:
    x = torch.randn(3, 3, device="cuda")
    assert pretended_gpu.waits == []
    work(x)
    assert pretended_gpu.waits and "test_pretended_gpu.py" in pretended_gpu.waits[0]


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x.masked_fill_(x > 0, 1.0),
        lambda x: x * 2.0 + torch.tensor(3.0),  # CUDA takes single numbers from the host
        lambda x: x.add_(torch.ones(3, 3).pin_memory().to("cuda", non_blocking=True)),
        lambda x: torch.zeros(3, device=x.device) + x,
        lambda x: x[1:, :2].contiguous(),
        lambda x: torch.where(x > 0, x, 0.0),
        lambda x: torch.empty(3, 3, pin_memory=True).copy_(x, non_blocking=True),
    ],
)
def test_what_a_gpu_does_by_itself_is_no_wait(work: Callable[[torch.Tensor], Any], pretended_gpu: Gpu) -> None:
    work(torch.randn(3, 3, device="cuda"))
    assert pretended_gpu.waits == []
    assert sum(pretended_gpu.launches.values()) > 0


def test_numbers_and_gradients_are_real(pretended_gpu: Gpu) -> None:
    layer, x = torch.nn.Linear(4, 2), torch.randn(5, 4)
    loss = layer(x).square().sum()
    expected = torch.autograd.grad(loss, list(layer.parameters()))
    layer.to("cuda")
    there = layer(x.cuda()).square().sum()
    there.backward()
    assert there.device == torch.device("cuda", 0) and there.is_cuda and not loss.is_cuda
    assert all(parameter.grad.device.type == "cuda" for parameter in layer.parameters() if parameter.grad is not None)
    for parameter, gradient in zip(layer.parameters(), expected):
        torch.testing.assert_close(parameter.grad.cpu(), gradient)


def test_two_gpus_are_two_devices() -> None:
    with pretend(2) as gpu:
        first, second = torch.ones(2, device="cuda"), torch.ones(2, device="cuda:1")
        with pytest.raises(RuntimeError, match="of the GPUs"):
            first + second
        torch.cuda.set_device(1)
        assert torch.ones(2, device="cuda").device == torch.device("cuda", 1) and torch.cuda.current_device() == 1
        assert torch.equal(first.to("cuda:1").cpu() + 1, second.cpu() + 1)
        assert gpu.launches


def test_an_event_is_a_wait_only_if_nothing_was_queued_after_it(pretended_gpu: Gpu) -> None:
    x = torch.ones(3, device="cuda")
    event = torch.cuda.Event()
    event.record()
    x.add_(1)
    event.synchronize()
    assert pretended_gpu.waits == []
    event.record()
    event.synchronize()
    assert len(pretended_gpu.waits) == 1


def test_threads_believe_too_and_afterwards_nobody_does() -> None:
    available = torch.cuda.is_available()
    said: List[str] = []
    with pretend():
        thread = threading.Thread(target=lambda: said.append(str(torch.zeros(1, device="cuda").device)))
        thread.start()
        thread.join()
        assert torch.cuda.is_available()
    assert said == ["cuda:0"]
    assert torch.cuda.is_available() == available
    assert torch.ones(2).add(1).tolist() == [2.0, 2.0]
