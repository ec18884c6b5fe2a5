"""Damage to a file's bytes, as disks, editors, careless scripts and hostile hands do it: each function takes the bytes and gives others."""

from __future__ import annotations

import re
from typing import Callable, Tuple

import numpy as np

Mutation = Callable[[np.random.Generator, bytes], bytes]

# In place of a number or a word of a text.
_VALUES = (
    b"0", b"-1", b"1", b"9" * 20, b"9" * 400, b"9" * 5000, b"1e999", b"-1e999", b"nan", b"NaN", b"inf", b"1.5", b"",
    b"null", b"true", b"[]", b"{}", b'"x"', b"\xc2\xb2", b"\xd9\xa3", b"1_0", b"0x10",
    b"\xff\xfe", b"\0", b"*a", b"&a [*a]", b"!!python/object:os.system x", b"2020-01-01",
)  # fmt: skip
_BYTES = (
    b"\xff",
    b"\xfe\xff",
    b"\x80",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\0",
    b"\r",
    b"\x1b",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\t",
    b"\n",
    b"\n\n",
    b" ",
)


def flip_a_bit(rng: np.random.Generator, content: bytes) -> bytes:
    """Flip one bit anywhere."""
    position, bit = int(rng.integers(len(content))), int(rng.integers(8))
    return content[:position] + bytes([content[position] ^ (1 << bit)]) + content[position + 1 :]


def flip_a_bit_near_the_beginning(rng: np.random.Generator, content: bytes) -> bytes:
    """Flip one bit where headers are."""
    head = min(len(content), 256)
    return flip_a_bit(rng, content[:head]) + content[head:]


def flip_a_bit_near_the_end(rng: np.random.Generator, content: bytes) -> bytes:
    """Flip one bit where directories of archives are."""
    tail = max(len(content) - 256, 0)
    return content[:tail] + flip_a_bit(rng, content[tail:])


def cut(rng: np.random.Generator, content: bytes) -> bytes:
    """Keep only the beginning, perhaps nothing."""
    return content[: int(rng.integers(len(content)))]


def append(rng: np.random.Generator, content: bytes) -> bytes:
    """Add random bytes at the end."""
    return content + rng.bytes(int(rng.integers(1, 64)))


def delete_a_piece(rng: np.random.Generator, content: bytes) -> bytes:
    """Leave out up to 32 bytes."""
    start = int(rng.integers(len(content)))
    return content[:start] + content[start + int(rng.integers(1, 33)) :]


def repeat_a_piece(rng: np.random.Generator, content: bytes) -> bytes:
    """Write up to 64 bytes twice."""
    start, length = int(rng.integers(len(content))), int(rng.integers(1, 65))
    return content[:start] + content[start : start + length] + content[start:]


def overwrite(rng: np.random.Generator, content: bytes) -> bytes:
    """Replace up to 32 bytes by random ones."""
    start, length = int(rng.integers(len(content))), int(rng.integers(1, 33))
    return content[:start] + rng.bytes(length) + content[start + length :]


def insert_strange_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    """Insert bytes that are not UTF-8, marks, zeros or line ends."""
    start = int(rng.integers(len(content) + 1))
    return content[:start] + _BYTES[int(rng.integers(len(_BYTES)))] + content[start:]


def replace_a_number(rng: np.random.Generator, content: bytes) -> bytes:
    """Replace a number in text by a huge, negative, missing or odd one."""
    return _replaced(rng, content, rb"[0-9]+")


def replace_a_word(rng: np.random.Generator, content: bytes) -> bytes:
    """Replace a word in text in the same way."""
    return _replaced(rng, content, rb"[A-Za-z_.]+")


def change_a_digit(rng: np.random.Generator, content: bytes) -> bytes:
    """Change one digit of a text."""
    places = [match.start() for match in re.finditer(rb"[0-9]", content)]
    if not places:
        return flip_a_bit(rng, content)
    place = places[int(rng.integers(len(places)))]
    return content[:place] + str(int(rng.integers(10))).encode() + content[place + 1 :]


def exchange_lines(rng: np.random.Generator, content: bytes) -> bytes:
    """Exchange two lines."""
    lines = content.split(b"\n")
    one, other = (int(place) for place in rng.integers(len(lines), size=2))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def repeat_a_line(rng: np.random.Generator, content: bytes) -> bytes:
    """Write a line again, elsewhere."""
    lines = content.split(b"\n")
    one, other = (int(place) for place in rng.integers(len(lines), size=2))
    return b"\n".join([*lines[:other], lines[one], *lines[other:]])


def delete_a_line(rng: np.random.Generator, content: bytes) -> bytes:
    """Leave out a line."""
    lines = content.split(b"\n")
    del lines[int(rng.integers(len(lines)))]
    return b"\n".join(lines)


def write_a_huge_length(rng: np.random.Generator, content: bytes) -> bytes:
    """Overwrite four or eight bytes with a huge number, in either byte order, where a length may be."""
    start = int(rng.integers(min(len(content), 64)))
    number = (2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)[int(rng.integers(5))]
    size = 4 if number < 2**32 else 8
    return content[:start] + number.to_bytes(size, ("little", "big")[int(rng.integers(2))]) + content[start + size :]


def nest_deeply(rng: np.random.Generator, content: bytes) -> bytes:
    """Insert brackets without end."""
    start = int(rng.integers(len(content) + 1))
    return content[:start] + (b"[", b"{", b"(", b'{"a":', b"- ")[int(rng.integers(5))] * 5_000 + content[start:]


def put_something_else(rng: np.random.Generator, content: bytes) -> bytes:
    """Put a file of another kind in its place."""
    return (
        b"", b"\n", b"\0" * 100, rng.bytes(400), b"hello\n", b"{}", b"[]", b"null", b"0\n", b"\x93NUMPY\x01\x00", b"PK\x03\x04" + content,
        b"\x80\x04N.", b"<html>404</html>", b"\xff\xfeh\x00i\x00",
    )[int(rng.integers(14))]  # fmt: skip


def _replaced(rng: np.random.Generator, content: bytes, pattern: bytes) -> bytes:
    found = list(re.finditer(pattern, content))
    if not found:
        return overwrite(rng, content)
    match = found[int(rng.integers(len(found)))]
    return content[: match.start()] + _VALUES[int(rng.integers(len(_VALUES)))] + content[match.end() :]


MUTATIONS: Tuple[Mutation, ...] = (
    flip_a_bit,
    flip_a_bit_near_the_beginning,
    flip_a_bit_near_the_end,
    cut,
    append,
    delete_a_piece,
    repeat_a_piece,
    overwrite,
    insert_strange_bytes,
    replace_a_number,
    replace_a_word,
    change_a_digit,
    exchange_lines,
    repeat_a_line,
    delete_a_line,
    write_a_huge_length,
    nest_deeply,
    put_something_else,
)
