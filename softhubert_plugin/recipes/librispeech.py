"""What LibriSpeech's recipe has before and between the stages of a study: its lists, a language model, letters to probe on."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from softhubert_plugin.recipes.stages import Command, Stage
from softhubert_plugin.recipes.study import Study
from softhubert_plugin.recipes.training import fine_tune


def data(study: Study, corpus: str, subsets: Sequence[str], *, by_speaker: bool, download: bool, limited: str = "") -> Stage:
    """List LibriSpeech, and make a trigram of the training text.

    Args:
        corpus: folder that holds ``LibriSpeech/``; empty if the manifests are there.
        subsets: LibriSpeech's subsets.
        by_speaker: whether one subset is split by speaker into train, valid and test.
        download: whether to fetch subsets that are missing.
        limited: name of a limited training set to list too, such as ``10h``; empty for none.
    """
    text, model = f"{study.data}/{study.train}.wrd", f"{study.exp}/lm/lm.arpa"
    letters = ("--dictionary", f"{study.data}/dict.ltr.txt")
    lm = ("softhubert", "lm", text, "--dest", f"{study.exp}/lm", "--order", "3", *letters)
    if not corpus:
        return Stage("data", (lm,), (), (model,), (text,))
    listing, fetched = ("softhubert", "manifest", "librispeech", corpus), ("--download",) if download else ()
    listed = (*listing, "--dest", study.data, "--subsets", *subsets)
    more_sets = (*(() if study.train in subsets else ("--combine", study.train)), *(("--limited", limited) if limited else ()))
    commands: Tuple[Command, ...] = ((*listed, *more_sets, *fetched),)
    more: Tuple[str, ...] = ()
    if by_speaker:  # and every speaker, for probing
        commands = ((*listed, "--by-speaker", *fetched), (*listing, "--dest", study.probed[0], "--subsets", *subsets))
        more = (f"{study.probed[0]}/{study.probed[1]}.tsv",)
    return Stage("data", (*commands, lm), (), (*study.manifests, *more, model))


def aligner(study: Study, updates: Optional[int]) -> Tuple[List[Stage], str]:
    """Align letters to probe on, by a briefly fine-tuned model of the baseline's first iteration.

    Returns:
        The stages, and the folder of the alignments.
    """
    road, letters = study.roads[0], f"{study.exp}/letters"
    checkpoint = f"{study.exp}/aligner/checkpoints/checkpoint_best.pt"
    trained = fine_tune(road, "aligner", road.pretrained(study.systems[0], 1), checkpoint, updates)
    command = ("softhubert", "align", *study.probing, checkpoint, letters, *study.on_device)
    return [trained, Stage("align", (command, ("touch", f"{letters}.done")), (checkpoint,), (f"{letters}.done",), gpus=1)], letters
