#!/usr/bin/env bash
# The whole road in one command, on two CPU cores and without a network but the package index: speech, manifests, MFCC, k-means and
# a Gaussian mixture, hard and soft labels, pretraining on each, CTC fine-tuning of each, decoding of unseen speakers, a table.
# Installs what it needs, then starts 'softhubert recipe quickstart', which has the options; --help lists them.
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
    *) bash "$here/install.sh" --extras demo ;;
esac
exec "${start[@]}" recipe quickstart --exps "$here/exp" "$@"
