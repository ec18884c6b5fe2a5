"""Several processes as one: PyTorch's own groups, started by ``torchrun``. A process alone passes through unchanged."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Iterator, List, Sequence, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


@contextlib.contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the group that ``torchrun`` describes in the environment, if there is one; gloo on CPUs, NCCL on GPUs."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def local_device(device: str) -> str:
    """``cuda`` → this process's own GPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device


def rank() -> int:
    """Which process this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def own_share(items: Sequence[T]) -> List[T]:
    """The items this process works on: every so-manieth, so that all have about as much to do."""
    return list(items[rank() :: dist.get_world_size()]) if dist.is_initialized() else list(items)


def add_up(tensor: torch.Tensor) -> None:
    """Sum a tensor over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(tensor)


def gather(value: Any) -> List[Any]:
    """The value of every process, in rank order."""
    if not dist.is_initialized():
        return [value]
    values: List[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def from_first(value: T) -> T:
    """The first process's value."""
    if not dist.is_initialized():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]
