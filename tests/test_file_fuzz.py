"""Every file that a command reads, damaged in hundreds of ways: read as it was written, or refused in one line, soon, in little memory."""

from __future__ import annotations

import contextlib
import re
import resource
import signal
import time
import zlib
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest
from file_kinds import KINDS, SavedModel, plain
from mutations import MUTATIONS
from shapes import SMALL, save_finetuned, save_pretrained

from softhubert_plugin.errors import SoftHubertError, message_of
from softhubert_plugin.exchange.export_transformers import export_transformers

MUTATIONS_PER_KIND = 300
# Far more than any of these small files takes, and far less than their damaged headers may ask for.
SECONDS_PER_FILE = 10
MEMORY = 4 << 30
RESIDENT = 400 << 10  # KiB


class Hang(BaseException):
    """Not an ``Exception``, so that no reader takes it for damage."""


@pytest.fixture(scope="module", autouse=True)
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Save a model as transformers does, and a fine-tuned one."""
    folder = tmp_path_factory.mktemp("saved")
    for name, checkpoint in (("plain", save_pretrained(folder / "a.pt", SMALL)), ("ctc", save_finetuned(folder / "b.pt", SMALL))):
        export_transformers(checkpoint, folder / name)
        SavedModel.made[name] = folder / name


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Let this process take :data:`MEMORY` more than it has, and no longer than :data:`SECONDS_PER_FILE` between two calls of ``alarm``."""

    def stop(*_: Any) -> None:
        raise Hang

    before, handler = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, stop)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_read_as_written_or_refused_in_one_line(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kind = KINDS[name]
    path = kind.make(tmp_path)
    content, written = path.read_bytes(), plain(kind.read(path))
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    capfd.readouterr()
    with limits():
        for number in range(MUTATIONS_PER_KIND):
            mutation = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
            path.write_bytes(mutation(rng, content))
            said = f"mutation {number}, {mutation.__name__}: {path.read_bytes()[:300]!r}"
            signal.setitimer(signal.ITIMER_REAL, SECONDS_PER_FILE)
            started = time.monotonic()
            try:
                found = plain(kind.read(path))
                assert kind.may_differ or found == written, said
            except SoftHubertError as error:
                assert path.name in str(error) or path.parent.name in str(error), said
                assert len(message_of(error)) < 1500, said
                refused += 1
            except Hang:
                pytest.fail(f"{said}: still reading after {time.monotonic() - started:.1f} s")
            except Exception as error:
                pytest.fail(f"{said}: {type(error).__name__}: {error}")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    assert kind.always_readable or refused > 0.2 * MUTATIONS_PER_KIND
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < RESIDENT
    printed = capfd.readouterr()
    assert printed.out == ""
    assert [line for line in printed.err.splitlines() if not re.fullmatch(kind.remarks, line)] == []
    path.write_bytes(content)
    assert plain(kind.read(path)) == written
