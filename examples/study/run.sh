#!/usr/bin/env bash
# Systems and controls compared over seeds with a tiny model, on any corpus that 'softhubert manifest' has listed:
#
#   bash examples/study/run.sh --data exp/data --train train --valid valid --tests test --seeds '1 2 3 4 5'
# Installs what it needs, then starts 'softhubert recipe study', which has the options; --help lists them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
bin=${SOFTHUBERT_VENV:-$here/.venv}/bin
export SOFTHUBERT_SPEECH=${SOFTHUBERT_SPEECH:-$here/../shared/speech}
start=("$bin/softhubert")
case " $* " in
    *" -h "* | *" --help "* | *" --dry-run "*) # needs nothing installed
        python=$bin/python
        [ -x "$python" ] || python=python3
        start=("$python" -m softhubert_plugin)
        export PYTHONPATH=$here
        ;;
    *) bash "$here/install.sh" --extras demo,slurm ;;
esac
exec "${start[@]}" recipe study --exps "$here/exp" "$@"
