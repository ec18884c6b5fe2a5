#!/usr/bin/env bash
# Installs what is missing, then runs the linter, the type checker and the tests.
# Arguments go to pytest: bash tests/run.sh -k mixture. With -n 0 all tests run in one process, as a debugger wants.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash install.sh --extras demo,dev,huggingface,lhotse,lm,slurm,transformers

venv=${SOFTHUBERT_VENV:-$PWD/.venv}
cores=$("$venv/bin/python" -c 'import os; print(len(os.sched_getaffinity(0)))')
workers=$((cores < 8 ? cores : 8))
# The tests use small matrices. More threads than this would only wait for one another.
if [ -z "${OMP_NUM_THREADS:-}" ]; then
    threads=$((cores / workers))
    export OMP_NUM_THREADS=$((threads < 4 ? threads : 4))
fi
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
# The tests of a file run in one process, which shares their fixtures; files run side by side.
exec "$venv/bin/python" -m pytest --strict-skips -rs -n "$workers" --dist loadfile "$@"
