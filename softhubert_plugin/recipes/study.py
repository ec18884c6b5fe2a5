"""Systems compared over seeds, on any corpus that has manifests: one iteration from MFCCs, fine-tuning, decoding, a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from softhubert_plugin.recipes.road import Road, Training, decode, fine_tune, pretrain, report
from softhubert_plugin.recipes.stages import Stage
from softhubert_plugin.recipes.systems import System
from softhubert_plugin.recipes.targets import Features, cluster, clusterer_path, control, label, mfcc_share, removed, share


@dataclass(frozen=True)
class Study:
    """The settings of a study.

    Attributes:
        exp: folder of the experiment.
        data: folder of the manifests.
        train, valid, tests: names of the splits.
        seeds: the seeds; the first is that of the corpus, if the recipe makes it.
        systems: the systems, the baseline first.
        clusters: number of clusters or components.
        training: how models are trained.
        valid_utterances: at most so many utterances are used for validation during training; 0 for all.
        percent: share of the training speech that clusterers are fitted on, 0 to 1; 0 for all.
        alignments: phone alignments of the training split, to measure labels and probe models; empty for none.
        device: of everything but training; empty for a GPU if there is one.
        nshard: shards of features and labels.
        facts: ``key=value`` for the report.
    """

    exp: str
    data: str
    train: str
    valid: str
    tests: Tuple[str, ...]
    seeds: Tuple[int, ...]
    systems: Tuple[System, ...]
    clusters: int
    training: Training
    valid_utterances: int = 0
    percent: float = 0
    alignments: str = ""
    device: str = ""
    nshard: int = 1
    facts: Tuple[str, ...] = ()


def study_stages(settings: Study) -> List[Stage]:
    """Return the stages of a study of a corpus that is there."""
    stages, valid = validation(settings, ())
    roads = roads_of(settings, tuple(path for stage in stages for path in stage.outputs), valid)
    dumped, features = mfcc_share(roads[0], settings.percent)
    clusterers = {road.seed: cluster(road, settings.systems, features, settings.clusters, road.folder) for road in roads}
    fitted = [stage for road in roads for stage in clusterers[road.seed]]
    return [*stages, dumped, *fitted, removed("mfcc-removed", features, fitted), *compared(settings, roads, features, audio=True)]


def validation(settings: Study, made: Tuple[str, ...]) -> Tuple[List[Stage], str]:
    """Draw a part of the validation split for validation during training.

    Args:
        made: the manifests, if a stage makes them. If they come from outside, the stage looks out for changes in them.

    Returns:
        The stages that make the part, and its name: that of the split itself if a stage makes the split and all of it is used.
    """
    if made and not settings.valid_utterances:
        return [], settings.valid
    part = f"{settings.valid}-{settings.valid_utterances or 'all'}"
    size = str(settings.valid_utterances or 1_000_000_000)
    command = ("softhubert", "manifest", "subset", settings.data, settings.valid, part, "--utterances", size)
    splits = () if made else (settings.train, settings.valid, *settings.tests)
    reads = tuple(f"{settings.data}/{split}.{suffix}" for split in splits for suffix in ("tsv", "wrd", "ltr"))
    return [Stage("validation", (command,), made, (f"{settings.data}/{part}.tsv",), reads)], part


def roads_of(settings: Study, made: Tuple[str, ...], valid: str) -> List[Road]:
    """Return one road for each seed."""
    return [
        Road(
            settings.exp, settings.data, made, settings.train, valid, settings.tests, seed, seed == settings.seeds[0], settings.training,
            settings.device, settings.nshard,
        )
        for seed in settings.seeds
    ]  # fmt: skip


def compared(settings: Study, roads: Sequence[Road], features: Features, *, audio: bool) -> List[Stage]:
    """Label, train, decode and report all systems with all seeds."""
    stages: List[Stage] = []
    more: List[str] = []
    for road in roads:
        for system in settings.systems:
            stages += label_system(road, system, features, settings.clusters, road.folder, f"{road.folder}/labels", stages, audio=audio)
        for system in settings.systems:
            stages += trained(road, system, settings.systems[0], f"{road.folder}/labels/{system.targets}")
            if settings.alignments:
                stages.append(measured(road, system, settings.alignments, settings.percent))
                more += stages[-1].outputs
    return [*stages, report(roads, settings.systems, settings.facts, "labels/{1}", more)]


def label_system(
    road: Road, system: System, features: Features, clusters: int, clusterers: str, labels: str, before: Sequence[Stage], *,
    audio: bool, suffix: str = "", own: bool = False,
) -> List[Stage]:  # fmt: skip
    """Make the labels of a system; those that a control is made from come first, unless an earlier stage makes them.

    Args:
        clusterers: folder of the clusterers.
        labels: folder of a folder of labels for each system.
        before: the earlier stages.
        audio: whether labels are made straight from audio.
        suffix: what the stages' names end in.
        own: whether nothing is shared with other systems.
    """
    made = {path for stage in before for path in stage.outputs}
    if f"{labels}/{system.targets}/{road.train}.{system.label}" in made:
        return []
    source = System("gmm", system.perplexity) if system.is_derived else system
    of = f"{suffix}-of-{system.name}" if own and source is not system else suffix
    stages: List[Stage] = []
    if source.clusterer and f"{labels}/{source.targets}/{road.train}.{source.label}" not in made:
        path, dest = clusterer_path(source, clusterers), f"{labels}/{source.targets}"
        stages += label(road, source, features, clusters, path, dest, audio=audio, suffix=of)
    if source is not system:
        stages.append(control(road, system, f"{labels}/{source.targets}", f"{labels}/{system.targets}", suffix))
    return stages


def trained(road: Road, system: System, baseline: System, labels: str) -> List[Stage]:
    """Pretrain, fine-tune and decode a system. A distilled student learns from the first system's model."""
    teacher = road.checkpoint(baseline, "pretrain") if system.kind == "distil" else ""
    made = [teacher] if teacher else [f"{labels}/{split}.{system.label}" for split in (road.train, road.valid)]
    name, dest, updates = f"finetune-{system.name}", f"{road.system(system)}/finetune", road.training.finetune_updates
    tuned = fine_tune(road, name, road.checkpoint(system, "pretrain"), dest, updates)
    return [pretrain(road, system, labels, made, teacher=teacher), tuned, decode(road, system)]


def measured(road: Road, system: System, alignments: str, percent: float) -> Stage:
    """Probe a pretrained model on phones, and measure its labels against them."""
    folder, checkpoint, manifest = road.system(system), road.checkpoint(system, "pretrain"), f"{road.data}/{road.train}.tsv"
    phones = ("--alignments", alignments)
    where = (road.data, road.train, "1", "--checkpoint", checkpoint)
    probe = ("softhubert", "probe", *where, *phones, "--dest", folder, *share(percent), *road.on_device())
    commands, inputs, outputs = [probe], [checkpoint], [f"{folder}/layers.json"]
    if system.clusterer:
        labels = f"{road.folder}/labels/{system.targets}/{road.train}.{system.label}"
        rate = ("--label-rate", "50" if system.is_derived else "100")
        options = ("--manifest", manifest, *phones, *rate, "--dest", f"{folder}/quality.json")
        commands.append(("softhubert", "labels", "quality", labels, *options))
        inputs, outputs = [*inputs, labels], [*outputs, f"{folder}/quality.json"]
    return Stage(road.name(f"probe-{system.name}"), tuple(commands), tuple(inputs), tuple(outputs), gpus=1)


def tiny_training(updates: Optional[int], finetune_updates: Optional[int], max_tokens: int, *, crop: bool = False) -> Training:
    """Return the tiny configuration's training of one iteration."""
    return Training(True, (updates,), finetune_updates, max_tokens=max_tokens, crop=crop)
