"""Two processes (gloo) in fairseq's data-parallel wrappers: they get the loss and gradients of one process with twice the batch."""

from __future__ import annotations

import argparse
import gc
import os
import socket
from pathlib import Path
from typing import Any, Dict

import pytest
import torch
import torch.distributed
from test_soft_hubert import _batch, _twins

from softhubert_plugin.criterions.soft_hubert import SoftHubertCriterion
from softhubert_plugin.models.freezing import Freezing

WORLD = 2


def _part(batch: Dict[str, Any], rank: int) -> Dict[str, Any]:
    """One process's share of a batch: half of its utterances, with the targets of their frames."""
    net_input = batch["net_input"]
    utterances, frames = net_input["mask_indices"].shape
    rows = slice(rank * utterances // WORLD, (rank + 1) * utterances // WORLD)
    targets = []
    for regions in batch["target_list"]:
        parts = {}
        for region, selected in regions.items():
            mine = (selected["frames"] >= rows.start * frames) & (selected["frames"] < rows.stop * frames)
            parts[region] = {name: tensor[mine] for name, tensor in selected.items()}
            parts[region]["frames"] = parts[region]["frames"] - rows.start * frames
        targets.append(parts)
    return {"id": batch["id"][rows], "net_input": {name: tensor[rows] for name, tensor in net_input.items()}, "target_list": targets}


def _four_utterances() -> Dict[str, Any]:
    """A batch of four utterances of the same length, so that both processes have the same number of frames."""
    _, batch = _batch(1)
    source = torch.randn(4, 16_000, generator=torch.Generator().manual_seed(2))
    mask = batch["net_input"]["mask_indices"][:1].repeat(4, 1)
    selected = {}
    for region, where in (("masked", mask), ("unmasked", ~mask)):
        frames = where.flatten().nonzero().squeeze(-1)
        selected[region] = {
            "frames": frames,
            "components": (frames[:, None] * torch.tensor([1, 7])) % 20,
            "probabilities": torch.tensor([0.7, 0.3]).expand(len(frames), 2),
        }
    padding = torch.zeros(4, 16_000, dtype=torch.bool)
    net_input = {"source": source, "padding_mask": padding, "mask_indices": mask}
    return {"id": torch.arange(4), "net_input": net_input, "target_list": [selected]}


def _model(frozen_layers: int, updates: int) -> Any:
    _, model = _twins(1)
    if frozen_layers:
        model.freeze(Freezing(layers=frozen_layers, updates=updates))
    return model.train()


def _process(rank: int, port: int, backend: str, frozen_layers: int, updates: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD)
    _step(rank, backend, frozen_layers, updates, folder)
    # The wrapper is part of reference cycles. At the interpreter's normal exit, gloo's threads outlive it and try to take its lock. That
    # aborts the process ("terminate called without an active exception", one run in six). So free the wrapper here and skip that exit.
    gc.collect()
    torch.distributed.destroy_process_group()
    os._exit(0)


def _step(rank: int, backend: str, frozen_layers: int, updates: int, folder: str) -> None:
    from fairseq.models import distributed_fairseq_model
    from fairseq.models.distributed_fairseq_model import DistributedFairseqModel
    from torch.nn.parallel import DistributedDataParallel

    def on_cpu(device_ids: Any = None, output_device: Any = None, **options: Any) -> Any:
        return DistributedDataParallel(**options)  # fairseq always names a GPU, which is wrong for a model on a CPU

    distributed_fairseq_model.DistributedDataParallel = on_cpu
    cfg = argparse.Namespace(
        tpu=False,
        ddp_backend=backend,
        device_id=0,
        broadcast_buffers=False,
        bucket_cap_mb=25,
        find_unused_parameters=True,
        gradient_as_bucket_view=False,
        ddp_comm_hook="none",
    )
    model = DistributedFairseqModel(cfg, _model(frozen_layers, updates), torch.distributed.group.WORLD, torch.device("cpu"))
    loss, sample_size, log = SoftHubertCriterion(None, 1.0, 0.5, [10.0])(model, _part(_four_utterances(), rank))
    loss.backward()
    if hasattr(model, "all_reduce_grads"):
        model.all_reduce_grads()
    totals = torch.stack([loss.detach(), torch.tensor(float(sample_size)), log["accuracy/masked"].float()])
    torch.distributed.all_reduce(totals)
    if rank == 0:
        gradients = {
            name.replace("module.", ""): parameter.grad * WORLD
            for name, parameter in model.module.named_parameters()
            if parameter.grad is not None
        }
        torch.save({"totals": totals, "gradients": gradients}, Path(folder) / "together.pt")


@pytest.mark.parametrize(("frozen_layers", "updates"), [(0, 0), (1, 0), (1, 5)], ids=["unfrozen", "frozen", "frozen for a while"])
@pytest.mark.parametrize("backend", ["no_c10d", "c10d"])
def test_two_processes_learn_the_same_as_one_with_twice_the_batch(backend: str, frozen_layers: int, updates: int, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_process, (port, backend, frozen_layers, updates, str(tmp_path)), nprocs=WORLD)
    together = torch.load(tmp_path / "together.pt", weights_only=True)
    model = _model(frozen_layers, updates)
    loss, sample_size, log = SoftHubertCriterion(None, 1.0, 0.5, [10.0])(model, _four_utterances())
    loss.backward()
    torch.testing.assert_close(
        together["totals"], torch.stack([loss.detach(), torch.tensor(float(sample_size)), log["accuracy/masked"].float()])
    )
    largest = max(float(parameter.grad.abs().max()) for parameter in model.parameters() if parameter.grad is not None)
    for name, parameter in model.named_parameters():
        found = together["gradients"].get(name)
        if parameter.grad is None:  # frozen: no gradient, or zeros from the wrapper
            assert found is None or not found.any(), name
        else:
            torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-6 * largest, msg=lambda m, name=name: f"{name}: {m}")
