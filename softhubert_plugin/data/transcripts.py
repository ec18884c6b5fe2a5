"""Gives fairseq's dataset for fine-tuning the transcripts as this package reads them.

fairseq finds a transcript by its offset in bytes, but reads as many characters as it has bytes, so a letter outside ASCII lets it read on
into the next transcript. A byte order mark would become a letter, and Windows line ends would shift every transcript.
"""

from __future__ import annotations

from typing import List, Optional, Sequence

from fairseq.data import HubertDataset

from softhubert_plugin.manifests import Manifest


def hold_transcripts(
    dataset: HubertDataset, manifest: Manifest, transcripts: Sequence[List[str]], *, shortest: Optional[int], longest: Optional[int]
) -> None:
    """Keep the transcripts in memory, in place of fairseq's offsets into their files; take root and names from the manifest as well.

    Args:
        dataset: the dataset; it is changed in place.
        manifest: all utterances.
        transcripts: for each label set, the transcript of every utterance of the manifest.
        shortest, longest: the samples of the utterances that fairseq keeps; ``None`` is no limit.
    """
    sizes = manifest.sizes.tolist()
    kept = [index for index, size in enumerate(sizes) if (shortest is None or size >= shortest) and (longest is None or size <= longest)]
    dataset.audio_root = str(manifest.root)
    dataset.audio_names = [manifest.names[index] for index in kept]
    dataset.label_list = [[lines[index] for index in kept] for lines in transcripts]
    dataset.store_labels = True
