"""What a user gets: wheel and source distribution hold the code, the configurations and the licence, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import List

import pytest

import softhubert_plugin

CLONE = Path(__file__).resolve().parents[1]
PARTS = ("softhubert_plugin", "config", "docs", "manifests", "examples", "tests")

pytestmark = pytest.mark.skipif(not (CLONE / "setup.py").is_file(), reason="these tests look at a clone")


def _files(*parts: str, suffixes: List[str]) -> List[str]:
    return sorted(str(path.relative_to(CLONE)) for part in parts for path in (CLONE / part).rglob("*") if path.suffix in suffixes)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and a source distribution, built from a copy of the clone."""
    source, dest = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for part in PARTS:
        shutil.copytree(CLONE / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in CLONE.iterdir():
        if path.is_file() and path.suffix in {".py", ".toml", ".md", ".txt", ".sh", ".in", ".cff", ""} and not path.name.startswith("."):
            shutil.copy(path, source)
    for kind in ("build_sdist", "build_wheel"):
        command = [sys.executable, "-B", "-c", f"from setuptools import build_meta; build_meta.{kind}({str(dest)!r})"]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    return dest


def test_the_wheel_holds_the_package_its_configurations_and_its_licence(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"softhubert-{softhubert_plugin.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        held = sorted(name for name in archive.namelist() if ".dist-info/" not in name)
        about = {name.split(".dist-info/")[1]: name for name in archive.namelist() if ".dist-info/" in name}
        metadata = archive.read(about["METADATA"]).decode()
        licence = archive.read(about.get("licenses/LICENSE") or about["LICENSE"]).decode()
    package = _files("softhubert_plugin", suffixes=[".py", ".typed", ".html", ".css", ".js", ".yaml"])
    package = [name.replace("softhubert_plugin/compat/hydra_plugins", "hydra_plugins") for name in package]
    assert held == sorted(package + ["softhubert_plugin/" + name for name in _files("config", suffixes=[".yaml"])])
    assert licence == (CLONE / "LICENSE").read_text(encoding="utf-8") and "MIT" in licence
    assert "Description-Content-Type: text/markdown" in metadata and "# SoftHuBERT" in metadata


def test_the_source_distribution_is_the_whole_clone(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = _files(*PARTS, suffixes=[".py", ".yaml", ".sh", ".md", ".txt", ".typed", ".html", ".css"])
    wanted += ["setup.py", "pyproject.toml", "constraints.txt", "install.sh", "LICENSE"]
    wanted += ["README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"]
    assert set(wanted) - held == set()
    assert [name for name in held if "__pycache__" in name or name.startswith((".venv", "exp/"))] == []


def test_the_command_prints_its_version_and_the_folder_of_configurations() -> None:
    command = [sys.executable, "-m", "softhubert_plugin"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True, cwd=CLONE).stdout
    assert version == f"softhubert {softhubert_plugin.__version__}\n"
    folder = Path(subprocess.run([*command, "configs"], capture_output=True, text=True, check=True, cwd=CLONE).stdout.strip())
    assert (folder / "pretrain" / "soft_hubert_tiny.yaml").is_file() and (folder / "decode").is_dir()


def test_a_pip_that_cannot_install_fairseq_is_explained_before_anything_is_installed(tmp_path: Path) -> None:
    """A user runs the doctor of a fresh clone in an environment that holds only a recent pip."""
    environment = tmp_path / "site"
    (environment / "pip-26.0.dist-info").mkdir(parents=True)
    (environment / "pip-26.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: pip\nVersion: 26.0\n", encoding="utf-8")
    code = (
        f"import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]; sys.path[:0] = [{str(environment)!r}, {str(CLONE)!r}]\n"
    )
    code += "sys.version_info = (3, 10, 9)\nfrom softhubert_plugin.cli import main\nmain(['doctor'])"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip 26.0 refuses omegaconf 2.0.6" in done.stdout and "uv pip install fairseq==0.12.2" in done.stdout
    assert "pip install uv" in done.stdout
