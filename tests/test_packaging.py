"""setup.py names every file of the package, the pinned versions fit together, and ``install.sh`` refuses bad input in one line."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Dict, List, Tuple

import pytest
from packaging.requirements import Requirement

import softhubert_plugin
from softhubert_plugin.doctor import check_fairseq

CLONE = Path(__file__).resolve().parents[1]
PACKAGE = CLONE / "softhubert_plugin"
PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")


@pytest.fixture(scope="module")
def setup_arguments() -> Dict[str, object]:
    """The arguments that setup.py gives to setuptools, read in a separate process."""
    code = "import json, runpy, setuptools; setuptools.setup = lambda **all: print(json.dumps(all)); runpy.run_path('setup.py')"
    done = subprocess.run([sys.executable, "-c", code], cwd=CLONE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def pins(python: str) -> Dict[str, str]:
    """Return the versions that constraints.txt lists for this Python on 64-bit Linux, by package."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "platform_machine": "x86_64",
        "sys_platform": "linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    found: Dict[str, str] = {}
    for line in (CLONE / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in found, f"two versions of {requirement.name} for Python {python}"
            found[requirement.name] = str(requirement.specifier)
    return found


def test_the_version_is_the_packages_own(setup_arguments: Dict[str, object]) -> None:
    assert setup_arguments["version"] == softhubert_plugin.__version__


def test_every_folder_that_holds_python_is_an_installed_package(setup_arguments: Dict[str, object]) -> None:
    hook = PACKAGE / "compat" / "hydra_plugins"  # is installed as hydra_plugins
    folders = {".".join(path.parent.relative_to(CLONE).parts) for path in PACKAGE.rglob("*.py") if path.parent != hook}
    packages = set(setup_arguments["packages"])  # type: ignore[call-overload]
    assert folders == packages - {"softhubert_plugin.config"}  # it holds configurations only


def test_package_data_is_every_file_that_is_not_python_and_every_pattern_has_one(setup_arguments: Dict[str, object]) -> None:
    patterns: Dict[str, List[str]] = setup_arguments["package_data"]  # type: ignore[assignment]
    folders = {"softhubert_plugin": PACKAGE, "softhubert_plugin.config": CLONE / "config"}
    assert patterns.keys() == folders.keys()
    named = set()
    for package, of_package in patterns.items():
        for pattern in of_package:
            found = set(folders[package].glob(pattern))
            assert found, f"{package}: no file for {pattern}"
            named |= found
    others = [*PACKAGE.rglob("*"), *(CLONE / "config").rglob("*")]
    assert {path for path in others if path.is_file() and path.suffix not in (".py", ".pyc")} == named


# The name that a distribution is imported by, where the two differ.
IMPORTED_AS = {
    "fairseq-fixed": "fairseq",
    "PyYAML": "yaml",
    "scikit-learn": "sklearn",
    "npy-append-array": "npy_append_array",
    "hydra-core": "hydra",
    "espeakng-loader": "espeakng_loader",
    "flashlight-text": "flashlight",
}


def test_every_library_that_is_imported_is_declared(setup_arguments: Dict[str, object]) -> None:
    extras: Dict[str, List[str]] = setup_arguments["extras_require"]  # type: ignore[assignment]
    lines: List[str] = list(setup_arguments["install_requires"])  # type: ignore[call-overload]
    names = {Requirement(line).name for line in lines + [line for extra in extras.values() for line in extra]}
    declared = {IMPORTED_AS.get(name, name) for name in names}
    imported = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    standard = {name for name in imported if _is_standard(name)}
    assert imported - standard - {"softhubert_plugin", "fairseq_cli"} <= declared


def _is_standard(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    where = spec.origin if spec is not None else None
    return where in ("built-in", "frozen") or (str(where).startswith(sysconfig.get_path("stdlib")) and "site-packages" not in str(where))


def test_the_softhubert_command_is_the_main_of_the_command_line(setup_arguments: Dict[str, object]) -> None:
    assert setup_arguments["entry_points"] == {"console_scripts": ["softhubert = softhubert_plugin.cli:main"]}
    assert "def main(" in (PACKAGE / "cli.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_pinned_within_its_bounds(python: str, setup_arguments: Dict[str, object]) -> None:
    pinned = pins(python)
    extras: Dict[str, List[str]] = setup_arguments["extras_require"]  # type: ignore[assignment]
    lines: List[str] = list(setup_arguments["install_requires"])  # type: ignore[call-overload]
    for line in lines + [line for extra in extras.values() for line in extra]:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
            version = pinned[requirement.name.lower()].lstrip("=")
            assert requirement.specifier.contains(version, prereleases=True), f"{line}, but {version} is pinned"


@pytest.mark.parametrize("python", PYTHONS)
def test_torch_and_torchaudio_are_pinned_as_a_pair(python: str) -> None:
    pinned = pins(python)
    assert re.fullmatch(r"==\d+\.\d+\.\d+", pinned["torch"])
    assert pinned["torch"] == pinned["torchaudio"]


@pytest.mark.parametrize("python", PYTHONS)
def test_hydra_and_omegaconf_are_pinned_as_the_pinned_fairseq_needs_them(python: str) -> None:
    release = tuple(int(part) for part in python.split("."))
    installed = {name: version.lstrip("=") for name, version in pins(python).items()}
    assert [finding.problem for finding in check_fairseq(release, installed) if finding.problem] == []  # type: ignore[arg-type]


def install(folder: Path, *arguments: str, **environment: str) -> Tuple[int, str]:
    """Run install.sh with ``folder`` as its environment. Return its exit status and what it wrote to stderr."""
    done = subprocess.run(
        ["bash", str(CLONE / "install.sh"), *arguments],
        env={**os.environ, "SOFTHUBERT_VENV": str(folder), **environment},
        cwd=folder.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr


def fake_python(path: Path, says: str) -> str:
    """Write an executable shell script of the line ``says`` and return its path."""
    path.write_text(f"#!/bin/sh\n{says}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_the_installer_refuses_a_program_that_is_not_python(tmp_path: Path) -> None:
    silent, talker = fake_python(tmp_path / "silent", "exit 1"), fake_python(tmp_path / "talker", "echo Python 3.10")
    for python in (silent, talker, "/bin/false", "no-such-python"):
        status, error = install(tmp_path / "venv", PYTHON=python)
        assert status == 2
        assert error.startswith(f"softhubert: error: PYTHON={python}: ") and error.count("\n") == 1
        assert not (tmp_path / "venv").exists()


def test_the_installer_refuses_a_python_that_is_too_old_and_names_its_version(tmp_path: Path) -> None:
    # The real interpreter, which claims to be Python 2.7 before it runs the installer's check.
    source = "import sys\nsys.version_info = (2, 7, 18)\nexec(sys.argv.pop(1))"
    (tmp_path / "old.py").write_text(source, encoding="utf-8")
    old = fake_python(tmp_path / "python2", f'shift; exec "{sys.executable}" "{tmp_path / "old.py"}" "$@"')
    assert install(tmp_path / "venv", PYTHON=old) == (
        2,
        f"softhubert: error: PYTHON={old}: it is Python 2.7, and SoftHuBERT needs Python 3.8 to 3.13\n",
    )


def test_the_installer_refuses_when_a_package_must_be_built_and_there_is_no_compiler(tmp_path: Path) -> None:
    status, error = install(tmp_path / "venv", "--extras", "lm", PYTHON=sys.executable, CXX="/no/such/c++")
    assert status == 2
    assert "no working C++ compiler ('/no/such/c++')" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "named"), [(["--extras", "demo,nonsense"], "'nonsense'"), (["--extra", "demo"], "'--extra'"), (["--extras"], "--extras")]
)
def test_the_installer_refuses_arguments_that_it_does_not_know(tmp_path: Path, arguments: List[str], named: str) -> None:
    status, error = install(tmp_path / "venv", *arguments)
    assert status == 2
    assert named in error and error.startswith("softhubert: error: ") and error.count("\n") == 1


def test_the_installer_never_removes_a_folder_that_it_did_not_make(tmp_path: Path) -> None:
    folder = tmp_path / "with a space"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work", encoding="utf-8")
    status, error = install(folder)
    assert status == 2
    assert "is not a virtual environment" in error and error.count("\n") == 1
    assert (folder / "thesis.txt").read_text(encoding="utf-8") == "years of work"
