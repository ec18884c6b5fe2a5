"""The exception for bad input, which every program reports in the same way: one line.

Functions raise :class:`SoftHubertError` with a message that says what was found, where, and what to do. The ``softhubert`` command prints
the message and exits with status 2. Inside fairseq's trainer, :func:`refuse_in_one_line` does the same. Code that only parses a file's
bytes runs inside :func:`blaming`, so that no damage to the file ends in a traceback.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import Iterator, NoReturn

LONGEST_MESSAGE = 1_200  # characters


class SoftHubertError(Exception):
    """Bad input. The message names the file (and line or utterance), what was expected, what was found, and what to do."""


def message_of(error: SoftHubertError) -> str:
    """The message on one line, its middle left out if it quotes too much of a file.

    PyTorch passes an error of a data-loading worker on as an error of the same class with the worker's whole traceback as its text. The
    message is what follows the last name of the class in it.
    """
    text = str(error)
    if text.startswith("Caught ") and "Traceback (most recent call last)" in text:
        text = re.split(rf"^(?:\w+\.)*{type(error).__name__}: ", text, flags=re.MULTILINE)[-1]
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 300]} … {line[-300:]}"


def exit_with(error: SoftHubertError) -> NoReturn:
    """Print ``softhubert: error: ...`` on one line of stderr and exit with status 2."""
    print(f"softhubert: error: {message_of(error)}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def remark(kind: str, message: str) -> None:
    """Print ``softhubert: KIND: message`` on one line of stderr, for what a user should know before a long computation ends.

    Args:
        kind: ``note`` or ``warning``.
    """
    print(f"softhubert: {kind}: " + " ".join(message.split()), file=sys.stderr, flush=True)


@contextlib.contextmanager
def refuse_in_one_line() -> Iterator[None]:
    """Turn a :class:`SoftHubertError` into one line on stderr and exit status 2.

    This is for code that fairseq calls. hydra would hide the message in a traceback; on Python 3.10 and later, hydra 1.0 even replaces
    it with a failure of its own error printer. hydra does let ``SystemExit`` pass.
    """
    try:
        yield
    except SoftHubertError as error:
        exit_with(error)


@contextlib.contextmanager
def blaming(path: object, problem: str, remedy: str) -> Iterator[None]:
    """Blame a file for whatever its parser raises: parsers of damaged bytes fail in ways that nobody lists.

    Use this around code that only parses the file and checks its content. A missing file is reported better by the caller, beforehand.

    Args:
        path: the file.
        problem: what is wrong with it, such as "truncated or not a feature shard".
        remedy: what to do.

    Raises:
        SoftHubertError: something was raised inside, even for want of memory or stack: a damaged file may ask for any amount.
    """
    try:
        yield
    except SoftHubertError:
        raise
    except Exception as error:
        raise SoftHubertError(f"{path}: {problem} ({reason_of(error)}); {remedy}") from None


def reason_of(error: Exception) -> str:
    """The first line of an error's text, at most 200 characters, with the error's name where the text alone does not say much."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, OSError) and error.errno is not None:
        text = os.strerror(error.errno)
    elif not text or isinstance(error, (LookupError, AttributeError, AssertionError)):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text[:200]
