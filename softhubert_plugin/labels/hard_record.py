"""What a file of hard labels is made of, in ``{file}.km.json`` beside it: fairseq's ``.km`` text has no room for it.

``softhubert gmm dump --hard`` writes it. With it, merging knows the number of clusters, and notices shards that were cut, exchanged or made
with different mixtures. Merging writes one for the joined file, so that training notices splits of different mixtures, manifests or rates.
Labels of fairseq's scripts do without.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, sha256_of, write_json
from softhubert_plugin.text_files import read_json

_AGAIN = "make the labels again, or remove this file"


@dataclass(frozen=True)
class HardRecord:
    """What a file of hard labels is made of, a shard or the whole.

    Attributes:
        clusters: number of clusters, whether or not all of them occur.
        utterances: number of lines.
        source_sha256: fingerprint of the mixture; with a word after it where labels are not its default ones (``frame-wise``, ``viterbi``).
        manifest_sha256: fingerprint of the manifest; empty if the features did not record it.
        labels_sha256: fingerprint of the file itself.
        label_rate: frames per second; ``None`` if the features did not record it, and in files of earlier versions.
    """

    clusters: int
    utterances: int
    source_sha256: str
    manifest_sha256: str
    labels_sha256: str
    label_rate: Optional[float] = None


def record_path(labels: PathLike) -> Path:
    """The path of a file's record."""
    return Path(f"{labels}.json")


def write_record(
    labels: PathLike, *, clusters: int, utterances: int, source_sha256: str, manifest_sha256: str, label_rate: Optional[float]
) -> None:
    """Describe a file that was just written."""
    record = HardRecord(clusters, utterances, source_sha256, manifest_sha256, sha256_of(labels), label_rate)
    write_json(record_path(labels), asdict(record))


def read_record(labels: PathLike) -> Optional[HardRecord]:
    """Read the record of a file; ``None`` if it has none.

    Raises:
        SoftHubertError: the record is damaged.
    """
    path = record_path(labels)
    if not path.exists():
        return None
    value = read_json(path, remedy=_AGAIN)
    try:
        record = HardRecord(**value)
    except TypeError:
        raise SoftHubertError(f"{path}: not the description of hard labels; {_AGAIN}") from None
    texts = (record.source_sha256, record.manifest_sha256, record.labels_sha256)
    numbers = (record.clusters, record.utterances)
    rate = 1.0 if record.label_rate is None else record.label_rate
    whole = all(type(number) is int and number > 0 for number in numbers)
    if not all(isinstance(text, str) for text in texts) or not whole or type(rate) not in (int, float) or not 0 < rate < 1e6:
        raise SoftHubertError(f"{path}: not the description of hard labels; {_AGAIN}")
    return record
