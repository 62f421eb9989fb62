#!/usr/bin/env bash
# Does it depend on the length of the segments whether 10 memory tokens do what a cache of 10 states
# does? Mini scale's model and tokens per step (so fewer streams) with segments of 32, 64 and 128 beside
# its 16: a cache of 10 is 62 % of a segment of 16, and 8 % of one of 128.
#   bash run_scripts/compare_segments.sh --data data/enwik8-head      (make_mini_data.sh makes it)
# Runs that are finished are left out, interrupted ones go on. An hour or two in all on two cores.
#
# Environment: JOBS  runs at a time (default 1); with more, each has one thread
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

data="$(value_of --data "$@")"
[[ -n "$data" ]] || fail "name the text: --data data/enwik8-head (make_mini_data.sh makes it)"
set_up_python
RUNS="$ROOT/results/runs/segments"
SEEDS="1 2 3"

cells() {
    local n length
    for n in 32 64 128; do
        length=(--tgt_len $n --eval_tgt_len $n --batch_size $((512 / n)))
        cell "baseline-$n" --model baseline "${length[@]}" "$@"
        cell "trxl10-$n" --model trxl --mem_len 10 "${length[@]}" "$@"
        cell "rmt10-bptt1-$n" --model rmt --mem_len 10 --bptt_unrolls 1 "${length[@]}" "$@"
    done
}

train_cell() {
    "$PYTHON" -m rmt.train --dataset enwik8 \
        --n_layer 4 --d_model 128 --n_head 4 --d_head 32 --d_inner 512 --dropout 0.1 --dropatt 0.0 \
        --optim adam --lr 0.002 --scheduler cosine --clip 0.25 --precision bf16 \
        --max_step 4800 --warmup_step 400 --eval_interval 600 --log_interval 100 --save_interval 300 \
        "$@"
}

# Those with segments of 16 are rows of mini Table 3; first, for they say whether the text is theirs.
same=(baseline trxl10 rmt10-bptt1)
"$PYTHON" -m rmt.reproduce table3 --scale mini --data "$data" --jobs "${JOBS:-1}" \
    --rows "${same[@]/#/enwik8-128-}" >/dev/null
cells "$@" | run_cells
runs=("$RUNS")
for name in "${same[@]}"; do runs+=("$ROOT/results/runs/mini-enwik8/enwik8-128-$name-seed"[123]); done
keep_output "$ROOT/results/tables/segments.md" \
    "$PYTHON" -m rmt.tables runs "${runs[@]}" --without_speed
"$PYTHON" -m rmt.figures segments "${runs[@]}" --out "$ROOT/results/figures/segments.png"
