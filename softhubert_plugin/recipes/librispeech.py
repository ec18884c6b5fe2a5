"""LibriSpeech, or any corpus with manifests, in eleven numbered stages: two iterations, probing, fine-tuning, a language model, a report.

0 data  1 MFCC  2 clustering  3 labels  4 pretraining, iteration 1  5 probing  6 layer features, clustering, labels
7 pretraining, iteration 2  8 fine-tuning  9 decoding  10 report
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import List, Optional, Sequence, Tuple

from softhubert_plugin.recipes.road import Road, decode, fine_tune, pretrain, report
from softhubert_plugin.recipes.stages import Stage
from softhubert_plugin.recipes.study import Study, label_system, roads_of, validation
from softhubert_plugin.recipes.systems import System
from softhubert_plugin.recipes.targets import cluster, layer_share, mfcc_share, removed, share

LAST_STAGE = 10


@dataclass(frozen=True)
class LibriSpeech:
    """The settings that a study does not have.

    Attributes:
        study: the settings of a study; its clusters are those of iteration 1.
        clusters: number of clusters in iteration 2.
        corpus: folder that holds ``LibriSpeech/``; empty if ``study.data`` has manifests.
        subsets: LibriSpeech's subsets.
        by_speaker: whether one subset is split by speaker into train, valid and test.
        download: whether to fetch subsets that are missing.
        align_updates: updates of the model that aligns letters, where there are no phone alignments.
        beam: hypotheses kept in the search with the language model.
        layers_dtype: number format of the hidden states that clusterers are fitted on.
    """

    study: Study
    clusters: int
    corpus: str
    subsets: Tuple[str, ...]
    by_speaker: bool
    download: bool
    align_updates: Optional[int]
    beam: int
    layers_dtype: str = "float16"


def librispeech_stages(recipe: LibriSpeech) -> List[Stage]:
    """Return the stages."""
    settings, systems = recipe.study, recipe.study.systems
    data, made = _data(recipe)
    drawn, valid = validation(settings, made)
    manifests = (*made, *(path for stage in drawn for path in stage.outputs))
    roads = roads_of(settings, manifests, valid)
    dumped, features = mfcc_share(roads[0], settings.percent)
    fitted = [stage for road in roads for stage in cluster(road, systems, features, settings.clusters, f"{road.folder}/iteration1")]
    stages = [*_numbered(0, [*data, *drawn]), *_numbered(1, [dumped]), *_numbered(2, [*fitted, removed("mfcc-removed", features, fitted)])]
    for road in roads:
        for system in systems:
            folders = f"{road.folder}/iteration1", f"{road.folder}/labels1"
            stages += _numbered(3, label_system(road, system, features, settings.clusters, *folders, stages, audio=True, suffix="1"))
        for system in systems:
            stages += _numbered(4, [_pretrain(road, system, systems[0], 1)])
    aligned, alignments = _alignments(recipe, roads[0])
    stages += _numbered(5, aligned)
    measured: List[str] = []
    for road in roads:
        for system in systems:
            if system.kind != "distil":
                stages += _second_iteration(recipe, road, system, alignments, measured)
        for system in systems:
            folder, checkpoint = road.system(system), road.checkpoint(system, "pretrain")
            trainings = [] if system.kind == "distil" else [_pretrain(road, system, systems[0], 2)]
            tuned = fine_tune(road, f"finetune-{system.name}", checkpoint, f"{folder}/finetune", settings.training.finetune_updates)
            searched = decode(road, system, lm=f"{settings.exp}/lm", beam=recipe.beam, tune_on=settings.valid)
            stages += [*_numbered(7, trainings), *_numbered(8, [tuned]), *_numbered(9, [searched])]
    return [*stages, *_numbered(10, [report(roads, systems, settings.facts, "systems/{0}/labels2/{1}", measured)])]


def _data(recipe: LibriSpeech) -> Tuple[List[Stage], Tuple[str, ...]]:
    settings = recipe.study
    model = f"{settings.exp}/lm/lm.arpa"
    letters = ("--dictionary", f"{settings.data}/dict.ltr.txt")
    lm = ("softhubert", "lm", f"{settings.data}/{settings.train}.wrd", "--dest", f"{settings.exp}/lm", "--order", "3", *letters)
    if not recipe.corpus:
        return [Stage("data", (lm,), (), (model,), (f"{settings.data}/{settings.train}.wrd",))], ()
    listing = ("softhubert", "manifest", "librispeech", recipe.corpus)
    download = ("--download",) if recipe.download else ()
    made = tuple(f"{settings.data}/{split}.tsv" for split in (settings.train, settings.valid, *settings.tests))
    if recipe.by_speaker:
        everyone = (*listing, "--dest", f"{settings.exp}/all", "--subsets", *recipe.subsets)  # every speaker, for probing
        split = (*listing, "--dest", settings.data, "--subsets", *recipe.subsets, "--by-speaker", *download)
        return [Stage("data", (split, everyone, lm), (), (*made, f"{settings.exp}/all/{recipe.subsets[0]}.tsv", model))], made
    combine = () if settings.train in recipe.subsets else ("--combine", settings.train)
    listed = (*listing, "--dest", settings.data, "--subsets", *recipe.subsets, *combine, *download)
    return [Stage("data", (listed, lm), (), (*made, model))], made


def _pretrain(road: Road, system: System, baseline: System, iteration: int) -> Stage:
    run = "pretrain" if iteration == 2 or system.kind == "distil" else "pretrain1"
    if system.kind == "distil":  # from the baseline's model of iteration 1
        teacher = road.checkpoint(baseline, "pretrain1")
        return pretrain(road, system, "", [teacher], run=run, teacher=teacher)
    labels = f"{road.folder if iteration == 1 else road.system(system)}/labels{iteration}/{system.targets}"
    made = [f"{labels}/{split}.{system.label}" for split in (road.train, road.valid)]
    return pretrain(road, system, labels, made, iteration=iteration, run=run)


def _probed(recipe: LibriSpeech) -> Tuple[str, str]:
    """Folder and split of the speech that layers are probed on."""
    return (f"{recipe.study.exp}/all", recipe.subsets[0]) if recipe.by_speaker else (recipe.study.data, recipe.study.train)


def _alignments(recipe: LibriSpeech, road: Road) -> Tuple[List[Stage], str]:
    """Alignments to probe on: those given, or letters that a briefly fine-tuned model of iteration 1 aligns."""
    if recipe.study.alignments:
        return [], recipe.study.alignments
    dest, letters = f"{recipe.study.exp}/aligner", f"{recipe.study.exp}/letters"
    checkpoint = f"{dest}/checkpoints/checkpoint_best.pt"
    trained = fine_tune(road, "aligner", road.checkpoint(recipe.study.systems[0], "pretrain1"), dest, recipe.align_updates)
    command = ("softhubert", "align", *_probed(recipe), checkpoint, letters, *road.on_device())
    return [trained, Stage("align", (command, ("touch", f"{letters}.done")), (checkpoint,), (f"{letters}.done",), gpus=1)], letters


def _second_iteration(recipe: LibriSpeech, road: Road, system: System, alignments: str, measured: List[str]) -> List[Stage]:
    """Probe a model's layers, then cluster and label by the chosen one; measure the labels."""
    folder, checkpoint = road.system(system), road.checkpoint(system, "pretrain1")
    data, split = _probed(recipe)
    aligned: Tuple[str, ...] = () if recipe.study.alignments else (f"{alignments}.done",)
    layers, quality = f"{folder}/layers.json", f"{folder}/quality.json"
    phones = ("--alignments", alignments)
    options = (*share(recipe.study.percent), "--seed", str(road.seed), *road.on_device())
    probe = ("softhubert", "probe", data, split, "1", "--checkpoint", checkpoint, *phones)
    probing = Stage(road.name(f"probe-{system.name}"), ((*probe, "--dest", folder, *options),), (checkpoint, *aligned), (layers,), gpus=1)
    dumped, features = layer_share(road, system, checkpoint, layers, percent=recipe.study.percent, dtype=recipe.layers_dtype)
    fitted = cluster(road, [system], features, recipe.clusters, f"{folder}/iteration2", f"-{system.name}-2")
    labels = f"{folder}/labels2"
    made = label_system(
        road,
        system,
        features,
        recipe.clusters,
        f"{folder}/iteration2",
        labels,
        [],
        audio=True,
        suffix="2-small" if system.small else "2",
        own=True,
    )
    file = f"{labels}/{system.targets}/{road.train}.{system.label}"
    command = ("softhubert", "labels", "quality", file, "--manifest", f"{road.data}/{road.train}.tsv", *phones, "--label-rate", "50")
    checked = Stage(road.name(f"quality-{system.name}"), ((*command, "--dest", quality),), (file, *aligned), (quality,))
    measured += [layers, quality]
    clean = removed(road.name(f"layer-{system.name}-removed"), features, fitted)
    return [*_numbered(5, [probing]), *_numbered(6, [dumped, *fitted, clean, *made, checked])]


def _numbered(number: int, stages: Sequence[Stage]) -> List[Stage]:
    return [replace(stage, number=number) for stage in stages]
