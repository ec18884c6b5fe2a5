#!/usr/bin/env bash
# Runs the tests that need a GPU, and then the benchmarks, on a machine that has one. It uses what is installed there: an environment of
# install.sh, or any Python with torch. It can install missing packages from a folder of wheels, and needs no network.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash tests/gpu.sh [--wheels DIR] [--tests-only] [-- PYTEST_ARGUMENTS…]

  --wheels DIR   install the wheels in DIR into a new environment that also sees the packages of PYTHON. To fill DIR, run this on a machine
                 with a network and the same Python:
                   uv pip compile --no-header --no-annotate -c constraints.txt --extra dev setup.py | grep -Ev '^(torch|nvidia|triton|cuda)' >list
                   pip wheel --no-deps --wheel-dir DIR -r list .
  --tests-only   skip the benchmarks

  PYTHON         the Python whose torch is used (default: .venv/bin/python, or python3 if there is no .venv)

example: PYTHON=python3.12 bash tests/gpu.sh --wheels /data/wheels
TEXT
}

refuse() { printf 'softhubert: error: %s\n' "$*" >&2; exit 2; }

wheels='' benchmark=yes
while [ $# -gt 0 ]; do
    case $1 in
        --wheels) [ $# -ge 2 ] || refuse "--wheels needs a folder; see --help"; wheels=$(cd "$2" 2>/dev/null && pwd -P) || refuse "$2: no such folder"; shift 2 ;;
        --tests-only) benchmark=''; shift ;;
        --) shift; break ;;
        -h | --help) usage; exit 0 ;;
        *) refuse "unknown argument '$1'; see --help" ;;
    esac
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
[ -n "${PYTHON:-}" ] || [ -x "$python" ] || python=python3
python=$(type -P "$python") || refuse "${PYTHON:-python3}: no such program; set PYTHON to a Python with torch"

if [ -n "$wheels" ]; then
    venv=${SOFTHUBERT_VENV:-$PWD/.venv-gpu}
    "$python" -m venv "$venv"
    # See the packages of PYTHON, after those of the wheels. --system-site-packages would miss them if PYTHON is in an environment itself.
    packages='import sysconfig; print(*dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib")), sep="\n")'
    "$python" -c "$packages" >"$("$venv/bin/python" -c "$packages" | head -n 1)/packages_of_python.pth"
    # --no-deps keeps installed packages, above all torch and its dependencies. The folder holds all that is missing.
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps "$wheels"/*.whl
    python=$venv/bin/python
fi
"$python" - <<'PY' || refuse "$python: not ready for the GPU tests; install what is missing (--wheels DIR, or bash install.sh --extras dev)"
import importlib, sys

for name in ("torch", "torchaudio", "fairseq", "pytest", "soundfile", "safetensors"):
    try:
        importlib.import_module(name)
    except Exception as error:
        print("%s does not import: %s" % (name, error), file=sys.stderr)
        sys.exit(1)
import torch

if not torch.cuda.is_available():
    print("torch %s finds no CUDA device" % torch.__version__, file=sys.stderr)
    sys.exit(1)
for index in range(torch.cuda.device_count()):
    device = torch.cuda.get_device_properties(index)
    print("softhubert: %s, %.0f GiB; torch %s, Python %s" % (device.name, device.total_memory / 2**30, torch.__version__, sys.version.split()[0]))
PY
"$python" -m pytest -m cuda -rs "$@"
[ -z "$benchmark" ] || { "$python" -m tests.benchmarks.gpu --largest; "$python" -m tests.benchmarks.devices; }
