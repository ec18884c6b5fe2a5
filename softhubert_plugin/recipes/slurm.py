"""Run each stage as a Slurm job through submitit. Jobs wait for each other in Slurm's queue; shards of a stage are one array of jobs."""

from __future__ import annotations

import os
import subprocess
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Sequence

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.recipes.processes import RECIPE_VARIABLE, command_environment
from softhubert_plugin.recipes.stages import Command, Graph, Stage, shell
from softhubert_plugin.requirements import how_to_install

_HOURS, _CPUS = 72, 16  # what a job asks for
_SUBMITTED = "submitted.txt"


@dataclass
class Cluster:
    """A cluster as a place to run stages.

    Args:
        graph: all stages.
        folder: folder of the jobs' own files.
        kind: ``slurm``, or ``local`` to run the jobs on this machine.
        partition: Slurm's partition; empty for the cluster's own default.
    """

    graph: Graph
    folder: Path
    kind: str = "slurm"
    partition: str = ""
    _jobs: Dict[str, Future[List[Any]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, stages: Sequence[Stage]) -> None:
        """Prepare to run stages, all at the same time: those that are not among them are done."""
        self._executor()
        self.folder.mkdir(parents=True, exist_ok=True)
        record = self.folder / _SUBMITTED
        earlier = record.read_text(encoding="ascii").split() if record.exists() else []
        if earlier and self.kind == "slurm":  # of a run that was killed: they would write to the files that are made now
            subprocess.run(["scancel", *earlier], check=False, capture_output=True)
        record.unlink(missing_ok=True)
        os.environ[RECIPE_VARIABLE] = str(self.folder.parent)  # for jobs on this machine
        self._jobs.update({stage.name: Future() for stage in stages})

    def run(self, stage: Stage, log: Path) -> int:
        """Submit a stage, wait for it, and put its output into the log.

        Returns:
            0, or the exit status of the first command that failed; 1 if its job was lost.
        """
        import submitit

        try:
            jobs = self._submit(stage)
        except BaseException as error:
            self._jobs[stage.name].set_exception(error)
            log.write_text(f"softhubert: error: {stage.name}: cannot be submitted ({_one_line(error)}); check --partition\n")
            return 1
        self._jobs[stage.name].set_result(jobs)
        status, said = 0, []
        for job in jobs:
            try:
                status = status or int(job.result())
                said += [job.stdout() or "", job.stderr() or ""]
            except submitit.core.utils.UncompletedJobError as error:
                status = status or 1
                said.append(f"softhubert: error: job {job.job_id} did not end ({_one_line(error)}); its logs are in {self.folder}\n")
        log.write_text("".join(said), encoding="utf-8")
        return status

    def stop(self) -> None:
        """Cancel all jobs."""
        for future in self._jobs.values():
            if future.done() and future.exception() is None:
                for job in future.result():
                    job.cancel()

    def _submit(self, stage: Stage) -> List[Any]:
        earlier = [job for name in self.graph.before[stage.name] if name in self._jobs for job in self._jobs[name].result()]
        parameters: Dict[str, Any] = {"gpus_per_node": stage.gpus, "name": f"softhubert-{stage.name}"}
        if self.kind == "slurm" and earlier:
            waits = "afterok:" + ":".join(job.job_id for job in earlier)
            parameters["slurm_additional_parameters"] = {"dependency": waits, "kill_on_invalid_dep": "yes"}
        elif any(job.result() for job in earlier):
            raise SoftHubertError("a stage before it failed")
        groups = [[command] for command in stage.commands] if stage.shards else [list(stage.commands)]
        with self._lock:  # an executor's parameters belong to the job that is submitted next
            executor = self._executor()
            executor.update_parameters(**parameters)
            jobs = list(executor.map_array(run_commands, groups, [stage.threads] * len(groups)))
            with open(self.folder / _SUBMITTED, "a", encoding="ascii") as record:
                record.write("".join(f"{job.job_id}\n" for job in jobs))
        return jobs

    def _executor(self) -> Any:
        try:
            import submitit
        except ImportError:
            raise SoftHubertError(f"--slurm needs submitit; {how_to_install('slurm')}") from None
        try:
            executor = submitit.AutoExecutor(folder=self.folder, cluster=self.kind)
        except (RuntimeError, ValueError) as error:
            raise SoftHubertError(
                f"--cluster {self.kind}: not available here ({_one_line(error)}); run this where sbatch is, or give --cluster local"
            ) from None
        executor.update_parameters(timeout_min=60 * _HOURS, cpus_per_task=_CPUS)
        if self.partition:
            executor.update_parameters(slurm_partition=self.partition)
        return executor


def run_commands(commands: Sequence[Command], threads: int) -> int:
    """Run commands in turn, inside a job. Return 0, or the exit status of the first that failed."""
    for command in commands:
        print(f"+ {shell(command)}", flush=True)
        try:
            status = subprocess.call(command, env=command_environment(threads))
        except OSError as error:
            print(f"softhubert: error: {command[0]}: cannot be started ({error.strerror})", flush=True)
            status = 127
        if status:
            return status
    return 0


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[-300:]
