"""What letter alignments were made from, so that a later run keeps those that still hold and makes the others again.

``DEST/{split}.align.json`` binds every alignment to its checkpoint, transcript and recording by a digest of the three, as label files are
bound to their mixture and manifest. The record is written before the alignments, after outdated ones are removed. So an alignment that is
there is the one that its record describes, whenever a run was stopped. Files that no record names are somebody else's, and are refused.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Set

from tqdm import tqdm

from softhubert_plugin.alignments.sources import alignment_files
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, disk_errors, sha256_of, write_json
from softhubert_plugin.manifests import Manifest
from softhubert_plugin.text_files import read_json

_SUFFIX = ".align.json"
_BLOCK = 1024  # recordings that are read at the same time
_ELSEWHERE = "choose another folder, or remove it"


class Plan(NamedTuple):
    """What is left to do.

    Attributes:
        pending: numbers of the utterances to align, in ascending order.
        outdated: how many of them had an alignment that no longer held.
    """

    pending: List[int]
    outdated: int


def digests_of(manifest: Manifest, transcripts: Sequence[str], checkpoint_sha256: str) -> List[str]:
    """Compute a digest of what each utterance's alignment depends on: checkpoint, transcript and the bytes of the recording."""
    found: List[str] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads, tqdm(
        total=len(manifest), desc="comparing", unit="utt", disable=None
    ) as progress:
        for start in range(0, len(manifest), _BLOCK):
            indices = range(start, min(start + _BLOCK, len(manifest)))
            for index, audio in zip(indices, threads.map(sha256_of, [manifest.audio_path(index) for index in indices])):
                parts = (checkpoint_sha256, " ".join(transcripts[index].split()), audio)
                found.append(hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32])
            progress.update(len(indices))
    return found


def plan_alignments(dest: PathLike, split: str, names: Sequence[str], digests: Sequence[str], **facts: str) -> Plan:
    """Find the alignments that are missing or outdated, remove the latter, and write the record.

    Args:
        dest: folder of the alignments.
        names: path of each alignment below ``dest``, without ``.lab``.
        digests: from :func:`digests_of`.
        facts: what else to record, for people.

    Raises:
        SoftHubertError: ``dest`` has alignments that no record names, or that another split made from something else.
    """
    folder = Path(dest)
    path = folder / f"{split}{_SUFFIX}"
    known = {other: _read(other) for other in sorted(folder.glob(f"*{_SUFFIX}"))}
    own = known.pop(path, {})
    digest_of = dict(zip(names, digests))
    for other, record in known.items():
        clash = next((name for name in names if record.get(name, digest_of[name]) != digest_of[name]), None)
        if clash is not None:
            raise SoftHubertError(
                f"{other}: has {clash!r} too, aligned with another checkpoint or transcript; choose another folder for {split}, or remove "
                "that file and its alignments"
            )
    present = _present(folder, digest_of)
    for name in present:
        if name not in own and not any(name in record for record in known.values()):
            raise SoftHubertError(
                f"{folder / name}.lab: an alignment that no record here names, of another tool or an earlier version; {_ELSEWHERE}"
            )
    outdated = [name for name in present if own.get(name, digest_of[name]) != digest_of[name]]
    for name in outdated:
        with disk_errors(folder):
            (folder / f"{name}.lab").unlink()
    write_json(path, {**facts, "utterances": {**own, **digest_of}})
    current = present.difference(outdated)
    return Plan([index for index, name in enumerate(names) if name not in current], len(outdated))


def _present(folder: Path, names: Dict[str, str]) -> Set[str]:
    """The names whose ``.lab`` exists.

    Raises:
        SoftHubertError: there is an alignment of another kind, which would be read instead, or as well.
    """
    found: Set[str] = set()
    for file in alignment_files(folder) if folder.is_dir() else ():
        name, suffix = os.path.splitext(file)
        if suffix == ".lab" and name in names:
            found.add(name)
        elif suffix.lower() == ".textgrid" or name in names:
            raise SoftHubertError(f"{folder / file}: an alignment of another tool, which would be read with ours; {_ELSEWHERE}")
    return found


def _read(path: Path) -> Dict[str, str]:
    remedy = "remove it and the alignments beside it, and align again"
    record = read_json(path, remedy=remedy)
    utterances = record.get("utterances") if isinstance(record, dict) else None
    if not isinstance(utterances, dict) or not all(isinstance(digest, str) for digest in utterances.values()):
        raise SoftHubertError(f'{path}: not a record of alignments (it lacks "utterances"); {remedy}')
    return utterances
