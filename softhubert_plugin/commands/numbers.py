"""Types of numbers on the command line. Each refuses what the libraries behind the commands cannot take, such as ``nan``."""

from __future__ import annotations

import argparse
import math
import re

_LARGEST = 2**31 - 1  # many libraries keep whole numbers in 32 bits
_LARGEST_SEED = 2**32 - 1  # NumPy's and scikit-learn's


def number(text: str) -> float:
    """Read a finite number.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"'{text}' is not a finite number")
    return value


def positive(text: str) -> float:
    """Read a finite number above 0.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def whole(text: str) -> int:
    """Read a whole number of at most 31 bits.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    return _within(text, -_LARGEST, _LARGEST, "a whole number")


def count(text: str) -> int:
    """Read a whole number from 1.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    return _within(text, 1, _LARGEST, "a whole number from 1")


def amount(text: str) -> int:
    """Read a whole number from 0.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    return _within(text, 0, _LARGEST, "a whole number from 0")


def seed(text: str) -> int:
    """Read a random seed, a whole number from 0 to 4294967295.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    return _within(text, 0, _LARGEST_SEED, f"a whole number from 0 to {_LARGEST_SEED}")


def _within(text: str, least: int, most: int, wanted: str) -> int:
    # Python refuses to convert thousands of digits.
    value = int(text) if re.fullmatch(r"[+-]?[0-9]{1,15}", text) else most + 1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"'{text}' is not {wanted}")
    return value
