#!/usr/bin/env bash
# The paper's tables and figures, and our studies, from runs of this code: what is missing is run, the
# rest is not.
#   bash run_scripts/reproduce.sh table3 --scale mini --data data/enwik8-head   (make_mini_data.sh)
#   bash run_scripts/reproduce.sh table2 --scale paper [--rows 'wt103-150-*'] [--seeds 3] [--jobs N]
#   bash run_scripts/reproduce.sh figure4 --scale mini --dry_run
# Targets: table1 ... table4, headline, figure4, figure5, figure5cd, figure7, and at mini scale our
# studies: window, segments, alike, grid, as_published, associative, facts, wrapped_gpt2 and others
# (pytorch/rmt/reproduction/studies/); --help says more.
# Each GPU (at mini scale without one: each core) has one run at a time unless --jobs says otherwise;
# slurm_reproduce.sbatch spreads them over an array.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

set_up_python
if [[ "$(value_of --scale "$@")" == paper ]] && ! has --dry_run "$@" && ! has --help "$@"; then
    for target in "$@"; do
        case "$target" in
            table2 | table4 | headline | figure5cd) fetch_data wt103 "$@" ;;
            table3) fetch_data enwik8 "$@" ;;
        esac
    done
fi
exec "$PYTHON" -m rmt.reproduce "$@"
