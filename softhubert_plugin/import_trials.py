"""Import modules in another process, to see which of them can be imported: one whose shared library is broken may end its process."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Dict, Optional, Sequence, Tuple

IMPORT_SECONDS = 300

# Runs in the other process. It writes one line of JSON per import and flushes it, so that results before a crash are known.
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
class Trial:
    """The result of importing one module.

    Attributes:
        error: the error; empty if the import succeeded.
        cuda: for torch, the CUDA version that it was built for; ``None`` for a CPU build.
        devices: for torch, name and memory of each CUDA device.
    """

    error: str = ""
    cuda: Optional[str] = None
    devices: Tuple[str, ...] = ()


def try_imports(names: Sequence[str], *, seconds: float = IMPORT_SECONDS) -> Dict[str, Trial]:
    """Import the modules one after another, in a new process with this process's search path.

    If a module ends the process or takes longer than ``seconds``, this is recorded as its error. The modules after it are tried in another
    process.

    Args:
        names: names of the modules.
        seconds: time limit of the process.

    Returns:
        The result for each module, in order.
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
                continue  # a line that a module wrote to the file descriptor itself
        remaining = [name for name in remaining if name not in trials]
        if remaining:
            trials[remaining.pop(0)] = Trial(error=ending)
    return {name: trials[name] for name in names}
