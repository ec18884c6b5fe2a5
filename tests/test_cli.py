"""The command line: help with examples, errors in one line with status 2, and commands that work without fairseq."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest

from softhubert_plugin.cli import build_parser, main
from softhubert_plugin.commands import numbers


def _commands(parser: argparse.ArgumentParser, prefix: Tuple[str, ...] = ()) -> Iterator[Tuple[Tuple[str, ...], argparse.ArgumentParser]]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield prefix, parser
    for group in groups:
        for name, sub in group.choices.items():
            yield from _commands(sub, (*prefix, name))


COMMANDS = dict(_commands(build_parser()))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_shows_an_example_that_it_would_accept(command: Tuple[str, ...]) -> None:
    text = (COMMANDS[command].epilog or "").partition("example:\n")[2]
    example = shlex.split(text)
    assert example[: 1 + len(command)] == ["softhubert", *command]
    build_parser().parse_args(example[1:])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_argument_is_explained(command: Tuple[str, ...]) -> None:
    assert all(action.help for action in COMMANDS[command]._actions)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["features", "mfcc", "nowhere", "train", "1", "0", "out"], "nowhere/train.tsv"),
        (["features", "mfcc", "nowhere", "train", "one", "0", "out"], "'one' is not a whole number"),
        (["gmm", "learn", "nowhere", "train", "1", "gmm.safetensors", "10"], "nowhere/train_0_1.npy"),
        (["gmm", "dump", "nowhere", "train", "gmm.safetensors", "1", "0", "lab"], "gmm.safetensors: no such mixture"),
        (["labels", "inspect", "train.gmm"], "train.gmm"),
        (["labels", "merge", "nowhere", "train", "2"], "train_0_2.gmm"),
        (["decode", "nowhere", "test", "ckpt.pt", "out"], "nowhere/test.tsv"),
        (["score", "hypo.word", "ref.word"], "hypo.word"),
        (["report", "nowhere", "--dest", "out"], "nowhere/experiment.json"),
        (["nonsense"], "invalid choice: 'nonsense'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gives_one_line_and_status_2(
    arguments: List[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("softhubert: error: ") and complaint in lines[0]
    assert not list(tmp_path.iterdir())


TERMINATED = """
import argparse, os, signal, sys, time
from softhubert_plugin import cli
from softhubert_plugin.files import atomic_path

def run(arguments):
    started, begin = os.pipe()
    worker = os.fork()
    if not worker:
        os.write(begin, b"!")
        time.sleep(60)
        os._exit(0)
    os.read(started, 1)
    os.kill(worker, signal.SIGTERM)
    assert os.WTERMSIG(os.waitpid(worker, 0)[1]) == signal.SIGTERM, "a worker ends as it always did"
    with atomic_path(sys.argv[1] + "/labels"):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

parser = argparse.ArgumentParser()
parser.set_defaults(run=run)
cli.build_parser = lambda: parser
try:
    cli.main([])
finally:
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
"""


def test_a_terminated_command_leaves_no_unfinished_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TERMINATED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50, cwd=Path(__file__).parents[1])
    assert (done.returncode, done.stderr) == (143, "") and not list(tmp_path.iterdir())


def test_help_needs_neither_torch_nor_fairseq() -> None:
    program = "import sys; from softhubert_plugin.cli import main\ntry: main(['gmm', 'learn', '-h'])\nfinally: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "--perplexity" in done.stdout
    assert not {"'torch'", "'fairseq'", "'numpy'"} & set(done.stdout.replace("[", "").replace("]", "").split(", "))


def test_clustering_and_reports_work_without_fairseq(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "fairseq.py").write_text("raise ImportError('not here')")
    steps = [
        ["features", "mfcc", str(corpus), "train", "1", "0", str(tmp_path / "mfcc")],
        ["gmm", "learn", str(tmp_path / "mfcc"), "train", "1", str(tmp_path / "gmm.safetensors"), "4", "--perplexity", "2"],
        ["gmm", "dump", str(tmp_path / "mfcc"), "train", str(tmp_path / "gmm.safetensors"), "1", "0", str(tmp_path / "lab")],
        ["labels", "merge", str(tmp_path / "lab"), "train", "1"],
        ["labels", "verify", str(tmp_path / "lab" / "train.gmm"), "--manifest", str(corpus / "train.tsv")],
        ["labels", "inspect", str(tmp_path / "lab" / "train.gmm")],
    ]
    program = f"from softhubert_plugin.cli import main\nfor step in {steps!r}: assert main(step) == 0"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert '"components": 4' in done.stdout


NUMERIC_ARGUMENTS = {
    " ".join((*command, *(action.option_strings[-1:] or [action.dest]))): action
    for command, parser in COMMANDS.items()
    for action in parser._actions
    if action.type is not None
}


@pytest.mark.parametrize("name", NUMERIC_ARGUMENTS)
def test_no_command_takes_what_is_not_a_number_that_libraries_can_keep(name: str) -> None:
    read: Any = NUMERIC_ARGUMENTS[name].type
    assert read in (numbers.number, numbers.positive, numbers.whole, numbers.count, numbers.amount, numbers.seed)
    for text in (
        "nan",
        "inf",
        "-inf",
        "1e999",
        "",
        "x",
        *(() if read in (numbers.number, numbers.positive) else ("9" * 30, "9" * 6000, "1.5", "1e3")),
    ):
        with pytest.raises(argparse.ArgumentTypeError):
            read(text)
    default = NUMERIC_ARGUMENTS[name].default
    for value in default if isinstance(default, list) else [] if default is None else [default]:
        assert read(str(value)) == value


def test_whole_numbers_have_the_range_of_their_kind() -> None:
    assert [numbers.seed(text) for text in ("0", "4294967295")] == [0, 4294967295]
    assert [numbers.whole(text) for text in ("-7", "+7", "2147483647")] == [-7, 7, 2147483647]
    assert (numbers.count("1"), numbers.amount("0"), numbers.number("-.5e1")) == (1, 0, -5.0)
    with pytest.raises(argparse.ArgumentTypeError, match="'0' is not a number above 0"):
        numbers.positive("0")
    for read, text in ((numbers.seed, "-1"), (numbers.seed, "4294967296"), (numbers.count, "0"), (numbers.amount, "-1")):
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is not a whole number from"):
            read(text)
