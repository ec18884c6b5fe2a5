"""Runs one command as a Slurm job through submitit, and waits for it: what ``run.sh --slurm`` does with each of its commands.

What the command prints goes to the job's log as it comes, and from there to our own output once the job has ended; its exit status is ours.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import List, NoReturn, Optional, Sequence


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--folder", required=True, help="for the jobs' logs")
    parser.add_argument("--cluster", default="slurm", help="slurm, or local to try it without one (default: %(default)s)")
    parser.add_argument("--partition", help="Slurm partition")
    parser.add_argument("--gpus", type=int, default=0, help="of one node (default: %(default)s)")
    parser.add_argument("--cpus", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--hours", type=int, default=72, help="at most (default: %(default)s)")
    parser.add_argument("command", nargs="+", help="after --")
    options = parser.parse_args(argv)
    try:
        import submitit
    except ImportError:
        refuse("--slurm needs submitit; install it by: bash install.sh --extras slurm")
    try:
        executor = submitit.AutoExecutor(folder=options.folder, cluster=options.cluster)
    except (RuntimeError, ValueError) as error:
        refuse(f"--cluster {options.cluster}: not here ({one_line(error)}); start this where sbatch is, or try it with --cluster local")
    executor.update_parameters(timeout_min=60 * options.hours, cpus_per_task=options.cpus, gpus_per_node=options.gpus, name="softhubert")
    if options.partition:
        executor.update_parameters(slurm_partition=options.partition)
    try:
        job = executor.submit(run, options.command, str(Path.cwd()))
    except submitit.core.utils.FailedSubmissionError as error:
        refuse(f"sbatch refused the job ({one_line(error)}); check --partition, --gpus, --cpus and --hours")
    try:
        status = int(job.result())
    except submitit.core.utils.UncompletedJobError as error:
        print(f"softhubert: error: job {job.job_id} did not end: {one_line(error)}; its logs are in {options.folder}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        job.cancel()
        return 130
    finally:
        print(job.stdout() or "", end="")
        print(job.stderr() or "", end="", file=sys.stderr)
    if status:
        print(f"softhubert: error: job {job.job_id} failed with status {status}; its logs are in {options.folder}", file=sys.stderr)
    return status


def run(command: List[str], folder: str) -> int:
    """In the job: run the command, which inherits the job's log."""
    try:
        return subprocess.call(command, cwd=folder)
    except FileNotFoundError as error:
        print(f"softhubert: error: {error}", file=sys.stderr)
        return 127


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[-300:]


def refuse(message: str) -> NoReturn:
    print(f"softhubert: error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(main())
