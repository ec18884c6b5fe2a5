"""Share work among the processes that ``torchrun`` starts, through PyTorch's own process groups.

Every function also works in a single process without a group, where sums and gathered values are the process's own.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Iterator, List, Sequence, TypeVar

import torch
import torch.distributed as dist

from softhubert_plugin.errors import SoftHubertError

T = TypeVar("T")

# gloo's threads may still be giving back the last messages, for which they need Python's lock. Leaving the group holds the lock and waits
# for the threads, forever if they wait for the lock (three of eight runs with torch 2.4). In this many seconds of sleep they get it.
_BEFORE_LEAVING = 0.5


@contextlib.contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the process group that ``torchrun`` describes in the environment, and leave it at the end.

    Without such a group, or inside one that is already joined, nothing happens.

    Args:
        device: where the caller computes, as :func:`local_device` gives it. The group sends tensors on GPUs over NCCL, all else over gloo.
    """
    on_gpu = device.startswith("cuda")
    if on_gpu:
        # NCCL works on the current GPU, which is cuda:0 in every process until another is set: they would wait for each other forever.
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    try:
        yield
    finally:
        time.sleep(_BEFORE_LEAVING)
        dist.destroy_process_group()


def local_device(device: str) -> str:
    """Turn ``cuda`` into this process's own GPU, ``cuda:{LOCAL_RANK}``; return any other device as it is.

    Raises:
        SoftHubertError: ``torchrun`` started more processes on this machine than it has GPUs.
    """
    if device != "cuda":
        return device
    number, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= gpus:
        raise SoftHubertError(
            f"process {number + 1} of this machine has no GPU of its own ({gpus} GPUs); start torchrun with --nproc_per_node {gpus}, "
            "or give --device cpu"
        )
    return f"cuda:{number}"


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def own_share(items: Sequence[T]) -> List[T]:
    """The items that this process works on: every N-th item for N processes, so that all have about the same amount of work."""
    return list(items[rank() :: dist.get_world_size()]) if dist.is_initialized() else list(items)


def add_up(tensor: torch.Tensor) -> None:
    """Sum a tensor over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(tensor)


def gather(value: Any) -> List[Any]:
    """Collect the value of every process, in rank order."""
    if not dist.is_initialized():
        return [value]
    values: List[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def from_first(value: T) -> T:
    """Give every process the first process's value."""
    if not dist.is_initialized():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]
