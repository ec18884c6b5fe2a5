#!/usr/bin/env bash
# Tests one combination of Python and torch. Builds the wheel and installs it into a new environment with empty caches. There it runs the
# tests that use fairseq, torch and hydra, and a tiny run of the whole road, with the installed package instead of the clone. At the end it
# prints a table row for this combination.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash tests/matrix.sh [PYTHON] [TORCH] [-- PYTEST_ARGUMENTS…]

  PYTHON      a version from 3.8 to 3.13, or a path (default: 3.10)
  TORCH       a release of torch, used with its torchaudio (default: the release in constraints.txt)
  -- …        arguments of pytest (default: a selection of the fast tests); '-- tests' runs all fast tests. tests/test_end_to_end.py is the
              tiny run of the road: pretraining on hard and soft labels, fine-tuning, decoding, report

  INSTALLER   uv, or pip: the newest pip that can install stock fairseq on Python 3.8 to 3.10 (default: uv)
  MATRIX_DIR  the folder to work in; the next run there uses the same environment with a new wheel (default: a temporary folder that is
              removed at the end)

The logs are in exp/matrix.

example: INSTALLER=pip bash tests/matrix.sh 3.9
TEXT
}

say() { printf 'softhubert: %s\n' "$*" >&2; }
fail() { printf 'softhubert: error: %s\n' "$*" >&2; exit "${2:-1}"; }

python=3.10 torch=''
case ${1:-} in
    -h | --help) usage; exit 0 ;;
esac
if [ $# -gt 0 ] && [ "$1" != -- ]; then python=$1; shift; fi
if [ $# -gt 0 ] && [ "$1" != -- ]; then torch=$1; shift; fi
if [ $# -gt 0 ]; then shift; fi
installer=${INSTALLER:-uv}

clone=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
work=${MATRIX_DIR:-}
if [ -z "$work" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
mkdir -p "$work" "$clone/exp/matrix"
work=$(cd "$work" && pwd -P)
log=$clone/exp/matrix/python${python##*/}-torch${torch:-listed}-$installer.log
: >"$log"

run() { # run WHAT COMMAND…: runs a command with its output in the log
    local what=$1
    shift
    printf '\n$ %s\n' "$*" >>"$log"
    "$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "$what failed; the whole output is in $log"; }
}

# The Python and a uv to build with.
uv=$(type -P uv || true)
"${uv:-false}" --version >/dev/null 2>&1 || uv=$clone/.venv/bin/uv
[ -x "$uv" ] || fail "no uv on PATH; install it (pip install uv), or run bash install.sh first" 2
interpreter=$(compgen -G "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$python*/bin/python$python" | tail -n 1 || true)
[ -n "$interpreter" ] || interpreter=$("$uv" python find --no-project "$python" 2>/dev/null || true)
[ -x "$interpreter" ] || fail "no Python $python here; install one (uv python install $python), or give its path" 2
export UV_CACHE_DIR=$work/cache PIP_CACHE_DIR=$work/cache/pip PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USER=0
if [ -n "${PIP_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}; fi

# Builds what a user gets, from a copy of the files that git does not ignore, because building leaves folders behind.
rm -rf "$work/source" "$work/dist" "$work/tree"
mkdir -p "$work/source" "$work/tree"
(cd "$clone" && { git ls-files --cached --others --exclude-standard 2>/dev/null || find . -type f -not -path './exp/*' -not -path './.venv/*'; }) |
    while IFS= read -r file; do [ ! -f "$clone/$file" ] || printf '%s\n' "$file"; done | tar -C "$clone" -cf - -T - | tar -C "$work/source" -xf -
say "building the wheel and the source distribution"
run "building" "$uv" build --quiet --python "$interpreter" --out-dir "$work/dist" "$work/source"
run "twine check" "$uv" tool run --quiet twine check --strict "$work"/dist/*.whl "$work"/dist/*.tar.gz
wheel=$(echo "$work"/dist/*.whl)

constraints=$work/constraints.txt
cp "$clone/constraints.txt" "$constraints"
if [ -n "$torch" ]; then
    # The pins of torch's dependencies are removed too. 2.11 is torchaudio's last release, and it loads beside every later torch.
    audio=$torch
    [ "$(printf '%s\n' 2.11.0 "$torch" | sort -V | tail -n 1)" = 2.11.0 ] || audio=2.11.0
    sed -i -E '/^(torch|torchaudio|triton|nvidia-[a-z0-9-]*|cuda-[a-z0-9-]*)==/d' "$constraints"
    printf 'torch==%s\ntorchaudio==%s\n' "$torch" "$audio" >>"$constraints"
fi

bin=$work/venv/bin
wanted="$("$interpreter" -V), $(sha256sum <"$constraints"), $installer"
if [ "$(head -n 1 "$work/installed" 2>/dev/null)" = "$wanted" ]; then
    say "installing the new wheel into the environment of an earlier run"
    run "installing the wheel" "$uv" pip install --quiet --python "$bin/python" --no-deps --reinstall "$wheel"
else
    say "installing with $installer into an environment of $("$interpreter" -V)"
    rm -rf "$work/venv" "$work/installed"
    before=$SECONDS
    run "python -m venv" "$interpreter" -m venv "$work/venv"
    case $installer in
        uv)
            install=("$uv" pip install --quiet --python "$bin/python" --constraints "$constraints" --build-constraints "$constraints")
            case $("$bin/python" -V) in
                *' 3.8.'* | *' 3.9.'* | *' 3.10.'*) ;;
                *) # as in install.sh: fairseq-fixed is built with the installed torch, not with a second one
                    run "installing torch" "${install[@]}" torch numpy cython ninja setuptools wheel
                    install+=(--no-build-isolation-package fairseq-fixed)
                    ;;
            esac
            ;;
        pip)
            run "installing pip" "$bin/python" -m pip install --quiet 'pip<24.1'
            install=("$bin/python" -m pip install --quiet --constraint "$constraints")
            ;;
        *) fail "INSTALLER=$installer: expected uv or pip" 2 ;;
    esac
    run "installing" "${install[@]}" "$wheel[demo,dev]"
    printf '%s\n%s\n' "$wanted" $((SECONDS - before)) >"$work/installed"
fi
seconds=$(sed -n 2p "$work/installed")
size=$(du -sm "$work/venv" | awk '{ printf "%.1f", $1 / 1000 }')

# A copy of everything except the package itself, with the configurations of the wheel. So only the installed package can be imported.
export PATH="$bin:$PATH"
cp -R "$work/source"/{tests,examples,manifests,docs,README.md,CHANGELOG.md,CONTRIBUTING.md,pyproject.toml} "$work/tree/"
ln -s "$(softhubert configs)" "$work/tree/config"
printf '#!/bin/sh\n# The environment is there: nothing to install.\n' >"$work/tree/install.sh"
cd "$work/tree"
export SOFTHUBERT_VENV=$work/venv SOFTHUBERT_SPEECH=${SOFTHUBERT_SPEECH:-$clone/../shared/speech} OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
run "softhubert --version" softhubert --version
run "softhubert doctor" softhubert doctor
if [ $# -eq 0 ]; then
    for name in checkpoints cli doctor dump encoder_parts end_to_end features gpu_numbers gpu_training labels manifests masking mixture \
        pretended_gpu soft_hubert targets task; do
        set -- "$@" "tests/test_$name.py"
    done
fi
say "running the tests"
before=$SECONDS
status=0
python -m pytest -q -rs "$@" >>"$log" 2>&1 || status=$?
tested=$((SECONDS - before))
outcome=$(awk '/^[0-9]+ (passed|failed|error)/ { line = $0 } END { sub(/ in [0-9.]+s.*/, "", line); print line }' "$log")

python - "$installer" "$seconds" "$size" "$outcome" "$tested" <<'PY' | tee -a "$log"
import platform, sys
from importlib import metadata

installer, seconds, size, outcome, tested = sys.argv[1:]

def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""

fairseq = version("fairseq") and "fairseq " + version("fairseq") or "fairseq-fixed " + version("fairseq-fixed")
installer += " " + version("pip") if installer == "pip" else ""
print("| Python | torch, torchaudio | fairseq | NumPy | installed with | tests |\n|---|---|---|---|---|---|")
print("| %s | %s, %s | %s | %s | %s: %s s, %s GB | %s (%s s) |" % (
    platform.python_version(), version("torch"), version("torchaudio"), fairseq, version("numpy"), installer, seconds, size, outcome, tested))
PY
[ $status -eq 0 ] || { grep -E '^(FAILED|ERROR)' "$log" >&2 || true; fail "tests failed; the whole output is in $log"; }
