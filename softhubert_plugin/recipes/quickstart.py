"""The corpora of the quickstart: the whole road on two CPU cores in minutes."""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple

from softhubert_plugin.recipes.stages import Stage
from softhubert_plugin.recipes.study import Study


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


def corpus(study: Study, name: str, root: str, *, utterances: int, subset: str, download: bool, test_speaker: str) -> Stage:
    """Return the stage that makes or lists the corpus."""
    size, seed = ("--utterances", str(utterances)), ("--seed", str(study.seeds[0]))
    if name == "spoken":
        options: Tuple[str, ...] = ("corpus", "spoken", study.data, *size, "--speakers", "16", *seed)
    elif name == "digits":
        options = ("corpus", "digits", root, study.data, *size, *seed, *(("--test-speaker", test_speaker) if test_speaker else ()))
    else:
        listing = ("manifest", "librispeech", root, "--dest", study.data, "--subsets", subset, "--by-speaker")
        options = (*listing, *(("--download",) if download else ()))
    return Stage("corpus", (("softhubert", *options),), (), study.manifests)
