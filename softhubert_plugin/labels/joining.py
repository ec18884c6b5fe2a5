"""Join plain soft-label shards and remove each of them as soon as its labels are safe, so that a disk never holds all labels twice.

The sizes of all parts are known beforehand: header and index are written first, then the labels of each shard at their places. A journal
beside the unfinished file says which shards are in it, so that a join that was interrupted goes on. The file has the bytes that writing all
utterances one after another would give.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import disk_errors, write_json
from softhubert_plugin.labels.soft import SoftLabels, open_soft_labels
from softhubert_plugin.labels.soft_layout import NUMPY, PLAIN, SoftLabelInfo, container_header, index_crc
from softhubert_plugin.text_files import read_json


class ShardJoin:
    """The join of some shards into one file.

    Args:
        path: the file to write.
        shards: the paths of the plain shards, in order.
    """

    def __init__(self, path: Path, shards: Sequence[Path]) -> None:
        self.path = path
        self.shards = list(shards)
        self._unfinished = path.with_name(f".{path.name}.joining")
        self._journal = path.with_name(f".{path.name}.joining.json")

    def interrupted(self) -> bool:
        """Whether an earlier join of these very shards was interrupted and can go on: what it has not joined yet is still there."""
        journal = self._read_journal()
        if journal is None:
            return False
        parts, done = journal["parts"], journal["done"]
        found = [_fingerprint(open_soft_labels(shard)) if shard.exists() else None for shard in self.shards]
        known = [part["fingerprint"] for part in parts]
        return found[done:] == known[done:] and all(one in (None, other) for one, other in zip(found[:done], known))

    def unfinished(self) -> SoftLabels:
        """The labels of a join that was interrupted: description and lengths are there from its start."""
        return open_soft_labels(self._unfinished)

    def start(self, opened: Sequence[SoftLabels], info: SoftLabelInfo) -> None:
        """Write header and index.

        Args:
            opened: the shards.
            info: the description of the joined labels.
        """
        index = {
            "utterance_frames": _offsets([labels.tensor("utterance_frames") for labels in opened]),
            "utterance_entries": _offsets([labels.tensor("utterance_entries") for labels in opened]),
            "utterance_crc": np.concatenate([labels.tensor("utterance_crc") for labels in opened]),
        }
        lengths = {name: sum(len(labels.tensor(name)) for labels in opened) for name in PLAIN.content}
        with disk_errors(self.path):
            self._journal.unlink(missing_ok=True)
            with open(self._unfinished, "wb") as stream:
                stream.write(container_header(PLAIN, info, index, lengths))
                for array in index.values():
                    stream.write(array.data)
                begin = stream.tell()
                stream.truncate(begin + sum(lengths[name] * _width(name) for name in PLAIN.content))
        self._write_journal({"begin": begin, "done": 0, "parts": [_part(labels) for labels in opened]})

    def finish(self) -> None:
        """Copy the labels of each shard that is left, and remove it; then give the file its name.

        Raises:
            SoftHubertError: a shard is damaged, or the disk is full; the shards that were not joined yet stay.
        """
        journal = self._read_journal()
        assert journal is not None, "started before"
        for number, shard in enumerate(self.shards):
            if number >= journal["done"]:
                labels = open_soft_labels(shard)
                for utterance in range(len(labels)):
                    labels.stored(utterance)  # refuses damaged bytes
                self._copy(labels, journal, number)
                journal["done"] = number + 1
                self._write_journal(journal)
            shard.unlink(missing_ok=True)
        os.replace(self._unfinished, self.path)
        self._journal.unlink()

    def _copy(self, labels: SoftLabels, journal: Dict[str, Any], number: int) -> None:
        position = journal["begin"]
        with disk_errors(self.path), open(self._unfinished, "r+b") as stream:
            for name in PLAIN.content:
                before = [part["lengths"][name] for part in journal["parts"]]
                stream.seek(position + sum(before[:number]) * _width(name))
                stream.write(labels.tensor(name).data)
                position += sum(before) * _width(name)
            stream.flush()
            os.fsync(stream.fileno())

    def _write_journal(self, journal: Dict[str, Any]) -> None:
        write_json(self._journal, {"checksum": _checksum(journal), "journal": journal})

    def _read_journal(self) -> Optional[Dict[str, Any]]:
        """The journal of an unfinished join of as many shards; ``None`` if there is none, or if it was altered."""
        if not self._journal.exists() or not self._unfinished.exists():
            return None
        try:
            read = read_json(self._journal, remedy="remove it")
            journal: Dict[str, Any] = read["journal"]
            return journal if read["checksum"] == _checksum(journal) and len(journal["parts"]) == len(self.shards) else None
        except (SoftHubertError, TypeError, KeyError):
            return None


def _checksum(journal: Dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(journal, sort_keys=True).encode()).hexdigest()


def _part(labels: SoftLabels) -> Dict[str, Any]:
    """What the journal says of a shard."""
    return {"fingerprint": _fingerprint(labels), "lengths": {name: len(labels.tensor(name)) for name in PLAIN.content}}


def _fingerprint(labels: SoftLabels) -> str:
    """What tells the labels of one shard from others: a checksum of the description and of the checksums of all utterances."""
    return index_crc(PLAIN, labels.info.as_text(), {name: labels.tensor(name) for name in PLAIN.index})


def _offsets(parts: List[np.ndarray]) -> np.ndarray:
    """Offsets into a whole, from those into its parts: each begins with 0."""
    return np.cumsum(np.concatenate([[0], *(np.diff(part) for part in parts)]), dtype="<i8")


def _width(name: str) -> int:
    return np.dtype(NUMPY[PLAIN.content[name]]).itemsize
