"""What a shard of hard labels is made of, in ``{shard}.km.json`` beside it: fairseq's ``.km`` text has no room for it.

``softhubert gmm dump --hard`` writes it. With it, merging knows the number of clusters, and notices shards that were cut, exchanged or made
with different mixtures. Shards of fairseq's scripts do without.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, sha256_of, write_json
from softhubert_plugin.text_files import read_json

_AGAIN = "dump the shard again, or remove this file"


@dataclass(frozen=True)
class HardShardRecord:
    """What a shard of hard labels is made of.

    Attributes:
        clusters: number of clusters, whether or not all of them occur.
        utterances: number of lines.
        source_sha256: fingerprint of the mixture; with a word after it where labels are not its default ones (``frame-wise``, ``viterbi``).
        manifest_sha256: fingerprint of the manifest; empty if the features did not record it.
        labels_sha256: fingerprint of the shard itself.
    """

    clusters: int
    utterances: int
    source_sha256: str
    manifest_sha256: str
    labels_sha256: str


def record_path(shard: PathLike) -> Path:
    """The path of a shard's record."""
    return Path(f"{shard}.json")


def write_record(shard: PathLike, *, clusters: int, utterances: int, source_sha256: str, manifest_sha256: str) -> None:
    """Describe a shard that was just written."""
    write_json(record_path(shard), asdict(HardShardRecord(clusters, utterances, source_sha256, manifest_sha256, sha256_of(shard))))


def read_record(shard: PathLike) -> Optional[HardShardRecord]:
    """Read the record of a shard; ``None`` if it has none.

    Raises:
        SoftHubertError: the record is damaged.
    """
    path = record_path(shard)
    if not path.exists():
        return None
    value = read_json(path, remedy=_AGAIN)
    try:
        record = HardShardRecord(**value)
    except TypeError:
        raise SoftHubertError(f"{path}: not the description of hard labels; {_AGAIN}") from None
    texts = (record.source_sha256, record.manifest_sha256, record.labels_sha256)
    numbers = (record.clusters, record.utterances)
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int and number > 0 for number in numbers):
        raise SoftHubertError(f"{path}: not the description of hard labels; {_AGAIN}")
    return record
