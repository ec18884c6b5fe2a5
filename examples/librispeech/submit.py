"""Run one command as a Slurm job through submitit and wait for it. ``run.sh --slurm`` runs each of its commands this way.

The job's log receives the command's output as it comes. When the job has ended, the log is printed. This program exits with the command's
exit status.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import List, NoReturn, Optional, Sequence


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Submit the job, wait for it, print its log and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--folder", required=True, help="folder for the logs of jobs")
    parser.add_argument("--cluster", default="slurm", help="slurm, or local to run the job on this machine (default: %(default)s)")
    parser.add_argument("--partition", help="Slurm partition (default: the cluster's own)")
    parser.add_argument("--gpus", type=int, default=0, help="number of GPUs, all on one node (default: %(default)s)")
    parser.add_argument("--cpus", type=int, default=16, help="number of CPU cores (default: %(default)s)")
    parser.add_argument("--hours", type=int, default=72, help="time limit of the job, in hours (default: %(default)s)")
    parser.add_argument("command", nargs="+", help="the command and its arguments, after --")
    options = parser.parse_args(argv)
    try:
        import submitit
    except ImportError:
        refuse("--slurm needs submitit; install it by: bash install.sh --extras slurm")
    try:
        executor = submitit.AutoExecutor(folder=options.folder, cluster=options.cluster)
    except (RuntimeError, ValueError) as error:
        refuse(f"--cluster {options.cluster}: not available here ({one_line(error)}); run this where sbatch is, or give --cluster local")
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
    """Run the command inside the job, with its output in the job's log. Return the command's exit status."""
    try:
        return subprocess.call(command, cwd=folder)
    except FileNotFoundError as error:
        print(f"softhubert: error: {error}", file=sys.stderr)
        return 127


def one_line(error: Exception) -> str:
    """Return an error's message on one line, at most its last 300 characters."""
    return " ".join(str(error).split())[-300:]


def refuse(message: str) -> NoReturn:
    """Print an error in one line on stderr and exit with status 2."""
    print(f"softhubert: error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(main())
