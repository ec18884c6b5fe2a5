"""Start a recipe: here, several stages at a time, or as jobs of a cluster."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.recipes.engine import Recipe, alone, write_recipe
from softhubert_plugin.recipes.processes import Machine, gpus_here
from softhubert_plugin.recipes.slurm import Cluster
from softhubert_plugin.recipes.stages import Graph, Stage
from softhubert_plugin.requirements import how_to_install, missing


def start(
    graph: Graph,
    stages: Sequence[Stage],
    folder: Path,
    settings: Dict[str, Any],
    *,
    jobs: Optional[int] = None,
    tiny: bool = True,
    cluster: str = "",
    partition: str = "",
) -> str:
    """Run stages, with one line for each, and return what the last one has printed.

    Args:
        graph: all stages of the recipe.
        stages: those to run; what they need from others must be there.
        folder: folder of the experiment.
        settings: what the user asked for, to be looked up later.
        jobs: how many stages run at the same time; by default one for each core if the model is tiny, else one for each GPU.
        cluster: ``slurm`` or ``local`` to run them as jobs; empty to run them here.

    Raises:
        SoftHubertError: another recipe works in the folder, a stage that is not to be run was not done, or packages that a stage needs are
            not installed.
        SystemExit: a stage failed; with its exit status.
    """
    with alone(folder):
        recipe = Recipe(graph, folder)
        write_recipe(graph, folder, settings)
        names = {stage.name for stage in stages}
        for stage in graph.needed(stages):
            if stage.name not in names and not recipe.done(stage):
                raise SoftHubertError(f"stage {stage.name} (number {stage.number}) is not done yet; give --stage {stage.number} or lower")
        jobs = jobs or (len(os.sched_getaffinity(0)) if tiny else max(1, len(gpus_here())))
        place: Any = Cluster(graph, folder / "jobs", cluster, partition) if cluster else Machine(folder, jobs)
        left = [stage for stage in stages if not recipe.done(stage)]
        _check_extras(left)
        if cluster:
            place.start(left)
            jobs = len(left)
        handler = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a shell's job in the background ignores SIGINT
        print(f"softhubert: {len(left)} of {len(stages)} stages to do, everything in {folder}", flush=True)
        try:
            status = recipe.execute(jobs, place.run, stages, in_order=not cluster)
        except KeyboardInterrupt:
            status = 130
        finally:
            signal.signal(signal.SIGTERM, handler)
            place.stop()
        if status:
            raise SystemExit(status)
    log = folder / "logs" / f"{stages[-1].name}.log"
    said = [line for line in log.read_text(encoding="utf-8").splitlines() if not line.startswith("+ ")] if log.exists() else []
    return "\n".join([*said, f"softhubert: {folder}/report/index.html"]) if stages[-1].name == "report" else ""


def _check_extras(stages: Sequence[Stage]) -> None:
    """Check that optional packages are there before the first stage, not when hours of training are done."""
    needed = {stage.extra: stage.name for stage in reversed(stages) if stage.extra}
    for extra, name in needed.items():
        lacking = missing(extra)
        if lacking:
            raise SoftHubertError(f"stage {name} needs {' and '.join(lacking)}; {how_to_install(extra)}")
