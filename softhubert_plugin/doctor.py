"""What ``softhubert doctor`` prints: the versions in this environment, the machine, and what is wrong, each with a remedy.

It stands outside the flow and works where nothing else does: it needs neither fairseq nor torch, reads versions and requirements from the
packages' metadata, and tries imports in another process, so that a library that aborts on import is a line of the report.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from softhubert_plugin.requirements import Requirement, release, requirements
from softhubert_plugin.version import __version__

# Of each extra that people use: what it is for.
EXTRAS = {
    "demo": "the spoken demonstration corpus",
    "lm": "decoding with a language model",
    "transformers": "opening what 'softhubert export transformers' writes",
    "slurm": "handing stages of a recipe to Slurm",
}
# What is imported for a trial: those whose shared libraries are known to go missing, fairseq last since it needs the others.
TRIED = ("torch", "torchaudio", "soundfile", "sklearn", "npy_append_array", "fairseq")
# hydra-core and omegaconf, as (at least, below), that each distribution of fairseq was written against.
CONFIGURATION_VERSIONS = {
    "fairseq": {"hydra-core": ((1, 0, 7), (1, 1)), "omegaconf": ((2, 0), (2, 1))},
    "fairseq-fixed": {"hydra-core": ((1, 3, 2), (1, 4)), "omegaconf": ((2, 3), (2, 4))},
}
# The last torchaudio is built on torch's stable interface: it also loads beside every later torch.
STABLE_TORCHAUDIO = (2, 11)
IMPORT_SECONDS = 300
LITTLE_DISK = 1e9

INSTALL = "run 'bash install.sh' in a clone of SoftHuBERT"

# Runs in the other process: one line of JSON an import, flushed, so that what came before a crash is known.
_TRIAL = """
import json, sys
out, sys.stdout = sys.stdout, sys.stderr
sys.path[:] = json.loads(sys.argv[1])
for name in json.loads(sys.argv[2]):
    result = {"name": name, "error": ""}
    try:
        module = __import__(name)
        if name == "torch":
            result["cuda"] = module.version.cuda
            result["devices"] = []
            if module.cuda.is_available():
                for index in range(module.cuda.device_count()):
                    device = module.cuda.get_device_properties(index)
                    result["devices"].append("%s, %.0f GiB" % (device.name, device.total_memory / 2**30))
    except BaseException as error:
        result["error"] = type(error).__name__ + ": " + " ".join(str(error).split())
    out.write(json.dumps(result) + "\\n")
    out.flush()
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report: a subject and what was found, and where something is wrong, what it is and what to do."""

    subject: str
    found: str
    problem: str = ""
    note: str = ""


@dataclass(frozen=True)
class Trial:
    """How importing one module went: ``error`` is empty where it succeeded. ``cuda`` and ``devices`` are those torch tells of."""

    error: str = ""
    cuda: Optional[str] = None
    devices: Tuple[str, ...] = ()


def diagnose() -> Tuple[str, int]:
    """The report on this environment as text, and the number of problems in it."""
    findings = examine()
    return report_text(findings), sum(bool(finding.problem) for finding in findings)


def examine() -> List[Finding]:
    """Everything found in this environment; takes as long as importing torch and fairseq does. Never raises for what it finds."""
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
    """The findings as aligned lines, then notes, then problems with their remedies."""
    shown = [finding for finding in findings if finding.found]
    width = max((len(finding.subject) for finding in shown), default=0)
    lines = [f"SoftHuBERT {__version__}"]
    lines += [f"  {finding.subject:<{width}}  {finding.found}" for finding in shown]
    notes = [f"  {finding.subject}: {finding.note}" for finding in findings if finding.note]
    problems = [f"  {finding.subject}: {finding.problem}" for finding in findings if finding.problem]
    if notes:
        lines += ["", "Worth knowing:", *notes]
    lines += ["", "Problems:", *problems] if problems else ["", "No problems found."]
    return "\n".join(lines)


def installed_version(name: str) -> Optional[str]:
    """The version that a distribution's metadata gives; None where it is not installed or its metadata is damaged."""
    try:
        version: Optional[str] = metadata.version(name)
    except Exception:  # damaged metadata raises whatever its parser does, and the doctor must go on
        return None
    return version or None


def check_python(python: Tuple[int, int]) -> List[Finding]:
    """Whether this Python is one that fairseq and torch are available for."""
    found = f"{sys.version.split()[0]} ({sys.executable})"
    if (3, 8) <= python <= (3, 13):
        return [Finding("Python", found)]
    return [Finding("Python", found, problem=f"{_dotted(python)} is not supported; use 3.8 to 3.13 (3.10 fits stock fairseq best)")]


def check_fairseq(python: Tuple[int, int], installed: Mapping[str, Optional[str]]) -> List[Finding]:
    """Which fairseq is there, whether this Python can import it, and whether hydra and omegaconf are those it was written for."""
    stock, fixed, pip = installed.get("fairseq"), installed.get("fairseq-fixed"), installed.get("pip")
    modern = python >= (3, 11)
    # pip's resolver turns away omegaconf 2.0.6, whose metadata ("PyYAML (>=5.1.*)") is malformed by today's rules.
    pip_refuses = not modern and pip is not None and release(pip) >= (24, 1)
    pip_refusal = (
        f"pip {pip} refuses omegaconf 2.0.6, which stock fairseq needs, for its malformed metadata; "
        "use uv ('pip install uv' brings it), or pip<24.1"
    )
    findings = []
    if stock and fixed:
        keep, drop = ("fairseq-fixed", "fairseq") if modern else ("fairseq", "fairseq-fixed")
        findings.append(
            Finding(
                "fairseq",
                f"{stock}, and fairseq-fixed {fixed}",
                problem="two distributions write the same files; "
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
        findings.append(Finding("pip", str(pip), note=f"{pip_refusal}, when you add packages to this environment"))

    if bool(stock) != bool(fixed):
        name = "fairseq" if stock else "fairseq-fixed"
        for package, (least, below) in CONFIGURATION_VERSIONS[name].items():
            version = installed.get(package)
            if version is not None and not least <= release(version) < below:
                wanted = f"{package}>={_dotted(least)},<{_dotted(below)}"
                findings.append(Finding(package, "", problem=f"{version} does not fit {name}; 'uv pip install \"{wanted}\"'"))
    return findings


def check_packages(needed: Sequence[Requirement], installed: Mapping[str, Optional[str]]) -> List[Finding]:
    """The packages of :func:`~softhubert_plugin.requirements.requirements`, but for fairseq, which :func:`check_fairseq` looks at.

    A required one that is missing, and any of a version that does not fit, is a problem; an optional one may be missing.
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
                found += f" (optional, for {EXTRAS[each.extra]}; bash install.sh --extras {each.extra})"
            else:
                problem = f"not installed; {INSTALL}, or 'uv pip install {each.name}'"
        elif not each.admits(version):
            problem = f"{version}, but {each.name}{each.bounds} is needed; 'uv pip install \"{each.name}{each.bounds}\"'"
        findings.append(Finding(each.name, str(found), problem=problem))
    return findings


def check_torch_pair(installed: Mapping[str, Optional[str]], trials: Mapping[str, Trial]) -> List[Finding]:
    """Whether torch and torchaudio are of one release, and torchaudio finds the libraries that torch's build brings."""
    torch, torchaudio = installed.get("torch"), installed.get("torchaudio")
    if not torch or not torchaudio:
        return []
    findings = []
    torch_release, audio_release = release(torch)[:2], release(torchaudio)[:2]
    error = trials.get("torchaudio", Trial()).error
    if torch_release != audio_release:
        if audio_release >= STABLE_TORCHAUDIO and torch_release > audio_release and not error:
            note = f"{torchaudio} beside torch {torch} imports, but is not a pair that is tested; constraints.txt lists those that are"
            findings.append(Finding("torchaudio", "", note=note))
        else:
            problem = f"{torchaudio} was built for torch {_dotted(audio_release)}, not {torch}; "
            problem += "install both of one release, as constraints.txt lists them"
            return [Finding("torchaudio", "", problem=problem)]
    if error and "torch" in trials and not trials["torch"].error:
        if trials["torch"].cuda is None:
            problem = f"{torchaudio} does not import beside torch {torch}, which is a build for CPUs only ({_short(error)}); "
            problem += "install the torch of the package index, or torchaudio from where that torch came"
        else:
            problem = f"{torchaudio} does not import beside torch {torch} ({_short(error)}); install both anew, from one index"
        findings.append(Finding("torchaudio", "", problem=problem))
    return findings


def check_imports(trials: Mapping[str, Trial]) -> List[Finding]:
    """Modules that are there and do not import, but for those that fail because one before them does."""
    torch_works = "torch" in trials and not trials["torch"].error
    audio_works = torch_works and "torchaudio" in trials and not trials["torchaudio"].error
    findings: List[Finding] = []
    for name, trial in trials.items():
        follows = {
            "torchaudio": True,  # from torch's failure, or check_torch_pair says what is wrong
            "fairseq": not audio_works or "mutable default" in trial.error,  # the latter is said by check_fairseq
        }.get(name, False)
        if trial.error and not follows:
            findings.append(Finding(name, "", problem=f"it is installed but does not import: {_short(trial.error)}; install it anew"))
    return findings


def check_user_dir(fairseq_folder: Optional[Path], plugin_folder: Path) -> List[Finding]:
    """Whether fairseq finds the plugin by its bare name: it looks in the working directory, then beside its own package."""
    if fairseq_folder is None:
        return [Finding("plugin", str(plugin_folder))]
    beside = fairseq_folder.resolve().parent / plugin_folder.name
    if not (beside / "__init__.py").is_file():
        return [
            Finding(
                "plugin",
                str(plugin_folder),
                problem=f"it does not lie beside fairseq ({beside.parent}), so common.user_dir={plugin_folder.name} works only with "
                f"{plugin_folder.parent} as working directory, which hydra leaves; "
                f"{INSTALL} (a non-editable installation), or give common.user_dir={plugin_folder}",
            )
        ]
    if beside != plugin_folder:
        note = (
            f"this command runs from {plugin_folder}, while fairseq loads {beside}; after editing, 'bash install.sh' brings them together"
        )
        return [Finding("plugin", str(plugin_folder), note=note)]
    return [Finding("plugin", str(plugin_folder))]


def check_machine(torch: Trial) -> List[Finding]:
    """Cores, memory, CUDA devices and the free disk where the command was started."""
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
        problem = f"the working directory cannot be read ({error.strerror}); change to one that can"
        return [*findings, Finding("free disk", "unknown", problem=problem)]
    problem = f"less than {LITTLE_DISK / 1e9:.0f} GB is free at {here}; features and checkpoints need more" if free < LITTLE_DISK else ""
    return [*findings, Finding("free disk", f"{free / 1e9:.1f} GB at {here}", problem=problem)]


def try_imports(names: Sequence[str], *, seconds: float = IMPORT_SECONDS) -> Dict[str, Trial]:
    """Import the modules one after another in a fresh process with this one's search path.

    A module that ends the process, or does not come back within ``seconds``, has that as its error; those after it are tried in
    another process.
    """
    trials: Dict[str, Trial] = {}
    remaining = list(names)
    while remaining:
        command = [sys.executable, "-W", "ignore", "-c", _TRIAL, json.dumps(sys.path), json.dumps(remaining)]
        try:
            process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
            output, ending = process.stdout, f"the import ended the process (exit status {process.returncode})"
        except subprocess.TimeoutExpired as expired:
            output, ending = expired.stdout or b"", f"the import took more than {seconds:g} seconds"
        except OSError as error:
            output, ending = b"", f"Python could not be started to try it ({error.strerror})"
        for line in output.decode("utf-8", "replace").splitlines():
            try:
                told = json.loads(line)
                trials[told["name"]] = Trial(told["error"], told.get("cuda"), tuple(told.get("devices", ())))
            except (ValueError, KeyError, TypeError):
                continue  # a module wrote to the descriptor itself
        remaining = [name for name in remaining if name not in trials]
        if remaining:
            trials[remaining.pop(0)] = Trial(error=ending)
    return {name: trials[name] for name in names}


def _module_folder(name: str) -> Optional[Path]:
    """Where a top-level module lies, without importing it; None where it is not to be found."""
    try:
        spec = util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))  # those this process may use, fewer than the machine's under Slurm
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _memory_bytes() -> int:
    """The machine's memory, or the container's limit where that is less; 0 where neither is told."""
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
