#!/usr/bin/env bash
# start.sh RECIPE EXTRAS [options]: installs with these extras, then starts 'softhubert recipe RECIPE', which has the options.
# --help and --dry-run need nothing installed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
recipe=$1 extras=$2
shift 2
bin=${SOFTHUBERT_VENV:-$here/.venv}/bin
export SOFTHUBERT_SPEECH=${SOFTHUBERT_SPEECH:-$here/../shared/speech}
start=("$bin/softhubert")
case " $* " in
    *" -h "* | *" --help "* | *" --dry-run "*)
        python=$bin/python
        [ -x "$python" ] || python=python3
        start=("$python" -m softhubert_plugin)
        export PYTHONPATH=$here
        ;;
    *) bash "$here/install.sh" --extras "$extras" ;;
esac
exec "${start[@]}" recipe "$recipe" --exps "$here/exp" "$@"
