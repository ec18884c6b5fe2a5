"""The stages of every recipe, from features to a report.

0 data  1 MFCC  2 clustering  3 labels  4 pretraining, iteration 1  5 probing  6 layer features, clustering, labels
7 pretraining, iteration 2  8 fine-tuning  9 decoding  10 report
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import List, Sequence

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.recipes.stages import Stage
from softhubert_plugin.recipes.study import Road, Study
from softhubert_plugin.recipes.systems import System
from softhubert_plugin.recipes.targets import cluster, label, layer_share, mfcc_share, removed
from softhubert_plugin.recipes.training import decode, fine_tune, pretrain, probe, report, save
from softhubert_plugin.text_files import read_json

LAST_STAGE = 10
_UNNAMED = {"configuration": "tiny"}  # what a saved run is of if it does not say so


def all_stages(study: Study, data: Sequence[Stage] = (), aligner: Sequence[Stage] = (), alignments: str = "") -> List[Stage]:
    """Return the stages of a study.

    Args:
        data: the stages that make the corpus, and the language model.
        aligner: the stages that align letters to probe on, where no alignments are given.
        alignments: the folder of those alignments.
    """
    dumped, features = mfcc_share(study)
    left = [(road, [system for system in study.systems if not _is_saved(study, road.saved(system))]) for road in study.roads]
    aligner = aligner if any(systems for _, systems in left) else ()
    runs = [(road, _begun(road, systems, bool(aligner) and road is left[0][0]), systems) for road, systems in left]
    fitted = [stage for road, begun, _ in runs for system in begun for stage in cluster(road, system, 1, features)]
    stages = [*_numbered(0, [*data, *_validation(study)]), *_numbered(1, [dumped] if fitted else [])]
    stages += _numbered(2, [*fitted, *removed("mfcc-removed", features, fitted)] if fitted else [])
    for road, begun, systems in runs:
        stages += [stage for system in begun for stage in _numbered(3, label(road, system, 1, features))]
        stages += [stage for system in begun for stage in _numbered(4, [pretrain(road, system, 1)])]
        stages += _numbered(5, aligner)
        for system in systems:
            stages += _rest(road, system, study.alignments or alignments, [output for stage in aligner[-1:] for output in stage.outputs])
    measured = [stage for stage in stages if stage.name.startswith(("save-",) if study.results else ("probe-", "decode-"))]
    return list({stage.name: stage for stage in [*stages, *_numbered(10, [report(study, measured)])]}.values())  # what is common, once


def _rest(road: Road, system: System, alignments: str, aligned: Sequence[str]) -> List[Stage]:
    """The stages of a system after its first iteration."""
    stages: List[Stage] = []
    for iteration in range(1, road.study.iterations(system) + 1):
        if iteration > 1:
            dumped, features = layer_share(road, system, iteration - 1, f"{road.results(system, iteration - 1)}/layers.json")
            fitted = cluster(road, system, iteration, features)
            clean = removed(road.name("layer-removed", system), features, fitted)
            stages += _numbered(6, [dumped, *fitted, *clean, *label(road, system, iteration, features)])
            stages += _numbered(7, [pretrain(road, system, iteration)])
        if alignments:
            stages += _numbered(5 if iteration == 1 else 7, [probe(road, system, iteration, alignments, aligned)])
    pretrained, checkpoint = road.pretrained(system), road.finetuned(system)
    tuned = fine_tune(road, road.name("finetune", system), pretrained, checkpoint, road.study.training.finetune_updates)
    stages += [*_numbered(8, [tuned]), *_numbered(9, [decode(road, system)])]
    return [*stages, *_numbered(9, save(road, system, [stage for stage in stages if stage.number in (5, 7, 9)]))]


def _begun(road: Road, systems: List[System], aligns: bool) -> List[System]:
    """The systems that are pretrained: those whose run is not saved, and the baseline if another model is made from it.

    Args:
        systems: those whose run is not saved.
        aligns: whether letters are aligned by the baseline of this road.
    """
    baseline = road.study.systems[0]
    needed = aligns or any(system.kind == "distil" for system in systems)
    return systems if baseline in systems or not needed else [baseline, *systems]


def _is_saved(study: Study, file: str) -> bool:
    if not file or not Path(file).exists():
        return False
    remedy = "remove it; the run will be done again"
    saved = read_json(file, remedy=remedy)
    settings = saved.get("settings") if isinstance(saved, dict) else None
    if not isinstance(settings, dict):
        raise SoftHubertError(f"{file}: not a saved run; {remedy}")
    settings = {**_UNNAMED, **settings}
    for key, value in {**_UNNAMED, **dict(fact.split("=", 1) for fact in study.told)}.items():
        found = str(settings.get(key, "" if key == "corpus" else value))  # a run that an earlier version saved lacks some
        if found != value:
            raise SoftHubertError(f"{file}: a run with {key}={found}, but {key}={value} is asked for; give another --results")
    for name in (name for test in study.tests for name in (test, f"{test}-lm")[: 1 + bool(study.beam)]):
        if name not in saved.get("scores", {}):
            raise SoftHubertError(f"{file}: a run without a score of {name}; give another --results")
    return True


def _validation(study: Study) -> List[Stage]:
    """Draw the part of the validation split for training. If manifests come from outside, the stage looks out for changes in them."""
    if study.validation == study.valid:
        return []
    size = str(study.valid_utterances or 1_000_000_000)
    command = ("softhubert", "manifest", "subset", study.data, study.valid, study.validation, "--utterances", size)
    splits = () if study.made else (study.train, study.valid, *study.tests)
    reads = tuple(f"{study.data}/{split}.{suffix}" for split in splits for suffix in ("tsv", "wrd", "ltr"))
    return [Stage("validation", (command,), study.manifests, (f"{study.data}/{study.validation}.tsv",), reads)]


def _numbered(number: int, stages: Sequence[Stage]) -> List[Stage]:
    return [replace(stage, number=number) for stage in stages]
