"""The command's standard streams, behaving as those of other Unix tools.

* A reader that closes our output early, as ``head`` does, ends the command silently with the status of a process that SIGPIPE ended.
* Output that cannot be written, because the disk is full or the stream is closed, is bad input of one line, status 2.
* A terminal whose encoding lacks a character shows an escape in its place, such as ``\\u2192``.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from typing import Iterator

from softhubert_plugin.errors import SoftHubertError

# 128 + SIGPIPE: what a shell reports for "yes | head -1". Under "set -o pipefail" our pipelines behave as those of other tools.
CLOSED_PIPE = 141


def say(text: str, *, end: str = "\n") -> None:
    """Print to standard output, at once.

    Raises:
        BrokenPipeError: the reader has closed it; :func:`standard_streams` ends the command.
        SoftHubertError: it cannot be written.
    """
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        raise SoftHubertError(f"standard output: {error.strerror or error}, so what the command prints is lost; redirect it") from None


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Prepare the standard streams, and leave nothing in a buffer that could fail when the interpreter exits.

    Raises:
        SystemExit: the reader of standard output has closed it (status 141).
        SoftHubertError: standard output cannot be written.
    """
    _occupy_closed_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        except SystemExit:  # after a help text, or after an error of one line
            say("", end="")
            raise
        say("", end="")
    except BrokenPipeError:
        if not _reader_is_gone():  # the pipe led to another process
            raise
        _discard_output()
        raise SystemExit(CLOSED_PIPE) from None


def _occupy_closed_descriptors() -> None:
    """Open the null device in place of closed standard streams, so that no file of ours gets their numbers.

    Python sets a stream to ``None`` if it was closed (``>&-``). Writing to standard output must still fail, so its place is only readable.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # takes the lowest free number, which is this one
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


def _reader_is_gone() -> bool:
    """Whether nobody reads standard output or standard error any more."""
    gone = select.POLLERR | select.POLLHUP
    poller = select.poll()
    for number in (1, 2):
        poller.register(number, 0)
    return any(event & gone for _, event in poller.poll(0))


def _discard_output() -> None:
    """Lead standard output to the null device: the interpreter flushes what is still in the buffer when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
