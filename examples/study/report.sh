#!/usr/bin/env bash
# The reports of PLAN.md, from the runs saved here: report/, report/others/, report/iteration2/ and report/digits/. Needs no speech:
#
#   bash examples/study/report.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
softhubert=${SOFTHUBERT_VENV:-../../.venv}/bin/softhubert
shopt -s nullglob

report() { # RUNS DEST [--compare FIRST SECOND]...
    local runs=() system
    for system in km gmm-argmax gmm gmm-p2 gmm-p8 gmm-smooth gmm-shuffle km-soft gmm-argmax-sticky gmm-sticky gmm-p2-sticky gmm-pick; do
        runs+=("$1/$system"-seed*.json) # as in systems.txt, the baseline first
    done
    [ ${#runs[@]} -eq 0 ] || "$softhubert" report "${runs[@]}" --dest "$2" "${@:3}"
}

clusterer=(--compare "hard k-means" "hard GMM (argmax)")
softness=(--compare "hard GMM (argmax)" "soft GMM")
controls=(--compare "GMM argmax, smoothed" "soft GMM" --compare "soft GMM, shuffled" "soft GMM")
markov=(--compare "hard GMM (argmax), Markov (sticky)" "soft GMM, Markov (sticky)")
report results report "${softness[@]}" "${clusterer[@]}" "${markov[@]}" "${controls[@]}"
# Described without a claim, so they have a report of their own: there they would count in the correction of the planned comparisons.
report results report/others --compare "soft GMM" "soft GMM, perplexity 2" --compare "soft GMM" "soft GMM, perplexity 8" \
    --compare "soft GMM" "soft GMM, first of two frames" --compare "hard GMM (argmax)" "soft GMM, first of two frames" \
    --compare "hard k-means" "soft k-means" --compare "soft GMM, Markov (sticky)" "soft GMM, Markov (sticky), perplexity 2"
report iteration2 report/iteration2 "${softness[@]}" "${clusterer[@]}" --compare "soft GMM" "soft GMM, Markov (sticky)"
report digits report/digits "${softness[@]}" "${clusterer[@]}" "${controls[@]}"
