#!/usr/bin/env bash
# The algorithmic tasks with --recipe fast: the tables and figures in results/README.md.
#   bash run_scripts/compare_tasks_fast.sh [GROUP ...]
# GROUP (default: short): short      copy and reverse, n 24: rmt, trxl, baseline
#                         bptt       reverse without gradient between segments
#                         lessons    rmt without the curriculum, trxl with it
#                         long       copy of 120 and 360 symbols in 9 segments
#                         retrieval  2 and 5 segments
#                         quadratic  6 segments
# Runs that are finished are left out, interrupted ones go on.
#
# Environment: SEEDS  seeds of every run (default "1 2 3")
#              JOBS   runs at a time (default 1); with more, each has one thread
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

RUNS="$ROOT/results/runs/tasks-fast"
mkdir -p "$ROOT/results/tables"
set_up_python

# Every cell is a run folder's name, without the seed, and a task and flags.
short() {
    cell copy-6x12-rmt12 copy --segments 6 --model rmt --mem_len 12
    cell reverse-4x12-rmt12 reverse --segments 4 --model rmt --mem_len 12
    cell reverse-6x8-rmt8 reverse --segments 6 --model rmt --mem_len 8
    # Nothing reaches the baseline's answers; a thousand steps show it.
    cell copy-6x12-baseline copy --segments 6 --model baseline --max_step 1000
    cell reverse-4x12-baseline reverse --segments 4 --model baseline --max_step 1000
    cell reverse-6x8-baseline reverse --segments 6 --model baseline --max_step 1000
    # The lessons keep Transformer-XL from ever looking further back than in the first of them.
    cell copy-6x12-trxl12-plain copy --segments 6 --model trxl --mem_len 12 --curriculum 0
    cell reverse-4x12-trxl12-plain reverse --segments 4 --model trxl --mem_len 12 \
        --curriculum 0 --init xavier
    cell reverse-6x8-trxl8-plain reverse --segments 6 --model trxl --mem_len 8 \
        --curriculum 0 --init xavier
}
bptt() {
    cell reverse-4x12-rmt12-bptt0 reverse --segments 4 --model rmt --mem_len 12 --bptt_unrolls 0
    cell reverse-4x12-rmt12-bptt1 reverse --segments 4 --model rmt --mem_len 12 --bptt_unrolls 1
}
lessons() {
    cell reverse-4x12-trxl12 reverse --segments 4 --model trxl --mem_len 12
    cell copy-6x12-rmt12-plain copy --segments 6 --model rmt --mem_len 12 --curriculum 0
    cell reverse-6x8-rmt8-plain reverse --segments 6 --model rmt --mem_len 8 --curriculum 0
}
long() {
    # Long samples: smaller batches, and evaluations, which run freely over 240 and 720 tokens.
    local less="--batch_size 32 --eval_interval 200 --max_eval_steps 1"
    cell copy120-9x40-rmt40 copy --n 120 --segments 9 --model rmt --mem_len 40 $less
    cell copy360-9x120-rmt60 copy --n 360 --segments 9 --model rmt --mem_len 60 $less \
        --max_step 1500 --test_samples 2000
    cell copy120-9x40-trxl40 copy --n 120 --segments 9 --model trxl --mem_len 40 $less
}
retrieval() {
    cell retrieval-2x5-rmt5 retrieval --segments 2 --model rmt --mem_len 5
    cell retrieval-2x5-trxl5 retrieval --segments 2 --model trxl --mem_len 5
    cell retrieval-2x5-baseline retrieval --segments 2 --model baseline
    cell retrieval-5x2-rmt2 retrieval --segments 5 --model rmt --mem_len 2
    cell retrieval-5x2-trxl2 retrieval --segments 5 --model trxl --mem_len 2
    cell retrieval-5x2-baseline retrieval --segments 5 --model baseline
}
quadratic() {
    cell quadratic-6x30-rmt30 quadratic --segments 6 --model rmt --mem_len 30
    cell quadratic-6x30-trxl30 quadratic --segments 6 --model trxl --mem_len 30
}

train_cell() {
    RMT_PYTHON="$PYTHON" bash "$ROOT/run_scripts/run_$1.sh" train --recipe fast "${@:2}"
}

for group in "${@:-short}"; do
    [[ "$group" =~ ^(short|bptt|lessons|long|retrieval|quadratic)$ ]] || fail "there is no group $group"
done
for group in "${@:-short}"; do "$group"; done | run_cells
keep_output "$ROOT/results/tables/tasks-fast.md" \
    "$PYTHON" -m rmt.tables tasks "$RUNS" --without_speed
for figure in figure4 figure5; do
    "$PYTHON" -m rmt.figures "$figure" "$RUNS" --out "$ROOT/results/figures/tasks-fast-$figure.png"
done
for task in copy120 copy360 retrieval quadratic; do
    runs=("$RUNS/$task"-*/result.json)
    [[ -e "${runs[0]}" ]] || continue
    "$PYTHON" -m rmt.figures accuracy "${runs[@]%/result.json}" \
        --out "$ROOT/results/figures/tasks-fast-$task.png"
done
