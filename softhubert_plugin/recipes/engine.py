"""Run the stages of a recipe, several at a time; do only what is not done yet.

doit (https://pydoit.org) decides which stages are up to date and runs them in parallel. One need of ours fails with it: its database is
written when everything has ended, so that a killed run would lose what it did. :class:`_Database` writes after each stage, and remembers
with which settings a stage was started.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from doit.action import BaseAction
from doit.control import TaskControl
from doit.dependency import Dependency, JsonDB
from doit.exceptions import BaseFail, TaskFailed
from doit.runner import MThreadRunner
from doit.task import Task
from doit.tools import config_changed

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import disk_errors, write_json
from softhubert_plugin.recipes.processes import end_leftovers
from softhubert_plugin.recipes.stages import Graph, Stage
from softhubert_plugin.text_files import read_json

DATABASE = "stages.json"
RECIPE = "recipe.json"
REMEDY = "give the folder of an experiment that 'softhubert recipe' made"
Runner = Callable[[Stage, Path], int]  # runs the commands of a stage with their output in a log, and returns the exit status


class _Database(JsonDB):
    """doit's JSON database; complete on disk at any time. Threads of doit change it at the same time."""

    lock = threading.RLock()

    def set(self, *arguments: Any) -> None:
        with self.lock:
            super().set(*arguments)

    def dump(self) -> None:
        with self.lock:
            write_json(self.name, self._db)

    def begin(self, stage: str, key: str) -> bool:
        """Note that a stage starts. Return whether it was started with other settings before."""
        with self.lock:
            earlier = self.get(stage, "started")
            self.remove(stage)
            self.set(stage, "started", key)
            self.dump()
        return earlier not in (None, key)


class Recipe:
    """The stages of a recipe in the folder of an experiment.

    Args:
        graph: the stages.
        folder: the folder.
        settings: what it was started with, where that was read.
    """

    def __init__(self, graph: Graph, folder: Path, settings: Optional[Dict[str, Any]] = None) -> None:
        self.graph = graph
        self.folder = folder
        self.settings = settings or {}
        path = folder / DATABASE
        if path.exists():
            remedy = "remove it; all stages will be done again"
            found = read_json(path, remedy=remedy)
            if not isinstance(found, dict) or not all(isinstance(record, dict) for record in found.values()):
                raise SoftHubertError(f"{path}: not a record of stages; {remedy}")
        self.records = Dependency(_Database, str(path))
        self.tasks = {stage.name: self._task(stage) for stage in graph.stages}
        self.run: Runner = lambda stage, log: 0

    def done(self, stage: Stage) -> bool:
        """Return whether a stage need not run."""
        return str(self.records.get_status(self.tasks[stage.name], self.tasks).status) == "up-to-date"

    def seconds(self, name: str) -> Optional[float]:
        """Return how long a stage took; ``None`` if it was never done."""
        value = self.records.get_values(name).get("seconds")
        return None if value is None else float(value)

    def execute(self, jobs: int, run: Runner, stages: Sequence[Stage], *, in_order: bool = True) -> int:
        """Run those of some stages that are not done, with one line for each.

        Args:
            jobs: how many stages run at the same time.
            run: runs the commands of one stage.
            stages: the stages; what they need from others is done.
            in_order: whether a stage waits here for those that it needs; otherwise ``run`` sees to it.

        Returns:
            0, or the exit status of the first stage that failed. No stage starts after it.
        """
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        self.run = run
        reporter = _Reporter(self, {stage.name: self.done(stage) for stage in stages})
        if not in_order:
            for task in self.tasks.values():
                task.task_dep = []
        control = TaskControl(list(self.tasks.values()))
        control.process([stage.name for stage in stages])
        MThreadRunner(self.records, reporter, num_process=max(1, jobs)).run_all(control.task_dispatcher())
        return reporter.status

    def _task(self, stage: Stage) -> Task:
        checks: List[Any] = [config_changed(self.graph.keys[stage.name])]
        if stage.passing:
            checks.append(lambda: all(map(self.done, self.graph.after(stage.name))) or all(Path(one).exists() for one in stage.outputs))
        return Task(
            stage.name,
            [_Action(self, stage)],
            task_dep=self.graph.before[stage.name],
            targets=[] if stage.passing else list(stage.outputs),
            uptodate=checks,
            verbosity=0,
        )


class _Action(BaseAction):
    """Runs the commands of a stage, as doit's actions do."""

    def __init__(self, recipe: Recipe, stage: Stage) -> None:
        self._recipe, self._stage = recipe, stage
        self.task = self.out = self.err = self.result = None
        self.values: Dict[str, float] = {}

    def execute(self, out: Any = None, err: Any = None) -> Optional[BaseFail]:
        recipe, stage = self._recipe, self._stage
        started = time.monotonic()
        if recipe.records.backend.begin(stage.name, recipe.graph.keys[stage.name]) and stage.continues:
            for output in map(Path, stage.outputs):
                shutil.rmtree(output) if output.is_dir() and not output.is_symlink() else output.unlink(missing_ok=True)
        status = recipe.run(stage, recipe.folder / "logs" / f"{stage.name}.log")
        self.values = {"seconds": round(time.monotonic() - started, 1), "status": status}
        return TaskFailed(str(status)) if status else None


class _Reporter:
    """Prints a line for each stage when it has ended."""

    def __init__(self, recipe: Recipe, done: Dict[str, bool]) -> None:
        self._recipe, self._done = recipe, done
        self.status = 0

    def __getattr__(self, event: str) -> Callable[..., None]:
        return lambda *arguments: None  # of the other events of doit, nothing is said

    def add_success(self, task: Task) -> None:
        self._recipe.records.backend.dump()
        self._done[task.name] = True
        left = sum(not done for done in self._done.values())
        print(f"  {task.name:28} {task.values['seconds']:7.0f} s" + (f"   {left} to go" if left else ""), flush=True)

    def skip_uptodate(self, task: Task) -> None:
        if task.name in self._done:
            print(f"  {task.name:28} done before", flush=True)

    def add_failure(self, task: Task, failure: BaseFail) -> None:
        recipe, self.status = self._recipe, self.status or 1
        recipe.records.backend.begin(task.name, recipe.graph.keys[task.name])  # doit has forgotten that it was started
        log = recipe.folder / "logs" / f"{task.name}.log"
        if isinstance(failure, TaskFailed):
            self.status = int(failure.message)
            print(f"  {task.name:28} failed; the end of {log}:", flush=True)
            said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:] if log.exists() else []
            print("\n".join(line if len(line) <= 500 else f"{line[:500]} …" for line in said), file=sys.stderr, flush=True)
        elif not self.status:
            print(failure.get_msg(), file=sys.stderr, flush=True)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder of an experiment, so that no other recipe works there; end what a killed one has left running.

    Raises:
        SoftHubertError: another recipe works there, or it is no folder that can be written to.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_WRONLY | os.O_CREAT, 0o666)
    with open(handle, "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SoftHubertError(f"{folder}: another recipe is running there; wait for it, or give another folder with --exp") from None
        ended = end_leftovers(folder)
        if ended:
            print(f"softhubert: ended {ended} processes of an earlier run that was killed", flush=True)
        yield


def write_recipe(graph: Graph, folder: Path, settings: Dict[str, Any]) -> None:
    """Write down what the recipe is, for ``softhubert recipe status``."""
    write_json(folder / RECIPE, {"settings": settings, "stages": [vars(stage) for stage in graph.stages]})


def read_recipe(folder: Path) -> Recipe:
    """Read what :func:`write_recipe` wrote.

    Raises:
        SoftHubertError: there is none, or it is damaged.
    """
    value = read_json(folder / RECIPE, remedy=REMEDY)
    try:
        stages = [Stage(**{key: _tuples(each) for key, each in stage.items()}) for stage in value["stages"]]
        settings = dict(value.get("settings") or {})
    except (TypeError, ValueError, KeyError, AttributeError):
        raise SoftHubertError(f"{folder / RECIPE}: not the description of a recipe; {REMEDY}") from None
    return Recipe(Graph(stages), folder, settings)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def status_table(folder: Path) -> str:
    """Say of each stage whether it is done, and how long it took."""
    recipe = read_recipe(folder)
    lines, left = [], 0
    for stage in recipe.graph.stages:
        seconds, started = recipe.seconds(stage.name), recipe.records.backend.get(stage.name, "started")
        if recipe.done(stage):
            said = f"{seconds:7.0f} s"
        else:
            left += 1
            said = "started, not ended" if started and seconds is None else "to do" if seconds is None else "to do again"
        lines.append(f"  {stage.name:28} {said}")
    return "\n".join([*lines, f"{len(lines) - left} of {len(lines)} stages are done"])
