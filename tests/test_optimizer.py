"""The fused optimizer: its steps equal PyTorch's AdamW and, up to the effect of eps, fairseq's adam; its state resumes."""

from __future__ import annotations

import copy
from typing import Any, Dict, List

import pytest
import torch
from fairseq.optim import build_optimizer
from fairseq.optim.adam import FairseqAdamConfig
from omegaconf import OmegaConf

from softhubert_plugin.optim.fused_adamw import FusedAdamWConfig

SETTINGS = {"lr": [0.01], "adam_betas": "(0.9,0.98)", "adam_eps": 1e-9, "weight_decay": 0.1}


def _built(kind: Any, parameters: List[torch.nn.Parameter], **changes: Any) -> Any:
    name = "fused_adamw" if kind is FusedAdamWConfig else "adam"
    cfg = OmegaConf.merge(OmegaConf.structured(kind), SETTINGS, {"_name": name}, {"tpu": False} if name == "adam" else {}, changes)
    return build_optimizer(cfg, parameters)


def _parameters() -> List[torch.nn.Parameter]:
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(7, 5)), torch.nn.Parameter(torch.randn(11))]


def _gradients(step: int) -> List[torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(7, 5, generator=generator), torch.randn(11, generator=generator)]


def _run(optimizer: Any, parameters: List[torch.nn.Parameter], first: int, last: int) -> None:
    for step in range(first, last):
        for parameter, gradient in zip(parameters, _gradients(step)):
            parameter.grad = gradient
        if step == 6:
            optimizer.set_lr(0.003) if hasattr(optimizer, "set_lr") else optimizer.param_groups[0].update(lr=0.003)
        optimizer.step()


def test_its_steps_equal_those_of_torchs_adamw_and_of_fairseqs_adam() -> None:
    ours, theirs, stock = _parameters(), _parameters(), _parameters()
    fused = _built(FusedAdamWConfig, ours)
    assert fused.optimizer.param_groups[0]["fused"] is True
    _run(fused, ours, 0, 12)
    _run(torch.optim.AdamW(theirs, lr=0.01, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.1), theirs, 0, 12)
    _run(_built(FairseqAdamConfig, stock), stock, 0, 12)
    for one, two, three in zip(ours, theirs, stock):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(one, three, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("started_with", [FusedAdamWConfig, FairseqAdamConfig])
def test_it_resumes_from_its_own_state_and_from_that_of_fairseqs_adam(started_with: Any) -> None:
    whole, halved = _parameters(), _parameters()
    _run(_built(FusedAdamWConfig, whole), whole, 0, 10)
    first = _built(started_with, halved)
    _run(first, halved, 0, 5)
    state: Dict[str, Any] = copy.deepcopy(first.state_dict())
    second = _built(FusedAdamWConfig, halved)
    second.load_state_dict(state)
    assert second.optimizer.param_groups[0]["fused"] is True
    _run(second, halved, 5, 10)
    for one, other in zip(whole, halved):
        if started_with is FusedAdamWConfig:
            assert torch.equal(one, other)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("betas", ["(0.9)", "(0.9,1.5)", "__import__('os').getpid()", [0.9, 0.98, 0.99]])
def test_betas_that_make_no_sense_are_refused_and_never_evaluated(betas: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _built(FusedAdamWConfig, _parameters(), adam_betas=betas)
    assert "optimizer.adam_betas" in capsys.readouterr().err
