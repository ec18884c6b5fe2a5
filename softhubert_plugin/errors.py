"""The exception for bad input, which every program reports in the same way: one line.

Functions raise :class:`SoftHubertError` with a message that says what was found, where, and what to do. The ``softhubert`` command prints
the message and exits with status 2. Inside fairseq's trainer, :func:`refuse_in_one_line` does the same.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Iterator, NoReturn


class SoftHubertError(Exception):
    """Bad input. The message names the file (and line or utterance), what was expected, what was found, and what to do."""


def exit_with(error: SoftHubertError) -> NoReturn:
    """Print ``softhubert: error: ...`` on one line of stderr and exit with status 2."""
    print("softhubert: error: " + " ".join(str(error).split()), file=sys.stderr, flush=True)
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
