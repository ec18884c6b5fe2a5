#!/usr/bin/env bash
# From LibriSpeech to a table of word error rates in eleven stages, each of which can be run, stopped and run again on its own.
#
#   bash examples/librispeech/run.sh --dry-run                       # what will run, and what it needs
#   bash examples/librispeech/run.sh --config tiny                   # three speakers, two CPU cores, under two hours
#   bash examples/librispeech/run.sh --config base --corpus /data --stage 0 --stop-stage 3
#
# 0 data  1 MFCC  2 clustering  3 labels  4 pretraining, iteration 1  5 probing  6 layer features, clustering, labels
# 7 pretraining, iteration 2  8 fine-tuning  9 decoding  10 report
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# ---- variables: each is also an option, --some-name VALUE for some_name --------------------------------------------------------------
config=tiny                          # tiny or base; sets the second block
corpus=${SOFTHUBERT_SPEECH:-$here/../shared/speech} # folder that holds LibriSpeech/
exp=''                               # where everything goes (exp/librispeech-CONFIG)
systems='km gmm'                     # of km (k-means), gmm (soft mixture), gmm-argmax (the mixture's hard labels: the control)
seed=1
stage=0
stop_stage=10
nshard=1                             # shards of features and labels, worked on at once
perplexity=4                         # of the soft targets
alignments=''                        # phone alignments of the training speech (TextGrid, .lab, .ctm); without: letters, aligned by a CTC model
partition=''                         # Slurm partition, for --slurm
cluster=slurm                        # for --slurm; local runs the jobs here, to try it without Slurm
beam=''                              # hypotheses kept in the search with the language model
device=''                            # of everything but training: cpu, cuda, cuda:1 …; empty: a GPU if there is one
# ---- second block: empty means what the configuration says -----------------------------------------------------------------------------
subsets='' train='' valid='' tests='' clusters1='' clusters2='' percent='' updates1='' updates2='' finetune_updates='' align_updates=''
finetune='' pretrain_run='' layers_dtype=''
# -----------------------------------------------------------------------------------------------------------------------------------------

refuse() { printf 'softhubert: error: %s\n' "$*" >&2; exit 2; }
usage() { sed -n '2,9p' "$0" | sed 's/^# \{0,1\}//'; sed -n '/^# ---- variables/,/^# -----------------/p' "$0"; printf '%s\n' '--dry-run, --slurm, --download'; }

dry='' slurm='' download=''
while [ $# -gt 0 ]; do
    case $1 in
        --dry-run) dry=1; shift ;;
        --slurm) slurm=1; shift ;;
        --download) download=--download; shift ;;
        -h | --help) usage; exit 0 ;;
        --*)
            name=${1#--} name=${name//-/_}
            case " config corpus exp systems seed stage stop_stage nshard perplexity alignments partition cluster device beam subsets train valid tests \
clusters1 clusters2 percent updates1 updates2 finetune_updates align_updates finetune pretrain_run layers_dtype " in
                *" $name "*) ;;
                *) refuse "unknown option $1; see --help" ;;
            esac
            [ $# -ge 2 ] || refuse "$1 needs a value; see --help"
            printf -v "$name" %s "$2"
            shift 2
            ;;
        *) refuse "unknown argument '$1'; see --help" ;;
    esac
done

[ -n "$beam" ] || { if [ "$config" = tiny ]; then beam=10; else beam=500; fi; }
case $config in
    # One subset split by speaker; sizes for two CPU cores. It shows that the road works, not which target is better.
    tiny) defaults='train-clean-100|train|valid|test|100|100|-1|800|800|1500|600|soft_hubert_tiny||' hours=1.2 ;;
    # HuBERT Base as published (Hsu et al. 2021), fine-tuned on train-clean-100.
    base) defaults='train-clean-100 train-clean-360 train-other-500 dev-clean dev-other test-clean test-other|train-960|dev-other|test-clean test-other|100|500|0.1||||25000|base_100h|one_node|float16' hours=960 ;;
    *) refuse "--config $config: there are tiny and base" ;;
esac
IFS='|' read -r d1 d2 d3 d4 d5 d6 d7 d8 d9 d10 d11 d12 d13 d14 <<<"$defaults"
: "${subsets:=$d1}" "${train:=$d2}" "${valid:=$d3}" "${tests:=$d4}" "${clusters1:=$d5}" "${clusters2:=$d6}" "${percent:=$d7}"
: "${updates1:=$d8}" "${updates2:=$d9}" "${finetune_updates:=$d10}" "${align_updates:=$d11}" "${finetune:=$d12}" "${pretrain_run:=$d13}"
: "${layers_dtype:=$d14}" "${exp:=$here/exp/librispeech-$config}"
for number in "$stage" "$stop_stage" "$nshard" "$seed"; do
    case $number in '' | *[!0-9]*) refuse "'$number': stages, shards and seed are whole numbers" ;; esac
done
[ "$stage" -le "$stop_stage" ] && [ "$stop_stage" -le 10 ] || refuse "--stage $stage --stop-stage $stop_stage: stages are 0 to 10, in order"
for system in $systems; do
    case $system in km | gmm | gmm-argmax) ;; *) refuse "--systems: '$system' is none of km, gmm, gmm-argmax" ;; esac
done

bin=${SOFTHUBERT_VENV:-$here/.venv}/bin
if [ -z "$dry" ]; then
    [ -d "$corpus/LibriSpeech" ] || [ -n "$download" ] || refuse "$corpus/LibriSpeech: not there; give --corpus, or --download"
    bash "$here/install.sh" --extras "demo,lm${slurm:+,slurm}"
    mkdir -p "$exp/stages" "$exp/logs"
    exp=$(cd "$exp" && pwd -P)
fi
export PATH="$bin:$PATH" PYTHONUNBUFFERED=1 HYDRA_FULL_ERROR=1

data=$exp/data
soft() { [ "$1" = gmm ]; }
label_of() { if soft "$1"; then echo gmm; else echo km; fi; }

# run COMMAND…: print it and, unless --dry-run, do it; with --slurm, as a job of its own.
run() {
    printf '+ %s%s\n' "$*" "${dry:+${slurm:+   # a job with ${gpus:-0} GPUs}}" | sed "s|$exp|\$exp|g"
    [ -z "$dry" ] || return 0
    if [ -n "$slurm" ]; then
        python "$here/examples/librispeech/submit.py" --folder "$exp/slurm" --cluster "$cluster" ${partition:+--partition "$partition"} --gpus "${gpus:-0}" -- "$@"
    else
        "$@"
    fi
}

# The GPUs of this machine that CUDA may use.
gpus_here() {
    if [ -n "${CUDA_VISIBLE_DEVICES+given}" ]; then tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c . || true
    else { nvidia-smi -L 2>/dev/null || true; } | grep -c '^GPU' || true; fi
}

# on DEVICE, as options; nothing where the command chooses itself.
on() { [ -z "$1" ] || printf '%s\n' --device "$1"; }

# shard_device RANK: shards that run side by side on this machine take its GPUs in turn, instead of all taking the first.
shard_device() {
    local gpus
    if [ -z "$slurm" ] && [ "$nshard" -gt 1 ] && { [ -z "$device" ] || [ "$device" = cuda ]; }; then
        gpus=$(gpus_here)
        if [ "$gpus" -gt 0 ]; then echo "cuda:$(($1 % gpus))"; return; fi
    fi
    echo "$device"
}

# each_shard COMMAND… with SHARD RANK put in place of @@ and its device in place of @device: all shards at once.
each_shard() {
    local rank pids=() pid word words
    for ((rank = 0; rank < nshard; rank++)); do
        words=()
        for word in "$@"; do
            if [ "$word" = @device ]; then mapfile -t -O ${#words[@]} words < <(on "$(shard_device "$rank")"); else words+=("${word//@@/$rank}"); fi
        done
        if [ -n "$dry" ] || [ "$nshard" = 1 ]; then run "${words[@]}"; else run "${words[@]}" & pids+=($!); fi
    done
    for pid in ${pids[@]+"${pids[@]}"}; do wait "$pid"; done
}

# world_size FILE: the GPUs that a configuration trains on, which is what Slurm is asked for.
world_size() { sed -n 's/^  distributed_world_size: *\([0-9]*\).*/\1/p' "$1"; }

# step NAME FUNCTION ARGUMENT…: once; stages/NAME holds what it was made of, so that other settings redo it, and the seconds it took.
step() {
    local name=$1 mark=$exp/stages/$1 log=$exp/logs/$1.log made started=$SECONDS status
    shift
    made="$* | $corpus $subsets $train $valid $clusters1 $clusters2 $percent $perplexity $updates1 $updates2 $finetune_updates $align_updates $finetune $seed"
    if [ -n "$dry" ]; then
        printf '  %s\n' "$name"
        "$@" | sed 's/^/    /'
        return
    fi
    if [ "$(head -n 1 "$mark" 2>/dev/null)" = "$made" ]; then
        printf '  %-28s done before\n' "$name"
        return
    fi
    printf '  %-28s ' "$name"
    rm -f "$mark"
    set +e # not "if ! …": within a condition bash would go on after a command of the function has failed
    (set -e; "$@") >"$log" 2>&1
    status=$?
    set -e
    if [ $status -ne 0 ]; then
        printf 'failed; the end of %s:\n' "$log"
        tail -n 5 "$log" >&2
        exit $status
    fi
    printf '%s\n%s\n' "$made" $((SECONDS - started)) >"$mark.new"
    mv "$mark.new" "$mark"
    printf '%6d s\n' $((SECONDS - started))
}

make_data() {
    if [ "$config" = tiny ]; then
        run softhubert manifest librispeech "$corpus" --dest "$data" --subsets "$subsets" --by-speaker $download
        run softhubert manifest librispeech "$corpus" --dest "$exp/all" --subsets "$subsets" # every speaker, for probing
    else
        run softhubert manifest librispeech "$corpus" --dest "$data" --subsets $subsets --combine "$train" $download
    fi
    run softhubert lm "$data/$train.wrd" --dest "$exp/lm" --order 3 --dictionary "$data/dict.ltr.txt"
}

mfcc() {
    for split in $train $valid; do each_shard softhubert features mfcc "$data" "$split" "$nshard" @@ "$exp/mfcc"; done
}

# cluster SYSTEM FEATURES CLUSTERS FOLDER
cluster() {
    [ -n "$dry" ] || mkdir -p "$4"
    if [ "$1" = km ]; then
        run softhubert fairseq-tool hubert/simple_kmeans/learn_kmeans.py "$2" "$train" "$nshard" "$4/km.joblib" "$3" \
            --percent "$percent" --seed "$seed"
    else
        gpus=1 run softhubert gmm learn "$2" "$train" "$nshard" "$4/gmm.safetensors" "$3" --perplexity "$perplexity" --percent "$percent" \
            --seed "$seed" $(on "$device")
    fi
}

# label SYSTEM FEATURES CLUSTERS FOLDER LABELS RATE
label() {
    local split
    [ -n "$dry" ] || mkdir -p "$5"
    for split in $train $valid; do
        case $1 in
            km) each_shard softhubert fairseq-tool hubert/simple_kmeans/dump_km_label.py "$2" "$split" "$4/km.joblib" \
                "$nshard" @@ "$5" ;;
            gmm) gpus=1 each_shard softhubert gmm dump "$2" "$split" "$4/gmm.safetensors" "$nshard" @@ "$5" @device ;;
            gmm-argmax) gpus=1 each_shard softhubert gmm dump "$2" "$split" "$4/gmm.safetensors" "$nshard" @@ "$5" --hard @device ;;
        esac
        if soft "$1"; then
            run softhubert labels merge "$5" "$split" "$nshard"
            run softhubert labels verify "$5/$split.gmm" --manifest "$data/$split.tsv"
        else
            run softhubert labels merge "$5" "$split" "$nshard" --clusters "$3" --manifest "$data/$split.tsv"
            run softhubert labels verify "$5/$split.km" --manifest "$data/$split.tsv" --label-rate "$6"
        fi
    done
}

# pretrain SYSTEM ITERATION LABELS RATE UPDATES; a run that was stopped goes on from its last checkpoint
pretrain() {
    local name=soft_hubert_tiny options=() wanted=0
    if [ "$config" != tiny ]; then
        name=soft_hubert_base_librispeech
        soft "$1" || name=hubert_km_base_librispeech
        [ "$2" = 1 ] || name+=_iter2
        options+=("+run=$pretrain_run")
        wanted=$(world_size "$here/config/pretrain/run/$pretrain_run.yaml")
    else
        # Utterances are longer than the configuration's batch: cropped, as in HuBERT's recipe, instead of padded.
        options+=("task.label_rate=$4" task.pad_audio=false)
    fi
    [ -z "$5" ] || options+=("optimization.max_update=$5")
    gpus=$wanted run fairseq-hydra-train --config-dir "$here/config/pretrain" --config-name "$name" task.data="$data" task.label_dir="$3" \
        "task.labels=[$(label_of "$1")]" dataset.train_subset="$train" dataset.valid_subset="$valid" common.seed="$seed" \
        hydra.run.dir="$exp/systems/$1/pretrain$2" "${options[@]}"
}

# finetune SYSTEM CHECKPOINT UPDATES FOLDER
fine_tune() {
    local options=() wanted=0
    [ "$config" = tiny ] || wanted=$(world_size "$here/config/finetune/$finetune.yaml")
    [ -z "$3" ] || options+=("optimization.max_update=$3")
    [ "$config" != tiny ] || options+=("dataset.train_subset=$train" dataset.max_tokens=400000) # the longest utterances have 25 s
    gpus=$wanted run fairseq-hydra-train --config-dir "$here/config/finetune" --config-name "$finetune" task.data="$data" task.label_dir="$data" \
        model.w2v_path="$2" dataset.valid_subset="$valid" common.seed="$seed" hydra.run.dir="$4" ${options[@]+"${options[@]}"}
}

best() { echo "$exp/systems/$1/$2/checkpoints/checkpoint_best.pt"; }

# Speech and alignments to probe on: those given, or letters aligned by a briefly fine-tuned model of iteration 1.
probe_data() { if [ "$config" = tiny ]; then echo "$exp/all"; else echo "$data"; fi; }
probe_split() { if [ "$config" = tiny ]; then echo "$subsets"; else echo "$train"; fi; }
align() {
    local first=${systems%% *}
    fine_tune "$first" "$(best "$first" pretrain1)" "$align_updates" "$exp/aligner"
    gpus=1 run softhubert align "$(probe_data)" "$(probe_split)" "$exp/aligner/checkpoints/checkpoint_best.pt" "$exp/letters" $(on "$device")
}

probe() {
    local system=$1 some=() listed
    listed=$(probe_data)/$(probe_split).tsv
    if [ "$percent" != -1 ]; then some=(--percent "$percent") listed=$exp/systems/$system/layers/$(probe_split).tsv; fi
    gpus=1 run softhubert features hubert "$(probe_data)" "$(probe_split)" "$(best "$system" pretrain1)" all 1 0 "$exp/systems/$system/layers" \
        ${layers_dtype:+--dtype "$layers_dtype"} ${some[@]+"${some[@]}"} $(on "$device")
    gpus=1 run softhubert probe "$exp/systems/$system/layers" "$(probe_split)" 1 --manifest "$listed" --alignments "${alignments:-$exp/letters}" \
        --dest "$exp/systems/$system" --seed "$seed" $(on "$device")
}

layer_features() {
    local split
    for split in $train $valid; do
        gpus=1 each_shard softhubert features hubert "$data" "$split" "$(best "$1" pretrain1)" "@$exp/systems/$1/layers.json" "$nshard" @@ \
            "$exp/systems/$1/layer" ${layers_dtype:+--dtype "$layers_dtype"} @device
    done
}

decode() {
    local system=$1 folder=$exp/systems/$1 checkpoint name search=(--lm "$exp/lm/lm.arpa" --lexicon "$exp/lm/lexicon.txt" --beam "$beam")
    checkpoint=$(best "$system" finetune)
    gpus=1 run softhubert tune "$data" "$valid" "$checkpoint" "$folder/tuned.json" "${search[@]}" $(on "$device")
    for name in $tests; do
        gpus=1 run softhubert decode "$data" "$name" "$checkpoint" "$folder/decode/$name" $(on "$device")
        gpus=1 run softhubert decode "$data" "$name" "$checkpoint" "$folder/decode/$name-lm" "${search[@]}" --tuned "$folder/tuned.json" \
            $(on "$device")
        for search_name in "$name" "$name-lm"; do
            run softhubert score "$folder/decode/$search_name/hypo.word" "$folder/decode/$search_name/ref.word" --manifest "$data/$name.tsv" \
                --dest "$folder/scores/$search_name.json" --by-speaker --worst 3
        done
    done
}

# describe SYSTEM: what the report reads besides logs and scores
describe() {
    local system=$1 folder=$exp/systems/$1 name title steps
    case $system in km) title='hard k-means' ;; gmm) title='soft GMM' ;; gmm-argmax) title='hard GMM (argmax)' ;; esac
    ln -sfn pretrain2 "$folder/pretrain"
    printf '{"name": "%s", "system": "%s", "target": "%s", "corpus": "LibriSpeech %s", "hours": "%s", "configuration": "%s", "seed": %d}\n' \
        "$title" "$title" "$system" "$train" "$hours" "$config" "$seed" >"$folder/experiment.json"
    if soft "$system"; then
        softhubert labels inspect "$exp/systems/$system/labels2/$train.gmm" >"$folder/labels.json"
    else
        printf '{"components": %d, "perplexity": 1.0}\n' "$clusters2" >"$folder/labels.json"
    fi
    steps="data mfcc cluster1-$system labels1-$system pretrain1-$system probe-$system layer-$system cluster2-$system labels2-$system"
    for name in $steps "pretrain2-$system" "finetune-$system" "decode-$system"; do
        [ ! -f "$exp/stages/$name" ] || printf '%s\t%s\n' "${name%"-$system"}" "$(sed -n 2p "$exp/stages/$name")"
    done >"$folder/timings.tsv"
    for name in $steps "pretrain2-$system" "finetune-$system" "decode-$system"; do
        [ ! -f "$exp/logs/$name.log" ] || grep '^+ ' "$exp/logs/$name.log" || true
    done >"$folder/commands.txt"
}

quality() {
    local labels
    labels=$exp/systems/$1/labels2/$train.$(label_of "$1")
    run softhubert labels quality "$labels" --manifest "$data/$train.tsv" --alignments "${alignments:-$exp/letters}" --label-rate 50 \
        --dest "$exp/systems/$1/quality.json"
}

report() {
    local folders=() system
    for system in $systems; do
        [ -n "$dry" ] || describe "$system"
        folders+=("$exp/systems/$system")
    done
    run softhubert report "${folders[@]}" --dest "$exp/report"
}

in_range() { [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ]; }
begin() { in_range "$1" && printf 'stage %d: %s\n' "$1" "$2"; }

printf 'softhubert: %s configuration, systems %s, everything in %s\n' "$config" "$systems" "$exp"
if [ -n "$dry" ] && [ "$config" != tiny ]; then softhubert plan 100 960 60000 --systems "$(wc -w <<<"$systems")"; fi
if begin 0 data; then step data make_data; fi
if begin 1 MFCC; then step mfcc mfcc; fi
if begin 2 clustering; then
    for system in $systems; do step "cluster1-$system" cluster "$system" "$exp/mfcc" "$clusters1" "$exp/systems/$system/iteration1"; done
fi
if begin 3 labels; then
    for system in $systems; do
        folder=$exp/systems/$system
        step "labels1-$system" label "$system" "$exp/mfcc" "$clusters1" "$folder/iteration1" "$folder/labels1" 100
    done
fi
if begin 4 'pretraining, iteration 1'; then
    for system in $systems; do step "pretrain1-$system" pretrain "$system" 1 "$exp/systems/$system/labels1" 100 "$updates1"; done
fi
if begin 5 probing; then
    [ -n "$alignments" ] || step align align
    for system in $systems; do step "probe-$system" probe "$system"; done
fi
if begin 6 'layer features, clustering, labels'; then
    for system in $systems; do
        folder=$exp/systems/$system
        step "layer-$system" layer_features "$system"
        step "cluster2-$system" cluster "$system" "$folder/layer" "$clusters2" "$folder/iteration2"
        step "labels2-$system" label "$system" "$folder/layer" "$clusters2" "$folder/iteration2" "$folder/labels2" 50
        step "quality-$system" quality "$system"
    done
fi
if begin 7 'pretraining, iteration 2'; then
    for system in $systems; do step "pretrain2-$system" pretrain "$system" 2 "$exp/systems/$system/labels2" 50 "$updates2"; done
fi
if begin 8 fine-tuning; then
    for system in $systems; do
        step "finetune-$system" fine_tune "$system" "$(best "$system" pretrain2)" "$finetune_updates" "$exp/systems/$system/finetune"
    done
fi
if begin 9 decoding; then
    for system in $systems; do step "decode-$system" decode "$system"; done
fi
if begin 10 report; then
    report
    [ -n "$dry" ] || printf 'softhubert: %s/report/index.html\n' "$exp"
fi
