"""``softhubert doctor``: each fault that occurs in practice is one problem that names its remedy, and no fault makes it raise."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import packaging.requirements
import pytest

from softhubert_plugin import doctor
from softhubert_plugin.doctor import Finding
from softhubert_plugin.import_trials import Trial, try_imports
from softhubert_plugin.requirements import Requirement, installed_version, requirements

GOOD_310: Dict[str, Optional[str]] = {
    "fairseq": "0.12.2",
    "hydra-core": "1.0.7",
    "omegaconf": "2.0.6",
    "torch": "2.11.0+cu130",
    "torchaudio": "2.11.0",
}
GOOD_312: Dict[str, Optional[str]] = {
    **GOOD_310,
    "fairseq": None,
    "fairseq-fixed": "0.12.3.1",
    "hydra-core": "1.3.2",
    "omegaconf": "2.3.0",
}


def problems(findings: List[Finding]) -> List[str]:
    """Return the problems among the findings."""
    return [finding.problem for finding in findings if finding.problem]


def the_problem(findings: List[Finding]) -> str:
    """Return the problem of findings that have exactly one."""
    (problem,) = problems(findings)
    assert "\n" not in problem
    return problem


def test_the_two_tested_sets_of_versions_have_no_problem() -> None:
    working = {"torch": Trial(cuda="13.0"), "torchaudio": Trial(), "fairseq": Trial()}
    for python, installed in (((3, 10), GOOD_310), ((3, 12), GOOD_312)):
        assert problems(doctor.check_python(python)) == []
        assert problems(doctor.check_fairseq(python, installed)) == []
        assert problems(doctor.check_torch_pair(installed, working)) == []
        assert problems(doctor.check_imports(working)) == []


def test_stock_fairseq_on_a_newer_python_is_a_problem_with_a_remedy() -> None:
    problem = the_problem(doctor.check_fairseq((3, 11), GOOD_310))
    assert "mutable default" in problem
    assert "fairseq-fixed==0.12.3.1" in problem


def test_both_fairseqs_at_once_are_a_problem() -> None:
    assert "install fairseq alone" in the_problem(doctor.check_fairseq((3, 9), {**GOOD_310, "fairseq-fixed": "0.12.3.1"}))
    assert "install fairseq-fixed alone" in the_problem(doctor.check_fairseq((3, 12), {**GOOD_312, "fairseq": "0.12.2"}))


@pytest.mark.parametrize(("python", "wanted"), [((3, 10), "fairseq==0.12.2"), ((3, 13), "fairseq-fixed==0.12.3.1")])
def test_a_missing_fairseq_names_the_one_for_this_python(python: tuple, wanted: str) -> None:
    assert wanted in the_problem(doctor.check_fairseq(python, {}))


def test_a_pip_that_refuses_omegaconf_explains_a_missing_fairseq() -> None:
    problem = the_problem(doctor.check_fairseq((3, 10), {"pip": "24.1"}))
    assert "omegaconf 2.0.6" in problem and "pip<24.1" in problem and "uv" in problem
    assert "omegaconf" not in the_problem(doctor.check_fairseq((3, 10), {"pip": "24.0"}))
    assert "omegaconf" not in the_problem(doctor.check_fairseq((3, 12), {"pip": "24.1"}))


def test_a_pip_that_refuses_omegaconf_is_only_a_note_once_fairseq_is_there() -> None:
    findings = doctor.check_fairseq((3, 10), {**GOOD_310, "pip": "25.0"})
    assert problems(findings) == []
    assert [finding.subject for finding in findings if finding.note] == ["pip"]


@pytest.mark.parametrize(
    ("installed", "package", "version", "wanted"),
    [
        (GOOD_310, "omegaconf", "2.3.0", "omegaconf>=2.0,<2.1"),
        (GOOD_310, "hydra-core", "1.3.2", "hydra-core>=1.0.7,<1.1"),
        (GOOD_312, "omegaconf", "2.0.6", "omegaconf>=2.3,<2.4"),
        (GOOD_312, "hydra-core", "1.0.7", "hydra-core>=1.3.2,<1.4"),
    ],
)
def test_hydra_and_omegaconf_must_fit_the_installed_fairseq(
    installed: Dict[str, Optional[str]], package: str, version: str, wanted: str
) -> None:
    python = (3, 10) if installed["fairseq"] else (3, 12)
    problem = the_problem(doctor.check_fairseq(python, {**installed, package: version}))
    assert version in problem and wanted in problem


def test_torch_and_torchaudio_of_two_releases_are_a_problem() -> None:
    problem = the_problem(doctor.check_torch_pair({"torch": "2.8.0+cu128", "torchaudio": "2.7.1"}, {}))
    assert "2.8.0" in problem and "2.7.1" in problem
    assert problems(doctor.check_torch_pair({"torch": "2.8.1+cu128", "torchaudio": "2.8.0+cpu"}, {})) == []


def test_the_last_torchaudio_beside_a_later_torch_is_a_note_while_it_imports() -> None:
    pair: Dict[str, Optional[str]] = {"torch": "2.14.1", "torchaudio": "2.11.0"}
    findings = doctor.check_torch_pair(pair, {"torch": Trial(), "torchaudio": Trial()})
    assert problems(findings) == [] and "2.14.1" in findings[0].note
    assert problems(doctor.check_torch_pair(pair, {"torch": Trial(), "torchaudio": Trial(error="OSError: undefined symbol")}))


def test_torchaudio_that_lacks_cudas_libraries_beside_a_cpu_torch_is_one_problem() -> None:
    trials = {
        "torch": Trial(),
        "torchaudio": Trial(error="OSError: libcudart.so.13: no such file"),
        "fairseq": Trial(error="OSError: same"),
    }
    problem = the_problem([*doctor.check_torch_pair(GOOD_310, trials), *doctor.check_imports(trials)])
    assert "CPUs only" in problem and "libcudart.so.13" in problem


def test_what_fails_because_torch_fails_is_not_reported_again() -> None:
    trials = {name: Trial(error="ImportError: libtorch.so") for name in ("torch", "torchaudio", "fairseq")}
    assert "libtorch.so" in the_problem([*doctor.check_torch_pair(GOOD_310, trials), *doctor.check_imports(trials)])


def test_every_required_package_that_is_missing_is_a_problem_and_an_optional_one_is_not() -> None:
    needed = requirements((3, 10))
    # The lowest version that each requirement allows.
    installed: Dict[str, Optional[str]] = {each.name: re.search(r"[>=]=([^,]+)", each.bounds).group(1) for each in needed}
    assert problems(doctor.check_packages(needed, installed)) == []
    required = [each.name for each in needed if not each.extra and each.name != "fairseq"]
    assert {"rapidfuzz", "tqdm", "scipy", "joblib", "PyYAML", "torch"} <= set(required)
    for name in required:
        assert f"uv pip install {name}" in the_problem(doctor.check_packages(needed, {**installed, name: None}))
    without_extras = {name: version for name, version in installed.items() if name in required}
    assert problems(doctor.check_packages(needed, without_extras)) == []
    assert any("--extras lm" in finding.found for finding in doctor.check_packages(needed, without_extras))


def test_a_version_out_of_bounds_is_a_problem_that_names_the_bounds() -> None:
    needed = [Requirement("torch", ">=2.4"), Requirement("kenlm", ">=0.2,<1", "lm")]
    assert problems(doctor.check_packages(needed, {"torch": "2.11.0+cu130", "kenlm": "0.3"})) == []
    assert "torch>=2.4" in the_problem(doctor.check_packages(needed, {"torch": "2.3.1", "kenlm": "0.3"}))
    assert "kenlm>=0.2,<1" in the_problem(doctor.check_packages(needed, {"torch": "2.4.0", "kenlm": "1.0"}))


@pytest.mark.parametrize("python", [(3, 8), (3, 10), (3, 13)])
def test_requirements_read_from_setup_and_from_metadata_equal_those_that_packaging_reads(
    python: Tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = metadata.requires("softhubert") or []
    environment = {"python_version": ".".join(map(str, python))}
    expected = set()
    for extra in ("", "demo", "lm", "transformers", "slurm", "lhotse", "huggingface", "dev"):
        for requirement in map(packaging.requirements.Requirement, lines):
            of_extra = "extra" in str(requirement.marker)
            if of_extra == bool(extra) and (requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})):
                expected.add((requirement.name, frozenset(map(str, requirement.specifier)), extra))
    assert len(expected) > 20
    from_setup = requirements(python)
    monkeypatch.setattr("softhubert_plugin.requirements.SETUP", tmp_path / "setup.py")
    for found in (from_setup, requirements(python)):
        assert {(each.name, frozenset(filter(None, each.bounds.split(","))), each.extra) for each in found} == expected


def test_a_plugin_beside_fairseq_is_found_and_one_elsewhere_is_a_problem(tmp_path: Path) -> None:
    fairseq, plugin, clone = (tmp_path / name for name in ("site/fairseq", "site/softhubert_plugin", "clone/softhubert_plugin"))
    clone.mkdir(parents=True)
    fairseq.mkdir(parents=True)
    assert str(clone) in the_problem(doctor.check_user_dir(fairseq, clone))

    plugin.mkdir()
    (plugin / "__init__.py").touch()
    assert doctor.check_user_dir(fairseq, plugin) == [Finding("plugin", str(plugin))]
    (finding,) = doctor.check_user_dir(fairseq, clone)
    assert not finding.problem and str(plugin) in finding.note


def test_imports_are_tried_past_one_that_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kills_python.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", encoding="utf-8")
    (tmp_path / "says_much.py").write_text("print('noise')\nraise OSError('libmissing.so:\\n not found')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    trials = try_imports(["json", "kills_python", "says_much", "colorsys"])
    assert list(trials) == ["json", "kills_python", "says_much", "colorsys"]
    assert trials["json"].error == trials["colorsys"].error == ""
    assert "exit status -9" in trials["kills_python"].error
    assert trials["says_much"].error == "OSError: libmissing.so: not found"


def test_an_import_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(60)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    trials = try_imports(["hangs"], seconds=1)
    assert trials["hangs"].error == "the import took more than 1 seconds"


def test_versions_of_missing_and_damaged_distributions_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "damaged-1.0.dist-info").mkdir()
    (tmp_path / "damaged-1.0.dist-info" / "METADATA").write_bytes(b"\xff\xfe\x00")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_version("damaged") is None
    assert installed_version("no-such-distribution") is None
    assert installed_version("pytest") == pytest.__version__


def test_the_report_ends_with_the_problems_and_they_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        Finding("torch", "2.11.0"),
        Finding("numpy", "not installed", problem="not installed; do this"),
        Finding("pip", "25", note="beware"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    text, count = doctor.diagnose()
    assert count == 1
    assert text.index("numpy  not installed") < text.index("pip: beware") < text.index("numpy: not installed; do this")
    assert doctor.report_text(findings[:1]).endswith("No problems found.")


def test_the_doctor_works_where_nothing_is_installed(tmp_path: Path) -> None:
    clone = Path(doctor.__file__).resolve().parents[1]
    code = "import sys; sys.path.insert(0, sys.argv[1])\nfrom softhubert_plugin.doctor import diagnose\nprint(*diagnose())"
    base = Path(getattr(sys, "_base_executable", sys.executable))
    for path in (clone / "softhubert_plugin", *clone.glob("softhubert-*.dist-info")):  # from a wheel, its metadata too
        (tmp_path / path.name).symlink_to(path)
    done = subprocess.run([str(base), "-I", "-S", "-c", code, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "torch: not installed" in done.stdout
    required = [each for each in requirements(sys.version_info[:2]) if not each.extra]
    assert int(done.stdout.split()[-1]) >= len(required)
