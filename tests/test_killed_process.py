"""One of two training processes (gloo) is killed: the other one ends with a message, and the same command resumes from the checkpoint."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import List

import pytest
import torch

import softhubert_plugin
from softhubert_plugin.configurations import configuration_folder

PLUGIN = Path(softhubert_plugin.__file__).parent
SECONDS = 300  # far more than even a busy machine needs


class Run:
    """Two processes that train the tiny model, started by ``torchrun`` or, as Slurm does, one by one."""

    def __init__(self, corpus: Path, launcher: str, updates: int) -> None:
        self.corpus, self.launcher = corpus, launcher
        training = [str(Path(sys.prefix) / "bin" / "fairseq-hydra-train"), "--config-dir", str(configuration_folder() / "pretrain")]
        training += ["--config-name", "soft_hubert_tiny", f"common.user_dir={PLUGIN}", f"task.data={corpus}"]
        training += [f"task.label_dir={corpus / 'labels'}", f"hydra.run.dir={corpus / 'run'}", f"optimization.max_update={updates}"]
        training += ["distributed_training.distributed_world_size=2", "distributed_training.distributed_backend=gloo"]
        training += ["model.encoder_layers=1", "model.encoder_embed_dim=32", "model.encoder_ffn_embed_dim=32"]
        training += ["dataset.max_tokens=30000", "checkpoint.save_interval_updates=10", "dataset.validate_interval_updates=10"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        if launcher == "torchrun":
            command = [str(Path(sys.prefix) / "bin" / "torchrun"), "--nproc_per_node", "2", "--master_port", self.port]
            self.started = [self._start([*command, *training], "torchrun")]
        else:
            self.started = [self._start(training, str(rank), RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]

    def _start(self, command: List[str], name: str, **ranks: str) -> subprocess.Popen:
        environment = {**os.environ, "HYDRA_FULL_ERROR": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PLUGIN.parent), **ranks}
        environment.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=self.port, WORLD_SIZE="2")
        with open(self.corpus / f"{name}.log", "w", encoding="utf-8") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=self.corpus)

    def output(self) -> str:
        """Return what the surviving process or the launcher wrote."""
        return (self.corpus / ("torchrun.log" if self.launcher == "torchrun" else "0.log")).read_text(encoding="utf-8")

    def trainers(self) -> List[int]:
        """Return the ids of the processes that train."""
        if self.launcher != "torchrun":
            return [process.pid for process in self.started]
        children = Path(f"/proc/{self.started[0].pid}/task/{self.started[0].pid}/children").read_text(encoding="ascii").split()
        return [int(child) for child in children if b"fairseq-hydra-train" in Path(f"/proc/{child}/cmdline").read_bytes()]

    def wait(self) -> List[int]:
        """Wait for the processes and return their exit statuses."""
        return [process.wait(timeout=SECONDS) for process in self.started]

    def end(self) -> None:
        """Kill the processes that still run."""
        for process in self.started:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "one by one"])
def test_a_killed_process_ends_the_run_and_the_same_command_resumes_it(launcher: str, labelled_corpus: Path) -> None:
    saved = labelled_corpus / "run" / "checkpoints" / "checkpoint_last.pt"
    run = Run(labelled_corpus, launcher, updates=1_000_000)
    try:
        deadline = time.monotonic() + SECONDS
        while not saved.exists() and time.monotonic() < deadline and all(process.poll() is None for process in run.started):
            time.sleep(0.1)
        assert saved.exists(), run.output()[-3000:]
        time.sleep(1)
        os.kill(run.trainers()[1], signal.SIGKILL)
        assert all(run.wait())  # the run neither hangs nor succeeds
    finally:
        run.end()
    clue = r"Signal 9 \(SIGKILL\) received by PID" if launcher == "torchrun" else r"Connection (reset|closed) by peer"
    assert re.search(clue, run.output())
    assert sorted(path.name for path in saved.parent.iterdir() if not path.name.startswith("checkpoint_")) == []

    done = torch.load(saved, weights_only=True)["optimizer_history"][-1]["num_updates"]
    assert done >= 10
    run = Run(labelled_corpus, launcher, updates=done + 4)
    try:
        assert run.wait() == [0] * len(run.started), run.output()[-3000:]
    finally:
        run.end()
    assert re.search(rf"Loaded checkpoint .*@ {done} updates", run.output())
    assert torch.load(saved, weights_only=True)["optimizer_history"][-1]["num_updates"] == done + 4
