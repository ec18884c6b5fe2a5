"""Describe the systems of a recipe for the report: what they are, what their labels are, which stages made them, and how long they took."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, Sequence

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import write_json, write_text
from softhubert_plugin.labels.inspect import describe_labels
from softhubert_plugin.manifests import SAMPLE_RATE, read_dictionary, read_manifest
from softhubert_plugin.recipes.engine import RECIPE, REMEDY, Recipe, read_recipe
from softhubert_plugin.recipes.stages import shell
from softhubert_plugin.report.saved import save_experiment


def describe_systems(exp: Path, facts: Sequence[str], system: str = "", file: str = "") -> None:
    """Write ``experiment.json``, ``labels.json``, ``timings.tsv`` and ``commands.txt`` into each system's folder.

    Args:
        exp: folder of the experiment.
        facts: ``key=value``, of all systems.
        system: folder of the only system to describe; empty for all.
        file: file to save that system's run in; empty for none.

    Raises:
        SoftHubertError: a fact is not of that form, a file is missing, or there is no such system.
    """
    common: Dict[str, Any] = {}
    for key, equals, value in (fact.partition("=") for fact in facts):
        if not equals:
            raise SoftHubertError(f"{key}: expected KEY=VALUE")
        common[key] = int(value) if value.isdecimal() else value
    recipe = read_recipe(exp)
    chosen = [one for one in recipe.settings.get("experiments", []) if system in ("", one["folder"])]
    if file and not system:
        raise SoftHubertError("--save needs --system, the folder of the system whose run it saves")
    if not chosen:
        raise SoftHubertError(f"{exp / RECIPE}: no such system{f' as {system}' if system else ''}; {REMEDY}")
    hours = {manifest: read_manifest(manifest).sizes.sum() / SAMPLE_RATE / 3600 for manifest in {one["manifest"] for one in chosen}}
    for one in chosen:
        folder, labels = Path(one["folder"]), Path(one["labels"])
        write_json(folder / "experiment.json", {**one["about"], **common, "hours": f"{hours[one['manifest']]:.2f}"})
        if labels.suffix == ".gmm":
            write_json(folder / "labels.json", describe_labels(labels))
        elif labels.suffix:
            write_json(folder / "labels.json", {"components": len(read_dictionary(labels.parent / "dict.km.txt")), "perplexity": 1.0})
        _write_stages(recipe, folder)
        if file:
            save_experiment(folder, file)


def _write_stages(recipe: Recipe, folder: Path) -> None:
    """Write which stages made a system, and how long they took."""
    own = [stage for stage in recipe.graph.stages if any(folder in Path(output).parents for output in stage.outputs)]
    stages = recipe.graph.needed(own)
    seconds = {re.sub(r"(-seed[0-9]+)?$", "", stage.name).replace(f"-{folder.name}", "", 1): recipe.seconds(stage.name) for stage in stages}
    write_text(folder / "timings.tsv", "".join(f"{name}\t{value:.0f}\n" for name, value in seconds.items() if value is not None))
    write_text(folder / "commands.txt", "".join(f"+ {shell(command)}\n" for stage in stages for command in stage.commands))
