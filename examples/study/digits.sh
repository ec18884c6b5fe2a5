#!/usr/bin/env bash
# The second corpus of PLAN.md: strings of real digits, each of the five speakers once to test on.
#
#   bash examples/study/digits.sh RECORDINGS [options of 'softhubert recipe quickstart']
#
# RECORDINGS is the folder 'recordings' of the Free Spoken Digit Dataset. A finished run goes to digits/, and is not run again.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
recordings=${1:?the folder comes first: bash $0 RECORDINGS [options]}
shift
seed=0
for speaker in george jackson lucas nicolas theo; do
    seed=$((seed + 1)) # another one for each speaker, so that the report pairs systems by both
    bash "$here/../quickstart/run.sh" --corpus digits --root "$recordings" --test-speaker "$speaker" --seed "$seed" \
        --systems "km gmm-argmax gmm gmm-smooth gmm-shuffle" --results "$here/digits" "$@"
done
