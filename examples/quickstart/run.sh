#!/usr/bin/env bash
# The whole road in one command, on two CPU cores and without a network but the package index: speech, manifests, MFCC, k-means and
# a Gaussian mixture, hard and soft labels, pretraining on each, CTC fine-tuning of each, decoding of unseen speakers, a table.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash examples/quickstart/run.sh [options]

  --corpus spoken            synthetic speech, made on the spot (the default; five to seven minutes)
  --corpus digits            strings of real spoken digits; --root is the recordings folder of the Free Spoken Digit Dataset
  --corpus librispeech       real read speech; --root is the folder that holds LibriSpeech/
  --root DIR                 where that corpus is (by default below $SOFTHUBERT_SPEECH)
  --subset NAME              which LibriSpeech subset, split by speaker (dev-clean)
  --download                 fetch the subset if it is not there
  --systems "km gmm"         label sets to compare: km (k-means), gmm (soft mixture), gmm-argmax (the mixture's hard labels: the control
                             that tells softness from clustering)
  --seed N                   of corpus, clustering and training (1)
  --utterances N             size of the corpus: of spoken in all, of digits a speaker
  --pretrain-updates N       length of training, instead of what suits the corpus
  --finetune-updates N
  --exp DIR                  where everything goes (exp/CORPUS-seedN)

Running it again skips what is finished; a stage that was interrupted is done anew.
TEXT
}

refuse() { printf 'softhubert: error: %s\n' "$*" >&2; exit 2; }

corpus=spoken root='' subset=dev-clean download='' systems='km gmm' seed=1 exp='' utterances='' pretrain_updates='' finetune_updates=''
while [ $# -gt 0 ]; do
    case $1 in
        --corpus | --root | --subset | --systems | --seed | --exp | --utterances | --pretrain-updates | --finetune-updates)
            [ $# -ge 2 ] || refuse "$1 needs a value; see --help"
            name=${1#--}
            printf -v "${name//-/_}" %s "$2"
            shift 2
            ;;
        --download) download=--download; shift ;;
        -h | --help) usage; exit 0 ;;
        *) refuse "unknown argument '$1'; see --help" ;;
    esac
done

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
speech=${SOFTHUBERT_SPEECH:-$here/../shared/speech}

# What differs between corpora: components, how long to train, and the samples in a fine-tuning batch (no fewer than the longest
# utterance has). Tuned once on the validation speakers, for both systems alike.
batch=160000
case $corpus in
    spoken) clusters=50 suggested='1200 300 500' ;;
    digits) clusters=50 suggested='300 800 1500' root=${root:-$speech/fsdd/recordings} ;;
    librispeech) clusters=100 suggested='0 1200 2500' root=${root:-$speech} batch=600000 ;;
    *) refuse "--corpus $corpus: expected spoken, digits or librispeech" ;;
esac
read -r some_utterances some_pretraining some_finetuning <<<"$suggested"
: "${utterances:=$some_utterances}" "${pretrain_updates:=$some_pretraining}" "${finetune_updates:=$some_finetuning}"
for system in $systems; do
    case $system in km | gmm | gmm-argmax) ;; *) refuse "--systems: '$system' is none of km, gmm, gmm-argmax" ;; esac
done
[ -z "$root" ] || [ -n "$download" ] || [ -d "$root" ] || refuse "$root: no such folder; give --root (see --help)"

bash "$here/install.sh" --extras demo
bin=${SOFTHUBERT_VENV:-$here/.venv}/bin
export PATH="$bin:$PATH" PYTHONUNBUFFERED=1 HYDRA_FULL_ERROR=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)}
kmeans=$(python -c 'import importlib.util as u; print(u.find_spec("fairseq").submodule_search_locations[0])')/examples/hubert/simple_kmeans

mkdir -p "${exp:=$here/exp/$corpus-seed$seed}"
exp=$(cd "$exp" && pwd -P)
mkdir -p "$exp/stages" "$exp/logs"

# stage NAME COMMAND…: run a command once, its output in logs/NAME.log. stages/NAME holds what the stage was made of, so that other
# options redo it, and the seconds it took.
made_of="$corpus $root $subset $utterances utterances, $clusters clusters, seed $seed"
stage() {
    local name=$1 log=$exp/logs/$1.log mark=$exp/stages/$1 started=$SECONDS status
    shift
    if [ "$(head -n 1 "$mark" 2>/dev/null)" = "$made_of: $*" ]; then
        printf '  %-20s done before\n' "$name"
        return
    fi
    printf '  %-20s ' "$name"
    rm -f "$mark"
    # Not "if ! …": within a condition bash would go on after a command of the function has failed.
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1
    status=$?
    set -e
    if [ $status -ne 0 ]; then
        printf 'failed; the end of %s:\n' "$log"
        tail -n 5 "$log" >&2
        exit $status
    fi
    printf '%s: %s\n%s\n' "$made_of" "$*" $((SECONDS - started)) >"$mark.new"
    mv "$mark.new" "$mark"
    printf '%5d s\n' $((SECONDS - started))
}

make_corpus() {
    case $corpus in
        spoken) softhubert corpus spoken "$exp/data" --utterances "$utterances" --speakers 16 --seed "$seed" ;;
        digits) softhubert corpus digits "$root" "$exp/data" --utterances "$utterances" --seed "$seed" ;;
        librispeech) softhubert manifest librispeech "$root" --dest "$exp/data" --subsets "$subset" --by-speaker $download ;;
    esac
}

features() {
    for split in train valid; do softhubert features mfcc "$exp/data" $split 1 0 "$exp/mfcc"; done
}

# k-means is fairseq's own, from clustering to labels.
label_km() {
    python "$kmeans/learn_kmeans.py" "$exp/mfcc" train 1 "$exp/km.joblib" "$clusters" --percent -1 --seed "$seed"
    for split in train valid; do
        python "$kmeans/dump_km_label.py" "$exp/mfcc" $split "$exp/km.joblib" 1 0 "$exp/labels/km"
        softhubert labels merge "$exp/labels/km" $split 1 --clusters "$clusters" --manifest "$exp/data/$split.tsv"
    done
}

learn_gmm() {
    softhubert gmm learn "$exp/mfcc" train 1 "$exp/gmm.safetensors" "$clusters" --perplexity 4 --seed "$seed"
}

label_gmm() {
    for split in train valid; do
        softhubert gmm dump "$exp/mfcc" $split "$exp/gmm.safetensors" 1 0 "$exp/labels/gmm"
        softhubert labels merge "$exp/labels/gmm" $split 1
        softhubert labels verify "$exp/labels/gmm/$split.gmm" --manifest "$exp/data/$split.tsv"
    done
}

label_argmax() {
    for split in train valid; do
        softhubert gmm dump "$exp/mfcc" $split "$exp/gmm.safetensors" 1 0 "$exp/labels/gmm-argmax" --hard
        softhubert labels merge "$exp/labels/gmm-argmax" $split 1 --clusters "$clusters" --manifest "$exp/data/$split.tsv"
    done
}

# Training starts from nothing, so that a run that was interrupted ends as one that was not.
train() { # train RUN_DIR CONFIG_DIR OVERRIDE…
    local run=$1 configs=$2
    shift 2
    rm -rf "$run"
    fairseq-hydra-train --config-dir "$here/config/$configs" --config-name soft_hubert_tiny common.seed="$seed" hydra.run.dir="$run" "$@"
}

describe() { # describe SYSTEM: what the report reads besides logs and scores
    local system=$1 folder=$exp/systems/$1 name stages
    case $system in
        km) name="hard k-means" stages="corpus mfcc kmeans" ;;
        gmm) name="soft GMM" stages="corpus mfcc mixture labels-gmm" ;;
        gmm-argmax) name="hard GMM (argmax)" stages="corpus mfcc mixture labels-gmm-argmax" ;;
    esac
    printf '{"name": "%s", "target": "%s", "corpus": "%s", "hours": "%s", "seed": %d, "pretraining updates": %d, "fine-tuning updates": %d}\n' \
        "$name" "$system" "$corpus${root:+ ($(basename "$root"))}" \
        "$(awk -F '\t' 'NR > 1 { samples += $2 } END { printf "%.2f", samples / 16000 / 3600 }' "$exp/data/train.tsv")" \
        "$seed" "$pretrain_updates" "$finetune_updates" >"$folder/experiment.json"
    if [ "$system" = gmm ]; then
        softhubert labels inspect "$exp/labels/gmm/train.gmm" >"$folder/labels.json"
    else
        printf '{"components": %d, "perplexity": 1.0}\n' $clusters >"$folder/labels.json"
    fi
    for name in $stages "pretrain-$system" "finetune-$system" "decode-$system"; do
        printf '%s\t%s\n' "${name%"-$system"}" "$(sed -n 2p "$exp/stages/$name")"
    done >"$folder/timings.tsv"
}

printf 'softhubert: %s corpus, systems: %s, everything in %s\n' "$corpus" "$systems" "$exp"
stage corpus make_corpus
stage mfcc features
case " $systems " in *" km "*) stage kmeans label_km ;; esac
case $systems in *gmm*) stage mixture learn_gmm ;; esac
case " $systems " in *" gmm "*) stage labels-gmm label_gmm ;; esac
case " $systems " in *" gmm-argmax "*) stage labels-gmm-argmax label_argmax ;; esac
made_of+=", $pretrain_updates + $finetune_updates updates"
folders=()
for system in $systems; do
    folder=$exp/systems/$system
    mkdir -p "$folder"
    label=km
    [ "$system" != gmm ] || label=gmm
    stage "pretrain-$system" train "$folder/pretrain" pretrain task.data="$exp/data" task.label_dir="$exp/labels/$system" \
        "task.labels=[$label]" optimization.max_update="$pretrain_updates"
    stage "finetune-$system" train "$folder/finetune" finetune task.data="$exp/data" task.label_dir="$exp/data" \
        model.w2v_path="$folder/pretrain/checkpoints/checkpoint_best.pt" optimization.max_update="$finetune_updates" dataset.max_tokens=$batch
    stage "decode-$system" softhubert decode "$exp/data" test "$folder/finetune/checkpoints/checkpoint_best.pt" "$folder/decode"
    softhubert score "$folder/decode/hypo.word" "$folder/decode/ref.word" --dest "$folder/score.json" >"$exp/logs/score-$system.log"
    describe "$system"
    folders+=("$folder")
done
softhubert report "${folders[@]}" --dest "$exp/report"
printf 'softhubert: %s/report/index.html\n' "$exp"
