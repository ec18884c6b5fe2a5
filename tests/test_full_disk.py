"""A disk that fills up in the middle of a write: one clear line, nothing half-written under a final name, and a rerun that succeeds."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest
import torch

import softhubert_plugin
from softhubert_plugin.cli import main
from softhubert_plugin.configurations import configuration_folder
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import atomic_path, check_destination, disk_errors
from softhubert_plugin.gmm.mixture import GaussianMixture


class SmallDisk:
    """A file system in memory whose size can be changed while it is in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mount("size=1m")

    def resize(self, kilobytes: int) -> None:
        """Set the size of the disk, in KiB."""
        self._mount(f"remount,size={kilobytes}k")

    def leave(self, kilobytes: int) -> None:
        """Resize the disk so that this many KiB are free."""
        self.resize(shutil.disk_usage(self.folder).used // 1024 + kilobytes)

    def _mount(self, options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)], check=True, capture_output=True)

    def files(self) -> List[str]:
        """List the files that are not hidden, which are the ones that a user sees."""
        return sorted(path.name for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("."))


@pytest.fixture()
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A small disk. Tests that need it are skipped where it cannot be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = SmallDisk(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small file system can be mounted here ({error})")
    yield mounted
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture()
def features(corpus: Path) -> Path:
    """MFCCs of the corpus, on a disk with enough room."""
    for split in ("train", "valid"):
        assert main(["features", "mfcc", str(corpus), split, "1", "0", str(corpus / "mfcc")]) == 0
    return corpus / "mfcc"


@pytest.fixture()
def mixture(features: Path) -> Path:
    """A mixture of eight components, on a disk with enough room."""
    path = features / "gmm.safetensors"
    assert main(["gmm", "learn", str(features), "train", "1", str(path), "8", "--perplexity", "3", "--iterations", "3"]) == 0
    return path


@pytest.fixture()
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[[List[str]], str]:
    """A function that runs a command, checks that it ends with status 2, and returns its only line."""

    def run(command: List[str]) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert stopped.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("softhubert: error: ") and "no space left on the device" in line
        return line

    return run


def test_features_are_complete_or_absent(corpus: Path, features: Path, disk: SmallDisk, refused: Callable[[List[str]], str]) -> None:
    command = ["features", "mfcc", str(corpus), "train", "1", "0", str(disk.folder)]
    disk.resize(24)
    assert str(disk.folder / "train_0_1.npy") in refused(command)
    assert disk.files() == []
    disk.resize(4096)
    assert main(command) == 0
    for suffix in (".npy", ".len", ".json"):
        assert (disk.folder / f"train_0_1{suffix}").read_bytes() == (features / f"train_0_1{suffix}").read_bytes()


@pytest.mark.parametrize("room", [0, 8], ids=["from the start", "half-way"])
def test_a_mixture_is_complete_or_absent(
    room: int, features: Path, mixture: Path, disk: SmallDisk, refused: Callable[[List[str]], str]
) -> None:
    path = disk.folder / "gmm.safetensors"
    command = ["gmm", "learn", str(features), "train", "1", str(path), "8", "--perplexity", "3", "--iterations", "3"]
    (disk.folder / "other").write_bytes(b"x" * 100_000)
    disk.leave(room)
    assert "gmm.safetensors" in refused(command)
    assert disk.files() == ["other"]
    disk.resize(4096)
    assert main(command) == 0
    assert path.read_bytes() == mixture.read_bytes()


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_labels_are_complete_or_absent(
    kind: str, features: Path, mixture: Path, disk: SmallDisk, refused: Callable[[List[str]], str]
) -> None:
    hard = ["--hard"] if kind == "hard" else []
    name = "train_0_1.km" if kind == "hard" else "train_0_1.gmm"
    command = ["gmm", "dump", str(features), "train", str(mixture), "1", "0"]
    (disk.folder / "other").write_bytes(b"x" * 100_000)
    disk.leave(0 if hard else 12)
    assert name in refused([*command, str(disk.folder), *hard])
    assert disk.files() == ["other"]
    disk.resize(4096)
    assert main([*command, str(disk.folder), *hard]) == 0
    assert main([*command, str(features / "labels"), *hard]) == 0
    assert (disk.folder / name).read_bytes() == (features / "labels" / name).read_bytes()


def test_merging_that_fails_keeps_the_shards(features: Path, mixture: Path, disk: SmallDisk, refused: Callable[[List[str]], str]) -> None:
    disk.resize(4096)
    for rank in ("0", "1"):
        assert main(["features", "mfcc", str(features.parent), "train", "2", rank, str(features)]) == 0
        assert main(["gmm", "dump", str(features), "train", str(mixture), "2", rank, str(disk.folder)]) == 0
    disk.leave(4)
    assert "train.gmm" in refused(["labels", "merge", str(disk.folder), "train", "2"])
    assert disk.files() == ["train_0_2.gmm", "train_1_2.gmm"]


def test_a_file_that_was_there_before_is_kept(disk: SmallDisk) -> None:
    path = disk.folder / "model.safetensors"
    before, after = (
        GaussianMixture(torch.full((4,), 0.25).double(), torch.full((4, 500), mean).double(), torch.ones(4, 500).double())
        for mean in (0.0, 1.0)
    )
    disk.resize(100)
    before.save(path)
    disk.leave(8)
    with pytest.raises(SoftHubertError, match="no space left"):
        after.save(path)
    assert disk.files() == [path.name]
    assert torch.equal(GaussianMixture.load(path).means, before.means)


@pytest.fixture()
def trainers_writers() -> Any:
    """The functions that fairseq's trainer saves with, with the plugin's replacements."""
    from fairseq import checkpoint_utils

    import softhubert_plugin.tasks  # noqa: F401

    return checkpoint_utils


@pytest.mark.parametrize("step", ["torch_persistent_save", "copy"])
def test_saving_that_fails_keeps_the_checkpoint_before(
    step: str, disk: SmallDisk, trainers_writers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = (str(disk.folder / name) for name in ("checkpoint_1_1.pt", "checkpoint_last.pt"))
    disk.resize(1000)
    trainers_writers.torch_persistent_save({"update": 1, "model": torch.zeros(50_000)}, first)
    assert trainers_writers.PathManager.copy(first, last, overwrite=True)
    assert Path(first).read_bytes() == Path(last).read_bytes()
    disk.leave(60)
    with pytest.raises(SystemExit) as stopped:
        if step == "copy":
            trainers_writers.PathManager.copy(first, last, overwrite=True)
        else:
            trainers_writers.torch_persistent_save({"update": 2, "model": torch.ones(50_000)}, last)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"softhubert: error: {last}: no space left on the device")
    assert disk.files() == ["checkpoint_1_1.pt", "checkpoint_last.pt"]
    assert torch.load(last, weights_only=True)["update"] == 1


@pytest.mark.slow
def test_training_ends_with_one_line_and_resumes_once_there_is_room(corpus: Path, mixture: Path, disk: SmallDisk, tmp_path: Path) -> None:
    """The disk has room for the first checkpoint, but not for its copy ``checkpoint_last.pt``, which training resumes from."""
    labels, plugin = tmp_path / "labels", Path(softhubert_plugin.__file__).parent
    for split in ("train", "valid"):
        assert main(["gmm", "dump", str(mixture.parent), split, str(mixture), "1", "0", str(labels)]) == 0
        assert main(["labels", "merge", str(labels), split, "1"]) == 0
    command = [str(Path(sys.prefix) / "bin" / "fairseq-hydra-train"), "--config-dir", str(configuration_folder() / "pretrain")]
    command += ["--config-name", "soft_hubert_tiny", f"common.user_dir={plugin}", f"task.data={corpus}", f"task.label_dir={labels}"]
    command += [f"checkpoint.save_dir={disk.folder}", f"hydra.run.dir={tmp_path / 'run'}", "optimization.max_update=2"]
    command += ["model.encoder_layers=1", "model.encoder_embed_dim=32", "model.encoder_ffn_embed_dim=32"]
    environment = {**os.environ, "PYTHONPATH": str(plugin.parent), "HYDRA_FULL_ERROR": "1"}

    def train() -> subprocess.CompletedProcess:
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)

    disk.resize(4 * 1024)
    done = train()
    assert done.returncode == 2, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"softhubert: error: {disk.folder / 'checkpoint_last.pt'}: no space left on the device")
    assert disk.files() == ["checkpoint_best.pt"]
    assert torch.load(disk.folder / "checkpoint_best.pt", weights_only=True)["model"]
    disk.resize(64 * 1024)
    done = train()
    assert done.returncode == 0, done.stderr[-3000:]
    assert disk.files() == ["checkpoint_best.pt", "checkpoint_last.pt"]


def test_a_limit_on_the_size_of_files_is_named_too(tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match="large.npy.*larger than"), disk_errors(tmp_path / "large.npy"):
        raise OSError(errno.EFBIG, "File too large")


def test_a_file_in_the_place_of_a_folder_and_a_folder_in_that_of_a_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for name, reason in (
        ("file/a", "File exists.*file in the place of its folder"),
        ("file/a/b", "Not a directory.*file in the place of its folder"),
        ("folder", "Is a directory.*folder of this name"),
        ("x" * 250, "File name too long.*another name"),
    ):
        with pytest.raises(SoftHubertError, match=f"{name}: cannot be written .{reason}"), atomic_path(tmp_path / name):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_destination_is_looked_at_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    check_destination(tmp_path / "a" / "new" / "place")
    check_destination(tmp_path / "file", tmp_path / "other")
    for path, inputs, complaint in (
        (tmp_path, (), "there is a folder of this name"),
        (tmp_path / "file" / "below", (), "there is a file in the place of its folder"),
        (tmp_path / "a" / ".." / "file", (tmp_path / "file",), "source and destination are one file"),
    ):
        with pytest.raises(SoftHubertError, match=complaint):
            check_destination(path, *inputs)
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "kept"


def test_other_failures_are_passed_on(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="unplugged"), atomic_path(tmp_path / "a"):
        raise OSError(errno.EIO, "unplugged")
    with pytest.raises(ValueError, match="own"), atomic_path(tmp_path / "a"):
        raise ValueError("own")
    assert list(tmp_path.iterdir()) == []
