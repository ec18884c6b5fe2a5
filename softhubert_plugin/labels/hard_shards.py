"""Join the hard label shards of a split, of ``softhubert gmm dump --hard`` or of fairseq's ``dump_km_label.py``, into ``{split}.km``.

fairseq joins them by hand, with ``cat``. Here a shard that is missing, cut, copied or of another clustering is refused.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO, Dict, Iterator, List, Optional, Set, Tuple

from tqdm import tqdm

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import counts_of_shards, shard_path, shard_range
from softhubert_plugin.files import PathLike, atomic_path
from softhubert_plugin.labels.cluster_dictionary import ClusterDictionary
from softhubert_plugin.labels.hard import MOST_DIGITS
from softhubert_plugin.labels.hard_record import HardRecord, read_record, record_path, write_record
from softhubert_plugin.manifests import Manifest
from softhubert_plugin.text_files import unmarked_line

_AGAIN = "dump the shard again"


def merge_hard_shards(
    lab_dir: PathLike, split: str, nshard: int, *, clusters: Optional[int] = None, manifest: Optional[Manifest] = None
) -> str:
    """Write ``{split}.km`` from the shards ``{split}_{rank}_{nshard}.km``, its record if all of them have one, and ``dict.km.txt``.

    Args:
        clusters: number of clusters of the clustering; by default what the shards record, then what the dictionary lists, then what the
            largest label shows.
        manifest: the split's manifest, to check the number of utterances of each shard.

    Returns:
        A line on what was written.

    Raises:
        SoftHubertError: a shard is missing, damaged, a copy of another, or of another clustering or manifest; or it does not fit the
            dictionary.
    """
    folder = Path(lab_dir)
    paths = [shard_path(folder, split, rank, nshard, ".km") for rank in range(nshard)]
    _check_present(folder, split, nshard, paths)
    records = [read_record(path) for path in paths]
    _check_same(paths, records, manifest)
    dictionary = ClusterDictionary(folder, given=clusters, recorded=next((each.clusters for each in records if each is not None), None))
    utterances = frames = 0
    used: Set[int] = set()
    digests: Dict[str, Path] = {}
    target = folder / f"{split}.km"
    with atomic_path(target) as temporary, open(temporary, "wb") as joined:
        for rank, (path, record) in enumerate(zip(paths, records)):
            lines, labels, found, digest = _append(path, joined)
            expected = _expected(manifest, nshard, rank, record)
            if expected not in (None, lines):
                raise SoftHubertError(f"{path}: {lines} utterances, expected {expected}; {_AGAIN}")
            if record is not None and record.labels_sha256 != digest:
                raise SoftHubertError(f"{path}: not what its record {record_path(path).name} describes; {_AGAIN}, or remove the record")
            if digest in digests:
                raise SoftHubertError(f"{path}: the same as {digests[digest]}, so one of them is a copy; {_AGAIN}")
            digests[digest] = path
            try:
                dictionary.check(found)
            except SoftHubertError as error:
                raise SoftHubertError(f"{path}: {error}") from None
            utterances, frames, used = utterances + lines, frames + labels, used | found
    _write_joined_record(target, utterances, records)
    return f"{target}: {utterances} utterances, {frames} frames; {dictionary.write(used)}"


def _write_joined_record(target: Path, utterances: int, records: List[Optional[HardRecord]]) -> None:
    """Describe the joined labels as the shards' records do, which agree. An old record that does not fit them is not used by anyone."""
    known = [record for record in records if record is not None]
    if len(known) == len(records):
        rates = {record.label_rate for record in known}
        write_record(
            target,
            clusters=known[0].clusters,
            utterances=utterances,
            source_sha256=known[0].source_sha256,
            manifest_sha256=known[0].manifest_sha256,
            label_rate=rates.pop() if len(rates) == 1 else None,
        )


def _check_present(folder: Path, split: str, nshard: int, paths: List[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        counts = [count for count in counts_of_shards(folder, split, ".km") if count != nshard]
        others = f", but shards of {', '.join(map(str, counts))}: give that NSHARD" if counts else "; dump it"
        raise SoftHubertError(f"{missing[0]}: no such label shard ({len(missing)} of {nshard} are missing){others}")


def _check_same(paths: List[Path], records: List[Optional[HardRecord]], manifest: Optional[Manifest]) -> None:
    """Check that the shards come from one clustering and one manifest, as far as they record it."""
    known = [(path, record) for path, record in zip(paths, records) if record is not None]
    for path, record in known:
        first_path, first = known[0]
        for name in ("clusters", "source_sha256", "manifest_sha256"):
            if getattr(record, name) != getattr(first, name):
                raise SoftHubertError(
                    f"{path}: {name} is {getattr(record, name)}, but {getattr(first, name)} in {first_path}; dump all shards of a "
                    "split with one mixture, from one manifest"
                )
        if manifest is not None and record.manifest_sha256 not in ("", manifest.fingerprint):
            raise SoftHubertError(f"{path}: made for another manifest than {manifest.path}; dump features and labels again from this one")


def _expected(manifest: Optional[Manifest], nshard: int, rank: int, record: Optional[HardRecord]) -> Optional[int]:
    """Return the number of utterances that a shard must have; ``None`` if nothing tells."""
    if manifest is not None:
        start, end = shard_range(len(manifest), nshard, rank)
        return end - start
    return None if record is None else record.utterances


def _append(path: Path, joined: BinaryIO) -> Tuple[int, int, Set[int], str]:
    """Check a shard and append it to the joined file.

    Returns:
        The number of its lines and of its labels, the labels that occur, and its SHA-256.
    """
    digest = hashlib.sha256()
    lines = labels = 0
    used: Set[bytes] = set()
    with open(path, "rb") as stream:
        for line in tqdm(_lines(path, stream, digest), desc=path.name, unit="utt", disable=None):
            joined.write(b" ".join(line) + b"\n")
            lines, labels = lines + 1, labels + len(line)
            used.update(line)
    if not lines:
        raise SoftHubertError(f"{path}: the shard is empty; {_AGAIN}")
    return lines, labels, set(map(int, used)), digest.hexdigest()


def _lines(path: Path, stream: BinaryIO, digest: hashlib._Hash) -> Iterator[List[bytes]]:
    """Yield the labels of each line, as digits."""
    for number, line in enumerate(stream, start=1):
        digest.update(line)
        if not line.endswith(b"\n"):
            raise SoftHubertError(f"{path}, line {number}: ends within a line, so the shard was cut; {_AGAIN}")
        found = unmarked_line(line).split()
        if not found:
            raise SoftHubertError(f"{path}, line {number}: no labels; {_AGAIN}")
        if not b"".join(found).isdigit() or max(map(len, found)) > MOST_DIGITS:
            odd = next(label for label in found if not label.isdigit() or len(label) > MOST_DIGITS)
            raise SoftHubertError(f"{path}, line {number}: expected cluster numbers, found {odd[:40]!r}; {_AGAIN}")
        yield found
