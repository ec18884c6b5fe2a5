"""The command's standard streams: closed early, closed from the start, full, or in an encoding that lacks a character."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import List, Tuple

import pytest

REPOSITORY = Path(__file__).parents[1]
BUFFERING = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


@pytest.fixture()
def hypotheses(tmp_path: Path) -> Path:
    """Hypotheses that are also their references, with a letter outside ASCII."""
    path = tmp_path / "hyp"
    path.write_text("".join(f"CAFÉ {number} (a{number})\n" for number in range(3000)), encoding="utf-8")
    return path


def _shell(line: str, *arguments: object, **environment: str) -> Tuple[List[int], str]:
    """Run a line of bash in which ``softhubert`` is the command. Return the status of each part of the pipe, and stderr."""
    program = f'softhubert() {{ \'{sys.executable}\' -m softhubert_plugin "$@"; }}\n{line}\necho "${{PIPESTATUS[@]}}" >&3'
    reader, writer = os.pipe()
    done = subprocess.run(
        ["bash", "-c", f"exec 3>&{writer}\n{program}", "bash", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        encoding="latin-1",
        pass_fds=[writer],
    )
    os.close(writer)
    with os.fdopen(reader) as stream:
        return [int(status) for status in stream.read().split()], done.stderr


@BUFFERING
@pytest.mark.parametrize(
    "command",
    ['score "$1" "$1" --worst 3000', "--help", "--version", "score -h", "doctor", "configs"],
    ids=lambda command: command.split()[0],
)
def test_a_reader_that_closes_the_pipe_ends_the_command_silently(command: str, unbuffered: str, hypotheses: Path) -> None:
    # The reader closes before anything is written, so that the outcome does not depend on who is faster.
    statuses, said = _shell(f"softhubert {command} | exec true", hypotheses, PYTHONUNBUFFERED=unbuffered)
    assert statuses == [141, 0], said
    assert "Traceback" not in said and "BrokenPipe" not in said and "Exception ignored" not in said and "error" not in said


@BUFFERING
def test_head_gets_its_line(unbuffered: str, hypotheses: Path) -> None:
    statuses, said = _shell(
        'softhubert score "$1" "$1" --worst 3000 | head -1 | grep -q "^WER 0.00"', hypotheses, PYTHONUNBUFFERED=unbuffered
    )
    assert statuses[0] in (0, 141) and statuses[1:] == [0, 0] and said == ""


@BUFFERING
@pytest.mark.parametrize(
    ("redirection", "reason"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")], ids=["full", "closed"]
)
@pytest.mark.parametrize("command", ['score "$1" "$1"', "--help", "--version"], ids=["score", "help", "version"])
def test_output_that_cannot_be_written_is_one_line(command: str, redirection: str, reason: str, unbuffered: str, hypotheses: Path) -> None:
    statuses, said = _shell(f"softhubert {command} {redirection}", hypotheses, PYTHONUNBUFFERED=unbuffered)
    assert statuses == [2]
    assert said == f"softhubert: error: standard output: {reason}, so what the command prints is lost; redirect it\n"


def test_results_are_written_even_if_the_summary_cannot_be(tmp_path: Path, hypotheses: Path) -> None:
    statuses, _ = _shell('softhubert score "$1" "$1" --dest "$2" >&-', hypotheses, tmp_path / "score.json")
    assert statuses == [2] and (tmp_path / "score.json").read_text().startswith("{")


@pytest.mark.parametrize("closed", ["2>&-", "<&-", "<&- 2>&-"])
def test_other_closed_streams_do_not_matter(closed: str, tmp_path: Path, hypotheses: Path) -> None:
    statuses, said = _shell(f'softhubert score "$1" "$1" --dest "$2" {closed}', hypotheses, tmp_path / "score.json")
    assert statuses == [0] and said == ""


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", b"REF:  caf\\xe9 0\n"), ("latin-1", b"REF:  caf\xe9 0\n")])
def test_a_terminal_without_a_letter_gets_an_escape(encoding: str, shown: bytes, tmp_path: Path, hypotheses: Path) -> None:
    environment = {"PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    statuses, said = _shell('softhubert score "$1" "$1" --worst 1 >"$2"', hypotheses, tmp_path / "out", **environment)
    assert statuses == [0] and said == "" and shown in (tmp_path / "out").read_bytes()
    statuses, said = _shell("softhubert score 'café → thé' x", **environment)
    assert statuses == [2] and said.startswith("softhubert: error: caf") and said.count("\n") == 1
