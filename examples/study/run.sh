#!/usr/bin/env bash
# Systems and controls compared over seeds with a tiny model, on any corpus that 'softhubert manifest' has listed:
#
#   bash examples/study/run.sh --data exp/data --train train --valid valid --tests test --seeds '1 2 3 4 5'
# Installs what it needs, then starts 'softhubert recipe study'; --help lists the options.
extras=demo,slurm
case " $* " in *" --lm "*) extras=$extras,lm ;; esac
exec bash "$(dirname "${BASH_SOURCE[0]}")/../start.sh" study "$extras" "$@"
