#!/usr/bin/env bash
# A small comparison of the five models at byte level that fits two CPU cores (10 to 30 minutes a
# run): 4 layers, d_model 128, segment 64, 5.1 M tokens each. It is a table in docs/results/enwik8_small.md,
# not one of the paper's.
#   bash run_scripts/compare_enwik8_small.sh --data FILE [--seed N] [--cuda]
# Runs that are finished are left out, whatever the flags; interrupted ones go on. At the end the
# table and the picture of all runs so far, of any seed, are written to results/.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

set_up_python
fetch_data enwik8 "$@"
seed="$(value_of --seed "$@")"
RUNS="$ROOT/results/runs/enwik8-small"

run() {
    local work_dir="$RUNS/$1-seed${seed:-1}"
    shift
    if [[ -e "$work_dir/result.json" ]]; then
        echo "$work_dir is finished"
        return
    fi
    "$PYTHON" -m rmt.train --dataset enwik8 --seed 1 --work_dir "$work_dir" \
        --n_layer 4 --d_model 128 --n_head 4 --d_head 32 --d_inner 512 --dropout 0.1 \
        --tgt_len 64 --batch_size 32 --max_step 2500 \
        --lr 0.001 --scheduler cosine --warmup_step 200 --precision bf16 \
        --log_interval 50 --eval_interval 500 --save_interval 250 \
        "$@" $(restart_flag "$work_dir")
}

run baseline --model baseline "$@"
run mt10 --model mt --mem_len 10 "$@"
run trxl10 --model trxl --mem_len 10 "$@"
run trxl64 --model trxl --mem_len 64 "$@"
run rmt10-bptt0 --model rmt --mem_len 10 --bptt_unrolls 0 "$@"
run rmt10-bptt1 --model rmt --mem_len 10 --bptt_unrolls 1 "$@"
run rmt10-bptt3 --model rmt --mem_len 10 --bptt_unrolls 3 "$@"
run trxl64-rmt10-bptt1 --model trxl_rmt --cache_len 64 --mem_len 10 --bptt_unrolls 1 "$@"

keep_output "$ROOT/results/tables/enwik8-small.md" \
    "$PYTHON" -m rmt.tables runs "$RUNS" --without_speed
"$PYTHON" -m rmt.figures curves "$RUNS" --out "$ROOT/results/figures/enwik8-small.png"
