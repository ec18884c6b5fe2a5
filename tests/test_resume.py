"""Training on real speech: the loss falls, and a run that is killed and resumed ends with the weights of an uninterrupted run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List

import pytest
import torch

from softhubert_plugin.cli import main

REPOSITORY = Path(__file__).parents[1]
UPDATES, KILL_AFTER = 300, 100


@pytest.fixture(scope="module")
def labelled_speech(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment folder: real LibriSpeech utterances with soft labels of 50 components."""
    exp = tmp_path_factory.mktemp("speech")
    data, mfcc, gmm, labels = (str(exp / name) for name in ("data", "mfcc", "gmm.safetensors", "labels"))
    assert main(["manifest", "folder", str(speech / "LibriSpeech"), "--dest", data, "--ext", "flac", "--valid-percent", "0.05"]) == 0
    for split in ("train", "valid"):
        assert main(["features", "mfcc", data, split, "1", "0", mfcc]) == 0
    assert main(["gmm", "learn", mfcc, "train", "1", gmm, "50", "--percent", "0.1", "--iterations", "20"]) == 0
    for split in ("train", "valid"):
        assert main(["gmm", "dump", mfcc, split, gmm, "1", "0", labels]) == 0
        assert main(["labels", "merge", labels, split, "1"]) == 0
    return exp


def _command(exp: Path, run: Path, optimizer: str) -> List[str]:
    return [
        str(Path(sys.prefix) / "bin" / "fairseq-hydra-train"),
        *("--config-dir", str(REPOSITORY / "config" / "pretrain"), "--config-name", "soft_hubert_tiny"),
        *(f"task.data={exp / 'data'}", f"task.label_dir={exp / 'labels'}", f"hydra.run.dir={run}"),
        *(f"common.user_dir={REPOSITORY / 'softhubert_plugin'}", f"optimization.max_update={UPDATES}"),
        f"optimizer._name={optimizer}",
        # Layer drop and dropout must also be the same after resuming.
        *("model.dropout=0.1", "model.encoder_layerdrop=0.1", "dataset.num_workers=1"),
        *(f"checkpoint.save_interval_updates={KILL_AFTER}", "dataset.validate_interval_updates=100"),
    ]


def _start(exp: Path, run: Path, optimizer: str) -> subprocess.Popen:
    run.mkdir(exist_ok=True)
    environment = {**os.environ, "HYDRA_FULL_ERROR": "1", "PYTHONPATH": str(REPOSITORY)}
    with open(run / "output.log", "a", encoding="utf-8") as log:
        return subprocess.Popen(_command(exp, run, optimizer), stdout=log, stderr=log, env=environment, cwd=run)


def _finish(training: subprocess.Popen, run: Path) -> None:
    assert training.wait() == 0, (run / "output.log").read_text()[-3000:]


def _weights(run: Path) -> Dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "checkpoint_last.pt", weights_only=True)["model"]


def _losses(run: Path) -> List[float]:
    lines = (run / "output.log").read_text().splitlines()
    logged = [line[line.index("{") :] for line in lines if "[train_inner]" in line and "{" in line]
    return [float(json.loads(line)["loss"]) for line in logged]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "fused_adamw"])
def test_a_killed_and_resumed_run_ends_like_an_uninterrupted_one_and_the_loss_falls(
    labelled_speech: Path, tmp_path: Path, optimizer: str
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _finish(_start(labelled_speech, whole, optimizer), whole)
    training = _start(labelled_speech, broken, optimizer)
    saved = broken / "checkpoints" / "checkpoint_last.pt"
    while not saved.exists() and training.poll() is None:
        time.sleep(0.05)
    # Wait until it has made updates that no checkpoint holds.
    logged = len(_losses(broken))
    while len(_losses(broken)) < logged + 2 and training.poll() is None:
        time.sleep(0.05)
    training.kill()
    training.wait()
    before = len(_losses(broken))
    _finish(_start(labelled_speech, broken, optimizer), broken)
    assert before < len(_losses(whole))
    expected, found = _weights(whole), _weights(broken)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    losses = _losses(whole)
    assert sum(losses[-3:]) < 0.85 * sum(losses[:3]), losses
