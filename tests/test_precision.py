"""Training in every precision that fairseq's flags offer, and the mixture engine, on a GPU. What a CPU supports is tested there too."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Dict, List, Optional

import numpy as np
import pytest
import torch
from pretended_gpu import pretend

import softhubert_plugin
from softhubert_plugin.cli import main
from softhubert_plugin.configurations import configuration_folder
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import ShardWriter
from softhubert_plugin.gmm.engine import Engine, Sums
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.labels.soft import open_soft_labels
from softhubert_plugin.tasks.precision import check_precision

PLUGIN = Path(softhubert_plugin.__file__).parent
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
PRECISIONS: Dict[str, List[str]] = {
    "float32": [],
    "fp16": ["common.fp16=true"],
    "memory-efficient fp16": ["common.fp16=true", "common.memory_efficient_fp16=true", "optimizer._name=adam"],
    "bf16": ["common.bf16=true"],
    "amp": ["common.amp=true"],
    "autocast_bf16": ["model.autocast_bf16=true"],
}


def _train(corpus: Path, *overrides: str) -> List[float]:
    """Train a small model for six updates and return the loss of each."""
    command = [str(Path(sys.prefix) / "bin" / "fairseq-hydra-train"), "--config-dir", str(configuration_folder() / "pretrain")]
    command += ["--config-name", "soft_hubert_tiny", f"common.user_dir={PLUGIN}", f"task.data={corpus}"]
    command += [f"task.label_dir={corpus / 'labels'}", f"hydra.run.dir={corpus / 'run'}", "optimization.max_update=6"]
    command += ["common.log_interval=1", "lr_scheduler.warmup_updates=2", "model.encoder_layers=1", *overrides]
    environment = {**os.environ, "HYDRA_FULL_ERROR": "1", "PYTHONPATH": str(PLUGIN.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=corpus)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    state = torch.load(corpus / "run" / "checkpoints" / "checkpoint_last.pt", weights_only=True)
    assert all(torch.isfinite(weight.float()).all() for weight in state["model"].values())
    logged = [line[line.index("{") :] for line in output.splitlines() if "[train_inner]" in line and "{" in line]
    return [float(json.loads(line)["loss"]) for line in logged]


@pytest.mark.parametrize(("gpus", "cpu", "why"), [(0, False, "PyTorch finds none here"), (1, True, "common.cpu=true"), (1, False, None)])
def test_fp16_is_refused_where_a_cpu_would_train(gpus: int, cpu: bool, why: Optional[str]) -> None:
    trainer = SimpleNamespace(fp16=True, bf16=False, cpu=cpu)
    with pretend(gpus), pytest.raises(SoftHubertError, match=str(why)) if why else contextlib.nullcontext():
        check_precision(trainer, None)
    check_precision(SimpleNamespace(fp16=False, bf16=True, cpu=True), None)  # PyTorch multiplies in bfloat16 on a CPU too


@pytest.mark.cuda
@pytest.mark.parametrize("precision", PRECISIONS)
def test_training_on_a_gpu_starts_from_the_loss_of_a_cpu(precision: str, labelled_corpus: Path) -> None:
    losses = _train(labelled_corpus, "common.cpu=false", *PRECISIONS[precision])
    # fp16 may skip its first updates until its loss scale fits.
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    cpu = labelled_corpus / "cpu"
    on_cpu = _train(labelled_corpus, f"hydra.run.dir={cpu}", "optimization.max_update=1", f"checkpoint.save_dir={cpu}")
    assert losses[0] == pytest.approx(on_cpu[0], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "autocast_bf16"])
def test_training_on_a_cpu_in_half_precision_lowers_the_loss(precision: str, labelled_corpus: Path) -> None:
    losses = _train(labelled_corpus, *PRECISIONS[precision])
    assert len(losses) == 6 and np.isfinite(losses).all() and losses[-1] < losses[0]


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_training_on_two_gpus(labelled_corpus: Path) -> None:
    losses = _train(
        labelled_corpus, "common.cpu=false", "distributed_training.distributed_world_size=2", "distributed_training.nprocs_per_node=2"
    )
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


@pytest.mark.parametrize("covariance_type", ["diag", "spherical", "tied", "full"])
@pytest.mark.parametrize("device", DEVICES)
def test_an_em_step_in_single_precision_equals_double_precision(device: str, covariance_type: str) -> None:
    rng = np.random.default_rng(0)
    frames = (20 + rng.standard_normal((3_000, 8)) * np.linspace(1, 4, 8)).astype(np.float32)
    shapes = {"diag": (5, 8), "spherical": (5,), "tied": (8, 8), "full": (5, 8, 8)}
    spread = {"tied": torch.eye(8), "full": torch.eye(8).expand(5, 8, 8)}.get(covariance_type, torch.ones(()))
    covariances = (9.0 * spread).expand(shapes[covariance_type]).double().contiguous()
    mixture = GaussianMixture(torch.full((5,), 0.2).double(), torch.from_numpy(frames[:5]).double(), covariances, covariance_type)
    engine = Engine(mixture, device)
    sums = Sums.zeros(mixture, device)
    engine.accumulate(frames, sums)

    joint = torch.from_numpy(mixture.to_sklearn()._estimate_weighted_log_prob(frames.astype(np.float64)))  # scikit-learn, float64
    responsibilities = torch.softmax(joint, 1)
    assert float(sums.log_likelihood) == pytest.approx(float(joint.logsumexp(1).sum()), rel=1e-5)
    torch.testing.assert_close(sums.counts.cpu(), responsibilities.sum(0), rtol=1e-4, atol=1e-3)
    updated = engine.maximise(sums, floor=0.0)
    expected = (responsibilities.T @ torch.from_numpy(frames).double()) / responsibilities.sum(0)[:, None]
    torch.testing.assert_close(updated.means, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.cuda
def test_a_mixture_and_its_labels_equal_those_of_a_cpu(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = 3 * rng.standard_normal((12, 10))
    with ShardWriter(tmp_path, "train", 0, 1, {"kind": "mfcc", "frame_rate": 100.0}) as writer:
        for _ in range(60):
            writer.add((centres[rng.integers(0, 12, 100)] + rng.standard_normal((100, 10))).astype(np.float32))
    files = {}
    for device in ("cpu", "cuda"):
        mixture, labels = str(tmp_path / f"{device}.safetensors"), str(tmp_path / device)
        learn = ["gmm", "learn", str(tmp_path), "train", "1", mixture, "12", "--perplexity", "2", "--iterations", "10", "--device", device]
        assert main(learn) == 0
        assert main(["gmm", "dump", str(tmp_path), "train", str(tmp_path / "cpu.safetensors"), "1", "0", labels, "--device", device]) == 0
        files[device] = GaussianMixture.load(mixture), open_soft_labels(Path(labels) / "train_0_1.gmm")
    (one, soft), (other, soft_too) = files["cpu"], files["cuda"]
    torch.testing.assert_close(other.means, one.means, rtol=1e-3, atol=1e-3)
    assert other.temperature == pytest.approx(one.temperature, rel=1e-3)
    assert soft_too.info.perplexity == pytest.approx(soft.info.perplexity, rel=1e-4)
