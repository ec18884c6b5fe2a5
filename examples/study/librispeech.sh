#!/usr/bin/env bash
# The study of PLAN.md:
#
#   bash examples/study/librispeech.sh DATA ALIGNMENTS [options of 'softhubert recipe study']
#
# DATA has train-clean-100, dev-clean and test-clean, listed by
#   softhubert manifest librispeech ROOT --dest DATA --subsets train-clean-100 dev-clean test-clean
# and ALIGNMENTS the TextGrids of some readers of train-clean-100. A finished run goes to results/, some tens of KB each, and is not run again.
# Later options win: '--seeds 3 --systems gmm' runs one system with one seed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
usage="the two folders come first: bash $0 DATA ALIGNMENTS [options]; the comment at its top says what they hold"
data=${1:?$usage} alignments=${2:?$usage}
shift 2
exec bash "$here/run.sh" --data "$data" --train train-clean-100 --valid dev-clean --tests test-clean \
    --alignments "$alignments" --partial-alignments --systems "@$here/systems.txt" --seeds "1 2 3 4 5" --lm \
    --pretrain-updates 2000 --finetune-updates 1000 --max-tokens 400000 --results "$here/results" "$@"
