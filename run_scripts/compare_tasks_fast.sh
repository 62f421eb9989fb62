#!/usr/bin/env bash
# What the gradient through memory and the lessons of --recipe fast do, beside the runs of
# `reproduce.sh figure4 --scale mini`.
#   bash run_scripts/compare_tasks_fast.sh [GROUP ...]
# GROUP (default: both): bptt     reverse without gradient between segments, and from one alone
#                        lessons  rmt without the curriculum, trxl with it
# Runs that are finished are left out, interrupted ones go on.
#
# Environment: SEEDS  seeds of every run (default "1 2 3")
#              JOBS   runs at a time (default 1); with more, each has one thread
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

RUNS="$ROOT/results/runs/tasks-fast"
set_up_python

# Every cell is a run folder's name, without the seed, and a task and flags.
bptt() {
    cell reverse-4x12-rmt12-bptt0 reverse --segments 4 --model rmt --mem_len 12 --bptt_unrolls 0
    cell reverse-4x12-rmt12-bptt1 reverse --segments 4 --model rmt --mem_len 12 --bptt_unrolls 1
}
lessons() {
    cell reverse-4x12-trxl12 reverse --segments 4 --model trxl --mem_len 12
    cell copy-6x12-rmt12-plain copy --segments 6 --model rmt --mem_len 12 --curriculum 0
    cell reverse-6x8-rmt8-plain reverse --segments 6 --model rmt --mem_len 8 --curriculum 0
}

train_cell() {
    RMT_PYTHON="$PYTHON" bash "$ROOT/run_scripts/run_$1.sh" train --recipe fast "${@:2}"
}

groups=("$@")
((${#groups[@]})) || groups=(bptt lessons)
for group in "${groups[@]}"; do
    [[ "$group" =~ ^(bptt|lessons)$ ]] || fail "there is no group $group"
done
for group in "${groups[@]}"; do "$group"; done | run_cells
"$PYTHON" -m rmt.tables paper
cat "$ROOT/results/tables/tasks.md"
