"""The report of ``softhubert doctor``: versions in this environment, the machine, and problems, each with a remedy.

It is not part of the pipeline and works even if nothing else does: it never imports fairseq or torch itself. It reads versions and
requirements from the packages' metadata and tries imports in another process, so that a library that aborts on import becomes a line of
the report.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import List, Mapping, Optional, Sequence, Tuple

from softhubert_plugin.import_trials import Trial, try_imports
from softhubert_plugin.requirements import Requirement, how_to_install, installed_version, release, requirements
from softhubert_plugin.version import __version__

# The purpose of each extra that users may want.
EXTRAS = {
    "demo": "the spoken demonstration corpus",
    "lm": "decoding with a language model",
    "transformers": "loading the output of 'softhubert export transformers'",
    "slurm": "running the stages of a recipe on Slurm",
    "lhotse": "manifests of Lhotse's cut sets",
    "huggingface": "manifests of data sets of Hugging Face",
}
# Modules whose import is tried, because their shared libraries are sometimes missing. fairseq comes last because it needs the others.
TRIED = ("torch", "torchaudio", "soundfile", "sklearn", "npy_append_array", "fairseq")
# Versions of hydra-core and omegaconf that each distribution of fairseq was written for: (lowest, first that no longer fits).
CONFIGURATION_VERSIONS = {
    "fairseq": {"hydra-core": ((1, 0, 7), (1, 1)), "omegaconf": ((2, 0), (2, 1))},
    "fairseq-fixed": {"hydra-core": ((1, 3, 2), (1, 4)), "omegaconf": ((2, 3), (2, 4))},
}
# From this version on, torchaudio is built on torch's stable interface, so that it also loads with every later torch.
STABLE_TORCHAUDIO = (2, 11)
LITTLE_DISK = 1e9

INSTALL = "run 'bash install.sh' in a clone of SoftHuBERT"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was examined, such as the name of a package.
        found: what was found; empty for no line.
        problem: what is wrong and what to do; empty if nothing is wrong.
        note: a remark that is not a problem; empty for none.
    """

    subject: str
    found: str
    problem: str = ""
    note: str = ""


def diagnose() -> Tuple[str, int]:
    """Examine this environment. Return the report as text, and the number of problems in it."""
    findings = examine()
    return report_text(findings), sum(bool(finding.problem) for finding in findings)


def examine() -> List[Finding]:
    """Examine this environment. It takes as long as importing torch and fairseq. Problems never raise; they become findings."""
    python = sys.version_info[:2]
    needed = requirements(python)
    installed = {name: installed_version(name) for name in ("fairseq", "fairseq-fixed", "pip", *(each.name for each in needed))}
    trials = try_imports([name for name in TRIED if _module_folder(name) is not None])
    return [
        *check_python(python),
        *check_fairseq(python, installed),
        *check_packages(needed, installed),
        *check_torch_pair(installed, trials),
        *check_imports(trials),
        *check_user_dir(_module_folder("fairseq"), Path(__file__).resolve().parent),
        *check_machine(trials.get("torch", Trial())),
    ]


def report_text(findings: Sequence[Finding]) -> str:
    """Format findings as text: aligned lines, then notes, then problems with their remedies."""
    shown = [finding for finding in findings if finding.found]
    width = max((len(finding.subject) for finding in shown), default=0)
    lines = [f"SoftHuBERT {__version__}"]
    lines += [f"  {finding.subject:<{width}}  {finding.found}" for finding in shown]
    notes = [f"  {finding.subject}: {finding.note}" for finding in findings if finding.note]
    problems = [f"  {finding.subject}: {finding.problem}" for finding in findings if finding.problem]
    if notes:
        lines += ["", "Notes:", *notes]
    lines += ["", "Problems:", *problems] if problems else ["", "No problems found."]
    return "\n".join(lines)


def check_python(python: Tuple[int, int]) -> List[Finding]:
    """Check that fairseq and torch are available for this Python."""
    found = f"{sys.version.split()[0]} ({sys.executable})"
    if (3, 8) <= python <= (3, 13):
        return [Finding("Python", found)]
    return [Finding("Python", found, problem=f"{_dotted(python)} is not supported; use 3.8 to 3.13 (3.10 fits stock fairseq best)")]


def check_fairseq(python: Tuple[int, int], installed: Mapping[str, Optional[str]]) -> List[Finding]:
    """Check which fairseq is installed, whether this Python can import it, and whether hydra and omegaconf fit it."""
    stock, fixed, pip = installed.get("fairseq"), installed.get("fairseq-fixed"), installed.get("pip")
    modern = python >= (3, 11)
    # pip's resolver refuses omegaconf 2.0.6, because its metadata ("PyYAML (>=5.1.*)") is malformed by current rules.
    pip_refuses = not modern and pip is not None and release(pip) >= (24, 1)
    pip_refusal = (
        f"pip {pip} refuses omegaconf 2.0.6, which stock fairseq needs, because its metadata is malformed; "
        "use uv ('pip install uv' installs it), or pip<24.1"
    )
    findings = []
    if stock and fixed:
        keep, drop = ("fairseq-fixed", "fairseq") if modern else ("fairseq", "fairseq-fixed")
        findings.append(
            Finding(
                "fairseq",
                f"{stock}, and fairseq-fixed {fixed}",
                problem="both distributions install the same files; "
                f"uninstall both, then install {keep} alone (on Python {_dotted(python)} {drop} is not needed)",
            )
        )
    elif stock and modern:
        findings.append(
            Finding(
                "fairseq",
                stock,
                problem=f"stock fairseq does not import on Python {_dotted(python)} ('mutable default ... for field common'); "
                "use Python 3.8 to 3.10, or uninstall it and install fairseq-fixed==0.12.3.1",
            )
        )
    elif stock or fixed:
        findings.append(Finding("fairseq" if stock else "fairseq-fixed", str(stock or fixed)))
    else:
        remedy = "fairseq-fixed==0.12.3.1" if modern else "fairseq==0.12.2"
        why = f" ({pip_refusal})" if pip_refuses else ""
        findings.append(Finding("fairseq", "not installed", problem=f"not installed; {INSTALL}, or 'uv pip install {remedy}'{why}"))
    if pip_refuses and (stock or fixed):
        findings.append(Finding("pip", str(pip), note=f"when you add packages to this environment: {pip_refusal}"))

    if bool(stock) != bool(fixed):
        name = "fairseq" if stock else "fairseq-fixed"
        for package, (least, below) in CONFIGURATION_VERSIONS[name].items():
            version = installed.get(package)
            if version is not None and not least <= release(version) < below:
                wanted = f"{package}>={_dotted(least)},<{_dotted(below)}"
                findings.append(Finding(package, "", problem=f"{version} does not fit {name}; 'uv pip install \"{wanted}\"'"))
    return findings


def check_packages(needed: Sequence[Requirement], installed: Mapping[str, Optional[str]]) -> List[Finding]:
    """Check all packages of :func:`~softhubert_plugin.requirements.requirements` except fairseq (see :func:`check_fairseq`).

    It is a problem if a required package is missing, or if any package has a version that does not fit. Optional packages may be missing.
    """
    findings = []
    for each in needed:
        if each.name in CONFIGURATION_VERSIONS or each.extra not in ("", *EXTRAS):
            continue
        version, optional = installed.get(each.name), bool(each.extra)
        found = f"{version} (optional)" if optional else version
        problem = ""
        if version is None:
            found = "not installed"
            if optional:
                found += f" (optional, for {EXTRAS[each.extra]}; {how_to_install(each.extra)})"
            else:
                problem = f"not installed; {INSTALL}, or 'uv pip install {each.name}'"
        elif not each.admits(version):
            problem = f"{version}, but {each.name}{each.bounds} is needed; 'uv pip install \"{each.name}{each.bounds}\"'"
        findings.append(Finding(each.name, str(found), problem=problem))
    return findings


def check_torch_pair(installed: Mapping[str, Optional[str]], trials: Mapping[str, Trial]) -> List[Finding]:
    """Check that torch and torchaudio are of the same release, and that torchaudio finds the libraries of torch's build."""
    torch, torchaudio = installed.get("torch"), installed.get("torchaudio")
    if not torch or not torchaudio:
        return []
    findings = []
    torch_release, audio_release = release(torch)[:2], release(torchaudio)[:2]
    error = trials.get("torchaudio", Trial()).error
    if torch_release != audio_release:
        if audio_release >= STABLE_TORCHAUDIO and torch_release > audio_release and not error:
            note = f"{torchaudio} imports with torch {torch}, but this pair is not tested; constraints.txt lists the tested pairs"
            findings.append(Finding("torchaudio", "", note=note))
        else:
            problem = f"{torchaudio} was built for torch {_dotted(audio_release)}, not {torch}; "
            problem += "install both from the same release, as listed in constraints.txt"
            return [Finding("torchaudio", "", problem=problem)]
    if error and "torch" in trials and not trials["torch"].error:
        if trials["torch"].cuda is None:
            problem = f"{torchaudio} does not import with torch {torch}, which is a build for CPUs only ({_short(error)}); "
            problem += "install torch from the package index, or torchaudio from the index of this torch"
        else:
            problem = f"{torchaudio} does not import with torch {torch} ({_short(error)}); install both again, from the same index"
        findings.append(Finding("torchaudio", "", problem=problem))
    return findings


def check_imports(trials: Mapping[str, Trial]) -> List[Finding]:
    """Report modules that are installed but do not import, except those that fail because a module before them fails."""
    torch_works = "torch" in trials and not trials["torch"].error
    audio_works = torch_works and "torchaudio" in trials and not trials["torchaudio"].error
    findings: List[Finding] = []
    for name, trial in trials.items():
        follows = {
            "torchaudio": True,  # it fails because torch fails, or check_torch_pair reports the problem
            "fairseq": not audio_works or "mutable default" in trial.error,  # check_fairseq reports the second case
        }.get(name, False)
        if trial.error and not follows:
            findings.append(Finding(name, "", problem=f"it is installed but does not import: {_short(trial.error)}; install it again"))
    return findings


def check_user_dir(fairseq_folder: Optional[Path], plugin_folder: Path) -> List[Finding]:
    """Check that fairseq finds the plugin by its bare name. It searches the working directory, then the folder of its own package."""
    if fairseq_folder is None:
        return [Finding("plugin", str(plugin_folder))]
    beside = fairseq_folder.resolve().parent / plugin_folder.name
    if not (beside / "__init__.py").is_file():
        return [
            Finding(
                "plugin",
                str(plugin_folder),
                problem=f"it is not beside fairseq ({beside.parent}), so common.user_dir={plugin_folder.name} works only with "
                f"{plugin_folder.parent} as working directory, but hydra changes the working directory; "
                f"{INSTALL} (a non-editable installation), or give common.user_dir={plugin_folder}",
            )
        ]
    if beside != plugin_folder:
        note = f"this command runs from {plugin_folder}, but fairseq loads {beside}; after editing the code, run 'bash install.sh'"
        return [Finding("plugin", str(plugin_folder), note=note)]
    return [Finding("plugin", str(plugin_folder))]


def check_machine(torch: Trial) -> List[Finding]:
    """Report CPU cores, memory, CUDA devices, and the free disk space of the working directory."""
    memory = _memory_bytes()
    findings = [
        Finding("CPU", f"{_cores()} cores"),
        Finding("memory", f"{memory / 2**30:.1f} GiB" if memory else "unknown"),
        Finding("CUDA", "; ".join(torch.devices) or "no device (everything runs on the CPU, slowly)"),
    ]
    try:
        here = os.getcwd()
        free = shutil.disk_usage(here).free
    except OSError as error:
        problem = f"the working directory cannot be read ({error.strerror}); change to another directory"
        return [*findings, Finding("free disk", "unknown", problem=problem)]
    problem = f"less than {LITTLE_DISK / 1e9:.0f} GB is free at {here}; features and checkpoints need more" if free < LITTLE_DISK else ""
    return [*findings, Finding("free disk", f"{free / 1e9:.1f} GB at {here}", problem=problem)]


def _module_folder(name: str) -> Optional[Path]:
    """Find the folder of a top-level module without importing it; ``None`` if there is no such module."""
    try:
        spec = util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))  # cores that this process may use; under Slurm, fewer than the machine has
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _memory_bytes() -> int:
    """Return the machine's memory, or the container's limit if that is less; 0 if the memory is unknown."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
    try:
        return min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no such file, or "max"
        return memory


def _dotted(release: Sequence[int]) -> str:
    return ".".join(str(number) for number in release)


def _short(message: str, limit: int = 160) -> str:
    return message if len(message) <= limit else message[: limit - 3] + "..."
