"""The whole road on two CPU cores in minutes: a small corpus, then a study of it whose features are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, List, NamedTuple, Tuple

from softhubert_plugin.recipes.stages import Command, Stage
from softhubert_plugin.recipes.study import Study, compared, roads_of
from softhubert_plugin.recipes.targets import Features, cluster


class Corpus(NamedTuple):
    """What differs between corpora, tuned once on the validation speakers for all systems alike.

    Attributes:
        utterances: its size, in all or for each speaker; 0 if it has its own.
        updates, finetune_updates: how long to train.
        clusters: number of clusters.
        max_tokens: samples in a batch of fine-tuning, no fewer than the longest utterance has.
        speech: where it is below the speech folder; empty if it is made.
    """

    utterances: int
    updates: int
    finetune_updates: int
    clusters: int = 50
    max_tokens: int = 160_000
    speech: str = ""


CORPORA: Dict[str, Corpus] = {
    "spoken": Corpus(1200, 300, 500),
    "digits": Corpus(300, 800, 1500, speech="fsdd/recordings"),
    "librispeech": Corpus(0, 1200, 2500, clusters=100, max_tokens=600_000, speech="."),
}


def corpus_command(corpus: str, root: str, data: str, *, utterances: int, seed: int, subset: str, download: bool) -> Command:
    """Return the command that makes or lists the corpus."""
    if corpus == "spoken":
        size: Tuple[str, ...] = ("--utterances", str(utterances), "--speakers", "16", "--seed", str(seed))
        return ("softhubert", "corpus", "spoken", data, *size)
    if corpus == "digits":
        return ("softhubert", "corpus", "digits", root, data, "--utterances", str(utterances), "--seed", str(seed))
    options = ("--dest", data, "--subsets", subset, "--by-speaker", *(("--download",) if download else ()))
    return ("softhubert", "manifest", "librispeech", root, *options)


def quickstart_stages(settings: Study, make: Command) -> List[Stage]:
    """Return the stages of the quickstart. The corpus is small: its features stay, so that every stage can be looked into."""
    made = tuple(f"{settings.data}/{split}.tsv" for split in (settings.train, settings.valid, *settings.tests))
    roads = [
        replace(road, by_speaker=False) for road in roads_of(settings, made, settings.valid)
    ]  # two voices, or one, are left to test on
    folder, splits = f"{settings.exp}/mfcc", (settings.train, settings.valid)
    dumped = tuple(f"{folder}/{split}_0_1.npy" for split in splits)
    commands = tuple(("softhubert", "features", "mfcc", settings.data, split, "1", "0", folder) for split in splits)
    features = Features(folder, dumped, 100, ())
    fitted = [stage for road in roads for stage in cluster(road, settings.systems, features, settings.clusters, road.folder)]
    shared = [Stage("corpus", (make,), (), made), Stage("mfcc", commands, made, dumped)]
    return [*shared, *fitted, *compared(settings, roads, features, audio=False)]
