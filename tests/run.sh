#!/usr/bin/env bash
# Installs what is missing, then runs the linter, the type checker and the tests.
# Arguments go to pytest: bash tests/run.sh -k mixture
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash install.sh --extras demo,dev,huggingface,lhotse,lm,slurm,transformers

venv=${SOFTHUBERT_VENV:-$PWD/.venv}
# The tests use small matrices. More threads than this would only wait for one another.
if [ -z "${OMP_NUM_THREADS:-}" ]; then
    cores=$("$venv/bin/python" -c 'import os; print(os.cpu_count() or 1)')
    export OMP_NUM_THREADS=$((cores < 4 ? cores : 4))
fi
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
exec "$venv/bin/python" -m pytest --strict-skips -rs "$@"
