#!/usr/bin/env bash
# Do 10 memory tokens do what a cache of 10 states does? Around that comparison of mini Table 3, what it
# depends on: mini scale's model and as many tokens, but
#   bash run_scripts/compare_mini.sh GROUP --data data/enwik8-head      (make_mini_data.sh makes it)
# GROUP: segments  of 32, 64 and 128 beside its 16 (and fewer streams): a cache of 10 is 62 % of a
#                  segment of 16, and 8 % of one of 128
#        rates     half and twice its learning rate
# Runs that are finished are left out, interrupted ones go on. An hour or two in all on two cores.
#
# Environment: JOBS  runs at a time (default 1); with more, each has one thread
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

group="${1:-}"
[[ "$group" =~ ^(segments|rates)$ ]] || fail "say segments or rates first: what to compare"
shift
data="$(value_of --data "$@")"
[[ -n "$data" ]] || fail "name the text: --data data/enwik8-head (make_mini_data.sh makes it)"
set_up_python
RUNS="$ROOT/results/runs/$group"
SEEDS="1 2 3"

segments() {
    local n length
    for n in 32 64 128; do
        length=(--tgt_len $n --eval_tgt_len $n --batch_size $((512 / n)))
        cell "baseline-$n" --model baseline "${length[@]}" "$@"
        cell "trxl10-$n" --model trxl --mem_len 10 "${length[@]}" "$@"
        cell "rmt10-bptt1-$n" --model rmt --mem_len 10 --bptt_unrolls 1 "${length[@]}" "$@"
    done
}

rates() {
    local lr length=(--tgt_len 16 --eval_tgt_len 16 --batch_size 32)
    for lr in 0.001 0.004; do
        cell "trxl10-lr$lr" --model trxl --mem_len 10 "${length[@]}" --lr $lr "$@"
        cell "rmt10-bptt1-lr$lr" --model rmt --mem_len 10 --bptt_unrolls 1 "${length[@]}" --lr $lr "$@"
    done
}

train_cell() {
    "$PYTHON" -m rmt.train --dataset enwik8 \
        --n_layer 4 --d_model 128 --n_head 4 --d_head 32 --d_inner 512 --dropout 0.1 --dropatt 0.0 \
        --optim adam --lr 0.002 --scheduler cosine --clip 0.25 --precision bf16 \
        --max_step 4800 --warmup_step 400 --eval_interval 600 --log_interval 100 --save_interval 300 \
        "$@"
}

# What mini Table 3 has of it; first, for these runs say whether the text is theirs.
same=(trxl10 rmt10-bptt1)
[[ $group == segments ]] && same=(baseline "${same[@]}")
"$PYTHON" -m rmt.reproduce table3 --scale mini --data "$data" --jobs "${JOBS:-1}" \
    --rows "${same[@]/#/enwik8-128-}" >&2
"$group" "$@" | run_cells
runs=("$RUNS")
for name in "${same[@]}"; do runs+=("$ROOT/results/runs/mini-enwik8/enwik8-128-$name-seed"[123]); done
keep_output "$ROOT/results/tables/$group.md" \
    "$PYTHON" -m rmt.tables runs "${runs[@]}" --without_speed
if [[ $group == segments ]]; then
    "$PYTHON" -m rmt.figures segments "${runs[@]}" --out "$ROOT/results/figures/segments.png"
fi
