"""Damaged label files: whatever happens to the bytes, a reader refuses them or reads what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import numpy as np
import pytest
from test_labels import random_targets, write

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.labels.opening import open_labels
from softhubert_plugin.labels.pack import pack_labels
from softhubert_plugin.labels.soft import open_soft_labels

MUTATIONS_OF_A_KIND = 200
Mutation = Callable[[np.random.Generator, bytes], bytes]


def _header_end(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def _flip(content: bytes, position: int, bit: int) -> bytes:
    return content[:position] + bytes([content[position] ^ (1 << bit)]) + content[position + 1 :]


def _bit_in_header(rng: np.random.Generator, content: bytes) -> bytes:
    return _flip(content, int(rng.integers(_header_end(content))), int(rng.integers(8)))


def _bit_in_data(rng: np.random.Generator, content: bytes) -> bytes:
    return _flip(content, int(rng.integers(_header_end(content), len(content))), int(rng.integers(8)))


def _truncate(rng: np.random.Generator, content: bytes) -> bytes:
    return content[: int(rng.integers(len(content)))]


def _append(rng: np.random.Generator, content: bytes) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 64)))


def _delete_within(rng: np.random.Generator, content: bytes) -> bytes:
    start = int(rng.integers(len(content)))
    return content[:start] + content[start + int(rng.integers(1, 32)) :]


def _repeat_a_piece(rng: np.random.Generator, content: bytes) -> bytes:
    start, length = int(rng.integers(len(content))), int(rng.integers(1, 64))
    return content[:start] + content[start : start + length] + content[start:]


def _swap_pieces(rng: np.random.Generator, content: bytes) -> bytes:
    start, length = _header_end(content), int(rng.integers(2, 40))
    one, other = sorted(int(x) for x in rng.integers(start, len(content) - length, 2))
    if other < one + length:
        other = one + length
    moved = bytearray(content)
    moved[one : one + length], moved[other : other + length] = content[other : other + length], content[one : one + length]
    return bytes(moved)


def _overwrite(rng: np.random.Generator, content: bytes) -> bytes:
    start, length = int(rng.integers(len(content))), int(rng.integers(1, 64))
    return content[:start] + rng.bytes(length) + content[start + length :]


def _with_header(content: bytes, tensors: Dict[str, object]) -> bytes:
    encoded = json.dumps(tensors).encode()
    return len(encoded).to_bytes(8, "little") + encoded + content[_header_end(content) :]


def _header_edited(rng: np.random.Generator, content: bytes) -> bytes:
    """Keep the header valid JSON, but exchange two tensors, or replace or delete one entry."""
    tensors = json.loads(content[8 : _header_end(content)])
    names = [name for name in tensors if name != "__metadata__"]
    one, other = (names[int(i)] for i in rng.choice(len(names), 2, replace=False))
    kind = int(rng.integers(5))
    if kind == 0:
        tensors[one], tensors[other] = tensors[other], tensors[one]
    elif kind == 1:
        tensors[one]["shape"] = [[], [1, 2], [-1], ["7"], [2**60], [True], None][int(rng.integers(7))]
    elif kind == 2:
        tensors[one]["data_offsets"] = tensors[other]["data_offsets"]
    elif kind == 3:
        key = next(iter(tensors["__metadata__"]))
        described = json.loads(tensors["__metadata__"][key])
        name = list(described)[int(rng.integers(len(described)))]
        described[name] = [0, -1, 1e9, "x", None, []][int(rng.integers(6))]
        tensors["__metadata__"][key] = json.dumps(described, sort_keys=True)
    else:
        del tensors[(one, "__metadata__")[int(rng.integers(2))]]
    return _with_header(content, tensors)


def _foreign(rng: np.random.Generator, content: bytes) -> bytes:
    """Put this file's header before random data, or return something that is not a label file."""
    return (
        rng.bytes(int(rng.integers(0, 400))),
        content[: _header_end(content)] + rng.bytes(len(content) - _header_end(content)),
        (2**63 - 1).to_bytes(8, "little") + content[8:],
        (8).to_bytes(8, "little") + b"[" * 8,
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
    )[int(rng.integers(5))]


MUTATIONS: Tuple[Mutation, ...] = (
    _bit_in_header,
    _bit_in_data,
    _truncate,
    _append,
    _delete_within,
    _repeat_a_piece,
    _swap_pieces,
    _overwrite,
    _header_edited,
    _foreign,
)


def _everything(path: Path) -> List[object]:
    labels = open_soft_labels(path)
    stored = [[part.tolist() for part in labels.stored(index)] for index in range(len(labels))]
    return [labels.info, labels.lengths.tolist(), stored]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__.strip("_"))
def test_every_mutation_is_refused_by_name_or_read_as_it_was_written(tmp_path: Path, mutation: Mutation, packed: bool) -> None:
    rng = np.random.default_rng(MUTATIONS.index(mutation))
    path = tmp_path / "train.gmm"
    utterances = [random_targets(rng, frames, 20) for frames in (7, 1, 12, 5)]
    if packed:
        write(tmp_path / "plain.gmm", utterances, n_components=20)
        pack_labels(tmp_path / "plain.gmm", path)
    else:
        write(path, utterances, n_components=20)
    content, written = path.read_bytes(), _everything(path)
    refused = 0
    for number in range(MUTATIONS_OF_A_KIND):
        mutated = mutation(rng, content)
        path.write_bytes(mutated)
        try:
            assert _everything(path) == written, f"mutation {number}"
            # Only the spelling of the header may differ from what was written.
            assert mutated == content or mutation in (_bit_in_header, _overwrite, _header_edited, _swap_pieces), f"mutation {number}"
        except SoftHubertError as error:
            assert "train.gmm" in str(error)
            refused += 1
    assert refused > 0.9 * MUTATIONS_OF_A_KIND


def test_a_mutated_file_is_refused_when_opened_as_training_opens_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "train.gmm"
    write(path, [random_targets(rng, 9)])
    content = path.read_bytes()
    for mutation in MUTATIONS:
        mutated = mutation(rng, content)
        path.write_bytes(mutated)
        if mutated != content:
            with pytest.raises(SoftHubertError):
                open_labels(tmp_path, "train", "gmm").utterance(0)
