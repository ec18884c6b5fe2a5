"""The program that ``examples/librispeech/run.sh --slurm`` submits each command with, on submitit's local executor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SUBMIT = Path(__file__).parents[1] / "examples" / "librispeech" / "submit.py"
needs_submitit = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import submitit"], check=False, capture_output=True).returncode != 0,
    reason="needs submitit: bash install.sh --extras slurm",
)


def _submit(tmp_path: Path, *command: str, cluster: str = "local") -> subprocess.CompletedProcess[str]:
    options = ["--folder", str(tmp_path / "jobs"), "--cluster", cluster, "--cpus", "1", "--hours", "1"]
    started = [sys.executable, str(SUBMIT), *options, "--", *command]
    return subprocess.run(started, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=120)


@needs_submitit
def test_a_job_runs_in_the_folder_of_its_caller_and_its_output_comes_back(tmp_path: Path) -> None:
    done = _submit(tmp_path, "bash", "-c", "echo said; pwd >where; echo warned >&2", "--", "--option of the command")
    assert done.returncode == 0, done.stderr
    assert "said\n" in done.stdout and "warned\n" in done.stderr
    assert (tmp_path / "where").read_text().strip() == str(tmp_path.resolve())
    assert any("said" in log.read_text() for log in (tmp_path / "jobs").glob("*.out"))


@needs_submitit
def test_a_job_that_fails_passes_on_its_status_and_names_its_logs(tmp_path: Path) -> None:
    done = _submit(tmp_path, "bash", "-c", "echo the reason >&2; exit 3")
    assert done.returncode == 3 and "the reason" in done.stderr
    assert f"failed with status 3; its logs are in {tmp_path}/jobs" in done.stderr and "Traceback" not in done.stderr
    assert _submit(tmp_path, "no-such-command").returncode == 127


@needs_submitit
def test_a_job_that_is_killed_is_reported(tmp_path: Path) -> None:
    done = _submit(tmp_path, "bash", "-c", "kill -9 $PPID")
    assert done.returncode == 1 and "did not end" in done.stderr and "Traceback" not in done.stderr


@needs_submitit
def test_a_machine_without_slurm_gets_one_line(tmp_path: Path) -> None:
    done = _submit(tmp_path, "true", cluster="slurm")
    if done.returncode == 0:
        pytest.skip("there is a Slurm here")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "--cluster local" in done.stderr


def test_missing_submitit_is_reported_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "submitit.py").write_text("raise ImportError\n")
    code = f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['submit', '--folder', 'jobs', 'true']; "
    code += f"runpy.run_path({str(SUBMIT)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.strip().endswith("install it by: bash install.sh --extras slurm")
