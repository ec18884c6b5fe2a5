#!/usr/bin/env bash
# Compares the training step of HuBERT Base with that of other implementations; see tests/benchmarks/peers.py.
# Makes an environment with all of them if there is none: minimal-hubert needs Python 3.12 and torch 2.12 or later, so SoftHuBERT runs there on
# fairseq-fixed. The first run downloads some gigabytes.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash tests/peers.sh [pretrain] [finetune] [--rounds N] [--threads N] [--seconds S] [--device DEVICE] [--bf16]

  pretrain, finetune   which step to compare (default: both)
  --rounds N           rounds, of which the median counts (default: 5)
  --threads N          number of threads (default: one per core)
  --seconds S          length of each of the two utterances (default: 15.6)
  --device, --bf16     cpu or cuda; multiply in bfloat16

  PYTHON     the Python 3.12 or 3.13 to make the environment with (default: one on PATH or of pyenv or uv)
  PEERS_DIR  the folder of the environment; a later run uses it again (default: exp/peers)

example: bash tests/peers.sh finetune --rounds 5
TEXT
}

say() { printf 'softhubert: %s\n' "$*" >&2; }
fail() { printf 'softhubert: error: %s\n' "$*" >&2; exit 2; }

case ${1:-} in
    -h | --help) usage; exit 0 ;;
esac

clone=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
folder=${PEERS_DIR:-$clone/exp/peers}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd -P)
venv=$folder/venv

if [ ! -f "$folder/installed" ]; then
    uv=$(type -P uv || true)
    "${uv:-false}" --version >/dev/null 2>&1 || uv=$clone/.venv/bin/uv
    [ -x "$uv" ] || fail "no uv on PATH; install it (pip install uv), or run bash install.sh first"
    python=${PYTHON:-$(compgen -G "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/3.12*/bin/python3.12" | tail -n 1 || true)}
    [ -n "$python" ] || python=$("$uv" python find --no-project 3.12 2>/dev/null || true)
    [ -n "$python" ] || fail "no Python 3.12 here; install one (uv python install 3.12), or name it in PYTHON"
    if [ -n "${PIP_CERT:-}" ] && [ -z "${SSL_CERT_FILE:-}" ]; then export SSL_CERT_FILE=$PIP_CERT; fi
    if [ -n "${PIP_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}; fi
    say "making an environment with minimal-hubert, torchaudio, transformers and fairseq-fixed in $venv"
    rm -rf "$venv" "$folder/source"
    mkdir "$folder/source"
    # Builds from a copy of the files that git does not ignore, because building leaves folders behind.
    (cd "$clone" && git ls-files --cached --others --exclude-standard) |
        while IFS= read -r file; do [ ! -f "$clone/$file" ] || printf '%s\n' "$file"; done | tar -C "$clone" -cf - -T - | tar -C "$folder/source" -xf -
    "$uv" venv --quiet --python "$python" "$venv"
    install=("$uv" pip install --quiet --python "$venv/bin/python")
    "${install[@]}" minimal-hubert==0.0.8 'torch>=2.12,<2.15' torchaudio==2.11.0 transformers numpy cython ninja setuptools wheel
    # torchaudio 2.11 is the last; it loads only beside a torch for the same CUDA.
    # fairseq-fixed is built with the installed torch, not with a second one.
    "${install[@]}" --no-build-isolation-package fairseq-fixed "$folder/source"
    rm -rf "$folder/source"
    touch "$folder/installed"
fi

cd "$clone"
export PYTHONWARNINGS=ignore # of other packages, again in every process
exec "$venv/bin/python" -m tests.benchmarks.peers "$@"
