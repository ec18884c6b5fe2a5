"""The stages that make targets: features of a share of the speech, clusterers fitted on them, labels of all of it, and controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Sequence, Tuple

from softhubert_plugin.recipes.road import Road
from softhubert_plugin.recipes.stages import Command, Stage
from softhubert_plugin.recipes.systems import System

_KMEANS = ("softhubert", "fairseq-tool", "hubert/simple_kmeans/learn_kmeans.py")


@dataclass(frozen=True)
class Features:
    """Features that clusterers are fitted on.

    Attributes:
        folder: folder of the shards.
        made: what the stages before make of them.
        rate: frames per second.
        audio: options of ``gmm dump`` that label audio with such features, without features on disk.
    """

    folder: str
    made: Tuple[str, ...]
    rate: int
    audio: Tuple[str, ...]


def mfcc_share(road: Road, percent: float) -> Tuple[Stage, Features]:
    """Dump MFCCs of a share of the training split, for all seeds and systems; ``percent`` 0 is all of it."""
    folder = f"{road.exp}/mfcc"
    commands = tuple(
        (
            "softhubert",
            "features",
            "mfcc",
            road.data,
            road.train,
            str(road.nshard),
            str(rank),
            folder,
            *share(percent),
            "--dtype",
            "float16",
        )
        for rank in range(road.nshard)
    )
    made = _shards(road, folder)
    return Stage("mfcc", commands, road.made, made, shards=True, passing=True), Features(folder, made, 100, ("--audio", "mfcc"))


def layer_share(road: Road, system: System, checkpoint: str, layers: str, *, percent: float, dtype: str) -> Tuple[Stage, Features]:
    """Dump the hidden states of the layer that probing chose, of a share of the training split.

    Args:
        layers: the ``layers.json`` of the probe.
        dtype: their number format.
    """
    folder = f"{road.system(system)}/layer"
    names = (road.data, road.train, checkpoint, f"@{layers}", str(road.nshard))
    options = ("--dtype", dtype, *share(percent), *road.on_device())
    commands = tuple(("softhubert", "features", "hubert", *names, str(rank), folder, *options) for rank in range(road.nshard))
    made, inputs = _shards(road, folder), (*road.made, checkpoint, layers)
    stage = Stage(road.name(f"layer-{system.name}"), commands, inputs, made, shards=True, passing=True, gpus=1)
    return stage, Features(folder, made, 50, ("--checkpoint", checkpoint, "--layer", f"@{layers}"))


def share(percent: float) -> Tuple[str, ...]:
    """``--percent`` for a command; nothing for all utterances."""
    return ("--percent", f"{percent:g}") if percent else ()


def removed(name: str, features: Features, used: Sequence[Stage]) -> Stage:
    """Remove features when all stages that read them have."""
    done = f"{features.folder}.removed"
    inputs = tuple(output for stage in used for output in stage.outputs)
    return Stage(name, (("rm", "-rf", features.folder), ("touch", done)), inputs, (done,))


def cluster(road: Road, systems: Sequence[System], features: Features, clusters: int, folder: str, suffix: str = "") -> List[Stage]:
    """Fit the clusterers of some systems; those that systems have in common are fitted once.

    Args:
        folder: folder of the clusterers.
        suffix: what the stages' names end in.
    """
    wanted = {clusterer_path(system, folder): system for system in systems if system.clusterer}
    shards = (features.folder, road.train, str(road.nshard))
    seed = ("--seed", str(road.seed))
    stages: List[Stage] = []
    kmeans = f"{folder}/km.joblib"
    if any(system.clusterer in ("km", "km-soft") for system in systems):
        commands = (("mkdir", "-p", folder), (*_KMEANS, *shards, kmeans, str(clusters), "--percent", "-1", *seed))
        stages.append(Stage(road.name(f"kmeans{suffix}"), commands, features.made, (kmeans,)))
    for path, system in wanted.items():
        perplexity, more = ("--perplexity", f"{system.perplexity:g}"), system.softness
        if system.clusterer == "gmm":
            command = ("softhubert", "gmm", "learn", *shards, path, str(clusters), *perplexity, *seed, *road.on_device())
            stages.append(Stage(road.name(f"mixture{more}{suffix}"), (command,), features.made, (path,), gpus=1))
        elif system.clusterer == "km-soft":
            command = ("softhubert", "gmm", "from-kmeans", kmeans, path, *perplexity, "--features", *shards, *road.on_device())
            stages.append(Stage(road.name(f"kmeans-soft{more}{suffix}"), (command,), (*features.made, kmeans), (path,), gpus=1))
    return stages


def clusterer_path(system: System, folder: str) -> str:
    """The file of a system's clusterer."""
    if system.clusterer == "km":
        return f"{folder}/km.joblib"
    return f"{folder}/{system.clusterer}{system.softness}.safetensors"


def label(
    road: Road, system: System, features: Features, clusters: int, clusterer: str, dest: str, *, audio: bool, suffix: str = ""
) -> List[Stage]:
    """Label the training and the validation split, and check the labels.

    Args:
        clusterer: file of the clusterer.
        dest: folder of the labels.
        audio: whether labels are made straight from audio; otherwise from feature shards of both splits.
        suffix: what the stages' names end in.
    """
    rate, splits, name = str(features.rate), (road.train, road.valid), road.name(f"labels-{system.targets}{suffix}")
    options = (*(("--hard",) if system.label == "km" else ()), *(features.audio if audio else ()), *road.on_device())
    made = (*features.made, clusterer)
    if audio:  # of hidden states: the checkpoint, and the layer's file
        made = (*road.made, clusterer, *(path.lstrip("@") for path in features.audio if "/" in path))

    def shard(rank: int, split: str) -> Command:
        where = (str(road.nshard), str(rank), dest)
        if system.kind == "km" and not audio:
            return ("softhubert", "fairseq-tool", "hubert/simple_kmeans/dump_km_label.py", features.folder, split, clusterer, *where)
        return ("softhubert", "gmm", "dump", road.data if audio else features.folder, split, clusterer, *where, *options)

    checks: List[Command] = []
    for split in splits:
        file, manifest = f"{dest}/{split}.{system.label}", ("--manifest", f"{road.data}/{split}.tsv")
        hard = ("--clusters", str(clusters), *manifest) if system.label == "km" else ()
        checks.append(("softhubert", "labels", "merge", dest, split, str(road.nshard), "--remove-shards", *hard))
        checks.append(("softhubert", "labels", "verify", file, *manifest, *(("--label-rate", rate) if hard else ())))
    outputs = tuple(f"{dest}/{split}.{system.label}" for split in splits)
    dumps = [shard(rank, split) for split in splits for rank in range(road.nshard)]
    if road.nshard == 1:
        return [Stage(name, tuple(dumps + checks), made, outputs, gpus=1)]
    shards = tuple(f"{dest}/{split}_{rank}_{road.nshard}.{system.label}" for split in splits for rank in range(road.nshard))
    return [
        Stage(f"{name}-shards", tuple(dumps), made, shards, shards=True, passing=True, gpus=1),
        Stage(name, tuple(checks), shards, outputs),
    ]


def control(road: Road, system: System, source: str, dest: str, suffix: str = "") -> Stage:
    """Make the labels of a control from soft labels, at the model's rate: averaged in training, they would be less certain."""
    splits = (road.train, road.valid)
    commands: List[Command] = []
    for split in splits:
        command = (
            "softhubert",
            "labels",
            "control",
            f"{source}/{split}.gmm",
            f"{dest}/{split}.gmm",
            "--kind",
            system.control,
            "--rate",
            "50",
        )
        like = ("--like", f"{dest}/{road.train}.gmm") if system.control == "smooth" and split != road.train else ()
        commands.append((*command, *like, *(("--seed", str(road.seed)) if system.control == "shuffle" else ())))
    inputs, outputs = (tuple(f"{folder}/{split}.gmm" for split in splits) for folder in (source, dest))
    return Stage(road.name(f"labels-{system.targets}{suffix}"), (("mkdir", "-p", dest), *commands), inputs, outputs)


def _shards(road: Road, folder: str) -> Tuple[str, ...]:
    return tuple(f"{folder}/{road.train}_{rank}_{road.nshard}.npy" for rank in range(road.nshard))
