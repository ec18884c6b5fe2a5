"""The engine of recipes: what is done once stays done, what changed is done again, and a kill loses nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, List, Sequence, Tuple

import pytest

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.recipes.engine import Recipe, alone, status_table
from softhubert_plugin.recipes.processes import Machine, end_leftovers, gpus_here
from softhubert_plugin.recipes.stages import Graph, Stage, script
from softhubert_plugin.recipes.start import start

REPOSITORY = Path(__file__).parents[1]


def _shell(name: str, line: str, **more: Any) -> Stage:
    return Stage(name, (("sh", "-c", line),), **more)


def _chain(folder: Path, amount: str = "1") -> List[Stage]:
    """``a`` makes a file, ``b`` and ``c`` read it, ``d`` reads theirs. Each notes in ``ran`` that it ran."""
    a, b, c, d = (str(folder / name) for name in "abcd")
    ran = folder / "ran"
    return [
        _shell("a", f"echo a >>{ran}; echo {amount} >{a}", outputs=(a,)),
        _shell("b", f"echo b >>{ran}; cat {a} >{b}", inputs=(a,), outputs=(b,)),
        _shell("c", f"echo c >>{ran}; cat {a} >{c}", inputs=(a,), outputs=(c,)),
        _shell("d", f"echo d >>{ran}; cat {b} {c} >{d}", inputs=(b, c), outputs=(d,)),
    ]


def _run(stages: Sequence[Stage], folder: Path, *, jobs: int = 2, chosen: Sequence[str] = ()) -> List[str]:
    """Run stages. Return the names of those that ran."""
    graph = Graph(stages)
    (folder / "ran").write_text("")
    start(graph, [stage for stage in graph.stages if not chosen or stage.name in chosen], folder, {}, jobs=jobs)
    return sorted((folder / "ran").read_text().split())


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_stages_run_in_order_once(jobs: int, tmp_path: Path) -> None:
    assert _run(_chain(tmp_path), tmp_path, jobs=jobs) == ["a", "b", "c", "d"]
    assert (tmp_path / "d").read_text() == "1\n1\n"
    assert _run(_chain(tmp_path), tmp_path, jobs=jobs) == []


def test_other_settings_redo_what_depends_on_them_and_nothing_else(tmp_path: Path) -> None:
    _run(_chain(tmp_path), tmp_path)
    stages = _chain(tmp_path)
    stages[1] = _shell("b", f"echo b >>{tmp_path}/ran; echo other >{tmp_path}/b", inputs=stages[1].inputs, outputs=stages[1].outputs)
    assert _run(stages, tmp_path) == ["b", "d"]
    assert (tmp_path / "d").read_text() == "other\n1\n"
    assert _run(_chain(tmp_path, "2"), tmp_path) == ["a", "b", "c", "d"]


def test_a_missing_output_is_made_again(tmp_path: Path) -> None:
    _run(_chain(tmp_path), tmp_path)
    (tmp_path / "c").unlink()
    assert _run(_chain(tmp_path), tmp_path) == ["c"]


def test_a_file_from_outside_that_changes_redoes_what_depends_on_it(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("one")
    stages = _chain(tmp_path)
    stages[1] = replace(stages[1], reads=(f"{tmp_path}/train.tsv",))
    assert _run(stages, tmp_path) == ["a", "b", "c", "d"]
    os.utime(tmp_path / "train.tsv", (1, 1))
    assert _run(stages, tmp_path) == []
    (tmp_path / "train.tsv").write_text("other")
    assert _run(stages, tmp_path) == ["b", "d"]


def test_outputs_that_later_stages_remove_are_made_again_only_for_those_that_need_them(tmp_path: Path) -> None:
    def stages(*more: str) -> List[Stage]:
        features, done = str(tmp_path / "features"), str(tmp_path / "removed")
        users = [
            _shell(
                name,
                f"echo {name} >>{tmp_path}/ran; cat {features} >{tmp_path}/{name}",
                inputs=(features,),
                outputs=(f"{tmp_path}/{name}",),
            )
            for name in ("km", "gmm", *more)
        ]
        first = _shell("features", f"echo features >>{tmp_path}/ran; echo 1 >{features}", outputs=(features,), passing=True)
        last = _shell("clean", f"rm {features}; touch {done}", inputs=tuple(user.outputs[0] for user in users), outputs=(done,))
        return [first, *users, last]

    assert _run(stages(), tmp_path) == ["features", "gmm", "km"]
    assert not (tmp_path / "features").exists()
    assert _run(stages(), tmp_path) == []
    assert _run(stages("other"), tmp_path) == ["features", "other"]
    assert not (tmp_path / "features").exists()


def test_a_failed_stage_stops_the_recipe_with_its_status_and_shows_its_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stages = _chain(tmp_path)
    stages[1] = _shell("b", "echo the reason >&2; exit 7", inputs=stages[1].inputs, outputs=stages[1].outputs)
    with pytest.raises(SystemExit) as ended:
        _run(stages, tmp_path)
    said = capfd.readouterr()
    assert ended.value.code == 7 and "the reason" in said.err and str(tmp_path / "logs" / "b.log") in said.out
    assert not (tmp_path / "d").exists()
    assert "b                            started, not ended" in status_table(tmp_path)
    assert "b" in _run(_chain(tmp_path), tmp_path)


def test_a_command_that_is_not_there_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _run([Stage("a", (("no-such-command",),))], tmp_path)
    assert ended.value.code == 127 and "no-such-command: cannot be started" in capfd.readouterr().err


def test_a_training_goes_on_only_with_the_settings_it_was_started_with(tmp_path: Path) -> None:
    def stages(amount: int) -> List[Stage]:
        run = tmp_path / "run"
        line = f"mkdir -p {run}; echo {amount} >>{run}/updates; [ -e {tmp_path}/healthy ]"
        return [_shell("train", line, outputs=(str(run),), continues=True)]

    for _ in range(2):
        with pytest.raises(SystemExit):
            _run(stages(1), tmp_path)
    assert (tmp_path / "run" / "updates").read_text() == "1\n1\n"
    (tmp_path / "healthy").touch()
    _run(stages(2), tmp_path)
    assert (tmp_path / "run" / "updates").read_text() == "2\n"


def test_some_stages_run_only_if_what_they_need_is_done(tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match=r"stage a \(number 0\) is not done yet; give --stage 0"):
        _run(_chain(tmp_path), tmp_path, chosen=("b",))
    assert _run(_chain(tmp_path), tmp_path, chosen=("a",)) == ["a"]
    assert _run(_chain(tmp_path), tmp_path, chosen=("b", "c")) == ["b", "c"]
    assert "3 of 4 stages are done" in status_table(tmp_path)


def test_a_package_that_a_late_stage_needs_is_missed_before_the_first_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = _chain(tmp_path)
    stages[-1] = replace(stages[-1], extra="lm")
    absent = {"kenlm"}
    monkeypatch.setattr("softhubert_plugin.requirements.installed_version", lambda name: None if name in absent else "1")
    with pytest.raises(SoftHubertError, match=r"^stage d needs kenlm; install the extra 'lm': bash install\.sh --extras lm$"):
        _run(stages, tmp_path)
    assert not (tmp_path / "a").exists()
    assert _run(stages, tmp_path, chosen=("a", "b", "c")) == ["a", "b", "c"]  # none of them needs it
    absent.add("flashlight-text")
    with pytest.raises(SoftHubertError, match="stage d needs flashlight-text and kenlm"):
        _run(stages, tmp_path)
    absent.clear()
    assert _run(stages, tmp_path) == ["d"]
    absent.add("kenlm")
    assert _run(stages, tmp_path) == []  # all is done, so nothing is needed


@pytest.mark.parametrize(
    "stages",
    [
        [Stage("a", (("true",),)), Stage("a", (("true",),))],
        [Stage("a", (("true",),), outputs=("x",)), Stage("b", (("true",),), outputs=("x",))],
        [Stage("a", (("true",),), inputs=("x",)), Stage("b", (("true",),), outputs=("x",))],
    ],
    ids=["one name twice", "one output twice", "an input that nothing before makes"],
)
def test_a_graph_that_is_none_is_refused(stages: List[Stage]) -> None:
    with pytest.raises(SoftHubertError, match="its name or an output is taken, or no stage before it makes"):
        Graph(stages)


def test_the_commands_of_a_dry_run_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    stages = [Stage("say", (("sh", "-c", f'echo "it\'s 1 $0" >{tmp_path}/said', "two  words"),))]
    subprocess.run(["bash"], input=script(stages), text=True, check=True)
    assert (tmp_path / "said").read_text() == "it's 1 two  words\n"


def test_gpus_are_shared_out_and_shards_take_one_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert gpus_here() == ["3", "5"]
    machine, log = Machine(tmp_path), tmp_path / "log"
    shards = Stage("shards", tuple(("sh", "-c", "echo $CUDA_VISIBLE_DEVICES; sleep 0.2") for _ in range(4)), shards=True, gpus=1)
    assert machine.run(shards, log) == 0
    used = [line for line in log.read_text().splitlines() if not line.startswith("+")]
    assert sorted(used) == ["3", "3", "5", "5"]
    both = Stage("both", (("sh", "-c", "echo $CUDA_VISIBLE_DEVICES"),), gpus=8)
    assert machine.run(both, log) == 0 and log.read_text().splitlines()[1] in ("3,5", "5,3")


def test_a_number_of_threads_is_what_the_user_or_else_the_stage_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, stage = tmp_path / "log", Stage("a", (("sh", "-c", "echo $OMP_NUM_THREADS"),), threads=1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert Machine(tmp_path).run(stage, log) == 0 and log.read_text().splitlines()[1] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert Machine(tmp_path).run(stage, log) == 0 and log.read_text().splitlines()[1] == "3"


def test_two_recipes_do_not_work_in_one_folder(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(SoftHubertError, match="another recipe is running there"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "stages.json").write_text("{")
    with pytest.raises(SoftHubertError, match=r"stages\.json: not valid JSON"):
        Recipe(Graph(_chain(tmp_path)), tmp_path)
    (tmp_path / "recipe.json").write_text("[]")
    with pytest.raises(SoftHubertError, match=r"recipe\.json: not the description of a recipe"):
        status_table(tmp_path)


_WORK = """
import signal
import sys
from pathlib import Path
from softhubert_plugin.recipes.stages import Graph, Stage
from softhubert_plugin.recipes.start import start

if sys.argv[2:]:
    signal.signal(signal.SIGINT, getattr(signal, sys.argv[2]))
folder = Path(sys.argv[1])
slow = "import sys, time; p = sys.argv[1]; open(p, 'w').write(''); [(time.sleep(0.02), open(p, 'a').write(f'{i}\\\\n')) for i in range(10)]"
stages, made = [], ()
for number in range(16):
    outputs = tuple(str(folder / f"{number}{side}") for side in "ab")
    for output in outputs:
        command = (sys.executable, "-S", "-c", slow, output)
        stages.append(Stage(f"make-{Path(output).name}", (command, ("touch", output + ".ended")), made, (output, output + ".ended")))
    made = outputs
stages.append(Stage("report", (("sh", "-c", f"cat {' '.join(made)}"),), made))
print(start(Graph(stages), stages, folder, {}, jobs=2))
"""


def _work(folder: Path, *interrupts: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WORK, str(folder), *interrupts]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def _table(folder: Path) -> Tuple[int, str]:
    done = _work(folder)
    said, error = done.communicate(timeout=120)
    return done.returncode, "\n".join(line for line in said.splitlines() if not line.startswith(("  ", "softhubert:"))) + error


def test_a_recipe_killed_ten_times_ends_with_the_same_table(tmp_path: Path) -> None:
    expected = _table(tmp_path / "undisturbed")
    assert expected[0] == 0 and expected[1].count("9") == 2
    folder, chance = tmp_path / "killed", random.Random(3)
    started = 0
    for _ in range(10):
        process = _work(folder)
        time.sleep(chance.uniform(0.3, 0.8))
        started += process.poll() is None
        process.kill()  # only the engine: its stages go on until the next run ends them
        process.communicate()
    assert started >= 5
    assert _table(folder) == expected
    records = json.loads((folder / "stages.json").read_text())
    assert len(records) == 33 and all(record["_values_:"]["status"] == 0 for record in records.values())


def test_what_a_killed_run_left_running_is_ended(tmp_path: Path) -> None:
    environment = {**os.environ, "SOFTHUBERT_RECIPE": str(tmp_path)}
    left = subprocess.Popen(["sleep", "60"], env=environment)
    other = subprocess.Popen(["sleep", "60"], env={**os.environ, "SOFTHUBERT_RECIPE": str(tmp_path / "other")})
    try:
        time.sleep(0.1)
        assert end_leftovers(tmp_path) == 1
        assert left.wait(10) == -signal.SIGKILL and other.poll() is None
    finally:
        left.kill()
        other.kill()


def test_an_interrupted_recipe_ends_its_stages(tmp_path: Path) -> None:
    # A shell starts a job in the background with SIGINT ignored; these tests may be such a job too.
    for number, interrupts in ((signal.SIGINT, "default_int_handler"), (signal.SIGTERM, "SIG_IGN")):
        process = _work(tmp_path / str(number), interrupts)
        for _ in range(600):
            if (tmp_path / str(number) / "0a").exists():
                break
            time.sleep(0.05)
        os.kill(process.pid, number)
        process.communicate(timeout=20)
        assert process.returncode == 130
        assert end_leftovers(tmp_path / str(number)) == 0
