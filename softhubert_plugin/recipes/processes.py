"""Run the commands of stages on this machine: their output goes to a log, each gets GPUs of its own, and none outlives its recipe."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Dict, Iterator, List, Set

from softhubert_plugin.recipes.stages import Command, Stage, shell

RECIPE_VARIABLE = "SOFTHUBERT_RECIPE"  # the variable by which a recipe knows its processes


def gpus_here() -> List[str]:
    """Return the GPUs of this machine that CUDA may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], check=False, capture_output=True, text=True).stdout
    except OSError:
        return []
    return [str(number) for number, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


class Machine:
    """This machine as a place to run commands.

    Args:
        folder: the folder of the experiment.
        jobs: how many stages run at the same time. They share the cores: with more threads than cores, threads that wait for each other
            make everything many times slower.
    """

    def __init__(self, folder: Path, jobs: int = 1) -> None:
        self._folder = str(folder)
        self._threads = max(1, len(os.sched_getaffinity(0)) // jobs)
        gpus = gpus_here()
        self.gpus = len(gpus)
        self._free: queue.Queue[str] = queue.Queue()
        for gpu in gpus:
            self._free.put(gpu)
        self._taking = threading.Lock()  # one at a time, so that two commands never hold half of what both need
        self._running: Set[subprocess.Popen[bytes]] = set()

    def run(self, stage: Stage, log: Path) -> int:
        """Run a stage's commands. Their output goes to the log.

        Returns:
            0, or the exit status of the first command that failed.
        """
        with open(log, "wb") as stream:
            if stage.shards and len(stage.commands) > 1:
                with ThreadPoolExecutor(len(stage.commands)) as pool:
                    statuses = list(pool.map(lambda command: self._run(command, stage, stream), stage.commands))
                return next((status for status in statuses if status), 0)
            return next((status for command in stage.commands for status in [self._run(command, stage, stream)] if status), 0)

    def stop(self) -> None:
        """End all commands that are running, with all their processes."""
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _run(self, command: Command, stage: Stage, log: IO[bytes]) -> int:
        with self._devices(stage.gpus) as devices:
            log.write(f"+ {shell(command)}\n".encode())
            log.flush()
            environment = {**command_environment(stage.threads or self._threads), **devices, RECIPE_VARIABLE: self._folder}
            try:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
                )
            except OSError as error:
                log.write(f"softhubert: error: {command[0]}: cannot be started ({error.strerror})\n".encode())
                return 127
            self._running.add(process)
            try:
                return process.wait()
            finally:
                self._running.discard(process)

    @contextlib.contextmanager
    def _devices(self, wanted: int) -> Iterator[Dict[str, str]]:
        count = min(wanted, self.gpus)
        if not count:
            yield {}
            return
        with self._taking:
            taken = [self._free.get() for _ in range(count)]
        try:
            yield {"CUDA_VISIBLE_DEVICES": ",".join(taken)}
        finally:
            for gpu in taken:
                self._free.put(gpu)


def command_environment(threads: int) -> Dict[str, str]:
    """Return the environment of a command: the programs beside this Python come first, and ``threads`` holds unless the user chose."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "HYDRA_FULL_ERROR": "1"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    environment.setdefault("OMP_NUM_THREADS", str(threads or len(os.sched_getaffinity(0))))
    return environment


def end_leftovers(folder: Path) -> int:
    """End processes of an earlier run of the recipe that was killed. They would write to the files that are made now.

    Returns:
        How many there were.
    """
    mark = f"{RECIPE_VARIABLE}={folder}".encode()
    ended: Set[str] = set()
    found = True
    while found:
        found = False
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # another user's process, or one that has ended
                if mark in path.read_bytes().split(b"\0"):
                    os.kill(int(path.parent.name), signal.SIGKILL)
                    ended.add(path.parent.name)
                    found = True
        time.sleep(0.05 * found)
    return len(ended)
