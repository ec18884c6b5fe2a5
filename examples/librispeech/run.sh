#!/usr/bin/env bash
# From LibriSpeech, or your own corpus, to a table of word error rates in eleven stages, each of which can be run, stopped and run again.
#
#   bash examples/librispeech/run.sh --dry-run                       # what will run
#   bash examples/librispeech/run.sh --config tiny                   # three speakers, two CPU cores
#   bash examples/librispeech/run.sh --config base --corpus /data --stage 0 --stop-stage 3
#
# 0 data  1 MFCC  2 clustering  3 labels  4 pretraining, iteration 1  5 probing  6 layer features, clustering, labels
# 7 pretraining, iteration 2  8 fine-tuning  9 decoding  10 report
# Installs what it needs, then starts 'softhubert recipe librispeech'; --help lists the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../start.sh" librispeech demo,lm,slurm "$@"
