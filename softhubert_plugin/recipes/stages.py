"""What a recipe consists of: stages, each with its commands, what it reads and what it makes."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import sha256_of

Command = Tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """A step of a recipe.

    Attributes:
        name: unique in its recipe.
        commands: what it runs, in turn. Each can be pasted into a shell.
        inputs: the files and folders that it reads and that other stages make. They say which stages come before this one.
        outputs: the files and folders that it makes. If one is missing, the stage is done again.
        reads: files and folders that come from outside. If they change, the stage is done again, and what depends on it.
        continues: whether it goes on from its outputs when it was interrupted. They are removed if it was started with other settings.
        shards: whether the commands are shards of one, which run side by side.
        passing: whether later stages remove the outputs. They are made again only if a stage that reads them has to run.
        gpus: how many GPUs each command can use.
        threads: how many threads its mathematics uses; 0 for its share of the cores.
        number: its number in a recipe whose stages are numbered.
        extra: the extra of this package that its commands need; empty for none.
    """

    name: str
    commands: Tuple[Command, ...]
    inputs: Tuple[str, ...] = ()
    outputs: Tuple[str, ...] = ()
    reads: Tuple[str, ...] = ()
    continues: bool = False
    shards: bool = False
    passing: bool = False
    gpus: int = 0
    threads: int = 0
    number: int = 0
    extra: str = ""


class Graph:
    """The stages of a recipe, with what comes before what.

    Attributes:
        stages: all stages; each comes after those that it needs.
        before: for each stage, by name, the names of the stages that it needs.

    Raises:
        SoftHubertError: two stages have one name or one output, or a stage reads what no earlier stage makes.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = list(stages)
        self.before: Dict[str, List[str]] = {}
        self.keys: Dict[str, str] = {}
        self._contents: Dict[str, str] = {}
        makers: Dict[str, str] = {}
        for stage in stages:
            unknown = [path for path in stage.inputs if path not in makers]
            if stage.name in self.before or unknown or not makers.keys().isdisjoint(stage.outputs):
                raise SoftHubertError(f"stage {stage.name}: its name or an output is taken, or no stage before it makes {unknown}")
            makers.update(dict.fromkeys(stage.outputs, stage.name))
            self.before[stage.name] = list(dict.fromkeys(makers[path] for path in stage.inputs))
            self.keys[stage.name] = self._key(stage)

    def after(self, name: str) -> List[Stage]:
        """Return the stages that need a stage."""
        return [stage for stage in self.stages if name in self.before[stage.name]]

    def needed(self, wanted: Sequence[Stage]) -> List[Stage]:
        """Return some stages and all that come before them, in their order."""
        names = {stage.name for stage in wanted}
        for stage in reversed(self.stages):
            if stage.name in names:
                names.update(self.before[stage.name])
        return [stage for stage in self.stages if stage.name in names]

    def _key(self, stage: Stage) -> str:
        """What decides the outcome of a stage: its commands, the files from outside, and the keys of all stages that it needs."""
        for path in stage.reads:
            if path not in self._contents:
                self._contents[path] = _content(path)
        contents = [self._contents[path] for path in stage.reads]
        parts = [stage.commands, contents, sorted(self.keys[name] for name in self.before[stage.name])]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _content(path: str) -> str:
    """What tells whether a file or a folder has changed: a file's bytes; names, sizes and times in a folder, which may hold many files."""
    if not os.path.isdir(path):
        return sha256_of(path) if os.path.isfile(path) else ""
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(path):
        folders.sort()
        for file in (os.path.join(folder, name) for name in sorted(names)):
            status = os.stat(file) if os.path.exists(file) else None
            digest.update(os.fsencode(f"{os.path.relpath(file, path)} {status and (status.st_size, status.st_mtime_ns)}\n"))
    return digest.hexdigest()


def script(stages: Sequence[Stage]) -> str:
    """Write down what stages run, for a shell."""
    return "\n".join(line for stage in stages for line in (f"# {stage.name}", *map(shell, stage.commands)))


def shell(command: Command) -> str:
    """Write a command so that it can be pasted into a shell."""
    return " ".join(map(shlex.quote, command))
