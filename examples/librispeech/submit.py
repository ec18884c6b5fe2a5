"""Runs one command as a Slurm job through submitit, and waits for it: what ``run.sh --slurm`` does with each of its commands."""

from __future__ import annotations

import argparse
import sys

import submitit


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", required=True, help="for the jobs' logs")
    parser.add_argument("--cluster", default="slurm", help="slurm, or local to try it without one (default: %(default)s)")
    parser.add_argument("--partition", help="Slurm partition")
    parser.add_argument("--gpus", type=int, default=0, help="of one node (default: %(default)s)")
    parser.add_argument("--cpus", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--hours", type=int, default=72, help="at most (default: %(default)s)")
    parser.add_argument("command", nargs="+", help="after --")
    options = parser.parse_args()
    executor = submitit.AutoExecutor(folder=options.folder, cluster=options.cluster)
    executor.update_parameters(timeout_min=60 * options.hours, cpus_per_task=options.cpus, gpus_per_node=options.gpus, name="softhubert")
    if options.partition:
        executor.update_parameters(slurm_partition=options.partition)
    job = executor.submit(submitit.helpers.CommandFunction(options.command, verbose=False))
    try:
        print(job.result())
    except submitit.core.utils.FailedJobError as error:
        print(f"softhubert: error: job {job.job_id} failed: {' '.join(str(error).split())[-500:]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
