#!/usr/bin/env bash
# Is one optimizer step per N+1 segments (--bptt_mode window) as good as replaying N segments for
# every step? The model and segments of reproduce.sh's mini scale with memory 10, N 1 and 3, in four
# ways:
#   replay         as in the paper: 2,000 steps of a segment of 32 streams (1.0 M tokens)
#   window-tokens  the same tokens in steps of N+1 segments: N+1 times fewer steps
#   window-steps   the same tokens and the same number of steps: N+1 times fewer streams
#   window-time    as many steps of as many streams as replay, so about its time: N+1 times the tokens
#   bash run_scripts/compare_window.sh --data FILE [other flags of rmt.train]
# Runs that are finished are left out, with whatever flags, and interrupted ones go on. An hour or two in all on two cores.
#
# Environment: SEEDS  seeds of every run (default "1 2 3")
#              JOBS   runs at a time (default 1); with more, each has one thread
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

! has --seed "$@" || fail "set SEEDS instead of --seed: it has a run for each of them"
set_up_python
fetch_data enwik8 "$@"
RUNS="$ROOT/results/runs/window"

cells() {
    local n
    for n in 1 3; do
        cell "replay-$n" --bptt_unrolls $n --max_step 2000 --warmup_step 200 "$@"
        cell "window-tokens-$n" --bptt_unrolls $n --bptt_mode window \
            --max_step $((2000 / (n + 1))) --warmup_step $((200 / (n + 1))) "$@"
        cell "window-steps-$n" --bptt_unrolls $n --bptt_mode window \
            --batch_size $((32 / (n + 1))) --max_step 2000 --warmup_step 200 "$@"
        cell "window-time-$n" --bptt_unrolls $n --bptt_mode window \
            --max_step 2000 --warmup_step 200 "$@"
    done
}

train_cell() {
    "$PYTHON" -m rmt.train --dataset enwik8 --model rmt --mem_len 10 \
        --n_layer 4 --d_model 128 --n_head 4 --d_head 32 --d_inner 512 --dropout 0.1 \
        --tgt_len 16 --batch_size 32 --lr 0.002 --scheduler cosine --precision bf16 \
        --log_interval 100 --eval_interval 500 --save_interval 250 "$@"
}

cells "$@" | run_cells
keep_output "$ROOT/results/tables/window.md" "$PYTHON" -m rmt.tables runs "$RUNS" --without_speed
"$PYTHON" -m rmt.figures curves "$RUNS" --out "$ROOT/results/figures/window.png"
