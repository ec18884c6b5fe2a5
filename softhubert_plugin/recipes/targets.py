"""The stages that make targets: features of a share of the speech, clusterers fitted on them, labels of all of it, and controls."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, List, NamedTuple, Sequence, Tuple

from softhubert_plugin.recipes.stages import Command, Stage
from softhubert_plugin.recipes.study import Road, Study
from softhubert_plugin.recipes.systems import System

_KMEANS = ("softhubert", "fairseq-tool", "hubert/simple_kmeans/learn_kmeans.py")
_KMEANS_LABELS = ("softhubert", "fairseq-tool", "hubert/simple_kmeans/dump_km_label.py")


class Features(NamedTuple):
    """Features that clusterers are fitted on.

    Attributes:
        folder: folder of the shards.
        made: what a stage makes of them.
        rate: frames per second.
        audio: options of ``gmm dump`` that label audio with such features; empty to label the features on disk.
    """

    folder: str
    made: Tuple[str, ...]
    rate: int
    audio: Tuple[str, ...]


def mfcc_share(study: Study) -> Tuple[Stage, Features]:
    """Dump MFCCs for all seeds and systems: of a share of the training split, or of all speech if they stay."""
    folder, splits = f"{study.exp}/mfcc", (study.train, study.validation)[: 1 + study.keep]
    options = () if study.keep else (*study.share, "--dtype", "float16")
    command = ("softhubert", "features", "mfcc", study.data)
    commands, made = _shards(study, splits, folder, "npy", lambda split, *shard: (*command, split, *shard, folder, *options))
    audio = () if study.keep else ("--audio", "mfcc")
    return Stage("mfcc", commands, study.listed, made, shards=True, passing=not study.keep), Features(folder, made, 100, audio)


def layer_share(road: Road, system: System, iteration: int, layers: str) -> Tuple[Stage, Features]:
    """Dump the hidden states of the layer that probing an iteration's model chose, of a share of the training split.

    Args:
        layers: the ``layers.json`` of the probe.
    """
    study, checkpoint, folder = road.study, road.pretrained(system, iteration), f"{road.base(system, iteration + 1)}/layer"
    command = ("softhubert", "features", "hubert", study.data)
    options = (folder, "--dtype", study.layers_dtype, *study.share, *study.on_device)
    commands, made = _shards(
        study, [study.train], folder, "npy", lambda split, *shard: (*command, split, checkpoint, f"@{layers}", *shard, *options)
    )
    inputs, audio = (*study.listed, checkpoint, layers), ("--checkpoint", checkpoint, "--layer", f"@{layers}")
    stage = Stage(road.name("layer", system), commands, inputs, made, shards=True, passing=True, gpus=1)
    return stage, Features(folder, made, 50, audio)


def removed(name: str, features: Features, used: Sequence[Stage]) -> List[Stage]:
    """Remove features when all stages that read them have, unless they stay."""
    done = f"{features.folder}.removed"
    inputs = tuple(output for stage in used for output in stage.outputs)
    return [Stage(name, (("rm", "-rf", features.folder), ("touch", done)), inputs, (done,))] if features.audio else []


def cluster(road: Road, system: System, iteration: int, features: Features) -> List[Stage]:
    """Fit a system's clusterer, and the k-means that it is made from."""
    study, folder, path = road.study, road.base(system, iteration), _clusterer(road, system, iteration)
    owner = None if iteration == 1 else system
    shards, clusters = (features.folder, study.train, str(study.nshard)), str(study.clusters[iteration - 1])
    seed, perplexity = ("--seed", str(road.seed)), ("--perplexity", f"{system.perplexity:g}")
    kmeans, stages, threads = f"{folder}/km.joblib", [], study.training.threads
    if system.clusterer in ("km", "km-soft"):
        commands = (("mkdir", "-p", folder), (*_KMEANS, *shards, kmeans, clusters, "--percent", "-1", *seed))
        stages.append(Stage(road.name("kmeans", owner, iteration), commands, features.made, (kmeans,), threads=threads))
    if system.clusterer == "km-soft":
        command = ("softhubert", "gmm", "from-kmeans", kmeans, path, *perplexity, "--features", *shards, *study.on_device)
        name = road.name(f"kmeans-soft{system.softness}", owner, iteration)
        stages.append(Stage(name, (command,), (*features.made, kmeans), (path,), gpus=1, threads=threads))
    if system.clusterer == "gmm":
        learn = ("softhubert", "gmm", "learn", *shards)
        plain = f"{folder}/gmm.safetensors"  # fitted once: mixtures of another perplexity, and Markov mixtures, have its components
        command = (*learn, plain, clusters, "--perplexity", "4", *seed, *study.on_device)
        stages.append(Stage(road.name("mixture", owner, iteration), (command,), features.made, (plain,), gpus=1, threads=threads))
        if path != plain:
            markov = ("--markov", system.markov) if system.markov else ()
            start = ("--init", plain, "--iterations", "0")
            command = (*learn, path, clusters, *start, *perplexity, *markov, *seed, *study.on_device)
            name = road.name(f"mixture{system.softness}", owner, iteration)
            stages.append(Stage(name, (command,), (*features.made, plain), (path,), gpus=1, threads=threads))
    return stages


def label(road: Road, system: System, iteration: int, features: Features) -> List[Stage]:
    """Make and check a system's labels of the training and the validation split; those that a control is made from come first."""
    if system.is_derived:
        source = replace(system, kind="gmm")
        return [*_label(road, source, iteration, features, system), _control(road, system, source, iteration)]
    return _label(road, system, iteration, features, system) if system.clusterer else []


def _label(road: Road, targets: System, iteration: int, features: Features, owner: System) -> List[Stage]:
    """Label by a clusterer.

    Args:
        targets: whose targets are made.
        owner: whose model they are for. From the second iteration on, nothing is shared.
    """
    study, clusterer, dest = road.study, _clusterer(road, owner, iteration), f"{road.base(owner, iteration)}/labels/{targets.targets}"
    splits, name = (study.train, study.validation), _label_stage(road, targets, iteration, owner)
    made = (*(study.listed if features.audio else features.made), clusterer, *(path.lstrip("@") for path in features.audio if "/" in path))
    command: Command = ("softhubert", "gmm", "dump", study.data if features.audio else features.folder)
    options = (*(("--hard",) if targets.label == "km" else ()), *features.audio, *study.on_device)
    if targets.kind == "km" and not features.audio:
        command, options = (*_KMEANS_LABELS, features.folder), ()
    dumps, shards = _shards(study, splits, dest, targets.label, lambda split, *shard: (*command, split, clusterer, *shard, dest, *options))
    checks: List[Command] = []
    for split in splits:
        file, manifest = f"{dest}/{split}.{targets.label}", ("--manifest", f"{study.data}/{split}.tsv")
        hard = ("--clusters", str(study.clusters[iteration - 1]), *manifest) if targets.label == "km" else ()
        checks.append(("softhubert", "labels", "merge", dest, split, str(study.nshard), "--remove-shards", *hard))
        checks.append(("softhubert", "labels", "verify", file, *manifest, *(("--label-rate", str(features.rate)) if hard else ())))
    outputs = tuple(f"{dest}/{split}.{targets.label}" for split in splits)
    if study.nshard == 1:
        return [Stage(name, (*dumps, *checks), made, outputs, gpus=1)]
    shared = Stage(f"{name}-shards", dumps, made, shards, shards=True, passing=True, gpus=1)
    return [shared, Stage(name, tuple(checks), shards, outputs)]


def _control(road: Road, system: System, source: System, iteration: int) -> Stage:
    """Make the labels of a control from soft labels, at the model's rate: averaged in training, they would be less certain."""
    splits, folder = (road.study.train, road.study.validation), f"{road.base(system, iteration)}/labels"
    inputs, outputs = (tuple(f"{folder}/{one.targets}/{split}.gmm" for split in splits) for one in (source, system))
    commands: List[Command] = [("mkdir", "-p", f"{folder}/{system.targets}")]
    for read, written in zip(inputs, outputs):
        like = ("--like", outputs[0]) if system.control == "smooth" and written != outputs[0] else ()
        seed = ("--seed", str(road.seed)) if system.control == "shuffle" else ()
        commands.append(("softhubert", "labels", "control", read, written, "--kind", system.control, "--rate", "50", *like, *seed))
    return Stage(_label_stage(road, system, iteration, system), tuple(commands), inputs, outputs)


def _label_stage(road: Road, targets: System, iteration: int, owner: System) -> str:
    return road.name(f"labels-{targets.targets}") if iteration == 1 else road.name(f"labels-{targets.kind}", owner, iteration)


def _clusterer(road: Road, system: System, iteration: int) -> str:
    name = "km.joblib" if system.clusterer == "km" else f"{system.clusterer}{system.softness}.safetensors"
    return f"{road.base(system, iteration)}/{name}"


def _shards(
    study: Study, splits: Sequence[str], folder: str, suffix: str, command: Callable[..., Command]
) -> Tuple[Tuple[Command, ...], Tuple[str, ...]]:
    """Return a command for each shard of splits, and the files that they make."""
    count = study.nshard
    shards = [(split, rank) for split in splits for rank in range(count)]
    files = tuple(f"{folder}/{split}_{rank}_{count}.{suffix}" for split, rank in shards)
    return tuple(command(split, str(count), str(rank)) for split, rank in shards), files
