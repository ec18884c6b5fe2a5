"""Run a command that must be refused."""

from __future__ import annotations

from typing import List

import pytest

from softhubert_plugin.cli import main


def refusal(command: List[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must be refused in one line. Return the line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line
