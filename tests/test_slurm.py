"""Recipes as jobs of a cluster, on submitit's local executor, and what a real cluster is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.recipes.slurm import Cluster
from softhubert_plugin.recipes.stages import Graph, Stage
from softhubert_plugin.recipes.start import start

needs_submitit = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import submitit"], check=False, capture_output=True).returncode != 0,
    reason="needs submitit: bash install.sh --extras slurm",
)


def _stages(folder: Path, middle: str = "true") -> List[Stage]:
    """``a``, then two shards of ``b``, then ``c``."""
    first, second = str(folder / "a"), tuple(str(folder / f"b{number}") for number in range(2))
    shards = tuple(("sh", "-c", f"{middle}; sed s/a/b/ {first} >{path}") for path in second)
    return [
        Stage("a", (("sh", "-c", f"echo said; echo a >{first}"),), (), (first,)),
        Stage("b", shards, (first,), second, shards=True, gpus=1),
        Stage("c", (("sh", "-c", f"cat {second[0]} {second[1]} >{folder}/c"),), second, (f"{folder}/c",)),
    ]


def _start(folder: Path, stages: List[Stage], cluster: str = "local") -> str:
    return start(Graph(stages), stages, folder, {}, cluster=cluster, partition="gpu" if cluster == "slurm" else "")


@needs_submitit
def test_each_stage_is_a_job_that_waits_for_those_it_needs_and_its_output_comes_back(tmp_path: Path) -> None:
    _start(tmp_path, _stages(tmp_path))
    assert (tmp_path / "c").read_text() == "b\nb\n"
    assert "said\n" in (tmp_path / "logs" / "a.log").read_text()
    assert len((tmp_path / "jobs" / "submitted.txt").read_text().split()) == 4  # the shards are jobs of their own
    _start(tmp_path, _stages(tmp_path))
    assert not (tmp_path / "jobs" / "submitted.txt").exists()  # nothing was left to do


@needs_submitit
def test_a_job_that_fails_passes_on_its_status_and_what_needs_it_does_not_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _start(tmp_path, _stages(tmp_path, "echo the reason >&2; exit 3"))
    assert ended.value.code in (1, 3) and "the reason" in (tmp_path / "logs" / "b.log").read_text()
    assert not (tmp_path / "c").exists() and "Traceback" not in capfd.readouterr().err
    _start(tmp_path, _stages(tmp_path))
    assert (tmp_path / "c").read_text() == "b\nb\n"


@needs_submitit
def test_a_job_that_is_killed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # For how many seconds submitit waits for the result of a job that has ended: on a cluster the file may come late, here it may not.
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0.5)
    with pytest.raises(SystemExit) as ended:
        _start(tmp_path, [Stage("a", (("sh", "-c", "kill -9 $PPID"),))])
    assert ended.value.code == 1 and "did not end" in (tmp_path / "logs" / "a.log").read_text()


@needs_submitit
def test_a_machine_without_slurm_gets_one_line(tmp_path: Path) -> None:
    try:
        _start(tmp_path, [Stage("a", (("true",),))], "slurm")
    except SoftHubertError as error:
        assert "--cluster slurm: not available here" in str(error) and "--cluster local" in str(error)
    else:
        pytest.skip("there is a Slurm here")


class _Job:
    def __init__(self, number: int) -> None:
        self.job_id = str(number)

    def result(self) -> int:
        return 0

    def stdout(self) -> str:
        return f"job {self.job_id}\n"

    stderr = stdout

    def cancel(self) -> None:
        pass


class _Executor:
    """Notes what jobs are submitted with."""

    asked: List[Dict[str, Any]] = []  # noqa: RUF012

    def __init__(self, **options: Any) -> None:
        self.parameters: Dict[str, Any] = {}

    def update_parameters(self, **parameters: Any) -> None:
        self.parameters.update(parameters)

    def map_array(self, function: Any, groups: List[Any], threads: List[int]) -> List[_Job]:
        first = 10 * (1 + len(self.asked))
        self.asked.append({**self.parameters, "commands": groups, "jobs": [str(first + number) for number in range(len(groups))]})
        return [_Job(first + number) for number in range(len(groups))]


@needs_submitit
def test_slurm_is_asked_for_gpus_a_partition_arrays_and_dependencies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("submitit.AutoExecutor", _Executor)
    monkeypatch.setattr(_Executor, "asked", [])
    stages = _stages(tmp_path)
    _start(tmp_path, stages, "slurm")
    asked = {one["name"]: one for one in _Executor.asked}
    assert [one["gpus_per_node"] for one in asked.values()] == [0, 1, 0] and {one["slurm_partition"] for one in asked.values()} == {"gpu"}
    assert [len(one["commands"]) for one in asked.values()] == [1, 2, 1]
    assert "slurm_additional_parameters" not in asked["softhubert-a"]
    for name, before in (("softhubert-b", "softhubert-a"), ("softhubert-c", "softhubert-b")):
        dependency = asked[name]["slurm_additional_parameters"]["dependency"]
        assert dependency == "afterok:" + ":".join(asked[before]["jobs"])


def test_missing_submitit_is_reported_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(SoftHubertError, match="install the extra 'slurm': bash install.sh --extras slurm"):
        Cluster(Graph([]), tmp_path).start([])
