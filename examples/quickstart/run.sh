#!/usr/bin/env bash
# The whole road in one command, on two CPU cores and without a network but the package index: speech, manifests, MFCC, k-means and
# a Gaussian mixture, hard and soft labels, pretraining on each, CTC fine-tuning of each, decoding of unseen speakers, a table.
# Installs what it needs, then starts 'softhubert recipe quickstart'; --help lists the options.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../start.sh" quickstart demo "$@"
