"""Fixtures that the tests share (a tiny noise corpus with transcripts, real speech if it is there), and the check of skipped tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Iterator, List

import pytest
from noise_corpus import label_corpus, write_corpus
from pretended_gpu import Gpu, pretend
from shapes import TINY_HUBERT, save_stock

# Reasons for which a test may be skipped although everything is installed: the machine lacks something, or fairseq-fixed differs.
ALLOWED_SKIPS = (
    "needs two GPUs",
    "no small file system can be mounted here",
    "no headless browser here",
    "no real speech at",
    "there is a Slurm here",
    "mallopt is glibc's",
    "this PyTorch has no oneDNN",
    "about oneDNN on a CPU",
    "fairseq-fixed",
)
# The files whose tests take longest, the longest first: they start first, so that no process is left alone with one of them at the end.
LONGEST = (
    "test_end_to_end.py",
    "test_gpu_training.py",
    "test_file_fuzz.py",
    "test_features.py",
    "test_export.py",
    "test_exchange.py",
    "test_score.py",
    "test_recipe_engine.py",
)
UNEXPECTED: pytest.StashKey[List[str]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--strict-skips``."""
    parser.addoption("--strict-skips", action="store_true", help="fail if a test is skipped because something is not installed")


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist keep the order of the files. By default it starts with those of most tests, but their tests are short."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Put the longest files first, and deselect the tests marked ``cuda`` on a machine without a GPU.

    ``bash tests/gpu.sh`` runs those on a machine with one.
    """
    import torch

    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
    if not torch.cuda.is_available():
        of_gpu = [item for item in items if item.get_closest_marker("cuda")]
        config.hook.pytest_deselected(items=of_gpu)
        items[:] = [item for item in items if item not in of_gpu]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run under ``--strict-skips`` if a test was skipped because something that can be installed is missing."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    unexpected = []
    for report in reporter.stats.get("skipped", []) if reporter and session.config.getoption("--strict-skips") else []:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(allowed in reason for allowed in ALLOWED_SKIPS):
            unexpected.append(f"{report.nodeid}: {reason}")
    session.config.stash[UNEXPECTED] = unexpected
    if unexpected and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the tests that were skipped without an allowed reason."""
    unexpected = config.stash.get(UNEXPECTED, [])
    if unexpected:
        terminalreporter.section("skipped without an allowed reason (ALLOWED_SKIPS in tests/conftest.py)", red=True)
        for line in unexpected:
            terminalreporter.line(line)


@pytest.fixture()
def corpus(tmp_path: Path) -> Path:
    """A folder with the corpus of :mod:`noise_corpus`."""
    return write_corpus(tmp_path)


@pytest.fixture()
def labelled_corpus(corpus: Path) -> Path:
    """The corpus with its features, mixture and labels."""
    return label_corpus(corpus)


@pytest.fixture()
def pretended_gpu() -> Iterator[Gpu]:
    """One GPU that is not there, see :mod:`pretended_gpu`."""
    with pretend() as gpu:
        yield gpu


@pytest.fixture(scope="session")
def stock_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as fairseq's trainer saves its own HuBERT: two layers of width 32, 20 clusters, with ``Dictionary`` objects inside."""
    return save_stock(tmp_path_factory.mktemp("stock") / "checkpoint_last.pt", TINY_HUBERT, clusters=20)


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real speech. Tests that need it are skipped where it does not exist."""
    folder = Path(os.environ.get("SOFTHUBERT_SPEECH", Path(__file__).parents[2] / "shared" / "speech"))
    if not folder.is_dir():
        pytest.skip(f"no real speech at {folder}; set SOFTHUBERT_SPEECH")
    return folder
