"""Gives fairseq's dataset for fine-tuning the transcripts as this package reads them.

fairseq finds a transcript by its offset in bytes, but reads as many characters as it has bytes, so a letter outside ASCII lets it read on
into the next transcript. A byte order mark would become a letter, and Windows line ends would shift every transcript.
"""

from __future__ import annotations

import logging
from typing import List, Optional, Sequence

from fairseq.data import HubertDataset

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import Manifest

logger = logging.getLogger(__name__)

REFUSE_ABOVE = 0.5  # share of the transcripts that are longer than their audio


def kept_utterances(manifest: Manifest, *, shortest: Optional[int], longest: Optional[int]) -> List[int]:
    """The utterances that fairseq keeps, as positions in the manifest.

    Args:
        shortest, longest: their samples; ``None`` is no limit.

    Raises:
        SoftHubertError: there is none.
    """
    sizes = manifest.sizes.tolist()
    kept = [index for index, size in enumerate(sizes) if (shortest is None or size >= shortest) and (longest is None or size <= longest)]
    if not kept:
        raise SoftHubertError(
            f"{manifest.path}: none of its {len(manifest)} utterances is between {shortest} and {longest} samples long; "
            "change task.min_sample_size or task.max_keep_size"
        )
    return kept


def check_transcript_lengths(path: str, lines: Sequence[str], kept: Sequence[int], frames: Sequence[int]) -> None:
    """Compare transcripts with their audio: CTC needs a frame for each symbol, and one more between two that are the same.

    Some that are too long are warned of: with ``criterion.zero_infinity`` they teach nothing, without it the loss is infinite.

    Args:
        path: the transcripts.
        lines: the symbols of every utterance, separated by spaces.
        kept: the utterances to look at.
        frames: the frames of each of those.

    Raises:
        SoftHubertError: most are too long, as are those of another corpus.
    """
    wanted = {index: _fewest_frames(lines[index].split()) for index in kept}
    longer = [(index, had) for index, had in zip(kept, frames) if wanted[index] > had]
    if not longer:
        return
    index, had = longer[0]
    message = (
        f"{path}: {len(longer)} of {len(kept)} transcripts need more frames than their audio has (the first: line {index + 1} needs "
        f"{wanted[index]} and has {had}), so CTC learns nothing from them"
    )
    if len(longer) > REFUSE_ABOVE * len(kept):
        raise SoftHubertError(f"{message}; give the transcripts of this manifest, or units of more letters each ('softhubert targets')")
    logger.warning("%s. Shorten or remove them.", message)


def _fewest_frames(symbols: Sequence[str]) -> int:
    return len(symbols) + sum(one == other for one, other in zip(symbols, symbols[1:]))


def hold_transcripts(dataset: HubertDataset, manifest: Manifest, transcripts: Sequence[List[str]], kept: Sequence[int]) -> None:
    """Keep the transcripts in memory, in place of fairseq's offsets into their files; take root and names from the manifest as well.

    Args:
        dataset: the dataset; it is changed in place.
        manifest: all utterances.
        transcripts: for each label set, the transcript of every utterance of the manifest.
        kept: the utterances that fairseq keeps, as positions in the manifest.
    """
    dataset.audio_root = str(manifest.root)
    dataset.audio_names = [manifest.names[index] for index in kept]
    dataset.label_list = [[lines[index] for index in kept] for lines in transcripts]
    dataset.store_labels = True
