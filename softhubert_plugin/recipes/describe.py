"""Describe a system of a recipe for the report: what it is, what its labels are, which stages made it, and how long they took."""

from __future__ import annotations

import re
from pathlib import Path
from typing import List, Sequence

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import write_json, write_text
from softhubert_plugin.labels.inspect import describe_labels
from softhubert_plugin.manifests import SAMPLE_RATE, read_dictionary, read_manifest
from softhubert_plugin.recipes.engine import read_recipe
from softhubert_plugin.recipes.stages import shell


def describe_system(exp: Path, folder: Path, labels: Path, manifest: Path, facts: Sequence[str]) -> None:
    """Write ``experiment.json``, ``labels.json``, ``timings.tsv`` and ``commands.txt`` into a system's folder.

    Args:
        exp: folder of the experiment.
        folder: folder of the system.
        labels: its training labels.
        manifest: the training split.
        facts: ``key=value``.

    Raises:
        SoftHubertError: a fact is not of that form, or a file is missing.
    """
    settings = {}
    for fact in facts:
        key, equals, value = fact.partition("=")
        if not equals:
            raise SoftHubertError(f"{fact}: expected KEY=VALUE")
        settings[key] = int(value) if value.isdecimal() else value
    hours = read_manifest(manifest).sizes.sum() / SAMPLE_RATE / 3600
    write_json(folder / "experiment.json", {**settings, "hours": f"{hours:.2f}"})
    if labels.suffix == ".gmm" and labels.exists():
        write_json(folder / "labels.json", describe_labels(labels))
    elif labels.exists():
        write_json(folder / "labels.json", {"components": len(read_dictionary(labels.parent / "dict.km.txt")), "perplexity": 1.0})
    recipe = read_recipe(exp)
    own = [stage for stage in recipe.graph.stages if any(folder in Path(output).parents for output in stage.outputs)]
    stages = recipe.graph.needed(own)
    lines: List[str] = []
    for stage in stages:
        seconds = recipe.seconds(stage.name)
        if seconds is not None:
            lines.append(f"{re.sub(r'(-seed[0-9]+)?$', '', stage.name).replace(f'-{folder.name}', '', 1)}\t{seconds:.0f}\n")
    write_text(folder / "timings.tsv", "".join(lines))
    write_text(folder / "commands.txt", "".join(f"+ {shell(command)}\n" for stage in stages for command in stage.commands))
